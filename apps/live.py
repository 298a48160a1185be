"""A live session: what the feed brings is logged, assembled, handed to the engine, and its facts to the ledger.

Nothing here decides anything that a replay would not decide alike. The frame log has a record before anybody looks
at it; the assembler turns it into the rows that sealing will make of it again; the engine sees the rows of what
came together, most often one message, where a replay sees them by the ten thousand.
"""

import asyncio
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
)
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

import msgspec

from apps.config import RunConfig, as_json, fingerprint
from apps.config_file import RecordingFile
from apps.loader import StrategyFile
from apps.problems import UserProblem
from apps.publishing import Place, Publisher, state_of
from apps.recording import Recording, connections_in
from apps.recovery import Past, put_away, take_up
from apps.serving import simulated_source
from apps.session import libraries, record_of
from apps.trading import Trading, reference
from apps.venue_server import VenueServer
from engine.ticks import Symbols, Tick
from recorder.clock import SYSTEM_CLOCK, Clock
from recorder.feed import Feed
from recorder.frame_log import FrameLog, LogHeader, LogProblem, Record, RecordKind
from recorder.ledger import read_events
from recorder.logs import write_logs
from recorder.problems import Problem
from recorder.runs import LEDGER, MANIFEST, FeedRecord, Manifest, create_run, hold_run, save_strategy
from recorder.sealing import SealingProcess
from recorder.system_log import SystemLog
from recorder.tape import Tape
from recorder.venues.profiles import Profile


class Session(msgspec.Struct, kw_only=True):
    """What a live session is asked to do.

    symbols:    canonical names.
    tape:       folder of the recording.
    run:        folder of the run, or None to record only.
    simulated:  seed of a simulated venue to connect to in place of a real one, or None.
    duration:   seconds after which it ends, or None for until it is stopped.
    resumes:    it goes on with a run that is there, rather than begin one.
    clock:      what stamps the messages.
    recording:  how it is kept on disk.
    publish:    where events are pushed to whoever listens, or None.
    """

    profile: Profile
    symbols: list[str]
    tape: Path
    run: Path | None
    strategies: Sequence[StrategyFile] = ()
    config: RunConfig | None = None
    url: str | None = None
    simulated: int | None = None
    duration: float | None = None
    resumes: bool = False
    clock: Clock = SYSTEM_CLOCK
    recording: RecordingFile = msgspec.field(default_factory=RecordingFile)
    publish: Place | None = None


class Watcher(Protocol):
    """Shows a session to a person. Nothing in it may wait: as long as it does, no message is read.

    every_s:  between two looks.
    """

    every_s: float

    def showing(self) -> AbstractContextManager[TextIO]:
        """While the session runs; the stream takes what strategies print."""
        ...

    def tell(self, line: str) -> None:
        """Show a line about what has happened."""
        ...

    def look(self, recording: Recording, trading: Trading | None) -> None:
        """Show how things stand."""
        ...


def run_session(session: Session, watcher: Watcher) -> Manifest | None:
    """Run until it is stopped (Ctrl+C, SIGTERM, duration).

    Returns the run's final manifest, None where nothing but recording was asked for. Raises UserProblem where the
    venue never could be reached, or knows nothing of what was asked for.
    """
    with ExitStack() as held:
        held.enter_context(_ended_by_sigterm())
        past = None
        if session.run is not None:
            if not session.resumes:
                create_run(session.run)
                held.push(partial(_unmake, session.run))
            held.enter_context(hold_run(session.run))
            if session.resumes:
                past = take_up(session.run)
        publisher = held.enter_context(Publisher(session.publish)) if session.publish else None
        return asyncio.run(_run(session, past, watcher, publisher))


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Until the session minds its signals itself, SIGTERM is an interruption: what was begun is taken back."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _unmake(run: Path, kind: type[BaseException] | None, *error: object) -> None:
    """A run that came to nothing before it had a manifest leaves no folder that would be in the way of the next."""
    if kind is not None and not (run / MANIFEST).exists():
        shutil.rmtree(run, ignore_errors=True)


