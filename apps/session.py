"""A replay as a run: its folder, its manifest, and the desks over the tape in between."""

import platform
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec

from apps.config import RunConfig, as_json, fingerprint
from apps.desks import Progress, Range, Stop, batches_of, run_desks
from apps.jobs import jobs_that_pay, run_jobs
from apps.loader import StrategyFile
from apps.problems import UserProblem
from engine.digest import run_digest
from engine.signals import spelled
from engine.ticks import TickBatch
from recorder.runs import (
    Manifest,
    StrategyRecord,
    TapeReference,
    create_run,
    hold_run,
    save_strategy,
    tape_path,
    write_manifest,
)
from recorder.tape import Tape

_LIBRARIES = ("duckdb", "msgspec", "numpy", "pyarrow", "wspt")


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
    with hold_run(run):
        for strategy in strategies:
            save_strategy(run, strategy.strategy.name, strategy.source)
        manifest = Manifest(
            status="running",
            kind="replay",
            simulated=tape.simulated,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            configuration=as_json(config),
            configuration_sha256=fingerprint(as_json(config)),
            strategies={file.strategy.name: record_of(file, config) for file in strategies},
            libraries=libraries(),
            tape=TapeReference(
                paths=[tape_path(path, run) for path in given],
                venue=tape.venue,
                identity="" if tape.is_growing else tape.identity,
                first_seq=tape.first_seq,
                stop_seq=tape.first_seq + tape.rows,
                from_ns=part.from_ns,
                to_ns=part.to_ns,
            ),
        )
        write_manifest(run, manifest)
        try:
            if speed is not None:
                batches = _paced(tape, part, speed)
                outcome = run_desks(
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
            else:
                count = min(jobs or jobs_that_pay(tape.rows, len(strategies)), len(strategies))
                outcome = run_jobs(tape, strategies, config, run, part, count, with_logs, progress, should_stop)
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


def _paced(tape: Tape, part: Range, speed: float) -> Iterator[TickBatch]:
    """Small batches, each handed over when its last tick is due at `speed` tape seconds per second."""
    first: int | None = None
    for batch in batches_of(tape, part, rows=64):
        if part.from_ns is not None and batch.ts[0] < part.from_ns:
            yield batch
            continue
        if first is None:
            started, first = time.monotonic(), batch.ts[0]
        due = started + (batch.ts[len(batch) - 1] - first) / 1e9 / speed
        time.sleep(max(0.0, due - time.monotonic()))
        yield batch


def libraries() -> dict[str, str]:
    """Versions of Python and of the packages that have a part in a run."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def record_of(file: StrategyFile, config: RunConfig) -> StrategyRecord:
    """A strategy as the manifest keeps it."""
    strategy = file.strategy
    return StrategyRecord(
        file=str(file.path),
        sha256=file.sha256,
        version=strategy.version,
        config=as_json(config)["desks"][strategy.name]["config"],
        symbols=list(strategy.symbols or ()),
        trigger=spelled(strategy.trigger),
    )
