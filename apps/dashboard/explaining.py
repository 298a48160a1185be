"""One decision explained: what the strategy saw, what it wanted, what followed, and its neighbors."""

import json
import subprocess
import sys
from collections.abc import Mapping

import streamlit as st

from apps import figures
from apps.dashboard.ladder import ladder
from apps.dashboard.markup import Column, Markup, Tone, badge, box, empty, html, table, title, tone_of, toned
from apps.memory import decision_questions as asked
from apps.memory import market_questions
from apps.memory.run_memory import Row, RunMemory

DEPTH = 6
TRADES = 8
NEIGHBORS = 3
EXPLAIN_S = 300
WSPT = (sys.executable, "-c", "from apps.cli import main; main()")


def explain(run: RunMemory, strategy: str, seq: int) -> None:
    """The decision `seq` of a desk's ledger."""
    signal = asked.decision(run, strategy, seq)
    if signal is None:
        st.html(box(empty("That decision is not in this run.", "Choose another one above.")))
        return
    places = market_questions.price_places(run).get(signal["symbol"], 2)
    st.html(box(_headline(signal)))
    left, right = st.columns([2, 3], gap="medium")
    left.html(box(title("What it saw"), _seen(run, signal, places), title("What it wanted"), _wanted(signal, places)))
    right.html(box(title("What followed"), _followed(run, signal, places)))
    right.html(box(title("Decisions around it"), _neighbors(run, signal)))
    if run.status != "running":
        _made_again(run, strategy, seq)
    if run.tape.has_ticks:
        book, trades = st.columns([2, 3], gap="medium")
        levels = market_questions.book_at(run, signal["symbol"], signal["ts"], DEPTH)
        book.html(box(title("Book at that moment", signal["symbol"]), ladder(levels, places)))
        found = market_questions.trades_before(run, signal["symbol"], signal["ts"], TRADES)
        trades.html(box(title("Trades until then", "the newest first"), trades_table(found, places)))


def _made_again(run: RunMemory, strategy: str, seq: int) -> None:
    """`wspt explain` in a process of its own, as it runs the strategy: its state, its answer, the whole arithmetic."""
    with st.expander("Make this moment again: the strategy's state, its answer, the arithmetic of its fill"):
        if st.button("Replay up to this tick", key=f"again {strategy} {seq}"):
            with st.spinner("Replaying …"):
                said = subprocess.run(
                    [*WSPT, "explain", str(run.path), f"{strategy}-{seq}", "--event"],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=EXPLAIN_S,
                    check=False,
                )
            st.code(said.stdout or said.stderr, language=None)


def sized(signal: Row) -> str:
    """How much it wanted, and of what; nothing where that follows from what is held or rests."""
    base, _, quote = signal["symbol"].partition("/")
    return (
        f"{figures.quantity(signal['size'])} {quote if signal['size_in'] == 'quote' else base}"
        if signal["size"]
        else ""
    )


def trades_table(found: list[Row], places: int) -> Markup:
    """Trades of one symbol."""
    if not found:
        return empty("No trade before that.", "The tape begins later.")
    columns = (Column("time", "UTC"), Column("taker"), Column("price", "", True), Column("size", "", True))
    tones: dict[str, Tone] = {"buy": "up", "sell": "down"}
    sizes = figures.aligned([row["size"] for row in found])
    rows = [
        (
            figures.clock(row["ts"]),
            toned(row["side"] or "–", tones.get(row["side"], "")),
            figures.fixed(row["price"], places),
            size,
        )
        for row, size in zip(found, sizes, strict=True)
    ]
    return table(columns, rows)


def _headline(signal: Row) -> Markup:
    outcome = badge(f"✕ {signal['rejection']}", "down") if signal["rejected"] else badge("✓ carried out", "up")
    said = f"{signal['strategy']} · {figures.moment(signal['ts'])} UTC · event {signal['seq']}"
    return Markup(
        f'<div class="w-head"><span class="name">{html(signal["action"])} {html(signal["symbol"])}</span>{outcome}'
        f'<span class="w-quiet">{html(said)}</span></div><div>{html(signal["reason"] or "It gave no reason.")}</div>'
    )


def _facts(facts: Mapping[str, str]) -> Markup:
    return table((Column(""), Column("", "", True)), [(name, value) for name, value in facts.items() if value])


