"""The page that goes back: every desk, its orders and the book as they were at a moment, still or in motion."""

import streamlit as st

from apps import figures
from apps.dashboard import charts, moments
from apps.dashboard.ladder import ladder
from apps.dashboard.markup import Column, Markup, box, empty, named, table, title, tone_of, toned
from apps.dashboard.moment import from_address, slide
from apps.dashboard.palette import colors
from apps.dashboard.picking import pick
from apps.dashboard.strategy_tables import orders_table
from apps.memory import market_questions, questions
from apps.memory.run_memory import RunMemory, currency

SPEEDS = ("1×", "5×", "20×", "100×")
FRAME_S = 0.5
"""Between two pictures while it plays."""
DEPTH = 8
EVENTS = 12


def page(run: RunMemory) -> None:
    """The moment is the session's; while it stands still, the address has it too, to be sent to somebody."""
    known = questions.span(run)
    if known is None:
        st.html(box(empty("There is no past yet.", "The first tick opens the desks; from then on you can go back.")))
        return
    first, last = known
    key = f"moment {run.path}"
    if key not in st.session_state:
        st.session_state[key] = from_address(first, last) or first + (last - first) // 2
    left, right = st.columns([1, 3], vertical_alignment="center")
    if st.session_state.pop(f"over {key}", False):
        st.session_state["playing"] = False
    is_playing = left.toggle("Play", key="playing", value=False)
    with right:
        speed = st.segmented_control("Speed", SPEEDS, default="20×", key="speed", label_visibility="collapsed")
    factor = int((speed or "1×").rstrip("×"))

    @st.fragment(run_every=FRAME_S if is_playing else None)
    def picture() -> None:
        ts = st.session_state[key]
        if is_playing:
            # A slider keeps what it was told until it has another name: each picture has its own.
            ts = min(last, ts + round(FRAME_S * factor * 1e9))
            st.session_state[key] = ts
            if ts == last and not run.is_growing:
                st.session_state[f"over {key}"] = True
                st.rerun()
            st.progress((ts - first) / max(last - first, 1), f"{figures.moment(ts)} UTC, {speed}")
        else:
            ts = st.session_state[key] = slide("Moment", first, last, ts, f"slider {run.path}")
            st.query_params["t"] = str(ts)
        _picture(run, ts)

    picture()


def _picture(run: RunMemory, ts: int) -> None:
    chart = charts.at(charts.equity(questions.equity_curves(run), currency(run), None), ts)
    chart["grid"]["top"] = 34
    st.echarts_chart(chart, height=190, key="chart-then", alt="Equity of every desk, with a line at the moment")
    left, right = st.columns([3, 2], gap="medium")
    when = f"at {figures.clock(ts)} UTC"
    left.html(box(title("Desks", when), _desks(run, ts), title("Positions", when), _positions(run, ts)))
    left.html(box(title("Open orders", when), _orders(run, ts)))
    with right:
        names = market_questions.symbols(run)
        if names:
            symbol = names[0] if len(names) == 1 else pick("Symbol", names, "symbol")
            places = market_questions.price_places(run).get(symbol, 2)
            book = ladder(market_questions.book_at(run, symbol, ts, DEPTH), places)
            st.html(box(title("Book", f"{symbol} {when}"), book))
        st.html(box(title("What had just happened", "the newest first"), _events(run, ts)))


def _desks(run: RunMemory, ts: int) -> Markup:
    found, unit = moments.desks_at(run, ts), currency(run)
    if not found:
        return empty("No desk was open yet.", "Move the knob to the right.")
    color = colors(row["strategy"] for row in found)
    columns = (
        Column("strategy"),
        Column("equity", unit, True),
        Column("P&L", unit, True),
        Column("cash", unit, True),
        Column("fills", "", True),
    )
    rows = [
        (
            named(row["strategy"], color[row["strategy"]]),
            figures.money(row["equity"]),
            toned(figures.signed(row["pnl"], 4), tone_of(row["pnl"])),
            figures.money(row["cash"]),
            figures.count(row["fills"]),
        )
        for row in found
    ]
    return table(columns, rows)


def _positions(run: RunMemory, ts: int) -> Markup:
    found = moments.positions_at(run, ts)
    if not found:
        return empty("Nobody held anything.", "Cash only.")
    mids = {
        row["symbol"]: (row["bid"] + row["ask"]) / 2
        for row in market_questions.touch_at(run, ts)
        if row["bid"] and row["ask"]
    }
    places = market_questions.price_places(run)
    columns = (
        Column("strategy"),
        Column("symbol"),
        Column("side"),
        Column("quantity", "", True),
        Column("entry", "", True),
        Column("mid", "", True),
        Column("unrealized", "", True),
    )
    rows = []
    for row in found:
        mid, digits = mids.get(row["symbol"]), places.get(row["symbol"], 2)
        gain = row["position"] * mid - row["cost"] if mid is not None else None
        rows.append(
            (
                row["strategy"],
                row["symbol"],
                row["side"],
                figures.quantity(row["quantity"]),
                figures.fixed(row["entry_price"], digits),
                figures.fixed(mid, digits),
                toned(figures.signed(gain, 4), tone_of(gain)),
            )
        )
    return table(columns, rows)


def _orders(run: RunMemory, ts: int) -> Markup:
    found = moments.orders_at(run, ts)
    if not found:
        return empty("No order was open.", "None under way, none at rest.")
    return orders_table(found, market_questions.price_places(run), with_strategy=True)


def _events(run: RunMemory, ts: int) -> Markup:
    places = market_questions.price_places(run)
    columns = (Column("before", "", True), Column("strategy"), Column("event"), Column("what"))
    rows = []
    for row in moments.happened_before(run, ts, EVENTS):
        price = f" at {figures.fixed(row['price'], places.get(row['symbol'] or '', 2))}" if row["price"] else ""
        what = ": ".join(filter(None, (f"{row['side'] or ''} {row['symbol'] or ''}{price}".strip(), row["reason"])))
        rows.append((figures.duration(ts - row["ts"]), row["strategy"], row["type"], what))
    return table(columns, rows, wide=frozenset({3})) if rows else empty("Nothing yet.", "Move the knob to the right.")
