"""What waits for a price: which price that is, and when it is reached."""

from decimal import Decimal

import msgspec

from engine.events import OrderSubmitted
from engine.market import Quote
from engine.money import add, bps_of, money, subtract
from engine.orders import BUYING


class Stop(msgspec.Struct, kw_only=True):
    """An order's trigger.

    rises:      whether the price must rise to reach it; else it must fall.
    level:      quote currency per base unit; None for a trailing stop that has seen no price yet.
    trail_bps:  of a trailing stop: how far behind the best price it follows.
    best:       of a trailing stop: the best price since it began to follow.
    """

    rises: bool
    level: Decimal | None
    trail_bps: Decimal | None = None
    best: Decimal | None = None

    def meets(self, price: Decimal) -> bool:
        """Whether `price` reaches it. A trailing stop first follows a price better than the best so far."""
        if self.trail_bps is not None and (
            self.best is None or (price < self.best if self.rises else price > self.best)
        ):
            distance = bps_of(price, self.trail_bps)
            self.best, self.level = price, add(price, distance) if self.rises else subtract(price, distance)
        return self.level is not None and (price >= self.level if self.rises else price <= self.level)


def stop_of(order: OrderSubmitted) -> Stop:
    """A stop that buys waits for a rise, one that takes a profit by buying for a fall; selling is the reverse."""
    is_buying, takes_profit = order.side in BUYING, order.order_type == "take_profit"
    return Stop(rises=is_buying != takes_profit, level=order.stop_price, trail_bps=order.trail_bps)


def reference_price(trigger: str, is_buying: bool, trade: float, quote: Quote, has_trades: bool) -> Decimal | None:
    """The price that a stop looks at: the trade in hand, the touch that the order would meet, or the mid.

    On a feed that has no trades the touch stands in for them. None where there is no such price at this tick.
    """
    if trigger == "mid":
        price = quote.mid
    elif trigger == "touch" or not has_trades:
        price = quote.ask if is_buying else quote.bid
    else:
        price = trade
    return money(price) if price == price else None
