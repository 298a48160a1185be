"""Binance spot: its streams and symbols, and a decoder from its frames and depth snapshots to ticks (no I/O)."""

import re
from collections.abc import Mapping, Sequence
from typing import assert_never
from urllib.parse import unquote

import msgspec

from engine.ticks import BUY, LAST_OF_MESSAGE, NAN, PRICE_MIN, SELL, SNAPSHOT, Kind, Tick
from recorder.venues import Frame, Quality
from recorder.venues.binance_book import Book
from recorder.venues.binance_wire import (
    AggregateTrade,
    Diff,
    Instruments,
    Levels,
    Partial,
    Quote,
    Rejected,
    Shutdown,
    Snapshot,
    Trade,
    Unread,
    instrument_note,
    read,
)

QUOTE_ASSETS: tuple[str, ...] = (
    *("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USDP", "USDS", "USD1", "USD", "DAI", "PAX", "VAI", "EURI"),
    *("EUR", "GBP", "TRY", "BRL", "JPY", "AUD", "RUB", "UAH", "BIDR", "IDRT", "BKRW", "BVND", "NGN", "ZAR"),
    *("PLN", "RON", "ARS", "MXN", "CZK", "COP", "BTC", "ETH", "BNB", "XRP", "TRX", "DOGE", "DOT", "SOL"),
)
"""The assets in which Binance and Binance.US quote or quoted prices: what tells BTCUSDT's base from its quote."""

_QUOTED_IN_USD = frozenset({"SHIBUSD", "USDTUSD"})
"""Names of Binance.US that are as long as those which are quoted in BUSD and TUSD."""

CHANNELS = ("trade", "bookTicker", "depth@100ms")
STREAMS_MAX = 1024
"""Streams that one connection may carry."""
STREAMS_PER_MESSAGE = 200

# Plain numbers: to look up a member of an enum takes as long as to read a price.
_OTHER, _TRADE, _QUOTE, _BOOK, _FEED = (int(kind) for kind in Kind)
_UNKNOWN = (NAN, NAN, NAN, NAN)


def canonical(name: str) -> str:
    """BASE/QUOTE of a venue's symbol, by the longest quote asset it ends with; unknown names stay as they are.

    Binance.US quotes in USD, where BNBUSD and BATUSD are BNB and BAT: not two letters quoted in BUSD or TUSD.
    """
    quote = max((asset for asset in QUOTE_ASSETS if name.endswith(asset)), key=len, default="")
    if quote in ("BUSD", "TUSD") and (len(name) < len("BNBBUSD") or name in _QUOTED_IN_USD):
        quote = "USD"
    base = name.removesuffix(quote)
    return f"{base}/{quote}" if base and quote else name


def stream_names(symbols: Sequence[str]) -> list[str]:
    """The streams of trades, quotes and depth diffs of `symbols`, given in the canonical or the venue's spelling."""
    return [f"{symbol.replace('/', '').lower()}@{channel}" for symbol in symbols for channel in CHANNELS]


def subscribe_messages(symbols: Sequence[str]) -> list[bytes]:
    """The SUBSCRIBE requests for `symbols`. A connection may send five messages a second, pongs among them.

    Raises ValueError for more streams than one connection carries.
    """
    names = stream_names(symbols)
    if len(names) > STREAMS_MAX:
        raise ValueError(f"Binance carries at most {STREAMS_MAX} streams on a connection, found {len(names)}")
    parts = [names[start : start + STREAMS_PER_MESSAGE] for start in range(0, len(names), STREAMS_PER_MESSAGE)]
    return [
        msgspec.json.encode({"method": "SUBSCRIBE", "params": part, "id": number})
        for number, part in enumerate(parts, start=1)
    ]


