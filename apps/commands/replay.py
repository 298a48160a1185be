"""A tape through the strategies, and a run made again."""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apps.commands.options import (
    CONFIG,
    RUNS,
    STRATEGIES,
    AsJson,
    Capital,
    ConfigPath,
    Only,
    Override,
    RunFolder,
    RunName,
    Strategies,
    TapeNames,
    chosen,
    claimed_run,
    leaderboard_of,
    moment,
    speed_factor,
    tape_named,
)
from apps.commands.terminal import progress_bar, stoppable
from apps.problems import UserProblem, nearest

if TYPE_CHECKING:
    from apps.config import RunConfig
    from apps.diff import RunDiff
    from apps.loader import StrategyFile


def replay(
    tapes: TapeNames,
    strategies: Strategies = None,
    only: Only = None,
    override: Override = None,
    capital: Capital = None,
    config: ConfigPath = None,
    out: RunFolder = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes to spread the strategies over.")] = None,
    speed: Annotated[str, typer.Option(help="max, or times real time: 1x, 10x.")] = "max",
    start: Annotated[str | None, typer.Option("--from", help="Begin here: ISO 8601 in UTC, or ns.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="End before this.")] = None,
    vs: Annotated[
        list[str] | None, typer.Option("--vs", help="name.key=value: run that strategy again with it, and compare.")
    ] = None,
    logs: Annotated[bool, typer.Option("--logs", help="Also write JSON Lines logs into the run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run strategies over a tape.

    Each has its own money. A leaderboard, a report and the digest follow.
    """
    import msgspec

    from apps.config import settle
    from apps.config_file import read_config
    from apps.desks import Range
    from apps.loader import find_strategies, load_strategies
    from apps.report import print_replay, replay_json, stdout, to_json
    from apps.session import replay as run_replay

    tape, given = tape_named(tapes)
    with redirect_stdout(sys.stderr):  # what strategies print is no result
        loaded = load_strategies(find_strategies(strategies or [STRATEGIES]))
        files = chosen(loaded, only or [])
    settled = partial(
        settle,
        read_config(config or (CONFIG if CONFIG.exists() else None)),
        venue=tape.venue,
        symbols=tape.symbols,
        capital=capital,
        known=[file.strategy.name for file in loaded],
    )
    settings = settled(files, overrides=override or [])
    other = _settled_otherwise(settled, files, override or [], vs or [])
    _tell_idle(files, tape.symbols)
    ticks = tape.rows * (2 if vs else 1)
    with ExitStack() as stack:
        run = out or stack.enter_context(claimed_run(given[0]))
        other_run = run.parent / f"{run.name}-vs"
        if vs and other_run.exists():
            raise UserProblem(f"{other_run}: expected a new folder for what --vs runs, found one that is there")
        should_stop = stack.enter_context(stoppable())
        progress = stack.enter_context(progress_bar(ticks, as_json))
        stack.enter_context(redirect_stdout(sys.stderr))
        run_it = partial(
            run_replay,
            tape,
            given,
            part=Range(from_ns=moment(start, "--from"), to_ns=moment(end, "--to")),
            jobs=jobs,
            speed=speed_factor(speed),
            with_logs=logs,
            progress=progress,
            should_stop=should_stop,
        )
        manifest = run_it(files, settings, run)
        compared = None
        if vs and manifest.status == "finished":
            again = load_strategies(run / "strategies" / f"{name}.py" for name in other.desks)  # fresh modules
            run_it(again, other, other_run)
            compared = _diff(run, other_run, other.desks)
    leaderboard = leaderboard_of(run)
    if as_json:
        said = replay_json(str(run), manifest, leaderboard)
        print(to_json(said if compared is None else {**said, "vs": msgspec.to_builtins(compared)}))
    else:
        if compared is not None:
            from apps.diff_text import print_diff

            print_diff(stdout(), compared)
            print("")
        print_replay(stdout(), str(run), manifest, leaderboard)
    if manifest.status == "interrupted":
        raise typer.Exit(130)


def _tell_idle(files: "list[StrategyFile]", symbols: "Sequence[str]") -> None:
    """A strategy of which the tape has no symbol runs and does nothing: a misspelling looks like patience."""
    for file in files:
        watched = file.strategy.symbols
        if watched is not None and not set(watched) & set(symbols):
            print(
                f"{file.strategy.name}: none of its SYMBOLS ({', '.join(watched[:8])}) is on the tape"
                f"{nearest(watched[0], symbols)}",
                file=sys.stderr,
            )


def _diff(run: Path, other: Path, names: "Iterable[str]") -> "RunDiff":
    from apps.diff import diff_runs  # after the runs, as it brings DuckDB

    return diff_runs(run, other, only=names)


def _settled_otherwise(
    settled: "Callable[..., RunConfig]", files: "list[StrategyFile]", overrides: list[str], vs: list[str]
) -> "RunConfig":
    """The configuration of those strategies that `--vs` changes something of, as it changes it."""
    import msgspec

    try:
        changed = settled(files, overrides=[*overrides, *vs])
    except UserProblem as problem:
        raise UserProblem(str(problem).replace("--set", "--vs", 1)) from problem
    names = [text.partition("=")[0].rpartition(".")[0] for text in vs]
    return msgspec.structs.replace(changed, desks={name: changed.desks[name] for name in sorted(set(names))})


def verify(
    run: RunName,
    current: Annotated[bool, typer.Option("--current", help="With today's strategy files, not the run's own.")] = False,
    strategies: Annotated[list[Path] | None, typer.Option(help="Where today's files are [strategies/].")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a run and compare every event.

    Prints `identical` and the digest, or the first event that differs: which desk, which event, both versions.
    """
    from apps.comparison import difference_as_json
    from apps.loader import find_strategies, load_strategies
    from apps.report import print_difference, stdout, to_json
    from apps.verify import verify as run_verify
    from recorder.runs import find_run, read_manifest

    folder = find_run(run, RUNS)
    with progress_bar(read_manifest(folder).ticks, as_json) as progress, redirect_stdout(sys.stderr):
        files = load_strategies(find_strategies(strategies or [STRATEGIES])) if current or strategies else None
        verdict = run_verify(folder, current=files, progress=progress)
    difference = difference_as_json(verdict.first_difference)
    if verdict.status in ("running", "crashed"):
        whole = f"; `wspt recover {run}` makes it whole" if verdict.status == "crashed" else ""
        so_far = f"compared the {verdict.events:,} events that are on disk"
        print(f"{run} is {verdict.status} and has no end yet: {so_far}{whole}", file=sys.stderr)
    if as_json:
        print(
            to_json(
                {
                    "identical": verdict.identical,
                    "events": verdict.events,
                    "digest": verdict.digest,
                    "first_difference": difference,
                    **({"status": verdict.status} if verdict.status in ("running", "crashed") else {}),
                }
            )
        )
    elif difference is None:
        print(f"identical {verdict.digest} ({verdict.events:,} events)")
    else:
        print_difference(stdout(), difference)
    if not verdict.identical:
        raise typer.Exit(1)
