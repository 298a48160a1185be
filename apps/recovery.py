"""A run's history made again from its tape: the end of a crash, and the beginning of a session that goes on."""

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from apps.comparison import Comparison, Difference
from apps.containment import contained
from apps.desks import History, batches_of, desks_of
from apps.ingredients import ingredients
from apps.problems import UserProblem
from engine.digest import run_digest
from engine.engine import Engine
from engine.events import Event
from engine.ticks import Symbols
from recorder.ledger import LedgerWriter, read_events
from recorder.logs import write_logs
from recorder.problems import Problem
from recorder.run_files import RunFiles
from recorder.runs import (
    LEDGER,
    Manifest,
    hold_run,
    next_segment,
    read_manifest,
    segment_paths,
    tape_paths,
    write_manifest,
)
from recorder.sealing import SealedLog
from recorder.sealing import recover as seal_rest
from recorder.system_log import SystemLog
from recorder.tape import Tape

ASIDE = "replaced"
"""Folder in the ledger's own for what was there and was not what the tape gives."""


class Remade(msgspec.Struct, kw_only=True):
    """A history made again, and how it agrees with what was on disk.

    engine:      as it stands at the end of the tape; `history` holds the chains of its desks.
    first_seq, stop_seq:  of the first tick that was replayed, and after the last.
    symbols:     the codes that the engine knows symbols by.
    segments:    the files in which the history now stands, not yet in the manifest.
    found:       events that were on disk.
    lost_ticks:  of these, those which came of ticks that are not on the tape: only an end of the machine does that.
    difference:  the first event on disk that is not what the tape gives, or None.
    problem:     why what was on disk could not be read at all, or empty.
    """

    tape: Tape
    engine: Engine
    history: History
    symbols: Symbols
    first_seq: int
    stop_seq: int
    segments: list[str]
    found: int
    lost_ticks: int
    difference: Difference | None
    problem: str


