"""A book as two columns of prices, the sizes as bars behind their numbers."""

from collections.abc import Sequence

from apps import figures
from apps.dashboard.markup import Column, Markup, empty, table
from apps.memory.run_memory import Row


def ladder(levels: Sequence[Row], places: int) -> Markup:
    """Asks above bids, the best of each in the middle; `levels` as `book_at` gives them."""
    if not levels:
        return empty("No book is known at this moment.", "The feed has none, or had just lost it.")
    most = max(level["size"] for level in levels)
    asks = [level for level in levels if level["name"] == "ask"]
    bids = [level for level in levels if level["name"] == "bid"]
    shown = [*reversed(asks), *bids]
    sizes = figures.aligned([level["size"] for level in shown])
    rows = [_level(level, size, places, most) for level, size in zip(shown, sizes, strict=True)]
    columns = (Column("bid size", "", True), Column("price", "", True), Column("ask size", "", True))
    return Markup(f'<div class="ladder">{table(columns, rows)}</div>')


def _level(level: Row, text: str, places: int, most: float) -> tuple[str, str, str]:
    is_bid = level["name"] == "bid"
    share = level["size"] / most * 100 if most else 0.0
    edge, tone = ("right", "up") if is_bid else ("left", "down")
    size = Markup(
        f'<div class="w-bar w-{tone}"><i style="{edge}:0;width:{share:.0f}%;background:currentColor"></i>'
        f"<b>{text}</b></div>"
    )
    price = Markup(f'<span class="w-{tone}">{figures.fixed(level["price"], places)}</span>')
    return (size, price, "") if is_bid else ("", price, size)
