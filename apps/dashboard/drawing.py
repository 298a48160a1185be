"""Charts as SVG, for a page that must live without a script: lines, steps and marks over time."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from apps.dashboard.markup import Markup, html

Point = tuple[int, float]  # ns UTC, height

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 26, 24
_NS = 1_000_000_000
_TIME_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 604800)


class Line(NamedTuple):
    """A curve; `is_steps` where nothing changes between two points."""

    name: str
    points: Sequence[Point]
    color: str
    dash: str = "solid"
    is_steps: bool = False
    is_filled: bool = False


class Marks(NamedTuple):
    """Triangles, up or down, each with what to say under the pointer."""

    name: str
    points: Sequence[tuple[int, float, str]]
    color: str
    is_up: bool


class _Frame(NamedTuple):
    """Where the chart's values are on the paper."""

    first: int
    last: int
    low: float
    high: float
    width: int
    height: int

    def x(self, ts: int) -> float:
        return _LEFT + (ts - self.first) / max(self.last - self.first, 1) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)


def chart(
    lines: Sequence[Line],
    marks: Sequence[Marks] = (),
    *,
    unit: str = "",
    places: int = 2,
    width: int = 1080,
    height: int = 260,
    end: int | None = None,
) -> Markup:
    """Curves and marks over the same time; steps go on to `end`. The scale begins where the values do."""
    times = [ts for line in lines for ts, _ in line.points] + [ts for mark in marks for ts, _, _ in mark.points]
    values = [value for line in lines for _, value in line.points]
    values += [value for mark in marks for _, value, _ in mark.points]
    if not values:
        return Markup("")
    low, high, step = _scale(min(values), max(values))
    frame = _Frame(min(times), max([*times, *([end] if end is not None else [])]), low, high, width, height)
    parts = [
        *_rows(frame, step, places),
        *_columns(frame),
        *(_curve(frame, line, end) for line in lines),
        *(part for mark in marks for part in _triangles(frame, mark)),
        _legend(
            [(line.name, line.color, line.dash) for line in lines] + [(m.name, m.color, "solid") for m in marks], width
        ),
        f'<text x="{_LEFT - 8}" y="14" class="soft" text-anchor="end">{html(unit)}</text>',
    ]
    names = ", ".join(line.name for line in lines)
    return Markup(f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html(names)}">{"".join(parts)}</svg>')


def _scale(low: float, high: float) -> tuple[float, float, float]:
    """From a round number below the lowest value to one above the highest, and the step between lines."""
    room = (high - low) or abs(high) * 0.001 or 1.0
    raw = room / 4
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= raw)
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    return bottom, top if top > bottom else bottom + step, step


def _rows(frame: _Frame, step: float, places: int) -> Iterable[str]:
    decimals = max(0, min(10, places if step >= 10.0**-places else math.ceil(-math.log10(step)) + 1))
    for number in range(round((frame.high - frame.low) / step) + 1):
        value = frame.low + number * step
        y = frame.y(value)
        yield f'<line x1="{_LEFT}" x2="{frame.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" class="soft" text-anchor="end">{value:,.{decimals}f}</text>'


def _columns(frame: _Frame) -> Iterable[str]:
    seconds = (frame.last - frame.first) / _NS
    step = next((step for step in _TIME_STEPS_S if seconds / step <= 8), _TIME_STEPS_S[-1]) * _NS
    form = "%H:%M:%S" if step < 60 * _NS else "%H:%M" if step < 86_400 * _NS else "%b %d"
    for ts in range(-(-frame.first // step) * step, frame.last + 1, step):
        text = f"{datetime.fromtimestamp(ts // _NS, UTC):{form}}"
        yield f'<text x="{frame.x(ts):.1f}" y="{frame.height - 6}" class="soft" text-anchor="middle">{text}</text>'


def _curve(frame: _Frame, line: Line, end: int | None) -> str:
    if not line.points:
        return ""
    known = list(line.points)
    if line.is_steps and end is not None:
        known.append((end, known[-1][1]))
    path = [f"M{frame.x(known[0][0]):.1f} {frame.y(known[0][1]):.1f}"]
    for ts, value in known[1:]:
        path.append(
            f"H{frame.x(ts):.1f}V{frame.y(value):.1f}" if line.is_steps else f"L{frame.x(ts):.1f} {frame.y(value):.1f}"
        )
    drawn = "".join(path)
    dash = {"dashed": ' stroke-dasharray="6 4"', "dotted": ' stroke-dasharray="2 3"'}.get(line.dash, "")
    curve = f'<path d="{drawn}" fill="none" stroke="{line.color}" stroke-width="1.6"{dash}/>'
    if not line.is_filled:
        return curve
    ground = frame.y(min(max(0.0, frame.low), frame.high))
    area = f"{drawn}V{ground:.1f}H{frame.x(known[0][0]):.1f}Z"
    return f'<path d="{area}" fill="{line.color}" opacity="0.15"/>{curve}'


def _triangles(frame: _Frame, marks: Marks) -> Iterable[str]:
    turn = 1 if marks.is_up else -1
    for ts, value, text in marks.points:
        x, y = frame.x(ts), frame.y(value)
        corners = f"{x:.1f},{y - 5 * turn:.1f} {x - 5:.1f},{y + 4 * turn:.1f} {x + 5:.1f},{y + 4 * turn:.1f}"
        yield f'<polygon points="{corners}" fill="{marks.color}" class="mark"><title>{html(text)}</title></polygon>'


def _legend(known: Sequence[tuple[str, str, str]], width: int) -> str:
    """Names from the right edge to the left, as far as there is room."""
    parts, right = [], width - _RIGHT
    for name, color, _ in reversed(known):
        right -= 8 * len(name) + 26
        if right < _LEFT + 40:
            break
        parts.append(f'<rect x="{right}" y="6" width="14" height="4" fill="{color}"/>')
        parts.append(f'<text x="{right + 19}" y="12" class="soft">{html(name)}</text>')
    return "".join(parts)


def points(rows: Iterable[Mapping[str, object]], value: str = "value") -> list[Point]:
    """Rows of a question as points; unknown values are left out."""
    return [(int(str(row["ts"])), float(str(row[value]))) for row in rows if row[value] is not None]
