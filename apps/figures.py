"""Numbers and times as people read them: the right precision, a sign where it matters, a dash for the unknown."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

UNKNOWN = "–"
_MINUS = "\N{MINUS SIGN}"

Number = int | float | Decimal | None


def fixed(value: Number, places: int) -> str:
    """With thousands apart and this many decimals, so that points stand below one another."""
    if value is None or value != value:
        return UNKNOWN
    return _typeset(f"{value:,.{places}f}")


def signed(value: Number, places: int = 2) -> str:
    """The same with its sign; what rounds to zero has none."""
    if value is None or value != value:
        return UNKNOWN
    text = f"{value:+,.{places}f}"
    return _typeset(text) if any(digit in "123456789" for digit in text) else text[1:]


def money(value: Number) -> str:
    """An amount of the desk's currency."""
    return fixed(value, 2)


def cents(value: Number) -> str:
    """An amount that is often below a cent, such as a fee."""
    return fixed(value, 4)


def count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def several(number: int, thing: str) -> str:
    """1 fill, 2 fills."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def percent(share: float | None) -> str:
    """A share of one."""
    return UNKNOWN if share is None else fixed(share * 100, 1)


def short(value: float | None) -> str:
    """To two or three digits that matter, for what may be large or tiny."""
    if value is None or value != value:
        return UNKNOWN
    return _typeset(f"{value:,.2f}" if abs(value) >= 1 else f"{value:.2g}")


def quantity(value: Number) -> str:
    """Base units to eight decimals, without zeros at the end."""
    if value is None:
        return UNKNOWN
    text = f"{value:,.8f}"
    return _typeset(text.rstrip("0").rstrip("."))


def aligned(values: Sequence[float | Decimal]) -> list[str]:
    """Quantities of one column: as many decimals as the one that needs most, at most eight."""
    texts = [f"{value:.8f}".rstrip("0").partition(".")[2] for value in values]
    places = max(map(len, texts), default=0)
    return [fixed(value, places) for value in values]


def clock(ts: int | None) -> str:
    """Time of day in UTC, to the millisecond."""
    return UNKNOWN if ts is None else f"{_utc(ts):%H:%M:%S}.{ts // 1_000_000 % 1000:03d}"


def moment(ts: int | None) -> str:
    """Date and time in UTC, to the second."""
    return UNKNOWN if ts is None else f"{_utc(ts):%Y-%m-%d %H:%M:%S}"


def duration(ns: int | None) -> str:
    """A length of time in its two largest units."""
    if ns is None:
        return UNKNOWN
    seconds = ns / 1e9
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def plain(value: Any) -> str:
    """Anything of a query in a table of its own."""
    match value:
        case None:
            return ""
        case Decimal():
            text = f"{value:,f}"
            return _typeset(text.rstrip("0").rstrip(".") if "." in text else text)
        case bool():
            return "yes" if value else "no"
        case float():
            return _typeset(f"{value:,.10g}")
        case _:
            return str(value)


def _utc(ts: int) -> datetime:
    return datetime.fromtimestamp(ts // 1_000_000_000, UTC)


def _typeset(text: str) -> str:
    return text.replace("-", _MINUS)
