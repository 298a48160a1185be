"""A live session: what the feed brings is logged, assembled, handed to the engine, and its facts to the ledger.

Nothing here decides anything that a replay would not decide alike. The frame log has a record before anybody looks
at it; the assembler turns it into the rows that sealing will make of it again; the engine sees the rows of what
came together, most often one message, where a replay sees them by the ten thousand.
"""

import asyncio
import gc
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from apps.config import RunConfig, as_json, fingerprint
from apps.config_file import RecordingFile
from apps.desks import History, desks_of
from apps.loader import StrategyFile
from apps.problems import UserProblem
from apps.recovery import Past, Remade, put_away, take_up
from apps.serving import simulated_source
from apps.session import libraries, record_of
from apps.venue_server import VenueServer
from engine.digest import run_digest
from engine.engine import Engine
from engine.events import Event, OrderFilled
from engine.ticks import Symbols, Tick, batch_of
from recorder.clock import SYSTEM_CLOCK, Clock
from recorder.feed import Feed
from recorder.frame_log import FrameLog, LogHeader, Record, RecordKind
from recorder.live_ledger import LiveLedger
from recorder.log_folder import RUNNING, FolderLock
from recorder.log_parts import assembler_after, parts_at
from recorder.runs import (
    FeedRecord,
    Manifest,
    TapeReference,
    create_run,
    next_segment,
    save_strategy,
    tape_path,
    write_manifest,
)
from recorder.sealing import SealingProcess
from recorder.tape import Tape
from recorder.venues.profiles import Profile

HEALED_BY_THE_VENUE = frozenset({"checksum", "gap", "resync"})
"""Feed events after which the venue is asked for a new book."""
FILLS_SHOWN = 8
"""The newest fills, kept for who watches."""
WARM_UP_RECORDS = 2_000
"""Records after which what start-up left behind is taken out of the collector's sight."""


Follow = Callable[[Sequence[Tick], Sequence[int], int, Symbols], None]
"""Told rows, their times of receipt (ns), and the first one's seq."""


class Recording:
    """The feed's records into a frame log, and as rows to whoever follows: `wspt record` is this alone."""

    def __init__(self, feed: Feed, log: FrameLog, header: LogHeader, past: Past | None = None) -> None:
        self.feed = feed
        self.records = 0
        self.ticks = past.remade.stop_seq if past else 0
        self.events: dict[str, int] = {}
        self.last_ns = 0
        self._log = log
        self._assembler = assembler_after(parts_at([log.folder]) if past else [], header)
        self._symbols = past.remade.symbols if past else Symbols()

    @property
    def latest(self) -> Mapping[str, Tick]:
        """The latest row of each symbol, with the touch as it is known."""
        return self._assembler.latest

    async def run(self, follow: Follow) -> None:
        """Until the feed is stopped. `follow` gets the rows of what came together."""
        async with aclosing(self.feed.batches()) as batches:
            async for records in batches:
                self.take(records, follow)

    def take(self, records: Sequence[Record], follow: Follow) -> None:
        """What came together: first to disk, then to the assembler, then to whoever follows."""
        self._log.append(*records)
        ticks, times = self._assembled(records)
        self.last_ns = times[-1]
        follow(ticks, times, self.ticks, self._symbols)
        was_warm = self.records >= WARM_UP_RECORDS
        self.records += len(records)
        self.ticks += len(ticks)
        for tick in ticks:
            if tick.note is not None:
                self._mind(tick.symbol, tick.note)
        if not was_warm and self.records >= WARM_UP_RECORDS:
            gc.collect()
            gc.freeze()

    def _assembled(self, records: Sequence[Record]) -> tuple[Sequence[Tick], list[int]]:
        """The rows of some records, and the time of each."""
        take = self._assembler.take
        if len(records) == 1:
            rows = take(records[0])
            return rows.ticks, [rows.ts_recv] * len(rows.ticks)
        ticks: list[Tick] = []
        times: list[int] = []
        for rows in map(take, records):
            ticks += rows.ticks
            times += [rows.ts_recv] * len(rows.ticks)
        return ticks, times

    def _mind(self, symbol: str | None, note: str) -> None:
        event = msgspec.json.decode(note, type=_Event).event
        self.events[event] = self.events.get(event, 0) + 1
        if symbol is not None and event in HEALED_BY_THE_VENUE:
            self.feed.heal(symbol)
        if self.feed.lists_nothing:
            self.feed.stop()


class _Event(msgspec.Struct):
    event: str = ""


class Trading:
    """The engine behind a recording: rows in, facts into the ledger of `run`."""

    def __init__(
        self,
        strategies: Sequence[StrategyFile],
        config: RunConfig,
        run: Path,
        manifest: Manifest,
        past: Remade | None = None,
    ) -> None:
        self.engine = past.engine if past else Engine(desks_of(strategies, config))
        self.manifest = manifest
        self.fills: deque[OrderFilled] = deque(maxlen=FILLS_SHOWN)
        self._run = run
        self._history = past.history if past else History([file.strategy.name for file in strategies])
        self._started = time.perf_counter()
        self._ledger = LiveLedger(run, self._sealed, segments=past.segments if past else (), number=next_segment(run))

    def follow(self, ticks: Sequence[Tick], times: Sequence[int], seq: int, symbols: Symbols) -> None:
        """The rows of what came together; see `Follow`."""
        self._keep(self.engine.process(batch_of(ticks, times, seq, symbols)))

    def finish(self, tape: Tape, given: str) -> Manifest:
        """The recording is over and sealed: the last marks, the sealed ledger, the manifest with its digests."""
        self._keep(self.engine.finish())
        self._ledger.close()
        digests = self._history.digests()
        self.manifest = msgspec.structs.replace(
            self.manifest,
            status="finished",
            simulated=tape.simulated,
            tape=reference(tape, given, self._run, self.engine.ticks),
            digests=digests,
            digest=run_digest(digests),
            ticks=self.engine.ticks,
            events=self._history.events,
            seconds=time.perf_counter() - self._started,
        )
        write_manifest(self._run, self.manifest)
        return self.manifest

    def give_up(self) -> None:
        """Nothing ever came: the run has no history, and says so."""
        self._ledger.close()
        self.manifest = msgspec.structs.replace(self.manifest, status="failed")
        write_manifest(self._run, self.manifest)

    def _keep(self, events: Sequence[Event]) -> None:
        if not events:
            return
        lines = b""
        for name, own in self._history.split(events).items():
            lines += self._history.extend(name, own)
        self._ledger.append(events, lines)
        self.fills.extend(event for event in events if type(event) is OrderFilled)

    def _sealed(self, segments: list[str], tail: str) -> None:
        self.manifest = msgspec.structs.replace(self.manifest, segments=list(segments), tail=tail)
        write_manifest(self._run, self.manifest)


