"""The arithmetic of a fill: what the order met, and how price, fee and money follow from it."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from math import fsum
from typing import Any

import msgspec

from apps.ingredients import Ingredients
from apps.market_at import market_at
from apps.plain import amount, plain
from engine import events
from engine.execution import assets
from engine.market import Market, Quote
from engine.money import ZERO, add, bps_of, money, multiply, subtract
from engine.orders import BUYING
from engine.portfolio import Portfolio
from engine.ticks import NO_SYMBOL, Kind, Tick

_LEVELS = 1_000

Slip = Callable[[Decimal], Decimal]
"""What slippage and a limit make of a level's price."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A level of the book as it was displayed, and how much of it the order took at that moment.

    size:  base units; None where a price alone was known.
    """

    price: Decimal
    size: Decimal | None
    taken: Decimal


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """How a fill came to its numbers.

    met:      the touch, as JSON has it; None where none was known.
    levels:   of the side that a taker takes, best first, down to the last one that the order took.
    price, costs, fee, money:  the steps, each a line of arithmetic.
    is_accounted_for:   whether these lines give the recorded price, costs, fee and cash.
    """

    met: dict[str, Any] | None  # JSON
    levels: list[Taken]
    price: list[str]
    costs: list[str]
    fee: list[str]
    money: list[str]
    is_accounted_for: bool


def settlement(
    made_of: Ingredients, fill: events.OrderFilled, life: Sequence[events.Event], before: Portfolio
) -> Settlement:
    """The arithmetic of `fill`.

    life:    the events of its signal.
    before:  the desk just before it.
    """
    [order] = [event for event in life if isinstance(event, events.OrderSubmitted) and event.order_id == fill.order_id]
    market = market_at(made_of, fill.tick_seq + 1 if _meets_the_tick(fill, order, life) else fill.tick_seq)
    quote = market.quote(fill.symbol, market.row + 1)
    execution = made_of.config.desks[fill.strategy].execution
    if fill.liquidity == "maker":
        levels: list[Taken] = []
        price, touch, price_holds = _resting_price(made_of, fill, order, life)
    else:
        slip = partial(_slipped, is_buying=fill.side in BUYING, bps=execution.slippage_bps, limit=order.limit_price)
        stands = market.stands(fill.symbol, market.row + 1) if quote is not None else ""
        touch_then = None if isinstance(stands, str) else stands
        levels = _levels(market, fill, touch_then, _siblings(fill, life), slip)
        price, touch, price_holds = _taken_price(fill, levels, slip, execution.slippage_bps)
    costs, costs_hold = _costs(fill, touch)
    fee, fee_holds = _fee(fill, execution.maker_bps if fill.liquidity == "maker" else execution.taker_bps)
    cash, cash_holds = _money(fill, before)
    return Settlement(
        met=None if quote is None else plain(quote) | {"mid": plain(quote.mid), "spread": plain(quote.spread)},
        levels=levels,
        price=price,
        costs=costs,
        fee=fee,
        money=cash,
        is_accounted_for=price_holds and costs_hold and fee_holds and cash_holds,
    )


def _meets_the_tick(fill: events.OrderFilled, order: events.OrderSubmitted, life: Sequence[events.Event]) -> bool:
    """Whether it met the market after its tick, as what rested, waited, or took no time does.

    What was under way met the market as it stood before the tick at which its arrival showed.
    """
    woken = any(
        isinstance(event, events.StopTriggered) and (event.order_id, event.tick_seq) == (fill.order_id, fill.tick_seq)
        for event in life
    )
    return fill.liquidity == "maker" or woken or fill.tick_seq == order.tick_seq


def _siblings(fill: events.OrderFilled, life: Sequence[events.Event]) -> list[events.OrderFilled]:
    """What the order took at that moment, this fill included."""
    return [
        event
        for event in life
        if isinstance(event, events.OrderFilled)
        and (event.order_id, event.tick_seq, event.liquidity) == (fill.order_id, fill.tick_seq, fill.liquidity)
    ]


def _levels(
    market: Market, fill: events.OrderFilled, quote: Quote | None, taken: Sequence[events.OrderFilled], slip: Slip
) -> list[Taken]:
    """The touch as last quoted, then the book behind it, down to the last level that the order took."""
    is_buying, book = fill.side in BUYING, market.book(fill.symbol)
    shown: list[tuple[float, float | None]] = []
    if quote is not None:
        best, best_size = (quote.ask, quote.ask_size) if is_buying else (quote.bid, quote.bid_size)
        shown = [(best, best_size if best_size == best_size else None)] if best == best else []
    if book is not None and shown:
        best = shown[0][0]
        behind = book.asks(_LEVELS) if is_buying else book.bids(_LEVELS)
        shown += [(price, size) for price, size in behind if (price > best if is_buying else price < best)]
    levels, left = [], {sibling.seq: sibling for sibling in taken}
    for price, size in shown:
        here = [sibling for sibling in left.values() if sibling.price == slip(money(price))][:1]
        for sibling in here:
            del left[sibling.seq]
        got = here[0].quantity if here else ZERO
        levels.append(Taken(price=money(price), size=None if size is None else money(size), taken=got))
        if not left:
            break
    return levels


def _slipped(price: Decimal, *, is_buying: bool, bps: Decimal, limit: Decimal | None) -> Decimal:
    slip = bps_of(price, bps)
    moved = add(price, slip) if is_buying else subtract(price, slip)
    if limit is None:
        return moved
    return min(moved, limit) if is_buying else max(moved, limit)


def _taken_price(
    fill: events.OrderFilled, levels: Sequence[Taken], slip: Slip, bps: Decimal
) -> tuple[list[str], Decimal, bool]:
    """The steps, the touch that costs are counted from, and whether the steps give the recorded price."""
    if not levels:
        return [f"nobody quoted: the last trade's price, {amount(fill.price)}"], fill.price, True
    side = "ask" if fill.side in BUYING else "bid"
    for number, level in enumerate(levels, start=1):
        if level.taken and slip(level.price) == fill.price:
            place = f"best {side}" if number == 1 else f"{side} {number}"
            of = "" if level.size is None else f", {amount(level.size)} displayed"
            return (
                [
                    f"{place} {amount(level.price)}{of}",
                    f"slippage {amount(bps)} bps: {amount(fill.price)}",
                ],
                levels[0].price,
                True,
            )
    return [f"{amount(fill.price)} is at no level that was displayed"], levels[0].price, False


def _resting_price(
    made_of: Ingredients, fill: events.OrderFilled, order: events.OrderSubmitted, life: Sequence[events.Event]
) -> tuple[list[str], Decimal, bool]:
    limit = order.limit_price
    assert limit is not None
    rested = [event for event in life if isinstance(event, events.OrderRested) and event.order_id == fill.order_id][-1]
    [row] = made_of.tape.ticks(fill.tick_seq, fill.tick_seq + 1)
    ahead = "an unknown size" if rested.queue_ahead is None else f"{rested.queue_ahead:g}"
    traded = _traded_at(made_of, fill.symbol, float(limit), rested.tick_seq, fill.tick_seq + 1)
    lines = [
        f"it rested at its limit {amount(limit)} behind {ahead}; {traded:g} traded at that price since",
        f"tick {fill.tick_seq}: {_reached(row.tick, limit, is_buying=fill.side in BUYING)}",
    ]
    return lines, limit, fill.price == limit


def _traded_at(made_of: Ingredients, symbol: str, price: float, start_seq: int, stop_seq: int) -> float:
    """Base units of `symbol` that traded at exactly this price in the ticks of the range."""
    sizes = []
    for batch in made_of.tape.batches(start_seq=start_seq, stop_seq=stop_seq):
        char = chr(batch.symbols.index(symbol)) if symbol in batch.symbols else NO_SYMBOL
        row = batch.traded.find(char)
        while row >= 0:
            if batch.price[row] == price:
                sizes.append(batch.size[row])
            row = batch.traded.find(char, row + 1)
    return fsum(size for size in sizes if size == size)


def _reached(tick: Tick, limit: Decimal, *, is_buying: bool) -> str:
    """How a tick came to trade with what rested at `limit`."""
    level = float(limit)
    if tick.kind == Kind.TRADE and tick.price == level:
        return f"{tick.size:g} traded at its price, and what was ahead of it was gone"
    if tick.kind == Kind.TRADE and (tick.price < level if is_buying else tick.price > level):
        return f"a trade at {tick.price:g} went through its price"
    side, price = ("ask", tick.ask) if is_buying else ("bid", tick.bid)
    return f"the {side} came to it, at {price:g}"


def _costs(fill: events.OrderFilled, touch: Decimal) -> tuple[list[str], bool]:
    """What it cost to trade there and not at the mid."""
    sign = 1 if fill.side in BUYING else -1
    if fill.mid_at_arrival is None:
        return ["no mid was known"], fill.spread_cost is None
    mid = money(fill.mid_at_arrival)
    spread = multiply(fill.quantity, subtract(touch, mid)) * sign
    beyond = multiply(fill.quantity, subtract(fill.price, touch)) * sign
    return [
        f"mid {amount(mid)}, touch {amount(touch)}: {amount(spread)} for the half spread",
        f"touch {amount(touch)}, price {amount(fill.price)}: {amount(beyond)} for depth and slippage",
    ], (spread, beyond) == (fill.spread_cost or ZERO, fill.slippage_cost or ZERO)


def _fee(fill: events.OrderFilled, bps: Decimal) -> tuple[list[str], bool]:
    notional = multiply(fill.quantity, fill.price)
    if fill.fee_base is not None:
        kept = bps_of(fill.quantity, bps)
        fee, base = multiply(kept, fill.price), assets(fill.symbol)[0]
        return [
            f"{amount(fill.quantity)} {base} x {amount(bps)} bps ({fill.liquidity}) = {amount(kept)} {base} kept back",
            f"{amount(kept)} x {amount(fill.price)} = {amount(fee)}",
        ], (kept, fee) == (fill.fee_base, fill.fee)
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
    kept = fill.fee_base
    left = subtract(flow, fill.fee) if kept is None else flow
    fee = f" - {amount(fill.fee)}" if kept is None else ""
    sign = "-" if is_buying else "+"
    held = before.position(fill.symbol)
    return [
        f"{quote} {amount(cash)} {sign} {amount(notional)}{fee} = {amount(left)}",
        f"{base} position {amount(held.quantity)} {'+' if is_buying else '-'} {amount(fill.quantity)}"
        f"{'' if kept is None else f' - {amount(kept)}'}"
        f" = {amount(fill.position)}, cost {amount(held.cost)} -> {amount(fill.cost)}",
        f"realized {amount(fill.realized)} net of the fee",
    ], left == fill.cash
