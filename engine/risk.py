"""The limits a desk sets itself: what must hold before an order is sent, and what halts the desk."""

from collections import deque
from decimal import Decimal

import msgspec

from engine.events import OrderFilled
from engine.money import ZERO, add, money, multiply, subtract
from engine.orders import BUYING
from engine.portfolio import Portfolio, wanted
from engine.sizing import Draft

_HUNDRED = money("100")
_MINUTE_NS = 60_000_000_000


class RiskLimits(msgspec.Struct, frozen=True, kw_only=True):
    """None is no limit. Orders that can only reduce a position are never held back.

    max_position:           value of one symbol's position after the order, quote currency.
    max_order_notional:     value of one order, quote currency.
    max_open_orders:        orders on their way or at the venue.
    max_orders_per_minute:  orders sent within 60 s of tape time.
    max_drawdown_pct:       the desk is halted when its equity is this far below its peak.
    max_loss_streak:        losing closes in a row after which nothing is opened for `cooldown_ns`; without a
                            cooldown the desk is halted.
    cooldown_ns:            how long that lasts, tape time.
    """

    max_position: Decimal | None = None
    max_order_notional: Decimal | None = None
    max_open_orders: int | None = None
    max_orders_per_minute: int | None = None
    max_drawdown_pct: Decimal | None = None
    max_loss_streak: int | None = None
    cooldown_ns: int | None = None


NO_LIMITS = RiskLimits()


class RiskDesk:
    """The limits of one desk at work: what it has heard of orders, fills and equity."""

    def __init__(self, limits: RiskLimits) -> None:
        self._limits = limits
        self._sent: deque[int] = deque()
        self._peak = ZERO
        self._losses = 0
        self._rests_until = 0

    def refusal(self, draft: Draft, symbol: str, portfolio: Portfolio, ts: int, replaces: str | None = None) -> str:
        """Why this order must not be sent now, or an empty text. The one whose place it takes does not count."""
        limits = self._limits
        if draft.side in ("sell", "cover"):
            return ""
        if ts < self._rests_until:
            return "risk: cooling down"
        value = draft.notional if draft.notional is not None else multiply(draft.quantity or ZERO, draft.price)
        if limits.max_order_notional is not None and value > limits.max_order_notional:
            return "risk: max_order_notional"
        limit = limits.max_position
        if limit is not None and self._after(draft, symbol, portfolio, value, replaces) > limit:
            return "risk: max_position"
        if limits.max_open_orders is not None:
            open_orders = len(portfolio.in_flight) + len(portfolio.resting) + len(portfolio.waiting)
            if open_orders - (replaces is not None) >= limits.max_open_orders:
                return "risk: max_open_orders"
        if limits.max_orders_per_minute is not None:
            while self._sent and self._sent[0] <= ts - _MINUTE_NS:
                self._sent.popleft()
            if len(self._sent) >= limits.max_orders_per_minute:
                return "risk: max_orders_per_minute"
        return ""

    def _after(self, draft: Draft, symbol: str, portfolio: Portfolio, value: Decimal, replaces: str | None) -> Decimal:
        """Value of the position that this order and those already open on its side can lead to."""
        held = multiply(portfolio.position(symbol).quantity, draft.price)
        is_buying = draft.side in BUYING
        for orders in (portfolio.in_flight, portfolio.resting, portfolio.waiting):
            for order in orders.values():
                if order.symbol == symbol and order.side == draft.side and order.order_id != replaces:
                    left = portfolio.left.get(order.order_id, wanted(order))
                    value = add(value, left if order.quantity is None else multiply(left, draft.price))
        return add(held, value) if is_buying else add(held, value.copy_negate()).copy_abs()

    def hear_sent(self, ts: int) -> None:
        """An order was sent."""
        if self._limits.max_orders_per_minute is not None:
            self._sent.append(ts)

    def hear_filled(self, filled: OrderFilled, was_closing: bool) -> str:
        """A fill that closed something won or lost; why the desk must halt now, or an empty text."""
        limits = self._limits
        if limits.max_loss_streak is None or not was_closing:
            return ""
        self._losses = self._losses + 1 if filled.realized < ZERO else 0
        if self._losses < limits.max_loss_streak:
            return ""
        if limits.cooldown_ns is None:
            return f"risk: {self._losses} losses in a row"
        self._losses, self._rests_until = 0, filled.ts + limits.cooldown_ns
        return ""

    def hear_equity(self, equity: Decimal) -> str:
        """The desk was valued; why it must halt now, or an empty text."""
        limit = self._limits.max_drawdown_pct
        if limit is None:
            return ""
        self._peak = max(self._peak, equity)
        if multiply(subtract(self._peak, equity), _HUNDRED) > multiply(self._peak, limit):
            return "risk: max_drawdown"
        return ""
