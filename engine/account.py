"""A desk's money and orders as its strategy may see them: read-only, in floats, as of the tick in hand."""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

import msgspec

from engine.market import Market
from engine.portfolio import Order, Portfolio, wanted
from engine.sizing import valuation
from engine.ticks import NAN


class OpenPosition(msgspec.Struct, frozen=True):
    """What is open in a symbol: base units (negative when short), their signed cost, cost per unit, PnL at the mark."""

    symbol: str
    quantity: float
    cost: float
    entry_price: float
    unrealized: float


class OpenOrder(msgspec.Struct, frozen=True):
    """An order on its way or at the venue, and what is left of it.

    Of `quantity` and `notional` the one that does not limit it is NaN, and so is a price that it does not have.
    """

    order_id: str
    symbol: str
    side: str
    order_type: str
    quantity: float
    notional: float
    limit_price: float
    stop_price: float
    is_resting: bool


class Account:
    """The `portfolio` parameter of `generate_signal`."""

    __slots__ = ("_market", "_portfolio")

    def __init__(self, portfolio: Portfolio, market: Market) -> None:
        self._portfolio = portfolio
        self._market = market

    @property
    def currency(self) -> str:
        """The desk's currency."""
        return self._portfolio.currency

    @property
    def cash(self) -> float:
        """Balance of the desk's currency."""
        return float(self._portfolio.cash())

    @property
    def balances(self) -> Mapping[str, float]:
        """Units by asset, negative where owed."""
        return MappingProxyType({asset: float(amount) for asset, amount in self._portfolio.balances.items() if amount})

    @property
    def positions(self) -> Mapping[str, OpenPosition]:
        """What is open, by symbol."""
        stop, found = self._market.row + 1, {}
        for symbol, position in self._portfolio.positions.items():
            quantity, cost = float(position.quantity), float(position.cost)
            mark = self._market.mark(symbol, stop)
            found[symbol] = OpenPosition(symbol, quantity, cost, cost / quantity, quantity * mark - cost)
        return MappingProxyType(found)

    def position(self, symbol: str) -> float:
        """Base units open in `symbol`, negative when short, 0 where nothing is."""
        return float(self._portfolio.position(symbol).quantity)

    @property
    def equity(self) -> float:
        """All balances in the desk's currency at known prices; NaN where one has none."""
        equity, _ = valuation(self._portfolio, self._market, self._market.row + 1)
        return NAN if equity is None else float(equity)

    @property
    def open_orders(self) -> tuple[OpenOrder, ...]:
        """Orders at the venue, limits before stops, then orders on their way, each oldest first."""
        portfolio = self._portfolio
        return (
            *(self._open(order, is_resting=True) for order in portfolio.resting.values()),
            *(self._open(order, is_resting=True) for order in portfolio.waiting.values()),
            *(self._open(order, is_resting=False) for order in portfolio.in_flight.values()),
        )

    def _open(self, order: Order, *, is_resting: bool) -> OpenOrder:
        left = self._portfolio.left.get(order.order_id, wanted(order))
        by_notional = order.quantity is None
        return OpenOrder(
            order.order_id,
            order.symbol,
            order.side,
            order.order_type,
            NAN if by_notional else float(left),
            float(left) if by_notional else NAN,
            _price(order.limit_price),
            _price(order.stop_price),
            is_resting,
        )


def _price(price: Decimal | None) -> float:
    return NAN if price is None else float(price)
