"""RFC 3339 times in UTC, as the venues print them, to whole nanoseconds."""

import re
from datetime import UTC, date, datetime
from functools import lru_cache

_SECOND = re.compile(r"(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)\.", re.ASCII)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_YEARS = range(1678, 2262)
"""The whole years that int64 nanoseconds can hold."""
_DIGITS_MAX = 9
_SCALE = tuple(int(10 ** (_DIGITS_MAX - digits)) for digits in range(_DIGITS_MAX + 1))
"""Nanoseconds in a unit of the last digit, by number of digits."""


def parse_ns(text: str) -> int:
    """Nanoseconds since 1970 UTC of `text`, like `2026-07-19T17:54:39.799885Z`.

    The fraction has 0 to 9 digits: Kraken prints 6 or 9, Coinbase trims trailing zeros. `Z` is the only zone.
    A leap second counts as the first second after it, as Unix time has none.

    Raises ValueError for any other text, and for years which int64 nanoseconds cannot hold.
    """
    digits = text[20:-1]
    if digits.isdigit() and text.isascii() and text[-1] == "Z" and len(digits) <= _DIGITS_MAX:
        return _second_ns(text[:20]) + int(digits) * _SCALE[len(digits)]
    if text[19:] == "Z":
        return _second_ns(text[:19] + ".")
    raise ValueError(f"expected a time like 2026-07-19T17:54:39.799885Z, found {text[:40]!r}")


def format_us(ns: int) -> str:
    """`ns` since 1970 UTC with six digits of fraction, cut and not rounded, as Kraken prints its times."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{_second_text(seconds)}.{rest // 1_000:06d}Z"


@lru_cache(maxsize=1024)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


# Frames come in bursts within one second, and its text is the costly part: the cache makes a time 3 times cheaper.
@lru_cache(maxsize=1024)
def _second_ns(text: str) -> int:
    match = _SECOND.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a time like 2026-07-19T17:54:39.799885Z, found {text!r}")
    day_text, hour, minute, second = match.groups()
    day = date.fromisoformat(day_text)
    if day.year not in _YEARS:
        raise ValueError(f"expected a year from 1678 to 2261, found {day.year}")
    days = day.toordinal() - _EPOCH_DAY
    return (days * 86_400 + int(hour) * 3_600 + int(minute) * 60 + int(second)) * 1_000_000_000
