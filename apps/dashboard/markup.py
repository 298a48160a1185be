"""Tables, cards and small curves as HTML, which a page can replace twice a second without a flicker."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

from apps.dashboard.palette import QUIET

Tone = Literal["", "up", "down", "quiet", "warn"]


class Markup(str):
    """Text that is HTML already; any other is escaped."""

    __slots__ = ()


class Column(NamedTuple):
    """A column's heading, its unit, and whether it holds numbers: these stand right, their digits below one another."""

    heading: str
    unit: str = ""
    is_number: bool = False


_CONTROL_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
"""Control characters, which a page must not hold, as Unicode's pictures of them: a strategy's words may be anything."""

STYLE = Path(__file__).with_name("style.css")
"""Of everything here."""


def box(*parts: str) -> str:
    """What a page hands to `st.html`."""
    return f'<div class="w">{"".join(parts)}</div>'


def html(text: str) -> str:
    """Text as it is, unless it is Markup."""
    return text if isinstance(text, Markup) else escape(text.translate(_CONTROL_PICTURES))


def toned(text: str, tone: Tone) -> Markup:
    return Markup(f'<span class="w-{tone}">{html(text)}</span>' if tone else html(text))


def tone_of(value: float | None) -> Tone:
    """Blue for a gain, vermilion for a loss; its sign says the same."""
    return "" if not value else "up" if value > 0 else "down"


def title(text: str, detail: str = "") -> Markup:
    return Markup(f'<div class="w-title">{html(text)}<span>{html(detail)}</span></div>')


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], *, wide: frozenset[int] = frozenset()) -> Markup:
    """Rows of texts; the columns in `wide` may break their lines."""
    kinds = [
        " ".join(("n",) * column.is_number + ("wide",) * (number in wide)) for number, column in enumerate(columns)
    ]
    head = "".join(
        f'<th class="{kind}">{html(column.heading)}{_unit(column)}</th>'
        for kind, column in zip(kinds, columns, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{html(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    top = f"<thead><tr>{head}</tr></thead>" if any(column.heading for column in columns) else ""
    return Markup(f'<div class="w-scroll"><table>{top}<tbody>{body}</tbody></table></div>')


def _unit(column: Column) -> str:
    return f' <span class="unit">{html(column.unit)}</span>' if column.unit else ""


def card(label: str, value: str, unit: str = "", detail: str = "", tone: Tone = "") -> Markup:
    """One number with its name and its unit."""
    small = f"<small>{html(unit)}</small>" if unit else ""
    return Markup(
        f'<div class="w-card"><div class="label">{html(label)}</div>'
        f'<div class="value{f" w-{tone}" if tone else ""}">{html(value)}{small}</div>'
        f'<div class="detail">{html(detail) or "&nbsp;"}</div></div>'
    )


def cards(found: Iterable[str]) -> Markup:
    return Markup(f'<div class="w-cards">{"".join(found)}</div>')


def badge(text: str, tone: Tone = "") -> Markup:
    return Markup(f'<span class="w-badge{f" w-{tone}" if tone else ""}">{html(text)}</span>')


def dot(color: str) -> Markup:
    return Markup(f'<span class="w-dot" style="background:{color}"></span>')


def named(name: str, color: str) -> Markup:
    """A desk's name behind its color; a long one is cut, and whole under the pointer."""
    return Markup(f'{dot(color)}<span title="{html(name)}">{html(name)}</span>')


def empty(headline: str, advice: str) -> Markup:
    """In place of what is not there: why, and what to do next."""
    return Markup(f'<div class="w-empty"><b>{html(headline)}</b>{html(advice)}</div>')


def banner(text: str) -> Markup:
    """Something that the reader should know before the rest; what stands between backticks is to be typed."""
    parts = [code(part) if number % 2 else html(part) for number, part in enumerate(text.split("`"))]
    return Markup(f'<div class="w-banner">{"".join(parts)}</div>')


def code(text: str) -> Markup:
    return Markup(f"<code>{html(text)}</code>")


def sparkline(values: Sequence[float], color: str = QUIET, width: int = 110, height: int = 24) -> Markup:
    """A curve without axes: from its lowest to its highest value, whatever these are."""
    if len(values) < 2:
        return Markup("")
    low, high = min(values), max(values)
    scale = (height - 4) / (high - low) if high > low else 0.0
    step = (width - 2) / (len(values) - 1)
    base = height - 2 if scale else height / 2
    points = " ".join(f"{1 + step * at:.1f},{base - (value - low) * scale:.1f}" for at, value in enumerate(values))
    image = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"><polyline points="{points}" '
        f'fill="none" stroke="{color}" stroke-width="1.5" stroke-linejoin="round"/></svg>'
    )
    # As an image, because Streamlit takes drawings out of HTML.
    return Markup(f'<img class="w-spark" width="{width}" height="{height}" src="data:image/svg+xml,{quote(image)}">')
