"""Plain orders by a short way: a buy at the market for cash, and the sale of all that was bought.

Most orders of most strategies are these two. `plain_order` and `plain_fill` answer what `draft` and `settled` would,
to the last digit, where nothing else is open that could matter: no other order, no other position, no book to walk,
no second currency. Anywhere else, and where the answer would be a refusal, they answer None, and the general way is
taken. The tests run every history both ways.
"""

from decimal import Decimal

from engine.events import OrderFilled
from engine.execution import ExecutionConfig, assets, latency_ns
from engine.market import Market
from engine.moments import Moment
from engine.money import ZERO, add, bps_of, floor_divide, multiply, of_float, subtract
from engine.portfolio import Order, Portfolio
from engine.position import FLAT, Position
from engine.settlement import fill, slipped
from engine.signals import Signal
from engine.sizing import too_small


def plain_order(
    name: str,
    signal: Signal,
    correlation_id: str,
    portfolio: Portfolio,
    market: Market,
    config: ExecutionConfig,
    fee_bps: Decimal,
    at: Moment,
) -> Order | None:
    """The order that the desk `name` sends for a plain signal: to buy, or to close what was bought.

    fee_bps:  what `cash_fee_bps` says of the config.
    """
    symbol, size, positions = signal.symbol, signal.size, portfolio.positions
    asset = assets(symbol)[1]
    if (
        portfolio.reserves
        or len(positions) != (symbol in positions)
        or asset != portfolio.currency
        or config.fee_in != "quote"
    ):
        return None
    quote = market.meets(symbol, at.stop)
    if isinstance(quote, str):
        return None
    instrument = config.instruments.get(symbol) or market.instrument(symbol)
    quantity = notional = reserved = None
    if signal.action == "buy":
        side, touch = "buy", quote.ask
        if not touch > 0.0 or type(size) is not float or not 0.0 < size < 1e25:
            return None
        price, notional = of_float(touch), of_float(size)
        reserved = add(notional, bps_of(notional, fee_bps))
        if reserved > portfolio.balances[asset]:
            return None
        expected = floor_divide(notional, price, instrument.lot_size)
    elif signal.action == "close" and positions:
        side, touch, quantity = "sell", quote.bid, positions[symbol].quantity
        if not touch > 0.0:
            return None
        price, expected = of_float(touch), quantity
    else:
        return None
    value = multiply(expected, price) if instrument.min_notional else ZERO  # where it does not matter it is not found
    if too_small(expected, value, instrument):
        return None
    mid, order_id = (quote.bid + quote.ask) / 2, f"{name}-{portfolio.orders + 1}"
    return Order(
        name,
        portfolio.next_seq,
        at.seq,
        at.ts,
        order_id=order_id,
        correlation_id=correlation_id,
        symbol=symbol,
        side=side,
        order_type=signal.order_type,
        arrives_at=at.ts + (latency_ns(config, order_id) if config.jitter_ns else config.latency_ns),
        quantity=quantity,
        notional=notional,
        time_in_force=signal.time_in_force,
        reserved=reserved,
        mid_at_decision=mid if mid == mid else None,
        purpose="signal",
    )


def plain_fill(
    order: Order, portfolio: Portfolio, market: Market, config: ExecutionConfig, at: Moment
) -> OrderFilled | None:
    """The fill of an order that `plain_order` made, on its arrival."""
    symbol, notional, positions = order.symbol, order.notional, portfolio.positions
    if len(portfolio.reserves) != (notional is not None) or len(positions) != (symbol in positions):
        return None
    quote = market.stands(symbol, at.stop)
    if isinstance(quote, str) or market.book(symbol) is not None:
        return None
    touch = quote.bid if notional is None else quote.ask
    if not touch > 0.0:
        return None
    price = of_float(touch)
    if config.slippage_bps:
        price = slipped(price, -1 if notional is None else 1, None, config.slippage_bps)
    base, asset = assets(symbol)
    position, cash = positions.get(symbol, FLAT), portfolio.balances[asset]
    instrument = config.instruments.get(symbol) or market.instrument(symbol)
    quantity = position.quantity if notional is None else floor_divide(notional, price, instrument.lot_size)
    value = multiply(quantity, price)
    fee = bps_of(value, config.taker_bps)
    if too_small(quantity, value, instrument):
        return None
    if notional is None:
        if quantity != order.quantity or quantity > portfolio.balances[base]:
            return None
        gross, after, cash = subtract(value, position.cost), FLAT, add(cash, subtract(value, fee))
    else:
        after = Position(add(position.quantity, quantity), add(position.cost, value))
        gross, cash = ZERO, subtract(cash, add(value, fee))
        if cash < ZERO or position.quantity < ZERO:
            return None
    return fill(order, quantity, price, touch, quote, fee, False, gross, cash, after, portfolio.next_seq, at)
