"""An order against the market: at which price it takes, and when it is taken where it rests.

A fill model answers these two questions and nothing else; quantities, fees and money are the desk's. A model
that walks the book or queues behind it is another class of the same shape.
"""

from decimal import Decimal
from typing import Protocol

from engine.market import Quote
from engine.money import add, bps_of, money, subtract
from engine.orders import BUYING


class FillModel(Protocol):
    """How orders of one desk meet the market."""

    def take(self, side: str, quote: Quote, limit: Decimal | None, slippage_bps: Decimal) -> Decimal | None:
        """Price at which an order that has just arrived trades at once, or None where it does not."""
        ...

    def is_hit(self, side: str, limit: float, trade: float, quote: Quote) -> bool:
        """Whether a resting order at `limit` trades on this tick: a trade at `trade` (else NaN), or a new touch."""
        ...


class TouchModel:
    """The whole order at the best bid or ask; a resting order once the market trades through its price.

    A trade at the limit itself fills nothing: how much stood before us there is not known. The opposite
    touch reaching the limit does: that price could only be offered after everything at it was taken.
    """

    def take(self, side: str, quote: Quote, limit: Decimal | None, slippage_bps: Decimal) -> Decimal | None:
        """A buy pays the ask, a sell receives the bid; slippage moves the price against us, never past a limit."""
        touch = quote.ask if side in BUYING else quote.bid
        if not touch > 0.0:  # unknown, or no price
            return None
        price = money(touch)
        slipped = bps_of(price, slippage_bps)
        if side in BUYING:
            if limit is None:
                return add(price, slipped)
            return min(add(price, slipped), limit) if price <= limit else None
        if limit is None:
            return subtract(price, slipped)
        return max(subtract(price, slipped), limit) if price >= limit else None

    def is_hit(self, side: str, limit: float, trade: float, quote: Quote) -> bool:
        """Comparisons with NaN, the unknown, are false."""
        if side in BUYING:
            return trade < limit or quote.ask <= limit
        return trade > limit or quote.bid >= limit
