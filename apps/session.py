"""A tape, the desks and a ledger: the few lines in which a run is made, and made again to be verified."""

import multiprocessing
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import redirect_stdout
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any, Literal

import msgspec

from apps.config import RunConfig, as_json, from_json
from apps.loader import StrategyFile, load_strategies
from apps.problems import UserProblem
from engine.desk import Desk
from engine.digest import Chain, canonical_lines, run_digest
from engine.engine import Engine
from engine.events import Event
from engine.signals import Trigger
from engine.ticks import TickBatch
from recorder.ledger import LedgerWriter, read_events
from recorder.logs import LogWriter
from recorder.runs import (
    LEDGER,
    STRATEGIES,
    Manifest,
    StrategyRecord,
    TapeReference,
    create_run,
    read_manifest,
    save_strategy,
    segment_paths,
    tape_path,
    tape_paths,
    write_manifest,
)
from recorder.tape import ROW_GROUP, Tape

DESK_TICKS_WORTH_A_PROCESS = 2_000_000
"""Ticks times desks from which a second process saves more than the 0.4 s it needs to start."""
_LIBRARIES = ("duckdb", "msgspec", "numpy", "pyarrow", "wspt")
_SEGMENTS_PER_JOB = 1_000
_SECONDS_BETWEEN_LOOKS = 0.1
"""How long a stop may go unnoticed once the first process waits for the others."""

Progress = Callable[[int], None]
"""Told how many ticks have been processed since the last call."""
Stop = Callable[[], bool]
"""Asked between batches whether to end the run here."""


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a tape that a run covers: half open, by `ts_recv` in ns and by seq; None is the tape's own end."""

    from_ns: int | None = None
    to_ns: int | None = None
    stop_seq: int | None = None


class Outcome(msgspec.Struct, kw_only=True):
    """What came of running some desks over a tape.

    digests:   of each desk's history.
    stop_seq:  the seq after the last tick that was processed.
    seconds:   from the first batch to the sealed ledger.
    """

    digests: dict[str, str]
    segments: list[str]
    ticks: int
    events: int
    first_seq: int
    stop_seq: int
    seconds: float


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first event in which a desk's recorded and replayed histories differ; None where one has ended."""

    strategy: str
    seq: int
    recorded: Event | None
    replayed: Event | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a run's tape gives its ledger again."""

    identical: bool
    events: int
    digest: str
    first_difference: Difference | None


# -- making a run ------------------------------------------------------------------------------------------


def replay(
    tape: Tape,
    given: Sequence[str],
    strategies: Sequence[StrategyFile],
    config: RunConfig,
    run: Path,
    *,
    part: Range = Range(),  # noqa: B008  # frozen
    jobs: int | None = None,
    speed: float | None = None,
    with_logs: bool = False,
    progress: Progress = lambda ticks: None,
    should_stop: Stop = lambda: False,
) -> Manifest:
    """Run `strategies` over `tape` into the new folder `run`; return the manifest it ends with.

    given:  the tape's files as the user named them.
    jobs:   processes to spread the desks over; None chooses what pays. The histories are the same.
    speed:  tape seconds per second, or None for as fast as it goes.
    """
    _check_range(tape, part)
    create_run(run)
    for strategy in strategies:
        save_strategy(run, strategy.strategy.name, strategy.source)
    manifest = Manifest(
        status="running",
        kind="replay",
        simulated=tape.simulated,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        configuration=as_json(config),
        strategies={file.strategy.name: _record(file, config) for file in strategies},
        libraries={"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        tape=TapeReference(
            paths=[tape_path(path, run) for path in given],
            venue=tape.venue,
            identity=tape.identity,
            first_seq=tape.first_seq,
            stop_seq=tape.first_seq + tape.rows,
            from_ns=part.from_ns,
            to_ns=part.to_ns,
        ),
    )
    write_manifest(run, manifest)
    count = 1 if speed is not None else jobs or _jobs_that_pay(tape.rows, len(strategies))
    batches = _paced(tape, part, speed) if speed is not None else None
    try:
        outcome = _run_jobs(
            tape, strategies, config, run, part, min(count, len(strategies)), batches, with_logs, progress, should_stop
        )
    except BaseException:
        write_manifest(run, msgspec.structs.replace(manifest, status="failed"))
        raise
    status: Literal["finished", "interrupted"] = "interrupted" if should_stop() else "finished"
    manifest = msgspec.structs.replace(
        manifest,
        status=status,
        tape=msgspec.structs.replace(manifest.tape, first_seq=outcome.first_seq, stop_seq=outcome.stop_seq),
        segments=outcome.segments,
        digests=outcome.digests,
        digest=run_digest(outcome.digests),
        ticks=outcome.ticks,
        events=outcome.events,
        seconds=outcome.seconds,
    )
    write_manifest(run, manifest)
    return manifest


