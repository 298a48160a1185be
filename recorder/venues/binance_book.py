"""One Binance symbol's order book: REST snapshots joined to the chain of diffs, and the best of each side at hand."""

import heapq
from collections import deque

from engine.ticks import BUY, NAN, SELL
from recorder.venues.binance_wire import Diff, Levels, Snapshot

HELD_DIFFS_MAX = 1_000
HELD_LEVELS_MAX = 50_000
"""Diffs of one symbol, and levels in them, that wait for a snapshot; beyond either the oldest are let go."""


class Ladder:
    """One side of a book: sizes by price, and the best price at hand.

    `_queue` is a heap of the prices that came in, bids negated. Prices that left stay in it until they surface, or
    until it has grown to twice the book; so a level costs a dictionary entry and little more, however deep it is.
    """

    __slots__ = ("_queue", "_sign", "sizes")

    def __init__(self, side: int) -> None:
        self.sizes: dict[float, float] = {}
        self._sign = -side
        self._queue: list[float] = []

    def clear(self) -> None:
        """Leave no level."""
        self.sizes.clear()
        self._queue.clear()

    def apply(self, levels: Levels) -> None:
        """Set each level to its size. Size 0 removes; removing a level that is not there is routine."""
        sizes, queue, sign = self.sizes, self._queue, self._sign
        for price, size in levels:
            if size == 0.0:
                sizes.pop(price, None)
                continue
            if price not in sizes:
                heapq.heappush(queue, sign * price)
            sizes[price] = size
        if len(queue) > 2 * len(sizes) + 64:
            self._queue = [sign * price for price in sizes]
            heapq.heapify(self._queue)

    def best(self) -> tuple[float, float]:
        """The best price and its size; NaN where the side is empty."""
        queue, sizes, sign = self._queue, self.sizes, self._sign
        while queue:
            price = sign * queue[0]
            if price in sizes:
                return price, sizes[price]
            heapq.heappop(queue)
        return NAN, NAN


class Book:
    """Levels, and how far the chain of diffs behind them is whole.

    The venue's procedure: hold diffs until a snapshot comes; drop those that end at or before its `last`; the first
    one kept must not start after `last + 1`; from there each diff starts where the one before ended, plus one.

    is_synced:  a snapshot was joined to the chain, the levels are the market's.
    held:       diffs that wait for a snapshot, without a hole between them.
    """

    __slots__ = ("_held_levels", "_last", "_may_overlap", "asks", "bids", "held", "is_synced")

    def __init__(self) -> None:
        self.bids, self.asks = Ladder(BUY), Ladder(SELL)
        self.held: deque[Diff] = deque()
        self.forget()

    def forget(self) -> None:
        """Start again: no levels, no chain."""
        self.bids.clear()
        self.asks.clear()
        self.held.clear()
        self.is_synced = False
        self._held_levels = 0
        self._last: int | None = None
        self._may_overlap = False

    def is_old(self, diff: Diff) -> bool:
        """The snapshot, to which no diff has been joined yet, holds all of `diff`."""
        return self._may_overlap and self._last is not None and diff.last <= self._last

    def expected(self, diff: Diff) -> int | None:
        """Where `diff` should have started, if something is missing between the chain and it; else None."""
        if self._last is None or diff.after == self._last:
            return None
        if self._may_overlap and diff.after < self._last:
            return None
        return self._last + 1

    def hold(self, diff: Diff) -> None:
        """Keep a diff that continues the chain until a snapshot comes.

        Past the bounds the oldest go: the snapshot has to be fresher then, as one asked for later is.
        """
        self._last = diff.last
        self.held.append(diff)
        self._held_levels += len(diff.bids) + len(diff.asks)
        while len(self.held) > 1 and (len(self.held) > HELD_DIFFS_MAX or self._held_levels > HELD_LEVELS_MAX):
            oldest = self.held.popleft()
            self._held_levels -= len(oldest.bids) + len(oldest.asks)

    def is_too_old(self, snapshot: Snapshot) -> bool:
        """Updates between `snapshot` and the first diff held are missing.

        The venue's page has the snapshot fetched again already where it ends right before that diff. Nothing is
        missing then, and a recording offers no second try: it is taken.
        """
        return bool(self.held) and snapshot.last < self.held[0].after

    def is_outdated_by(self, snapshot: Snapshot) -> bool:
        """No diff has gone on from the snapshot that was joined, and `snapshot` is newer: so it is where diffs never
        come, as with a raw stream of partial books.
        """
        return self._may_overlap and self._last is not None and self._last < snapshot.last

    def join(self, snapshot: Snapshot) -> list[Diff]:
        """Take the levels of `snapshot`; the answer is the held diffs that go on from it and are to be applied."""
        newer = [diff for diff in self.held if diff.last > snapshot.last]
        self.forget()
        self.is_synced, self._may_overlap, self._last = True, True, snapshot.last
        self.replace(snapshot.bids, snapshot.asks)
        return newer

    def replace(self, bids: Levels, asks: Levels) -> None:
        """These levels, and no others."""
        self.bids.clear()
        self.asks.clear()
        self.bids.apply(bids)
        self.asks.apply(asks)

    def apply(self, diff: Diff) -> None:
        """Bring the levels up to date with a diff that continues the chain."""
        self._last, self._may_overlap = diff.last, False
        self.bids.apply(diff.bids)
        self.asks.apply(diff.asks)
