"""A served order book, kept in the texts that its numbers were printed in, and cut to what a client asked for."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import inf
from typing import TypeAlias

LevelText: TypeAlias = tuple[str, str]
"""Price and size as the venue prints them; a size of zero removes."""

_TO_ZERO = str.maketrans("123456789", "000000000")


class Side:
    """One side of a book, best level first."""

    __slots__ = ("_keys", "_levels", "_sign")

    def __init__(self, *, is_bids: bool) -> None:
        self._sign = -1.0 if is_bids else 1.0
        self._keys: list[float] = []
        self._levels: dict[float, LevelText] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def clear(self) -> None:
        """Leave no level."""
        self._keys.clear()
        self._levels.clear()

    def apply(self, levels: Iterable[LevelText]) -> None:
        """Set levels in their order; removing one that is not there changes nothing."""
        keys, known, sign = self._keys, self._levels, self._sign
        for level in levels:
            key = float(level[0]) * sign
            if float(level[1]) != 0.0:
                if key not in known:
                    keys.insert(bisect_left(keys, key), key)
                known[key] = level
            elif known.pop(key, None) is not None:
                del keys[bisect_left(keys, key)]

    def cut(self, depth: int) -> None:
        """Drop what lies beyond `depth` levels."""
        for key in self._keys[depth:]:
            del self._levels[key]
        del self._keys[depth:]

    def top(self, depth: int | None = None) -> list[LevelText]:
        """The best levels, best first."""
        levels = self._levels
        return [levels[key] for key in self._keys[:depth]]


class TextBook:
    """Both sides of one symbol."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids, self.asks = Side(is_bids=True), Side(is_bids=False)

    def apply(
        self, bids: Iterable[LevelText], asks: Iterable[LevelText], *, is_snapshot: bool, depth: int | None = None
    ) -> None:
        """Set the levels of one message, in place of all others where it is a snapshot, then cut to `depth`."""
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            if is_snapshot:
                side.clear()
            side.apply(levels)
            if depth is not None:
                side.cut(depth)


class View:
    """A book cut to `depth`, as those who follow it have been told."""

    __slots__ = ("asks", "bids", "depth")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.bids: list[LevelText] = []
        self.asks: list[LevelText] = []

    def follow(self, book: TextBook) -> tuple[list[LevelText], list[LevelText]]:
        """The bids and asks to send so that the view shows `book`."""
        bids, asks = book.bids.top(self.depth), book.asks.top(self.depth)
        changes = (
            _difference(self.bids, bids, self.depth, sign=-1.0),
            _difference(self.asks, asks, self.depth, sign=1.0),
        )
        self.bids, self.asks = bids, asks
        return changes


def _difference(before: Sequence[LevelText], after: Sequence[LevelText], depth: int, sign: float) -> list[LevelText]:
    """First the levels that are gone, then those that are new or have another size.

    A level merely pushed out by better ones is not sent: Kraken's clients cut it off themselves. Prices
    times `sign` ascend on both sides.
    """
    if before == after:
        return []
    was, now = dict(before), dict(after)
    last = float(after[-1][0]) * sign if len(after) == depth else inf
    gone = [
        (price, size.translate(_TO_ZERO)) for price, size in before if price not in now and float(price) * sign <= last
    ]
    return gone + [level for level in after if was.get(level[0]) != level[1]]
