"""The page of one strategy: what it made of its money, where it traded, what it cost, what it was refused."""

import json
from collections.abc import Sequence
from typing import Any

import streamlit as st

from apps import figures
from apps.dashboard import charts
from apps.dashboard.heading import CARDS_EVERY_S, CHARTS_EVERY_S
from apps.dashboard.markup import Column, Markup, banner, box, card, cards, empty, html, table, title, tone_of, toned
from apps.dashboard.palette import DOWN, QUIET, UP
from apps.dashboard.parts import PARTS
from apps.dashboard.picking import pick
from apps.dashboard.strategy_tables import open_orders_table, positions_table, rejections_table, trips_table
from apps.memory import market_questions, questions
from apps.memory.run_memory import Row, RunMemory, currency

TRIPS_SHOWN = 50
RATIOS_EVERY_S = 10.0


def page(run: RunMemory) -> None:
    """One strategy, chosen at the top and in the address."""
    board = questions.leaderboard(run)
    if not board:
        st.html(box(empty("No desk has opened yet.", "The first tick of the tape opens them; this page follows.")))
        return
    name = pick("Strategy", [row["name"] for row in board], "strategy")
    every = (CARDS_EVERY_S, CHARTS_EVERY_S) if run.is_growing else (None, None)

    @st.fragment(run_every=every[0])
    def numbers() -> None:
        run.look()
        st.html(box(*_numbers(run, name)))

    @st.fragment(run_every=every[1])
    def curves() -> None:
        run.look()
        _curves(run, name)

    @st.fragment(run_every=every[0])
    def held() -> None:
        run.look()
        left, right = st.columns([3, 2], gap="medium")
        left.html(
            box(title("Positions"), positions_table(run, name), title("Open orders"), open_orders_table(run, name))
        )
        right.html(box(title("Refused", "signals and orders, by reason"), rejections_table(run, name)))
        st.html(box(title("Round trips", f"the last {TRIPS_SHOWN}, net of fees"), trips_table(run, name, TRIPS_SHOWN)))

    numbers()
    _ratios(run, name)
    curves()
    held()
    _what_ran(run, name)


def _numbers(run: RunMemory, name: str) -> Sequence[str]:
    row = next((row for row in questions.leaderboard(run) if row["name"] == name), None)
    if row is None:
        return [empty("This desk is not there yet.", "It opens with the first tick.")]
    unit = currency(run)
    said = [banner(row["status"])] if row["status"] != "ok" else []
    trips = figures.several(row["round_trips"], "round trip")
    return [
        *said,
        cards(
            [
                card(
                    "Equity",
                    figures.money(row["equity"]),
                    unit,
                    figures.several(row["open_positions"], "open position"),
                ),
                card("P&L after fees", figures.signed(row["pnl"]), unit, _roi(row), tone_of(row["pnl"])),
                card("Fees", figures.money(row["fees"]), unit, figures.several(row["fills"], "fill")),
                card("Win rate", figures.percent(row["win_rate"]), "%", trips),
                card("Profit factor", figures.fixed(row["profit_factor"], 2), "", "won / lost, over round trips"),
                card("Deepest drawdown", figures.fixed(row["max_drawdown_pct"], 2), "%", "below its highest equity"),
            ]
        ),
    ]


def _roi(row: Row) -> str:
    return f"{figures.signed(row['roi_pct'])} % of what it began with"


def _ratios(run: RunMemory, name: str) -> None:
    """They take a moment over a long run, and nothing waits for them."""
    is_known = questions.metrics_soon(run) is not None
    every = RATIOS_EVERY_S if run.is_growing else None

    @st.fragment(run_every=every if is_known else CHARTS_EVERY_S)
    def ratios() -> None:
        found = questions.metrics_soon(run)
        if not is_known and found is not None:
            st.rerun()
        st.html(box(_ratio_cards((found or {}).get(name, {}))))

    ratios()


