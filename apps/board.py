"""The board of a run that goes on: its leaderboard, equity curves and newest fills, asked in a process of their own.

They are the dashboard's queries, over what is on disk. A session that receives messages has no time for them, so that
this process, which is of low priority and keeps the run in its own memory, answers whenever it is told to look.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import IO

import msgspec

from apps.memory import questions
from apps.memory.run_memory import Row, RunMemory

LOOK_EVERY_S = 1.0
"""Looks are at least so far apart, and only one is under way."""

CURVE_POINTS = 40
"""Stretches of the run of which a sparkline has a value each."""
FILLS_SHOWN = 8

_NICENESS = 10
_END_S = 2.0


class DeskRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the view `leaderboard`, what the desk holds, and its equity over the whole run, oldest first.

    equity, pnl, fees:  in the desk's currency; None where a price is not known.
    holds:              quantity and symbol of every open position, for a reader.
    """

    name: str
    equity: Decimal | None
    pnl: Decimal | None
    roi_pct: float | None
    fees: Decimal
    fills: int
    round_trips: int
    win_rate: float | None
    max_drawdown_pct: float
    holds: str
    status: str
    curve: list[float]


class FillRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the view `fills`; `ts` ns UTC."""

    ts: int
    strategy: str
    side: str
    symbol: str
    quantity: Decimal
    price: Decimal
    realized: Decimal
    reason: str | None


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """How the desks stand, the best first, and the newest fills, the newest first.

    problem:  why nothing newer can be said, or empty.
    """

    desks: list[DeskRow]
    fills: list[FillRow]
    problem: str = ""


def board(run: RunMemory) -> Board:
    """The board of a run as it was last looked at."""
    curves = questions.equity_curves(run, points=CURVE_POINTS)
    holdings = questions.holdings(run)
    return Board(
        desks=[
            DeskRow(
                **{name: row[name] for name in _LEADERBOARD},
                holds=holdings.get(row["name"], ""),
                curve=[point["value"] for point in curves.get(row["name"], ())],
            )
            for row in questions.leaderboard(run)
        ],
        fills=[_fill(row) for row in questions.newest_fills(run, FILLS_SHOWN)],
        problem=run.problem,
    )


def _fill(row: Row) -> FillRow:
    return FillRow(**{name: row[name] for name in FillRow.__struct_fields__})


_LEADERBOARD = [name for name in DeskRow.__struct_fields__ if name not in ("holds", "curve")]


class BoardProcess:
    """Asks for the board of a run again and again, and never waits for it. It ends with whoever started it.

    latest:  the newest board, None before the first.
    """

    def __init__(self, run: Path) -> None:
        self.latest: Board | None = None
        self._unread = b""
        self._asked_at: float | None = None
        self._is_waiting = False
        # In a session of its own: Ctrl+C at the terminal is meant for the one that trades. -P: where the user stands
        # there may be a folder of that name.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "apps.board", str(run)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.set_blocking(self.answers, False)
        self.poll()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def answers(self) -> int:
        """A descriptor that can be read where there is something for `poll`."""
        return _open(self._process.stdout).fileno()

    def poll(self) -> None:
        """Take in what was answered, and ask again where it is time."""
        with suppress(BlockingIOError):
            while data := os.read(self.answers, 1 << 20):
                *lines, self._unread = (self._unread + data).split(b"\n")
                for line in lines:
                    self.latest = msgspec.json.decode(line, type=Board)
                    self._is_waiting = False
            self._has_ended()
            return
        now = time.monotonic()
        if not self._is_waiting and (self._asked_at is None or now - self._asked_at >= LOOK_EVERY_S):
            self._asked_at, self._is_waiting = now, True
            with suppress(BrokenPipeError):  # its end is seen where its answers are read
                os.write(_open(self._process.stdin).fileno(), b"\n")

    def close(self) -> None:
        """Let it end. Whatever it was about to answer is not waited for."""
        _open(self._process.stdin).close()
        _open(self._process.stdout).close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _has_ended(self) -> None:
        problem = f"whoever asks for it has ended (exit code {self._process.wait()})"
        self.latest = msgspec.structs.replace(self.latest or Board(desks=[], fills=[]), problem=problem)


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def main(path: Path) -> None:
    """Answer every line on stdin with the board of the run, as a line of JSON, until stdin ends."""
    os.nice(_NICENESS)
    run = RunMemory(path, with_tape=False, threads=1)
    with suppress(BrokenPipeError):  # a session that was killed does not listen any more
        for _ in sys.stdin:
            run.look()
            sys.stdout.write(msgspec.json.encode(board(run)).decode() + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
