"""What shorts must be covered by: the maintenance ratio, and the prices at which it is no longer met."""

from collections.abc import Iterator
from decimal import Decimal

from engine.execution import ExecutionConfig, assets
from engine.market import Market
from engine.money import ZERO, add, money, multiply
from engine.portfolio import Portfolio
from engine.sizing import valuation


def called(portfolio: Portfolio, market: Market, stop: int, config: ExecutionConfig) -> tuple[Decimal, Decimal] | None:
    """Equity and what the shorts require, where the equity is below that; None where it is not, or nobody can say.

    Both in the desk's currency, at known prices before row `stop`. None as well while some short cannot be bought
    back, because its market is stale or nobody offers any.
    """
    owed = _owed(portfolio, market, stop)
    equity, _ = valuation(portfolio, market, stop)
    if owed is None or equity is None:
        return None
    required = multiply(owed, config.maintenance_ratio)
    if equity >= required:
        return None
    for symbol, position in portfolio.positions.items():
        if position.quantity < ZERO:
            meets = market.meets(symbol, stop)
            if isinstance(meets, str) or not meets.ask > 0.0:
                return None
    return equity, required


def margin_prices(portfolio: Portfolio, market: Market, config: ExecutionConfig) -> Iterator[tuple[str, float]]:
    """For each short the price of its symbol at which margin would be called if no other price moved.

    With equity E, value of the shorts V and ratio r, a rise by d of a short of q units leaves E - qd against
    r (V + qd): it is called from d = (E - rV) / (q (1 + r)) on. Minus infinity where nobody can say.
    """
    if not portfolio.has_shorts():
        return
    stop, ratio = market.row + 1, float(config.maintenance_ratio)
    owed = _owed(portfolio, market, stop)
    equity, _ = valuation(portfolio, market, stop)
    for symbol, position in portfolio.positions.items():
        if position.quantity < ZERO:
            rate = market.rate(assets(symbol)[1], portfolio.currency, stop)
            if owed is None or equity is None or not rate:
                yield symbol, float("-inf")
                continue
            room = float(equity) - ratio * float(owed)
            yield (
                symbol,
                market.mark(symbol, stop) + room / float(position.quantity.copy_abs()) / (1 + ratio) / float(rate),
            )


def _owed(portfolio: Portfolio, market: Market, stop: int) -> Decimal | None:
    """The value of all shorts in the desk's currency, positive; None where a price is not known."""
    total = ZERO
    for symbol, position in portfolio.positions.items():
        if position.quantity < ZERO:
            price, rate = market.mark(symbol, stop), market.rate(assets(symbol)[1], portfolio.currency, stop)
            if price != price or not rate:
                return None
            total = add(total, multiply(multiply(position.quantity.copy_abs(), money(price)), rate))
    return total
