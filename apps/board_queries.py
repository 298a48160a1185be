"""Answers with the board of a run, by the dashboard's queries over what is on disk: a process of low priority."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from apps.board import Board, DeskRow, FillRow
from apps.memory import questions
from apps.memory.run_memory import Row, RunMemory

CURVE_POINTS = 40
"""Stretches of the run of which a sparkline has a value each."""
FILLS_SHOWN = 8

_NICENESS = 10


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
