"""How much can a live session take? Messages a second, latency, processor time and bytes, against a bare loop.

The argument is the number of seconds of each part: 30 for the figures that count, 3 by default. Goals:

paced    10,000 messages/s: nothing lost; p50 from the venue's send to the facts on disk under 200 us; processor time
         a message at most twice that of a bare `async for` over a websockets connection in the same run.
flat out at least 60,000 messages/s recorded, nothing lost, while parts are sealed beside it.
burst    50,000 messages/s for a while: survived, with bounded memory.
peer     cryptofeed's raw recorder in the same run, where the Python named by CRYPTOFEED_PYTHON has it.
disk     a sealed tape, ticks included, is at most 0.25 of its raw frames' bytes.

Venue and client share a machine, and perhaps others do too: compare ratios, not microseconds.
"""

import os
import struct
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import load_clients
import load_venue
import msgspec
from load_clients import Measured

from apps.importing import import_files
from recorder.frame_log import RecordKind, read_log
from recorder.tape import Tape

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
CAPTURES = Path(os.environ.get("WSPT_CAPTURES", Path(__file__).parents[2] / "shared" / "captures"))
MESSAGES_MAX = 600_000
"""Of one run: the venue has them ready before the first one leaves, as to make one takes longer than to send it."""
KILLED_AFTER_S = 5.0
_SPAWN = get_context("spawn")


def main() -> None:
    """Print the parts, one after the other."""
    paced()
    flat_out()
    burst()
    peer()
    disk()


def paced() -> None:
    """10,000 messages a second, each on its own."""
    print(f"paced, 10,000/s for {SECONDS:g} s")
    rounds = max(1, round(SECONDS / 10))
    for _ in range(rounds):
        least = _run("bare", int(10_000 * SECONDS / rounds), 10_000.0)[0].cpu_us
        for name in ("record", "live"):
            found, sent, lost = _run(name, int(10_000 * SECONDS / rounds), 10_000.0)
            late = load_clients.latencies_us(found, sent)
            shown = "  ".join(f"{label} {late[int(len(late) * part)]:,.0f}" for label, part in _QUANTILES)
            print(
                f"  {name:8}{found.cpu_us:6.1f} us of processor a message, {found.cpu_us / least:.2f} of bare", end=""
            )
            print(f" ({least:.1f});  latency us: {shown};  {lost}", flush=True)


_QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 0.999999))


def flat_out() -> None:
    """As fast as the client reads."""
    print("flat out")
    for name, count in (("bare", 60_000), ("record", 40_000), ("live", 30_000)):
        found, _, lost = _run(name, min(MESSAGES_MAX, int(count * SECONDS)), None)
        rate = found.messages / found.seconds
        own = 1e6 / found.cpu_us
        print(f"  {name:8}{rate:9,.0f} messages/s, {own:,.0f} a second of its processor time;  {lost}", flush=True)


def burst() -> None:
    """More than a session can take for long."""
    print(f"burst, 50,000/s for {SECONDS / 3:g} s")
    count = int(50_000 * SECONDS / 3)
    found, _, lost = _run("live", count, 50_000.0)
    grown = found.peak_mb - found.before_mb
    print(f"  live    dealt with after {found.seconds:.1f} s, memory +{grown:.0f} MB at the peak;  {lost}", flush=True)


def peer() -> None:
    """cryptofeed's recorder of raw messages, which does not look into them."""
    python = os.environ.get("CRYPTOFEED_PYTHON")
    if (
        python is None
        or subprocess.run([python, "-c", "import cryptofeed"], check=False, capture_output=True).returncode
    ):
        print("peer: skipped, CRYPTOFEED_PYTHON names no Python that has cryptofeed")
        return
    script = Path(__file__).parent / "peers" / "cryptofeed_recorder.py"
    print("peer, flat out, then kill -9")
    for name, command in (("cryptofeed", [python, str(script)]), ("record", None)):
        rate, received, lost = _killed(command)
        print(f"  {name:12}{rate:9,.0f} messages/s; of {received:,} received {lost:,} are not on disk", flush=True)


def _killed(command: list[str] | None) -> tuple[float, int, int]:
    """Messages a second, how many were received, and how many of them a recorder had not written when it was killed."""
    told, theirs = _SPAWN.Pipe()
    venue = _SPAWN.Process(target=load_venue.run, args=(theirs, MESSAGES_MAX, None))
    venue.start()
    with tempfile.TemporaryDirectory() as name:
        folder, counter = Path(name) / "tape", Path(name) / "count"
        folder.mkdir()
        counter.write_bytes(bytes(24))
        port = told.recv()
        if command is None:
            client = _SPAWN.Process(target=load_clients.record_until_killed, args=(port, counter, folder))
            client.start()
        else:
            client = subprocess.Popen([*command, str(port), str(counter), str(folder)])
        while struct.unpack("<qqq", counter.read_bytes())[0] < 1_000:
            time.sleep(0.05)
        time.sleep(min(KILLED_AFTER_S, SECONDS / 2))
        client.kill()
        client.join() if isinstance(client, _SPAWN.Process) else client.wait()
        received, first_ns, last_ns = struct.unpack("<qqq", counter.read_bytes())
        kept = _logged(folder) if command is None else _lines(folder)
    venue.kill()
    return received / ((last_ns - first_ns) / 1e9), received, received - kept


def _logged(folder: Path) -> int:
    return sum(record.kind == RecordKind.FRAME for log in folder.glob("*.wal") for record in read_log(log).records)


def _lines(folder: Path) -> int:
    """Lines of cryptofeed's files that are messages received, and whole."""
    lines = [line for path in folder.iterdir() for line in path.read_bytes().split(b"\n")[:-1]]
    return sum(b": " in line and not line.startswith(b"w") and b" <- " not in line[:60] for line in lines)


def disk() -> None:
    """Bytes of the tape over bytes of the frames on it."""
    capture = CAPTURES / "binance_spot" / "btcusdt_20240809.gz"
    if not capture.exists():
        print(f"disk: skipped, no capture at {capture}")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tape.parquet"
        import_files("hftbacktest", "binance", [capture], path)
        tape = Tape.open(path)
        raw = sum(len(frame.payload) for _, frame in tape.frames())
        size = path.stat().st_size
        print(f"disk: {size:,} bytes for {tape.rows:,} ticks of {raw:,} bytes of frames: {size / raw:.3f}")


def _run(name: str, count: int, rate: float | None) -> tuple[Measured, bytes, str]:
    """What a client measured, when the messages left, and whether they are all on its tape."""
    told, theirs = _SPAWN.Pipe()
    answer, measured = _SPAWN.Pipe()
    venue = _SPAWN.Process(target=load_venue.run, args=(theirs, count, rate))
    venue.start()
    with tempfile.TemporaryDirectory() as folder:
        client = _SPAWN.Process(target=load_clients.measure, args=(name, told.recv(), told, measured, Path(folder)))
        client.start()
        found = msgspec.msgpack.decode(answer.recv(), type=Measured)
        sent, digest = told.recv()
        client.join()
        venue.join(10)
        venue.kill()
    lost = "nothing lost" if digest == found.digest or not found.digest else "THE TAPE IS NOT WHAT WAS SENT"
    return found, sent, lost if found.digest else f"{found.messages:,} messages"


if __name__ == "__main__":
    main()