def reference(tape: Tape | None, given: str, run: Path, ticks: int, venue: str = "") -> TapeReference:
    """Where the run's tape is; while it is being recorded, without a name for what is on it."""
    return TapeReference(
        paths=[tape_path(given, run)],
        venue=tape.venue if tape else venue,
        identity=tape.identity if tape else "",
        first_seq=0,
        stop_seq=ticks,
    )


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


Watch = Callable[[Recording, Trading | None], None]


def run_session(session: Session, *, watch: Watch, every_s: float) -> Manifest | None:
    """Run until it is stopped (Ctrl+C, SIGTERM, duration); `watch` is called every `every_s`.

    Returns the run's final manifest, None where nothing but recording was asked for. Raises UserProblem where the
    venue never could be reached.
    """
    with ExitStack() as held:
        past = None
        if session.run is not None:
            if not session.resumes:
                create_run(session.run)
            held.enter_context(FolderLock(session.run, RUNNING))
            if session.resumes:
                past = take_up(session.run)
        return asyncio.run(_run(session, past, watch, every_s))


async def _run(session: Session, past: Past | None, watch: Watch, every_s: float) -> Manifest | None:
    async with AsyncExitStack() as stack:
        url = session.url
        if session.simulated is not None:
            wall_ns = session.clock.wall_ns
            source = simulated_source(session.simulated, after_s=_simulated_s(past, wall_ns()), clock=wall_ns)
            server = VenueServer(source, speed=1.0)
            await stack.enter_async_context(server)
            url = server.url
        header = LogHeader(
            venue=session.profile.venue,
            url=session.profile.address(url),
            symbols=session.symbols,
            simulated=session.simulated is not None,
            created=time.time_ns(),
            libraries=libraries(),
        )
        first_conn = past.conn + 1 if past else 0
        feed = Feed(session.profile, session.symbols, url=url, clock=session.clock, first_conn=first_conn)

        def seal() -> None:
            sealing.nudge()

        # The log first: its lock keeps a second recorder out. It is closed first, too: what it wrote last is sealed.
        log = stack.enter_context(_log(session, header, seal))
        sealing = SealingProcess(session.tape)
        stack.callback(sealing.close)
        stack.callback(log.close)
        recording = Recording(feed, log, header, past)
        trading = _trading(session, header, past) if session.run is not None else None
        watcher = asyncio.create_task(_watch(recording, trading, watch, every_s))
        _stop_on_signals(feed, session.duration)
        print(_begun(session, header), file=sys.stderr, flush=True)
        try:
            with redirect_stdout(sys.stderr):
                follow = trading.follow if trading else _nobody
                if past is not None:
                    recording.take([_interruption(session.clock, past.conn)], follow)
                await recording.run(follow)
        finally:
            watcher.cancel()
    for problem in sealing.problems:
        print(f"wspt: {problem}", file=sys.stderr)
    futile = _nothing_to_trade(feed)
    if futile is not None:
        if trading is not None and past is None:
            trading.give_up()
        elif trading is not None:
            trading.finish(Tape.open(session.tape), str(session.tape))
        raise UserProblem(futile)
    return trading.finish(Tape.open(session.tape), str(session.tape)) if trading else None


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
        return f"{feed.url}: expected a venue to connect to, found none: {feed.last_problem}"
    if not feed.lists_nothing:
        return None
    meant = [near[0] for near in feed.findings.unknown.values() if near]
    hint = f"; did you mean {', '.join(meant)}?" if meant else ""
    return (
        f"--symbols {','.join(feed.findings.unknown)}: expected what {feed.profile.venue} lists, found none of it{hint}"
    )


def _trading(session: Session, header: LogHeader, past: Past | None) -> Trading:
    run, config = session.run, session.config
    assert run is not None and config is not None
    if past is not None:
        return _resumed(session, run, config, past)
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
    return Trading(session.strategies, config, run, manifest)


def _resumed(session: Session, run: Path, config: RunConfig, past: Past) -> Trading:
    """The desks as they were left, and a manifest that says that the run goes on."""
    manifest = msgspec.structs.replace(
        past.manifest,
        status="running",
        tape=reference(None, str(session.tape), run, 0, past.manifest.tape.venue),
        feed=FeedRecord(symbols=session.symbols, url=session.url, seed=session.simulated),
        digests={},
        digest=None,
    )
    trading = Trading(session.strategies, config, run, manifest, past.remade)
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


async def _watch(recording: Recording, trading: Trading | None, watch: Watch, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        watch(recording, trading)


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