def _check_range(tape: Tape, part: Range) -> None:
    """Find out before there is a run that there would be nothing in it."""
    start = tape.start if part.from_ns is None else max(tape.start, part.from_ns)
    stop = tape.end + 1 if part.to_ns is None else min(tape.end + 1, part.to_ns)
    if start >= stop:
        raise UserProblem("expected ticks between --from and --to, found none")


def _run_jobs(
    tape: Tape,
    strategies: Sequence[StrategyFile],
    config: RunConfig,
    run: Path,
    part: Range,
    jobs: int,
    batches: Iterator[TickBatch] | None,
    with_logs: bool,
    progress: Progress,
    should_stop: Stop,
) -> Outcome:
    """The desks in `jobs` groups: the first in this process, every other one in a process of its own."""
    if jobs <= 1:
        return run_desks(
            tape,
            strategies,
            config,
            run,
            part=part,
            batches=batches,
            with_logs=with_logs,
            progress=progress,
            should_stop=should_stop,
        )
    groups = [list(strategies[first::jobs]) for first in range(jobs)]
    paths = [str(path) for path in tape.paths]
    context = multiprocessing.get_context("spawn")  # forking a process with Arrow's threads in it is asking for it
    line = _StopLine(context)
    with ProcessPoolExecutor(jobs - 1, mp_context=context, initializer=_join, initargs=(line,)) as pool:
        others = [
            pool.submit(_run_group, paths, [str(file.path) for file in group], config, run, part, number, with_logs)
            for number, group in enumerate(groups[1:], start=1)
        ]
        try:
            batches = line.before(_batches(tape, part), should_stop)
            own = run_desks(
                tape, groups[0], config, run, part=part, batches=batches, with_logs=with_logs, progress=progress
            )
            while not all(other.done() for other in others):
                if should_stop():
                    line.draw()
                wait(others, timeout=_SECONDS_BETWEEN_LOOKS)
        except BaseException:
            line.draw()  # nobody waits for what the others would still do
            raise
        outcomes = [own, *(other.result() for other in others)]
    return Outcome(
        digests={name: digest for outcome in outcomes for name, digest in outcome.digests.items()},
        segments=[segment for outcome in outcomes for segment in outcome.segments],
        ticks=own.ticks,
        events=sum(outcome.events for outcome in outcomes),
        first_seq=own.first_seq,
        stop_seq=own.stop_seq,
        seconds=max(outcome.seconds for outcome in outcomes),
    )


class _StopLine:
    """Where several processes that walk the same batches end together: the run is a prefix of the tape for all desks.

    The one that is furthest ahead says where: whoever begins a batch says so first, and the line is drawn behind the
    last batch that anybody has begun.
    """

    def __init__(self, context: SpawnContext) -> None:
        self._lock = context.Lock()
        self._begun = context.Value("q", -1, lock=False)  # first_seq of the furthest batch
        self._is_drawn = context.Value("b", 0, lock=False)

    def draw(self) -> None:
        """No batch is begun any more that nobody has begun yet."""
        with self._lock:
            self._is_drawn.value = 1

    def before(self, batches: Iterator[TickBatch], should_stop: Stop = lambda: False) -> Iterator[TickBatch]:
        """The batches up to the line."""
        for batch in batches:
            if should_stop():
                self.draw()
            with self._lock:
                if self._is_drawn.value and batch.first_seq > self._begun.value:
                    return
                self._begun.value = max(self._begun.value, batch.first_seq)
            yield batch


_line: _StopLine | None = None
"""The line of a further process. A pool can hand one over only when it starts the process, so it has to lie here."""


def _join(line: _StopLine) -> None:
    """A further process begins. Ctrl+C goes to all of them, and is the first one's to answer."""
    global _line  # noqa: PLW0603
    _line = line
    sys.stdout = sys.stderr  # what strategies print is no result
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _run_group(
    tape: list[str],
    files: list[str],
    config: RunConfig,
    run: Path,
    part: Range,
    number: int,
    with_logs: bool,
) -> Outcome:
    """What a further process does: the same, with fresh modules and segments numbered apart."""
    strategies = load_strategies(Path(file) for file in files)
    first_segment = number * _SEGMENTS_PER_JOB
    assert _line is not None
    opened = Tape.open(tape)
    batches = _line.before(_batches(opened, part))
    return run_desks(
        opened, strategies, config, run, part=part, batches=batches, first_segment=first_segment, with_logs=with_logs
    )


