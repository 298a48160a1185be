"""A run made again from its tape, code and configuration, and held against its ledger event by event."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from apps.desks import History, Progress, batches_of, desks_of
from apps.ingredients import Ingredients, ingredients
from apps.loader import StrategyFile
from apps.problems import UserProblem
from engine.digest import run_digest
from engine.engine import Engine
from engine.events import Event
from recorder.ledger import read_events
from recorder.runs import read_manifest, segment_paths


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
    made_of = ingredients(run, manifest, current=current)
    recorded = read_events(segment_paths(run, manifest))
    verdict, digests = _compare(made_of, recorded, progress)
    if verdict.identical and verdict.digest != manifest.digest:
        raise UserProblem(f"{run}: expected the digest of its ledger in the manifest, found {manifest.digest}")
    for name, digest in digests.items():
        if verdict.identical and manifest.digests.get(name) != digest:
            found = manifest.digests.get(name, "none")
            raise UserProblem(f"{run}: expected the digest of {name}'s ledger in the manifest, found {found}")
    return verdict


def _compare(
    made_of: Ingredients, recorded: dict[str, list[Event]], progress: Progress
) -> tuple[Verdict, dict[str, str]]:
    """The verdict, and the digests of the desks' replayed histories."""
    files = made_of.files
    engine = Engine(desks_of(files, made_of.config))
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
        for batch in batches_of(made_of.tape, made_of.part):
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
