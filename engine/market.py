"""What is known now: quotes, trades, books, candles and the health of the feed, as a cursor over batches.

Nothing is computed that nobody asks for. The market keeps the batch in hand and a row number; a question is
answered from the columns at and before that row. Only the few things that a dropped batch would take with it
(last touch, last trade, asked-for history) are carried over.
"""

from collections import deque
from decimal import Decimal
from itertools import compress

import msgspec

from engine.book import Book, Watcher
from engine.candles import CANDLES_KEPT, Candle, CandleSeries
from engine.execution import UNKNOWN_INSTRUMENT, Instrument, assets, instrument_of
from engine.money import ONE, divide, multiply, of_float
from engine.ticks import FEED_LOST, LAST_OF_MESSAGE, NAN, NO_SYMBOL, SNAPSHOT, FeedNote, Kind, TickBatch

TRADES_KEPT = 10_000
"""How many trades of one symbol can be asked for."""
_TRADES_OVER = 2_500
"""How many more there may be before the oldest are dropped, which moves all the others."""
_ROWS_PENDING = 262_144
_BATCHES_PENDING = 64

# Plain numbers: to look up a member of an enum costs as much as to look for a row.
_TRADE, _QUOTE, _BOOK = int(Kind.TRADE), int(Kind.QUOTE), int(Kind.BOOK)

_decode_note = msgspec.json.Decoder(FeedNote).decode


class LookAhead(RuntimeError):
    """A snapshot was asked about the market after its moment had passed."""


class Quote(msgspec.Struct, frozen=True, gc=False):
    """The best bid and ask: prices in quote currency, sizes in base units. NaN for a side nobody quotes."""

    bid: float
    bid_size: float
    ask: float
    ask_size: float

    @property
    def mid(self) -> float:
        """Mean of bid and ask."""
        return (self.bid + self.ask) / 2

    @property
    def spread(self) -> float:
        """Ask minus bid."""
        return self.ask - self.bid

    @property
    def is_crossed(self) -> bool:
        """Whether the bid reaches the ask: no market can look like that, so nothing trades on it."""
        return self.bid >= self.ask


NO_QUOTE = Quote(NAN, NAN, NAN, NAN)
"""Nobody quotes, or nobody knows."""


class Trade(msgspec.Struct, frozen=True, gc=False):
    """A match at the venue: `ts` of receipt (ns), price, size in base units, side +1 buy or -1 sell (aggressor)."""

    ts: int
    price: float
    size: float
    side: int


class _TradeLog:
    """The last trades of one symbol, as far as they have been asked for, and the candles made of them."""

    def __init__(self) -> None:
        self.next_seq = 0
        self.total = 0  # trades of this symbol up to next_seq, dropped ones included
        self.trades: list[Trade] = []
        self.series: dict[int, CandleSeries] = {}

    def absorb(self, batch: TickBatch, char: str, stop: int) -> None:
        """Take in the trades of `char` in rows before `stop` that have not been taken in yet."""
        start = max(0, self.next_seq - batch.first_seq)
        if start >= stop:
            return
        fresh: list[Trade] = []
        row = batch.traded.find(char, start, stop)
        while row >= 0:
            fresh.append(Trade(batch.ts[row], batch.price[row], batch.size[row], batch.side[row]))
            row = batch.traded.find(char, row + 1, stop)
        for series in self.series.values():
            for trade in fresh:
                series.take(trade.ts, trade.price, trade.size)
        self.trades += fresh
        self.total += len(fresh)
        if len(self.trades) > TRADES_KEPT + _TRADES_OVER:
            del self.trades[:-TRADES_KEPT]
        self.next_seq = batch.first_seq + stop

    def skip(self, batch: TickBatch, char: str) -> None:
        """Pass over a batch whose trades nobody can ask for any more."""
        start = max(0, self.next_seq - batch.first_seq)
        self.total += batch.traded.count(char, start)
        self.trades.clear()
        self.next_seq = batch.first_seq + len(batch)


