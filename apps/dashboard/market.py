"""The page of the market: prices, spreads, the book at a moment, what the feed did, how good the tape is."""

import json

import streamlit as st

from apps import figures
from apps.dashboard import charts
from apps.dashboard.explaining import trades_table
from apps.dashboard.heading import CHARTS_EVERY_S
from apps.dashboard.ladder import ladder
from apps.dashboard.markup import Column, Markup, box, empty, table, title, toned
from apps.dashboard.moment import slide
from apps.dashboard.picking import pick
from apps.memory import market_questions
from apps.memory.run_memory import RunMemory
from recorder.problems import Problem
from recorder.tape import Tape

DEPTH = 10
TRADES = 14
FEED_ROWS = 40


def page(run: RunMemory) -> None:
    """One symbol, chosen at the top and in the address."""
    names = market_questions.symbols(run)
    if not names:
        reason = run.tape.problem or "Nothing has arrived yet; this page follows by itself."
        st.html(box(empty("There is no market data.", reason)))
        return
    symbol = pick("Symbol", names, "symbol")
    if run.tape.progress < 1:
        st.progress(run.tape.progress, "Reading the tape: charts fill up as it goes.")

    @st.fragment(run_every=CHARTS_EVERY_S if run.is_growing else None)
    def curves() -> None:
        run.look()
        _curves(run, symbol)

    @st.fragment(run_every=CHARTS_EVERY_S if run.is_growing else None)
    def feed() -> None:
        run.look()
        left, right = st.columns([3, 2], gap="medium")
        left.html(box(title("Feed", f"its last {FEED_ROWS} rows"), _feed(run)))
        right.html(box(title("Tape quality passport", "sealed parts"), _passport(run)))

    curves()
    _at_a_moment(run, symbol)
    feed()


def _curves(run: RunMemory, symbol: str) -> None:
    places, quote = market_questions.price_places(run).get(symbol, 2), symbol.partition("/")[2]
    bars = market_questions.candles(run, symbol)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.html(box(title("Price", f"{quote}, bars of {figures.duration(bars[0]['width'])}" if bars else "")))
        if bars:
            chart = charts.candlesticks(bars, "", places)
            st.echarts_chart(chart, height=280, key="chart-price", alt=f"Price of {symbol}")
        else:
            st.html(box(empty("No trades yet.", "Quotes alone have no bars.")))
    with right:
        st.html(box(title("Spread", "bps of the middle")))
        spreads = market_questions.spreads(run, symbol)
        if spreads:
            st.echarts_chart(charts.band(spreads, ""), height=170, key="chart-spread", alt=f"Spread of {symbol}")
        st.html(box(title("Volume", symbol.partition("/")[0])))
        chart = charts.columns(bars, "volume")
        st.echarts_chart(chart, height=110, key="chart-volume", alt=f"Volume of {symbol}")


def _at_a_moment(run: RunMemory, symbol: str) -> None:
    """A slider of its own: to move it redraws no chart."""

    @st.fragment
    def at() -> None:
        first, last = market_questions.heard(run)
        st.html(box(title("Book and trades at a moment", "UTC; move the knob")))
        ts = slide("Moment", first, last, last, f"market {run.path}")
        places = market_questions.price_places(run).get(symbol, 2)
        left, right = st.columns(2, gap="medium")
        left.html(box(ladder(market_questions.book_at(run, symbol, ts, DEPTH), places)))
        right.html(box(trades_table(market_questions.trades_before(run, symbol, ts, TRADES), places)))

    at()


def _feed(run: RunMemory) -> Markup:
    found = market_questions.feed_rows(run, FEED_ROWS)
    if not found:
        return empty("The feed has said nothing.", "Connections, gaps, checksums and instruments appear here.")
    columns = (Column("time", "UTC"), Column("symbol"), Column("event"), Column("detail"))
    rows = [
        (
            figures.clock(row["ts"]),
            row["symbol"] or "all",
            toned(row["event"], "warn" if row["event"] in market_questions.TROUBLE else ""),
            toned(_detail(row["note"]), "quiet"),
        )
        for row in found
    ]
    return table(columns, rows, wide=frozenset({3}))


def _detail(note: str) -> str:
    parts = json.loads(note)
    return ", ".join(f"{name} {value}" for name, value in parts.items() if name not in ("event", "symbol"))


def _passport(run: RunMemory) -> Markup:
    """What is on the tape's sealed parts and what went wrong on the way there."""
    try:
        tape = Tape.open(run.tape.files)
    except Problem as problem:
        return empty("No part of the tape is sealed yet." if run.is_growing else "The tape is not there.", str(problem))
    passport = tape.passport
    skew = passport.skew_ms
    facts = {
        "ticks": f"{tape.rows:,} in {passport.frames:,} frames",
        "kinds": ", ".join(f"{name} {count:,}" for name, count in passport.kinds.items() if count),
        "from": f"{figures.moment(tape.start)} UTC",
        "for": figures.duration(tape.end - tape.start),
        "source": tape.headers[0].source,
        "times": f"{passport.time_source}; the clock stepped back {figures.several(passport.clock_reversals, 'time')}",
        "checksums": f"{passport.checksum_ok:,} right, {passport.checksum_failed:,} wrong",
        "gaps": f"{passport.gaps:,} in sequence, {figures.several(passport.reconnects, 'reconnect')}",
        "odd": f"{passport.unparsed:,} unparsed, {passport.duplicates:,} duplicate, {passport.crossed:,} crossed",
        "silence": f"{passport.longest_silence_s:.3f} s at the longest",
        "skew": f"p50 {skew.p50:.1f} ms, p99 {skew.p99:.1f} ms, most {skew.max:.1f} ms" if skew else "not known",
        "identity": tape.identity[:16],
    }
    return table((Column(""), Column("")), facts.items(), wide=frozenset({1}))
