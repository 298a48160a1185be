"""Balances, positions and open orders of one desk, as a fold of its portfolio events.

`apply` is the only place where they change. Deciding reads them and returns events, so that folding a
recorded ledger gives the state that ran.
"""

from decimal import Decimal

import msgspec

from engine import events
from engine.execution import assets
from engine.money import ZERO, add, multiply, negate, subtract
from engine.orders import BUYING
from engine.position import FLAT, Position


class Exit(msgspec.Struct, frozen=True, gc=False):
    """The prices at which a position is to be closed, and the signal that set them."""

    stop_loss: Decimal | None
    take_profit: Decimal | None
    correlation_id: str


class Portfolio:
    """The state of a desk.

    balances:   units by asset; a short sale leaves a negative balance of its base.
    positions:  by symbol, only those that are open.
    in_flight:  orders that have not arrived, by id, in the order in which they were sent.
    cancels:    requests to cancel that have not arrived, likewise.
    resting:    limit orders at the venue, by id, oldest first.
    exits:      stop-loss and take-profit by symbol.
    """

    def __init__(self) -> None:
        self.currency = ""
        self.opening = ZERO
        self.balances: dict[str, Decimal] = {}
        self.positions: dict[str, Position] = {}
        self.in_flight: dict[str, events.OrderSubmitted] = {}
        self.cancels: list[events.CancelSubmitted] = []
        self.resting: dict[str, events.OrderSubmitted] = {}
        self.exits: dict[str, Exit] = {}
        self.equity: Decimal | None = None
        self.next_seq = 0
        self.signals = 0
        self.orders = 0
        self.is_failed = False
        self.is_halted = False

    # -- the fold ------------------------------------------------------------------------------------

    def apply(self, event: events.Event) -> None:
        """Take in the next fact of this desk's ledger."""
        assert event.seq == self.next_seq, f"{event.strategy}: event {event.seq} after {self.next_seq - 1}"
        self.next_seq += 1
        # Not `match`: isinstance of another of msgspec's classes, which are ABCs, takes 0.2 us each.
        if type(event) is events.SignalRaised:
            self.signals += 1
        elif type(event) is events.OrderSubmitted:
            self.orders += 1
            self.in_flight[event.order_id] = event
        elif type(event) is events.OrderFilled:
            self._fill(event)
        elif type(event) is events.PortfolioMarked:
            self.equity = event.equity
        elif type(event) is events.OrderRested:
            self.resting[event.order_id] = self.in_flight.pop(event.order_id)
        elif isinstance(event, events.OrderRejected | events.OrderExpired | events.OrderCanceled):
            self._drop(event.order_id)
        elif type(event) is events.CancelSubmitted:
            self.cancels.append(event)
        elif type(event) is events.StopTriggered:
            del self.exits[event.symbol]
        elif type(event) is events.StrategyFailed:
            self.is_failed = True
        elif type(event) is events.DeskHalted:
            self.is_halted = True
        elif type(event) is events.PortfolioOpened:
            self.currency, self.opening, self.equity = event.currency, event.cash, event.cash
            self.balances[event.currency] = event.cash
        else:
            assert type(event) is events.SignalRejected, f"a fact without a meaning: {type(event).__name__}"

    def _fill(self, filled: events.OrderFilled) -> None:
        order = self.in_flight.pop(filled.order_id, None) or self.resting.pop(filled.order_id)
        if self.cancels:
            self.cancels = [cancel for cancel in self.cancels if cancel.order_id != filled.order_id]
        symbol, balances = filled.symbol, self.balances
        base, quote = assets(symbol)
        quantity = filled.quantity if filled.side in BUYING else negate(filled.quantity)
        balances[base] = add(balances.get(base, ZERO), quantity)
        balances[quote] = filled.cash
        before = self.positions.pop(symbol, FLAT)
        if not filled.position:
            self.exits.pop(symbol, None)
            return
        self.positions[symbol] = Position(filled.position, filled.cost)
        is_long = filled.position > ZERO
        if before.quantity and is_long != (before.quantity > ZERO):
            self.exits.pop(symbol, None)
        if is_long == (quantity > ZERO) and (order.stop_loss is not None or order.take_profit is not None):
            self.exits[symbol] = Exit(order.stop_loss, order.take_profit, order.correlation_id)

    def _drop(self, order_id: str) -> None:
        self.cancels = [cancel for cancel in self.cancels if cancel.order_id != order_id]
        order = self.in_flight.pop(order_id, None) or self.resting.pop(order_id)
        held = self.position(order.symbol).quantity
        is_still_held = held > ZERO if order.side == "sell" else held < ZERO
        if order.purpose != "signal" and is_still_held and order.symbol not in self.exits:
            # The exit could not be carried out: what it protected still needs it.
            self.exits[order.symbol] = Exit(order.stop_loss, order.take_profit, order.correlation_id)

    # -- answers ---------------------------------------------------------------------------------------

    def cash(self) -> Decimal:
        """Balance of the desk's own currency."""
        return self.balances[self.currency]

    def balance(self, asset: str) -> Decimal:
        """Units of `asset`, negative where it is owed."""
        return self.balances.get(asset, ZERO)

    def position(self, symbol: str) -> Position:
        """What is open in `symbol`."""
        return self.positions.get(symbol, FLAT)

    def is_exposed(self) -> bool:
        """Whether anything but the desk's own currency is held or owed."""
        for asset, amount in self.balances.items():  # a plain loop: it runs at every mark
            if amount and asset != self.currency:
                return True
        return False

    def reserved(self, quote: str, besides: str = "") -> Decimal:
        """Quote currency that open buy orders may still spend, before fees; `besides` names one to leave out."""
        total = ZERO
        for orders in (self.in_flight, self.resting):
            for order in orders.values():
                if order.side == "buy" and order.order_id != besides and assets(order.symbol)[1] == quote:
                    total = add(total, _spends(order))
        return total

    def offered(self, symbol: str, besides: str = "") -> Decimal:
        """Base units that open sell orders may still deliver; `besides` names one to leave out."""
        total = ZERO
        for orders in (self.in_flight, self.resting):
            for order in orders.values():
                if order.side == "sell" and order.symbol == symbol and order.order_id != besides:
                    total = add(total, order.quantity or ZERO)
        return total

    def unrealized(self, symbol: str, price: Decimal) -> Decimal:
        """Quote currency that closing `symbol` at `price` would realize, fees aside."""
        position = self.position(symbol)
        return subtract(multiply(position.quantity, price), position.cost)


def _spends(order: events.OrderSubmitted) -> Decimal:
    if order.notional is not None:
        return order.notional
    if order.quantity is None or order.limit_price is None:
        return ZERO
    return multiply(order.quantity, order.limit_price)