def _ratio_cards(row: Row) -> Markup:
    sharpe, held = row.get("sharpe"), row.get("holding_s")
    sampled = (
        f"a year, of changes over {figures.duration(round(row['sample_s'] * 1e9))}"
        if sharpe is not None
        else "needs 30 changes of equity"
    )
    return cards(
        [
            card("Sharpe", figures.fixed(sharpe, 2), "", sampled),
            card("Sortino", figures.fixed(row.get("sortino"), 2), "", "a year, against its falls alone"),
            card("Mean round trip", figures.signed(row.get("expectancy"), 4), "", "what one is worth, net of fees"),
            card(
                "Held for", figures.duration(None if held is None else round(held * 1e9)), "", "a round trip on average"
            ),
            card("Exposed", figures.fixed(row.get("exposure_pct"), 1), "%", "of the time with anything open"),
            card("Turnover", figures.fixed(row.get("turnover"), 2), "×", "what was traded over the capital"),
        ]
    )


def _curves(run: RunMemory, name: str) -> None:
    traded = [row["symbol"] for row in questions.traded(run, name)]
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.html(box(title("Equity", "against holding what it trades, before fees")))
        st.echarts_chart(_equity(run, name, traded), height=250, key="chart-equity", alt=f"Equity of {name}")
    with right:
        st.html(box(title("Where the P&L comes from", currency(run))))
        _split(run, name)
    with left:
        st.html(box(title("Drawdown", "% below the highest equity so far")))
        fallen, known = questions.drawdown(run, name), questions.span(run)
        st.echarts_chart(
            charts.below_zero(fallen, known[1] if known else None),
            height=130,
            key="chart-drawdown",
            alt=f"Drawdown of {name}",
        )
    with right:
        logged = questions.indicators(run, name)
        st.html(box(title("Indicators", "as logged with the signals")))
        if logged:
            _indicators(logged)
        else:
            st.html(box(empty("Nothing logged.", "What a strategy keeps in state['indicators'] is shown here.")))
    st.html(box(title("Price", "entries, exits and stops; hover for an order's life")))
    if traded:
        symbol = traded[0] if len(traded) == 1 else pick("Symbol", traded, "symbol")
        _prices(run, name, symbol)
    else:
        st.html(box(empty("No signal yet.", "Once this strategy wants something, its market is drawn here.")))


def _equity(run: RunMemory, name: str, traded: Sequence[str]) -> charts.Option:
    rows = questions.equity_curves(run, [name]).get(name, [])
    end = (questions.span(run) or (None, None))[1]
    chart = charts.equity({name: rows}, currency(run), end)
    chart["series"][0] |= {"color": UP}
    held = _holding(run, traded, rows[0]["value"] if rows else 0.0)
    chart["series"] += [
        charts.line(f"holding {symbol}", charts.points(curve), QUIET, dash=dash, width=1.2)
        for (symbol, curve), dash in zip(held.items(), ("dashed", "dotted", "dashed", "dotted"), strict=False)
    ]
    chart["legend"]["show"] = len(chart["series"]) > 1
    return chart


def _holding(run: RunMemory, traded: Sequence[str], opening: float) -> dict[str, list[Row]]:
    """What the opening cash would be, had it bought each symbol at the first trade and kept it."""
    found = {}
    for symbol in traded[:4]:
        bars = market_questions.candles(run, symbol)
        if bars:
            found[symbol] = [{"ts": bar["ts"], "value": opening * bar["close"] / bars[0]["open"]} for bar in bars]
    return found


def _split(run: RunMemory, name: str) -> None:
    """Price, spread, slippage and fees: they add up to the P&L."""
    found = questions.attribution(run, name)
    if found is None:
        st.html(box(empty("Not known.", "The price of something that this desk holds is not known.")))
        return
    parts = {part: float(found[column]) for part, column in PARTS.items()}
    chart = charts.bars(list(parts), list(parts.values()), currency(run), 4)
    st.echarts_chart(chart, height=190, key="chart-split", alt="P&L by its causes")
    st.html(box(toned(" · ".join(f"{part} {figures.signed(amount, 4)}" for part, amount in parts.items()), "quiet")))


