"""Each page as Streamlit draws it, without a browser: over no run, an empty one, a failed strategy, an old format."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from apps.dashboard import ahead
from apps.memory.questions import indicators, leaderboard
from apps.memory.run_memory import RunMemory
from apps.problems import UserProblem
from recorder.run_care import delete_run, read_label
from recorder.runs import FORMAT_VERSION, MANIFEST, RunProblem, create_run, read_manifest, write_manifest
from tests.commands import REPOSITORY, Place

testing = pytest.importorskip("streamlit.testing.v1", reason="the dashboard extra is not installed")
known = pytest.importorskip("apps.dashboard.runs_known")
asking = pytest.importorskip("apps.dashboard.asking")
compare = pytest.importorskip("apps.dashboard.compare")
charts = pytest.importorskip("apps.dashboard.charts")
picking = pytest.importorskip("apps.dashboard.picking")
verifying = pytest.importorskip("apps.dashboard.verifying")

FAILING = '''"""Fails at its hundredth trade."""

from engine import Signal

TRIGGER = "trade"


def generate_signal(data, state):
    state["asked"] = state.get("asked", 0) + 1
    if state["asked"] == 100:
        raise ValueError("enough")
    return Signal("buy", data.symbol, 5.0, reason="<b>why</b> not") if state["asked"] == 50 else None
'''

QUOTING = '''"""Buys once, and calls something its bid."""

from engine import Signal


def generate_signal(data, state):
    if "asked" not in state:
        state["asked"], state["indicators"] = True, {"bid": 1.5}
        return Signal("buy", data.symbol, 5.0)
'''

SCRIPT = "from apps.dashboard.pages import draw; draw({path!r})"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder with runs: of two strategies, of one that fails, of one that never had anything to do."""
    place = Place(tmp_path_factory.mktemp("place"))
    place.strategy("eager")
    place.strategy("failing", FAILING)
    tape = REPOSITORY / "data" / "sample.parquet"
    assert place.wspt("replay", tape, "--out", "data/runs/two").code == 0
    empty = create_run(place.folder / "data" / "runs" / "empty")
    manifest = read_manifest(place.folder / "data" / "runs" / "two")
    write_manifest(empty, msgspec.structs.replace(manifest, status="failed", segments=[], digest=None, digests={}))
    return place


