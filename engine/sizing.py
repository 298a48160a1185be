"""From a signal to an order the desk can afford and the venue accepts, or the reason why not."""

from decimal import Decimal

import msgspec

from engine.execution import ExecutionConfig, Instrument, assets, cash_fee_bps
from engine.market import Market, Quote
from engine.moments import is_time
from engine.money import (
    BPS,
    ONE,
    ZERO,
    add,
    bps_of,
    ceil_to,
    divide,
    floor_divide,
    floor_to,
    is_number,
    money,
    multiply,
    negate,
    of_float,
    subtract,
)
from engine.orders import BUYING, WAITING
from engine.portfolio import Portfolio
from engine.position import FLAT
from engine.signals import ACTIONS, ORDER_TYPES, SIZES_IN, TIMES_IN_FORCE, Signal

_OPENING = ("buy", "short")
_REDUCING = {"buy": "cover", "short": "sell"}


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An order ready to be sent. Of `quantity` (base units) and `notional` (quote currency) one is given.

    price:     what it is expected to trade at, quote currency per base unit.
    reserved:  quote currency to set aside for it, fee included; None where it spends none.
    mid:       the mid at this moment, None where one side is missing.
    """

    side: str
    quantity: Decimal | None
    notional: Decimal | None
    price: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    trail_bps: Decimal | None
    reserved: Decimal | None
    mid: float | None


def draft(
    signal: Signal, plain: bool, portfolio: Portfolio, market: Market, stop: int, config: ExecutionConfig
) -> Draft | str:
    """The order that `signal` asks for, given the market before row `stop`; or why there is none.

    plain:  what `is_plain` says of the signal.
    """
    if signal.action not in ACTIONS:
        return f"unknown action {signal.action!r}"
    problem = "" if plain else _malformed(signal)
    if not problem and not _is_amount(signal.size) and signal.action not in ("close", "replace"):
        problem = "invalid size"
    if problem:
        return problem
    symbol, action, order_type = signal.symbol, signal.action, signal.order_type
    meets = market.meets(symbol, stop)
    if isinstance(meets, str):
        return meets
    held = portfolio.positions.get(symbol, FLAT).quantity
    side = _side(signal, held, portfolio)
    if side not in _SIDES:
        return side
    instrument = config.instruments.get(symbol) or market.instrument(symbol)
    limit = stop_price = None
    if order_type != "market":
        limit, stop_price = _limit(signal, side, instrument), _stop_price(signal, instrument)
        if (limit is not None and limit <= ZERO) or (stop_price is not None and stop_price <= ZERO):
            return "invalid price"
    price = limit or stop_price or _touch(side, meets)
    if price is None or price <= ZERO:
        return "no ask" if side in BUYING else "no bid"
    quantity, notional, reserved = None, None, None
    if action == "close":
        quantity = held.copy_abs()
        problem = too_small(quantity, multiply(quantity, price), instrument)
    else:
        sized = _size(signal, side, price, held, portfolio, market, stop, config, instrument)
        if isinstance(sized, str):
            return sized
        quantity, notional, reserved = sized
    mid = (meets.bid + meets.ask) / 2
    trail_bps = money(signal.trail_bps or ZERO) if order_type == "trailing_stop" else None
    return problem or Draft(
        side, quantity, notional, price, limit, stop_price, trail_bps, reserved, mid if mid == mid else None
    )


def buying_power(
    portfolio: Portfolio, market: Market, symbol: str, stop: int, config: ExecutionConfig, besides: str = ""
) -> Decimal:
    """Quote currency that may be spent on `symbol`, fees included.

    The balance, less what is set aside for other open orders, less what shorts in other symbols of that currency
    tie up: their value, for the proceeds are not the desk's own, and their collateral.
    """
    quote = assets(symbol)[1]
    power = portfolio.balances.get(quote, ZERO)
    if portfolio.reserves:
        power = subtract(power, portfolio.reserved(quote, besides))
    for other, position in portfolio.positions.items():
        if position.quantity < ZERO and other != symbol and assets(other)[1] == quote:
            value = multiply(
                position.quantity.copy_abs(), _mark(market, other, stop) or divide(position.cost, position.quantity)
            )
            power = subtract(power, add(value, divide(value, config.max_short_leverage)))
    return power


def short_room(portfolio: Portfolio, market: Market, symbol: str, stop: int, config: ExecutionConfig) -> Decimal | None:
    """Quote currency by which `symbol` may still be sold short: the gross exposure may reach the equity times leverage.

    None where some holding has no known price, for then nobody can say.
    """
    room, _ = valuation(portfolio, market, stop)
    rate = market.rate(assets(symbol)[1], portfolio.currency, stop)
    if room is None or not rate:
        return None
    room = multiply(room, config.max_short_leverage)
    for other, position in portfolio.positions.items():
        price, other_rate = _mark(market, other, stop), market.rate(assets(other)[1], portfolio.currency, stop)
        if price is None or other_rate is None:
            return None
        value = multiply(multiply(position.quantity, price), other_rate)
        is_closed_by_it = other == symbol and value > ZERO
        room = add(room, value) if is_closed_by_it else subtract(room, value.copy_abs())
    return divide(room, rate)


def valuation(portfolio: Portfolio, market: Market, stop: int) -> tuple[Decimal | None, str]:
    """Equity in the desk's currency at known prices; or None, and the asset whose price is not known."""
    equity = portfolio.cash()
    for asset, amount in portfolio.balances.items():
        if amount and asset != portfolio.currency:
            rate = market.rate(asset, portfolio.currency, stop)
            if rate is None:
                return None, asset
            equity = add(equity, multiply(amount, rate))
    return equity, ""


