"""A run made again from its tape, code and configuration, and held against its ledger event by event."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from apps.config import RunConfig, fingerprint, from_json
from apps.desks import History, Progress, Range, batches_of, desks_of
from apps.loader import StrategyFile, load_strategies
from apps.problems import UserProblem
from engine.digest import run_digest
from engine.engine import Engine
from engine.events import Event
from recorder.ledger import read_events
from recorder.runs import MANIFEST, STRATEGIES, Manifest, read_manifest, segment_paths, tape_paths
from recorder.tape import Tape


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


def verify(
    run: Path, *, current: Sequence[StrategyFile] | None = None, progress: Progress = lambda ticks: None
) -> Verdict:
    """Replay the run's tape with its own code (or `current` files) and configuration, and compare every event."""
    manifest = read_manifest(run)
    if manifest.status not in ("finished", "interrupted"):
        tapes = " ".join(path.given for path in manifest.tape.paths)
        raise UserProblem(
            f"{run}: expected a run that has ended, found one that is {manifest.status}; if it was killed, "
            f"`wspt recover {tapes}` and `wspt replay {tapes}` make it whole"
        )
    tape = Tape.open(tape_paths(run, manifest))
    if manifest.tape.identity and tape.identity != manifest.tape.identity:
        raise UserProblem(f"{run}: expected the tape it was made of, found another one at {tape.paths[0]}")
    strategies = current or load_strategies(sorted((run / STRATEGIES).glob("*.py")))
    wanted = {name: file for file in strategies for name in [file.strategy.name] if name in manifest.strategies}
    missing = sorted(set(manifest.strategies) - set(wanted))
    if missing:
        raise UserProblem(f"{run}: expected the strategies that ran, found no {', '.join(missing)}")
    files = [wanted[name] for name in sorted(wanted)]
    _check_code(run, manifest, files, is_current=current is not None)
    if manifest.configuration_sha256 not in ("", fingerprint(manifest.configuration)):
        raise UserProblem(f"{run}: expected the configuration that it ran with, found a changed one in {MANIFEST}")
    recorded = read_events(segment_paths(run, manifest))
    part = Range(from_ns=manifest.tape.from_ns, to_ns=manifest.tape.to_ns, stop_seq=manifest.tape.stop_seq)
    verdict, digests = _compare(tape, files, from_json(manifest.configuration, files), part, recorded, progress)
    if verdict.identical and verdict.digest != manifest.digest:
        raise UserProblem(f"{run}: expected the digest of its ledger in the manifest, found {manifest.digest}")
    for name, digest in digests.items():
        if verdict.identical and manifest.digests.get(name) != digest:
            found = manifest.digests.get(name, "none")
            raise UserProblem(f"{run}: expected the digest of {name}'s ledger in the manifest, found {found}")
    return verdict


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
) -> tuple[Verdict, dict[str, str]]:
    """The verdict, and the digests of the desks' replayed histories."""
    engine = Engine(desks_of(files, config))
    history = History([file.strategy.name for file in files])
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
        for batch in batches_of(tape, part):
            take(engine.process(batch))
            progress(len(batch))
        take(engine.finish())
    for name in sorted({*seen, *recorded}):
        rest = recorded.get(name, [])[seen.get(name, 0) :]
        if rest and name not in differences:
            differences[name] = Difference(strategy=name, seq=rest[0].seq, recorded=rest[0], replayed=None)
    first = min(differences.values(), key=_place, default=None)
    digests = history.digests()
    return Verdict(
        identical=first is None, events=history.events, digest=run_digest(digests), first_difference=first
    ), digests


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
