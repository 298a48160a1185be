"""Who receives what the load venue sends: a bare loop, a recording, a session. Each runs in a process of its own."""

import asyncio
import hashlib
import mmap
import struct
import time
from array import array
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
from load_venue import SYMBOLS
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from apps.config import ConfigFile, settle
from apps.live import Session, _nobody, _trading
from apps.loader import load_strategies
from apps.recording import Recording
from engine.ticks import Symbols, Tick
from recorder.feed import Feed
from recorder.frame_log import FrameLog, LogHeader, Record, RecordKind
from recorder.runs import create_run
from recorder.sealing import SealingProcess
from recorder.system_log import SystemLog
from recorder.tape import Tape
from recorder.venues import kraken
from recorder.venues.profiles import KRAKEN

STRATEGY = Path(__file__).parent / "strategies" / "ema.py"
SEAL_EVERY_BYTES = 16 * 2**20
"""Small parts, so that sealing is at work while messages come."""

_FIRST = 20
_SETTLED_S = 0.4


class Measured(msgspec.Struct):
    """What a client measured.

    messages:   that arrived; `digest` is over those that are on its tape, if it has one.
    cpu_us:     processor time a message, all threads, without the sealing process.
    seconds:    from the first message to the last.
    done_ns:    monotonic times at which messages had been dealt with, with how many there were by then.
    peak_mb:    of resident memory; before_mb: before the first message.
    """

    messages: int
    cpu_us: float
    seconds: float
    peak_mb: float
    before_mb: float
    digest: str = ""
    done_ns: list[tuple[int, int]] = []


class _Meter:
    """Counts and times; the first few messages, which open the connection, are not measured."""

    def __init__(self) -> None:
        self.count = 0
        self.done: list[tuple[int, int]] = []
        self.before_mb = resident("VmRSS")
        self._cpu = self._cpu_end = 0.0
        self._first_ns = self._last_ns = 0
        self._skipped = 0

    def note(self, count: int) -> None:
        self.count = count
        self._last_ns = time.monotonic_ns()
        self.done.append((count, self._last_ns))
        if not self._skipped and count >= _FIRST:
            self._skipped, self._first_ns, self._cpu = count, self._last_ns, time.process_time()

    async def settle(self, port: Connection) -> None:
        """Until the venue has sent all and nothing more arrives."""
        while not port.poll():
            await asyncio.sleep(0.05)
        before = -1
        while before != self.count:
            before = self.count
            self._cpu_end = time.process_time()
            await asyncio.sleep(_SETTLED_S)

    def measured(self, digest: str = "") -> Measured:
        counted = self.count - self._skipped
        return Measured(
            messages=self.count,
            cpu_us=(self._cpu_end - self._cpu) / counted * 1e6,
            seconds=(self._last_ns - self._first_ns) / 1e9,
            peak_mb=resident("VmHWM"),
            before_mb=self.before_mb,
            digest=digest,
            done_ns=self.done,
        )


def resident(name: str) -> float:
    """MB of `VmRSS` or, at the highest, `VmHWM`."""
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) / 1024


def bare(port: int, told: Connection, folder: Path) -> Measured:
    """The least that a Python program can do: `async for` over a websockets connection."""
    meter = _Meter()

    async def receive() -> None:
        async with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as socket:
            for request in kraken.subscribe_messages(SYMBOLS):
                await socket.send(request, text=True)
            watching = asyncio.create_task(_close_when_settled(meter, told, socket.close))
            count = 0
            try:
                while True:
                    await socket.recv(decode=False)
                    count += 1
                    meter.note(count)
            except ConnectionClosed:
                await watching

    asyncio.run(receive())
    return meter.measured()


async def _close_when_settled(meter: _Meter, told: Connection, close: Callable[[], object]) -> None:
    await meter.settle(told)
    closing = close()
    if asyncio.iscoroutine(closing):
        await closing