def affordable(power: Decimal, fee_bps: Decimal) -> Decimal:
    """The notional that `power` pays for together with its fee."""
    return divide(power, add(ONE, multiply(fee_bps, BPS)))


def too_small(quantity: Decimal, notional: Decimal, instrument: Instrument) -> str:
    """Why the venue would not take an order of this size, or an empty text."""
    if quantity <= ZERO or quantity < instrument.min_quantity:
        return "below minimum quantity"
    return "below minimum notional" if notional < instrument.min_notional else ""


_SIDES = frozenset({"buy", "sell", "short", "cover"})


def _size(
    signal: Signal,
    side: str,
    price: Decimal,
    held: Decimal,
    portfolio: Portfolio,
    market: Market,
    stop: int,
    config: ExecutionConfig,
    instrument: Instrument,
) -> tuple[Decimal | None, Decimal | None, Decimal | None] | str:
    """Quantity and notional of the order (one is None) and what to set aside for it; or why it cannot be sent."""
    lot, size = instrument.lot_size, money(signal.size)
    in_base = signal.size_in == "base"
    notional = multiply(size, price) if in_base else size
    reserved = None
    if side == "buy":
        power = buying_power(portfolio, market, signal.symbol, stop, config, signal.order_id or "")
        fee_bps = cash_fee_bps(config)
        reserved = add(notional, bps_of(notional, fee_bps))
        if reserved > power and (in_base or not _is_all_in(notional, power, signal.symbol, portfolio, config)):
            return "insufficient cash" if assets(signal.symbol)[1] else "the symbol names no quote currency"
        if reserved > power:
            notional, reserved = affordable(power, fee_bps), power  # the fee comes out of an all-in size
    elif side == "short":
        room = short_room(portfolio, market, signal.symbol, stop, config)
        if room is None:
            return "no price to value the collateral"
        if notional > room:
            return "insufficient collateral"
    quantity = floor_to(size, lot) if in_base else floor_divide(notional, price, lot)
    is_fixed = in_base or signal.order_type != "market"
    if is_fixed and side == "sell":
        quantity = min(quantity, held) if held > ZERO else quantity
    elif is_fixed and side == "cover":
        quantity = min(quantity, negate(held)) if held < ZERO else quantity
    problem = too_small(quantity, multiply(quantity, price), instrument)
    if problem:
        return problem
    return (quantity, None, reserved) if is_fixed else (None, notional, reserved)


def _is_all_in(notional: Decimal, power: Decimal, symbol: str, portfolio: Portfolio, config: ExecutionConfig) -> bool:
    """Whether the size alone could be paid, and exceeds what is free by no more than the fees of spending it all."""
    balance = portfolio.balance(assets(symbol)[1])
    return notional <= balance and notional <= add(power, bps_of(balance, cash_fee_bps(config)))


