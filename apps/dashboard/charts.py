"""Charts as ECharts options: time runs in UTC, no axis is forced to zero, nothing moves by itself."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apps.dashboard.palette import DOWN, QUIET, UP, colors, dashes
from apps.memory.run_memory import Row

POINTS_SEEN = 12
"""Points of a curve, at most, that are drawn as such: a line between two is no line if nobody sees them."""

_DAY_MS = 86_400_000

Option = dict[str, Any]  # ECharts' own tree of options


def milliseconds(ts: int) -> float:
    """ns UTC as ECharts counts time."""
    return round(ts / 1_000_000, 3)


def points(rows: Sequence[Row], value: str = "value") -> list[list[float | None]]:
    return [[milliseconds(row["ts"]), row[value]] for row in rows]


def time_chart(unit: str, places: int, *, legend: bool = False, bottom: int = 8) -> Option:
    """A chart over time without a series yet."""
    return {
        "animation": False,
        "useUTC": True,
        "grid": {"left": 8, "right": 16, "top": 34 if legend or unit else 12, "bottom": bottom, "containLabel": True},
        "legend": {
            "show": legend,
            "type": "scroll",
            "top": 0,
            "left": 72 if unit else 8,  # beside the axis' name
            "right": 8,
            "itemWidth": 18,
            "itemHeight": 8,
        },
        "tooltip": {
            "trigger": "axis",
            "valueFormatter": f"%,.{places}f",
            "confine": True,
            "transitionDuration": 0,
            "axisPointer": {"animation": False},
        },
        "xAxis": {"type": "time"},
        "yAxis": {
            "type": "value",
            "scale": True,
            "name": unit,
            "nameLocation": "end",
            "nameTextStyle": {"align": "left", "padding": [0, 0, 0, -20]},
            "axisLabel": {"hideOverlap": True},
        },
        "series": [],
    }


def line(name: str, data: Sequence[Any], color: str, *, dash: str = "solid", width: float = 1.6, **more: Any) -> Option:
    """A curve; `more` is ECharts' own."""
    return {
        "type": "line",
        "name": name,
        "data": list(data),
        "showSymbol": len(data) <= POINTS_SEEN,
        "symbolSize": 4,
        "color": color,
        "lineStyle": {"width": width, "type": dash},
        "emphasis": {"disabled": True},
        **more,
    }


def equity(
    series: Mapping[str, Sequence[Row]], unit: str, end: int | None, family: Iterable[str] | None = None
) -> Option:
    """Equity over time, as steps: between two marks nothing changed, nor from the last one to `end`.

    family:  the names that share out the colors, so that a desk keeps its own when it is shown among fewer.
    """
    return _as_steps(curves(series, unit, family=family), end)


def curves(
    series: Mapping[str, Sequence[Row]], unit: str, places: int = 2, *, family: Iterable[str] | None = None
) -> Option:
    """Several curves over the same time."""
    chart = time_chart(unit, places, legend=len(series) > 1)
    names = list(series if family is None else family)
    color, dash = colors(names), dashes(names)
    chart["series"] = [line(name, points(rows), color[name], dash=dash[name]) for name, rows in series.items()]
    return chart


def below_zero(rows: Sequence[Row], end: int | None) -> Option:
    """A drawdown in percent: how far below, filled."""
    chart = time_chart("", 2)
    chart["yAxis"] |= {"max": 0}
    chart["series"] = [line("drawdown", points(rows), DOWN, areaStyle={"opacity": 0.15})]
    return _as_steps(chart, end)


def _as_steps(chart: Option, end: int | None) -> Option:
    for drawn in chart["series"]:
        drawn["step"] = "end"
        if end is not None and drawn["data"]:
            drawn["data"].append([milliseconds(end), drawn["data"][-1][1]])
    return chart


def at(chart: Option, ts: int) -> Option:
    """The chart with a line at a moment."""
    line_at = {"symbol": "none", "silent": True, "animation": False, "label": {"show": False}}
    mark = {**line_at, "lineStyle": {"type": "solid", "color": QUIET}, "data": [{"xAxis": milliseconds(ts)}]}
    chart["series"][0] = {**chart["series"][0], "markLine": mark}
    return chart


def count_from_zero(chart: Option) -> None:
    """Let a chart over the time since some beginning show no year, but hours, and before them the first day, the
    second and so on where there is more than one.
    """
    ends = [point[0] for drawn in chart["series"] for point in drawn["data"][-1:]]
    is_long = max(ends, default=0.0) >= _DAY_MS
    chart["xAxis"]["axisLabel"] = {
        "formatter": "day {d}, {HH}:{mm}" if is_long else "{HH}:{mm}:{ss}",
        "hideOverlap": True,
    }


def candlesticks(rows: Sequence[Row], unit: str, places: int) -> Option:
    """Bars of trades and, below, their volume."""
    chart = time_chart(unit, places, legend=True)
    data = [
        [milliseconds(row["ts"]), row["open"], row["close"], row["low"], row["high"]] for row in rows
    ]  # ECharts' order
    chart["series"] = [
        {
            "type": "candlestick",
            "name": "price",
            "data": data,
            "itemStyle": {"color": UP, "borderColor": UP, "color0": DOWN, "borderColor0": DOWN},
            "barMaxWidth": 9,
        }
    ]
    return chart


def marks(name: str, data: Sequence[tuple[int, float, str]], symbol: str, color: str, *, turn: int = 0) -> Option:
    """Single moments on a chart: (ts, height, what to say on hover)."""
    return {
        "type": "scatter",
        "name": name,
        "symbol": symbol,
        "symbolSize": 11,
        "symbolRotate": turn,
        "itemStyle": {"color": color, "borderColor": "#ffffff", "borderWidth": 1},
        "data": [{"value": [milliseconds(ts), height], "name": text} for ts, height, text in data],
        "tooltip": {"trigger": "item", "formatter": "{b}", "extraCssText": "white-space: pre-line; text-align: left"},
        "z": 5,
    }


def band(rows: Sequence[Row], unit: str, places: int = 2) -> Option:
    """A mean with its lowest and highest value around it."""
    chart = time_chart(unit, places, legend=True)
    chart["series"] = [
        line("highest", points(rows, "high"), DOWN, width=1, dash="dotted"),
        line("mean", points(rows, "mean"), UP),
        line("lowest", points(rows, "low"), QUIET, width=1, dash="dotted"),
    ]
    return chart


def columns(rows: Sequence[Row], value: str) -> Option:
    """An amount in each stretch of time, from zero up."""
    chart = time_chart("", 4)
    chart["yAxis"] |= {"scale": False, "splitNumber": 2}
    chart["series"] = [
        {"type": "bar", "name": value, "data": points(rows, value), "itemStyle": {"color": QUIET}, "barMaxWidth": 6}
    ]
    return chart


def bars(names: Sequence[str], values: Sequence[float], unit: str, places: int) -> Option:
    """Amounts by name, gains and losses in their colors; lying, so that names can be read."""
    return {
        "animation": False,
        "grid": {"left": 8, "right": 24, "top": 8, "bottom": 8, "containLabel": True},
        "tooltip": {"trigger": "item", "valueFormatter": f"%,.{places}f"},
        "xAxis": {"type": "value", "name": unit, "nameLocation": "middle", "nameGap": 26},
        "yAxis": {"type": "category", "data": list(names), "inverse": True},
        "series": [
            {
                "type": "bar",
                "barMaxWidth": 18,
                "data": [{"value": value, "itemStyle": {"color": UP if value >= 0 else DOWN}} for value in values],
            }
        ],
    }
