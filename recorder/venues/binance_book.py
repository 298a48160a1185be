"""One Binance symbol's order book: REST snapshots joined to the chain of diffs, and the best of each side at hand."""

import heapq

import msgspec

from engine.ticks import BUY, NAN, SELL
from recorder.venues.binance_wire import Diff, Levels, Snapshot

HELD_DIFFS_MAX = 1_000
HELD_LEVELS_MAX = 50_000
"""Diffs of one symbol, and levels in them, that wait for a snapshot; beyond either the oldest are let go."""


class Ladder(msgspec.Struct):
    """One side of a book: sizes by price, and the best price at hand.

    `queue` is a heap of the prices that came in, bids negated. Prices that left stay in it until they surface, or
    until it has grown to twice the book; so a level costs a dictionary entry and little more, however deep it is.
    """

    side: int
    sizes: dict[float, float] = {}
    queue: list[float] = []

    def clear(self) -> None:
        """Leave no level."""
        self.sizes.clear()
        self.queue.clear()

    def apply(self, levels: Levels) -> None:
        """Set each level to its size. Size 0 removes; removing a level that is not there is routine."""
        sizes, queue, sign = self.sizes, self.queue, -self.side
        for price, size in levels:
            if size == 0.0:
                sizes.pop(price, None)
                continue
            if price not in sizes:
                heapq.heappush(queue, sign * price)
            sizes[price] = size
        if len(queue) > 2 * len(sizes) + 64:
            self.queue = [sign * price for price in sizes]
            heapq.heapify(self.queue)

    def best(self) -> tuple[float, float]:
        """The best price and its size; NaN where the side is empty."""
        queue, sizes, sign = self.queue, self.sizes, -self.side
        while queue:
            price = sign * queue[0]
            if price in sizes:
                return price, sizes[price]
            heapq.heappop(queue)
        return NAN, NAN


class Book(msgspec.Struct):
    """Levels, and how far the chain of diffs behind them is whole.

    The venue's procedure: hold diffs until a snapshot comes; drop those that end at or before its `last`; the first
    one kept must not start after `last + 1`; from there each diff starts where the one before ended, plus one.

    is_synced:    a snapshot was joined to the chain, the levels are the market's.
    held:         diffs that wait for a snapshot, without a hole between them; `held_levels` in all.
    last:         the last update of the chain, None before the first.
    may_overlap:  the next diff may begin before the snapshot that was joined ends.
    """

    bids: Ladder = msgspec.field(default_factory=lambda: Ladder(BUY))
    asks: Ladder = msgspec.field(default_factory=lambda: Ladder(SELL))
    held: list[Diff] = []
    is_synced: bool = False
    held_levels: int = 0
    last: int | None = None
    may_overlap: bool = False

    def forget(self) -> None:
        """Start again: no levels, no chain."""
        self.bids.clear()
        self.asks.clear()
        self.held.clear()
        self.is_synced = False
        self.held_levels = 0
        self.last = None
        self.may_overlap = False

    def is_old(self, diff: Diff) -> bool:
        """Snapshot or chain hold all of `diff`: it came twice, or late.

        Such an event is to be ignored (Binance spot, "How to manage a local order book correctly", update procedure).
        """
        return self.last is not None and diff.last <= self.last

    def expected(self, diff: Diff) -> int | None:
        """Where `diff` should have started, if something is missing between the chain and it; else None."""
        if self.last is None or diff.after == self.last:
            return None
        if self.may_overlap and diff.after < self.last:
            return None
        return self.last + 1

    def hold(self, diff: Diff) -> None:
        """Keep a diff that continues the chain until a snapshot comes.

        Past the bounds the oldest go: the snapshot has to be fresher then, as one asked for later is.
        """
        self.last = diff.last
        self.held.append(diff)
        self.held_levels += len(diff.bids) + len(diff.asks)
        while len(self.held) > 1 and (len(self.held) > HELD_DIFFS_MAX or self.held_levels > HELD_LEVELS_MAX):
            oldest = self.held.pop(0)
            self.held_levels -= len(oldest.bids) + len(oldest.asks)

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
        return self.may_overlap and self.last is not None and self.last < snapshot.last

    def join(self, snapshot: Snapshot) -> list[Diff]:
        """Take the levels of `snapshot`; the answer is the held diffs that go on from it and are to be applied."""
        newer = [diff for diff in self.held if diff.last > snapshot.last]
        self.forget()
        self.is_synced, self.may_overlap, self.last = True, True, snapshot.last
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
        self.last, self.may_overlap = diff.last, False
        self.bids.apply(diff.bids)
        self.asks.apply(diff.asks)
