"""The first page: how everybody is doing, at what prices, and what has just happened."""

import time

import streamlit as st

from apps import figures
from apps.dashboard import charts
from apps.dashboard.heading import CARDS_EVERY_S, CHARTS_EVERY_S
from apps.dashboard.markup import (
    Column,
    Markup,
    box,
    card,
    cards,
    empty,
    html,
    named,
    sparkline,
    table,
    title,
    tone_of,
    toned,
)
from apps.dashboard.palette import QUIET, colors
from apps.dashboard.status import status_cell
from apps.memory import market_questions, questions
from apps.memory.run_memory import Row, RunMemory, currency

SPARK_POINTS = 60
FILLS_SHOWN = 12
PRICES_SHOWN = 8
STALE_AFTER_S = 5.0
"""Age of a symbol's latest tick after which a live page speaks of it."""


def page(run: RunMemory) -> None:
    """Cards and tables twice a second, the chart once: each redrawn on its own."""
    every = (CARDS_EVERY_S, CHARTS_EVERY_S) if run.is_growing else (None, None)

    @st.fragment(run_every=every[0])
    def numbers() -> None:
        run.look()
        st.html(box(_cards(run), _leaderboard(run), _prices(run)))

    @st.fragment(run_every=every[1])
    def curves() -> None:
        run.look()
        series = questions.equity_curves(run)
        st.html(box(title("Equity", f"{currency(run)}, highs and lows kept")))
        if series:
            end = (questions.span(run) or (None, None))[1]
            chart = charts.equity(series, currency(run), end)
            st.echarts_chart(chart, height=300, key="chart-equity", alt="Equity of every desk")

    @st.fragment(run_every=every[0])
    def news() -> None:
        run.look()
        fills = f"<div>{title('Newest fills')}{_fills(run)}</div>"
        feed = f"<div>{title('Feed', 'how each symbol is doing')}{_feed(run)}</div>"
        st.html(box(f'<div class="w-two">{fills}{feed}</div>'))

    numbers()
    curves()
    news()


def _cards(run: RunMemory) -> Markup:
    board = questions.leaderboard(run)
    known = [row["equity"] for row in board if row["equity"] is not None]
    pnl = sum(row["pnl"] for row in board if row["pnl"] is not None)
    fills, unit = sum(row["fills"] for row in board), currency(run)
    stopped = [row["name"] for row in board if row["status"] != "ok"]
    unknown = f", {len(board) - len(known)} of unknown equity left out" if len(known) < len(board) else ""
    return cards(
        [
            card("Total equity", figures.money(sum(known)), unit, figures.several(len(board), "desk") + unknown),
            card("P&L after fees", figures.signed(pnl), unit, _best(board), tone_of(float(pnl))),
            card(
                "Fills",
                figures.count(fills),
                detail=f"{figures.money(sum(row['fees'] for row in board))} {unit} fees, "
                f"{sum(row['rejected'] for row in board):,} signals refused",
            ),
            card(
                "Open positions",
                figures.count(sum(row["open_positions"] for row in board)),
                detail=f"{len(stopped)} stopped: {', '.join(stopped)}" if stopped else "no strategy was stopped",
                tone="warn" if stopped else "",
            ),
            _feed_card(run),
        ]
    )


def _best(board: list[Row]) -> str:
    return f"{board[0]['name']} leads with {figures.signed(board[0]['roi_pct'])} %" if board else ""


def _feed_card(run: RunMemory) -> Markup:
    feed, last = market_questions.connections(run), market_questions.last_heard(run)
    detail = f"{max(feed['connects'] - 1, 0)} reconnects, {feed['gaps']} gaps, {feed['checksums']} bad checksums"
    if not run.is_growing:
        return card("Market data", f"{_ticks(run):,}", "ticks", detail)
    if feed["latest"] == "disconnected":
        return card("Market data", "disconnected", "", detail, "down")
    age = None if last is None else max(0, time.time_ns() - last)
    if run.manifest is not None and run.manifest.kind == "replay":
        return card("Market data", figures.clock(last), "UTC", detail)
    late = age is not None and age > STALE_AFTER_S * 1e9
    return card("Last tick", figures.duration(age), "ago", detail, "warn" if late else "")


def _ticks(run: RunMemory) -> int:
    """How many the run has had; what was killed never came to say so."""
    return run.manifest.ticks if run.manifest and run.manifest.ticks else market_questions.ticks_known(run)


def _leaderboard(run: RunMemory) -> Markup:
    board = questions.leaderboard(run)
    if not board:
        return empty("No desk has opened yet.", "The first tick of the tape opens them; this page follows by itself.")
    curves = questions.equity_curves(run, points=SPARK_POINTS)
    color, unit = colors(row["name"] for row in board), currency(run)
    columns = (
        Column("strategy"),
        Column("equity over time"),
        Column("equity", unit, True),
        Column("P&L", unit, True),
        Column("ROI", "%", True),
        Column("fees", unit, True),
        Column("fills", "", True),
        Column("win rate", "%", True),
        Column("drawdown", "%", True),
        Column("open", "", True),
        Column("status"),
    )
    rows = [
        (
            named(row["name"], color[row["name"]]),
            sparkline([point["value"] for point in curves.get(row["name"], [])], color[row["name"]]),
            figures.money(row["equity"]),
            toned(figures.signed(row["pnl"]), tone_of(row["pnl"])),
            toned(figures.signed(row["roi_pct"]), tone_of(row["roi_pct"])),
            figures.money(row["fees"]),
            figures.count(row["fills"]),
            figures.percent(row["win_rate"]),
            figures.fixed(row["max_drawdown_pct"], 2),
            figures.count(row["open_positions"]),
            status_cell(row["status"], run.status),
        )
        for row in board
    ]
    return Markup(title("Leaderboard") + '<div id="leaderboard">' + table(columns, rows) + "</div>")


