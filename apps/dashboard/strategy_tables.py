"""The tables of one strategy: what it holds, what it waits for, what it was refused, its round trips."""

from collections.abc import Sequence

from apps import figures
from apps.dashboard.markup import Column, Markup, empty, table, tone_of, toned
from apps.memory import market_questions, questions
from apps.memory.run_memory import Row, RunMemory, currency


def positions_table(run: RunMemory, name: str) -> Markup:
    """What a desk holds, at the latest mid."""
    found = questions.positions(run, name)
    if not found:
        return empty("Nothing is held.", "Positions appear here with their unrealized P&L.")
    places = market_questions.price_places(run)
    columns = (
        Column("symbol"),
        Column("side"),
        Column("quantity", "", True),
        Column("entry", "", True),
        Column("mid", "", True),
        Column("value", "", True),
        Column("unrealized", "", True),
    )
    rows = [
        (
            row["symbol"],
            row["side"],
            figures.quantity(row["quantity"]),
            figures.fixed(row["entry_price"], places.get(row["symbol"], 2)),
            figures.fixed(row["mid"], places.get(row["symbol"], 2)),
            figures.money(row["value"]),
            toned(figures.signed(row["unrealized"], 4), tone_of(row["unrealized"])),
        )
        for row in found
    ]
    return table(columns, rows)


def open_orders_table(run: RunMemory, name: str) -> Markup:
    """A desk's orders under way and at rest."""
    found = questions.open_orders(run, name)
    if not found:
        return empty("No order is open.", "Orders under way and at rest appear here.")
    return orders_table(found, market_questions.price_places(run))


def orders_table(found: Sequence[Row], places: dict[str, int], *, with_strategy: bool = False) -> Markup:
    """Orders as they stand, of one strategy or of several."""
    columns = (
        *((Column("strategy"),) if with_strategy else ()),
        Column("sent", "UTC"),
        Column("symbol"),
        Column("side"),
        Column("type"),
        Column("size", "", True),
        Column("limit", "", True),
        Column("status"),
    )
    rows = [
        (
            *((row["strategy"],) if with_strategy else ()),
            figures.clock(row["ts"]),
            row["symbol"],
            row["side"],
            row["order_type"],
            figures.quantity(row["quantity"]) if row["quantity"] is not None else figures.money(row["notional"]),
            figures.fixed(row["limit_price"], places.get(row["symbol"], 2)),
            row["status"],
        )
        for row in found
    ]
    return table(columns, rows)


def rejections_table(run: RunMemory, name: str) -> Markup:
    """Why a desk was refused, and how often."""
    found = questions.rejections(run, name)
    if not found:
        return empty("Nothing was refused.", "Signals and orders that could not be carried out are counted here.")
    columns = (Column("reason"), Column("what"), Column("times", "", True), Column("latest", "UTC"))
    rows = [(row["reason"], row["what"], figures.count(row["times"]), figures.clock(row["latest"])) for row in found]
    return table(columns, rows, wide=frozenset({0}))


def trips_table(run: RunMemory, name: str, count: int) -> Markup:
    """A desk's last round trips."""
    found = questions.round_trips(run, name, count)
    if not found:
        return empty("No round trip is complete.", "From flat to flat, or through zero: each becomes a row.")
    unit, places = currency(run), market_questions.price_places(run)
    columns = (
        Column("closed", "UTC"),
        Column("held for", "", True),
        Column("symbol"),
        Column("side"),
        Column("quantity", "", True),
        Column("entry", "", True),
        Column("exit", "", True),
        Column("P&L", unit, True),
        Column("fees", unit, True),
        Column("fills", "", True),
    )
    rows = [
        (
            figures.moment(row["closed"]),
            figures.duration(row["closed"] - row["opened"]),
            row["symbol"],
            row["side"],
            figures.quantity(row["quantity"]),
            figures.fixed(row["entry_price"], places.get(row["symbol"], 2)),
            figures.fixed(row["exit_price"], places.get(row["symbol"], 2)),
            toned(figures.signed(row["pnl"], 4), tone_of(row["pnl"])),
            figures.cents(row["fees"]),
            figures.count(row["fills"]),
        )
        for row in found
    ]
    return table(columns, rows)
