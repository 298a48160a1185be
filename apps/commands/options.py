"""Options that several commands share, and what their words mean."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps.problems import UserProblem, nearest

if TYPE_CHECKING:
    from apps.loader import StrategyFile
    from recorder.tape import Tape

RUNS = Path("data/runs")
TAPES = Path("data/tapes")
STRATEGIES = Path("strategies")
CONFIG = Path("wspt.toml")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, on stdout.")]
AsRows = Annotated[bool, typer.Option("--json", help="Print one JSON list of objects, and nothing else, on stdout.")]
TapeNames = Annotated[list[str], typer.Argument(metavar="TAPE", help="Tape files, folders of parts, or a run.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run: its folder, its name in data/runs, or latest.")]
Strategies = Annotated[
    list[Path] | None, typer.Option("--strategies", help="Strategy files or folders of them [strategies/].")
]
Only = Annotated[list[str] | None, typer.Option(help="Run only the strategy of this name.")]
Override = Annotated[list[str] | None, typer.Option("--set", help="name.key=value for a strategy's CONFIG.")]
Capital = Annotated[str | None, typer.Option(help="What every strategy starts with [100].")]
ConfigPath = Annotated[Path | None, typer.Option(help="Configuration file [wspt.toml, where there is one].")]
RunFolder = Annotated[Path | None, typer.Option(help="Folder of the run [a new one in data/runs].")]


def tape_named(places: list[str]) -> "tuple[Tape, list[str]]":
    """The tape that the words name - a run stands for its tape - and its files as they were named."""
    from recorder.runs import MANIFEST, read_manifest
    from recorder.tape import Tape

    named: list[str] = []
    for place in places:
        run = Path(place)
        if not place:
            raise UserProblem("TAPE: expected a file or a folder, found an empty name")
        if (run / MANIFEST).is_file():
            from recorder.run_files import own_tape  # a replay of a file has no use for it

            named += [str(path) for path in own_tape(run, read_manifest(run))]
        else:
            named.append(place)
    tape = Tape.open(named)
    return tape, [str(path) for path in tape.paths]


def chosen(files: "list[StrategyFile]", names: list[str]) -> "list[StrategyFile]":
    """The strategies of these names, or all where none is given."""
    known = [file.strategy.name for file in files]
    for name in names:
        if name not in known:
            raise UserProblem(f"--only {name}: expected one of {', '.join(known)}{nearest(name, known)}")
    return [file for file in files if not names or file.strategy.name in names]


def new_run(tape: str) -> Path:
    return free_name(RUNS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{Path(tape).stem}")


@contextmanager
def claimed_run(tape: str) -> Iterator[Path]:
    """A new run's folder, claimed against whoever starts in the same moment; gone again where nothing came of it."""
    made = [folder for folder in (RUNS, RUNS.parent) if not folder.exists()]
    while True:
        run = new_run(tape)
        try:
            run.mkdir(parents=True)
        except FileExistsError:
            if not RUNS.is_dir():
                raise UserProblem(f"{RUNS}: expected a folder for runs, found something else") from None
        except OSError as error:
            raise UserProblem(f"{run}: expected a folder that can be written, found: {error.strerror}") from error
        else:
            break
    try:
        yield run
    finally:
        with suppress(OSError):  # there is something in one of them
            for folder in (run, *made):
                folder.rmdir()


def free_name(wanted: Path) -> Path:
    """This path, or the first of `path-2`, `path-3` ... at which there is nothing yet."""
    path, number = wanted, 1
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.name}-{number}")
    return path


def speed_factor(text: str) -> float | None:
    if text == "max":
        return None
    try:
        factor = float(text.removesuffix("x"))
    except ValueError:
        factor = 0.0
    if not 1e-6 <= factor <= 1e9:
        raise UserProblem(f"--speed {text}: expected max, 1x, 10x or the like")
    return factor


def seconds(text: str | None) -> float | None:
    """Seconds of 30s, 5m or 2h."""
    from engine.signals import interval_ns

    if text is None:
        return None
    try:
        return interval_ns(text) / 1e9
    except ValueError as error:
        raise UserProblem(f"--duration: {error}") from error


def moment(text: str | None, option: str) -> int | None:
    """ns UTC of ISO 8601 text (UTC, unless it names another zone) or of ns."""
    if text is None:
        return None
    if re.fullmatch(r"-?[0-9]{1,30}", text):
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise UserProblem(f"{option} {text}: expected a time such as 2026-01-01T00:05:00, or ns") from error
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    since = when - datetime(1970, 1, 1, tzinfo=UTC)
    further = re.search(r"[.,][0-9]{6}([0-9]{1,3})", text)  # digits that a datetime has no place for
    below = int(further[1].ljust(3, "0")) if further else 0
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000 + below


def leaderboard_of(run: Path) -> list[dict[str, Any]]:
    """The run's strategies, the best first, with their metrics."""
    # DuckDB is imported after the run: the engine freezes what is loaded, and a frozen DuckDB complains at exit.
    from apps.queries import open_run, rows

    return rows(open_run(run, with_log=False, only_for=_LEADERBOARD), _LEADERBOARD)


_LEADERBOARD = """
SELECT leaderboard.*, ratios.* EXCLUDE (strategy) FROM leaderboard JOIN ratios ON strategy = name
ORDER BY equity DESC NULLS LAST, name
"""
