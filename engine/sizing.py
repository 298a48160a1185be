"""From a signal to an order the desk can afford and the venue accepts, or the reason why not."""

from decimal import Decimal

import msgspec

from engine.execution import ExecutionConfig, Instrument, assets
from engine.market import Market, Quote
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
    subtract,
)
from engine.orders import BUYING
from engine.portfolio import Portfolio
from engine.signals import ACTIONS, ORDER_TYPES, TIMES_IN_FORCE, Signal


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An order ready to be sent. Of `quantity` (base units) and `notional` (quote currency) one is given."""

    side: str
    quantity: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None


def draft(signal: Signal, portfolio: Portfolio, market: Market, stop: int, config: ExecutionConfig) -> Draft | str:
    """The order that `signal` asks for, given the market before row `stop`; or why there is none."""
    problem = _malformed(signal)
    if problem:
        return problem
    meets = market.meets(signal.symbol, stop)
    if isinstance(meets, str):
        return meets
    side = _side(signal, portfolio)
    if side not in ("buy", "sell", "short", "cover"):
        return side
    instrument = market.instrument(signal.symbol)
    limit = _limit(signal, side, instrument) if signal.order_type == "limit" else None
    if limit is not None and limit <= ZERO:
        return "invalid limit_price"
    price = limit or _touch(side, meets)
    if price is None or price <= ZERO:
        return "no ask" if side in BUYING else "no bid"
    sized = _size(signal, side, price, portfolio, market, stop, config, instrument)
    if isinstance(sized, str):
        return sized
    quantity, notional = sized
    stop_loss = None if signal.stop_loss is None else money(signal.stop_loss)
    take_profit = None if signal.take_profit is None else money(signal.take_profit)
    return Draft(side, quantity, notional, limit, stop_loss, take_profit)


def buying_power(portfolio: Portfolio, market: Market, symbol: str, stop: int, besides: str = "") -> Decimal:
    """Quote currency that may be spent on `symbol`, fees included.

    The balance, less what other open buy orders may spend, less twice the value of shorts in other symbols
    of that currency: once for the proceeds, which are not the desk's own, once for the collateral.
    """
    quote = assets(symbol)[1]
    power = subtract(portfolio.balance(quote), portfolio.reserved(quote, besides))
    for other, position in portfolio.positions.items():
        if position.quantity < ZERO and other != symbol and assets(other)[1] == quote:
            value = multiply(
                position.quantity.copy_abs(), _mark(market, other, stop) or divide(position.cost, position.quantity)
            )
            power = subtract(power, add(value, value))
    return power


def short_room(portfolio: Portfolio, market: Market, symbol: str, stop: int) -> Decimal | None:
    """Quote currency by which `symbol` may still be sold short: the gross exposure may reach the equity.

    None where some holding has no known price, for then nobody can say.
    """
    room, _ = valuation(portfolio, market, stop)
    rate = market.rate(assets(symbol)[1], portfolio.currency, stop)
    if room is None or not rate:
        return None
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


def affordable(power: Decimal, taker_bps: Decimal) -> Decimal:
    """The notional that `power` pays for together with its taker fee."""
    return divide(power, add(ONE, multiply(taker_bps, BPS)))


def too_small(quantity: Decimal, notional: Decimal, instrument: Instrument) -> str:
    """Why the venue would not take an order of this size, or an empty text."""
    if quantity <= ZERO or quantity < instrument.min_quantity:
        return "below minimum quantity"
    return "below minimum notional" if notional < instrument.min_notional else ""


def _size(
    signal: Signal,
    side: str,
    price: Decimal,
    portfolio: Portfolio,
    market: Market,
    stop: int,
    config: ExecutionConfig,
    instrument: Instrument,
) -> tuple[Decimal | None, Decimal | None] | str:
    """Quantity and notional of the order (one is None), or why it cannot be sent."""
    symbol, lot = signal.symbol, instrument.lot_size
    if signal.action == "close":
        quantity = portfolio.position(symbol).quantity.copy_abs()
        return too_small(quantity, multiply(quantity, price), instrument) or (quantity, None)
    size = money(signal.size)
    in_base = signal.size_in == "base"
    notional = multiply(size, price) if in_base else size
    if side == "buy":
        power = buying_power(portfolio, market, symbol, stop)
        if notional > power or (in_base and add(notional, bps_of(notional, config.taker_bps)) > power):
            return "insufficient cash"
        if add(notional, bps_of(notional, config.taker_bps)) > power:
            notional = affordable(power, config.taker_bps)  # the fee comes out of an all-in size
    elif side == "short":
        room = short_room(portfolio, market, symbol, stop)
        if room is None:
            return "no price to value the collateral"
        if notional > room:
            return "insufficient collateral"
    quantity = floor_to(size, lot) if in_base else floor_divide(notional, price, lot)
    if side == "sell" and (in_base or signal.order_type == "limit"):
        held = portfolio.position(symbol).quantity
        quantity = min(quantity, held) if held > ZERO else quantity
    elif side == "cover" and (in_base or signal.order_type == "limit"):
        owed = negate(portfolio.position(symbol).quantity)
        quantity = min(quantity, owed) if owed > ZERO else quantity
    problem = too_small(quantity, multiply(quantity, price), instrument)
    if problem:
        return problem
    is_by_notional = not in_base and signal.order_type == "market"
    return (None, notional) if is_by_notional else (quantity, None)


def _side(signal: Signal, portfolio: Portfolio) -> str:
    """The order's side, or why there is nothing to do."""
    held = portfolio.position(signal.symbol).quantity
    match signal.action:
        case "close" if held > ZERO:
            return "sell"
        case "close" if held < ZERO:
            return "cover"
        case "close":
            return "no position to close"
        case "sell" if held <= ZERO and not _is_coming(portfolio, signal.symbol, "buy"):
            return "no long position"
        case "cover" if held >= ZERO and not _is_coming(portfolio, signal.symbol, "short"):
            return "no short position"
    return signal.action


