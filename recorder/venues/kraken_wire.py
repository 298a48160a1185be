"""The messages of Kraken's spot WebSocket v2, as typed structs (docs.kraken.com, "Spot WebSocket v2")."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from engine.ticks import BUY, PRICE_MAX, PRICE_MIN, SIZE_MAX
from recorder.venues.kraken_book import Level, level
from recorder.venues.rfc3339 import parse_ns

DEPTHS = (10, 25, 100, 500, 1000)
"""The book depths that the venue offers, in levels a side."""

Symbol: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Price: TypeAlias = Annotated[float, Meta(ge=PRICE_MIN, le=PRICE_MAX)]
PriceOrNone: TypeAlias = Annotated[float, Meta(ge=0.0, le=PRICE_MAX)]
Size: TypeAlias = Annotated[float, Meta(ge=0.0, le=SIZE_MAX)]
Change: TypeAlias = Literal["snapshot", "update"]


class Trade(Struct, gc=False):
    """One match; `side` is the taker's, `trade_id` counts matches of the symbol without holes."""

    symbol: Symbol
    side: Literal["buy", "sell"]
    price: Price
    qty: Annotated[float, Meta(gt=0.0, le=SIZE_MAX)]
    trade_id: Annotated[int, Meta(ge=0, lt=2**53)]  # more would be lost on a client that reads numbers as doubles
    timestamp: str


class Trades(Struct, gc=False, tag_field="channel", tag="trade"):
    """A snapshot holds the last 50 trades of a symbol, which are old; an update holds news."""

    type: Change
    data: list[Trade]


class Quote(Struct, gc=False):
    """The best bid and ask. A side without orders is printed as zeros; old servers print no time."""

    symbol: Symbol
    bid: PriceOrNone
    bid_qty: Size
    ask: PriceOrNone
    ask_qty: Size
    timestamp: str | None = None


class Tickers(Struct, gc=False, tag_field="channel", tag="ticker"):
    """Snapshot and update have the same full shape."""

    type: Change
    data: list[Quote]


class BookLevel(Struct, gc=False):
    """A price and its absolute size, each as the bytes on the wire: trailing zeros count in the checksum."""

    price: Any  # bytes where the number has a point or an exponent, int where it has none: see `_number_text`
    qty: Any  # the same


class BookChange(Struct, gc=False):
    """Levels of one symbol, and the CRC32 of the book after them."""

    symbol: Symbol
    checksum: Annotated[int, Meta(ge=0, lt=2**32)]
    bids: list[BookLevel] = []
    asks: list[BookLevel] = []
    timestamp: str | None = None


class Books(Struct, gc=False, tag_field="channel", tag="book"):
    """A snapshot replaces the book, an update sets levels in it."""

    type: Change
    data: list[BookChange]


class Pair(Struct):
    """What may be ordered: steps and minimums, in quote currency where `cost`, else in price or base units."""

    symbol: Symbol
    status: str | None = None
    price_increment: Decimal | None = None
    qty_increment: Decimal | None = None
    qty_min: Decimal | None = None
    cost_min: Decimal | None = None


class Pairs(Struct):
    """`data` of the instrument channel is an object, unlike all others."""

    pairs: list[Pair] = []


class Instruments(Struct, tag_field="channel", tag="instrument"):
    """All pairs in one big snapshot after subscribing, then those which changed."""

    data: Pairs


class System(Struct):
    """State of the matching engine: online, cancel_only, maintenance, post_only."""

    system: str


class Status(Struct, tag_field="channel", tag="status"):
    """Sent on connecting, and whenever the state changes."""

    data: list[System]


class Heartbeat(Struct, gc=False, tag_field="channel", tag="heartbeat"):
    """About one a second; says that the connection lives, not that a symbol does."""


class Subscription(Struct):
    """What an acknowledgement acknowledges; one comes for each pair of channel and symbol."""

    channel: str | None = None
    symbol: Symbol | None = None
    depth: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    warnings: list[str] | None = None


class Reply(Struct):
    """The answer to a request, or a complaint without one (`{"Error":"Exceeded msg rate"}`)."""

    method: str | None = None
    success: bool | None = None
    symbol: Symbol | None = None
    result: Subscription | None = None
    error: str | None = None
    complaint: str | None = msgspec.field(default=None, name="Error")


class Unknown(Struct):
    """A well-formed message of a channel that we do not read."""

    channel: str


Channel: TypeAlias = Books | Tickers | Trades | Heartbeat | Instruments | Status
Message: TypeAlias = Channel | Reply | Unknown

_KNOWN = frozenset({"book", "ticker", "trade", "heartbeat", "instrument", "status"})

# Untyped numbers arrive at the hook as their text. Keeping it costs no more than parsing it, and of all ways
# to keep it (msgspec.Raw, Decimal, a second scan) this measured fastest: 1.6 us a four-level frame against
# 2.0 and 5.3. JSON strings come as str, so a quoted number is told apart.
_number_text = str.encode
_CHANNELS: msgspec.json.Decoder[Channel] = msgspec.json.Decoder(Channel, float_hook=_number_text)
_ANYTHING: msgspec.json.Decoder[Any] = msgspec.json.Decoder()  # whatever JSON there is, looked into below


def parse(payload: bytes) -> Message | None:
    """The message in a frame, or None where it is not one: not JSON, not UTF-8, or wrong types in a known channel."""
    try:
        if not payload.isascii():
            payload.decode()
        return _CHANNELS.decode(payload)
    except msgspec.ValidationError:
        return _uncommon(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _uncommon(payload: bytes) -> Reply | Unknown | None:
    """Replies have no channel, and channels come that we have not heard of."""
    try:
        message = _ANYTHING.decode(payload)
        if not isinstance(message, dict):
            return None
        channel = message.get("channel")
        if isinstance(channel, str):
            return None if channel in _KNOWN else Unknown(channel)
        is_reply = not message.keys().isdisjoint({"method", "error", "Error"})
        return msgspec.convert(message, Reply) if is_reply else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def event_times(data: Sequence[Trade | Quote | BookChange]) -> list[int | None] | None:
    """The venue's times in ns UTC, one an item, or None where one cannot be read.

    An item without a time has None, and so has one that says 1970: the venue's way to say that nothing happened yet.
    """
    try:
        return [parse_ns(item.timestamp) or None if item.timestamp is not None else None for item in data]
    except ValueError:
        return None


def levels(change: BookChange) -> list[Level] | None:
    """Bids, then asks, in the order of the message; None where a number is none, or for more than any book has."""
    if len(change.bids) + len(change.asks) > 2 * DEPTHS[-1]:
        return None
    try:
        read = [level(BUY, item.price, item.qty) for item in change.bids]
        read += [level(-BUY, item.price, item.qty) for item in change.asks]
    except ValueError:
        return None
    return read


def decimal_text(number: Decimal | None) -> str | None:
    """Fixed-point text of a step or a minimum (`1E-8` is `0.00000001`); None where it is absent, negative or absurd."""
    if number is None or not number.is_finite() or number.is_signed() or abs(number.adjusted()) > 30:
        return None
    return format(number, "f")