class Past(msgspec.Struct, kw_only=True):
    """What a session goes on from.

    manifest:  of the run as it was left.
    conn:      number of its last connection.
    """

    manifest: Manifest
    remade: Remade
    conn: int


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What `recover_run` did.

    sealed:  what became of the logs of the tape.
    remade:  None where the run had ended and nothing was to be done.
    """

    sealed: list[SealedLog]
    manifest: Manifest
    remade: Remade | None


def recover_run(run: Path) -> Recovery:
    """Make a run whole whose process was killed: seal its tape, replay it, and let the ledger say what came of it.

    What was on disk is the beginning of that, as no event is written before its tick. Where it is not, the tape is
    believed, `difference` tells, and the old files are kept aside. May be ended at any moment and done again.

    Raises LogProblem where somebody runs the run, and other Problems where it cannot be replayed.
    """
    read_manifest(run)
    with hold_run(run):
        manifest = read_manifest(run)
        sealed = seal_tape(run, manifest)
        if manifest.status != "running":
            return Recovery(sealed=sealed, manifest=manifest, remade=None)
        started = time.perf_counter()
        remade = remake(run, manifest, is_over=True)
        digests, tape = remade.history.digests(), remade.tape
        before, manifest = (
            manifest,
            msgspec.structs.replace(
                manifest,
                status="finished",
                tape=msgspec.structs.replace(
                    manifest.tape, identity=tape.identity, first_seq=remade.first_seq, stop_seq=remade.stop_seq
                ),
                segments=remade.segments,
                tail="",
                digests=digests,
                digest=run_digest(digests),
                ticks=remade.engine.ticks,
                events=remade.history.events,
                seconds=time.perf_counter() - started,
            ),
        )
        write_manifest(run, manifest)
        put_away(run, before, manifest, remade)
        write_logs(run, read_events(segment_paths(run, manifest)))
    return Recovery(sealed=sealed, manifest=manifest, remade=remade)


def take_up(run: Path) -> Past:
    """The past of a run that is to go on, whether it was stopped or killed; the caller holds it.

    Raises UserProblem where its tape is not the one that it was made of, or gives another history.
    """
    manifest = read_manifest(run)
    for sealed in seal_tape(run, manifest):
        print(f"recovered {sealed.part or 'nothing'} ({sealed.rows:,} ticks) from {sealed.log}", file=sys.stderr)
    remade = remake(run, manifest, is_over=False)
    check_history(run, remade)
    tape = remade.tape
    last = tape.table(["conn"], start_seq=remade.stop_seq - 1)["conn"][0].as_py()
    return Past(manifest=manifest, remade=remade, conn=last)


def seal_tape(run: Path, manifest: Manifest) -> list[SealedLog]:
    """Seal what the recorder of a run left behind, where it recorded into a folder."""
    return seal_folders([place for place in tape_paths(run, manifest) if place.is_dir()], run)


def seal_folders(tapes: Iterable[Path], owner: Path) -> list[SealedLog]:
    """Seal what recorders left in these folders; the system log of `owner`, a run or a recording, tells of it."""
    found = [sealed for folder in tapes for sealed in seal_rest(folder)]
    if found:
        with SystemLog(owner, lambda line: None) as system:
            for sealed in found:
                system.say("recovered", **msgspec.structs.asdict(sealed))
    return found


def remake(
    run: Path,
    manifest: Manifest,
    *,
    is_over: bool,
) -> Remade:
    """Replay the tape of a run into new segments of its ledger, and hold it against what is there.

    is_over:  the tape is not going on: the desks are marked a last time, their strategies told.
    """
    made_of = ingredients(run, manifest)
    tape, part = made_of.tape, made_of.part
    recorded, problem = _recorded(run, manifest)
    stop_seq = part.stop_seq or tape.first_seq + tape.rows
    first_seq: int | None = None
    durable = {name: [event for event in own if event.tick_seq < stop_seq] for name, own in recorded.items()}
    names = [file.strategy.name for file in made_of.files]
    engine, history, comparison, symbols = (
        Engine(desks_of(made_of.files, made_of.config), opens_at=part.from_ns),
        History(names),
        Comparison(durable),
        Symbols(),
    )
    left = {name: len(own) for name, own in durable.items()}
    with LedgerWriter(run / LEDGER, next_segment(run)) as ledger:

        def keep(events: Sequence[Event]) -> None:
            for name, own in history.split(events).items():
                history.extend(name, own)
                comparison.take(name, own[: left.get(name, 0)])
                left[name] = max(0, left.get(name, 0) - len(own))
            ledger.append(events)

        for batch in batches_of(tape, part, symbols):
            with contained():
                made = engine.process(batch)
            if first_seq is None and engine.ticks:
                first_seq = batch.first_seq
            keep(made)
        if is_over:
            with contained():
                made = engine.finish()
            keep(made)
        segments = ledger.close()
    difference = comparison.first_difference() if is_over else _before_the_end(comparison, stop_seq - 1)
    return Remade(
        tape=tape,
        engine=engine,
        history=history,
        symbols=symbols,
        first_seq=first_seq or 0,
        stop_seq=(first_seq or 0) + engine.ticks,
        segments=segments,
        found=_count(recorded.values()),
        lost_ticks=_count(recorded.values()) - _count(durable.values()),
        difference=difference,
        problem=problem,
    )


def put_away(run: Path, before: Manifest, now: Manifest, remade: Remade) -> None:
    """The ledger has other files now: the old ones go, or stay aside where they say something else."""
    folder = run / LEDGER
    if remade.difference is not None or remade.problem:
        (folder / ASIDE).mkdir(exist_ok=True)
        for name in filter(None, (*before.segments, before.tail)):
            (folder / name).replace(folder / ASIDE / name)
    for path in folder.iterdir():
        if path.is_file() and path.name not in (*now.segments, now.tail):
            path.unlink()


def check_history(run: Path, remade: Remade) -> None:
    """A session may only go on from the history that it had. Raises UserProblem where the tape gives another one."""
    if remade.problem:
        raise UserProblem(f"{remade.problem}; `wspt recover {run}` makes its ledger anew")
    if remade.difference is not None:
        name, seq = remade.difference.strategy, remade.difference.seq
        raise UserProblem(
            f"{run}: expected its tape to give its history again, found that {name}'s event {seq} differs; "
            f"`wspt verify {run}` shows how"
        )


def _before_the_end(comparison: Comparison, last_seq: int) -> Difference | None:
    """The first difference, but for what an earlier end of the session added at its last tick."""
    rest = comparison.rest()
    if rest and all(event.tick_seq == last_seq for events in rest.values() for event in events):
        return comparison.first_difference(of_rest=False)
    return comparison.first_difference()


def _recorded(run: Path, manifest: Manifest) -> tuple[dict[str, list[Event]], str]:
    """What is in the ledger, its open tail included; or why that cannot be read."""
    files = RunFiles(run)
    try:
        return read_events(files.look(manifest, with_log=False).ledger), ""
    except Problem as problem:
        return {}, str(problem)
    finally:
        files.close()


def _count(desks: Iterable[Sequence[Event]]) -> int:
    return sum(map(len, desks))
