"""Engine.process(batch): the market first, then each desk in the order of its name.

Most ticks matter to nobody: no desk is triggered by their kind, no order arrives at them, nothing rests. The
engine walks only the rows that can matter; what the others contribute (the clock, the touch as it stood) is
found by looking back when it is needed. That gives the same bytes as walking every row, and is tested to.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, repeat
from typing import Any

from engine.bounds import Bounds
from engine.desk import Asked, Desk
from engine.events import Event
from engine.market import Market
from engine.moments import NEVER, Moment
from engine.signals import Trigger
from engine.snapshot import Snapshot, TradeSnapshot
from engine.ticks import LAST_OF_MESSAGE, NAN, NO_SYMBOL, Kind, Tick, TickBatch

_TRIGGERS: dict[str, tuple[Kind, ...]] = {
    "tick": (Kind.TRADE, Kind.QUOTE, Kind.BOOK),
    "trade": (Kind.TRADE,),
    "quote": (Kind.QUOTE,),
    "book": (Kind.BOOK,),
    "candle": (),
    "every": (),
}
_TRADE, _BOOK, _FEED = int(Kind.TRADE), int(Kind.BOOK), int(Kind.FEED)  # plain numbers: the loop compares millions
_MARKET_KINDS = frozenset({Kind.TRADE, Kind.QUOTE, Kind.BOOK})
ROWS_AT_ONCE = 2_048
"""Rows that are walked together. Where an order begins or ceases to rest the walk begins anew, and looking ahead must
not take as long then as the rest of the batch.
"""


_Asked = tuple[Desk, str, Asked, dict[str, Any], dict[str, Any]]
"""A desk to be asked, and what is needed for it: to look that up at every tick would take as long as the asking."""


class Engine:
    """Desks at one market. Give it the batches of one tape in order, then `finish`."""

    def __init__(
        self,
        desks: Sequence[Desk],
        *,
        opens_at: int | None = None,
        walk_every_row: bool = False,
        rows_at_once: int = ROWS_AT_ONCE,
    ) -> None:
        """A market of which nothing is known, and desks that have not opened.

        opens_at:        the tape time, in ns, before which the ticks are the market's alone; no batch may reach over
                         it. None opens the desks at the first tick.
        walk_every_row:  give up the shortcuts: the reference that the tests compare them with.
        """
        self.desks = sorted(desks, key=lambda desk: desk.name)
        self.market = Market()
        for desk in self.desks:
            if desk.strategy.trigger.kind == "candle":
                self.market.keep_candles(desk.strategy.trigger.interval_ns, desk.name)
        self.ticks = 0
        self._walk_every_row = walk_every_row
        self._rows_at_once = rows_at_once
        self._last = Moment(0, 0, 0)
        self._opens_at = opens_at
        self._is_open = False
        self._wake = NEVER
        self._walks_all = False
        self._must_restart = False
        self._plan: list[dict[str, tuple[str, list[_Asked]]]] = []
        self._planned: list[Desk] = []
        self._planned_symbols = 0
        self._has_timers = False
        self._wanted: list[int] = []
        self._mask = b""
        self._stirring = b""

    def process(self, batch: TickBatch) -> list[Event]:
        """The facts that these ticks make true, in the order in which they became so."""
        out: list[Event] = []
        length = len(batch.kind)
        if not length:
            return out
        if self._opens_at is not None and batch.ts[0] < self._opens_at:
            self._take_alone(batch)
            return out
        self.market.begin(batch)
        for desk in self.desks:
            desk.listen(out)
        if not self._is_open:
            self._open(Moment(batch.ts[0], batch.first_seq, 0))
        if len(batch.symbols) != self._planned_symbols:
            self._make_plan()
        row = 0
        while row < length:
            row = self._walk(batch, row)
        self._last = Moment(batch.ts[length - 1], batch.first_seq + length - 1, 0)
        self.ticks += length
        self.market.end()
        return out

    def can_wait(self, ticks: Sequence[Tick], ts: int) -> bool:
        """These rows, the latest of them at `ts`, make nothing true: they may as well come with the ones after them."""
        if not self._is_open or ts >= self._wake or self._must_walk_all():
            return False
        stirring = self._stirring
        for tick in ticks:  # a plain loop: it runs for every message of a session
            if stirring[tick.kind]:
                return False
        return True

    def finish(self) -> list[Event]:
        """The tape is over: every desk is marked a last time, and its strategy told."""
        out: list[Event] = []
        if self._is_open:
            for desk in self.desks:
                desk.listen(out)
                desk.finish(self._last)
        return out

    def _take_alone(self, batch: TickBatch) -> None:
        """A batch from before the desks open."""
        market = self.market
        market.begin(batch)
        for row, kind in enumerate(batch.kind):
            market.row = row
            if kind == _FEED:
                market.take_feed(row)
            elif market.has_losses:
                market.take_heard(row)
        market.end()

    def _open(self, at: Moment) -> None:
        self._is_open = True
        for desk in self.desks:
            desk.open(self.market, at, takes_short_ways=not self._walk_every_row)
        self._set_wake()

    # -- which rows matter -----------------------------------------------------------------------------

    def _make_plan(self) -> None:
        """For each kind and symbol its name and the desks to ask, and the kinds for which there are any."""
        self._planned_symbols = len(self.market.chars) + 1
        self._plan = [{} for _ in Kind]
        self._planned = [desk for desk in self.desks if desk.is_asked]
        for desk in self._planned:
            for kind in _TRIGGERS[desk.strategy.trigger.kind]:
                for symbol, char in self.market.chars.items():
                    if desk.watches(symbol):
                        asked = (desk, desk.name, desk.decide, desk.config, desk.state)
                        self._plan[kind].setdefault(char, (symbol, []))[1].append(asked)
        self._has_timers = any(desk.strategy.trigger.is_timed for desk in self._planned)
        self._wanted = [kind for kind in range(len(Kind)) if self._plan[kind]]
        self._mask = bytes(code in self._wanted for code in range(256))
        # By kind alone: the symbol of a row that waits may be one that nobody has heard of yet.
        asking = {kind for desk in self._planned for kind in _TRIGGERS[desk.strategy.trigger.kind]}
        self._stirring = bytes(code in asking or code == _FEED for code in range(256))

    def _must_walk_all(self) -> bool:
        """Whether every tick may matter: something rests, or a lost symbol may speak again."""
        if self._walk_every_row or self.market.has_losses:
            return True
        for desk in self.desks:  # a plain loop: it runs at every step
            if desk.is_guarding:
                return True
        return False

    def _set_wake(self) -> None:
        wake = NEVER
        for desk in self.desks:
            if desk.wake < wake:
                wake = desk.wake
        self._wake = wake

    # -- the walk --------------------------------------------------------------------------------------

    def _walk(self, batch: TickBatch, start: int) -> int:
        """Walk the rows that matter from `start` on, up to the next feed row or until what matters has changed.

        Returns the row to go on from.
        """
        self._walks_all = self._must_walk_all()
        self._must_restart = False
        feed = batch.kind.find(_FEED, start)
        stop = len(batch.kind) if feed < 0 else feed
        if start == 0 and feed < 0 and not self._walks_all and self._is_idle(batch):
            return stop
        stop = min(stop, start + self._rows_at_once)
        done = start  # rows before this one are dealt with, or do not matter
        if self._walks_all:
            done = self._walk_all(batch, start, stop)
            if self._must_restart:
                return done
        lane = self._lane()
        if lane is not None:
            return self._walk_lane(batch, done, stop, *lane)
        for snapshot, asked in self._moments(batch, done, stop):
            row = snapshot._row
            if snapshot.ts >= self._wake:
                done = self._pass_time(batch, done, row)
                if self._must_restart:
                    return done
                if done > row:
                    continue
            self._ask_all(batch, snapshot, asked)
            if self._must_restart:
                return row + 1
        return self._leave(batch, done, stop)

    def _is_idle(self, batch: TickBatch) -> bool:
        """No row asks anybody, and nothing falls due: as most messages of a live session are."""
        return batch.ts[-1] < self._wake and batch.kind.translate(self._mask).find(1) < 0

    def _walk_all(self, batch: TickBatch, start: int, stop: int) -> int:
        """Every row, while something is lost; while something rests, every row that it may concern."""
        if not self._walk_every_row and not self.market.has_losses:
            return self._walk_guarding(batch, start, stop)
        for row in range(start, stop):
            self._step(batch, row)
            if self._must_restart:
                return row + 1
        return stop

    def _walk_guarding(self, batch: TickBatch, start: int, stop: int) -> int:
        """The rows that ask somebody, reach what somebody guards, or at which something falls due."""
        times, kinds, symbols, flags = batch.ts, batch.kind, batch.symbol, batch.flags
        price, bid, ask, plan, guards = batch.price, batch.bid, batch.ask, self._plan, self._guards()
        for row in range(start, stop):
            kind = kinds[row]
            if times[row] < self._wake:
                if kind < _TRADE or (kind == _BOOK and not flags[row] & LAST_OF_MESSAGE):
                    continue
                char = symbols[row]
                bounds = guards.get(char)
                if bounds is None or not bounds.is_reached(price[row] if kind == _TRADE else NAN, bid[row], ask[row]):
                    watched = plan[kind].get(char)
                    if watched is None or not self._ask_all(batch, self._seen(batch, row, watched[0]), watched[1]):
                        continue
                    if self._must_restart:
                        return row + 1
                    guards = self._guards()
                    continue
            self._step(batch, row)
            if self._must_restart:
                return row + 1
            guards = self._guards()
        return stop

    def _guards(self) -> dict[str, Bounds]:
        """By symbol the bounds within which no desk guards anything."""
        guards: dict[str, Bounds] = {}
        for desk in self.desks:
            if desk.is_guarding:
                for symbol, bounds in desk.bounds.items():
                    char = self.market.chars[symbol]
                    guards[char] = bounds if char not in guards else guards[char].within(bounds)
        return guards

    def _ask_all(self, batch: TickBatch, snapshot: Snapshot, asked: Sequence[_Asked]) -> bool:
        """Ask these desks, at a row at which nothing else happens; whether anything came of it."""
        market, ts, row, answered = self.market, snapshot.ts, snapshot._row, False
        market.row = row
        for desk, name, decide, config, state in asked:
            market.asker = name
            try:
                answer = decide(snapshot, config, state)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                desk.fail("generate_signal", error, Moment(ts, batch.first_seq + row, row + 1))
            else:
                if answer is None:
                    continue
                desk.take(answer, Moment(ts, batch.first_seq + row, row + 1))
            answered = True
            self._note(desk)
        if answered and self._must_walk_all() != self._walks_all:
            self._must_restart = True
        return answered

    def _lane(self) -> tuple[str, Desk] | None:
        """The symbol and the desk, where one desk is triggered by the trades of the only symbol and nothing else."""
        if self._wanted != [_TRADE] or len(self.market.chars) != 1:
            return None
        (symbol, asked), *_ = self._plan[_TRADE].values()
        return (symbol, asked[0][0]) if len(asked) == 1 else None

    def _walk_lane(self, batch: TickBatch, start: int, stop: int, symbol: str, desk: Desk) -> int:
        """The same walk, for the one desk of a lane: the loop in which most replays spend their time."""
        market, decide, config, state = self.market, desk.decide, desk.config, desk.state
        market.asker = desk.name
        done = start
        for snapshot in self._trades(batch, start, stop, symbol):
            row = snapshot._row
            if snapshot.ts >= self._wake:
                done = self._pass_time(batch, done, row)
                if self._must_restart:
                    return done
                if done > row:
                    continue
            market.row = row
            try:
                answer = decide(snapshot, config, state)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                desk.fail("generate_signal", error, Moment(snapshot.ts, batch.first_seq + row, row + 1))
                self._note(desk)
                return row + 1
            if answer is not None:
                desk.take(answer, Moment(snapshot.ts, batch.first_seq + row, row + 1))
                self._note(desk)
                if self._must_restart:
                    return row + 1
        return self._leave(batch, done, stop)

    def _leave(self, batch: TickBatch, done: int, stop: int) -> int:
        """What falls due before the row `stop`; that itself too, where it is a feed row, which is taken in full."""
        if stop < len(batch.kind) and batch.kind[stop] == _FEED:
            return self._step_to(batch, done, stop)
        if done < stop:
            done = self._pass_time(batch, done, stop - 1, is_asked=True)
        return done if self._must_restart else stop

    def _pass_time(self, batch: TickBatch, done: int, row: int, *, is_asked: bool = False) -> int:
        """Time passes up to that of `row`, while nothing rests: orders arrive, desks are marked, timers fire.

        Returns the first row that is not dealt with: `row` or one before it, which is left to be asked about,
        or the one after, where a timer made it necessary to take `row` in full. Not where `is_asked`, for then
        everybody whom it concerns has been asked at `row` already.
        """
        times = batch.ts
        now = times[row]
        while self._wake <= now:
            if self._has_timers:
                return self._step_due(batch, done, row + 1) if is_asked else self._step_to(batch, done, row)
            due = bisect_left(times, self._wake, done, row)
            ts = times[due]
            at = Moment(ts, batch.first_seq + due, due)
            self.market.row = due - 1  # a hook that asks the market must not see the tick that comes
            self._wake = NEVER
            for desk in self.desks:
                if desk.wake <= ts:
                    desk.advance(at)
                self._note(desk)
            if self._must_restart:
                return due
            done = due
        return row

    def _moments(self, batch: TickBatch, start: int, stop: int) -> Iterator[tuple[Snapshot, list[_Asked]]]:
        """A snapshot of each row from `start` to `stop` that some desk is triggered by, and those desks.

        Where desks are triggered by the trades of the only symbol and by nothing else, which is how most
        strategies on most tapes are, C loops make the snapshots.
        """
        if start >= stop or not self._wanted:
            return iter(())
        if self._wanted == [_TRADE] and len(self.market.chars) == 1:
            (symbol, desks), *_ = self._plan[_TRADE].values()
            return zip(self._trades(batch, start, stop, symbol), repeat(desks), strict=False)
        return self._mixed_moments(batch, compress(range(start, stop), batch.kind[start:stop].translate(self._mask)))

    def _trades(self, batch: TickBatch, start: int, stop: int, symbol: str) -> Iterator[TradeSnapshot]:
        """A snapshot of each trade from `start` to `stop`, where all are of this symbol."""
        kinds = batch.kind[start:stop]
        rows: Sequence[int] = range(start, stop)
        times: Iterable[int] = batch.ts[start:stop]
        prices: Iterable[float] = batch.price[start:stop]
        if kinds.count(_TRADE) < len(kinds):
            rows = list(compress(rows, kinds.translate(self._mask)))
            times, prices = map(batch.ts.__getitem__, rows), map(batch.price.__getitem__, rows)
        return map(TradeSnapshot, repeat(self.market), repeat(batch), rows, times, repeat(symbol), prices)

    def _mixed_moments(self, batch: TickBatch, rows: Iterable[int]) -> Iterator[tuple[Snapshot, list[_Asked]]]:
        plan, kinds, symbols = self._plan, batch.kind, batch.symbol
        for row in rows:
            kind = kinds[row]
            watched = plan[kind].get(symbols[row])
            if watched is None:
                continue
            if kind != _BOOK or batch.flags[row] & LAST_OF_MESSAGE:
                yield self._seen(batch, row, watched[0]), watched[1]

    def _seen(self, batch: TickBatch, row: int, symbol: str) -> Snapshot:
        """What those see who are asked at a row about its symbol."""
        if batch.kind[row] == _TRADE:
            return TradeSnapshot(self.market, batch, row, batch.ts[row], symbol, batch.price[row])
        return Snapshot(self.market, batch, row, batch.ts[row], symbol)

    def _note(self, desk: Desk) -> None:
        """The desk has acted: it may have to be woken earlier, held against every tick, or not asked again."""
        if desk.wake < self._wake:
            self._wake = desk.wake
        if desk.is_guarding:
            self._must_restart = self._must_restart or not self._walks_all
        if not desk.is_asked and desk in self._planned:
            self._make_plan()
            self._must_restart = True

    def _step_to(self, batch: TickBatch, done: int, row: int) -> int:
        """Take each row from `done` on at which something falls due, then `row` itself; return the next one."""
        done = self._step_due(batch, done, row)
        if self._must_restart:
            return done
        self._step(batch, row)
        return row + 1

    def _step_due(self, batch: TickBatch, done: int, stop: int) -> int:
        """Take each row from `done` on, before `stop`, at which something falls due; return the first one not taken."""
        while True:
            due = bisect_left(batch.ts, self._wake, done, stop)
            if due == stop:
                return done
            self._step(batch, due)
            done = due + 1
            if self._must_restart:
                return done

    def _step(self, batch: TickBatch, row: int) -> None:
        """One tick in full: what is due before it, the market, then every desk."""
        market, ts, seq, kind = self.market, batch.ts[row], batch.first_seq + row, batch.kind[row]
        before, after = Moment(ts, seq, row), Moment(ts, seq, row + 1)
        if ts >= self._wake:
            market.row = row - 1
            for desk in self.desks:
                if desk.wake <= ts:
                    desk.advance(before)
        market.row = row
        if kind == _FEED:
            market.take_feed(row)
        elif market.has_losses:
            market.take_heard(row)
        is_whole = bool(batch.flags[row] & LAST_OF_MESSAGE)
        is_market = kind in _MARKET_KINDS and (is_whole or kind != _BOOK) and batch.symbol[row] != NO_SYMBOL
        for desk in self.desks:
            if is_market and desk.is_guarding:
                desk.match(after)
            if desk.is_asked:
                if ts >= desk.next_timer and is_whole:
                    self._ask_by_time(desk, batch, after)
                elif is_market and kind in _TRIGGERS[desk.strategy.trigger.kind]:
                    self._ask(desk, batch, batch.symbols[ord(batch.symbol[row])], after)
        self._set_wake()
        for desk in self._planned:
            if not desk.is_asked:  # a hook of its failed in between
                self._make_plan()
                self._must_restart = True
                break
        if self._must_walk_all() != self._walks_all:
            self._must_restart = True

    def _ask_by_time(self, desk: Desk, batch: TickBatch, at: Moment) -> None:
        """A candle or an interval has ended: ask once for each symbol that has something to show."""
        trigger = desk.strategy.trigger
        desk.next_timer = at.ts - at.ts % trigger.interval_ns + trigger.interval_ns
        for symbol in sorted(self.market.chars):
            self.market.asker = desk.name
            if desk.watches(symbol) and self._has_news(symbol, trigger, at.stop):
                self._ask(desk, batch, symbol, at)
        desk.set_wake()

    def _has_news(self, symbol: str, trigger: Trigger, stop: int) -> bool:
        if trigger.kind == "candle":
            return bool(self.market.candles(symbol, trigger.interval_ns, 1))
        mark = self.market.mark(symbol, stop)
        return mark == mark

    def _ask(self, desk: Desk, batch: TickBatch, symbol: str, at: Moment) -> None:
        row = at.stop - 1
        if not desk.is_asked or not desk.watches(symbol) or self.market.is_stale(symbol):
            return
        self.market.asker = desk.name
        is_own = symbol == batch.symbols[ord(batch.symbol[row])]
        snapshot = self._seen(batch, row, symbol) if is_own else Snapshot(self.market, batch, row, at.ts, symbol)
        try:
            answer = desk.decide(snapshot, desk.config, desk.state)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            desk.fail("generate_signal", error, at)
        else:
            if answer is not None:
                desk.take(answer, at)
        self._note(desk)