def _is_coming(portfolio: Portfolio, symbol: str, side: str) -> bool:
    return any(order.symbol == symbol and order.side == side for order in portfolio.in_flight.values())


def _malformed(signal: Signal) -> str:
    if signal.action not in ACTIONS:
        return f"unknown action {signal.action!r}"
    if signal.order_type not in ORDER_TYPES:
        return f"unsupported order type {signal.order_type!r}"
    if signal.time_in_force not in TIMES_IN_FORCE:
        return f"unsupported time in force {signal.time_in_force!r}"
    if signal.size_in not in ("quote", "base"):
        return f"unknown size_in {signal.size_in!r}"
    if signal.action != "close" and not _is_amount(signal.size):
        return "invalid size"
    if signal.order_type == "limit" and signal.limit_price is None:
        return "limit order without a limit price"
    if signal.limit_price is not None and not _is_amount(signal.limit_price):
        return "invalid limit_price"
    if signal.stop_loss is not None and not _is_amount(signal.stop_loss):
        return "invalid stop_loss"
    if signal.take_profit is not None and not _is_amount(signal.take_profit):
        return "invalid take_profit"
    return ""


def _is_amount(value: object) -> bool:
    return is_number(value) and 0.0 < float(value) < 1e25  # type: ignore[arg-type]  # is_number has looked


def _limit(signal: Signal, side: str, instrument: Instrument) -> Decimal | None:
    """The limit price on the venue's price grid, moved to the side that is better for us."""
    if signal.limit_price is None:
        return None
    price = money(signal.limit_price)
    if instrument.tick_size is None:
        return price
    return floor_to(price, instrument.tick_size) if side in BUYING else ceil_to(price, instrument.tick_size)


def _touch(side: str, quote: Quote) -> Decimal | None:
    touch = quote.ask if side in BUYING else quote.bid
    return money(touch) if touch == touch else None


def _mark(market: Market, symbol: str, stop: int) -> Decimal | None:
    price = market.mark(symbol, stop)
    return money(price) if price == price else None