def _seen(run: RunMemory, signal: Row, places: int) -> Markup:
    """The tick in hand and the touch, and what the strategy said it was looking at."""
    facts: dict[str, str] = {}
    tick = asked.touch_before(run, signal["symbol"], signal["tick_seq"])
    if tick is not None:
        facts["tick"] = f"{tick['kind']}, seq {tick['seq']:,}"
        facts["bid"] = f"{figures.fixed(tick['bid'], places)} × {figures.quantity(tick['bid_size'])}"
        facts["ask"] = f"{figures.fixed(tick['ask'], places)} × {figures.quantity(tick['ask_size'])}"
        if tick["bid"] and tick["ask"]:
            spread = tick["ask"] - tick["bid"]
            bps = spread / (tick["ask"] + tick["bid"]) * 20_000
            facts["spread"] = f"{figures.fixed(spread, places)} = {figures.short(bps)} bps"
    for name, value in {**_json(signal["indicators"]), **_json(signal["metadata"])}.items():
        facts[f"its {name}" if name in facts else name] = figures.plain(value)
    return _facts(facts) if facts else empty("Nothing is known.", "The tape is not there, and no indicator was logged.")


def _wanted(signal: Row, places: int) -> Markup:
    prices = {
        name.replace("_", " "): figures.fixed(signal[name], places)
        for name in ("price", "limit_price", "stop_price", "stop_loss", "take_profit")
        if signal[name] is not None
    }
    wanted = {"action": signal["action"], "size": sized(signal)}
    return _facts({**wanted, "order": f"{signal['order_type']}, {signal['time_in_force']}", **prices})


def _followed(run: RunMemory, signal: Row, places: int) -> Markup:
    columns = (Column("time", "UTC"), Column("after", "", True), Column("event"), Column("what"))
    rows = [
        (
            figures.clock(row["ts"]),
            figures.duration(row["ts"] - signal["ts"]),
            row["type"],
            _said(row, places),
        )
        for row in asked.what_followed(run, signal["strategy"], signal["correlation_id"])
        if row["type"] != "SignalRaised"
    ]
    if not rows:
        return empty("Nothing yet.", "Its order is under way, or this signal asked for none.")
    return table(columns, rows, wide=frozenset({3}))


def _said(row: Row, places: int) -> Markup:
    """An event in words."""
    match row["type"]:
        case "OrderSubmitted":
            size = (
                figures.quantity(row["quantity"])
                if row["quantity"] is not None
                else f"for {figures.money(row['notional'])}"
            )
            limit = f" at {figures.fixed(row['limit_price'], places)}" if row["limit_price"] is not None else ""
            return Markup(
                html(f"{row['side']} {size}{limit}, {row['order_type']}, {row['purpose']} ({row['order_id']})")
            )
        case "OrderFilled":
            text = (
                f"{row['side']} {figures.quantity(row['quantity'])} at {figures.fixed(row['price'], places)} as "
                f"{row['liquidity']}, fee {figures.cents(row['fee'])}, realized "
            )
            realized = toned(figures.signed(row["realized"], 4), tone_of(row["realized"]))
            left = f"; left {figures.quantity(row['position'])} held and {figures.money(row['cash'])} cash"
            return Markup(html(text) + realized + html(left))
        case "StopTriggered":
            return Markup(html(f"{row['kind']} at {figures.fixed(row['level'], places)}"))
        case _:
            return Markup(html(row["reason"] or row["order_id"] or ""))


def _neighbors(run: RunMemory, signal: Row) -> Markup:
    columns = (Column("time", "UTC"), Column("action"), Column("symbol"), Column("reason"))
    rows = [
        (
            Markup(f"<b>{figures.clock(row['ts'])}</b>") if row["seq"] == signal["seq"] else figures.clock(row["ts"]),
            row["action"],
            row["symbol"],
            f"{row['reason'] or ''}{' ✕ ' + row['rejection'] if row['rejection'] else ''}",
        )
        for row in asked.neighbors(run, signal["strategy"], signal["seq"], NEIGHBORS)
    ]
    return table(columns, rows, wide=frozenset({3}))


def _json(text: str | None) -> dict[str, object]:
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {"logged": found}
