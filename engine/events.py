"""Portfolio events: the facts the engine asserts, past tense. Everything else is a view of them."""

from decimal import Decimal

import msgspec

# Defaults are None, False and "" alone: msgspec leaves a field out where it holds the very object that is the
# default, and an equal text made at run time is another object. What is canonical must not depend on that.


class PortfolioEvent(msgspec.Struct, frozen=True, gc=False, tag=True, tag_field="type", omit_defaults=True):
    """What all facts share.

    The facts of every trade are made with what they must have by position: from sixteen keywords on, CPython packs
    them into a dict first, which takes four times as long as the fact.

    strategy:  whose desk. With `seq` it names the event.
    seq:       position in that desk's ledger, from 0 without gaps.
    tick_seq:  the tick that caused it.
    ts:        when it became true, ns UTC of tape time.
    """

    strategy: str
    seq: int
    tick_seq: int
    ts: int


class PortfolioOpened(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The desk began, with `cash` of `currency` and nothing else."""

    currency: str
    cash: Decimal


class SignalRaised(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The strategy wanted something.

    correlation_id:  links the signal to its orders, fills and exits.
    size:            as given, in quote currency or base units as `size_in` says.
    price ... take_profit:  as given, quote currency per base unit.
    trail_bps:       as given, basis points.
    expires_at:      as given, ns of tape time.
    order_id:        the order that it cancels or replaces.
    metadata, indicators:   JSON text, or None.
    """

    correlation_id: str
    action: str
    symbol: str
    size: float
    size_in: str
    order_type: str
    price: float | None = None
    limit_price: float | None = None
    stop_price: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    trail_bps: float | None = None
    time_in_force: str
    expires_at: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    order_id: str | None = None
    reason: str = ""
    metadata: str | None = None
    indicators: str | None = None


class SignalRejected(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The signal before it did not become an order; `reason` says why."""

    correlation_id: str
    symbol: str
    reason: str


class OrderSubmitted(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """An order left for the venue, and reaches it at `arrives_at` (ns).

    side:         buy, sell, short or cover.
    order_type:   market, limit, stop, stop_limit, take_profit or trailing_stop.
    quantity:     base units; None where `notional` limits the order instead.
    notional:     quote currency to trade at most, fee excluded; None where `quantity` is given.
    limit_price:  quote currency per base unit; None for what trades at any price.
    stop_price:   where a stop or take_profit order comes to life, quote currency per base unit.
    trail_bps:    how far a trailing stop follows the best price, in basis points of it.
    expires_at:   when a gtd order ends, ns; None for never.
    replaces:     the resting order in whose place it comes.
    reserved:     quote currency set aside for it, fee included; None where it spends none.
    mid_at_decision:  the mid that the strategy saw, quote currency per base unit; None where there was none.
    purpose:      signal, stop_loss, take_profit or liquidation.
    """

    order_id: str
    correlation_id: str
    symbol: str
    side: str
    order_type: str
    arrives_at: int
    quantity: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_bps: Decimal | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    time_in_force: str
    expires_at: int | None = None
    post_only: bool = False
    replaces: str | None = None
    reserved: Decimal | None = None
    mid_at_decision: float | None = None
    purpose: str


class OrderRested(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """An order waits at the venue: a limit order for somebody to trade with it, a stop for its price.

    queue_ahead:  base units displayed at its price before it came, which trade first; None where nobody knows.
    """

    order_id: str
    correlation_id: str
    symbol: str
    queue_ahead: float | None = None


class OrderFilled(PortfolioEvent, frozen=True, gc=False, omit_defaults=True):
    """Part or all of an order traded.

    price:      quote currency per base unit, slippage included.
    quantity:   base units, always positive; `side` carries the direction.
    fee:        quote currency; positive when paid, negative when rebated.
    fee_base:   base units in which the fee was paid instead, worth `fee` at the fill's price; they are missing from
                what was received. None where it was paid in quote currency.
    liquidity:  maker where the order rested, taker where it crossed.
    realized:   quote currency locked in by this fill, net of its fee: of an opening fill just minus the fee.
    cash:       what it left of the quote currency.
    position:   base units it left of the symbol, negative when short.
    cost:       quote currency paid for that position, negative (received) when short.
    rate:       desk currency for one unit of quote currency at the time; None where they are the same
                currency, zero where no price was known.
    left:       what the order still wants, in the unit it was sized in; None where that is nothing.
    mid_at_decision, mid_at_arrival:  the mid when the strategy decided, and when the order traded; None where
                one side was missing.
    spread_cost:    quote currency paid for crossing from the mid to the touch; negative where a resting
                order earned it.
    slippage_cost:  quote currency paid beyond the touch: deeper levels, and the slippage configured.
    """

    order_id: str
    correlation_id: str
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    liquidity: str
    realized: Decimal
    cash: Decimal
    position: Decimal
    cost: Decimal
    rate: Decimal | None = None
    left: Decimal | None = None
    fee_base: Decimal | None = None
    mid_at_decision: float | None = None
    mid_at_arrival: float | None = None
    spread_cost: Decimal | None = None
    slippage_cost: Decimal | None = None


class CancelSubmitted(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A request to cancel an order left for the venue, and reaches it at `arrives_at` (ns)."""

    order_id: str
    correlation_id: str
    symbol: str
    arrives_at: int


class OrderCanceled(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What was left of an order is gone, because of `reason`."""

    order_id: str
    correlation_id: str
    symbol: str
    reason: str


class OrderExpired(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The time of an order is over: at once (ioc, fok), or at its `expires_at` (gtd)."""

    order_id: str
    correlation_id: str
    symbol: str


class OrderRejected(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The order arrived and could not be accepted; `reason` says why."""

    order_id: str
    correlation_id: str
    symbol: str
    reason: str


class StopTriggered(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The market reached a stop: a position's exit, whose order comes next, or an order that waited for its price.

    kind:      stop_loss or take_profit of an exit; else the type of the order.
    level:     the price it waited for, quote currency per base unit.
    price:     the price that reached it.
    order_id:  the order that waited; None for an exit.
    """

    correlation_id: str
    symbol: str
    kind: str
    order_id: str | None = None
    level: Decimal
    price: Decimal


class MarginCalled(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The equity no longer covers the shorts; they are bought back at the market, the orders come next.

    equity:    in the desk's currency.
    required:  what the maintenance ratio asks for, in the desk's currency.
    """

    equity: Decimal
    required: Decimal


class PortfolioMarked(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The desk was valued.

    cash:    balance of the desk's currency.
    equity:  all balances in the desk's currency at known prices; None where one of them has no known
             price, which `unknown` names.
    """

    cash: Decimal
    equity: Decimal | None
    unknown: str = ""


class StrategyFailed(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The strategy raised or answered nonsense, and is not asked again.

    where:      the function of its contract that failed.
    exception:  the type's name. Not its text: that may hold an address and would differ in every run.
    file, line: where in the strategy's own code, line 0 where it is not there.
    """

    where: str
    exception: str
    file: str
    line: int
    detail: str = ""


class DeskHalted(PortfolioEvent, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The desk takes no more signals, because of `reason`."""

    reason: str


Event = (
    PortfolioOpened
    | SignalRaised
    | SignalRejected
    | OrderSubmitted
    | OrderRested
    | OrderFilled
    | CancelSubmitted
    | OrderCanceled
    | OrderExpired
    | OrderRejected
    | StopTriggered
    | MarginCalled
    | PortfolioMarked
    | StrategyFailed
    | DeskHalted
)
