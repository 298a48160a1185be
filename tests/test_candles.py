"""Candles: every interval has exactly one, in order, whoever looks and whenever."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.candles import CANDLES_KEPT, Candle, CandleSeries

Trades = list[tuple[int, int, int]]
LENGTH = 10
trades = st.lists(st.tuples(st.integers(0, 25), st.integers(90, 110), st.integers(1, 5)), min_size=1, max_size=40)


def series_of(gaps: Trades, looks: set[int] = frozenset()) -> tuple[CandleSeries, int]:  # type: ignore[assignment]
    """A series fed with trades (gap, price, size); before those in `looks` somebody asks for candles."""
    series, ts = CandleSeries(LENGTH), 1_003
    for i, (gap, price, size) in enumerate(gaps):
        ts += gap
        if i in looks:
            series.advance(ts - gap // 2)
        series.take(ts, float(price), float(size))
        if i + 1 in looks:
            series.advance(ts)
    series.advance(ts)
    return series, ts


def expected(gaps: Trades) -> list[Candle]:
    """The closed candles, made slowly: all trades by interval, then every interval from the first to the last."""
    by_start: dict[int, Trades] = {}
    ts = 1_003
    for gap, price, size in gaps:
        ts += gap
        by_start.setdefault(ts // LENGTH * LENGTH, []).append((ts, price, size))
    found, close = [], 0.0
    for start in range(min(by_start), ts // LENGTH * LENGTH, LENGTH):
        inside = by_start.get(start, [])
        prices = [float(price) for _, price, _ in inside] or [close]
        close = prices[-1]
        found.append(Candle(start, prices[0], max(prices), min(prices), close, float(sum(size for *_, size in inside))))
    return found


@given(trades)
def test_candles_agree_with_those_made_slowly(gaps: Trades) -> None:
    series, _ = series_of(gaps)

    assert list(series.closed(CANDLES_KEPT, 0)) == expected(gaps)


@given(trades, st.sets(st.integers(0, 40)))
def test_looking_at_candles_early_changes_none_of_them(gaps: Trades, looks: set[int]) -> None:
    looked_at, _ = series_of(gaps, looks)

    assert looked_at.closed(CANDLES_KEPT, 0) == series_of(gaps)[0].closed(CANDLES_KEPT, 0)


def test_the_first_trade_after_a_look_opens_the_interval_it_falls_into() -> None:
    series = CandleSeries(LENGTH)
    series.take(1, 100.0, 1.0)
    series.advance(11)
    series.take(12, 90.0, 1.0)
    series.advance(20)

    assert series.closed(1, 0) == (Candle(10, 90.0, 90.0, 90.0, 90.0, 1.0),)


def test_before_the_first_trade_there_are_no_candles() -> None:
    series = CandleSeries(LENGTH)

    series.advance(1_000)

    assert series.closed(10, 0) == ()


def test_an_interval_without_trades_has_a_flat_candle() -> None:
    series, _ = series_of([(0, 100, 1), (30, 105, 1)])

    assert [(bar.ts, bar.open, bar.close, bar.volume) for bar in series.closed(9, 0)] == [
        (1_000, 100.0, 100.0, 1.0),
        (1_010, 100.0, 100.0, 0.0),
        (1_020, 100.0, 100.0, 0.0),
    ]


def test_a_trade_on_the_boundary_belongs_to_the_interval_that_begins() -> None:
    series, _ = series_of([(0, 100, 1), (7, 105, 1), (10, 106, 1)])

    assert [(bar.ts, bar.close) for bar in series.closed(9, 0)] == [(1_000, 100.0), (1_010, 105.0)]


def test_a_trade_that_reaches_us_late_opens_no_second_candle() -> None:
    series, _ = series_of([(0, 100, 1), (10, 90, 1), (0, 100, 1), (10, 95, 1)])

    starts = [bar.ts for bar in series.closed(9, 0)]
    assert all(after - before == LENGTH for before, after in pairwise(starts))


def test_a_thousand_candles_are_kept_however_long_the_silence() -> None:
    series = CandleSeries(LENGTH)
    series.take(5, 100.0, 1.0)
    series.advance(10**9)

    kept = series.closed(CANDLES_KEPT, 0)

    assert len(kept) == CANDLES_KEPT and kept[-1].ts == 10**9 - LENGTH


def test_what_a_candle_says_about_itself() -> None:
    bar = Candle(0, 100.0, 110.0, 95.0, 98.0, 2.0)

    assert (bar.range, bar.body_size, bar.is_bullish) == (15.0, 2.0, False)
