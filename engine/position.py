"""One symbol held: its quantity, its signed cost, and what a fill makes of both."""

from decimal import Decimal

import msgspec

from engine.money import ZERO, add, divide, negate, share, subtract


class Position(msgspec.Struct, frozen=True, gc=False):
    """What is open in one symbol.

    quantity:  base units, negative when short.
    cost:      quote currency paid for that quantity, negative (received) when short. Not an average price:
               with a signed cost `cash = opening + realized - cost` holds to the last digit.
    """

    quantity: Decimal = ZERO
    cost: Decimal = ZERO

    @property
    def average_price(self) -> Decimal | None:
        """Quote currency per base unit paid or received on average, or None where nothing is open."""
        return divide(self.cost, self.quantity) if self.quantity else None


FLAT = Position()


def traded(position: Position, quantity: Decimal, notional: Decimal) -> tuple[Position, Decimal]:
    """The position after buying (+) or selling (-) `quantity` for `notional` (signed alike), and the PnL realized.

    What reduces the position releases the same share of its cost, rounded once; what goes through zero
    closes all of it and opens the rest. Fees are not in here.
    """
    held, cost = position.quantity, position.cost
    if not held or (held > ZERO) == (quantity > ZERO):
        return Position(add(held, quantity), add(cost, notional)), ZERO
    size, open_size = quantity.copy_abs(), held.copy_abs()  # abs() would round to the thread's context
    if size <= open_size:
        released = share(cost, size, open_size)
        left = add(held, quantity)
        return Position(left, subtract(cost, released)), subtract(negate(notional), released)
    closing = share(notional, open_size, size)
    realized = subtract(negate(closing), cost)
    return Position(add(held, quantity), subtract(notional, closing)), realized