class BinanceDecoder:
    """Turns Binance frames into ticks, and joins REST depth snapshots to the diffs around them.

    A book is published from the frame on in which a snapshot joins the chain of diffs. Until then diffs are `other`
    rows on the tape, held in memory. A diff that does not follow the one before gives a feed row `gap`, and nothing
    is known of the symbol until the venue has spoken again.

    symbols:  the venue's spelling to the canonical one, for names that `canonical` does not know or gets wrong.
    """

    def __init__(self, symbols: Mapping[str, str] | None = None) -> None:
        self.quality = Quality()
        self._canonical = {name.upper(): symbol for name, symbol in (symbols or {}).items()}
        self._markets = {name: _Market(symbol) for name, symbol in self._canonical.items()}

    def memory(self) -> bytes:
        """See `Decoder`."""
        return msgspec.msgpack.encode(_Memory(self.quality, self._markets))

    def recall(self, memory: bytes) -> None:
        """See `Decoder`."""
        found = msgspec.msgpack.decode(memory, type=_Memory)
        self.quality, self._markets = found.quality, found.markets

    def decode(self, frame: Frame) -> list[Tick]:
        """The ticks of one frame; see `Decoder.decode`."""
        try:
            message = read(frame.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.quality.unparsed += 1
            return [Tick(kind=_OTHER)]
        rows: list[Tick]
        match message:
            case Quote():
                rows = self._quote(message)
            case Trade():
                rows = self._trade(message)
            case Diff():
                rows = self._diff(message)
            case AggregateTrade():
                rows = self._aggregate(message)
            case Partial():
                rows = self._partial(message)
            case Snapshot():
                rows = self._snapshot(message, frame.url)
            case Instruments():
                rows = self._instruments(message)
            case Rejected():
                self.quality.rejected += 1
                note = _note("rejected", code=message.code, message=message.msg, request=message.id)
                rows = [Tick(kind=_FEED, note=note)]
            case Shutdown():
                rows = [Tick(kind=_FEED, ts_event=_ns(message.time), note=_note("server_shutdown"))]
            case Unread():
                rows = [Tick(kind=_OTHER)]
            case _:
                assert_never(message)
        return rows

    def connected(self, conn: int) -> list[Tick]:
        """A new connection: books and chains start again, the ids of trades go on."""
        self._forget()
        return [Tick(kind=_FEED, note=_note("connected"))]

    def disconnected(self, conn: int) -> list[Tick]:
        """The connection ended, and with it what was known of quotes and books."""
        self._forget()
        return [Tick(kind=_FEED, note=_note("disconnected"))]

    def lost(self, symbol: str) -> None:
        """See `Decoder`. Without this, the snapshot that heals a stale book would be one that nobody needs."""
        for market in self._markets.values():
            if market.symbol == symbol:
                market.forget()

    def _forget(self) -> None:
        for market in self._markets.values():
            market.forget()
            market.has_trades = False  # the new connection may carry aggregates alone

    def _market(self, name: str, symbol: str | None = None) -> "_Market":
        market = self._markets.get(name)
        if market is None:
            market = self._markets[name] = _Market(symbol or canonical(name))
        return market

    def _quote(self, quote: Quote) -> list[Tick]:
        market = self._market(quote.name)
        bid, bid_size = (quote.bid, quote.bid_size) if quote.bid >= PRICE_MIN and quote.bid_size else (NAN, NAN)
        ask, ask_size = (quote.ask, quote.ask_size) if quote.ask >= PRICE_MIN and quote.ask_size else (NAN, NAN)
        market.has_quotes = True
        market.touch = (bid, bid_size, ask, ask_size)
        return self._checked([market.row(_QUOTE)], market, bid, ask)

    def _trade(self, trade: Trade) -> list[Tick]:
        market = self._market(trade.name)
        market.has_trades = True
        trade_id, before = trade.trade_id, market.last_trade
        if trade_id <= before:
            return self._seen(market)
        market.last_trade = trade_id
        return self._news(market, trade, trade_id, before)

    def _aggregate(self, trade: AggregateTrade) -> list[Tick]:
        market = self._market(trade.name)
        if market.has_trades:
            return [market.row(_OTHER)]
        trade_id, before = trade.aggregate_id, market.last_aggregate
        if trade_id <= before or trade.last_trade_id <= market.last_trade:
            return self._seen(market)
        # A single trade that is part of this aggregate, and comes later, has been counted with it.
        market.last_aggregate, market.last_trade = trade_id, trade.last_trade_id
        return self._news(market, trade, trade_id, before)

    def _seen(self, market: "_Market") -> list[Tick]:
        """A trade that was counted before, as after a reconnect."""
        self.quality.duplicates += 1
        return [market.row(_OTHER)]

    def _news(self, market: "_Market", trade: Trade | AggregateTrade, trade_id: int, before: int) -> list[Tick]:
        """The row of a trade, behind a feed row where ids between `before` and it never came."""
        market.price = trade.price
        bid, bid_size, ask, ask_size = market.touch
        row = Tick(
            kind=_TRADE,
            symbol=market.symbol,
            side=SELL if trade.is_buyer_maker else BUY,
            price=trade.price,
            size=trade.size,
            bid=bid,
            bid_size=bid_size,
            ask=ask,
            ask_size=ask_size,
            ts_event=_ns(trade.time),
            trade_id=str(trade_id),
        )
        missed = trade_id - before - 1
        if before < 0 or not missed:
            return [row]
        self.quality.gaps += 1
        gap = market.row(_FEED, _note("trade_gap", missed=missed))
        gap.flags = 0
        return [gap, row]

    def _diff(self, diff: Diff) -> list[Tick]:
        market = self._market(diff.name)
        book = market.book
        if book.is_old(diff):
            return [market.row(_OTHER)]
        expected = book.expected(diff)
        if expected is not None:
            # This diff is the first of a new chain, which waits for a snapshot of its own.
            self.quality.gaps += 1
            market.forget()
            book.hold(diff)
            return [market.row(_FEED, _note("gap", expected=expected, got=diff.first))]
        if not book.is_synced:
            book.hold(diff)
            return [market.row(_OTHER)]
        return self._whole(market, market.updated(diff))

    def _snapshot(self, snapshot: Snapshot, url: str | None) -> list[Tick]:
        market = self._owner(snapshot, url)
        if market is None:
            return [Tick(kind=_OTHER, note=_note("snapshot_of_unknown_symbol"))]
        if market.book.is_synced and not market.book.is_outdated_by(snapshot):
            return [market.row(_OTHER)]  # The chain is whole and leads past it.
        if market.book.is_too_old(snapshot):
            note = _note("resync", snapshot=snapshot.last, first_held=market.book.held[0].first)
            return [market.row(_FEED, note)]
        return self._whole(market, market.joined(snapshot))

    def _instruments(self, listed: Instruments) -> list[Tick]:
        """Steps and minimums, of the symbols that were asked for."""
        wanted = [item for item in listed.symbols if not self._canonical or item.name in self._canonical]
        rows = [self._market(item.name, item.canonical).row(_FEED, instrument_note(item)) for item in wanted]
        for row in rows[:-1]:
            row.flags &= ~LAST_OF_MESSAGE
        return rows or [Tick(kind=_OTHER)]

    def _owner(self, snapshot: Snapshot, url: str | None) -> "_Market | None":
        """The market of a REST answer: the one its URL names, else the only one that waits, else the one it fits."""
        named = re.search(r"[?&]symbol=(\w+)", unquote(url or ""))
        if named:
            return self._market(named[1].upper())
        known = list(self._markets.values())
        waiting = [market for market in known if market.book.held]
        if not waiting:
            waiting = [market for market in known if not market.book.is_synced]
        if len(waiting) > 1:
            waiting = [market for market in waiting if market.fits(snapshot)]
        if not waiting and len(known) == 1:
            waiting = known
        return waiting[0] if len(waiting) == 1 and waiting[0].may_trade_at(snapshot) else None

    def _partial(self, partial: Partial) -> list[Tick]:
        market = self._market(partial.name)
        if market.book.is_synced:
            return [market.row(_OTHER)]  # The full book knows more.
        return self._whole(market, market.replaced(partial.bids, partial.asks))

    def _whole(self, market: "_Market", rows: list[Tick]) -> list[Tick]:
        """Close a book message: its last row carries the touch that the message leaves behind."""
        if not rows:
            return [market.row(_OTHER)]
        (bid, bid_size), (ask, ask_size) = market.book.bids.best(), market.book.asks.best()
        if not market.has_quotes:
            market.touch = (bid, bid_size, ask, ask_size)
        last = rows[-1]
        last.bid, last.bid_size, last.ask, last.ask_size = market.touch
        last.flags |= LAST_OF_MESSAGE
        return self._checked(rows, market, bid, ask)

    def _checked(self, rows: list[Tick], market: "_Market", bid: float, ask: float) -> list[Tick]:
        """`rows`, and a feed row behind them where they leave bid and ask locked or crossed."""
        if bid >= ask:
            self.quality.crossed += 1
            rows[-1].flags &= ~LAST_OF_MESSAGE
            rows.append(market.row(_FEED, _note("crossed", bid=bid, ask=ask)))
        return rows


class _Market(msgspec.Struct):
    """What has been heard of one symbol.

    last_trade, last_aggregate:  the highest ids counted so far, -1 before the first.
    has_trades:  single trades have been seen, so that aggregates of them are no news.
    has_quotes:  a bookTicker has been seen. It runs up to 100 ms ahead of the diffs, so the touch is its alone.
    touch:       bid, bid_size, ask, ask_size as last known.
    price:       of the last trade, NaN before the first.
    """

    symbol: str
    last_trade: int = -1
    last_aggregate: int = -1
    has_trades: bool = False
    has_quotes: bool = False
    touch: tuple[float, float, float, float] = _UNKNOWN
    price: float = NAN
    book: Book = msgspec.field(default_factory=Book)

    def forget(self) -> None:
        """Drop touch and book; the ids of trades stay. Who tells of the touch from now on is not known."""
        self.touch = _UNKNOWN
        self.has_quotes = False
        self.book.forget()

    def fits(self, snapshot: Snapshot) -> bool:
        """`snapshot` lies within the diffs that this market holds."""
        held = self.book.held
        return bool(held) and held[0].first <= snapshot.last <= held[-1].last

    def may_trade_at(self, snapshot: Snapshot) -> bool:
        """The prices of a snapshot that names no symbol are not those of quite another market."""
        near = self.touch[0] if self.touch[0] > 0.0 else self.price
        best = (snapshot.bids or snapshot.asks)[:1]
        return not any(price < near / _ANOTHER_MARKET or price > near * _ANOTHER_MARKET for price, _ in best)

    def row(self, kind: int, note: str | None = None) -> Tick:
        """A row about this symbol, with the touch and no price of its own."""
        bid, bid_size, ask, ask_size = self.touch
        return Tick(kind=kind, symbol=self.symbol, bid=bid, bid_size=bid_size, ask=ask, ask_size=ask_size, note=note)

    def joined(self, snapshot: Snapshot) -> list[Tick]:
        """The rows of a snapshot, and of the diffs that were held for it and go on from it."""
        bids, asks = self._shown(snapshot.bids, snapshot.asks)
        newer = self.book.join(snapshot)
        rows = self._levels(bids, asks, SNAPSHOT, None)
        for diff in newer:
            rows += self.updated(diff)
        return rows

    def updated(self, diff: Diff) -> list[Tick]:
        """The rows of a diff that continues the chain."""
        self.book.apply(diff)
        return self._levels(diff.bids, diff.asks, 0, _ns(diff.time))

    def replaced(self, bids: Levels, asks: Levels) -> list[Tick]:
        """The rows of a partial book in place of the one before."""
        bids, asks = self._shown(bids, asks)
        self.book.replace(bids, asks)
        return self._levels(bids, asks, SNAPSHOT, None)

    def _shown(self, bids: Levels, asks: Levels) -> tuple[Levels, Levels]:
        """The levels that stand on the rows of a snapshot.

        Only a row can say that a book is empty now: it clears the book, and removes a level that is gone with it.
        """
        if bids or asks:
            return bids, asks
        book = self.book
        return [(price, 0.0) for price in book.bids.sizes][:1], [(price, 0.0) for price in book.asks.sizes][:1]

    def _levels(self, bids: Levels, asks: Levels, flags: int, ts_event: int | None) -> list[Tick]:
        """Book rows, none of them the last of its message yet: all bids, then all asks."""
        symbol = self.symbol
        bid, bid_size, ask, ask_size = self.touch
        return [
            Tick(
                kind=_BOOK,
                symbol=symbol,
                side=side,
                price=price,
                size=size,
                bid=bid,
                bid_size=bid_size,
                ask=ask,
                ask_size=ask_size,
                ts_event=ts_event,
                flags=flags,
            )
            for side, levels in ((BUY, bids), (SELL, asks))
            for price, size in levels
        ]


class _Memory(msgspec.Struct):
    """All that a decoder knows; `markets` by the venue's spelling."""

    quality: Quality
    markets: dict[str, _Market]


_ANOTHER_MARKET = 5.0
"""So many times the price known, or one of so many parts of it, is the price of something else."""


def _ns(stamp: int) -> int:
    """A venue's time in ns: it sends milliseconds, or microseconds where the URL asked for `timeUnit=MICROSECOND`."""
    return stamp * 1_000_000 if stamp < 10**14 else stamp * 1_000


def _note(event: str, **parts: int | float | str | None) -> str:
    return msgspec.json.encode({"event": event, **parts}).decode()
