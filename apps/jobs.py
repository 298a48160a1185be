"""Desks spread over processes: each walks the same tape with some of them, and all end at the same batch."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from apps.config import RunConfig, as_json, from_json
from apps.desks import Outcome, Progress, Range, Stop, batches_of, run_desks
from apps.loader import StrategyFile, load_strategies
from engine.ticks import TickBatch
from recorder.tape import Tape

DESK_TICKS_WORTH_A_PROCESS = 2_000_000
"""Ticks times desks from which a second process saves more than the 0.4 s it needs to start."""
_SEGMENTS_PER_JOB = 1_000
_SECONDS_BETWEEN_LOOKS = 0.1
"""How long a stop may go unnoticed once the first process waits for the others."""


def jobs_that_pay(ticks: int, desks: int) -> int:
    """As many processes as there are cores, where the work is worth their start; else one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if desks > 1 and ticks * desks >= DESK_TICKS_WORTH_A_PROCESS else 1


def run_jobs(
    tape: Tape,
    strategies: Sequence[StrategyFile],
    config: RunConfig,
    run: Path,
    part: Range,
    jobs: int,
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
            with_logs=with_logs,
            progress=progress,
            should_stop=should_stop,
        )
    groups = [list(strategies[first::jobs]) for first in range(jobs)]
    paths = [str(path) for path in tape.paths]
    configuration = as_json(config)  # as in a manifest: what a CONFIG holds need not be known elsewhere
    context = multiprocessing.get_context("spawn")  # forking a process with Arrow's threads in it is asking for it
    line = _StopLine(context)
    with ProcessPoolExecutor(jobs - 1, mp_context=context, initializer=_join, initargs=(line,)) as pool:
        others = [
            pool.submit(
                _run_group, paths, [str(file.path) for file in group], configuration, run, part, number, with_logs
            )
            for number, group in enumerate(groups[1:], start=1)
        ]
        try:
            batches = line.before(batches_of(tape, part), should_stop)
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
    configuration: dict[str, Any],
    run: Path,
    part: Range,
    number: int,
    with_logs: bool,
) -> Outcome:
    """What a further process does: the same, with fresh modules and segments numbered apart."""
    strategies = load_strategies(Path(file) for file in files)
    config = from_json(configuration, strategies)
    first_segment = number * _SEGMENTS_PER_JOB
    assert _line is not None
    opened = Tape.open(tape)
    batches = _line.before(batches_of(opened, part))
    return run_desks(
        opened, strategies, config, run, part=part, batches=batches, first_segment=first_segment, with_logs=with_logs
    )