def _side(signal: Signal, held: Decimal, portfolio: Portfolio) -> str:
    """The order's side, or why there is nothing to do."""
    action = signal.action
    if action == "replace":
        return "nothing to replace"  # had there been an order, the action would be its side by now
    if action == "close":
        if not held:
            return "no position to close"
        return "sell" if held > ZERO else "cover"
    if signal.reduce_only:
        action = _REDUCING.get(action, action)
    if action == "sell" and held <= ZERO and not _is_coming(portfolio, signal.symbol, "buy"):
        return "no long position"
    if action == "cover" and held >= ZERO and not _is_coming(portfolio, signal.symbol, "short"):
        return "no short position"
    return action


def _is_coming(portfolio: Portfolio, symbol: str, side: str) -> bool:
    return any(order.symbol == symbol and order.side == side for order in portfolio.in_flight.values())


def _malformed(signal: Signal) -> str:
    """What is wrong with the terms of a signal, or an empty text."""
    if signal.order_type not in ORDER_TYPES:
        return f"unsupported order type {signal.order_type!r}"
    if signal.time_in_force not in TIMES_IN_FORCE:
        return f"unsupported time in force {signal.time_in_force!r}"
    if signal.size_in not in SIZES_IN:
        return f"unknown size_in {signal.size_in!r}"
    if signal.order_type != "market" or signal.limit_price is not None or signal.time_in_force == "gtd":
        problem = _malformed_terms(signal)
        if problem:
            return problem
    if signal.stop_loss is not None and not _is_amount(signal.stop_loss):
        return "invalid stop_loss"
    return "invalid take_profit" if signal.take_profit is not None and not _is_amount(signal.take_profit) else ""


def _malformed_terms(signal: Signal) -> str:
    """What is wrong with the prices and the end of an order that is not a plain market order."""
    order_type = signal.order_type
    if signal.limit_price is None and order_type in ("limit", "stop_limit"):
        return f"{order_type} order without a limit price"
    if signal.limit_price is not None and not _is_amount(signal.limit_price):
        return "invalid limit_price"
    if order_type in ("stop", "stop_limit", "take_profit") and not _is_amount(signal.stop_price):
        return f"{order_type} order without a stop price"
    if order_type == "trailing_stop" and not (_is_amount(signal.trail_bps) and float(signal.trail_bps or 0) < 10_000):
        return "trailing_stop order without trail_bps between 0 and 10000"
    if order_type in WAITING and (signal.post_only or signal.time_in_force in ("ioc", "fok")):
        return f"{order_type} order that is post_only, ioc or fok"
    if signal.time_in_force == "gtd" and not is_time(signal.expires_at):
        return "gtd order without expires_at"
    return ""


def _is_amount(value: object) -> bool:
    if type(value) is float:
        return 0.0 < value < 1e25
    return is_number(value) and 0.0 < float(value) < 1e25  # type: ignore[arg-type]  # is_number has looked


def _limit(signal: Signal, side: str, instrument: Instrument) -> Decimal | None:
    """The limit price on the venue's price grid, moved to the side that is better for us."""
    if signal.limit_price is None or signal.order_type not in ("limit", "stop_limit"):
        return None
    price = money(signal.limit_price)
    if instrument.tick_size is None:
        return price
    return floor_to(price, instrument.tick_size) if side in BUYING else ceil_to(price, instrument.tick_size)


def _stop_price(signal: Signal, instrument: Instrument) -> Decimal | None:
    """The stop price on the venue's price grid."""
    if signal.order_type not in ("stop", "stop_limit", "take_profit"):
        return None
    price = money(signal.stop_price or ZERO)
    return price if instrument.tick_size is None else floor_to(price, instrument.tick_size)


def _touch(side: str, quote: Quote) -> Decimal | None:
    touch = quote.ask if side in BUYING else quote.bid
    return of_float(touch) if touch == touch else None


def _mark(market: Market, symbol: str, stop: int) -> Decimal | None:
    price = market.mark(symbol, stop)
    return money(price) if price == price else None
