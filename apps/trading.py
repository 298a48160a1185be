"""What trades on a recording: its rows to the engine, and the facts to the ledger and the logs."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from apps.config import RunConfig
from apps.containment import back_to
from apps.desks import History, desks_of
from apps.loader import StrategyFile
from apps.recovery import Remade
from engine.digest import run_digest
from engine.engine import Engine
from engine.events import Event, OrderFilled, StrategyFailed
from engine.ticks import Symbols, Tick, batch_of
from recorder.live_ledger import LiveLedger
from recorder.logs import LogWriter
from recorder.runs import Manifest, TapeReference, next_segment, tape_path, write_manifest
from recorder.system_log import SystemLog
from recorder.tape import Tape

WAITING_MAX = 1_000
"""Rows that may wait before they are handed to the engine, whether something comes of them or not."""
FILLS_TOLD = 8
"""The newest fills, kept for whoever comes to listen."""


class Trading:
    """The engine behind a recording: rows in, facts into the ledger and the logs of `run`.

    run:      the folder of the run.
    fills:    the newest.
    filled:   how many there were, by strategy.
    publish:  gets the lines of events that are in the ledger; it may not wait.
    """

    def __init__(
        self,
        strategies: Sequence[StrategyFile],
        config: RunConfig,
        run: Path,
        manifest: Manifest,
        system: SystemLog,
        past: Remade | None = None,
    ) -> None:
        self.engine = past.engine if past else Engine(desks_of(strategies, config))
        self.manifest = manifest
        self.run = run
        self.fills: deque[OrderFilled] = deque(maxlen=FILLS_TOLD)
        self.filled: Counter[str] = Counter()
        self.logs = LogWriter(run)
        self._is_logged = True
        self.publish: Callable[[bytes], None] = lambda lines: None
        self._system = system
        self._history = past.history if past else History([file.strategy.name for file in strategies])
        self._ticks: list[Tick] = []
        self._times: list[int] = []
        self._first_seq, self._symbols = 0, Symbols()
        self._home = str(Path.cwd())
        self._started = time.perf_counter()
        self._ledger = LiveLedger(run, self._sealed, segments=past.segments if past else (), number=next_segment(run))

    def follow(self, ticks: Sequence[Tick], times: Sequence[int], seq: int, symbols: Symbols) -> None:
        """The rows of what came together; see `Follow`. Rows of which nothing comes wait for others of which it may."""
        if not self._ticks:
            self._first_seq, self._symbols = seq, symbols
        self._ticks += ticks
        self._times += times
        if len(self._ticks) > WAITING_MAX or not self.engine.can_wait(ticks, times[-1]):
            self._process()

    def finish(self, tape: Tape, given: str) -> Manifest:
        """The recording is over and sealed: the last marks, the sealed ledger, the manifest with its digests."""
        self._process()
        events = self.engine.finish()
        back_to(self._home)
        self._keep(events)
        self._ledger.close()
        self._log(self.logs.close)
        digests = self._history.digests()
        self.manifest = msgspec.structs.replace(
            self.manifest,
            status="finished",
            simulated=tape.simulated,
            tape=reference(tape, given, self.run, self.engine.ticks),
            digests=digests,
            digest=run_digest(digests),
            ticks=self.engine.ticks,
            events=self._history.events,
            seconds=time.perf_counter() - self._started,
        )
        write_manifest(self.run, self.manifest)
        return self.manifest

    def give_up(self) -> None:
        """Nothing ever came: the run has no history, and says so."""
        self._ledger.close()
        self._log(self.logs.close)
        self.manifest = msgspec.structs.replace(self.manifest, status="failed")
        write_manifest(self.run, self.manifest)

    def _process(self) -> None:
        """Hand the engine what waits for it, as one batch."""
        ticks, times = self._ticks, self._times
        if ticks:
            self._ticks, self._times = [], []
            events = self.engine.process(batch_of(ticks, times, self._first_seq, self._symbols))
            back_to(self._home)
            self._keep(events)

    def flush(self) -> None:
        """Let whoever reads the logs see what there is."""
        self._log(self.logs.flush)

    def _log(self, work: Callable[[], None]) -> None:
        """A disk that does not take the logs costs them, and not the session: the ledger has it all."""
        if not self._is_logged:
            return
        try:
            work()
        except OSError as error:
            self._is_logged = False
            self._system.say("logs_failed", reason=error.strerror or str(error))

    def _keep(self, events: Sequence[Event]) -> None:
        if not events:
            return
        lines = b""
        for name, own in self._history.split(events).items():
            lines += self._history.extend(name, own)
            self._log(partial(self.logs.append, name, own))
        self._ledger.append(events, lines)
        self.publish(lines)
        for event in events:
            if type(event) is OrderFilled:
                self.filled[event.strategy] += 1
                self.fills.append(event)
            elif type(event) is StrategyFailed:
                self._tell_failure(event)

    def _tell_failure(self, event: StrategyFailed) -> None:
        facts = {"strategy": event.strategy, "exception": event.exception, "file": event.file, "line": event.line}
        self._system.say("strategy_failed", tick_seq=event.tick_seq, **facts)

    def _sealed(self, segments: list[str], tail: str) -> None:
        self.manifest = msgspec.structs.replace(self.manifest, segments=list(segments), tail=tail)
        write_manifest(self.run, self.manifest)


def reference(tape: Tape | None, given: str, run: Path, ticks: int, venue: str = "") -> TapeReference:
    """Where the run's tape is; while it is being recorded, without a name for what is on it."""
    return TapeReference(
        paths=[tape_path(given, run)],
        venue=tape.venue if tape else venue,
        identity=tape.identity if tape else "",
        first_seq=0,
        stop_seq=ticks,
    )
