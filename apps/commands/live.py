"""Venues as they happen: recorded, traded on, or played on loopback."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Annotated

import typer

from apps.commands.options import (
    CONFIG,
    RUNS,
    STRATEGIES,
    TAPES,
    AsJson,
    Capital,
    ConfigPath,
    Only,
    Override,
    RunFolder,
    Strategies,
    chosen,
    free_name,
    leaderboard_of,
    new_run,
    seconds,
    speed_factor,
    tape_named,
)
from apps.problems import UserProblem, nearest

if TYPE_CHECKING:
    from apps.live import Session, Watcher
    from recorder.venues.profiles import Profile

SEED = 7
Symbols = Annotated[str | None, typer.Option(help="BTC/USD,ETH/USD: what to subscribe to.")]


def live(
    venue: Annotated[str | None, typer.Option(help="kraken or binance [kraken].")] = None,
    symbols: Symbols = None,
    url: Annotated[str | None, typer.Option(help="Another address than the venue's own.")] = None,
    strategies: Strategies = None,
    only: Only = None,
    override: Override = None,
    capital: Capital = None,
    config: ConfigPath = None,
    out: RunFolder = None,
    duration: Annotated[str | None, typer.Option(help="Stop after 30s, 5m or 2h.")] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="Trade a made-up market instead of a venue.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of the simulated market [7].")] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with a live run that was stopped or killed.")
    ] = None,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Show it in a browser, on loopback.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the dashboard; 0 takes a free one.")] = 8501,
    publish: Annotated[
        str | None, typer.Option(metavar="URL", help="Push events to WebSocket clients of, say, ws://127.0.0.1:9100.")
    ] = None,
    publish_to_others: Annotated[
        bool, typer.Option("--publish-to-others", help="Let --publish listen where other machines can reach it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Record a venue and run strategies on it as it happens; Ctrl+C ends it with a report."""
    from apps.live import run_session
    from apps.publishing import place_of
    from apps.report import print_replay, replay_json, stdout, to_json
    from apps.resuming import resumed_session
    from apps.watching import print_next_steps
    from recorder.runs import find_run

    if resume is None:
        seed = SEED if seed is None else seed
        session = new_session(
            venue or "kraken", symbols, url, strategies, only, override, capital, config, out, simulated, seed
        )
    else:
        refuse_with_resume(
            symbols=symbols,
            strategies=strategies,
            only=only,
            set=override,
            capital=capital,
            config=config,
            out=out,
            simulated=simulated,
            seed=seed,
        )
        session = resumed_session(find_run(resume, RUNS), venue=venue, url=url)
    session.duration = seconds(duration)
    if publish is not None:
        session.publish = place_of(publish, lets_others_in=publish_to_others)
        if publish_to_others:
            print(f"--publish {publish}: whoever reaches this address can read all portfolios", file=sys.stderr)
    run = session.run
    assert run is not None
    with dashboard_beside(run, port) if dashboard else nullcontext():
        manifest = run_session(session, watcher())
    assert manifest is not None
    leaderboard = leaderboard_of(run)
    if as_json:
        print(to_json(replay_json(str(run), manifest, leaderboard)))
    else:
        print_next_steps(run)
        print_replay(stdout(), str(run), manifest, leaderboard)


@contextmanager
def dashboard_beside(run: Path, port: int) -> Iterator[None]:
    """The dashboard over the session's run, in a process that gives way to it and ends with it."""
    from apps.dashboard.serving import Dashboard

    with Dashboard(RUNS, str(run.resolve()), port=port, gives_way=True) as beside:
        print(f"dashboard at {beside.url}, until the session ends", file=sys.stderr, flush=True)
        yield


def refuse_with_resume(**given: object) -> None:
    """A run goes on as it was: what would make it another one is not for it."""
    for name, value in given.items():
        if value is not None and value is not False:  # a seed may be 0
            raise UserProblem(f"--{name}: a run that is resumed keeps its own; leave it out, or begin a new run")


