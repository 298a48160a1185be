"""What a Kraken server has to say, read from recorded frames or made of any venue's ticks."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct

from apps.serving import Message, Said
from apps.serving_book import LevelText
from apps.serving_numbers import Digits
from engine.ticks import BUY, SNAPSHOT, Kind, Tick
from recorder.venues import Frame
from recorder.venues import kraken_frames as print_frame
from recorder.venues import kraken_wire as wire
from recorder.venues.rfc3339 import format_us

_BEAT_NS = 1_000_000_000


class BookNews(Struct, frozen=True, gc=False):
    """Levels of one symbol; `crc` is the recorded checksum of the book after them, None where it is built."""

    symbol: str
    is_snapshot: bool
    bids: list[LevelText]
    asks: list[LevelText]
    time: str
    crc: int | None


class DepthNews(Struct, frozen=True, gc=False):
    """The recorded book of a symbol holds so many levels a side from here on."""

    symbol: str
    depth: int


class QuoteNews(Struct, frozen=True, gc=False):
    """A quote of one symbol, as the JSON object in a ticker message."""

    symbol: str
    item: bytes


class TradeNews(Struct, frozen=True, gc=False):
    """A match of one symbol, as the JSON object in a trade message."""

    symbol: str
    is_snapshot: bool
    item: bytes


class PairNews(Struct, frozen=True, gc=False):
    """A pair of the instrument channel, as the JSON object in its message."""

    symbol: str
    item: bytes


class Beat(Struct, frozen=True, gc=False):
    """A heartbeat."""


class StatusNews(Struct, frozen=True, gc=False):
    """The matching engine went into another state."""


class Restart(Struct, frozen=True, gc=False):
    """The recording lost its connection here: what it knew of books is not known until it says so again."""


News: TypeAlias = BookNews | DepthNews | QuoteNews | TradeNews | PairNews | Beat | StatusNews | Restart


class _Head(Struct, gc=False):
    channel: str | None = None
    type: str = ""
    data: Raw = Raw(b"")
    method: str | None = None


class _Item(Struct, gc=False):
    symbol: str


class _Pairs(Struct):
    pairs: list[Raw] = []


_HEAD = msgspec.json.Decoder(_Head)
_ITEMS = msgspec.json.Decoder(list[Raw])
_ITEM = msgspec.json.Decoder(_Item)
_PAIRS = msgspec.json.Decoder(_Pairs)


def said_in(frames: Iterable[Frame]) -> Iterator[Said]:
    """Recorded frames of the channels that are served; answers to the recorder's own requests are left out."""
    conn: int | None = None
    was_online = True
    for frame in frames:
        ts = frame.ts_recv or 0
        if conn is not None and frame.conn != conn:
            yield Said(ts, None, (Restart(),))
        conn = frame.conn
        news = _news_in(frame.payload)
        if news and type(news[0]) is StatusNews:
            # The first status of a connection is part of its opening, which every client has of its own.
            is_online = b'"online"' in frame.payload
            was_online, is_news = is_online, not (was_online and is_online)
            if not is_news:
                continue
        if news:
            yield Said(ts, None if type(news[0]) is DepthNews else frame.payload, news)


def _news_in(payload: bytes) -> Sequence[News]:
    """What a recorded frame says; nothing, where it cannot be read."""
    try:
        head = _HEAD.decode(payload)
        match head.channel:
            case "book":
                return _books(payload)
            case "ticker":
                return [QuoteNews(_ITEM.decode(item).symbol, bytes(item)) for item in _ITEMS.decode(head.data)]
            case "trade":
                old = head.type == "snapshot"
                return [TradeNews(_ITEM.decode(item).symbol, old, bytes(item)) for item in _ITEMS.decode(head.data)]
            case "heartbeat":
                return (Beat(),)
            case "instrument":
                pairs = _PAIRS.decode(head.data).pairs
                return [PairNews(_ITEM.decode(pair).symbol, bytes(pair)) for pair in pairs]
            case "status":
                return (StatusNews(),)
        return _depth(payload) if head.method == "subscribe" else ()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()


def _books(payload: bytes) -> Sequence[News]:
    message = wire.parse(payload)
    if not isinstance(message, wire.Books) or any(wire.levels(change) is None for change in message.data):
        return ()
    return [
        BookNews(
            change.symbol,
            message.type == "snapshot",
            [(_text(level.price), _text(level.qty)) for level in change.bids],
            [(_text(level.price), _text(level.qty)) for level in change.asks],
            change.timestamp or "",
            change.checksum,
        )
        for change in message.data
    ]


def _text(number: bytes | int) -> str:
    return number.decode() if isinstance(number, bytes) else str(number)


def _depth(payload: bytes) -> Sequence[News]:
    reply = wire.parse(payload)
    if not isinstance(reply, wire.Reply) or reply.result is None:
        return ()
    done = reply.result
    if done.channel != "book" or done.symbol is None or done.depth not in wire.DEPTHS:
        return ()
    return (DepthNews(done.symbol, done.depth),)


