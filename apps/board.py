"""The board of a run that goes on: its leaderboard, equity curves and newest fills, asked of another process.

A session that receives messages has no time for queries, nor room for a database: `apps/board_queries.py` has both.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import msgspec

LOOK_EVERY_S = 1.0
"""Looks are at least so far apart, and only one is under way."""
RESTART_AFTER_S = 10.0
"""A process that was started and has ended is followed by another one so long after its start, at the soonest."""

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


class BoardProcess:
    """Asks for the board of a run again and again, and never waits for it. It ends with whoever started it.

    Whatever ends the process that is asked, a new one takes its place after a while, and the board says so meanwhile.

    latest:  the newest board, None before the first.
    """

    def __init__(self, run: Path) -> None:
        self.latest: Board | None = None
        self._run = run
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._started_at = self._asked_at = float("-inf")
        self._is_waiting = False
        self.poll()

    @property
    def pid(self) -> int | None:
        """The number of the process, None where there is none at the moment."""
        return None if self._process is None else self._process.pid

    @property
    def answers(self) -> int:
        """A descriptor that can be read where there is something for `poll`."""
        assert self._process is not None and self._process.stdout is not None
        return self._process.stdout.fileno()

    def poll(self) -> None:
        """Take in what was answered, and ask again where it is time."""
        now = time.monotonic()
        if self._process is None and now - self._started_at >= RESTART_AFTER_S:
            self._started_at = now
            self._start()
        if self._process is None or self._take():
            return
        if not self._is_waiting and now - self._asked_at >= LOOK_EVERY_S:
            self._asked_at, self._is_waiting = now, True
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):  # its end is seen where its answers are read
                os.write(self._process.stdin.fileno(), b"\n")

    def close(self) -> None:
        """Let it end. Whatever it was about to answer is not waited for. Without effect the second time."""
        if self._process is not None:
            self._end(self._process)

    def _start(self) -> None:
        # In a session of its own: Ctrl+C at the terminal is meant for the one that trades. -P: where the user stands
        # there may be a folder of that name.
        command = [sys.executable, "-P", "-m", "apps.board_queries", str(self._run)]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null, start_new_session=True)
        except OSError as error:
            self._say(f"nobody can be asked: {error.strerror or error}")
            return
        os.set_blocking(self.answers, False)
        self._unread, self._is_waiting = b"", False

    def _take(self) -> bool:
        """What was answered; whether that was the end of it."""
        try:
            while data := os.read(self.answers, 1 << 20):
                *lines, self._unread = (self._unread + data).split(b"\n")
                for line in lines:
                    self.latest = msgspec.json.decode(line, type=Board)
                    self._is_waiting = False
        except BlockingIOError:
            return False
        assert self._process is not None
        self._say(f"whoever is asked for it has ended (exit code {self._end(self._process)})")
        return True

    def _end(self, process: "subprocess.Popen[bytes]") -> int:
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        self._process = None
        try:
            return process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _say(self, problem: str) -> None:
        self.latest = msgspec.structs.replace(self.latest or Board(desks=[], fills=[]), problem=problem)
