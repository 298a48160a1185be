"""A moment of a run that is chosen on a slider, and its way into the address."""

from datetime import UTC, datetime, timedelta

import streamlit as st

_NS = 1_000_000_000
_DAY_NS = 86_400 * _NS
_STEPS = 1_000
_DIGITS = 20


def from_address(first: int, last: int) -> int | None:
    """The moment that the address names, ns UTC, if it is within the run."""
    ts = whole(st.query_params.get("t", ""))
    return min(max(ts, first), last) if ts is not None else None


def whole(text: str) -> int | None:
    """The number in an address, which anybody may have changed; None where it is no number of up to 19 digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else None


def slide(label: str, first: int, last: int, value: int, key: str) -> int:
    """The moment under the slider's knob, ns UTC; `value` unless the knob was moved."""
    if last <= first:
        return value
    step = max((last - first) // _STEPS, _NS // 10)
    chosen = st.slider(
        label,
        _shown(first),
        _shown(last),
        _shown(min(max(value, first), last)),
        step=timedelta(microseconds=step // 1000),
        format="HH:mm:ss" if last - first < _DAY_NS else "MMM D, HH:mm",
        key=key,
        label_visibility="collapsed",
    )
    assert isinstance(chosen, datetime)
    # The knob knows microseconds; where it was not moved, the moment keeps its nanoseconds.
    return value if chosen == _shown(value) else _ns(chosen)


def _shown(ts: int) -> datetime:
    # Streamlit shows what it is given in the zone it is given, so the zone is left out: it is always UTC.
    return datetime.fromtimestamp(ts // _NS, UTC).replace(tzinfo=None, microsecond=ts % _NS // 1000)


def _ns(moment: datetime) -> int:
    since = moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * _NS + since.microseconds * 1000
