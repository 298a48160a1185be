"""`kill -9` of a live session under load, at any moment: what was on disk is whole, and the run goes on as one."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from apps.serving import simulated_source
from recorder.ledger import read_events
from recorder.run_files import RunFiles
from recorder.tape import Tape
from tests.commands import Place
from tests.sessions import a_venue
from tests.test_recovery import RESTING
from tests.wire import TABLE, Line, Proxy, messages

KILLS = int(os.environ.get("WSPT_KILLS", "10"))
READ_BYTES = 256 * 1024
"""The most that asyncio takes from a socket at once."""
WAIT_S = 60.0

pytestmark = pytest.mark.skipif(not TABLE.exists(), reason=f"needs {TABLE} to know what a process has read")


class Killed:
    """A session that was killed, and what it had read from its socket by then."""

    def __init__(self, process: "subprocess.Popen[str]", proxy: Proxy, line: Line) -> None:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        proxy.pause()
        try:
            self.read = messages(proxy.read_by_client(line))
            process.kill()
            process.communicate(timeout=WAIT_S)
        finally:
            proxy.go_on()


def wait_for(process: "subprocess.Popen[str]", proxy: Proxy, number: int, size: int) -> Line:
    """Until the connection of this number has been sent so much."""
    with proxy.forwarded:
        came = proxy.forwarded.wait_for(
            lambda: len(proxy.lines) > number and len(proxy.lines[number].sent) >= size, timeout=WAIT_S
        )
    if not came:
        process.kill()
        _, err = process.communicate(timeout=WAIT_S)
        pytest.fail(f"{size} bytes were not read by connection {number}, exit code {process.returncode}: {err}")
    return proxy.lines[number]


def check_order(run: Path, tape: Tape) -> int:
    """No event is on disk without its tick. How many there are."""
    files = RunFiles(run)
    try:
        events = [event for own in read_events(files.look(with_log=False).ledger).values() for event in own]
    finally:
        files.close()
    assert max((event.tick_seq for event in events), default=-1) < tape.rows
    return len(events)


def test_killed_sessions_lose_at_most_one_read_and_go_on_as_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path)
    place.strategy("eager")
    place.strategy("resting", RESTING)
    place.file("wspt.toml", "[recording]\npart_mb = 0.05\n")  # logs are cut and sealed all the time
    run, folder = tmp_path / "data/runs/run", tmp_path / "data/tapes/run"
    chance = random.Random(5)
    reads: list[list[bytes]] = []
    lost: list[int] = []
    events = 0

    with a_venue(simulated_source(3)) as server, Proxy(server.port) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}"
        for number in range(KILLS):
            begin = ["--out", run, "--symbols", "BTC/USD,XRP/USD"] if number == 0 else ["--resume", run]
            process = place.start("live", "--url", url, *begin)
            line = wait_for(process, proxy, number, chance.randrange(10_000, 300_000))
            reads.append(Killed(process, proxy, line).read)

            tape = Tape.open(folder)
            frames: list[list[bytes]] = [[] for _ in reads]
            for _, frame in tape.frames():
                frames[frame.conn].append(frame.payload)
            for kept, read in zip(frames, reads, strict=True):
                assert kept == read[: len(kept)]
            lost.append(sum(map(len, reads[-1][len(frames[-1]) :])))
            assert lost[-1] <= READ_BYTES
            now = check_order(run, tape)
            assert now >= events
            events = now

    recovered = place.wspt("recover", "run")
    assert recovered.code == 0, recovered.err
    assert place.wspt("verify", "run").out.startswith("identical ")
    assert events > 20 * KILLS
    assert len(list(folder.glob("*.parquet"))) > 2 * KILLS
    with capsys.disabled():
        sys.stderr.write(f"{KILLS} kills, {sum(map(len, reads)):,} messages read, bytes lost {lost}")
