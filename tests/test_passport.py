"""The quality passport: its counts, its quantiles, and that passports of parts add up to the passport of the whole."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ticks import Kind
from recorder.passport import Passport, PassportCollector, merge
from recorder.venues import Quality

MS = 1_000_000
SECOND = 1_000_000_000


class Seen(msgspec.Struct):
    """One row, as far as the passport looks at it."""

    ts: int
    kind: int = Kind.TRADE
    skew_ns: int | None = None
    framed: bool = True
    symbol: str | None = "BTC/USD"
    event: str | None = None


def passport_of(rows: list[Seen], quality: Quality | None = None, cut: int = 1000) -> Passport:
    """The passport of rows that come in groups of `cut`."""
    collector = PassportCollector()
    for start in range(0, len(rows), cut):
        group = rows[start : start + cut]
        collector.see(
            ts_recv=np.array([row.ts for row in group], dtype=np.int64),
            skew_ns=np.array([row.skew_ns for row in group if row.skew_ns is not None], dtype=np.int64),
            kind=np.array([row.kind for row in group], dtype=np.int8),
            framed=np.array([row.framed for row in group]),
            symbols=list(dict.fromkeys(row.symbol for row in group if row.symbol)),
            notes=[f'{{"event":"{row.event}"}}' for row in group if row.event],
        )
    return collector.passport(quality or Quality(), clock_reversals=0, time_source="received")


def feed(ts: int, event: str) -> Seen:
    """A feed row of our own: no frame brought it."""
    return Seen(ts=ts, kind=Kind.FEED, framed=False, symbol=None, event=event)


def test_passport_counts_rows_by_kind_frames_and_symbols():
    rows = [Seen(5), Seen(6, kind=Kind.BOOK, symbol="A/B"), Seen(6, kind=Kind.BOOK, symbol="A/B", framed=False)]

    passport = passport_of(rows)

    assert passport.kinds == {"other": 0, "trade": 1, "quote": 0, "book": 2, "feed": 0}
    assert (passport.rows, passport.frames, passport.symbols) == (3, 2, ["BTC/USD", "A/B"])
    assert (passport.start, passport.end) == (5, 6)


def test_decoder_counts_are_in_the_passport():
    passport = passport_of([Seen(1)], Quality(gaps=2, checksum_ok=7, unparsed=1))

    assert (passport.gaps, passport.checksum_ok, passport.checksum_failed, passport.unparsed) == (2, 7, 0, 1)


def test_empty_tape_has_a_passport_without_times():
    passport = passport_of([])

    assert (passport.rows, passport.start, passport.end, passport.skew_ms) == (0, None, None, None)


def test_skew_quantiles_are_within_one_percent_and_the_maximum_is_exact():
    skews_ms = np.random.default_rng(1).lognormal(3, 1.5, 5000)

    skew = passport_of([Seen(1, skew_ns=int(ms * MS)) for ms in skews_ms]).skew_ms

    assert skew is not None
    assert skew.p50 == pytest.approx(np.quantile(skews_ms, 0.5, method="inverted_cdf"), rel=0.01)
    assert skew.p99 == pytest.approx(np.quantile(skews_ms, 0.99, method="inverted_cdf"), rel=0.01)
    assert skew.max == int(skews_ms.max() * MS) / MS


def test_skew_is_negative_where_the_venue_is_ahead_of_our_clock():
    skew = passport_of([Seen(1, skew_ns=-40 * MS) for _ in range(99)] + [Seen(1, skew_ns=2 * MS)]).skew_ms

    assert skew is not None
    assert skew.p50 == pytest.approx(-40, rel=0.01)
    assert skew.max == 2


def test_clock_rows_do_not_break_a_silence():
    rows = [Seen(0), feed(SECOND, "clock"), feed(2 * SECOND, "clock"), Seen(int(2.5 * SECOND)), Seen(3 * SECOND)]

    assert passport_of(rows).longest_silence_s == 2.5


def test_connection_that_follows_a_loss_is_a_reconnect_and_the_last_goodbye_is_not():
    events = ["connected", "connected", "disconnected", "connected", "disconnected", "disconnected"]

    passport = passport_of([feed(i, event) for i, event in enumerate(events)])

    assert (passport.connects, passport.reconnects, passport.disconnects) == (2, 1, 2)
    assert passport.feed_events == {"connected": 3, "disconnected": 3}


def test_feed_row_whose_note_names_no_event_is_counted_as_unnamed():
    collector = PassportCollector()

    collector.see(
        ts_recv=np.array([1, 2]),
        skew_ns=np.array([], dtype=np.int64),
        kind=np.array([4, 4], dtype=np.int8),
        framed=np.array([False, False]),
        symbols=[],
        notes=["{}", "not JSON"],
    )

    assert collector.passport(Quality(), clock_reversals=0, time_source="").feed_events == {"unnamed": 2}


def test_merged_time_source_names_each_source_once():
    parts = [Passport(time_source=source) for source in ("received", "frames", "received")]

    assert merge(parts).time_source == "received; frames"


SEEN = st.builds(
    Seen,
    ts=st.integers(0, 10**12),
    kind=st.sampled_from([Kind.OTHER, Kind.TRADE, Kind.QUOTE, Kind.BOOK]),
    skew_ns=st.none() | st.integers(-(10**12), 10**15),
    framed=st.booleans(),
    symbol=st.sampled_from([None, "A/B", "C/D", "E/F"]),
)
EVENTS = st.builds(feed, st.integers(0, 10**12), st.sampled_from(["connected", "disconnected", "clock", "gap"]))


@given(
    rows=st.lists(SEEN | EVENTS, min_size=1, max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    group=st.integers(1, 50),
)
def test_passports_of_parts_add_up_to_the_passport_of_the_whole(rows: list[Seen], cuts: list[int], group: int):
    rows.sort(key=lambda row: row.ts)
    edges = [0, *sorted(cuts), len(rows)]
    parts = [rows[start:stop] for start, stop in pairwise(edges) if start < stop]

    merged = merge([passport_of(part, Quality(gaps=1), cut=group) for part in parts])

    assert merged == passport_of(rows, Quality(gaps=len(parts)))


@given(rows=st.lists(SEEN | EVENTS, min_size=1, max_size=40))
def test_passport_survives_json_and_a_merge_with_nothing(rows: list[Seen]):
    passport = passport_of(sorted(rows, key=lambda row: row.ts))

    assert msgspec.json.decode(msgspec.json.encode(passport), type=Passport) == passport
    assert merge([passport]) == passport
