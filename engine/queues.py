"""A place in the queue of a price level: what trades before us, and how it shrinks.

Only aggregated sizes are public, so nobody knows who leaves a queue when it shrinks without a trade. The models are
those that hftbacktest documents ("Order Fill", `RiskAdverseQueueModel` and `ProbQueueModel`, read 2026-11-26; after
quant.stackexchange.com/questions/3782 and rigtorp.se/2013/06/08/estimating-order-queue-position.html): f(back) /
(f(back) + f(front)) of a cancellation was behind us, with f(x) = x (proportional), x**n (power), log(1 + x) (log).
Two things differ. Its `back` includes what has traded since the venue last spoke of the level, ours does not. Its
`front` may be driven below zero by cancellations, which fills; ours may not.
"""

import math
from collections.abc import Callable
from decimal import Decimal

import msgspec

from engine.money import ZERO, add, money, multiply, negate, subtract

Probability = Callable[[float, float], float]
"""The probability that a cancellation came from behind us, given what is before and behind us in base units."""


class Place(msgspec.Struct, kw_only=True, eq=False):
    """One resting order's place.

    side:    +1 among the bids, -1 among the asks.
    price:   of the level.
    ahead:   base units that trade before us, None where nobody knows. Below zero: traded beyond what stood before us,
             and not yet ours because it was less than a lot.
    shown:   base units displayed when the venue last spoke of the level.
    behind:  who leaves when the level shrinks; None for those behind us.
    traded:  base units traded at the level since then.
    """

    side: int
    price: float
    ahead: Decimal | None
    shown: Decimal = ZERO
    behind: Probability | None = None
    traded: Decimal = ZERO

    def show(self, size: float) -> None:
        """The venue says that the level shows `size` now: what is gone and was not traded was canceled."""
        shown = money(size)
        if self.ahead is None:
            self.ahead = shown  # whoever is there may have been there before us
        elif self.behind is not None:
            self.ahead = self._after_cancellations(self.ahead, shown, self.behind)
        self.ahead = min(self.ahead, shown)
        self.shown, self.traded = shown, ZERO

    def trade(self, size: Decimal) -> Decimal:
        """`size` base units traded at the level; how many of them are beyond those ahead of us."""
        if self.ahead is None:
            return ZERO
        self.traded = add(self.traded, size)
        self.ahead = subtract(self.ahead, size)
        return negate(self.ahead) if self.ahead < ZERO else ZERO

    def fill(self, quantity: Decimal) -> None:
        """We got `quantity` of what was beyond."""
        self.ahead = add(self.ahead or ZERO, quantity)

    def _after_cancellations(self, ahead: Decimal, shown: Decimal, behind: Probability) -> Decimal:
        before = subtract(self.shown, self.traded)
        canceled = subtract(before, shown)
        if canceled <= ZERO or ahead <= ZERO:
            return ahead
        back = max(subtract(before, ahead), ZERO)
        chance = money(behind(float(ahead), float(back)))
        return max(subtract(ahead, subtract(canceled, min(multiply(chance, canceled), back))), ZERO)


def probability(name: str, power: float) -> Probability | None:
    """Of a queue model: proportional, power, log; None for conservative, where every cancellation is behind us."""
    match name:
        case "proportional":
            return _proportional
        case "power":
            return lambda front, back: _ratio(back**power, front**power)
        case "log":
            return lambda front, back: _ratio(math.log1p(back), math.log1p(front))
        case _:
            return None


def _proportional(front: float, back: float) -> float:
    return _ratio(back, front)


def _ratio(back: float, front: float) -> float:
    total = back + front
    return back / total if total > 0.0 else 1.0
