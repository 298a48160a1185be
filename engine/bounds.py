"""The prices of a symbol between which nothing that rests, waits or is owed needs a closer look."""

from collections.abc import Iterable, Mapping

import msgspec

from engine.money import ZERO
from engine.orders import BUYING
from engine.portfolio import Portfolio
from engine.stops import Stop

_INFINITE = float("inf")


class Bounds(msgspec.Struct, gc=False):
    """Most ticks of a symbol lie within.

    below, above:  the highest limit to buy and the lowest to sell.
    low, high:     of exits, stops and margin: what they wait for lies at or beyond them.
    """

    below: float = -_INFINITE
    above: float = _INFINITE
    low: float = -_INFINITE
    high: float = _INFINITE

    def is_reached(self, trade: float, bid: float, ask: float) -> bool:
        """Whether a trade (NaN where the tick is none) or a touch calls for a closer look."""
        return (
            trade <= self.below
            or trade >= self.above
            or ask <= self.below
            or bid >= self.above
            or trade <= self.low
            or trade >= self.high
            or bid <= self.low
            or ask >= self.high
            or bid >= self.high  # where nobody offers
            or ask <= self.low
        )

    def within(self, other: "Bounds") -> "Bounds":
        """The bounds that are reached where either of the two is."""
        return Bounds(
            max(self.below, other.below),
            min(self.above, other.above),
            max(self.low, other.low),
            min(self.high, other.high),
        )


REACHED = Bounds(low=_INFINITE, high=-_INFINITE)
"""Every price calls for a closer look."""


def bounds_of(
    portfolio: Portfolio, stops: Mapping[str, Stop], margin_prices: Iterable[tuple[str, float]]
) -> dict[str, Bounds]:
    """The bounds of every symbol for which there are any; `margin_prices` are rises that call for margin."""
    found: dict[str, Bounds] = {}
    for order in portfolio.resting.values():
        bounds, limit = found.setdefault(order.symbol, Bounds()), float(order.limit_price or ZERO)
        if order.side in BUYING:
            bounds.below = max(bounds.below, limit)
        else:
            bounds.above = min(bounds.above, limit)
    for order in portfolio.waiting.values():
        _include(found.setdefault(order.symbol, Bounds()), stops[order.order_id])
    for symbol, exits in portfolio.exits.items():
        bounds = found.setdefault(symbol, Bounds())
        stop, target = exits.stop_loss, exits.take_profit
        low, high = (stop, target) if portfolio.position(symbol).quantity > ZERO else (target, stop)
        bounds.low = bounds.low if low is None else max(bounds.low, float(low))
        bounds.high = bounds.high if high is None else min(bounds.high, float(high))
    for symbol, price in margin_prices:
        bounds = found.setdefault(symbol, Bounds())
        bounds.high = min(bounds.high, price)
    return found


def _include(bounds: Bounds, stop: Stop) -> None:
    if stop.level is None:  # it follows from the first price on
        bounds.low, bounds.high = _INFINITE, -_INFINITE
        return
    level, best = float(stop.level), None if stop.best is None else float(stop.best)
    if stop.rises:
        bounds.high = min(bounds.high, level)
        bounds.low = bounds.low if best is None else max(bounds.low, best)
    else:
        bounds.low = max(bounds.low, level)
        bounds.high = bounds.high if best is None else min(bounds.high, best)