def new_session(
    venue: str,
    symbols: str | None,
    url: str | None,
    strategies: list[Path] | None,
    only: list[str] | None,
    override: list[str] | None,
    capital: str | None,
    config: Path | None,
    out: Path | None,
    simulated: bool,
    seed: int,
) -> "Session":
    """A session that begins a run, as the options ask for it."""
    import msgspec

    from apps.config import settle
    from apps.config_file import read_config
    from apps.live import Session
    from apps.loader import find_strategies, load_strategies

    loaded = load_strategies(find_strategies(strategies or [STRATEGIES]))
    files = chosen(loaded, only or [])
    wanted = [name for file in files for name in file.strategy.symbols or ()]
    profile, names = subscription(venue, symbols, wanted, simulated=simulated)
    if symbols is None and not wanted:
        print(f"no --symbols, and no strategy names any: subscribing to {', '.join(names)}", file=sys.stderr)
    file = read_config(config or (CONFIG if CONFIG.exists() else None))
    settings = settle(
        file,
        files,
        venue,
        names,
        capital=capital,
        overrides=override or [],
        known=[file.strategy.name for file in loaded],
    )
    run = out or new_run(f"{venue}-live")
    return Session(
        profile=profile,
        symbols=names,
        tape=free_name(TAPES / run.name),
        run=run,
        strategies=files,
        config=msgspec.structs.replace(settings, recording=file.recording),
        recording=file.recording,
        url=url,
        simulated=seed if simulated else None,
    )


def record(
    venue: Annotated[str, typer.Option(help="kraken or binance.")] = "kraken",
    symbols: Symbols = None,
    url: Annotated[str | None, typer.Option(help="Another address than the venue's own.")] = None,
    config: ConfigPath = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the tape [a new one in data/tapes].")] = None,
    duration: Annotated[str | None, typer.Option(help="Stop after 30s, 5m or 2h.")] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="Record a made-up market.")] = False,
    seed: Annotated[int, typer.Option(help="Of the simulated market.")] = SEED,
    as_json: AsJson = False,
) -> None:
    """Record a venue to a tape, without strategies; Ctrl+C ends it."""
    from apps.config_file import read_config
    from apps.live import Session, run_session
    from apps.report import inspect_json, print_inspect, stdout, to_json
    from recorder.tape import Tape

    profile, names = subscription(venue, symbols, [], simulated=simulated)
    tape = out or TAPES / new_run(venue).name
    session = Session(
        profile=profile,
        symbols=names,
        tape=tape,
        run=None,
        url=url,
        simulated=seed if simulated else None,
        duration=seconds(duration),
        recording=read_config(config or (CONFIG if CONFIG.exists() else None)).recording,
    )
    run_session(session, watcher())
    if as_json:
        print(to_json(inspect_json(Tape.open(tape))))
    else:
        print_inspect(stdout(), Tape.open(tape))


def serve(
    tapes: Annotated[list[str] | None, typer.Argument(metavar="[TAPE...]", help="What to serve.")] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="Serve a made-up market instead of a tape.")] = False,
    venue: Annotated[str | None, typer.Option(help="Whose protocol to speak [the tape's].")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on; other than loopback lets others in.")] = "127.0.0.1",
    speed: Annotated[str, typer.Option(help="max, or times real time: 1x, 10x.")] = "1x",
    fault: Annotated[str | None, typer.Option(help="drop=0.001,disconnect=30s,stall=5s,garble=0.001,...")] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated market, and of the faults.")] = SEED,
    at_end: Annotated[str, typer.Option(help="close, stay or loop.")] = "close",
) -> None:
    """Be a venue on loopback: a tape or a simulation in the venue's own protocol, with faults on request."""
    from apps.faults import parse_faults
    from apps.serving import simulated_source, tape_source
    from apps.venue_server import serve as run_server

    if simulated == bool(tapes):
        raise UserProblem("serve: expected either tapes or --simulated, found both or neither")
    source = simulated_source(seed, clock=time_ns) if simulated else tape_source(tape_named(tapes or [])[0])
    run_server(
        source,
        venue,
        host=host,
        port=port,
        speed=speed_factor(speed),
        faults=parse_faults(fault) if fault else None,
        seed=seed,
        at_end=at_end,
        announce=lambda line: print(line, flush=True),
    )


def watcher() -> "Watcher":
    """A screen where a person looks at a terminal, else lines."""
    from apps.watching import StatusLines

    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return StatusLines()
    from apps.screen import Screen

    return Screen()


def subscription(venue: str, symbols: str | None, wanted: list[str], *, simulated: bool) -> "tuple[Profile, list[str]]":
    """The venue, and what to subscribe to: as asked, else what the strategies watch, else its best-known market."""
    from recorder.venues.profiles import PROFILES

    profile = PROFILES.get(venue)
    if profile is None:
        raise UserProblem(f"--venue {venue}: expected one of {', '.join(PROFILES)}{nearest(venue, PROFILES)}")
    names = [name.strip() for name in symbols.split(",")] if symbols is not None else wanted
    names = list(dict.fromkeys(names or ["BTC/USD" if venue == "kraken" or simulated else "BTC/USDT"]))
    for name in names:
        base, slash, quote = name.partition("/")
        if not (base and slash and quote):
            raise UserProblem(f"--symbols {name}: expected BASE/QUOTE, such as BTC/USD")
    return profile, names
