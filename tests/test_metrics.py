"""Metrics against a library that many rely on, and against the same things counted by hand."""

import math
import re
import shutil
from bisect import bisect_right
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import empyrical
import numpy as np
import pyarrow.parquet as pq
import pytest

from apps import metric_views
from apps.queries import Connection, open_run, rows
from tests.commands import EAGER, REPOSITORY, Place

YEAR_S = 365 * 86_400


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The shipped strategies, one that always trades and one that never does, over the sample tape."""
    place = Place(tmp_path_factory.mktemp("place"))
    for name in ("buy_and_hold", "ema_cross", "market_making", "mean_reversion", "order_flow"):
        place.strategy(name, (REPOSITORY / "strategies" / f"{name}.py").read_text())
    place.strategy("eager", EAGER)
    place.strategy("idle", "def generate_signal(data):\n    return None\n")
    assert place.wspt("replay", REPOSITORY / "data" / "sample.parquet", "--out", "run").code == 0
    return place


@pytest.fixture(scope="module")
def con(place: Place) -> Connection:
    return open_run(place.folder / "run")


def by_strategy(con: Connection, query: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows(con, query):
        found.setdefault(row["strategy"], []).append(row)
    return found


def marks(con: Connection) -> dict[str, list[tuple[int, float]]]:
    """Time and equity of every mark of each strategy, in order."""
    query = "select strategy, ts, equity from equity order by seq"
    return {
        name: [(row["ts"], float(row["equity"])) for row in found] for name, found in by_strategy(con, query).items()
    }


def metrics(con: Connection) -> dict[str, dict[str, Any]]:
    return {row["strategy"]: row for row in rows(con, "from metrics")}


def sampled(points: list[tuple[int, float]], step_s: float) -> list[float]:
    """The equity at fixed intervals from the first mark on."""
    times, step = [ts for ts, _ in points], round(step_s * 1e9)
    return [points[bisect_right(times, ts) - 1][1] for ts in range(times[0], times[-1] + 1, step)]


def test_sharpe_and_sortino_are_those_of_the_library(con: Connection) -> None:
    found = metrics(con)

    assert len(found) == 7
    for name, points in marks(con).items():
        row = found[name]
        values = np.array(sampled(points, row["sample_s"]))
        changes = values[1:] / values[:-1] - 1
        assert (row["sample_s"], row["samples"]) == (10.0, len(changes))
        if name == "idle":
            assert (row["sharpe"], row["sortino"]) == (None, None)
            continue
        annualization = YEAR_S / row["sample_s"]
        assert row["sharpe"] == pytest.approx(empyrical.sharpe_ratio(changes, annualization=annualization))
        assert row["sortino"] == pytest.approx(empyrical.sortino_ratio(changes, annualization=annualization))


def test_drawdown_is_that_of_the_library(con: Connection) -> None:
    found = metrics(con)

    for name, points in marks(con).items():
        values = np.array([equity for _, equity in points])
        expected = -100 * empyrical.max_drawdown(values[1:] / values[:-1] - 1)
        assert found[name]["max_drawdown_pct"] == pytest.approx(0 if math.isnan(expected) else expected)


@pytest.mark.parametrize(
    ("span_s", "step_s"),
    [(29, 1), (30, 1), (299, 1), (300, 10), (1_799, 10), (1_800, 60), (108_000, 3_600), (2_592_000, 86_400)],
)
def test_the_longest_interval_with_thirty_samples_is_taken(span_s: int, step_s: int, con: Connection) -> None:
    steps = [step for step in metric_views.STEPS_S if span_s // step >= metric_views.SAMPLES_MIN]
    assert (max(steps) if steps else min(metric_views.STEPS_S)) == step_s

    cursor = con.cursor()
    cursor.execute(
        f"CREATE TEMP TABLE equity AS SELECT 'x' AS strategy, i AS seq, i * {span_s * 10**9} // 2 AS ts, "
        "100 + i AS equity FROM range(3) r(i)"
    )
    curve = metric_views.LEDGER_VIEWS["equity_curve"]
    [found] = cursor.execute(f"SELECT DISTINCT sample_s FROM ({curve})").fetchall()

    assert found[0] == step_s


def test_a_session_too_short_for_ratios_has_none(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.strategy("eager", EAGER)
    tape = REPOSITORY / "data" / "sample.parquet"

    answer = place.wspt("replay", tape, "--to", "2026-01-01T00:00:20", "--json", "--out", "run")

    [desk] = answer.json["strategies"]
    assert desk["fills"] > 0 and desk["samples"] < 30
    assert (desk["sharpe"], desk["sortino"]) == (None, None)


def test_exposure_turnover_and_holding_are_what_counting_gives(con: Connection) -> None:
    found, spans = metrics(con), marks(con)
    fills = by_strategy(con, "from fills order by seq")
    trips = by_strategy(con, "from round_trips")

    for name, own in fills.items():
        began, ended = spans[name][0][0], spans[name][-1][0]
        held: dict[str, Decimal] = {}
        exposed, traded = 0, Decimal(0)
        for fill, later in pairwise([*own, {"ts": ended}]):
            held[fill["symbol"]] = Decimal(fill["position"])
            exposed += (later["ts"] - fill["ts"]) * any(held.values())
            traded += Decimal(fill["price"]) * Decimal(fill["quantity"])
        assert found[name]["exposure_pct"] == pytest.approx(100 * exposed / (ended - began))
        assert found[name]["turnover"] == pytest.approx(float(traded) / 100)
        closed = trips.get(name, [])
        if closed:
            assert float(found[name]["expectancy"]) == pytest.approx(
                float(sum(Decimal(trip["pnl"]) for trip in closed)) / len(closed), abs=1e-11
            )
            mean = sum(trip["closed"] - trip["opened"] for trip in closed) / len(closed) / 1e9
            assert found[name]["holding_s"] == pytest.approx(mean)
    assert (found["idle"]["exposure_pct"], found["idle"]["turnover"], found["idle"]["expectancy"]) == (0, 0, None)


def test_the_symbols_of_a_desk_earn_what_the_desk_does(con: Connection) -> None:
    found = metrics(con)

    for name, symbols in by_strategy(con, "from symbol_pnl").items():
        assert sum(row["pnl"] for row in symbols) == pytest.approx(float(found[name]["equity"]) - 100, abs=1e-9)


def test_markouts_hold_a_fill_against_the_mid_of_later(con: Connection) -> None:
    touches: dict[str, list[tuple[int, float]]] = {}
    query = "select symbol, ts_recv, bid, ask from ticks where bid is not null and ask is not null order by seq"
    for row in rows(con, query):
        touches.setdefault(row["symbol"], []).append((row["ts_recv"], (row["bid"] + row["ask"]) / 2))
    [end] = rows(con, "select max(ts_recv) as ts from ticks")
    found = rows(con, "from markouts")

    assert len(found) == rows(con, "select count(*) n from fills")[0]["n"] > 50
    assert any(row["mid_30s"] is None for row in found) and any(row["mid_30s"] is not None for row in found)
    for row in found:
        known = touches[row["symbol"]]
        for after in (1, 5, 30):
            at = row["ts"] + after * 10**9
            if at > end["ts"]:
                assert row[f"mid_{after}s"] is None
                continue
            mid = known[bisect_right(known, at, key=lambda touch: touch[0]) - 1][1]
            gain = (mid - float(row["price"])) * (1 if row["side"] in ("buy", "cover") else -1)
            assert row[f"mid_{after}s"] == mid
            assert row[f"markout_{after}s_bps"] == pytest.approx(gain / float(row["price"]) * 1e4, abs=1e-9)


def test_the_parts_of_a_desks_profit_add_up_to_it_to_the_last_digit(con: Connection) -> None:
    opening = Decimal(100)
    found = rows(con, "from attribution")

    assert len(found) == 7
    for row in found:
        parts = [Decimal(row[name]) for name in ("price_move", "spread", "slippage", "fees")]
        assert sum(parts) == Decimal(row["pnl"]) == Decimal(metrics(con)[row["strategy"]]["equity"]) - opening
    assert any(Decimal(row["spread"]) > 0 for row in found)  # earned by those who rest
    assert any(Decimal(row["spread"]) < 0 for row in found)


def test_the_parts_of_a_fills_profit_add_up_to_it_and_the_fills_to_the_desk(con: Connection) -> None:
    desks = {row["strategy"]: row for row in rows(con, "from attribution")}
    names = ("price_move", "spread", "slippage", "fees", "pnl")

    for name, fills in by_strategy(con, "from fill_attribution").items():
        for fill in fills:
            assert sum(Decimal(fill[part]) for part in names[:-1]) == Decimal(fill["pnl"])
        for part in names:
            rounding = Decimal(len(fills) + 2) * Decimal("1e-12")
            assert abs(sum(Decimal(fill[part]) for fill in fills) - Decimal(desks[name][part])) <= rounding


def test_the_price_move_is_what_trading_at_the_mids_would_have_made(con: Connection) -> None:
    marks_of = {row["symbol"]: Decimal(repr(row["mark"])) for row in rows(con, "from symbol_pnl")}
    mids = {(row["strategy"], row["seq"]): row["mid_at_arrival"] for row in rows(con, "from fills")}

    for fill in rows(con, "from fill_attribution"):
        mid = Decimal(repr(mids[fill["strategy"], fill["seq"]]))
        signed = Decimal(fill["quantity"]) * (1 if fill["side"] in ("buy", "cover") else -1)
        assert abs(signed * (marks_of[fill["symbol"]] - mid) - Decimal(fill["price_move"])) <= Decimal("3e-12")


def test_what_an_earlier_ledger_did_not_have_is_unknown_in_it(place: Place, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(place.folder / "run", run)
    for segment in (run / "ledger").glob("*.parquet"):
        table = pq.read_table(segment)
        later = [
            "left",
            "queue_ahead",
            "stop_price",
            "spread_cost",
            "slippage_cost",
            "mid_at_arrival",
            "mid_at_decision",
        ]
        pq.write_table(table.drop_columns(later), segment)

    con = open_run(run)

    assert rows(con, "select distinct spread from attribution") == [{"spread": "0"}]
    assert {row["status"] for row in rows(con, "select distinct status from orders")} >= {"filled", "canceled"}
    assert len(rows(con, "from metrics")) == 7


def test_the_report_shows_the_ratios_and_how_they_are_made(place: Place) -> None:
    out = place.wspt("replay", REPOSITORY / "data" / "sample.parquet", "--only", "eager").out

    assert re.search("strategy +Sharpe +Sortino", out)
    assert "Sharpe and Sortino of 59 returns over 10 s each, annualized; no risk-free rate" in out
    assert out.splitlines()[-1].startswith("digest ")