async def _run(session: Session, past: Past | None, watcher: Watcher, publisher: Publisher | None) -> Manifest | None:
    trading: Trading | None = None
    try:
        async with AsyncExitStack() as stack:
            stream = stack.enter_context(watcher.showing())
            url = await stack.enter_async_context(_venue(session, past))
            header = _header(session, url)
            first_conn = past.conn + 1 if past else connections_in(session.tape, header)
            feed = Feed(session.profile, session.symbols, url=url, clock=session.clock, first_conn=first_conn)
            recording, system = stack.enter_context(_recorder(session, header, feed, past, watcher))
            trading = _trading(session, header, system, past) if session.run is not None else None
            if publisher is not None and trading is not None:
                trading.publish = publisher.send
                publisher.attend(partial(state_of, recording, trading))
                watcher.tell(f"events are pushed at {publisher.url}")
            watching = asyncio.create_task(_watch(recording, trading, watcher))
            stack.callback(watching.cancel)
            _stop_on_signals(feed, session.duration)
            watcher.tell(_begun(session, header))
            system.say("resumed" if past else "started", **_facts(session, header))
            with redirect_stdout(stream), redirect_stderr(stream):
                follow = trading.follow if trading else _nobody
                if past is not None:
                    recording.take([_interruption(session.clock, past.conn)], follow)
                await recording.run(follow)
    except Problem as problem:
        if trading is None:
            raise
        raise _broken_off(session, trading, problem) from problem
    return _ended(session, trading, _nothing_to_trade(feed), has_past=past is not None)


def _ended(session: Session, trading: Trading | None, futile: str | None, *, has_past: bool) -> Manifest | None:
    """The session was ended in order. Raises UserProblem for one that was futile."""
    if futile is None:
        return trading.finish(Tape.open(session.tape), str(session.tape)) if trading else None
    if trading is not None and has_past:
        trading.finish(Tape.open(session.tape), str(session.tape))
    elif trading is not None:
        trading.give_up()
    raise UserProblem(futile)


def _broken_off(session: Session, trading: Trading, problem: Problem) -> UserProblem:
    """What to tell of a session that a problem ended, such as a full disk: what arrived before is on disk.

    Where it is the tape that took nothing more, the desks have seen what it has, and the run can be ended. Where it
    is the ledger, the tape knows more than it, and gives the rest again.
    """
    run = session.run
    try:
        if not isinstance(problem, LogProblem):
            raise problem
        trading.finish(Tape.open(session.tape), str(session.tape))
    except (Problem, OSError):
        ways = f"when that is mended, `wspt recover {run}` ends the run, `wspt live --resume {run}` goes on with it"
    else:
        ways = f"the run has ended; when that is mended, `wspt live --resume {run}` goes on with it"
    return UserProblem(f"{problem}; what arrived before is kept: {ways}")


@asynccontextmanager
async def _venue(session: Session, past: Past | None) -> AsyncIterator[str | None]:
    """Where to connect to, None for the venue's own address; a simulated venue is there as long as it is needed."""
    if session.simulated is None:
        yield session.url
        return
    wall_ns = session.clock.wall_ns
    source = simulated_source(session.simulated, after_s=_simulated_s(past, wall_ns()), clock=wall_ns)
    async with VenueServer(source, session.profile.venue, speed=1.0) as server:
        yield server.url


def _header(session: Session, url: str | None) -> LogHeader:
    return LogHeader(
        venue=session.profile.venue,
        url=session.profile.address(url),
        symbols=session.symbols,
        simulated=session.simulated is not None,
        created=time.time_ns(),
        libraries=libraries(),
    )


@contextmanager
def _recorder(
    session: Session, header: LogHeader, feed: Feed, past: Past | None, watcher: Watcher
) -> Iterator[tuple[Recording, SystemLog]]:
    """A recording, with the frame log, the sealing beside it, and the system log that tells of all of them."""

    def seal() -> None:
        sealing.nudge()
        system.say("rotated", part=log.path.name)
        reports.tell()

    # The log first: its lock keeps a second recorder out. It is closed first, too: what it wrote last is sealed.
    with ExitStack() as stack:
        log = stack.enter_context(_log(session, header, seal))
        system = stack.enter_context(SystemLog(session.run or session.tape, watcher.tell))
        sealing = SealingProcess(session.tape)
        reports = _SealingReports(sealing, system)
        stack.callback(reports.tell)
        stack.callback(sealing.close)
        stack.callback(log.close)
        recording = Recording(feed, log, header, system, past)
        try:
            yield recording, system
        except Problem as problem:
            system.say("failed", reason=str(problem))
            raise
        finally:
            system.say("stopped", records=recording.records, ticks=recording.ticks)


def _log(session: Session, header: LogHeader, on_rotate: Callable[[], None]) -> FrameLog:
    return FrameLog(
        session.tape,
        header,
        part_bytes=round(session.recording.part_mb * 2**20),
        part_age_ns=round(session.recording.part_minutes * 60e9),
        sync_every_s=session.recording.sync_s,
        on_rotate=on_rotate,
    )


