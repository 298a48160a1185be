"""One symbol's order book, folded from a snapshot and its deltas."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Protocol


class Watcher(Protocol):
    """Somebody to whom it matters what the venue says of one level: bid (+1) or ask (-1) `side`, `price`."""

    side: int
    price: float

    def show(self, size: float) -> None:
        """The venue has spoken of the level: it shows `size` base units now."""
        ...


class _Ladder:
    """One side: sizes by price, and the prices in rising order while somebody looks at them."""

    def __init__(self) -> None:
        self.sizes: dict[float, float] = {}
        self._prices: list[float] | None = None

    def clear(self) -> None:
        self.sizes.clear()
        self._prices = None

    def put(self, price: float, size: float) -> None:
        sizes, prices = self.sizes, self._prices
        if size > 0.0:
            if prices is not None and price not in sizes:
                insort(prices, price)
            sizes[price] = size
        elif sizes.pop(price, None) is not None and prices is not None:
            del prices[bisect_left(prices, price)]

    def rising(self) -> list[float]:
        if self._prices is None:
            self._prices = sorted(self.sizes)
        return self._prices


class Book:
    """Bids and asks as the venue last said. Levels are absolute sizes; deleting an unknown level is normal."""

    def __init__(self) -> None:
        self._bids = _Ladder()
        self._asks = _Ladder()
        self._watches: dict[tuple[int, float], list[Watcher]] = {}
        self._spoken_of: set[tuple[int, float]] = set()

    def clear(self) -> None:
        """Forget every level, because nobody knows them or because a snapshot follows."""
        self._bids.clear()
        self._asks.clear()

    def put(self, side: int, price: float, size: float) -> None:
        """Set a level of the bid (+1) or ask (-1) side to `size` base units; 0 removes it."""
        (self._bids if side > 0 else self._asks).put(price, size)
        if self._watches and (side, price) in self._watches:
            self._spoken_of.add((side, price))

    def bids(self, depth: int) -> tuple[tuple[float, float], ...]:
        """The best `depth` bids as (price, size), best first."""
        sizes = self._bids.sizes
        return tuple((price, sizes[price]) for price in self._bids.rising()[: -depth - 1 : -1])

    def asks(self, depth: int) -> tuple[tuple[float, float], ...]:
        """The best `depth` asks as (price, size), best first."""
        sizes = self._asks.sizes
        return tuple((price, sizes[price]) for price in self._asks.rising()[:depth])

    def levels(self, side: int) -> Iterator[tuple[float, float]]:
        """All bids (+1) or asks (-1) as (price, size), best first."""
        ladder = self._bids if side > 0 else self._asks
        prices = ladder.rising()
        return ((price, ladder.sizes[price]) for price in (reversed(prices) if side > 0 else prices))

    def size(self, side: int, price: float) -> float | None:
        """Base units at a level: 0 where the book shows none, None where it does not reach that far."""
        ladder = self._bids if side > 0 else self._asks
        size = ladder.sizes.get(price)
        if size is not None:
            return size
        prices = ladder.rising()
        if not prices:
            return None
        return None if (price < prices[0] if side > 0 else price > prices[-1]) else 0.0

    # -- those who watch ---------------------------------------------------------------------------------

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` what is said of its level from now on, until `unwatch`."""
        self._watches.setdefault((watcher.side, watcher.price), []).append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """It matters no longer."""
        level = (watcher.side, watcher.price)
        others = [other for other in self._watches.get(level, ()) if other is not watcher]
        if others:
            self._watches[level] = others
        else:
            self._watches.pop(level, None)

    def tell(self, is_whole: bool) -> None:
        """A message is complete: tell the watchers of the levels that it spoke of, of all where it was `is_whole`.

        A level that has left the part of the book that the venue shows was not canceled: it is not spoken of.
        """
        levels = list(self._watches) if is_whole else self._spoken_of
        for side, price in levels:
            size = self.size(side, price)
            if size is not None:
                for watcher in self._watches.get((side, price), ()):
                    watcher.show(size)
        self._spoken_of.clear()

    @property
    def is_watched(self) -> bool:
        """Whether any level matters to anybody."""
        return bool(self._watches)
