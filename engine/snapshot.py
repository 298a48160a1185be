"""What a strategy sees: the tick in hand, and by way of it the market up to that tick and no further."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from math import fsum  # not sum(): that rounds differently from Python 3.12 on
from typing import TypeVar

import msgspec

from engine import legacy
from engine.candles import Candle
from engine.market import NO_QUOTE, LookAhead, Market, Quote, Trade
from engine.signals import interval_ns
from engine.ticks import KIND_NAMES, NAN, TickBatch

T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BookView(msgspec.Struct, frozen=True, gc=False):
    """The best levels of a book, best first, each a (price, size) pair: quote currency and base units."""

    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]


class Snapshot(msgspec.Struct, frozen=True, gc=False, eq=False):
    """A moment of the market, immutable.

    ts:      time of receipt of the tick in hand, ns UTC: now, as far as a strategy can know.
    symbol:  the tick's.

    The properties that read the tick in hand stay true for good. Whatever else is asked is asked of the
    market, which moves on: after its moment that raises LookAhead instead of showing the future.
    """

    _market: Market
    _batch: TickBatch
    _row: int
    ts: int
    symbol: str

    # -- the tick in hand ------------------------------------------------------------------------------

    @property
    def kind(self) -> str:
        """What the tick is: trade, quote, book, feed or other."""
        return KIND_NAMES[self._batch.kind[self._row]]

    @property
    def price(self) -> float:
        """Price of the symbol's latest trade (the tick's own where it is one), or the mid before the first."""
        market = self._now()
        last = market.last_price(self.symbol, self._row + 1)
        return last if last == last else self.mid

    @property
    def size(self) -> float:
        """Base units of the trade or book level in hand; NaN on a quote."""
        return self._batch.size[self._row] if self._is_own() else NAN

    @property
    def side(self) -> int:
        """+1 buy or bid, -1 sell or ask, 0 none; of a trade the aggressor's."""
        return self._batch.side[self._row] if self._is_own() else 0

    @property
    def bid(self) -> float:
        """Best bid of the symbol, NaN while unknown."""
        return self._quote().bid

    @property
    def bid_size(self) -> float:
        """Base units at the best bid, NaN while unknown."""
        return self._quote().bid_size

    @property
    def ask(self) -> float:
        """Best ask of the symbol, NaN while unknown."""
        return self._quote().ask

    @property
    def ask_size(self) -> float:
        """Base units at the best ask, NaN while unknown."""
        return self._quote().ask_size

    @property
    def mid(self) -> float:
        """Mean of bid and ask, NaN while one is unknown."""
        return self._quote().mid

    @property
    def spread(self) -> float:
        """Ask minus bid, NaN while one is unknown."""
        return self._quote().spread

    @property
    def stale(self) -> bool:
        """Whether the feed lost the symbol and it has not spoken since."""
        return self._now().is_stale(self.symbol)

    def _quote(self) -> Quote:
        batch, row = self._batch, self._row
        if self._is_own():
            return Quote(batch.bid[row], batch.bid_size[row], batch.ask[row], batch.ask_size[row])
        return self._now().quote(self.symbol, row + 1) or NO_QUOTE

    def _is_own(self) -> bool:
        """Whether the tick in hand is about `symbol`: when time is the trigger, it may be another's."""
        return self._batch.symbol[self._row] == self._market.chars.get(self.symbol)

    # -- asked for -------------------------------------------------------------------------------------

    def quote(self, symbol: str | None = None) -> Quote | None:
        """Best bid and ask of `symbol` (default: the tick's), or None while unknown."""
        return self._now().quote(symbol or self.symbol, self._row + 1)

    def book(self, symbol: str | None = None, depth: int = 10) -> BookView | None:
        """The best `depth` levels of each side, or None while the book is unknown."""
        book = self._now().book(symbol or self.symbol)
        return None if book is None else BookView(book.bids(depth), book.asks(depth))

    def recent_trades(self, symbol: str | None = None, n: int = 100) -> tuple[Trade, ...]:
        """The last `n` trades, oldest first, at most 10,000."""
        return tuple(self._now().trades(symbol or self.symbol, n))

    def candles(self, symbol: str | None = None, interval: str = "1m", n: int = 100) -> tuple[Candle, ...]:
        """The last `n` closed candles of an interval such as "15s", "1m" or "4h", oldest first, at most 1,000."""
        return self._now().candles(symbol or self.symbol, interval_ns(interval), n)

    def vwap(self, symbol: str | None = None, n: int = 100) -> float:
        """Volume-weighted average price of the last `n` trades, NaN where there are none."""
        trades = self._now().trades(symbol or self.symbol, n)
        volume = fsum(trade.size for trade in trades)
        return fsum(trade.price * trade.size for trade in trades) / volume if volume > 0 else NAN

    # -- the predecessor's view ------------------------------------------------------------------------

    @property
    def timestamp(self) -> datetime:
        """`ts` as a datetime in UTC, cut to microseconds."""
        return utc(self.ts)

    @property
    def prices(self) -> Mapping[str, float]:
        """Last trade price (or mid before the first trade) of each symbol that has one."""
        stop = self._row + 1

        def price(market: Market, symbol: str) -> float | None:
            last = market.last_price(symbol, stop)
            if last != last:
                last = market.mark(symbol, stop)
            return last if last == last else None

        return BySymbol(self, price)

    @property
    def orderbooks(self) -> Mapping[str, legacy.OrderbookSnapshot]:
        """Ten levels a side of each known book; the touch alone where only quotes are known."""
        stop = self._row + 1

        def orderbook(market: Market, symbol: str) -> legacy.OrderbookSnapshot | None:
            book = market.book(symbol)
            if book is not None:
                return legacy.OrderbookSnapshot(book.bids(10), book.asks(10))
            quote = market.quote(symbol, stop)
            if quote is None:
                return None
            bids = ((quote.bid, quote.bid_size),) if quote.bid == quote.bid else ()
            asks = ((quote.ask, quote.ask_size),) if quote.ask == quote.ask else ()
            return legacy.OrderbookSnapshot(bids, asks)

        return BySymbol(self, orderbook)

    @property
    def trades(self) -> Mapping[str, tuple[legacy.Trade, ...]]:
        """The last 100 trades of each symbol, oldest first."""

        def trades(market: Market, symbol: str) -> tuple[legacy.Trade, ...] | None:
            return tuple(map(_legacy_trade, market.trades(symbol, 100))) or None

        return BySymbol(self, trades)

    @property
    def candles_1m(self) -> Mapping[str, tuple[legacy.Candle, ...]]:
        """The last 100 closed one-minute candles of each symbol, oldest first."""
        return self._candles("1m")

    @property
    def candles_5m(self) -> Mapping[str, tuple[legacy.Candle, ...]]:
        """The last 100 closed five-minute candles of each symbol, oldest first."""
        return self._candles("5m")

    @property
    def spreads(self) -> dict[str, float]:
        """Ask minus bid of each symbol with a book or quote."""
        return {symbol: book.spread for symbol, book in self.orderbooks.items()}

    @property
    def mids(self) -> dict[str, float]:
        """Mid of each symbol with a book or quote."""
        return {symbol: book.mid for symbol, book in self.orderbooks.items()}

    def get_vwap(self, symbol: str, n_trades: int = 50) -> float | None:
        """Volume-weighted average price of the last `n_trades` of the last 100 trades, or None."""
        vwap = self.vwap(symbol, min(n_trades, 100))
        return vwap if vwap == vwap else None

    def get_trade_imbalance(self, symbol: str, n_trades: int = 50) -> float:
        """(bought - sold) / (bought + sold) base units over the last `n_trades` of the last 100 trades."""
        trades = self._now().trades(symbol, min(n_trades, 100))
        bought = fsum(trade.size for trade in trades if trade.side > 0)
        sold = fsum(trade.size for trade in trades if trade.side <= 0)
        return (bought - sold) / (bought + sold) if bought + sold > 0 else 0.0

    def _candles(self, interval: str) -> Mapping[str, tuple[legacy.Candle, ...]]:
        length = interval_ns(interval)

        def candles(market: Market, symbol: str) -> tuple[legacy.Candle, ...] | None:
            return tuple(map(_legacy_candle, market.candles(symbol, length, 100))) or None

        return BySymbol(self, candles)

    def _now(self) -> Market:
        market = self._market
        if market.row != self._row or market.batch is not self._batch:
            raise LookAhead(f"this snapshot is of {self.ts}; the market has moved on, ask the current one")
        return market


class TradeSnapshot(Snapshot, frozen=True, gc=False, eq=False):
    """A moment whose tick is a trade: its price is at hand without asking."""

    price: float


class BySymbol(Mapping[str, T]):
    """A read-only mapping by symbol whose values are looked up when they are asked for, and not afterwards."""

    def __init__(self, snapshot: Snapshot, value: Callable[[Market, str], T | None]) -> None:
        self._snapshot = snapshot
        self._value = value

    def __getitem__(self, symbol: str) -> T:
        market = self._snapshot._now()
        found = self._value(market, symbol) if symbol in market.chars else None
        if found is None:
            raise KeyError(symbol)
        return found

    def __iter__(self) -> Iterator[str]:
        return (symbol for symbol in sorted(self._snapshot._now().chars) if symbol in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _legacy_trade(trade: Trade) -> legacy.Trade:
    return legacy.Trade(utc(trade.ts), trade.price, trade.size, "buy" if trade.side > 0 else "sell")


def _legacy_candle(bar: Candle) -> legacy.Candle:
    return legacy.Candle(utc(bar.ts), bar.open, bar.high, bar.low, bar.close, bar.volume)


def utc(ts: int) -> datetime:
    """`ts` (ns) as a datetime in UTC, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=ts // 1_000)