def _nothing_to_trade(feed: Feed) -> str | None:
    """Why nothing can have come of the session, in a sentence, or None."""
    if not feed.was_connected:
        return f"{feed.url}: expected a venue to connect to, found none: {feed.last_problem or 'it has not answered'}"
    if not feed.lists_nothing:
        return None
    meant = [near[0] for near in feed.findings.unknown.values() if near]
    hint = f"; did you mean {', '.join(meant)}?" if meant else ""
    return (
        f"--symbols {','.join(feed.findings.unknown)}: expected what {feed.profile.venue} lists, found none of it{hint}"
    )


class _SealingReports:
    """What the sealing process has told, into the system log: each of it once."""

    def __init__(self, sealing: SealingProcess, system: SystemLog) -> None:
        self._sealing = sealing
        self._system = system
        self._sealed = self._problems = 0

    def tell(self) -> None:
        for sealed in self._sealing.sealed[self._sealed :]:
            self._system.say("sealed", **msgspec.structs.asdict(sealed))
        for problem in self._sealing.problems[self._problems :]:
            self._system.say("sealing_failed", reason=problem)
        self._sealed, self._problems = len(self._sealing.sealed), len(self._sealing.problems)


def _facts(session: Session, header: LogHeader) -> dict[str, Any]:
    return {
        "venue": header.venue,
        "url": header.url,
        "symbols": header.symbols,
        "simulated": header.simulated,
        "tape": str(session.tape),
        "strategies": [file.strategy.name for file in session.strategies],
    }


def _trading(session: Session, header: LogHeader, system: SystemLog, past: Past | None) -> Trading:
    run, config = session.run, session.config
    assert run is not None and config is not None
    if past is not None:
        return _resumed(session, run, config, system, past)
    for file in session.strategies:
        save_strategy(run, file.strategy.name, file.source)
    kind: Literal["live"] = "live"
    manifest = Manifest(
        status="running",
        kind=kind,
        simulated=header.simulated,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        configuration=as_json(config),
        configuration_sha256=fingerprint(as_json(config)),
        strategies={file.strategy.name: record_of(file, config) for file in session.strategies},
        libraries=libraries(),
        tape=reference(None, str(session.tape), run, 0, header.venue),
        feed=FeedRecord(symbols=session.symbols, url=session.url, seed=session.simulated),
    )
    return Trading(session.strategies, config, run, manifest, system)


def _resumed(session: Session, run: Path, config: RunConfig, system: SystemLog, past: Past) -> Trading:
    """The desks as they were left, and a manifest that says that the run goes on."""
    manifest = msgspec.structs.replace(
        past.manifest,
        status="running",
        tape=reference(None, str(session.tape), run, 0, past.manifest.tape.venue),
        feed=FeedRecord(symbols=session.symbols, url=session.url, seed=session.simulated),
        digests={},
        digest=None,
    )
    # The crash may have torn the logs, or kept from them what the ledger has.
    write_logs(run, read_events(run / LEDGER / name for name in past.remade.segments))
    trading = Trading(session.strategies, config, run, manifest, system, past.remade)
    put_away(run, past.manifest, trading.manifest, past.remade)
    return trading


def _interruption(clock: Clock, conn: int) -> Record:
    """Nobody was there to see what happened since: what was known is lost, and the tape says so first."""
    reason = b"the session was interrupted"
    return Record(clock.wall_ns(), clock.mono_ns(), conn, RecordKind.DISCONNECTED, reason)


def _simulated_s(past: Past | None, now_ns: int) -> int:
    """How far into the simulated market a session begins: it went on while nobody was there, as any market does."""
    if past is None:
        return 0
    created_s = datetime.fromisoformat(past.manifest.created).timestamp()
    return max(0, int(now_ns / 1e9 - created_s)) + 1


async def _watch(recording: Recording, trading: Trading | None, watcher: Watcher) -> None:
    while True:
        await asyncio.sleep(watcher.every_s)
        watcher.look(recording, trading)
        if trading is not None:
            trading.flush()


def _stop_on_signals(feed: Feed, duration: float | None) -> None:
    """The first signal, or the end of `duration`, ends the session in order; a second signal at once."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        feed.stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    if duration is not None:
        loop.call_later(duration, stop)


def _begun(session: Session, header: LogHeader) -> str:
    venue = f"SIMULATED {header.venue}" if header.simulated else header.venue
    at = "" if header.url == session.profile.url or header.simulated else " - an address that is not the venue's own -"
    desks = f", {len(session.strategies)} strategies" if session.run is not None else ""
    return (
        f"{venue} at {header.url}{at} {', '.join(session.symbols)}: recording to {session.tape}{desks}; Ctrl+C ends it"
    )


def _nobody(ticks: Sequence[Tick], times: Sequence[int], seq: int, symbols: Symbols) -> None:
    """Recording alone: nobody follows."""
