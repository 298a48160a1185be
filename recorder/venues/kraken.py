"""Kraken's spot WebSocket v2: what to subscribe to, and its frames to ticks (no I/O)."""

from collections.abc import Collection, Sequence
from typing import assert_never

import msgspec

from engine.ticks import BUY, LAST_OF_MESSAGE, NAN, PRICE_MIN, RECOVERED, Tick
from recorder.venues import Frame, Quality
from recorder.venues import kraken_wire as wire
from recorder.venues.kraken_book import Book, Level
from recorder.venues.kraken_rows import (
    OTHER,
    QUOTE,
    TRADE,
    UNKNOWN_TOUCH,
    KrakenNote,
    Touch,
    about,
    feed,
    instrument_note,
    level_rows,
    one_message,
)

VENUE = "kraken"
URL = "wss://ws.kraken.com/v2"


def subscribe_messages(symbols: Sequence[str], depth: int = 10) -> list[bytes]:
    """The requests that bring instruments, books of `depth` levels a side, quotes and trades of `symbols`.

    Instruments come first, so that lot sizes stand on the tape before the first price. Each request is
    answered once per symbol. Both defaults of the venue that would mislead are set: quotes follow
    the best bid and offer (its default moves them with trades only), and trades begin with the last 50.

    Raises ValueError for a depth that the venue does not offer.
    """
    if depth not in wire.DEPTHS:
        raise ValueError(f"Kraken book depth: expected one of {', '.join(map(str, wire.DEPTHS))}, found {depth}")
    names = list(symbols)
    requests: list[dict[str, object]] = [
        {"channel": "instrument", "snapshot": True},
        {"channel": "book", "symbol": names, "depth": depth, "snapshot": True},
        {"channel": "ticker", "symbol": names, "event_trigger": "bbo", "snapshot": True},
        {"channel": "trade", "symbol": names, "snapshot": True},
    ]
    return [
        msgspec.json.encode({"method": "subscribe", "params": params, "req_id": req_id})
        for req_id, params in enumerate(requests, start=1)
    ]


class _Market(msgspec.Struct):
    """What a decoder knows of one symbol.

    touch:          bid, its size, ask, its size, from the ticker or the book, whichever spoke last.
    depth:          of the acknowledged book subscription, or None.
    book:           None while no snapshot has come, or after a wrong checksum.
    last_trade_id:  outlives connections, so that a trade is never news twice.
    """

    last_trade_id: int | None = None
    touch: Touch = UNKNOWN_TOUCH
    depth: int | None = None
    book: Book | None = None

    def forget(self) -> None:
        self.touch, self.depth, self.book = UNKNOWN_TOUCH, None, None

    def lose_book(self) -> None:
        """Until the next snapshot; what the touch was worth is not known either."""
        self.book, self.touch = None, UNKNOWN_TOUCH

    def lose_quotes(self) -> None:
        """No ticker comes any more: a book that does says what the touch is, or nobody."""
        self.touch = UNKNOWN_TOUCH if self.book is None else self.book.touch()

    def book_subscription(self, depth: int | None, *, is_over: bool) -> None:
        """The venue said that it sends this book, to `depth` levels a side, or that it sends it no more."""
        self.depth = None if is_over or depth not in wire.DEPTHS else depth
        if is_over:
            self.lose_book()
        elif self.book is not None and self.depth is not None:
            self.book.depth = self.depth


class _Memory(msgspec.Struct):
    """All that a decoder knows."""

    quality: Quality
    is_online: bool
    markets: dict[str, _Market]


