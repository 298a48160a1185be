"""The messages of Binance's spot streams, as typed structs, and which of them a frame is.

Protocol facts are from github.com/binance/binance-spot-api-docs (`web-socket-streams.md`, 2026-07-21) and were
checked against recorded frames. Binance.US speaks the same.

Numbers travel as decimal text. Lax decoding turns them into the nearest double, as `float()` does; the bounds below
refuse NaN, infinity and what is negative, so that no value needs a second look.
"""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from engine.ticks import PRICE_MAX, PRICE_MIN, SIZE_MAX, FeedNote

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Id: TypeAlias = Annotated[int, Meta(ge=0, lt=2**53)]
"""Whoever reads JSON with doubles, as most of a venue's clients do, knows no larger number exactly: it is a mistake."""
Time: TypeAlias = Annotated[int, Meta(ge=0, le=(2**63 - 1) // 1_000)]
Price: TypeAlias = Annotated[float, Meta(ge=PRICE_MIN, le=PRICE_MAX)]
PriceOrNone: TypeAlias = Annotated[float, Meta(ge=0.0, le=PRICE_MAX)]
Size: TypeAlias = Annotated[float, Meta(ge=0.0, le=SIZE_MAX)]
Levels: TypeAlias = list[tuple[Price, Size]]


class Trade(Struct, gc=False):
    """One match. `trade_id` counts matches of the symbol without holes; a buying maker means that the taker sold."""

    name: Name = field(name="s")
    trade_id: Id = field(name="t")
    price: Price = field(name="p")
    size: Size = field(name="q")
    time: Time = field(name="T")
    is_buyer_maker: bool = field(name="m")


class AggregateTrade(Struct, gc=False):
    """The matches of one taker at one price, the last of them `last_trade_id`; its own id has no holes either."""

    name: Name = field(name="s")
    aggregate_id: Id = field(name="a")
    last_trade_id: Id = field(name="l")
    price: Price = field(name="p")
    size: Size = field(name="q")
    time: Time = field(name="T")
    is_buyer_maker: bool = field(name="m")


class Quote(Struct, gc=False):
    """A bookTicker: the best bid and ask. It carries no time; a side without orders is printed as zeros."""

    name: Name = field(name="s")
    bid: PriceOrNone = field(name="b")
    bid_size: Size = field(name="B")
    ask: PriceOrNone = field(name="a")
    ask_size: Size = field(name="A")


class Diff(Struct, gc=False):
    """The levels that changed between two update ids, both included, with their absolute sizes; zero removes.

    previous:  where the diff before it ended. Futures say so, as their ids have holes; spot does not.
    """

    time: Time = field(name="E")
    name: Name = field(name="s")
    first: Id = field(name="U")
    last: Id = field(name="u")
    bids: Levels = field(name="b")
    asks: Levels = field(name="a")
    previous: Id | None = field(name="pu", default=None)

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError("a diff that ends before it starts")

    @property
    def after(self) -> int:
        """The update that it goes on from."""
        return self.first - 1 if self.previous is None else self.previous


class Snapshot(Struct, gc=False):
    """A REST depth answer: the best levels after update `last`. It does not say of which symbol."""

    last: Id = field(name="lastUpdateId")
    bids: Levels
    asks: Levels


class Partial(Struct, gc=False):
    """The best 5, 10 or 20 levels, whole each time. Only the stream says of which symbol."""

    bids: Levels
    asks: Levels
    name: str = ""


class Shutdown(Struct, gc=False):
    """The server is about to close the connection."""

    time: Time = field(name="E")


class Rejected(Struct, gc=False):
    """The answer to a request that the venue refused; `id` is the request's."""

    code: int | str | None = None
    msg: str | None = None
    id: int | str | None = None


class Filter(Struct, gc=False):
    """A rule of the venue for orders in one symbol; decimal text, and only what this kind of rule is about."""

    kind: str = field(name="filterType", default="")
    tick_size: str | None = field(name="tickSize", default=None)
    step_size: str | None = field(name="stepSize", default=None)
    min_quantity: str | None = field(name="minQty", default=None)
    min_notional: str | None = field(name="minNotional", default=None)


class Instrument(Struct):
    """A symbol that the venue lists."""

    name: str = field(name="symbol")
    base: str = field(name="baseAsset", default="")
    quote: str = field(name="quoteAsset", default="")
    filters: list[Filter] = []

    @property
    def canonical(self) -> str | None:
        """BASE/QUOTE, where the venue says what they are."""
        return f"{self.base}/{self.quote}" if self.base and self.quote else None


class Instruments(Struct):
    """The answer of `/api/v3/exchangeInfo`: the symbols asked for, or all."""

    symbols: list[Instrument]


class Unread(Struct, gc=False):
    """A message that is none of ours: an acknowledgment, or a stream that nobody asked for."""


Message: TypeAlias = (
    Trade | AggregateTrade | Quote | Diff | Snapshot | Partial | Shutdown | Rejected | Instruments | Unread
)


def read(payload: bytes) -> Message:
    """The message in a frame, raw or wrapped by a combined stream.

    Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError for what is no message of the venue.
    """
    if payload.startswith(b"["):  # a raw stream of all markets, such as `!ticker@arr`
        _EVENTS.decode(payload)
        return Unread()
    head = _HEAD.decode(payload)
    if head.stream is None:
        return _raw(head, payload)
    name, _, channel = head.stream.partition("@")
    decoder = _BY_CHANNEL.get(channel)
    if decoder is not None:
        return decoder.decode(head.data)
    if channel in _PARTIAL_CHANNELS:
        partial = _PARTIAL.decode(head.data)
        partial.name = name.upper()
        return partial
    # `!bookTicker` and `!serverShutdown` have no channel in their names.
    return Unread() if channel else _raw(_HEAD.decode(head.data), head.data)


class _Head(Struct, gc=False):
    """The keys that tell one message from another."""

    stream: str | None = None
    data: Raw = Raw(b"")
    event: str | None = field(name="e", default=None)
    update: Id | None = field(name="u", default=None)
    last_update: Id | None = field(name="lastUpdateId", default=None)
    result: Raw | UnsetType = UNSET
    symbols: Raw | UnsetType = UNSET
    error: Rejected | None = None
    code: int | str | None = None
    msg: str | None = None
    id: int | str | None = None


class _Event(Struct, gc=False):
    """One of a list of messages."""

    event: str = field(name="e")


def _raw(head: _Head, payload: bytes | Raw) -> Message:
    """The message of a raw stream, told by its keys: bookTicker and REST answers name no event."""
    if head.event is not None:
        decoder = _BY_EVENT.get(head.event)
        return decoder.decode(payload) if decoder else Unread()
    if head.update is not None:
        return _QUOTE.decode(payload)
    if head.last_update is not None:
        return _SNAPSHOT.decode(payload)
    if head.symbols is not UNSET:
        return _INSTRUMENTS.decode(payload)
    if head.error is not None:
        return Rejected(head.error.code, head.error.msg, head.id)
    if head.code is not None:
        return Rejected(head.code, head.msg, head.id)
    if head.result is not UNSET:
        return Unread()
    raise msgspec.ValidationError("an object with none of the venue's keys")


def instrument_note(instrument: Instrument) -> str:
    """The note of an instrument row: steps and minimums as the venue prints them."""
    rules = {rule.kind: rule for rule in instrument.filters}
    lots, value = rules.get("LOT_SIZE", Filter()), rules.get("NOTIONAL") or rules.get("MIN_NOTIONAL") or Filter()
    note = FeedNote(
        event="instrument",
        tick_size=rules.get("PRICE_FILTER", Filter()).tick_size,
        lot_size=lots.step_size,
        min_quantity=lots.min_quantity,
        min_notional=value.min_notional,
    )
    return msgspec.json.encode(note).decode()


_HEAD = msgspec.json.Decoder(_Head, strict=False)
_EVENTS = msgspec.json.Decoder(Annotated[list[_Event], Meta(min_length=1)])
_TRADE = msgspec.json.Decoder(Trade, strict=False)
_AGGREGATE = msgspec.json.Decoder(AggregateTrade, strict=False)
_QUOTE = msgspec.json.Decoder(Quote, strict=False)
_DIFF = msgspec.json.Decoder(Diff, strict=False)
_SNAPSHOT = msgspec.json.Decoder(Snapshot, strict=False)
_PARTIAL = msgspec.json.Decoder(Partial, strict=False)
_SHUTDOWN = msgspec.json.Decoder(Shutdown, strict=False)
_INSTRUMENTS = msgspec.json.Decoder(Instruments)

_Reader: TypeAlias = (
    "msgspec.json.Decoder[Trade] | msgspec.json.Decoder[AggregateTrade] | msgspec.json.Decoder[Quote] |"
    " msgspec.json.Decoder[Diff] | msgspec.json.Decoder[Shutdown]"
)
_BY_EVENT: dict[str, _Reader] = {
    "trade": _TRADE,
    "aggTrade": _AGGREGATE,
    "bookTicker": _QUOTE,  # futures name the event
    "depthUpdate": _DIFF,
    "serverShutdown": _SHUTDOWN,
}
_SPEEDS = ("", "@0ms", "@100ms", "@250ms", "@500ms", "@1000ms")
"""Of depth streams: spot has a second and 100 ms, futures the others."""
_BY_CHANNEL: dict[str, _Reader] = {
    "trade": _TRADE,
    "aggTrade": _AGGREGATE,
    "bookTicker": _QUOTE,
    **{f"depth{speed}": _DIFF for speed in _SPEEDS},
}
_PARTIAL_CHANNELS = frozenset(f"depth{levels}{speed}" for levels in (5, 10, 20) for speed in _SPEEDS)