def record(port: int, told: Connection, folder: Path) -> Measured:
    """What `wspt record` does: frame log, rows, and sealing beside it."""
    return _session(port, told, folder, [])


def live(port: int, told: Connection, folder: Path) -> Measured:
    """What `wspt live` does, with one strategy."""
    return _session(port, told, folder, [STRATEGY])


def _session(port: int, told: Connection, folder: Path, paths: Sequence[Path]) -> Measured:
    meter = _Meter()
    tape, run = folder / "tape", folder / "run"
    files = load_strategies(list(paths))
    config = settle(ConfigFile(), files, "kraken", SYMBOLS)
    session = Session(profile=KRAKEN, symbols=SYMBOLS, tape=tape, run=run, strategies=files, config=config)
    header = LogHeader(venue="kraken", symbols=SYMBOLS)

    async def receive() -> None:
        feed = Feed(KRAKEN, SYMBOLS, url=f"ws://127.0.0.1:{port}")

        def seal() -> None:
            sealing.nudge()

        with FrameLog(tape, header, part_bytes=SEAL_EVERY_BYTES, on_rotate=seal) as log:
            sealing = SealingProcess(tape)
            create_run(run)
            system = SystemLog(run, lambda line: None)
            recording = Recording(feed, log, header, system)
            trading = _trading(session, header, system, None) if files else None
            follow = trading.follow if trading else _nobody

            def measured(ticks: Sequence[Tick], times: Sequence[int], seq: int, symbols: Symbols) -> None:
                follow(ticks, times, seq, symbols)
                if ticks[0].note is None or "clock" not in ticks[0].note:
                    meter.note(recording.records)

            watching = asyncio.create_task(_close_when_settled(meter, told, feed.stop))
            await recording.run(measured)
            await watching
        sealing.close()
        system.close()

    asyncio.run(receive())
    found = meter.measured()
    found.digest = _digest_of(Tape.open(tape))
    return found


def record_until_killed(port: int, counter: Path, folder: Path) -> None:
    """Record; `counter` has messages received so far, and the times of the first and the last of them, in ns."""

    async def receive() -> None:
        feed = Feed(KRAKEN, SYMBOLS, url=f"ws://127.0.0.1:{port}")
        header = LogHeader(venue="kraken", symbols=SYMBOLS)
        with counter.open("r+b") as file, mmap.mmap(file.fileno(), 24) as count:
            log = FrameLog(folder, header)
            append, received, first = log.append, 0, 0

            def counted(*records: Record) -> None:
                nonlocal received, first
                received += sum(record.kind == RecordKind.FRAME for record in records)
                now = time.monotonic_ns()
                first = first or now
                struct.pack_into("<qqq", count, 0, received, first, now)
                append(*records)

            log.append = counted  # type: ignore[method-assign]
            await Recording(feed, log, header, SystemLog(folder, lambda line: None)).run(_nobody)

    asyncio.run(receive())


def _digest_of(tape: Tape) -> str:
    """SHA-256 over the recorded messages that the venue streamed."""
    digest = hashlib.sha256()
    for _, frame in tape.frames():
        if b'"method"' not in frame.payload and b'"status","type"' not in frame.payload:
            digest.update(frame.payload)
    return digest.hexdigest()


def measure(name: str, port: int, told: Connection, answer: Connection, folder: Path) -> None:
    """Run the client of that name, and send what it measured."""
    found = {"bare": bare, "record": record, "live": live}[name](port, told, folder)
    answer.send(msgspec.msgpack.encode(found))


def latencies_us(found: Measured, sent: bytes) -> list[float]:
    """From leaving the venue to being dealt with, on disk and with every event that came of it; rising."""
    times = array("q")
    times.frombytes(sent)
    opening = found.messages - len(times)
    late, at = [], 0
    for count, done_ns in found.done_ns:
        late += [(done_ns - times[number]) / 1e3 for number in range(at, count - opening)]
        at = max(at, count - opening)
    return sorted(late)
