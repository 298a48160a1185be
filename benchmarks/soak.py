"""Does a session keep its memory and its time? `wspt live` for some minutes at 500 messages a second.

The argument is the number of minutes: 60 for the soak that counts, 0.5 by default. A line now and then, then the
verdict: resident memory after the first tenth against the end, and how far the clock on the wall has moved against
the one that never runs backwards.
"""

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import load_venue

MINUTES = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
RATE = 500.0
_SAMPLES = 60


def main() -> None:
    """Print what the session held, and what came of it."""
    spawn = get_context("spawn")
    count = int(MINUTES * 60 * RATE)
    port, theirs = spawn.Pipe()
    venue = spawn.Process(target=load_venue.run, args=(theirs, count, RATE))
    venue.start()
    with tempfile.TemporaryDirectory() as folder:
        session = _session(port.recv(), Path(folder))
        samples = _watch(session, port)
        session.send_signal(signal.SIGTERM)
        out, err = session.communicate()
        assert session.returncode == 0, err
        _print(samples, json.loads(out), count, Path(folder))
    venue.join(10)


def _session(port: int, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", "from apps.cli import main; main()", "live", "--json", "--out", "run"]
    options = ["--url", f"ws://127.0.0.1:{port}", "--symbols", ",".join(load_venue.SYMBOLS)]
    strategies = Path(__file__).parents[1] / "strategies"
    return subprocess.Popen(
        [*command, *options, "--strategies", str(strategies)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=(folder / "said.txt").open("w"),
        text=True,
    )


def _watch(session: "subprocess.Popen[str]", port) -> list[tuple[float, float, float]]:  # type: ignore[no-untyped-def]
    """Minute, MB resident, and wall minus monotonic in ms, until the venue has sent all."""
    samples: list[tuple[float, float, float]] = []
    started, first_ns = time.monotonic(), time.time_ns() - time.monotonic_ns()
    while not port.poll(MINUTES * 60 / _SAMPLES):
        status = Path(f"/proc/{session.pid}/status").read_text()
        resident = int(status.split("VmRSS:")[1].split()[0]) / 1024
        drift = (time.time_ns() - time.monotonic_ns() - first_ns) / 1e6
        samples.append(((time.monotonic() - started) / 60, resident, drift))
        if len(samples) % 6 == 1:
            print(f"{samples[-1][0]:6.1f} min  {resident:7.1f} MB  drift {drift:+.3f} ms", flush=True)
    port.recv()
    time.sleep(1)  # the last messages are on their way
    return samples


def _print(samples: list[tuple[float, float, float]], said: dict[str, object], count: int, folder: Path) -> None:
    warm = samples[len(samples) // 10 :]
    early = statistics.median(memory for _, memory, _ in warm[: len(warm) // 4 or 1])
    late = statistics.median(memory for _, memory, _ in warm[-(len(warm) // 4 or 1) :])
    print(f"resident: {early:.1f} MB in the first quarter, {late:.1f} MB in the last ({late - early:+.1f})")
    print(f"wall against monotonic: at most {max(abs(drift) for *_, drift in samples):.3f} ms apart")
    print(f"{count:,} messages sent; {said['ticks']:,} ticks, digest {said['digest']}")
    verify = [sys.executable, "-c", "from apps.cli import main; main()", "verify", "run"]
    started = time.perf_counter()
    done = subprocess.run(verify, cwd=folder, capture_output=True, text=True, check=False)
    print(f"verify: {done.stdout.split()[0] if done.stdout else done.stderr} in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
