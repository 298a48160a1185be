"""Is memory flat in the length of the tape? Goal: 10,000,000 ticks replayed in under 600 MB."""

import subprocess
import sys
import tempfile

import workloads

_CHILD = """
import sys
from pathlib import Path
from apps.cli import main
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()  # not getrusage: its peak includes what the parent was at the fork
    print("PEAK", int(status.split("VmHWM:")[1].split()[0]) // 1024, file=sys.stderr)
"""


def main() -> None:
    """Print the peak memory of a replay of each length, in a process of its own."""
    for trades in (100_000, 1_000_000, 10_000_000):
        tape = workloads.trades_tape(trades)
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", _CHILD, "replay", str(tape.paths[0]), "--strategies"]
            done = subprocess.run(
                [*command, str(workloads.strategies(1)[0]), "--out", f"{folder}/run"],
                check=True,
                capture_output=True,
                text=True,
            )
        peak = int(done.stderr.rsplit("PEAK", 1)[1])
        print(f"{trades:>12,} ticks: peak {peak:,} MB")


if __name__ == "__main__":
    main()