def told_by(messages: Iterable[Message], digits: dict[str, Digits]) -> Iterator[Said]:
    """The ticks of any venue, as Kraken would say them, with a heartbeat for every second of the stream."""
    teller = _Teller(digits)
    beat: int | None = None
    for ts, rows in messages:
        beat = ts if beat is None else beat
        while ts - beat >= _BEAT_NS:
            beat += _BEAT_NS
            yield Said(beat, None, (Beat(),))
        news = teller.news(ts, rows)
        if news:
            yield Said(ts, None, news)


class _Teller:
    """Keeps what Kraken prints beside a tick: the day so far, and counted ids where a tick has none."""

    def __init__(self, digits: dict[str, Digits]) -> None:
        self._digits = digits
        self._days: dict[str, _Day] = {}
        self._touches: dict[str, tuple[float, float, float, float]] = {}

    def news(self, ts: int, rows: Sequence[Tick]) -> list[News]:
        news: list[News] = []
        books: dict[str, list[Tick]] = {}
        for row in rows:
            if row.symbol is None:
                continue
            if row.kind == Kind.BOOK:
                books.setdefault(row.symbol, []).append(row)
            elif row.kind == Kind.TRADE:
                news.append(self._trade(row.symbol, row, ts))
            elif row.kind == Kind.QUOTE:
                news += self._quote(row.symbol, row, ts)
        for symbol, levels in books.items():
            news.append(self._book(symbol, levels, ts))
            news += self._quote(symbol, levels[-1], ts)
        return news

    def _of(self, symbol: str) -> Digits:
        return self._digits.setdefault(symbol, Digits())

    def _book(self, symbol: str, rows: Sequence[Tick], ts: int) -> BookNews:
        digits, is_snapshot = self._of(symbol), bool(rows[0].flags & SNAPSHOT)
        known = [row for row in rows if row.price == row.price]
        bids, asks = (
            [(digits.price_text(row.price), digits.size_text(row.size)) for row in known if row.side == side]
            for side in (BUY, -BUY)
        )
        return BookNews(symbol, is_snapshot, bids, asks, _time(rows[-1], ts), None)

    def _quote(self, symbol: str, row: Tick, ts: int) -> list[News]:
        """A quote where the touch has another price or size than the last one."""
        touch = (row.bid, row.bid_size, row.ask, row.ask_size)
        if self._touches.get(symbol) == touch:
            return []
        self._touches[symbol] = touch
        digits = self._of(symbol)
        bid = (digits.price_text(row.bid), digits.size_text(row.bid_size))
        ask = (digits.price_text(row.ask), digits.size_text(row.ask_size))
        day = self._days.setdefault(symbol, _Day()).printed(digits)
        return [QuoteNews(symbol, print_frame.text_quote(symbol, bid, ask, day, _time(row, ts)))]

    def _trade(self, symbol: str, row: Tick, ts: int) -> TradeNews:
        day, digits = self._days.setdefault(symbol, _Day()), self._of(symbol)
        day.trade(row.price, row.size, row.trade_id)
        price, size = digits.price_text(row.price), digits.size_text(row.size)
        side = "buy" if row.side == BUY else "sell"
        item = print_frame.text_trade(symbol, side, price, size, day.last_id, _time(row, ts))
        return TradeNews(symbol, False, item)


class _Day:
    """The trades of a symbol so far, all zeros before the first: so Kraken prints a pair that has not traded."""

    def __init__(self) -> None:
        self.last_id = 0
        self._open = self._last = self._low = self._high = self._volume = self._turnover = 0.0

    def trade(self, price: float, size: float, trade_id: str | None) -> None:
        """Count one. Kraken's ids are numbers without holes; where the tape has none, or others, they are counted."""
        is_number = trade_id is not None and trade_id.isascii() and trade_id.isdigit() and len(trade_id) < 19
        self.last_id = int(trade_id) if is_number and trade_id is not None else self.last_id + 1
        if not self._volume:
            self._open = self._low = self._high = price
        self._last, self._low, self._high = price, min(self._low, price), max(self._high, price)
        self._volume += size
        self._turnover += price * size

    def printed(self, digits: Digits) -> dict[str, str]:
        """The numbers of a ticker that are about the day."""
        change = self._last - self._open
        return {
            "last": digits.price_text(self._last),
            "volume": f"{self._volume:.{digits.size}f}",
            "vwap": f"{self._turnover / self._volume if self._volume else 0.0:.{digits.price}f}",
            "low": digits.price_text(self._low),
            "high": digits.price_text(self._high),
            "change": f"{change:.{digits.price}f}",
            "change_pct": f"{100.0 * change / self._open if self._open else 0.0:.2f}",
        }


def _time(row: Tick, ts: int) -> str:
    return format_us(row.ts_event if row.ts_event is not None else ts)
