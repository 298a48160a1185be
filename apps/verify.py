"""A run made again from its tape, code and configuration, and held against its ledger event by event."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from apps.comparison import Comparison, Difference
from apps.containment import contained
from apps.desks import History, Progress, batches_of, desks_of
from apps.ingredients import Ingredients, ingredients
from apps.loader import StrategyFile
from apps.problems import UserProblem
from engine.digest import run_digest
from engine.engine import Engine
from engine.events import Event
from recorder.ledger import read_events
from recorder.run_files import RunFiles
from recorder.runs import Manifest, Status, read_status


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a run's tape gives its ledger again.

    status:  of the run: one that has not ended is compared as far as its ledger goes.
    """

    identical: bool
    events: int
    digest: str
    first_difference: Difference | None
    status: Status


def verify(
    run: Path, *, current: Sequence[StrategyFile] | None = None, progress: Progress = lambda ticks: None
) -> Verdict:
    """Replay the run's tape with its own code (or `current` files) and configuration, and compare every event.

    A run that is going on, or was killed, has no digest yet: every event on disk must be among those of the replay,
    in the same place, and `digest` is that of these events.
    """
    manifest, status = read_status(run)
    if manifest.status == "failed":
        raise UserProblem(f"{run}: expected a run with a history, found one that failed before it had any")
    recorded = _recorded(run)
    has_ended = manifest.status != "running"
    verdict, digests = _compare(ingredients(run, manifest, current=current), recorded, progress, status)
    if verdict.identical and has_ended:
        _check_digests(run, manifest, verdict.digest, digests)
    return verdict


def _recorded(run: Path) -> dict[str, list[Event]]:
    """What is in the ledger, its open tail included."""
    files = RunFiles(run)
    try:
        return read_events(files.look(with_log=False).ledger)
    finally:
        files.close()


def _check_digests(run: Path, manifest: Manifest, digest: str, digests: dict[str, str]) -> None:
    if digest != manifest.digest:
        raise UserProblem(f"{run}: expected the digest of its ledger in the manifest, found {manifest.digest}")
    for name, own in digests.items():
        if manifest.digests.get(name) != own:
            found = manifest.digests.get(name, "none")
            raise UserProblem(f"{run}: expected the digest of {name}'s ledger in the manifest, found {found}")


def _compare(
    made_of: Ingredients,
    recorded: dict[str, list[Event]],
    progress: Progress,
    status: Status,
) -> tuple[Verdict, dict[str, str]]:
    """The verdict, and the digests of the desks' replayed histories: of all of them, or as far as they are recorded."""
    engine = Engine(desks_of(made_of.files, made_of.config), opens_at=made_of.part.from_ns)
    history = History([file.strategy.name for file in made_of.files])
    comparison = Comparison(recorded)
    has_ended = status not in ("running", "crashed")
    left = {name: len(events) for name, events in recorded.items()}

    def take(events: Sequence[Event]) -> None:
        for name, made in history.split(events).items():
            own = made if has_ended else made[: left.get(name, 0)]
            left[name] = left.get(name, 0) - len(own)
            history.extend(name, own)
            comparison.take(name, own)

    for batch in batches_of(made_of.tape, made_of.part):
        with contained():
            events = engine.process(batch)
        take(events)
        progress(len(batch))
    with contained():
        events = engine.finish()
    take(events)
    first, digests = comparison.first_difference(), history.digests()
    verdict = Verdict(
        identical=first is None,
        events=history.events,
        digest=run_digest(digests),
        first_difference=first,
        status=status,
    )
    return verdict, digests