def run_desks(
    tape: Tape,
    strategies: Sequence[StrategyFile],
    config: RunConfig,
    run: Path,
    *,
    part: Range,
    batches: Iterator[TickBatch] | None = None,
    first_segment: int = 0,
    with_logs: bool = False,
    progress: Progress = lambda ticks: None,
    should_stop: Stop = lambda: False,
) -> Outcome:
    """Source, engine, ledger. Live and replay differ in the source of batches alone."""
    started = time.perf_counter()
    engine = Engine(_desks(strategies, config))
    history = _History([file.strategy.name for file in strategies])
    first_seq: int | None = None
    logs = LogWriter(run) if with_logs else None
    # What a strategy prints is for a person to see; our own stdout may be a machine's.
    with redirect_stdout(sys.stderr), LedgerWriter(run / LEDGER, first_segment) as ledger:
        for batch in batches or _batches(tape, part):
            first_seq = batch.first_seq if first_seq is None else first_seq
            _keep(engine.process(batch), history, ledger, logs)
            progress(len(batch))
            if should_stop():
                break
        _keep(engine.finish(), history, ledger, logs)
        segments = ledger.close()
    if logs is not None:
        logs.close()
    if first_seq is None:
        raise UserProblem("expected ticks between --from and --to, found none")
    return Outcome(
        digests=history.digests(),
        segments=segments,
        ticks=engine.ticks,
        events=history.events,
        first_seq=first_seq,
        stop_seq=first_seq + engine.ticks,
        seconds=time.perf_counter() - started,
    )


class _History:
    """The hash chains of the desks of one process."""

    def __init__(self, names: Sequence[str]) -> None:
        self.events = 0
        self._chains = {name: Chain() for name in names}

    def extend(self, name: str, events: Sequence[Event]) -> None:
        self.events += len(events)
        self._chains[name].update(canonical_lines(events))

    def digests(self) -> dict[str, str]:
        return {name: chain.hexdigest() for name, chain in self._chains.items()}

    def split(self, events: Sequence[Event]) -> dict[str, list[Event]]:
        """The events by desk, each desk's in order."""
        if len(self._chains) == 1:
            return {name: list(events) for name in self._chains}
        desks: dict[str, list[Event]] = {}
        for event in events:
            desks.setdefault(event.strategy, []).append(event)
        return desks


def _keep(events: Sequence[Event], history: _History, ledger: LedgerWriter, logs: LogWriter | None) -> None:
    if not events:
        return
    for name, own in history.split(events).items():
        history.extend(name, own)
        if logs is not None:
            logs.append(name, own)
    ledger.append(events)


def _desks(strategies: Sequence[StrategyFile], config: RunConfig) -> list[Desk]:
    return [
        Desk(
            msgspec.structs.replace(file.strategy, config=config.desks[file.strategy.name].config),
            cash=config.capital,
            currency=config.currency,
            execution=config.desks[file.strategy.name].execution,
        )
        for file in strategies
    ]


def _batches(tape: Tape, part: Range) -> Iterator[TickBatch]:
    return tape.batches(ROW_GROUP, stop_seq=part.stop_seq, from_ns=part.from_ns, to_ns=part.to_ns)


def _paced(tape: Tape, part: Range, speed: float) -> Iterator[TickBatch]:
    """Small batches, each handed over when its last tick is due at `speed` tape seconds per second."""
    started, first = time.monotonic(), None
    for batch in tape.batches(64, stop_seq=part.stop_seq, from_ns=part.from_ns, to_ns=part.to_ns):
        first = batch.ts[0] if first is None else first
        due = started + (batch.ts[len(batch) - 1] - first) / 1e9 / speed
        time.sleep(max(0.0, due - time.monotonic()))
        yield batch