def _prices(run: RunMemory) -> Markup:
    found = list(market_questions.prices(run))
    if not found:
        return Markup("")
    places = market_questions.price_places(run)
    sparks: dict[str, list[float]] = {}
    for point in market_questions.price_sparks(run, SPARK_POINTS):
        sparks.setdefault(point["name"], []).append(point["value"])
    found.sort(key=lambda row: -row["trades"])
    shown = [_price(row, places.get(row["symbol"], 2), sparks.get(row["symbol"], [])) for row in found[:PRICES_SHOWN]]
    if len(found) > PRICES_SHOWN:
        more = f"and {figures.several(len(found) - PRICES_SHOWN, 'symbol')} that traded less: see Market"
        shown.append(toned(more, "quiet"))
    return Markup(f'<div class="w-strip" style="margin-top:.9rem">{"".join(shown)}</div>')


def _price(row: Row, places: int, spark: list[float]) -> Markup:
    change = (row["price"] / row["opening"] - 1) * 100 if row["price"] and row["opening"] else None
    spread = (row["ask"] - row["bid"]) if row["bid"] and row["ask"] else None
    bps = spread / (row["ask"] + row["bid"]) * 20_000 if spread is not None else None
    quote = row["symbol"].partition("/")[2]
    apart = f" · spread {figures.fixed(spread, places)} = {figures.short(bps)} bps" if spread is not None else ""
    return Markup(
        f'<div class="w-card"><div class="label">{html(row["symbol"])}</div>'
        f'<div style="display:flex;justify-content:space-between;align-items:center;gap:.5rem">'
        f'<div class="value" style="font-size:1.15rem">{figures.fixed(row["price"], places)}'
        f"<small>{html(quote)}</small></div>"
        f"{sparkline(spark, QUIET, 80, 22)}</div>"
        f'<div class="detail">{toned(figures.signed(change) + " %", tone_of(change))}{apart}</div></div>'
    )


def _fills(run: RunMemory) -> Markup:
    found = questions.newest_fills(run, FILLS_SHOWN)
    if not found:
        return empty("No fills yet.", "Strategies trade when their trigger fires and their order has arrived.")
    places = market_questions.price_places(run)
    color = colors(row["name"] for row in questions.leaderboard(run))
    columns = (
        Column("time", "UTC"),
        Column("strategy"),
        Column("side"),
        Column("symbol"),
        Column("quantity", "", True),
        Column("price", "", True),
        Column("P&L", "", True),
        Column("reason"),
    )
    rows = [
        (
            figures.clock(row["ts"]),
            named(row["strategy"], color.get(row["strategy"], QUIET)),
            row["side"],
            row["symbol"],
            figures.quantity(row["quantity"]),
            figures.fixed(row["price"], places.get(row["symbol"], 2)),
            toned(figures.signed(row["realized"], 4), tone_of(row["realized"])),
            row["reason"] or "",
        )
        for row in found
    ]
    return Markup('<div id="fills">' + table(columns, rows) + "</div>")


def _feed(run: RunMemory) -> Markup:
    found = market_questions.feed_health(run)
    if not found:
        return empty("No market data.", run.tape.problem or "Nothing has arrived yet.")
    now = time.time_ns()
    reconnects = figures.count(max(market_questions.connections(run)["connects"] - 1, 0))  # there is one connection
    columns = (
        Column("symbol"),
        Column("last tick", "ago" if _is_live(run) else "UTC", True),
        Column("reconnects", "", True),
        Column("gaps", "", True),
        Column("checksums", "wrong", True),
        Column("stale", "", True),
        Column("crossed", "", True),
    )
    rows = [
        (
            row["symbol"],
            _age(now - row["last_ts"]) if _is_live(run) else figures.clock(row["last_ts"]),
            toned(reconnects, "quiet"),
            *(
                toned(figures.count(row[name]), "warn" if row[name] else "quiet")
                for name in ("gaps", "checksums", "stale", "crossed")
            ),
        )
        for row in found
    ]
    unheard = sorted(set(_asked_for(run)) - {row["symbol"] for row in found})
    rows += [
        (symbol, toned("never", "warn"), toned(reconnects, "quiet"), *[toned("0", "quiet")] * 4) for symbol in unheard
    ]
    return table(columns, rows)


def _asked_for(run: RunMemory) -> list[str]:
    """The symbols of a session, heard of or not."""
    return run.manifest.feed.symbols if run.manifest is not None and run.manifest.feed is not None else []


def _is_live(run: RunMemory) -> bool:
    return run.is_growing and run.manifest is not None and run.manifest.kind == "live"


def _age(ns: int) -> Markup:
    return toned(figures.duration(max(0, ns)), "warn" if ns > STALE_AFTER_S * 1e9 else "")
