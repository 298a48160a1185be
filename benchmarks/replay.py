"""How fast is a replay, from tape to sealed ledger? Goals: 1.5, 0.4 and 2.0 M ticks/s for W1, W2 and W3.

The machine may be shared, so every run is set against three loops timed right before it in the same process: what
CPython does at best here with one multiplication and one addition a tick (`bare`), with one snapshot and one call a
tick (`call`), and with one snapshot and the strategy itself, which trades nothing (`ask`): no engine that asks this
strategy at every tick can be faster. Compare ratios, not seconds, between machines and days.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import workloads

from apps.config import settle
from apps.config_file import ConfigFile
from apps.loader import load_strategies
from apps.session import replay
from engine.snapshot import TradeSnapshot
from recorder.tape import Tape

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5


def main() -> None:
    """Print a line for each workload, and one for the cold process."""
    trades, quotes = workloads.trades_tape(), workloads.quotes_tape()
    print(f"{'':24}{'M ticks/s':>12}{'best':>8}{'/ bare':>9}{'/ call':>9}{'/ ask':>9}{'events':>10}{'cpu s':>8}")
    one, eight, captured = workloads.strategies(1), workloads.strategies(8), workloads.captured_tape()
    questions = [
        ("W1, 1 strategy", trades, one, 1),
        ("W2, 8 strategies", trades, eight, None),
        ("W2, 8, one process", trades, eight, 1),
        ("W3, 4 M ticks", quotes, one, 1),
    ]
    if captured is None:
        print("W4 is left out: the captures are not here")
    else:
        questions.append(("W4, a real book", captured, workloads.shipped_strategies(), 1))
    for name, tape, strategies, jobs in questions:
        rounds = [_round(tape, strategies, jobs) for _ in range(ROUNDS)]
        speeds = [tape.rows / seconds / 1e6 for seconds, *_ in rounds]
        ratios = [
            statistics.median(
                speed / references[number] for speed, (_, _, references, _) in zip(speeds, rounds, strict=True)
            )
            for number in range(3)
        ]
        shown = "".join(f"{ratio:9.3f}" for ratio in ratios)
        cpu = statistics.median(cpu for *_, cpu in rounds)
        print(f"{name:24}{statistics.median(speeds):12.2f}{max(speeds):8.2f}{shown}{rounds[0][1]:10,}{cpu:8.2f}")
    cold = [_cold(trades) for _ in range(ROUNDS)]
    print(f"W1 from cold process to printed report: median {statistics.median(cold):.2f} s, best {min(cold):.2f} s")


def _round(
    tape: Tape, strategies: list[Path], jobs: int | None
) -> tuple[float, int, tuple[float, float, float], float]:
    """Seconds, events, the reference loops in M/s, and CPU seconds of this process."""
    references = _speed(_bare), _speed(_call), _speed(_ask)
    files = load_strategies(strategies)
    config = settle(ConfigFile(), files, tape.venue, tape.symbols)
    with tempfile.TemporaryDirectory() as folder:
        cpu = time.process_time()
        manifest = replay(tape, [str(path) for path in tape.paths], files, config, Path(folder) / "run", jobs=jobs)
        return manifest.seconds, manifest.events, references, time.process_time() - cpu


def _cold(tape: Tape) -> float:
    """Seconds from starting Python to the printed report of W1."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from apps.cli import main; main()", "replay", str(tape.paths[0])]
        strategy = str(workloads.strategies(1)[0])
        # As at a user's second start: with our modules compiled, whatever this shell forbids Python to write.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        started = time.perf_counter()
        subprocess.run(
            [*command, "--strategies", strategy, "--out", f"{folder}/run"], check=True, capture_output=True, env=env
        )
        return time.perf_counter() - started


_STRATEGY = load_strategies([workloads.STRATEGY])[0].strategy
_PRICES = [50_000.0 + number for number in range(200_000)]


def _speed(loop: Callable[[], None]) -> float:
    """Median of nine, in millions of ticks a second: the run beside it has no choice of its moments either."""
    times = []
    for _ in range(9):
        started = time.perf_counter()
        loop()
        times.append(time.perf_counter() - started)
    return len(_PRICES) / statistics.median(times) / 1e6


def _bare() -> None:
    average = 0.0
    for price in _PRICES:
        average = average * 0.9 + price * 0.1


def _call() -> None:
    for row, price in enumerate(_PRICES):
        _nothing(TradeSnapshot(None, None, row, row, "BTC/USD", price))  # type: ignore[arg-type]  # never asked


def _ask() -> None:
    decide, state = _STRATEGY.generate_signal, {}
    for row, price in enumerate(_PRICES):
        decide(TradeSnapshot(None, None, row, row, "BTC/USD", price), {}, state)  # type: ignore[arg-type]  # the same


def _nothing(data: object) -> None:
    return None


if __name__ == "__main__":
    main()
