"""The page on which SQL is asked of a run: read-only, and confined to the run's files."""

import csv
import io
import math
from typing import Any

import streamlit as st

from apps import figures
from apps.dashboard import charts
from apps.dashboard.asking import ROWS_MOST, Answer, ask
from apps.dashboard.markup import banner, box, empty, title
from apps.dashboard.palette import colors
from apps.memory.run_memory import RunMemory
from recorder.problems import Problem

EXAMPLES = {
    "Leaderboard": "FROM leaderboard",
    "Newest fills": """\
SELECT make_timestamp_ns(ts) AS at, strategy, side, symbol, quantity, price, fee, realized, reason
FROM fills ORDER BY ts DESC LIMIT 100""",
    "Spread before each fill": """\
SELECT f.strategy, f.seq, f.side, f.price, avg(q.ask - q.bid) AS spread
FROM fills f LEFT JOIN quotes q ON q.symbol = f.symbol
    AND q.ts_recv BETWEEN f.ts - 1000000000 AND f.ts
GROUP BY ALL ORDER BY f.strategy, f.seq""",
    "Equity, one row a minute": """\
SELECT time_bucket(INTERVAL 1 MINUTE, make_timestamp_ns(ts)::TIMESTAMP) AS minute, strategy,
    arg_max(equity, ts)::DOUBLE AS equity
FROM equity GROUP BY ALL ORDER BY minute, strategy""",
    "Why signals were refused": """\
SELECT strategy, rejection, count(*) AS times
FROM signals WHERE rejected GROUP BY ALL ORDER BY times DESC""",
    "Round trips by hour": """\
SELECT hour(make_timestamp_ns(closed)::TIMESTAMP) AS hour, count(*) AS trips, sum(pnl) AS pnl
FROM round_trips GROUP BY ALL ORDER BY hour""",
    "Volume by side": """\
SELECT symbol, side, count(*) AS trades, sum(size) AS volume
FROM trades GROUP BY ALL ORDER BY ALL""",
    "All views and their columns": """\
SELECT table_name, column_name, data_type
FROM information_schema.columns ORDER BY table_name, ordinal_position""",
}
FIRST = EXAMPLES["Leaderboard"]
VIEWS = (
    "signals · orders · fills · positions · positions_now · equity · equity_curve · round_trips · leaderboard · "
    "metrics · attribution · symbol_pnl · events; of the tape fill_attribution · markouts · ticks · trades · quotes · "
    "feed. Times are ns UTC. One SELECT, which reads this run's files and no others."
)


def page(run: RunMemory) -> None:
    """A query, its answer as a table or a chart, and both as files."""
    example = st.selectbox("Examples", EXAMPLES, key="example", label_visibility="collapsed")
    with st.form(f"query {example}", border=False):
        sql = st.text_area("SQL", EXAMPLES[example], height=130, label_visibility="collapsed")
        left, right = st.columns([1, 5], vertical_alignment="center")
        if left.form_submit_button("Run", type="primary", width="stretch"):
            st.session_state["answered"] = (str(run.path), sql)
        right.caption(VIEWS)
    path, asked = st.session_state.get("answered", ("", ""))
    try:
        answer = _answered(str(run.path), asked if path == str(run.path) else FIRST, run.version_of())
    except Problem as problem:
        st.html(box(banner(str(problem))))
        return
    _show(answer)


@st.cache_data(max_entries=8, show_spinner="Asking …")
def _answered(path: str, sql: str, version: int) -> Answer:
    """The answer as of a version of the run: to look at a chart of it does not ask again."""
    return ask(path, sql)


def _show(answer: Answer) -> None:
    more = f", the first {ROWS_MOST:,} of more" if answer.has_more else ""
    st.html(box(title("Answer", f"{figures.several(len(answer.rows), 'row')}{more} in {answer.seconds:.2f} s")))
    as_table, as_chart, as_file = st.tabs(["Table", "Chart", "Download"])
    with as_table:
        if answer.rows:
            st.dataframe(_columns(answer), hide_index=True, height=min(36 * len(answer.rows) + 38, 520))
        else:
            st.html(box(empty("No rows.", "The query is right, and nothing fits it.")))
    with as_chart:
        _chart(answer)
    with as_file:
        st.download_button("CSV", _csv(answer), "answer.csv", "text/csv", on_click="ignore")
        st.download_button(
            "Parquet", answer.parquet, "answer.parquet", "application/vnd.apache.parquet", on_click="ignore"
        )


def _columns(answer: Answer) -> dict[str, list[Any]]:
    """By column, as a table wants them; decimals as numbers, so that they sort and stand right."""
    return {
        name: [_number(row[at]) if answer.is_number[at] else row[at] for row in answer.rows]
        for at, name in enumerate(answer.names)
    }


def _number(value: Any) -> float | int | None:
    return value if value is None or isinstance(value, int) else float(value)


def _point(value: Any) -> float | int | None:
    """A number as a chart takes it: those that are not finite are not drawn."""
    return _number(value) if value is not None and math.isfinite(value) else None


def _chart(answer: Answer) -> None:
    numbers = [name for name, is_number in zip(answer.names, answer.is_number, strict=True) if is_number]
    if not numbers or len(answer.rows) < 2:
        st.html(box(empty("Nothing to draw.", "A chart needs a column of numbers and at least two rows.")))
        return
    left, middle, right = st.columns(3)
    across = left.selectbox("Across", answer.names, key="across")
    up = middle.selectbox("Up", numbers, index=len(numbers) - 1, key="up")
    split = right.selectbox("A line for each", ["–", *answer.names], key="split")
    x, y = answer.names.index(across), answer.names.index(up)
    lines: dict[str, list[tuple[Any, Any]]] = {}
    for row in answer.rows:
        name = up if split == "–" else figures.plain(row[answer.names.index(split)])
        lines.setdefault(name, []).append((row[x], _point(row[y])))
    chart = charts.time_chart("", 6, legend=len(lines) > 1)
    chart["xAxis"] = {"type": "value", "scale": True} if answer.is_number[x] else {"type": "category"}
    color = colors(lines)
    chart["series"] = [
        charts.line(name, [[_point(at) if answer.is_number[x] else str(at), value] for at, value in drawn], color[name])
        for name, drawn in list(lines.items())[:20]
    ]
    st.echarts_chart(chart, height=320, key="chart-answer", alt=f"{up} over {across}")


def _csv(answer: Answer) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(answer.names)
    writer.writerows(answer.rows)
    return text.getvalue()
