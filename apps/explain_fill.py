"""The arithmetic of a fill: what the order met, and how price, fee and money follow from it."""

from decimal import Decimal
from typing import Any

import msgspec

from apps.ingredients import Ingredients
from apps.market_at import market_at
from apps.plain import amount, plain
from engine import events
from engine.execution import assets
from engine.market import Market, Quote
from engine.money import ZERO, add, bps_of, divide, money, multiply, subtract
from engine.orders import BUYING
from engine.portfolio import Portfolio

_LEVELS = 20


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A level of the book as it was displayed, and how much of it an order of this size reaches."""

    price: Decimal
    size: Decimal
    taken: Decimal


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """How a fill came to its numbers.

    met:      the touch, as JSON has it; None where none was known.
    levels:   displayed on the side that the order took, best first, and what an order of this size reaches of them.
    price, fee, money:  the steps, each a line of arithmetic.
    is_accounted_for:   whether these lines give the recorded price, fee and cash.
    """

    met: dict[str, Any] | None  # JSON
    levels: list[Taken]
    price: list[str]
    fee: list[str]
    money: list[str]
    is_accounted_for: bool


def settlement(
    made_of: Ingredients, fill: events.OrderFilled, order: events.OrderSubmitted, before: Portfolio
) -> Settlement:
    """The arithmetic of `fill`.

    before:  the desk just before it.
    """
    # An order that was under way met the market as it stood before the tick at which its arrival showed; one that
    # rested, or took no time, that of the tick itself.
    meets_tick = fill.liquidity == "maker" or fill.tick_seq == order.tick_seq
    market = market_at(made_of, fill.tick_seq + 1 if meets_tick else fill.tick_seq)
    quote = market.quote(fill.symbol, market.row + 1)
    levels = _levels(market, fill)
    execution = made_of.config.desks[fill.strategy].execution
    price, price_holds = _price(fill, order, quote, levels, execution.slippage_bps)
    fee, fee_holds = _fee(fill, execution.maker_bps if fill.liquidity == "maker" else execution.taker_bps)
    cash, cash_holds = _money(fill, before)
    return Settlement(
        met=None if quote is None else plain(quote) | {"mid": plain(quote.mid), "spread": plain(quote.spread)},
        levels=levels,
        price=price,
        fee=fee,
        money=cash,
        is_accounted_for=price_holds and fee_holds and cash_holds,
    )


def _levels(market: Market, fill: events.OrderFilled) -> list[Taken]:
    """The displayed levels that an order of the fill's size reaches, and one more."""
    book = market.book(fill.symbol)
    if book is None or fill.liquidity == "maker":
        return []
    left, taken = fill.quantity, []
    for price, size in book.asks(_LEVELS) if fill.side in BUYING else book.bids(_LEVELS):
        part = min(left, money(size))
        taken.append(Taken(price=money(price), size=money(size), taken=part))
        if not left:
            break
        left = subtract(left, part)
    return taken


def _price(
    fill: events.OrderFilled,
    order: events.OrderSubmitted,
    quote: Quote | None,
    levels: list[Taken],
    slippage_bps: Decimal,
) -> tuple[list[str], bool]:
    if fill.liquidity == "maker":
        limit = order.limit_price
        assert limit is not None
        return [f"it rested at its limit {amount(limit)}, and the market reached it"], fill.price == limit
    is_buying = fill.side in BUYING
    touch = None if quote is None else quote.ask if is_buying else quote.bid
    if touch is None or touch != touch:
        return [
            f"no {'ask' if is_buying else 'bid'} was known: it traded at {amount(fill.price)}, the last trade's"
        ], True
    best = money(touch)
    lines = [f"best {'ask' if is_buying else 'bid'} {amount(best)}"]
    candidates = [(best, "")]
    if sum(level.taken > ZERO for level in levels) > 1:
        notional = ZERO
        for level in levels:
            notional = add(notional, multiply(level.taken, level.price))
        reached = [level for level in levels if level.taken > ZERO]
        average = divide(notional, fill.quantity)
        candidates.insert(0, (average, f"average over {len(reached)} levels {amount(average)}"))
    for reference, words in candidates:
        slip = bps_of(reference, slippage_bps)
        price = add(reference, slip) if is_buying else subtract(reference, slip)
        if order.limit_price is not None:
            price = min(price, order.limit_price) if is_buying else max(price, order.limit_price)
        if price == fill.price:
            sign = "+" if is_buying else "-"
            told = f"{sign} {amount(slippage_bps)} bps slippage {amount(slip)} = {amount(price)}"
            return [*lines, *([words] if words else []), told], True
    return [
        *lines,
        f"traded at {amount(fill.price)}: not what is displayed, as when the desk had taken of it before",
    ], False


def _fee(fill: events.OrderFilled, bps: Decimal) -> tuple[list[str], bool]:
    notional = multiply(fill.quantity, fill.price)
    fee = bps_of(notional, bps)
    return [
        f"{amount(fill.quantity)} x {amount(fill.price)} = {amount(notional)}",
        f"{amount(notional)} x {amount(bps)} bps ({fill.liquidity}) = {amount(fee)}",
    ], fee == fill.fee


def _money(fill: events.OrderFilled, before: Portfolio) -> tuple[list[str], bool]:
    base, quote = assets(fill.symbol)
    notional = multiply(fill.quantity, fill.price)
    is_buying, cash = fill.side in BUYING, before.balance(quote)
    flow = subtract(cash, notional) if is_buying else add(cash, notional)
    left = subtract(flow, fill.fee)
    sign = "-" if is_buying else "+"
    held = before.position(fill.symbol)
    return [
        f"{quote} {amount(cash)} {sign} {amount(notional)} - {amount(fill.fee)} = {amount(left)}",
        f"{base} position {amount(held.quantity)} {'+' if is_buying else '-'} {amount(fill.quantity)}"
        f" = {amount(fill.position)}, cost {amount(held.cost)} -> {amount(fill.cost)}",
        f"realized {amount(fill.realized)} net of the fee",
    ], left == fill.cash
