"""A run as one page to send, and what its charts are made of."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from apps.dashboard.drawing import Line, chart
from apps.dashboard.handout import handout
from apps.dashboard.markup import Column, html, sparkline, table
from apps.figures import duration, quantity, signed
from apps.queries import open_run
from apps.queries import table as asked
from recorder.runs import RunProblem
from tests.commands import REPOSITORY, Place

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder with a run of two strategies."""
    place = Place(tmp_path_factory.mktemp("place"))
    place.strategy(
        "eager", place.strategy("patient").read_text().replace("it is time", r"\x1b<script>alert(1)</script>")
    )
    assert place.wspt("replay", REPOSITORY / "data" / "sample.parquet", "--out", "data/runs/one").code == 0
    return place


class Outside(HTMLParser):
    """Finds what a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "iframe", "object", "embed", "base", "form"):
            self.found.append(tag)
        self.found += [
            f"{name}={text}" for name, text in attrs if name in ("src", "href", "srcset") or name.startswith("on")
        ]


def test_the_page_fetches_nothing_and_runs_nothing(place: Place) -> None:
    page = handout(place.folder / "data" / "runs" / "one")
    outside = Outside()

    outside.feed(page)

    assert outside.found == []
    assert not re.search(r"url\(|@import|https?://", page)
    assert "\u241b&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\x1b" not in page


def test_the_page_has_the_numbers_of_the_leaderboard(place: Place) -> None:
    run = place.folder / "data" / "runs" / "one"
    con = open_run(run)
    board = asked(con, "SELECT name, equity, pnl, fills FROM leaderboard")[1]
    con.close()

    page = handout(run)

    for name, equity, pnl, fills in board:
        row = re.search(
            rf"<tr><td class=\"\"><span[^>]*></span><span title=\"{name}\">{name}</span></td>(.*?)</tr>", page
        )
        assert row is not None
        cells = re.findall(r">([^<>]+)<", row[1])
        assert cells[:2] == [f"{equity:.2f}", signed(pnl)]
        assert str(fills) in cells
    assert page.count("<svg") == 1 + 2 * (2 + 2)


def test_the_command_writes_the_page_and_says_where(place: Place) -> None:
    done = place.wspt("report", "one", "-o", "mine.html")

    assert (done.code, done.out) == (0, "mine.html\n")
    assert (place.folder / "mine.html").read_text().startswith("<!doctype html>")


def test_a_place_that_cannot_be_written_is_one_sentence(place: Place) -> None:
    done = place.wspt("report", "one", "-o", "no/such/folder/mine.html")

    assert done.code == 2
    assert done.err == "wspt: --out no/such/folder/mine.html: expected a file that can be written, found: " + (
        "No such file or directory\n"
    )


def test_what_is_no_run_has_no_page(tmp_path: Path) -> None:
    with pytest.raises(RunProblem, match=r"found no readable run\.json"):
        handout(tmp_path)


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied"])
def test_a_ledger_that_cannot_be_read_is_one_sentence(damage: str, place: Place) -> None:
    damaged = place.folder / "data" / "runs" / damage
    shutil.copytree(place.folder / "data" / "runs" / "one", damaged)
    [segment] = (damaged / "ledger").glob("*.parquet")
    whole = segment.read_bytes()
    middle = len(whole) // 3
    segment.write_bytes(
        {"flipped": whole[:middle] + b"\xff" * 500 + whole[middle + 500 :], "cut": whole[:-100], "emptied": b""}[damage]
    )

    done = place.wspt("report", damage, "-o", "mine.html")

    assert done.code == 2
    assert done.err.startswith(f"wspt: data/runs/{damage}/ledger/{segment.name}: expected Parquet that can be read, ")
    assert done.err.count("\n") == 1


def test_a_chart_puts_the_highest_value_above_the_lowest() -> None:
    drawn = chart([Line("equity", [(0, 100.0), (SECOND, 50.0), (2 * SECOND, 75.0)], "#000")], width=1080, height=260)

    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", drawn)]

    assert heights[0] < heights[2] < heights[1]


def test_a_chart_of_one_value_is_a_chart() -> None:
    assert "<path" in chart([Line("equity", [(0, 100.0)], "#000", is_steps=True)], end=SECOND)
    assert chart([]) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(-0.004, "0.00"), (0.005, "+0.01"), (-1234.5, "\N{MINUS SIGN}1,234.50"), (None, "–")]
)
def test_a_sign_stands_where_there_is_something_to_sign(value: float | None, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(
    ("ns", "text"), [(5_000_000, "5 ms"), (90 * SECOND, "1 min 30 s"), (3_700 * SECOND, "1 h 1 min"), (None, "–")]
)
def test_a_length_of_time_has_its_two_largest_units(ns: int | None, text: str) -> None:
    assert duration(ns) == text


def test_a_quantity_has_no_zeros_at_its_end() -> None:
    assert [quantity(value) for value in (0.00032466, 20.0, 1234.5)] == ["0.00032466", "20", "1,234.5"]


def test_text_is_never_markup() -> None:
    assert html("<b>") == "&lt;b&gt;"
    assert "<script>" not in table((Column("<script>"),), [("<script>",)]) + sparkline([1.0, 2.0])
