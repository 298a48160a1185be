"""OHLCV bars out of trades, kept only for the intervals somebody asked for."""

import msgspec

CANDLES_KEPT = 1_000
"""How many closed candles of one interval can be asked for."""


class Candle(msgspec.Struct, frozen=True, gc=False):
    """One closed interval of trades.

    ts:      start of the interval, ns UTC, a multiple of its length.
    volume:  base units traded; 0 in an interval without trades, whose prices all repeat the close before.
    """

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def range(self) -> float:
        """High minus low."""
        return self.high - self.low

    @property
    def body_size(self) -> float:
        """Distance of open and close."""
        return abs(self.close - self.open)

    @property
    def is_bullish(self) -> bool:
        """Whether it closed above its open."""
        return self.close > self.open


class CandleSeries:
    """The candles of one symbol and interval.

    A trade belongs to the interval in which we received it. The engine's clock is the time of receipt,
    which never runs backwards, so a trade that reaches us late opens no second candle for an interval
    that has been closed.
    """

    def __init__(self, interval_ns: int) -> None:
        self.interval_ns = interval_ns
        self._closed: list[Candle] = []
        self._start = -1  # of the open interval; -1 before the first trade
        self._has_traded = False  # in the open interval, which may have begun because somebody asked
        self._open = self._high = self._low = self._close = self._volume = 0.0

    def take(self, ts: int, price: float, size: float) -> None:
        """A trade of `size` base units at `price`, received at `ts`."""
        if self._start < 0:
            self._begin(ts - ts % self.interval_ns, price)
        elif ts >= self._start + self.interval_ns:
            self.advance(ts)
        if not self._has_traded:
            self._begin(self._start, price)
            self._has_traded = True
        if price > self._high:
            self._high = price
        elif price < self._low:
            self._low = price
        self._close = price
        self._volume += size

    def advance(self, ts: int) -> None:
        """The clock reached `ts`: close what has ended, with flat candles where nothing traded."""
        interval = self.interval_ns
        if self._start < 0 or ts < self._start + interval:
            return
        self._closed.append(Candle(self._start, self._open, self._high, self._low, self._close, self._volume))
        now, close = ts - ts % interval, self._close
        first_flat = max(self._start + interval, now - CANDLES_KEPT * interval)
        self._closed.extend(
            Candle(start, close, close, close, close, 0.0) for start in range(first_flat, now, interval)
        )
        del self._closed[: -2 * CANDLES_KEPT]
        self._begin(now, close)

    def closed(self, n: int, since_ns: int) -> tuple[Candle, ...]:
        """The last `n` closed candles that began at `since_ns` or later, oldest first."""
        return tuple(candle for candle in self._closed[-n:] if candle.ts >= since_ns)

    def _begin(self, start: int, price: float) -> None:
        self._start = start
        self._has_traded = False
        self._open = self._high = self._low = self._close = price
        self._volume = 0.0