def _jobs_that_pay(ticks: int, desks: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if desks > 1 and ticks * desks >= DESK_TICKS_WORTH_A_PROCESS else 1


def _record(file: StrategyFile, config: RunConfig) -> StrategyRecord:
    strategy = file.strategy
    return StrategyRecord(
        file=str(file.path),
        sha256=file.sha256,
        version=strategy.version,
        config=as_json(config)["desks"][strategy.name]["config"],
        symbols=list(strategy.symbols or ()),
        trigger=_spelled(strategy.trigger),
    )


def _spelled(trigger: Trigger) -> str:
    return f"{trigger.kind}:{trigger.interval_ns}ns" if trigger.is_timed else trigger.kind


# -- proving a run -----------------------------------------------------------------------------------------


def verify(
    run: Path, *, current: Sequence[StrategyFile] | None = None, progress: Progress = lambda ticks: None
) -> Verdict:
    """Replay the run's tape with its own code (or `current` files) and configuration, and compare every event."""
    manifest = read_manifest(run)
    if manifest.status not in ("finished", "interrupted"):
        raise UserProblem(f"{run}: expected a run that has ended, found one that is {manifest.status}")
    tape = Tape.open(tape_paths(run, manifest))
    if tape.identity != manifest.tape.identity:
        raise UserProblem(f"{run}: expected the tape it was made of, found another one at {tape.paths[0]}")
    strategies = current or load_strategies(sorted((run / STRATEGIES).glob("*.py")))
    wanted = {name: file for file in strategies for name in [file.strategy.name] if name in manifest.strategies}
    missing = sorted(set(manifest.strategies) - set(wanted))
    if missing:
        raise UserProblem(f"{run}: expected the strategies that ran, found no {', '.join(missing)}")
    files = [wanted[name] for name in sorted(wanted)]
    _check_code(run, manifest, files, is_current=current is not None)
    recorded = read_events(segment_paths(run, manifest))
    part = Range(from_ns=manifest.tape.from_ns, to_ns=manifest.tape.to_ns, stop_seq=manifest.tape.stop_seq)
    return _compare(tape, files, from_json(manifest.configuration, files), part, recorded, progress)


def _check_code(run: Path, manifest: Manifest, files: Sequence[StrategyFile], *, is_current: bool) -> None:
    for file in files:
        name = file.strategy.name
        if not is_current and file.sha256 != manifest.strategies[name].sha256:
            raise UserProblem(f"{run}: expected the code that ran in strategies/{name}.py, found a changed file")


def _compare(
    tape: Tape,
    files: Sequence[StrategyFile],
    config: RunConfig,
    part: Range,
    recorded: dict[str, list[Event]],
    progress: Progress,
) -> Verdict:
    engine = Engine(_desks(files, config))
    history = _History([file.strategy.name for file in files])
    seen = dict.fromkeys((file.strategy.name for file in files), 0)
    differences: dict[str, Difference] = {}

    def take(events: Sequence[Event]) -> None:
        for name, own in history.split(events).items():
            history.extend(name, own)
            expected = recorded.get(name, [])[seen[name] : seen[name] + len(own)]
            if own != expected and name not in differences:
                differences[name] = _first_difference(name, seen[name], expected, own)
            seen[name] += len(own)

    with redirect_stdout(sys.stderr):
        for batch in _batches(tape, part):
            take(engine.process(batch))
            progress(len(batch))
        take(engine.finish())
    for name in sorted({*seen, *recorded}):
        rest = recorded.get(name, [])[seen.get(name, 0) :]
        if rest and name not in differences:
            differences[name] = Difference(strategy=name, seq=rest[0].seq, recorded=rest[0], replayed=None)
    first = min(differences.values(), key=_place, default=None)
    return Verdict(
        identical=first is None, events=history.events, digest=run_digest(history.digests()), first_difference=first
    )


def _first_difference(name: str, seq: int, recorded: Sequence[Event], replayed: Sequence[Event]) -> Difference:
    for offset in range(max(len(recorded), len(replayed))):
        was = recorded[offset] if offset < len(recorded) else None
        now = replayed[offset] if offset < len(replayed) else None
        if was != now:
            return Difference(strategy=name, seq=seq + offset, recorded=was, replayed=now)
    raise AssertionError("equal histories have no difference")


def _place(difference: Difference) -> tuple[int, str, int]:
    event = difference.recorded or difference.replayed
    assert event is not None
    return event.tick_seq, difference.strategy, event.seq


def difference_as_json(difference: Difference | None) -> dict[str, Any] | None:
    """A difference as plain values, decimals as text."""
    if difference is None:
        return None
    plain: dict[str, Any] = _plain(msgspec.to_builtins(difference, builtin_types=(Decimal,)))
    return plain


def _plain(value: Any) -> Any:  # what JSON has, and decimals
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return f"{value:f}" if isinstance(value, Decimal) else value