@pytest.fixture
def runs(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of runs, as the dashboard's process is told of it; what it keeps in memory is forgotten after."""
    home = place.folder / "data" / "runs"
    monkeypatch.setenv("WSPT_DASHBOARD_RUNS", str(home))
    monkeypatch.delenv("WSPT_DASHBOARD_RUN", raising=False)
    yield home
    known.memory_of.clear()
    known.known_runs.clear()


def drawn(path: str, **address: str) -> Any:  # streamlit has no types for what AppTest finds
    """A page, after its first run."""
    app = testing.AppTest.from_string(SCRIPT.format(path=path), default_timeout=30)
    for name, value in address.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


def text_of(app: Any) -> str:
    """All HTML on the page."""
    return "\n".join(part.proto.body for part in app.get("html"))


PAGES = ["overview", "strategy", "decisions", "market", "time", "compare", "sql"]


@pytest.mark.parametrize("path", [*PAGES, "runs"])
def test_a_page_without_a_run_says_how_to_make_one(
    path: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSPT_DASHBOARD_RUNS", str(tmp_path / "none"))

    app = drawn(path)

    assert "There is no run" in text_of(app)
    assert "wspt replay" in app.code[0].value


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("run", ["two", "empty"])
def test_a_page_draws_a_run(path: str, run: str, runs: Path) -> None:
    app = drawn(path, run=run)

    assert f'<span class="name">{run}</span>' in text_of(app)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_over_another_format_says_which_one_it_found(
    path: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    manifest = (runs / "two" / MANIFEST).read_text().replace(f'"format": {FORMAT_VERSION}', '"format": 0')
    (old / MANIFEST).write_text(manifest)
    monkeypatch.setenv("WSPT_DASHBOARD_RUNS", str(tmp_path))

    app = drawn(path, run="old")

    assert f"expected format {FORMAT_VERSION}, found 0" in text_of(app)


def test_a_failed_strategy_says_why_and_where(runs: Path) -> None:
    board = text_of(drawn("overview", run="two"))
    own = text_of(drawn("strategy", run="two", strategy="failing"))

    assert "✕ failed: ValueError at failing.py:11" in board
    assert "failed: ValueError at failing.py:11" in own


def test_what_a_strategy_says_is_text_and_never_markup(runs: Path) -> None:
    page = text_of(drawn("decisions", run="two", strategy="failing"))

    assert "&lt;b&gt;why&lt;/b&gt; not" in page
    assert "<b>why</b>" not in page


def test_an_address_of_a_run_that_is_no_more_says_so_and_stays_said(runs: Path) -> None:
    app = drawn("overview", run="gone")
    assert "There is no run gone: this is two." in text_of(app)

    app.run()

    assert "There is no run gone: this is two." in text_of(app)


def test_prices_far_below_one_are_shown_to_their_last_digit(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"{number}000000000,PEPE/USD,0.0000123{number % 7},1000,buy\n" for number in range(1, 60))
    place.file("pepe.csv", f"ts,symbol,price,size,side\n{rows}")
    assert place.wspt("import", "ticks", "pepe.csv", "-o", "pepe.parquet").code == 0
    assert place.wspt("replay", "pepe.parquet", "--only", "eager", "--out", tmp_path / "runs" / "pepe").code == 0
    monkeypatch.setenv("WSPT_DASHBOARD_RUNS", str(tmp_path / "runs"))

    page = text_of(drawn("overview"))

    assert "0.00001233" in page
    assert "spread" not in page


def test_what_a_strategy_calls_bid_stands_beside_the_markets(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.file("quoting.py", QUOTING)
    tape = REPOSITORY / "data" / "sample.parquet"
    assert place.wspt("replay", tape, "--strategies", "quoting.py", "--out", tmp_path / "runs" / "quoting").code == 0
    monkeypatch.setenv("WSPT_DASHBOARD_RUNS", str(tmp_path / "runs"))

    page = text_of(drawn("decisions"))

    assert ">bid<" in page
    assert ">its bid<" in page
    assert ">1.5<" in page


@pytest.mark.parametrize(
    ("rows", "cells", "chosen"),
    [([], [], None), ([2], [], 2), ([], [(1, "reason")], 1), ([2], [(1, "reason")], 1), ([3], [], None)],
)
def test_a_click_on_a_cell_chooses_its_row(rows: list[int], cells: list[tuple[int, str]], chosen: int | None) -> None:
    assert picking.chosen_row({"selection": {"rows": rows, "columns": [], "cells": cells}}, 3) == chosen


def test_the_run_of_the_address_is_the_one_that_can_be_labeled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: Path
) -> None:
    for name in ("two", "other"):
        shutil.copytree(runs / "two", tmp_path / name)
    monkeypatch.setenv("WSPT_DASHBOARD_RUNS", str(tmp_path))

    for name in ("two", "other"):
        app = drawn("runs", run=name)
        app.text_input[0].set_value(f"called {name}").run()
        assert read_label(tmp_path / name) == f"called {name}"


def test_the_same_strategy_of_two_runs_is_compared_first(place: Place, runs: Path) -> None:
    names = ["two / eager", "two / failing", "again / failing", "again / new"]
    desks = {name: (None, name.rpartition(" ")[2]) for name in names}

    assert compare._alike_first(desks) == ["two / failing", "again / failing", "two / eager", "again / new"]


def test_the_address_says_which_run_and_strategy_are_shown(runs: Path) -> None:
    app = drawn("strategy", strategy="failing")

    assert app.query_params == {"run": "two", "strategy": "failing"}


def test_indicators_of_several_symbols_are_curves_of_their_own(place: Place, tmp_path: Path) -> None:
    place.file("two.py", QUOTING.replace('"asked"', "data.symbol"))
    tape = REPOSITORY / "data" / "sample.parquet"
    assert place.wspt("replay", tape, "--strategies", "two.py", "--out", tmp_path / "two").code == 0
    run = RunMemory(tmp_path / "two")
    run.look()

    curves = indicators(run, "two")

    assert {name: [row["value"] for row in rows] for name, rows in curves.items()} == {
        "bid BTC/USD": [1.5],
        "bid XRP/USD": [1.5],
    }


def test_the_address_says_what_is_compared(runs: Path) -> None:
    app = drawn("compare", desks="failing")
    assert app.multiselect[1].value == ["failing"]

    app.multiselect[1].set_value(["failing", "eager"]).run()

    assert app.query_params == {"run": "two", "compared": "two", "desks": ["failing", "eager"]}
    assert drawn("compare", **app.query_params).multiselect[1].value == ["failing", "eager"]


def test_runs_of_other_times_are_compared_over_the_time_since_each_began() -> None:
    chart = charts.equity({"a": [{"ts": 0, "value": 1.0}, {"ts": 3_600_000_000_000, "value": 2.0}]}, "USD", None)

    charts.count_from_zero(chart)

    assert chart["xAxis"]["axisLabel"]["formatter"] == "{HH}:{mm}:{ss}"


@pytest.mark.parametrize(
    "query",
    [
        "FROM read_text('/etc/passwd')",
        "FROM '/etc/passwd'",
        "FROM glob('/etc/*')",
        "COPY (SELECT 1) TO '/tmp/stolen.csv'",
        "SELECT 1; COPY (SELECT 1) TO '/tmp/stolen.csv'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "ATTACH '/tmp/stolen.duckdb'",
        "CREATE TABLE events (i INTEGER)",
        "SET enable_external_access = true",
        "FROM duckdb_secrets() UNION ALL FROM read_text('/etc/hostname')",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "SELECT getenv('HOME')",
        "",
    ],
)
def test_the_console_refuses_a_hostile_query(runs: Path, query: str) -> None:
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}

    with pytest.raises(UserProblem):
        asking.ask(str(runs / "two"), query)

    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before
    assert not list(Path("/tmp").glob("stolen*"))


def test_the_console_refuses_what_would_take_all_memory(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MEMORY_MOST", "20MB")

    with pytest.raises(UserProblem, match="Out of Memory"):
        asking.ask(str(runs / "two"), "SELECT list(i) FROM range(10_000_000) AS numbers(i)")


@pytest.mark.parametrize("chosen", ["two", ""])
def test_the_run_to_begin_with_is_read_before_anybody_asks(
    chosen: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs / "two", tmp_path / "two")
    monkeypatch.setenv("WSPT_DASHBOARD_RUNS", str(tmp_path))
    monkeypatch.setenv("WSPT_DASHBOARD_RUN", chosen)
    looks: list[Path] = []
    look = RunMemory.look
    monkeypatch.setattr(RunMemory, "look", lambda run: (looks.append(run.path), look(run)))

    ahead.read_ahead()
    run = ahead.memory_ahead(tmp_path / "two")

    assert looks == [tmp_path / "two"]
    assert {row["name"] for row in leaderboard(run)} == {"eager", "failing"}
    assert ahead.memory_ahead(tmp_path / "two") is None


def test_what_goes_wrong_while_a_run_is_read_ahead_is_said_to_whoever_asks(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(run: RunMemory) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(RunMemory, "look", look)
    monkeypatch.setenv("WSPT_DASHBOARD_RUN", "two")

    ahead.read_ahead()

    with pytest.raises(ZeroDivisionError):
        ahead.memory_ahead(runs / "two")


def test_nothing_is_read_ahead_where_there_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSPT_DASHBOARD_RUNS", str(tmp_path))
    monkeypatch.delenv("WSPT_DASHBOARD_RUN", raising=False)

    ahead.read_ahead()

    assert ahead.memory_ahead(tmp_path) is None


def test_numbers_that_are_not_finite_are_left_out_of_the_chart(runs: Path) -> None:
    app = drawn("sql", run="two")

    app.text_area[0].set_value("SELECT ts, 1 / 0 AS x, 'NaN'::DOUBLE AS y FROM events")
    app.button[0].click().run()

    assert not app.exception
    assert app.dataframe


def test_the_console_says_in_a_sentence_what_was_wrong(runs: Path) -> None:
    app = drawn("sql", run="two")

    app.text_area[0].set_value("FROM read_text('/etc/passwd')")
    app.button[0].click().run()

    assert not app.exception
    assert "w-banner" in text_of(app)
    assert not app.dataframe


def test_the_console_answers_with_a_table_and_files(runs: Path) -> None:
    app = drawn("sql", run="two")

    app.text_area[0].set_value("SELECT name AS strategy, fills FROM leaderboard ORDER BY name")
    app.button[0].click().run()

    assert not app.exception
    assert list(app.dataframe[0].value["strategy"]) == ["eager", "failing"]
    assert "2 rows" in text_of(app)


def test_a_query_without_end_is_cut_off(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SECONDS_MOST", 0.2)

    with pytest.raises(UserProblem, match=r"(?i)interrupt"):
        asking.ask(str(runs / "two"), "SELECT count(*) FROM range(1000000000000) WHERE hash(range) = 1")


def test_a_moment_in_the_address_is_the_moment_that_is_shown(runs: Path) -> None:
    first = 1767225600008322000

    early = drawn("time", run="two", t=str(first))
    late = drawn("time", run="two", t=str(first + 300_000_000_000))

    assert "at 00:00:00.008 UTC" in text_of(early)
    assert "at 00:05:00.008 UTC" in text_of(late)
    assert "Nobody held anything." in text_of(early)


@pytest.mark.parametrize("number", ["\u00b2", "-1", "9" * 30, "9" * 5000, "x", ""])
def test_an_address_with_an_odd_number_is_as_good_as_one_without(number: str, runs: Path) -> None:
    assert "at 00:0" in text_of(drawn("time", run="two", t=number))
    assert "What it saw" in text_of(drawn("decisions", run="two", decision=f"simple:{number}"))


def test_a_run_gets_a_label_and_keeps_it(runs: Path) -> None:
    app = drawn("runs")
    [name] = [key.removeprefix("label ") for key in (field.key for field in app.text_input) if key.startswith("label ")]

    app.text_input[0].set_value("  my   best ").run()

    assert not app.exception
    assert read_label(Path(name)) == "my best"
    assert "my best" in app.dataframe[0].value["label"].tolist()


def test_a_deleted_run_is_gone_and_what_is_no_run_is_left_alone(runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "gone"
    shutil.copytree(runs / "two", run)

    delete_run(run)

    assert not run.exists()
    with pytest.raises(RunProblem, match=r"found no run\.json"):
        delete_run(tmp_path)
    assert tmp_path.exists()


def test_a_run_is_verified_in_a_process_of_its_own(runs: Path) -> None:
    verification = verifying.Verification(runs / "two")

    verification.wait()

    assert verification.result.startswith("identical: ")
    assert (verification.is_identical, verification.share) == (True, 1.0)


def test_what_cannot_be_verified_says_why(runs: Path) -> None:
    verification = verifying.Verification(runs / "empty")

    verification.wait()

    assert "expected a run with a history" in verification.result
    assert verification.is_identical is False