class _BookFold:
    """A symbol's book, and how far the tape has been folded into it."""

    def __init__(self) -> None:
        self.next_seq = 0
        self.book = Book()
        self.is_known = False
        self._in_snapshot = False
        self._snapshot_seq = 0  # of the row that would continue the snapshot

    def absorb(self, batch: TickBatch, char: str, stop: int) -> None:
        """Fold the book rows of `char` before `stop` that have not been folded yet."""
        start = max(0, self.next_seq - batch.first_seq)
        if start >= stop:
            return
        kinds, symbols, flags, put = batch.kind, batch.symbol, batch.flags, self.book.put
        side, price, size = batch.side, batch.price, batch.size
        row = kinds.find(_BOOK, start, stop)
        while row >= 0:
            if symbols[row] == char:
                flag = flags[row]
                if flag & SNAPSHOT:
                    seq = batch.first_seq + row
                    if not self._in_snapshot or seq != self._snapshot_seq:
                        self.book.clear()
                    self._in_snapshot = self.is_known = True
                    self._snapshot_seq = seq + 1
                put(side[row], price[row], size[row])
                if flag & LAST_OF_MESSAGE:
                    if self.book.is_watched:
                        self.book.tell(self._in_snapshot)
                    self._in_snapshot = False
            row = kinds.find(_BOOK, row + 1, stop)
        self.next_seq = batch.first_seq + stop

    def lose(self, seq: int) -> None:
        """Nothing is known of the book after the row `seq`, until the next snapshot."""
        self.book.clear()
        self.is_known = self._in_snapshot = False
        self.next_seq = max(self.next_seq, seq + 1)