def _indicators(logged: dict[str, list[Row]]) -> None:
    """Those that share a scale with the first together; which ones is for the reader to change."""
    sizes = {name: sum(abs(row["value"]) for row in rows) / len(rows) for name, rows in logged.items()}
    first = next(iter(sizes.values()))
    alike = [name for name, size in sizes.items() if first / 2 <= size <= first * 2]
    chosen = st.pills("Indicators", list(logged), selection_mode="multi", default=alike, label_visibility="collapsed")
    chart = charts.curves({name: logged[name] for name in chosen or alike}, "", 6)
    st.echarts_chart(chart, height=160, key="chart-indicators", alt=f"Indicators: {', '.join(chosen or alike)}")


def _prices(run: RunMemory, name: str, symbol: str) -> None:
    bars = market_questions.candles(run, symbol)
    if not bars:
        st.html(box(empty("No trades of this symbol are known.", run.tape.problem or "The tape has none.")))
        return
    places = market_questions.price_places(run).get(symbol, 2)
    chart = charts.candlesticks(bars, symbol.partition("/")[2], places)
    fills = questions.fills_on_chart(run, name, symbol)
    for sides, what, turn, color in ((("buy", "cover"), "bought", 0, UP), (("sell", "short"), "sold", 180, DOWN)):
        data = [(fill["ts"], fill["price"], _life(fill, places)) for fill in fills if fill["side"] in sides]
        chart["series"].append(charts.marks(what, data, "triangle", color, turn=turn))
    stops = questions.stops_on_chart(run, name, symbol)
    data = [(stop["ts"], stop["level"], f"{stop['kind'].replace('_', ' ')} reached") for stop in stops]
    if data:
        chart["series"].append(charts.marks("stop or target", data, "diamond", "#8c7ae6"))
    st.echarts_chart(chart, height=340, key="chart-prices", alt=f"Price of {symbol} with the trades of {name}")


def _life(fill: Row, places: int) -> str:
    """An order from its signal to its fill, in a few lines."""
    sent, arrived = fill["sent"], fill["arrives_at"]
    late = f", {figures.duration(arrived - sent)} later there" if sent is not None and arrived is not None else ""
    limit = f" at {figures.fixed(fill['limit_price'], places)}" if fill["limit_price"] is not None else ""
    return "\n".join(
        [
            f"{fill['side']} {figures.quantity(fill['quantity'])} at {figures.fixed(fill['price'], places)}",
            f"order {fill['order_id']}: {fill['order_type']}{limit}, {fill['status']}",
            f"sent {figures.clock(sent)}{late}, filled {figures.clock(fill['ts'])} UTC",
            f"{fill['liquidity']}, fee {figures.cents(fill['fee'])}, realized {figures.signed(fill['realized'], 4)}",
            f"because: {fill['reason'] or '–'}",
        ]
    )


def _settings(run: RunMemory, name: str) -> dict[str, Any]:
    """A desk's configuration: its own, how its orders are carried out, and the limits that it has."""
    assert run.manifest is not None
    desk = run.manifest.configuration.get("desks", {}).get(name, {"config": run.manifest.strategies[name].config})
    return {part: {key: value for key, value in known.items() if value is not None} for part, known in desk.items()}


def _what_ran(run: RunMemory, name: str) -> None:
    """Configuration and code, as the run keeps them."""
    record = run.manifest.strategies.get(name) if run.manifest is not None else None
    if record is None:
        return
    with st.expander("Configuration and code that ran"):
        left, right = st.columns([2, 3], gap="medium")
        said = {"file": record.file, "version": record.version, "trigger": record.trigger, "sha256": record.sha256[:12]}
        left.html(box(table((Column(""), Column("")), said.items(), wide=frozenset({1}))))
        left.code(json.dumps(_settings(run, name), indent=2), language="json")
        try:
            right.code(
                (run.path / "strategies" / f"{name}.py").read_text(encoding="utf-8"), language="python", height=360
            )
        except OSError:
            right.html(box(empty("The code is not there.", f"{html(str(run.path))} has lost it.")))
