"""Run folders: what a run was made of, where its parts are, and how to find it again."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from recorder.log_folder import LOG, RUNNING, SEALED, FolderLock, is_held, sync_folder
from recorder.problems import Problem

FORMAT_VERSION = 1
MANIFEST = "run.json"
LEDGER = "ledger"
STRATEGIES = "strategies"
LATEST = "latest"


class RunProblem(Problem):
    """A run that cannot be used, in one sentence for the user: the folder, what was expected, what was found."""


class StrategyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy as it ran.

    file:     where its code came from; what ran is `strategies/NAME.py` of the run.
    sha256:   of that code.
    config:   its CONFIG with everything set from outside.
    symbols:  the symbols it watched.
    """

    file: str
    sha256: str
    version: str
    config: dict[str, Any]  # JSON, as the strategy's author likes it
    symbols: list[str]
    trigger: str


class TapePath(msgspec.Struct, frozen=True, kw_only=True):
    """Where a file of the tape was.

    given:     as the user named it.
    relative:  from the run's folder; None where there is no such way.
    """

    given: str
    relative: str | None = None


class TapeReference(msgspec.Struct, frozen=True, kw_only=True):
    """The ticks that a run was made of.

    paths:      the tape's files, in the order of their rows.
    identity:   names the tape by its content; empty where it was still being recorded.
    first_seq:  of the first row that was processed.
    stop_seq:   of the row after the last one.
    from_ns:    beginning of the time that was asked for, ns UTC; None for the tape's own.
    to_ns:      end of the time that was asked for, ns UTC; None for the tape's own.
    """

    paths: list[TapePath]
    venue: str
    identity: str
    first_seq: int
    stop_seq: int
    from_ns: int | None = None
    to_ns: int | None = None


class FeedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a live run listened to: enough to go on with it.

    symbols:  canonical names that were asked for.
    url:      another address than the venue's own, or None.
    seed:     of the simulated market that it listened to, or None.
    """

    symbols: list[str]
    url: str | None = None
    seed: int | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `run.json` says.

    created:        ISO 8601, UTC.
    configuration:  of the engine and the venue: enough, with the strategies, to run the tape again.
    configuration_sha256:  names it; empty where the writer gave it no name.
    strategies:     by the name of their desk.
    libraries:      versions of Python and the packages that had a part in it, by name.
    feed:           of a live run, else None.
    segments:       the ledger's sealed files in `ledger/`, in order.
    tail:           its open file in `ledger/`, JSON Lines, with the events after those; empty where there is none.
                    Nothing else there counts.
    digests:        of each desk's history, by name.
    digest:         of the run; None until it has ended.
    seconds:        the engine's wall time.
    """

    format: int = FORMAT_VERSION
    status: Literal["running", "finished", "interrupted", "failed"]
    kind: Literal["replay", "live"]
    simulated: bool
    created: str
    configuration: dict[str, Any]  # JSON; its shape is the business of whoever runs the engine
    configuration_sha256: str = ""
    strategies: dict[str, StrategyRecord]
    libraries: dict[str, str]
    tape: TapeReference
    feed: FeedRecord | None = None
    segments: list[str] = []
    tail: str = ""
    digests: dict[str, str] = {}
    digest: str | None = None
    ticks: int = 0
    events: int = 0
    seconds: float = 0.0


Status = Literal["running", "finished", "interrupted", "failed", "crashed"]
"""What is known of a run: the word of its manifest, or that nobody runs it though its manifest says so."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A folder in the list of runs.

    manifest:  what it says of itself; None where it is broken.
    problem:   why it is broken; empty where it is not.
    status:    of a run that is not broken, else None.
    """

    path: Path
    manifest: Manifest | None
    problem: str = ""
    status: Status | None = None

    @property
    def name(self) -> str:
        """What the run is called: the name of its folder."""
        return self.path.name


def create_run(path: Path) -> Path:
    """A new run's folder, with places for its ledger and its strategies. It must not exist, or be empty."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise RunProblem(f"{path}: expected a new or empty folder for the run, found files in it")
        (path / LEDGER).mkdir()
        (path / STRATEGIES).mkdir()
    except OSError as error:
        raise RunProblem(f"{path}: expected a folder that can be written, found: {error.strerror}") from error
    return path


def hold_run(path: Path) -> FolderLock:
    """The lock of who writes a run. Raises LogProblem where somebody else does, RunProblem where nobody can."""
    try:
        return FolderLock(path, RUNNING)
    except OSError as error:
        raise RunProblem(f"{path}: expected a folder that can be written, found: {error.strerror or error}") from error


def save_strategy(run: Path, name: str, source: bytes) -> Path:
    """Keep the code that ran as `name`, byte for byte."""
    place = run / STRATEGIES / f"{_plain(run, name)}.py"
    place.write_bytes(source)
    return place


def write_manifest(run: Path, manifest: Manifest) -> None:
    """Replace the run's manifest: a reader sees the old one or the new one, even after a power cut.

    Raises RunProblem where it cannot be written; the old one stands then.
    """
    unfinished = run / f"{MANIFEST}.tmp"
    try:
        with unfinished.open("wb") as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(run / MANIFEST)
        sync_folder(run)
    except OSError as error:
        found = error.strerror or error
        raise RunProblem(f"{run / MANIFEST}: expected a disk that takes it, found: {found}") from error


def read_manifest(run: Path) -> Manifest:
    """What the run says of itself; its ledger's segments are there. Raises RunProblem."""
    try:
        text = (run / MANIFEST).read_bytes()
    except OSError as error:
        raise RunProblem(f"{run}: expected a run, found no readable {MANIFEST}") from error
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunProblem(f"{run / MANIFEST}: expected a run's manifest, found a damaged one: {error}") from error
    if manifest.format != FORMAT_VERSION:
        raise RunProblem(f"{run / MANIFEST}: expected format {FORMAT_VERSION}, found {manifest.format}")
    for path in segment_paths(run, manifest):
        if not path.is_file():
            raise RunProblem(f"{path}: expected a segment of the ledger, found no such file")
    return manifest


