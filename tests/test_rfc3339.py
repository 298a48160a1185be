"""Times as venues print them become whole nanoseconds, and nothing else does."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.venues.rfc3339 import parse_ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("2026-07-19T17:54:39.799885Z", 1_784_483_679_799_885_000),
        ("2026-09-30T02:39:59.4104Z", 1_790_735_999_410_400_000),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
    ],
)
def test_a_time_is_read_to_the_nanosecond(text: str, ns: int) -> None:
    assert parse_ns(text) == ns


@given(st.datetimes(min_value=datetime(1678, 1, 1), max_value=datetime(2261, 12, 31)), st.integers(0, 9), st.data())
def test_a_time_agrees_with_datetime_whatever_its_fraction(moment: datetime, digits: int, data: st.DataObject) -> None:
    fraction = data.draw(st.text("0123456789", min_size=digits, max_size=digits))
    whole = moment.replace(microsecond=0, tzinfo=UTC)
    text = whole.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "Z"

    ns = parse_ns(text)

    assert ns == int(whole.timestamp()) * 1_000_000_000 + int((fraction + "0" * 9)[:9])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        ".",
        "2026-07-19",
        "2026-07-19T17:54:39",
        "2026-07-19T17:54:39.Z",
        "2026-07-19T17:54:39.1234567890Z",
        "2026-07-19T17:54:39.1_0Z",
        "2026-07-19T17:54:39.+1Z",
        "2026-07-19T17:54:39.٣Z",
        "2026-07-19T17:54:39.5+00:00",
        "2026-07-19T17:54:39Z.5Z",
        "2026-07-19 17:54:39.5Z",
        "2026-02-30T00:00:00Z",
        "2026-W29-7T00:00:00Z",
        "2026-07-19T24:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-01-01T00:00:00Z",
    ],
)
def test_what_is_not_a_time_in_utc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|month|day"):
        parse_ns(text)


@given(st.text(max_size=40))
def test_no_text_does_worse_than_a_value_error(text: str) -> None:
    try:
        parse_ns(text)
    except ValueError:
        return
    assert text.endswith("Z")
