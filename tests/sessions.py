"""Live sessions in this process, over a real socket to a venue on loopback in a thread of its own."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TextIO

import msgspec

from apps.config import settle
from apps.config_file import ConfigFile
from apps.faults import parse_faults
from apps.live import Session, run_session
from apps.loader import find_strategies, load_strategies
from apps.recording import Recording
from apps.resuming import resumed_session
from apps.serving import Source
from apps.trading import Trading
from apps.venue_server import VenueServer
from recorder.clock import Clock
from recorder.runs import Manifest
from recorder.venues.profiles import PROFILES, Profile

WAIT_S = 60.0
FASTER = 60
_BEGAN_NS = time.time_ns()


def impatient(venue: str) -> Profile:
    """A venue's profile for a test that does not want to wait: short pauses, and a short patience with silence."""
    return msgspec.structs.replace(
        PROFILES[venue],
        first_pause_s=0.01,
        longest_pause_s=0.05,
        attempts_max=1_000,
        ping_after_s=1.0,
        dead_after_s=2.5,
        close_timeout_s=0.2,
        clock_s=0.2,
    )


@contextmanager
def a_venue(source: Source, faults: str = "", *, seed: int = 7, speed: float | None = None) -> Iterator[VenueServer]:
    """A venue that tells its source once and then stays, silent."""
    server = VenueServer(
        source, faults=parse_faults(faults) if faults else None, seed=seed, speed=speed, at_end="stay", settle_s=0.1
    )
    is_up, is_over = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with server:
            is_up.set()
            await is_over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="venue")
    thread.start()
    try:
        assert is_up.wait(WAIT_S)
        yield server
    finally:
        loop.call_soon_threadsafe(is_over.set)
        thread.join()
        loop.close()


def fast_wall_ns() -> int:
    """A wall clock on which a second is a minute, so that candles close and timers fire within a test."""
    return _BEGAN_NS + (time.time_ns() - _BEGAN_NS) * FASTER


class Looking:
    """A watcher that looks often, and shows nothing."""

    every_s = 0.05

    def __init__(self, look: Callable[[Recording, Trading | None], None]) -> None:
        self.look = look

    def showing(self) -> AbstractContextManager[TextIO]:
        return nullcontext(sys.stderr)

    def tell(self, line: str) -> None:
        pass


def has_told_all(server: VenueServer) -> bool:
    """The stream is over, and every client that still reads has taken what it was sent."""
    waiting = [one for one in list(server._connections) if one.queue and not one.is_frozen]
    return server.served.rounds > 0 and not waiting


def trade(
    server: VenueServer,
    folder: Path,
    strategies: Sequence[Path],
    symbols: Sequence[str],
    *,
    until: Callable[[Recording], bool] | None = None,
    resumes: bool = False,
) -> Manifest:
    """A session in `folder`, run and tape, until the venue has told all and nothing more comes, or until it is said."""
    if resumes:
        session = resumed_session(folder / "run", url=server.url)
        session.profile = impatient(server.venue_name)
    else:
        files = load_strategies(find_strategies(strategies))
        session = Session(
            profile=impatient(server.venue_name),
            symbols=list(symbols),
            tape=folder / "tape",
            run=folder / "run",
            strategies=files,
            config=settle(ConfigFile(), files, server.venue_name, symbols),
            url=server.url,
        )
    seen = -1

    def look(recording: Recording, trading: Trading | None) -> None:
        nonlocal seen
        told = has_told_all(server) and recording.records == seen
        seen = recording.records
        if until(recording) if until else told:
            recording.feed.stop()

    session.duration = WAIT_S
    session.clock = Clock(fast_wall_ns, time.monotonic_ns)
    manifest = run_session(session, Looking(look))
    assert manifest is not None
    assert until or has_told_all(server)
    return manifest
