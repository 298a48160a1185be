"""What a trade at a price comes to: how much of an order can be settled there, what it costs and what it leaves."""

from decimal import Decimal

import msgspec

from engine.events import OrderFilled
from engine.execution import ExecutionConfig, assets
from engine.market import Market, Quote
from engine.moments import Moment
from engine.money import ZERO, add, bps_of, floor_divide, floor_to, multiply, negate, of_float, subtract
from engine.orders import BUYING
from engine.portfolio import Order, Portfolio, wanted
from engine.position import FLAT, Position, traded
from engine.sizing import affordable, buying_power, short_room, too_small

NOTHING_LEFT = {"sell": "no long position", "cover": "no short position"}
"""Why the rest of an order that may only reduce a position does not trade."""


def settled(
    order: Order,
    price: Decimal,
    available: Decimal | None,
    touch: float,
    quote: Quote,
    is_maker: bool,
    portfolio: Portfolio,
    market: Market,
    config: ExecutionConfig,
    at: Moment,
) -> OrderFilled | str | None:
    """The fill at `price` of what the order still wants, or why the order is over; None for less than a lot.

    available:  base units to be had at this price; None for any quantity.
    touch:      the best price when the order began to trade; of a resting order its own.
    """
    symbol, is_buying = order.symbol, order.side in BUYING
    base, asset = assets(symbol)
    position = portfolio.positions.get(symbol, FLAT)
    fee_bps = config.maker_bps if is_maker else config.taker_bps
    in_base = order.side == "buy" and config.fee_in == "received"
    sized = _tradable(
        order, price, available, position.quantity, base, ZERO if in_base else fee_bps, portfolio, market, config, at
    )
    if isinstance(sized, str):
        return sized
    quantity, notional, fee, left = sized
    if not quantity:
        return None
    fee_base = None
    balance = portfolio.balances.get(asset, ZERO)
    if in_base:
        fee_base = bps_of(quantity, fee_bps)
        fee = multiply(fee_base, price)
        after, gross = traded(position, subtract(quantity, fee_base), subtract(notional, fee))
        cash = subtract(balance, notional)
    elif is_buying:
        after, gross = traded(position, quantity, notional)
        cash = subtract(balance, add(notional, fee))
    else:
        after, gross = traded(position, negate(quantity), negate(notional))
        cash = add(balance, subtract(notional, fee))
    rate = None
    if asset != portfolio.currency:
        rate = market.rate(asset, portfolio.currency, at.stop) or ZERO
    made = fill(order, quantity, price, touch, quote, fee, is_maker, gross, cash, after, portfolio.next_seq, at)
    if rate is None and left is None and fee_base is None:
        return made
    return msgspec.structs.replace(made, rate=rate, left=left, fee_base=fee_base)


def fill(
    order: Order,
    quantity: Decimal,
    price: Decimal,
    touch: float,
    quote: Quote,
    fee: Decimal,
    is_maker: bool,
    gross: Decimal,
    cash: Decimal,
    after: Position,
    seq: int,
    at: Moment,
) -> OrderFilled:
    """The fact that all of an order traded `quantity` at `price`, and what that cost against the market it met.

    gross:        realized by it, before its fee.
    cash, after:  what it left of the quote currency and of the position.
    """
    mid, paid, is_buying = (quote.bid + quote.ask) / 2, of_float(touch), order.side in BUYING
    return OrderFilled(
        order.strategy,
        seq,
        at.seq,
        at.ts,
        order.order_id,
        order.correlation_id,
        order.symbol,
        order.side,
        price,
        quantity,
        fee,
        "maker" if is_maker else "taker",
        subtract(gross, fee),
        cash,
        after.quantity,
        after.cost,
        mid_at_decision=order.mid_at_decision,
        mid_at_arrival=mid if mid == mid else None,
        spread_cost=None if mid == touch or mid != mid else _cost(quantity, of_float(mid), paid, is_buying),
        slippage_cost=None if price == paid else _cost(quantity, paid, price, is_buying),
    )


def slipped(price: Decimal, side: int, limit: Decimal | None, slippage_bps: Decimal) -> Decimal:
    """The price of an order that buys (+1) or sells (-1) moved against it, never past its limit."""
    slip = bps_of(price, slippage_bps)
    moved = add(price, slip) if side > 0 else subtract(price, slip)
    if limit is None:
        return moved
    return min(moved, limit) if side > 0 else max(moved, limit)


def _tradable(
    order: Order,
    price: Decimal,
    available: Decimal | None,
    held: Decimal,
    base: str,
    fee_bps: Decimal,
    portfolio: Portfolio,
    market: Market,
    config: ExecutionConfig,
    at: Moment,
) -> tuple[Decimal, Decimal, Decimal, Decimal | None] | str:
    """Quantity, notional and fee that can be settled at `price`, and what the order wants then; or why nothing.

    held:  base units of the position before it.
    """
    symbol, side, by_notional = order.symbol, order.side, order.notional
    instrument = config.instruments.get(symbol) or market.instrument(symbol)
    lot = instrument.lot_size
    wants = portfolio.left.get(order.order_id) if portfolio.left else None
    is_fresh = wants is None
    if wants is None:
        wants = wanted(order)
    quantity = wants if by_notional is None else floor_divide(wants, price, lot)
    if side == "sell":
        quantity = min(quantity, held, portfolio.available(base))
    elif side == "cover":
        quantity = min(quantity, negate(held))
    if quantity <= ZERO and side in NOTHING_LEFT:
        return NOTHING_LEFT[side]
    notional = multiply(quantity, price)
    fee = bps_of(notional, fee_bps)
    if side == "buy":
        power = buying_power(portfolio, market, symbol, at.stop, config, order.order_id)
        if add(notional, fee) > power:
            if by_notional is None:
                return "insufficient cash"
            quantity = floor_divide(max(affordable(power, fee_bps), ZERO), price, lot)
            notional = multiply(quantity, price)
            fee = bps_of(notional, fee_bps)
    elif side == "short":
        room = short_room(portfolio, market, symbol, at.stop, config)
        if room is None:
            return "no price to value the collateral"
        if notional > room:
            return "insufficient collateral"
    if is_fresh:
        problem = too_small(quantity, notional, instrument)
        if problem:
            return problem
    if available is None or quantity <= available:
        cut = subtract(wants, quantity) if by_notional is None and quantity != wants else None
        return quantity, notional, fee, cut
    quantity = floor_to(available, lot) if available > ZERO else ZERO
    notional = multiply(quantity, price)
    left = subtract(wants, quantity if by_notional is None else notional)
    return quantity, notional, bps_of(notional, fee_bps), left


def _cost(quantity: Decimal, fair: Decimal, paid: Decimal, is_buying: bool) -> Decimal | None:
    """What trading at `paid` instead of `fair` cost; None where that is nothing."""
    return multiply(quantity, subtract(paid, fair) if is_buying else subtract(fair, paid)) or None
