"""The page that holds strategies against one another, of one run or of several."""

from collections.abc import Callable, Mapping
from itertools import islice

import streamlit as st

from apps import figures
from apps.dashboard import charts
from apps.dashboard.choice import path_of
from apps.dashboard.markup import Column, Markup, box, empty, html, table, title, tone_of, toned
from apps.dashboard.picking import pick_several
from apps.dashboard.runs_known import memory_of, run_names
from apps.memory import decision_questions, questions
from apps.memory.run_memory import Row, RunMemory, currency

MOST = 6
"""Desks beside one another: more columns cannot be read."""

Desk = tuple[RunMemory, str]  # a run, and the name of a desk in it

_METRICS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("equity", lambda row: figures.money(row["equity"])),
    ("P&L after fees", lambda row: figures.signed(row["pnl"], 4)),
    ("ROI, %", lambda row: figures.signed(row["roi_pct"])),
    ("fees", lambda row: figures.cents(row["fees"])),
    ("fills", lambda row: figures.count(row["fills"])),
    ("round trips", lambda row: figures.count(row["round_trips"])),
    ("win rate, %", lambda row: figures.percent(row["win_rate"])),
    ("profit factor", lambda row: figures.fixed(row["profit_factor"], 2)),
    ("deepest drawdown, %", lambda row: figures.fixed(row["max_drawdown_pct"], 2)),
    ("Sharpe, a year", lambda row: figures.fixed(row.get("sharpe"), 2)),
    ("Sortino, a year", lambda row: figures.fixed(row.get("sortino"), 2)),
    ("mean round trip", lambda row: figures.signed(row.get("expectancy"), 4)),
    ("held for, mean", lambda row: _seconds(row.get("holding_s"))),
    ("exposed, % of time", lambda row: figures.fixed(row.get("exposure_pct"), 1)),
    ("turnover, of capital", lambda row: figures.fixed(row.get("turnover"), 2)),
    ("signals", lambda row: figures.count(row["signals"])),
    ("refused", lambda row: figures.count(row["rejected"])),
    ("open positions", lambda row: figures.count(row["open_positions"])),
    ("status", lambda row: row["status"]),
)


def page(run: RunMemory) -> None:
    """The runs that take part, the desks of them, and what is to be said of these."""
    names = run_names()
    own = next((name for name in names if path_of(name) == run.path), names[0])
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    with left:
        chosen = pick_several("Runs", names, [own], "compared", MOST)
    desks = _desks(chosen)
    with right:
        picked = pick_several("Strategies", list(desks), _alike_first(desks)[:4], "desks", MOST)
    compared = {name: desks[name] for name in picked}
    if not compared:
        st.html(box(empty("Nothing to compare.", "Choose runs on the left, and their strategies on the right.")))
        return
    _curves(compared, list(desks))
    left, right = st.columns([3, 2], gap="medium")
    left.html(box(title("Side by side", "amounts in the desks' currency"), _metrics(compared)))
    right.html(box(title("First decision that differs", "between the first two"), _difference(compared)))


def _desks(names: list[str]) -> dict[str, Desk]:
    """The desks of some runs; the run's name before theirs where there are several."""
    found: dict[str, Desk] = {}
    for name in names:
        run = memory_of(str(path_of(name)))
        run.look()
        for row in questions.leaderboard(run) if run.manifest is not None else []:
            found[f"{name} / {row['name']}" if len(names) > 1 else row["name"]] = (run, row["name"])
    return found


def _alike_first(desks: Mapping[str, Desk]) -> list[str]:
    """The same strategy of several runs side by side, and before those which only one run has."""
    runs: dict[str, list[str]] = {}
    for name, (_, desk) in desks.items():
        runs.setdefault(desk, []).append(name)
    return [name for names in sorted(runs.values(), key=len, reverse=True) for name in names]


def _curves(compared: Mapping[str, Desk], family: list[str]) -> None:
    """Over the same clock where they ran at the same time, else over the time since each began."""
    spans = {name: questions.span(run) for name, (run, _) in compared.items()}
    starts = {span[0] for span in spans.values() if span is not None}
    is_shifted = len(starts) > 1
    series: dict[str, list[Row]] = {}
    for name, (run, desk) in compared.items():
        span = spans[name]
        rows = questions.equity_curves(run, [desk])[desk]
        if span is not None and rows:
            begin = span[0] if is_shifted else 0
            series[name] = [{"ts": row["ts"] - begin, "value": row["value"]} for row in rows]
            series[name].append({"ts": span[1] - begin, "value": rows[-1]["value"]})
    unit = currency(next(iter(compared.values()))[0])
    st.html(box(title("Equity", "time since each run began" if is_shifted else "UTC")))
    chart = charts.equity(series, unit, None, family)
    if is_shifted:
        charts.count_from_zero(chart)
    st.echarts_chart(chart, height=300, key="chart-compared", alt="Equity of the compared strategies")


def _metrics(compared: Mapping[str, Desk]) -> Markup:
    rows = {name: _row(*desk) for name, desk in compared.items()}
    columns = [Column(""), *(Column(name, "", True) for name in rows)]
    body = []
    for label, shown in _METRICS:
        cells = [shown(row) if row is not None else figures.UNKNOWN for row in rows.values()]
        if label in ("P&L after fees", "ROI, %"):
            tones = [tone_of(row["pnl"]) if row is not None else "" for row in rows.values()]
            cells = [toned(cell, tone) for cell, tone in zip(cells, tones, strict=True)]
        body.append((label, *cells))
    return table(columns, body)


def _row(run: RunMemory, desk: str) -> Row | None:
    row = next((row for row in questions.leaderboard(run) if row["name"] == desk), None)
    return {**questions.metrics(run).get(desk, {}), **row} if row is not None else None


def _seconds(seconds: float | None) -> str:
    return figures.duration(None if seconds is None else round(seconds * 1e9))


def _difference(compared: Mapping[str, Desk]) -> Markup:
    if len(compared) < 2:
        return empty("There is only one.", "Choose a second strategy, of this run or of another.")
    (mine, (ours, my_desk)), (yours, (theirs, your_desk)) = islice(compared.items(), 2)
    found = decision_questions.first_difference(ours, theirs, my_desk, your_desk)
    if found is None:
        return empty("None differs.", f"{mine} and {yours} decided the same from beginning to end.")
    left, right = found
    rows = []
    for name in left or right or {}:
        one, other = (_cell(name, row) for row in found)
        if not (one or other):
            continue
        cells = (one, other) if one == other else (_bold(one), _bold(other))
        rows.append(("time" if name == "ts" else name.replace("_", " "), *cells))
    return table((Column(""), Column(mine), Column(yours)), rows, wide=frozenset({1, 2}))


def _cell(name: str, row: Row | None) -> str:
    if row is None:
        return "ended"
    return f"{figures.clock(row['ts'])} UTC" if name == "ts" else figures.plain(row[name])


def _bold(text: str) -> Markup:
    return Markup(f"<b>{html(text) or '–'}</b>")
