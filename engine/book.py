"""One symbol's order book, folded from a snapshot and its deltas."""

from bisect import bisect_left, insort


class _Ladder:
    """One side: sizes by price, and the prices in rising order while somebody looks at them."""

    def __init__(self) -> None:
        self._sizes: dict[float, float] = {}
        self._prices: list[float] | None = None

    def clear(self) -> None:
        self._sizes.clear()
        self._prices = None

    def put(self, price: float, size: float) -> None:
        sizes, prices = self._sizes, self._prices
        if size > 0.0:
            if prices is not None and price not in sizes:
                insort(prices, price)
            sizes[price] = size
        elif sizes.pop(price, None) is not None and prices is not None:
            del prices[bisect_left(prices, price)]

    def rising(self) -> list[float]:
        if self._prices is None:
            self._prices = sorted(self._sizes)
        return self._prices

    def size(self, price: float) -> float:
        return self._sizes[price]


class Book:
    """Bids and asks as the venue last said. Levels are absolute sizes; deleting an unknown level is normal."""

    def __init__(self) -> None:
        self._bids = _Ladder()
        self._asks = _Ladder()

    def clear(self) -> None:
        """Forget every level."""
        self._bids.clear()
        self._asks.clear()

    def put(self, side: int, price: float, size: float) -> None:
        """Set a level of the bid (+1) or ask (-1) side to `size` base units; 0 removes it."""
        (self._bids if side > 0 else self._asks).put(price, size)

    def bids(self, depth: int) -> tuple[tuple[float, float], ...]:
        """The best `depth` bids as (price, size), best first."""
        ladder = self._bids
        return tuple((price, ladder.size(price)) for price in ladder.rising()[: -depth - 1 : -1])

    def asks(self, depth: int) -> tuple[tuple[float, float], ...]:
        """The best `depth` asks as (price, size), best first."""
        ladder = self._asks
        return tuple((price, ladder.size(price)) for price in ladder.rising()[:depth])
