"""What is printed can be read: nothing is cut or mangled, and columns line up."""

import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from apps.importing import simulated_tape
from apps.report import print_answer, print_difference, print_replay, print_runs
from recorder.runs import Manifest, Run, StrategyRecord, TapePath, TapeReference
from tests.commands import EAGER, Place

BEST = {
    "name": "mean_reversion", "equity": "10234.567", "pnl": "234.567", "roi_pct": 2.34567, "fees": "12.3456789",
    "fills": 12345, "round_trips": 6172, "win_rate": 0.5128, "profit_factor": 1.234, "max_drawdown_pct": 3.21,
    "status": "ok",
}  # fmt: skip
NEVER = {
    **BEST, "name": "idle", "equity": "10000", "pnl": "0", "roi_pct": 0.0, "fees": "0", "fills": 0, "round_trips": 0,
    "win_rate": None, "profit_factor": None, "max_drawdown_pct": 0.0,
}  # fmt: skip
BROKEN = {
    **NEVER, "name": "broken", "equity": None, "pnl": None, "roi_pct": None,
    "status": "failed: ZeroDivisionError at broken.py:2",
}  # fmt: skip


def a_manifest(*paths: str, simulated: bool = False) -> Manifest:
    record = StrategyRecord(file="x.py", sha256="", version="0", config={}, symbols=[], trigger="tick")
    return Manifest(
        status="finished",
        kind="replay",
        simulated=simulated,
        created="2026-01-02T03:04:05.678+00:00",
        configuration={"capital": "10000", "currency": "USD"},
        strategies={"idle": record},
        libraries={},
        tape=TapeReference(
            paths=[TapePath(given=path) for path in paths], venue="kraken", identity="", first_seq=0, stop_seq=9
        ),
        digest="0123456789abcdef" * 4,
        ticks=1_234_567,
        events=98_765,
        seconds=1.5,
    )


class Paper:
    """A console of a certain width that remembers."""

    def __init__(self, width: int) -> None:
        self._file = io.StringIO()
        self.console = Console(file=self._file, width=width, markup=False, emoji=False, highlight=False)

    @property
    def text(self) -> str:
        """What has been printed."""
        return self._file.getvalue()


@pytest.mark.parametrize("width", [80, 160])
def test_a_leaderboard_reads_as_it_did(width: int, snapshot: SnapshotAssertion) -> None:
    paper = Paper(width)

    print_replay(paper.console, "data/runs/x", a_manifest("a.parquet", simulated=True), [BEST, NEVER, BROKEN])

    assert paper.text == snapshot


def test_runs_read_as_they_did(snapshot: SnapshotAssertion) -> None:
    paper = Paper(160)
    broken = Run(path=Path("runs/half"), manifest=None, problem="runs/half: expected a run, found none")
    whole = Run(path=Path("runs/whole"), manifest=a_manifest("part-0.parquet", "part-1.parquet"), status="finished")

    print_runs(paper.console, [whole, broken])

    assert paper.text == snapshot


def test_decimal_points_stand_below_one_another() -> None:
    paper = Paper(80)
    rows = [(Decimal("100.500"), "a"), (None, "b"), (Decimal("0.25"), None), (Decimal("1E-4"), "d")]

    print_answer(paper.console, ["cash", "who"], rows)

    assert paper.text.splitlines() == [
        "    cash  who",
        "100.5000  a",
        "          b",
        "  0.2500",
        "  0.0001  d",
    ]


@pytest.mark.parametrize("text", ["[bold]x[/bold]", ":smile:", "[red]", "[1, 2]", "a  b", "é"])
def test_a_cell_is_printed_as_it_is(text: str) -> None:
    paper = Paper(80)

    print_answer(paper.console, [text], [(text,)])

    assert paper.text.splitlines() == [text, text]


def test_a_cell_stays_on_one_line() -> None:
    paper = Paper(80)

    print_answer(paper.console, ["a"], [("one\ntwo",)])

    assert paper.text.splitlines() == ["a", "one\\ntwo"]


def test_no_rows_are_said_to_be_none() -> None:
    paper = Paper(80)

    print_answer(paper.console, ["a"], [])

    assert paper.text.splitlines() == ["a", "(no rows)"]


def test_rows_too_wide_for_the_terminal_become_blocks_of_lines() -> None:
    paper = Paper(20)

    print_answer(paper.console, ["name", "what it is"], [("x", "y" * 30), ("z", 1)])

    assert paper.text.splitlines() == [
        "name        x",
        "what it is  " + "y" * 30,
        "",
        "name        z",
        "what it is  1",
    ]


@pytest.mark.parametrize(
    ("recorded", "replayed", "said"),
    [
        ({"type": "A", "x": 1}, {"type": "A", "x": 2}, "A differs in x"),
        ({"type": "A", "x": 1}, {"type": "B", "x": 1}, "A became B"),
        ({"type": "A", "x": 1}, None, "A in only one of them"),
        (None, {"type": "A", "x": 1}, "A in only one of them"),
    ],
)
def test_a_difference_is_said_in_words(recorded: Any, replayed: Any, said: str) -> None:
    paper = Paper(80)

    print_difference(paper.console, {"strategy": "eager", "seq": 7, "recorded": recorded, "replayed": replayed})

    assert paper.text.splitlines()[0] == f"different: eager event 7, {said}"


def test_inspect_reads_as_it_did(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    place = Place(tmp_path)
    simulated_tape(7, 0.1, tmp_path / "short.parquet")

    assert place.wspt("inspect", "short.parquet").out == snapshot


def test_a_skew_that_was_not_measured_is_not_shown(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.file(
        "frames.jsonl",
        '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":50000.1,"qty":0.5,'
        '"ord_type":"market","trade_id":7,"timestamp":"2026-01-01T00:00:01.000000Z"}]}',
    )

    answer = place.wspt("import", "frames", "--venue", "kraken", "frames.jsonl", "-o", "out.parquet")

    assert "unknown: there are no times of receipt" in answer.out


def test_one_strategy_is_not_several(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.strategy("eager", EAGER)
    simulated_tape(7, 0.1, tmp_path / "short.parquet")

    assert "\n1 strategy, 100 each: " in place.wspt("replay", "short.parquet").out