class Market:
    """Everything the tape has said up to the row in hand. Symbols are spoken of by name."""

    def __init__(self) -> None:
        self.row = -1
        self.batch: TickBatch | None = None
        self.asker = ""  # the desk whose strategy is being called
        self.chars: dict[str, str] = {}
        self.instruments: dict[str, Instrument] = {}
        self._quotes: dict[str, Quote] = {}  # by char, from batches before the one in hand
        self._last_trades: dict[str, float] = {}  # likewise
        self._swept: dict[str, tuple[float, int]] = {}  # by char, what `_sweep` says of its last row in them
        self._quoted: set[str] = set()  # chars that have ever had a quote or book row, in batches before
        self._has_quotes = False  # whether the batch in hand has such rows
        self._has_books = False  # whether it or one before it has book rows
        self._lost: dict[str, bool] = {}  # char: whether a quote had been known
        self._logs: dict[str, _TradeLog] = {}
        self._books: dict[str, _BookFold] = {}
        self._pending: deque[TickBatch] = deque()
        self._pending_rows = 0
        self._visible_since: dict[tuple[str, str, int], int] = {}
        self._kept: dict[int, set[str]] = {}  # candle intervals kept from the start, and the desks they are kept for

    def keep_candles(self, interval_ns: int, desk: str) -> None:
        """Keep candles of this interval from now on, because this desk is triggered by them."""
        self._kept.setdefault(interval_ns, set()).add(desk)

    # -- the cursor ----------------------------------------------------------------------------------

    def begin(self, batch: TickBatch) -> None:
        """Put `batch` in hand, before its first row."""
        self.batch = batch
        self.row = -1
        has_books = batch.kind.find(_BOOK) >= 0
        self._has_books = self._has_books or has_books
        self._has_quotes = has_books or batch.kind.find(_QUOTE) >= 0
        if len(batch.symbols) > len(self.chars) + 1:
            for code in range(len(self.chars) + 1, len(batch.symbols)):
                self.chars[batch.symbols[code]] = chr(code)

    def end(self) -> None:
        """The batch in hand is over: carry on what the next ones need of it."""
        batch = self.batch
        assert batch is not None
        for char in self._present(batch):
            row = batch.symbol.rfind(char)
            if row >= 0:
                self._quotes[char] = _quote(batch, row)
                self._swept[char] = _sweep(batch, row)
                row = batch.traded.rfind(char)
                if row >= 0:
                    self._last_trades[char] = batch.price[row]
        if self._has_quotes:
            self._quoted.update(compress(batch.symbol, batch.kind.translate(_QUOTING)))
        pending = self._pending
        pending.append(batch)
        self._pending_rows += len(batch.kind)
        while self._pending_rows > _ROWS_PENDING or len(pending) > _BATCHES_PENDING:
            self._retire(pending.popleft())
        self.batch = None
        self.row = -1

    def _present(self, batch: TickBatch) -> list[str]:
        if len(batch.kind) <= len(self.chars):
            return [char for char in dict.fromkeys(batch.symbol) if char != NO_SYMBOL]
        return list(self.chars.values())

    def _retire(self, batch: TickBatch) -> None:
        self._pending_rows -= len(batch.kind)
        if batch.kind.find(_TRADE) >= 0:
            self._retire_trades(batch)
        if batch.kind.find(_BOOK) >= 0:
            for char in self._present(batch):
                if batch.symbol.find(char) >= 0:
                    fold = self._books.get(char)
                    if fold is None:
                        fold = self._books[char] = _BookFold()
                    fold.absorb(batch, char, len(batch.kind))

    def _retire_trades(self, batch: TickBatch) -> None:
        for char in self._present(batch):
            if batch.traded.find(char) >= 0:
                log = self._log_of(char)
                if log.next_seq >= batch.first_seq + len(batch):
                    continue
                # Few rows hold few trades: a live session's batches are counted only where they could be enough.
                if (
                    log.series
                    or self._pending_rows < TRADES_KEPT
                    or sum(later.traded.count(char) for later in self._pending) < TRADES_KEPT
                ):
                    log.absorb(batch, char, len(batch))
                else:
                    log.skip(batch, char)

    # -- the health of the feed ----------------------------------------------------------------------

    @property
    def has_losses(self) -> bool:
        """Whether some symbol was lost and has not spoken again."""
        return bool(self._lost)

    def take_feed(self, row: int) -> None:
        """A feed row of the batch in hand: instruments change, or what was known is lost."""
        batch = self.batch
        assert batch is not None
        note = _read_note(batch.notes.get(row))
        char = batch.symbol[row]
        if note.event == "instrument" and char != NO_SYMBOL:
            name = batch.symbols[ord(char)]
            self.instruments[name] = instrument_of(note.tick_size, note.lot_size, note.min_quantity, note.min_notional)
        elif note.event in FEED_LOST:
            heard = [known for known in self.chars.values() if self._has_spoken(known, row)]
            for lost in heard if char == NO_SYMBOL else [char]:
                self._lose(lost, row)

    def take_heard(self, row: int) -> None:
        """A row of the batch in hand, while something is lost: perhaps its symbol speaks again."""
        batch = self.batch
        assert batch is not None
        char = batch.symbol[row]
        had_quote = self._lost.get(char)
        kind = batch.kind[row]
        if had_quote is None or kind not in _SPEAKING or (kind == Kind.BOOK and not batch.flags[row] & LAST_OF_MESSAGE):
            return
        if not had_quote or (batch.bid[row] == batch.bid[row] and batch.ask[row] == batch.ask[row]):
            del self._lost[char]

    def _lose(self, char: str, row: int) -> None:
        assert self.batch is not None
        quote = self._quote_before(char, row)
        had_quote = self._lost.get(char, False) or (quote.bid == quote.bid or quote.ask == quote.ask)
        self._lost[char] = had_quote
        if char in self._books:
            self._books[char].lose(self.batch.first_seq + row)
        else:
            fold = self._books[char] = _BookFold()
            fold.lose(self.batch.first_seq + row)

    def is_stale(self, symbol: str) -> bool:
        """Whether `symbol` was lost and has not spoken since."""
        return self.chars.get(symbol, NO_SYMBOL) in self._lost

    # -- answers, as of the rows before `stop` of the batch in hand -------------------------------------

    def quote(self, symbol: str, stop: int) -> Quote | None:
        """The touch, or None while it is unknown on both sides or the feed is stale."""
        char = self.chars.get(symbol)
        if char is None or char in self._lost:
            return None
        quote = self._quote_before(char, stop)
        return quote if quote.bid == quote.bid or quote.ask == quote.ask else None

    def last_price(self, symbol: str, stop: int) -> float:
        """Price of the latest trade however old, NaN before the first."""
        char, batch = self.chars.get(symbol), self.batch
        if char is None:
            return NAN
        if batch is not None:
            row = batch.traded.rfind(char, 0, stop)
            if row >= 0:
                return batch.price[row]
        return self._last_trades.get(char, NAN)

    def meets(self, symbol: str, stop: int) -> Quote | str:
        """The touch that an order would meet, or why it can meet none.

        On a feed without quotes the price of the last trade stands for both sides. A crossed quote is no
        market: nothing trades on it.
        """
        char, batch = self.chars.get(symbol), self.batch
        if char is None:
            return "unknown symbol"
        if self._has_quotes or char in self._quoted:
            row = -1 if batch is None else batch.symbol.rfind(char, 0, stop)
            if row < 0 and char not in self._quotes:
                return "unknown symbol"
            if char in self._lost:
                return "stale market"
            quote = self._quotes[char] if row < 0 or batch is None else _quote(batch, row)
            if quote.bid == quote.bid or quote.ask == quote.ask:
                return "crossed market" if quote.bid >= quote.ask else quote
            if self._is_quoted(char, stop):
                return "no market"
        elif char in self._lost:
            return "stale market"
        row = -1 if batch is None else batch.traded.rfind(char, 0, stop)
        last = self._last_trades.get(char, NAN) if row < 0 or batch is None else batch.price[row]
        if last == last:
            return Quote(last, NAN, last, NAN)
        return "no market" if self._has_spoken(char, stop) else "unknown symbol"

    def stands(self, symbol: str, stop: int) -> Quote | str:
        """The touch that an order trades at, or why at none: what `meets` says, less what a sweep has just taken.

        Venues tell of trades before they tell of the touch that these left. Where the last thing the symbol said is
        that somebody took beyond the touch, that side stands at the trade's price, with a size that nobody has told.
        """
        quote = self.meets(symbol, stop)
        char, batch = self.chars.get(symbol), self.batch
        if isinstance(quote, str) or char is None or not (self._has_quotes or char in self._quoted):
            return quote  # without quotes it is the last trade that stands, and no sweep can have gone beyond that
        row = -1 if batch is None else batch.symbol.rfind(char, 0, stop)
        price, aggressor = self._swept.get(char, _NO_SWEEP) if row < 0 or batch is None else _sweep(batch, row)
        if price > quote.ask and aggressor >= 0:
            return Quote(quote.bid, quote.bid_size, price, NAN)
        if price < quote.bid and aggressor <= 0:
            return Quote(price, NAN, quote.ask, quote.ask_size)
        return quote

    def mark(self, symbol: str, stop: int) -> float:
        """The price to value holdings at: the mid, else the last trade however old, NaN where nothing is known."""
        char = self.chars.get(symbol)
        batch = self.batch
        if char is not None and char not in self._lost:
            row = -1 if batch is None else batch.symbol.rfind(char, 0, stop)
            if row < 0 or batch is None:
                mid = self._quotes.get(char, NO_QUOTE).mid
            else:
                mid = (batch.bid[row] + batch.ask[row]) / 2
            if mid == mid:
                return mid
        return self.last_price(symbol, stop)

    def _is_quoted(self, char: str, stop: int) -> bool:
        """Whether the symbol has ever been quoted: if so, no quote means that nobody is there to trade with."""
        if char in self._quoted:
            return True
        if self._has_quotes and self.batch is not None:
            row = self.batch.symbol.find(char, 0, stop)
            while row >= 0:
                if _QUOTING[self.batch.kind[row]]:
                    return True
                row = self.batch.symbol.find(char, row + 1, stop)
        return False

    def _has_spoken(self, char: str, stop: int) -> bool:
        """Whether any row was about the symbol. A batch may name symbols that come only later in it."""
        return char in self._quotes or (self.batch is not None and self.batch.symbol.find(char, 0, stop) >= 0)

    def _quote_before(self, char: str, stop: int) -> Quote:
        if self.batch is not None:
            row = self.batch.symbol.rfind(char, 0, stop)
            if row >= 0:
                return _quote(self.batch, row)
        return self._quotes.get(char, NO_QUOTE)

    def instrument(self, symbol: str) -> Instrument:
        """What the venue accepts, as far as the tape has said."""
        return self.instruments.get(symbol, UNKNOWN_INSTRUMENT)

    def rate(self, asset: str, currency: str, stop: int) -> Decimal | None:
        """Units of `currency` for one of `asset`, over one market or two; None where no price is known.

        The direct market first, then its inverse, then by way of the quote currencies of the asset's
        markets in the order of their names.
        """
        if asset == currency:
            return ONE
        direct = self._one_step(asset, currency, stop)
        if direct is not None:
            return direct
        for symbol in sorted(self.chars):
            base, via = assets(symbol)
            if base == asset and via:
                first, second = self._one_step(asset, via, stop), self._one_step(via, currency, stop)
                if first is not None and second is not None:
                    return multiply(first, second)
        return None

    def _one_step(self, asset: str, currency: str, stop: int) -> Decimal | None:
        price = self.mark(f"{asset}/{currency}", stop)
        if price > 0.0:
            return of_float(price)
        price = self.mark(f"{currency}/{asset}", stop)
        if price > 0.0:
            return divide(ONE, of_float(price))
        return None

    # -- history, as of the row in hand -------------------------------------------------------------------

    def trades(self, symbol: str, n: int) -> list[Trade]:
        """The last `n` trades, oldest first."""
        if not 0 < n <= TRADES_KEPT:
            raise ValueError(f"expected 1 to {TRADES_KEPT} trades, asked for {n}")
        char = self.chars.get(symbol)
        return [] if char is None else self._log(char).trades[-n:]

    def candles(self, symbol: str, interval_ns: int, n: int) -> tuple[Candle, ...]:
        """The last `n` closed candles, oldest first.

        They reach back to the tape's beginning, or to the 10,000th last trade at the moment when this
        desk first asked for the interval: what another desk asked for earlier must not show.
        """
        if not 0 < n <= CANDLES_KEPT:
            raise ValueError(f"expected 1 to {CANDLES_KEPT} candles, asked for {n}")
        char = self.chars.get(symbol)
        if char is None or self.batch is None:
            return ()
        log = self._log(char)
        series = log.series.get(interval_ns)
        if series is None:
            series = log.series[interval_ns] = CandleSeries(interval_ns)
            for trade in log.trades:
                series.take(trade.ts, trade.price, trade.size)
        key = (self.asker, char, interval_ns)
        since = self._visible_since.get(key)
        if since is None:
            is_whole = log.total <= TRADES_KEPT or self.asker in self._kept.get(interval_ns, ())
            since = 0 if is_whole else _next_start(log.trades[-TRADES_KEPT].ts, interval_ns)
            self._visible_since[key] = since
        series.advance(self.batch.ts[self.row])
        return series.closed(n, since)

    def book(self, symbol: str) -> Book | None:
        """The order book, or None while it is unknown."""
        if not self._has_books:
            return None
        char = self.chars.get(symbol)
        if char is None or char in self._lost or self.batch is None:
            return None
        fold = self._books.get(char)
        if fold is None:
            fold = self._books[char] = _BookFold()
        for batch in self._unread(fold.next_seq):
            fold.absorb(batch, char, len(batch))
        fold.absorb(self.batch, char, self.row + 1)
        return fold.book if fold.is_known else None

    def forget(self, watcher: Watcher) -> None:
        """A watcher of some book matters no longer."""
        for fold in self._books.values():
            fold.book.unwatch(watcher)

    def _log(self, char: str) -> _TradeLog:
        log = self._log_of(char)
        for batch in self._unread(log.next_seq):
            log.absorb(batch, char, len(batch))
        if self.batch is not None:
            log.absorb(self.batch, char, self.row + 1)
        return log

    def _unread(self, next_seq: int) -> list[TickBatch]:
        """The batches before the one in hand that somebody who has read up to `next_seq` has not read, oldest first."""
        unread: list[TickBatch] = []
        for batch in reversed(self._pending):
            if batch.first_seq + len(batch) <= next_seq:
                break
            unread.append(batch)
        return unread[::-1]

    def _log_of(self, char: str) -> _TradeLog:
        log = self._logs.get(char)
        if log is None:
            log = self._logs[char] = _TradeLog()
            log.series = {interval: CandleSeries(interval) for interval in self._kept}
        return log


_QUOTING = bytes(kind in (Kind.QUOTE, Kind.BOOK) for kind in range(256))
_SPEAKING = (Kind.TRADE, Kind.QUOTE, Kind.BOOK)


def _quote(batch: TickBatch, row: int) -> Quote:
    return Quote(batch.bid[row], batch.bid_size[row], batch.ask[row], batch.ask_size[row])


_NO_SWEEP = (NAN, 0)


def _sweep(batch: TickBatch, row: int) -> tuple[float, int]:
    """Price and aggressor of the trade in this row, NaN and 0 where it is none."""
    return (batch.price[row], batch.side[row]) if batch.kind[row] == _TRADE else _NO_SWEEP


def _read_note(text: str | None) -> FeedNote:
    if text is None:
        return FeedNote(event="")
    try:
        return _decode_note(text)
    except msgspec.DecodeError:
        return FeedNote(event="")


def _next_start(ts: int, interval_ns: int) -> int:
    return ts - ts % interval_ns + interval_ns
