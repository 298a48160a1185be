"""What a Binance server has to say, read from recorded frames or made of any venue's ticks."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct, field

from apps.serving import Message, Said
from apps.serving_book import LevelText, TextBook
from apps.serving_numbers import fixed_text
from engine.ticks import BUY, SELL, SNAPSHOT, Kind, Tick
from recorder.venues import Frame
from recorder.venues import binance_frames as print_frame

DEPTH_STREAMS = ("depth", "depth@100ms", "depth@1000ms")
"""Names of the one stream of diffs, which is served as fast as it was recorded under all of them."""

_DECIMALS = 8


class StreamNews(Struct, frozen=True, gc=False):
    """What one stream of a symbol says.

    name:    the symbol in the venue's spelling.
    kind:    the stream: trade, bookTicker, kline_1m, ...; `depth` for diffs at any speed.
    stream:  its name in the recorded frame, None where that was raw, or there was none.
    data:    the message as a raw stream carries it.
    """

    name: str
    kind: str
    stream: str | None
    data: bytes


class DiffNews(Struct, frozen=True, gc=False):
    """The levels of a diff, from update `first` to `last`."""

    name: str
    first: int
    last: int
    bids: list[LevelText]
    asks: list[LevelText]


class SnapshotNews(Struct, frozen=True, gc=False):
    """A recorded REST answer: the book after update `last`; `name` where its address told the symbol."""

    name: str | None
    last: int
    bids: list[LevelText]
    asks: list[LevelText]


News: TypeAlias = StreamNews | DiffNews | SnapshotNews


class _Candle(Struct):
    interval: str = field(name="i", default="")


class _Head(Struct, gc=False):
    """The keys that tell one raw message from another, and the symbol."""

    stream: str | None = None
    data: Raw = Raw(b"")
    event: str | None = field(name="e", default=None)
    name: str | None = field(name="s", default=None)
    update: int | None = field(name="u", default=None)
    last_update: int | None = field(name="lastUpdateId", default=None)
    candle: _Candle | None = field(name="k", default=None)


class _Diff(Struct, gc=False):
    name: str = field(name="s")
    first: int = field(name="U")
    last: int = field(name="u")
    bids: list[LevelText] = field(name="b")
    asks: list[LevelText] = field(name="a")


class _Snapshot(Struct, gc=False):
    last: int = field(name="lastUpdateId")
    bids: list[LevelText]
    asks: list[LevelText]


_HEAD = msgspec.json.Decoder(_Head)
_DIFF = msgspec.json.Decoder(_Diff)
_SNAPSHOT = msgspec.json.Decoder(_Snapshot)


def said_in(frames: Iterable[Frame]) -> Iterator[Said]:
    """Recorded frames of streams, and the REST answers among them; answers to requests are left out."""
    for frame in frames:
        try:
            news = _news_in(frame)
            if news:
                yield Said(frame.ts_recv or 0, frame.payload, news)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            continue  # What cannot be read belongs to no stream.


def _news_in(frame: Frame) -> Sequence[News]:
    payload = frame.payload
    head = _HEAD.decode(payload)
    if head.stream is not None:
        name, _, kind = head.stream.partition("@")
        return _stream_news(name.upper(), kind, head.stream, bytes(head.data)) if kind else ()
    if head.last_update is not None:
        named = re.search(r"[?&]symbol=(\w+)", frame.url or "")
        found = _SNAPSHOT.decode(payload)
        return (SnapshotNews(named[1].upper() if named else None, found.last, *_checked(found.bids, found.asks)),)
    if head.name is None:
        return ()
    kind = "bookTicker" if head.event is None and head.update is not None else head.event or ""
    kind = f"kline_{head.candle.interval}" if kind == "kline" and head.candle else kind
    return _stream_news(head.name, "depth" if kind == "depthUpdate" else kind, None, payload) if kind else ()


def _stream_news(name: str, kind: str, stream: str | None, data: bytes) -> Sequence[News]:
    if kind not in DEPTH_STREAMS:
        return (StreamNews(name, kind, stream, data),)
    diff = _DIFF.decode(data)
    news = DiffNews(diff.name, diff.first, diff.last, *_checked(diff.bids, diff.asks))
    return (StreamNews(name, "depth", stream, data), news)


def _checked(bids: list[LevelText], asks: list[LevelText]) -> tuple[list[LevelText], list[LevelText]]:
    """The same levels. Raises ValueError where a number is none."""
    for side in (bids, asks):
        for price, size in side:
            if not (0.0 < float(price) < 1e300 and 0.0 <= float(size) < 1e300):
                raise ValueError(f"expected a price and a size, found {price} and {size}")
    return bids, asks


def venue_spelling(symbol: str) -> str:
    """BTCUSDT for BTC/USDT."""
    return symbol.replace("/", "").upper()


def told_by(messages: Iterable[Message]) -> Iterator[Said]:
    """The ticks of any venue, as Binance would say them. A diff comes with every change, not every 100 ms."""
    markets: dict[str, _Teller] = {}
    for ts, rows in messages:
        books: dict[str, list[Tick]] = {}
        for row in rows:
            if row.symbol is None:
                continue
            if row.symbol not in markets:
                markets[row.symbol] = _Teller(venue_spelling(row.symbol))
            if row.kind == Kind.BOOK:
                books.setdefault(row.symbol, []).append(row)
            elif row.kind == Kind.TRADE:
                yield from markets[row.symbol].trade(row, ts)
            elif row.kind == Kind.QUOTE:
                yield from markets[row.symbol].quote(row, ts)
        for symbol, levels in books.items():
            yield from markets[symbol].book(levels, ts)
            yield from markets[symbol].quote(levels[-1], ts)


class _Teller:
    """One symbol: the update ids that Binance would have counted, and the book that a snapshot replaces."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._update = 0
        self._trade_id = 0
        self._book = TextBook()
        self._touch: tuple[float, float, float, float] | None = None

    def trade(self, row: Tick, ts: int) -> Iterator[Said]:
        text = row.trade_id
        is_number = text is not None and text.isascii() and text.isdigit() and len(text) < 19
        self._trade_id = int(text) if is_number and text is not None else self._trade_id + 1
        facts = (self._name, self._trade_id, _text(row.price), _text(row.size), _ms(row, ts))
        is_maker = row.side == SELL
        for kind, told in (("trade", print_frame.trade), ("aggTrade", print_frame.aggregate_trade)):
            data = told(*facts, is_buyer_maker=is_maker)
            yield Said(ts, None, (StreamNews(self._name, kind, None, data),))

    def quote(self, row: Tick, ts: int) -> Iterator[Said]:
        """A quote where the touch has another price or size than the last one."""
        touch = (row.bid, row.bid_size, row.ask, row.ask_size)
        if touch == self._touch:
            return
        self._touch = touch
        bid, ask = (_text(row.bid), _text(row.bid_size)), (_text(row.ask), _text(row.ask_size))
        data = print_frame.quote(self._name, max(self._update, 1), bid, ask)
        yield Said(ts, None, (StreamNews(self._name, "bookTicker", None, data),))

    def book(self, rows: Sequence[Tick], ts: int) -> Iterator[Said]:
        """A diff: of the rows, or from the book before to the snapshot in them."""
        known = [row for row in rows if row.price == row.price]
        bids, asks = (
            [(_text(row.price), _text(row.size)) for row in known if row.side == side] for side in (BUY, SELL)
        )
        if rows[0].flags & SNAPSHOT:
            bids = _removals(self._book.bids.top()) + bids
            asks = _removals(self._book.asks.top()) + asks
        if not bids and not asks:
            return
        # Within one diff a level has one state: the last one.
        bids, asks = list(dict(bids).items()), list(dict(asks).items())
        self._book.apply(bids, asks, is_snapshot=False)
        first, self._update = self._update + 1, self._update + len(bids) + len(asks)
        data = print_frame.diff(self._name, first, self._update, bids, asks, _ms(rows[-1], ts))
        diff = DiffNews(self._name, first, self._update, bids, asks)
        yield Said(ts, None, (StreamNews(self._name, "depth", None, data), diff))


def _removals(levels: Sequence[LevelText]) -> list[LevelText]:
    return [(price, _text(0.0)) for price, _ in levels]


def _text(number: float) -> str:
    return fixed_text(number, _DECIMALS)


def _ms(row: Tick, ts: int) -> int:
    return (row.ts_event if row.ts_event is not None else ts) // 1_000_000