class KrakenDecoder:
    """Frames of one Kraken v2 stream to ticks; a `Decoder`.

    symbols:  the only pairs of the instrument channel (hundreds) that get a row; None for all.
    """

    def __init__(self, symbols: Collection[str] | None = None) -> None:
        self.quality = Quality()
        self._wanted = None if symbols is None else frozenset(symbols)
        self._markets: dict[str, _Market] = {}
        self._is_online = True

    def connected(self, conn: int) -> Sequence[Tick]:
        """A feed row `connected`; books, depths and touches of an earlier connection are forgotten."""
        return self._restart("connected")

    def disconnected(self, conn: int) -> Sequence[Tick]:
        """A feed row `disconnected`; nothing is known any more but the ids of trades seen."""
        return self._restart("disconnected")

    def lost(self, symbol: str) -> None:
        """See `Decoder`."""
        self._market(symbol).lose_book()

    def memory(self) -> bytes:
        """See `Decoder`."""
        return msgspec.msgpack.encode(_Memory(self.quality, self._is_online, self._markets))

    def recall(self, memory: bytes) -> None:
        """See `Decoder`."""
        found = msgspec.msgpack.decode(memory, type=_Memory)
        self.quality, self._is_online, self._markets = found.quality, found.is_online, found.markets

    def decode(self, frame: Frame) -> Sequence[Tick]:
        """The ticks of one frame, at least one; see `Decoder`.

        A frame is read whole before any of it counts: one that holds a single bad number changes nothing.
        """
        message = wire.parse(frame.payload)
        match message:
            case wire.Books():
                rows = self._books(message)
            case wire.Tickers():
                rows = self._quotes(message)
            case wire.Trades():
                rows = self._trades(message)
            case wire.Heartbeat() | wire.Unknown():
                rows = []
            case wire.Instruments():
                rows = self._instruments(message)
            case wire.Status():
                rows = self._status(message)
            case wire.Reply():
                rows = self._reply(message)
            case None:
                rows = self._unparsed()
            case _:
                assert_never(message)
        return rows or [Tick(kind=OTHER)]

    def _restart(self, event: str) -> list[Tick]:
        for market in self._markets.values():
            market.forget()
        self._is_online = True
        return [feed(KrakenNote(event=event))]

    def _unparsed(self) -> list[Tick]:
        self.quality.unparsed += 1
        return []

    def _market(self, symbol: str) -> _Market:
        market = self._markets.get(symbol)
        if market is None:
            market = self._markets[symbol] = _Market()
        return market

    def _books(self, message: wire.Books) -> list[Tick]:
        times = wire.event_times(message.data)
        changes = [wire.levels(change) for change in message.data]
        if times is None or None in changes:
            return self._unparsed()
        is_snapshot = message.type == "snapshot"
        rows: list[Tick] = []
        for change, levels, ts_event in zip(message.data, changes, times, strict=True):
            assert levels is not None, "read above"
            rows += self._book(change, levels, ts_event, is_snapshot)
        return rows

    def _book(
        self, change: wire.BookChange, levels: list[Level], ts_event: int | None, is_snapshot: bool
    ) -> list[Tick]:
        symbol, market = change.symbol, self._market(change.symbol)
        if is_snapshot:
            market.book = Book(market.depth or _depth_of(levels))
        if market.book is None:
            return [about(OTHER, symbol, market.touch, ts_event)]
        levels += market.book.apply(levels)
        computed = market.book.checksum()
        if computed != change.checksum:
            return [self._wrong_checksum(symbol, market, ts_event, expected=change.checksum, computed=computed)]
        self.quality.checksum_ok += 1
        before, market.touch = market.touch, market.book.touch()
        rows = level_rows(symbol, levels, before, ts_event, is_snapshot)
        if not rows:
            return [about(OTHER, symbol, market.touch, ts_event)]
        last = rows[-1]
        last.flags |= LAST_OF_MESSAGE
        last.bid, last.bid_size, last.ask, last.ask_size = market.touch
        return rows + self._crossed(symbol, market.touch, ts_event)

    def _wrong_checksum(
        self, symbol: str, market: _Market, ts_event: int | None, *, expected: int, computed: int
    ) -> Tick:
        # What was lost cannot be known, so the book is worth nothing until the next snapshot.
        self.quality.checksum_failed += 1
        market.lose_book()
        note = KrakenNote(event="checksum", expected=expected, computed=computed)
        return feed(note, symbol, market.touch, ts_event)

    def _crossed(self, symbol: str, touch: Touch, ts_event: int | None) -> list[Tick]:
        bid, _, ask, _ = touch
        if not bid >= ask:
            return []
        self.quality.crossed += 1
        return [feed(KrakenNote(event="crossed"), symbol, touch, ts_event)]

    def _quotes(self, message: wire.Tickers) -> list[Tick]:
        times = wire.event_times(message.data)
        if times is None:
            return self._unparsed()
        rows: list[Tick] = []
        for quote, ts_event in zip(message.data, times, strict=True):
            market = self._market(quote.symbol)
            # A side without orders is printed as zeros.
            bid = (quote.bid, quote.bid_qty) if quote.bid >= PRICE_MIN else (NAN, NAN)
            ask = (quote.ask, quote.ask_qty) if quote.ask >= PRICE_MIN else (NAN, NAN)
            market.touch = (*bid, *ask)
            rows.append(about(QUOTE, quote.symbol, market.touch, ts_event))
            rows += self._crossed(quote.symbol, market.touch, ts_event)
        return one_message(rows)

    def _trades(self, message: wire.Trades) -> list[Tick]:
        times = wire.event_times(message.data)
        if times is None:
            return self._unparsed()
        is_snapshot = message.type == "snapshot"
        # The first snapshot of a symbol is history; in a later one, what we have not seen was missed.
        history: set[str] = set()
        if is_snapshot:
            history = {trade.symbol for trade in message.data if self._market(trade.symbol).last_trade_id is None}
        rows: list[Tick] = []
        for trade, ts_event in zip(message.data, times, strict=True):
            rows += self._trade(trade, ts_event, is_snapshot, trade.symbol in history)
        return one_message(rows)

    def _trade(self, trade: wire.Trade, ts_event: int | None, is_snapshot: bool, is_history: bool) -> list[Tick]:
        market = self._market(trade.symbol)
        last_id = market.last_trade_id
        is_seen = last_id is not None and trade.trade_id <= last_id
        if not is_seen:
            market.last_trade_id = trade.trade_id
        elif not is_snapshot:
            self.quality.duplicates += 1
        if is_seen or is_history:
            return [about(OTHER, trade.symbol, market.touch, ts_event, trade_id=str(trade.trade_id))]
        row = about(TRADE, trade.symbol, market.touch, ts_event, trade_id=str(trade.trade_id))
        row.side = BUY if trade.side == "buy" else -BUY
        row.price, row.size = trade.price, trade.qty
        if is_snapshot:
            row.flags |= RECOVERED
        missed = 0 if last_id is None else trade.trade_id - last_id - 1
        return [self._trade_gap(trade.symbol, market.touch, ts_event, missed), row] if missed else [row]

    def _trade_gap(self, symbol: str, touch: Touch, ts_event: int | None, missed: int) -> Tick:
        self.quality.gaps += 1
        return feed(KrakenNote(event="trade_gap", missed=missed), symbol, touch, ts_event)

    def _instruments(self, message: wire.Instruments) -> list[Tick]:
        return one_message(
            [
                feed(instrument_note(pair), pair.symbol, self._market(pair.symbol).touch)
                for pair in message.data.pairs
                if self._wanted is None or pair.symbol in self._wanted
            ]
        )

    def _status(self, message: wire.Status) -> list[Tick]:
        rows = []
        for state in message.data:
            was_online, self._is_online = self._is_online, state.system == "online"
            if not (was_online and self._is_online):
                rows.append(feed(KrakenNote(event="status", system=state.system)))
        return one_message(rows)

    def _reply(self, reply: wire.Reply) -> list[Tick]:
        error = reply.error if reply.error is not None else reply.complaint
        if error is not None or reply.success is False:
            # The socket stays up and heartbeats flow: without this row a rejected symbol looks like a quiet market.
            self.quality.rejected += 1
            note = KrakenNote(event="rejected", method=reply.method, error=error)
            return [feed(note, reply.symbol, self._touch(reply.symbol))]
        if reply.method not in ("subscribe", "unsubscribe") or reply.result is None:
            return []
        done = reply.result
        is_over = reply.method == "unsubscribe"
        if done.channel == "book" and done.symbol is not None:
            self._market(done.symbol).book_subscription(done.depth, is_over=is_over)
        if done.channel == "ticker" and done.symbol is not None and is_over:
            self._market(done.symbol).lose_quotes()
        note = KrakenNote(event=f"{reply.method}d", channel=done.channel, depth=done.depth, warnings=done.warnings)
        return [feed(note, done.symbol, self._touch(done.symbol))]

    def _touch(self, symbol: str | None) -> Touch:
        return UNKNOWN_TOUCH if symbol is None else self._market(symbol).touch


def _depth_of(levels: Sequence[Level]) -> int:
    """The depth of a snapshot whose subscription was not seen: the smallest on offer that holds it."""
    bids = sum(level.side == BUY for level in levels)
    longest = max(bids, len(levels) - bids)
    return next((depth for depth in wire.DEPTHS if depth >= longest), wire.DEPTHS[-1])