def read_status(run: Path) -> tuple[Manifest, Status]:
    """What the run says of itself, and what is true of that: a run without a process has crashed."""
    manifest = read_manifest(run)
    if manifest.status != "running" or is_held(run, RUNNING):
        return manifest, manifest.status
    manifest = read_manifest(run)  # it may have ended between the two looks
    return manifest, "crashed" if manifest.status == "running" else manifest.status


def segment_paths(run: Path, manifest: Manifest) -> list[Path]:
    """The files of the run's ledger, in order."""
    return [run / LEDGER / _plain(run, name) for name in manifest.segments]


def tail_path(run: Path, manifest: Manifest) -> Path | None:
    """The open file of the run's ledger, where it has one. It is gone once it is sealed: read the manifest again."""
    return run / LEDGER / _plain(run, manifest.tail) if manifest.tail else None


def next_segment(run: Path) -> int:
    """A number for a file of the ledger that no file has, whether it counts or a crash left it."""
    numbers = [path.name.partition(".")[0].rpartition("-")[2] for path in (run / LEDGER).rglob("*-*.*")]
    return max((int(number) for number in numbers if number.isdigit()), default=-1) + 1


def tape_path(given: str, run: Path) -> TapePath:
    """How the manifest of `run` remembers a file of its tape."""
    try:
        return TapePath(given=given, relative=os.path.relpath(Path(given).resolve(), run.resolve()))
    except ValueError:  # on another drive
        return TapePath(given=given)


def tape_paths(run: Path, manifest: Manifest) -> list[Path]:
    """The files of the run's tape: where the user named them, beside the run as then, or in its own `tape` folder.

    That they still hold the same ticks is for the reader to check, by `identity`.
    """
    return [_found(run, path) for path in manifest.tape.paths]


def find_run(text: str, home: Path) -> Path:
    """The run that `text` means: a folder, the name of one in `home`, or `latest`.

    home:  where runs are kept, such as data/runs.
    """
    if text == LATEST:
        return _latest(home)
    for folder in (Path(text), home / text):
        if (folder / MANIFEST).is_file():
            return folder
    for folder in (Path(text), home / text):
        if folder.is_dir():
            raise RunProblem(f"{folder}: expected a run, found no readable {MANIFEST}")
    raise RunProblem(f"{text}: expected a run's folder, the name of one in {home}, or {LATEST}, found none of them")


def list_runs(home: Path) -> list[Run]:
    """Every run in `home`, the latest first; broken ones after the others, by name."""
    if not home.is_dir():
        return []
    runs = sorted(map(_run, (path for path in home.iterdir() if path.is_dir())), key=lambda run: run.name)
    whole = [run for run in runs if run.manifest is not None]
    whole.sort(key=_created, reverse=True)
    return whole + [run for run in runs if run.manifest is None]


def _run(path: Path) -> Run:
    try:
        manifest, status = read_status(path)
        return Run(path=path, manifest=manifest, status=status)
    except RunProblem as problem:
        return Run(path=path, manifest=None, problem=str(problem))


def _created(run: Run) -> tuple[str, str]:
    assert run.manifest is not None
    return run.manifest.created, run.name


def _latest(home: Path) -> Path:
    """The newest run that has a history; one that never came to an end only where there is no other."""
    runs: Sequence[Run] = [run for run in list_runs(home) if run.manifest is not None]
    if not runs:
        raise RunProblem(f"{home}: expected a run, found none")
    ended = [run for run in runs if run.manifest is not None and run.manifest.status in ("finished", "interrupted")]
    return (ended or runs)[0].path


def _found(run: Path, path: TapePath) -> Path:
    places = [Path(path.given), run / "tape" / Path(path.given).name]
    if path.relative is not None:
        places.insert(1, run / path.relative)
    # A log that was named while its tape was being recorded is a sealed part by now, with the same rows.
    sealed = [place.with_suffix(f".{SEALED}") for place in places if place.suffix == f".{LOG}"]
    for place in (*places, *sealed):
        if place.exists():
            return place
    raise RunProblem(f"{run}: expected its tape {path.given}, found no such file")


def _plain(run: Path, name: str) -> str:
    """`name`, if it is one and does not lead out of its folder."""
    if not name or name in (".", "..") or Path(name).name != name:
        raise RunProblem(f"{run}: expected the name of a file, found {name!r}")
    return name
