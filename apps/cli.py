"""The commands, thin: each parses its words, calls the part that knows, and prints what comes back."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from apps.problems import UserProblem, nearest
from recorder.problems import Problem

if TYPE_CHECKING:
    from apps.loader import StrategyFile
    from recorder.tape import Tape
    from recorder.venues.profiles import Profile

# What the commands need is imported where it is used: `--help` has to answer in a fifth of a second.

RUNS = Path("data/runs")
TAPES = Path("data/tapes")
STRATEGIES = Path("strategies")
CONFIG = Path("wspt.toml")

app = typer.Typer(
    name="wspt",
    help="Record and replay market data, and paper-trade on it: same tape in, same history out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, on stdout.")]


def main() -> NoReturn:
    """The console script: a mistake of the user's is one sentence and exit code 2, Ctrl+C is 130."""
    try:
        app(standalone_mode=True)
    except Problem as problem:
        print(f"wspt: {problem}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


@app.command()
def replay(
    tapes: Annotated[list[str], typer.Argument(metavar="TAPE", help="Tape files, folders of parts, or a run.")],
    strategies: Annotated[
        list[Path] | None, typer.Option("--strategies", help="Strategy files or folders of them [strategies/].")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Run only the strategy of this name.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="name.key=value for a strategy's CONFIG.")] = None,
    capital: Annotated[str | None, typer.Option(help="What every strategy starts with [100].")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file [wspt.toml, where there is one].")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run [a new one in data/runs].")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes to spread the strategies over.")] = None,
    speed: Annotated[str, typer.Option(help="max, or times real time: 1x, 10x.")] = "max",
    start: Annotated[str | None, typer.Option("--from", help="Begin here: ISO 8601 in UTC, or ns.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="End before this.")] = None,
    logs: Annotated[bool, typer.Option("--logs", help="Also write JSON Lines logs into the run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run strategies over a tape.

    Each has its own money. A leaderboard, a report and the digest follow.
    """
    from apps.config import read_config, settle
    from apps.desks import Range
    from apps.loader import find_strategies, load_strategies
    from apps.report import print_replay, replay_json, stdout, to_json
    from apps.session import replay as run_replay

    tape, given = _tape(tapes)
    with redirect_stdout(sys.stderr):  # what strategies print is no result
        files = _chosen(load_strategies(find_strategies(strategies or [STRATEGIES])), only or [])
    settings = settle(
        read_config(config or (CONFIG if CONFIG.exists() else None)),
        files,
        tape.venue,
        tape.symbols,
        capital=capital,
        overrides=override or [],
    )
    run = out or _new_run(given[0])
    part = Range(from_ns=_time(start, "--from"), to_ns=_time(end, "--to"))
    with _stoppable() as should_stop, _progress(tape.rows, as_json) as progress, redirect_stdout(sys.stderr):
        manifest = run_replay(
            tape,
            given,
            files,
            settings,
            run,
            part=part,
            jobs=jobs,
            speed=_speed(speed),
            with_logs=logs,
            progress=progress,
            should_stop=should_stop,
        )
    leaderboard = _query(run, "FROM leaderboard")
    if as_json:
        print(to_json(replay_json(str(run), manifest, leaderboard)))
    else:
        print_replay(stdout(), str(run), manifest, leaderboard)
    if manifest.status == "interrupted":
        raise typer.Exit(130)


@app.command()
def verify(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run: its folder, its name in data/runs, or latest.")],
    current: Annotated[bool, typer.Option("--current", help="With today's strategy files, not the run's own.")] = False,
    strategies: Annotated[list[Path] | None, typer.Option(help="Where today's files are [strategies/].")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a run and compare every event.

    Prints `identical` and the digest, or the first event that differs: which desk, which event, both versions.
    """
    from apps.loader import find_strategies, load_strategies
    from apps.report import print_difference, stdout, to_json
    from apps.verify import difference_as_json
    from apps.verify import verify as run_verify
    from recorder.runs import find_run, read_manifest

    folder = find_run(run, RUNS)
    with _progress(read_manifest(folder).ticks, as_json) as progress, redirect_stdout(sys.stderr):
        files = load_strategies(find_strategies(strategies or [STRATEGIES])) if current or strategies else None
        verdict = run_verify(folder, current=files, progress=progress)
    difference = difference_as_json(verdict.first_difference)
    if as_json:
        print(
            to_json(
                {
                    "identical": verdict.identical,
                    "events": verdict.events,
                    "digest": verdict.digest,
                    "first_difference": difference,
                }
            )
        )
    elif difference is None:
        print(f"identical {verdict.digest} ({verdict.events:,} events)")
    else:
        print_difference(stdout(), difference)
    if not verdict.identical:
        raise typer.Exit(1)


@app.command()
def sql(
    words: Annotated[list[str], typer.Argument(metavar="[RUN] QUERY", help="A run [latest], and one SELECT.")],
    as_json: AsJson = False,
) -> None:
    """Ask DuckDB about a run.

    Its views: signals, orders, fills, positions, positions_now, equity, round_trips, leaderboard, events; and of its
    tape ticks, trades, quotes, feed. Times are ns UTC: make_timestamp_ns(ts) shows one as a date.
    """
    from apps.queries import open_run, table
    from apps.report import print_answer, stdout, to_json
    from recorder.runs import LATEST, find_run

    if len(words) > 2:
        raise UserProblem(f"sql: expected a run and one query in quotes, found {len(words)} words")
    run, query = (LATEST, words[0]) if len(words) == 1 else words
    folder = find_run(run, RUNS)
    if as_json:
        print(to_json(_query(folder, query)))
        return
    print_answer(stdout(), *table(open_run(folder), query))


@app.command()
def inspect(
    tapes: Annotated[list[str], typer.Argument(metavar="TAPE", help="Tape files, folders of parts, or a run.")],
    as_json: AsJson = False,
) -> None:
    """Show what is on a tape, and how good it is."""
    from apps.report import inspect_json, print_inspect, stdout, to_json

    tape, _ = _tape(tapes)
    if as_json:
        print(to_json(inspect_json(tape)))
    else:
        print_inspect(stdout(), tape)


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="hftbacktest, cryptofeed, frames or ticks.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="The captured files, in order.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The tape to write.")],
    venue: Annotated[str | None, typer.Option(help="Whose frames they are: kraken or binance.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a tape of captured frames or ticks.

    Frames go through the decoders that a live feed uses.
    """
    from apps.importing import import_files
    from apps.report import inspect_json, print_inspect, stdout, to_json

    tape = import_files(kind, venue, files, out)
    if as_json:
        print(to_json(inspect_json(tape)))
    else:
        print_inspect(stdout(), tape)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="The tape to write.")],
    seed: Annotated[int, typer.Option(help="The same seed makes the same tape.")] = 7,
    minutes: Annotated[float, typer.Option(min=0.01, help="Length in minutes of tape time.")] = 10.0,
) -> None:
    """Make a tape of a simulated market.

    It is marked as simulated wherever it is used.
    """
    from apps.importing import simulated_tape
    from apps.report import print_inspect, stdout

    print_inspect(stdout(), simulated_tape(seed, minutes, out))


@app.command()
def runs(as_json: AsJson = False) -> None:
    """List the runs in data/runs, newest first."""
    from apps.report import print_runs, runs_json, stdout, to_json
    from recorder.runs import list_runs

    found = list_runs(RUNS)
    if as_json:
        print(to_json(runs_json(found)))
    elif found:
        print_runs(stdout(), found)
    else:
        print(f"No runs in {RUNS} yet: `wspt replay TAPE` makes one.")


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the strategy, and of its file.")],
) -> None:
    """Start a strategy: a file that runs as it is."""
    from apps.loader import load_strategy
    from apps.template import TEMPLATE

    path = STRATEGIES / f"{name}.py"
    if path.name != f"{name}.py" or not name:
        raise UserProblem(f"new {name!r}: expected a name for a file in {STRATEGIES}, found a path")
    if path.exists():
        raise UserProblem(f"{path}: expected a name that is free, found a file")
    STRATEGIES.mkdir(exist_ok=True)
    path.write_text(TEMPLATE, encoding="utf-8")
    try:
        load_strategy(path)
    except Problem:
        path.unlink()
        raise
    print(f"{path} is ready: `wspt replay data/sample.parquet --only {name}` runs it.")


Symbols = Annotated[str | None, typer.Option(help="BTC/USD,ETH/USD: what to subscribe to.")]


@app.command()
def live(
    venue: Annotated[str, typer.Option(help="kraken or binance.")] = "kraken",
    symbols: Symbols = None,
    url: Annotated[str | None, typer.Option(help="Another address than the venue's own.")] = None,
    strategies: Annotated[
        list[Path] | None, typer.Option("--strategies", help="Strategy files or folders of them [strategies/].")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Run only the strategy of this name.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="name.key=value for a strategy's CONFIG.")] = None,
    capital: Annotated[str | None, typer.Option(help="What every strategy starts with [100].")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file [wspt.toml, where there is one].")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run [a new one in data/runs].")] = None,
    duration: Annotated[str | None, typer.Option(help="Stop after 30s, 5m or 2h.")] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="Trade a made-up market instead of a venue.")] = False,
    seed: Annotated[int, typer.Option(help="Of the simulated market.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Record a venue and run strategies on it as it happens; Ctrl+C ends it with a report."""
    from apps.config import read_config, settle
    from apps.live import Session, run_session
    from apps.loader import find_strategies, load_strategies
    from apps.report import print_replay, replay_json, stdout, to_json
    from apps.watching import EVERY_S, print_next_steps, status

    loaded = load_strategies(find_strategies(strategies or [STRATEGIES]))
    files = _chosen(loaded, only or [])
    wanted = [name for file in files for name in file.strategy.symbols or ()]
    profile, names = _subscription(venue, symbols, wanted)
    settings = settle(
        read_config(config or (CONFIG if CONFIG.exists() else None)),
        files,
        venue,
        names,
        capital=capital,
        overrides=override or [],
        known=[file.strategy.name for file in loaded],
    )
    run = out or _new_run(f"{venue}-live")
    session = Session(
        profile=profile,
        symbols=names,
        tape=TAPES / run.name,
        run=run,
        strategies=files,
        config=settings,
        url=url,
        simulated=seed if simulated else None,
        duration=_seconds(duration),
    )
    manifest = run_session(session, watch=status, every_s=EVERY_S)
    assert manifest is not None
    leaderboard = _query(run, "FROM leaderboard")
    if as_json:
        print(to_json(replay_json(str(run), manifest, leaderboard)))
    else:
        print_next_steps(run)
        print_replay(stdout(), str(run), manifest, leaderboard)


@app.command()
def record(
    venue: Annotated[str, typer.Option(help="kraken or binance.")] = "kraken",
    symbols: Symbols = None,
    url: Annotated[str | None, typer.Option(help="Another address than the venue's own.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the tape [a new one in data/tapes].")] = None,
    duration: Annotated[str | None, typer.Option(help="Stop after 30s, 5m or 2h.")] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="Record a made-up market.")] = False,
    seed: Annotated[int, typer.Option(help="Of the simulated market.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Record a venue to a tape, without strategies; Ctrl+C ends it."""
    from apps.live import Session, run_session
    from apps.report import inspect_json, print_inspect, stdout, to_json
    from apps.watching import EVERY_S, status
    from recorder.tape import Tape

    profile, names = _subscription(venue, symbols, [])
    tape = out or TAPES / _new_run(venue).name
    session = Session(
        profile=profile,
        symbols=names,
        tape=tape,
        run=None,
        url=url,
        simulated=seed if simulated else None,
        duration=_seconds(duration),
    )
    run_session(session, watch=status, every_s=EVERY_S)
    if as_json:
        print(to_json(inspect_json(Tape.open(tape))))
    else:
        print_inspect(stdout(), Tape.open(tape))


@app.command()
def recover(
    tape: Annotated[Path, typer.Argument(help="Folder of a recording that ended before it could be sealed.")],
) -> None:
    """Seal what a crash left behind; what was whole is kept, what was torn is set aside."""
    from apps.report import print_inspect, stdout
    from recorder.sealing import recover as seal_rest
    from recorder.tape import Tape

    if not tape.is_dir():
        raise UserProblem(f"{tape}: expected the folder of a recording, found none")
    for sealed in seal_rest(tape):
        kept = f", {sealed.torn_bytes} torn bytes kept in {sealed.torn}" if sealed.torn else ""
        print(f"{sealed.log} -> {sealed.part or 'nothing'} ({sealed.rows:,} ticks){kept}", file=sys.stderr)
    print_inspect(stdout(), Tape.open(tape))


@app.command()
def serve(
    tapes: Annotated[list[str] | None, typer.Argument(metavar="[TAPE...]", help="What to serve.")] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="Serve a made-up market instead of a tape.")] = False,
    venue: Annotated[str | None, typer.Option(help="Whose protocol to speak [the tape's].")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on; other than loopback lets others in.")] = "127.0.0.1",
    speed: Annotated[str, typer.Option(help="max, or times real time: 1x, 10x.")] = "1x",
    fault: Annotated[str | None, typer.Option(help="drop=0.001,disconnect=30s,stall=5s,garble=0.001,...")] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated market, and of the faults.")] = 7,
    at_end: Annotated[str, typer.Option(help="close, stay or loop.")] = "close",
) -> None:
    """Be a venue on loopback: a tape or a simulation in the venue's own protocol, with faults on request."""
    from apps.faults import parse_faults
    from apps.serving import simulated_source, tape_source
    from apps.venue_server import serve as run_server

    if simulated == bool(tapes):
        raise UserProblem("serve: expected either tapes or --simulated, found both or neither")
    source = simulated_source(seed) if simulated else tape_source(_tape(tapes or [])[0])
    run_server(
        source,
        venue,
        host=host,
        port=port,
        speed=_speed(speed),
        faults=parse_faults(fault) if fault else None,
        seed=seed,
        at_end=at_end,
        announce=lambda line: print(line, flush=True),
    )


# -- what several commands need ----------------------------------------------------------------------------


def _tape(places: list[str]) -> "tuple[Tape, list[str]]":
    """The tape that the words name - a run stands for its tape - and its files as they were named."""
    from recorder.runs import MANIFEST, read_manifest, tape_paths
    from recorder.tape import Tape

    named: list[str] = []
    for place in places:
        run = Path(place)
        if not place:
            raise UserProblem("TAPE: expected a file or a folder, found an empty name")
        if (run / MANIFEST).is_file():
            named += [str(path) for path in tape_paths(run, read_manifest(run))]
        else:
            named.append(place)
    tape = Tape.open(named)
    return tape, [str(path) for path in tape.paths]


def _chosen(files: "list[StrategyFile]", names: list[str]) -> "list[StrategyFile]":
    """The strategies of these names, or all where none is given."""
    known = [file.strategy.name for file in files]
    for name in names:
        if name not in known:
            raise UserProblem(f"--only {name}: expected one of {', '.join(known)}{nearest(name, known)}")
    return [file for file in files if not names or file.strategy.name in names]


def _subscription(venue: str, symbols: str | None, wanted: list[str]) -> "tuple[Profile, list[str]]":
    """The venue, and what to subscribe to: as asked, else what the strategies watch, else its best-known market."""
    from recorder.venues.profiles import PROFILES

    profile = PROFILES.get(venue)
    if profile is None:
        raise UserProblem(f"--venue {venue}: expected one of {', '.join(PROFILES)}{nearest(venue, PROFILES)}")
    names = [name.strip() for name in symbols.split(",")] if symbols is not None else wanted
    names = list(dict.fromkeys(names or ["BTC/USD" if venue == "kraken" else "BTC/USDT"]))
    for name in names:
        base, slash, quote = name.partition("/")
        if not (base and slash and quote):
            raise UserProblem(f"--symbols {name}: expected BASE/QUOTE, such as BTC/USD")
    return profile, names


def _seconds(text: str | None) -> float | None:
    """Seconds of 30s, 5m or 2h."""
    from engine.signals import interval_ns

    if text is None:
        return None
    try:
        return interval_ns(text) / 1e9
    except ValueError as error:
        raise UserProblem(f"--duration: {error}") from error


def _new_run(tape: str) -> Path:
    stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{Path(tape).stem}"
    number = 1
    path = RUNS / stem
    while path.exists():
        number += 1
        path = RUNS / f"{stem}-{number}"
    return path


def _query(run: Path, query: str) -> list[dict[str, Any]]:
    from apps.queries import open_run, rows

    return rows(open_run(run), query)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        factor = float(text.removesuffix("x"))
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise UserProblem(f"--speed {text}: expected max, 1x, 10x or the like")
    return factor


def _time(text: str | None, option: str) -> int | None:
    """ns UTC of ISO 8601 text (UTC, unless it names another zone) or of ns."""
    if text is None:
        return None
    if text.lstrip("-").isdigit():
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise UserProblem(f"{option} {text}: expected a time such as 2026-01-01T00:05:00, or ns") from error
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    since = when - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Ctrl+C or SIGTERM ends the run after the batch in hand; a second one at once."""
    stopped = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        if stopped:
            raise KeyboardInterrupt
        stopped = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(total: int, is_quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, where a person is looking."""
    if is_quiet or not sys.stderr.isatty():
        yield lambda ticks: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda ticks: bar.advance(task, ticks)
