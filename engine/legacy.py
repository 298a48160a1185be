"""The predecessor's market types, under which its strategy files run unchanged."""

from datetime import datetime
from math import fsum  # not sum(): that rounds differently from Python 3.12 on

import msgspec


class Candle(msgspec.Struct, frozen=True):
    """OHLCV of one closed interval that began at `timestamp` (UTC); volume in base units."""

    timestamp: datetime
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


class Trade(msgspec.Struct, frozen=True):
    """A match at the venue; `side` is the aggressor's, "buy" or "sell"."""

    timestamp: datetime
    price: float
    size: float
    side: str

    @property
    def value(self) -> float:
        """Quote currency that changed hands."""
        return self.price * self.size


class OrderbookSnapshot(msgspec.Struct, frozen=True):
    """The best levels of a book as (price, size), best first. What is unknown is 0, as it was there."""

    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]

    @property
    def best_bid(self) -> float:
        """Highest bid."""
        return self.bids[0][0] if self.bids else 0.0

    @property
    def best_ask(self) -> float:
        """Lowest ask."""
        return self.asks[0][0] if self.asks else 0.0

    @property
    def spread(self) -> float:
        """Ask minus bid."""
        return self.best_ask - self.best_bid

    @property
    def mid(self) -> float:
        """Mean of bid and ask, or the one that is known."""
        if self.best_bid and self.best_ask:
            return (self.best_bid + self.best_ask) / 2
        return self.best_bid or self.best_ask

    @property
    def spread_pct(self) -> float:
        """Spread in percent of the mid."""
        return self.spread / self.mid * 100 if self.mid > 0 else 0.0

    @property
    def bid_depth(self) -> float:
        """Base units over all bids here."""
        return fsum(size for _, size in self.bids)

    @property
    def ask_depth(self) -> float:
        """Base units over all asks here."""
        return fsum(size for _, size in self.asks)

    @property
    def imbalance(self) -> float:
        """(bid depth - ask depth) / (bid depth + ask depth), 0 for an empty book."""
        total = self.bid_depth + self.ask_depth
        return (self.bid_depth - self.ask_depth) / total if total > 0 else 0.0
