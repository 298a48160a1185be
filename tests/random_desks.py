"""Desks by chance, for the property tests of the engine: every kind of order, on every kind of terms."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from engine.desk import Desk
from engine.execution import Instrument
from engine.money import money
from engine.risk import NO_LIMITS, RiskLimits
from engine.signals import Signal
from tests.builders import BTC, ETH, MS, SECOND, a_strategy, desk_of
from tests.random_markets import GRID, SYMBOLS, upto

TRIGGERS = ("tick", "trade", "quote", "book", "candle:1s", "candle:1m", "every:500ms", "every:7s")
LATENCIES_NS = (0, 1, 50 * MS, 3 * SECOND)

_SIZES = (1.0, 10.0, 25.0)
_SHARES = {"short": (1.0, 2.9)}
"""Sizes in quote currency, and as shares of the cash: else all of it, and a part."""
_ACTIONS = (None, "buy", "buy", "buy", "buy", "short", "short", "sell", "cover", "close")
_ACTIONS += ("cancel", "cancel one", "replace", "replace")
_UNDOING = {"sell": "buy", "close": "buy", "cover": "short"}
_ORDERS: tuple[dict[str, Any], ...] = (
    {},
    {"in_base": True},
    {"order_type": "limit"},
    {"order_type": "limit", "in_base": True},
    {"order_type": "limit"},
    {"order_type": "limit", "in_base": True},
    {"order_type": "limit", "time_in_force": "ioc"},
    {"order_type": "limit", "time_in_force": "fok"},
    {"order_type": "limit", "time_in_force": "gtd"},
    {"order_type": "limit", "post_only": True},
    {"order_type": "limit", "reduce_only": True},
    {"reduce_only": True, "in_base": True},
    {"time_in_force": "fok"},
    {"order_type": "stop"},
    {"order_type": "stop", "in_base": True, "time_in_force": "gtd"},
    {"order_type": "stop_limit"},
    {"order_type": "take_profit"},
    {"order_type": "take_profit", "in_base": True, "reduce_only": True},
    {"order_type": "trailing_stop"},
    {"order_type": "trailing_stop", "in_base": True},
)
_EXPIRES_NS = (0, 1, 30 * MS, SECOND, 7 * SECOND)

_COSTS: tuple[dict[str, str], ...] = (
    {},
    {"maker_bps": "2", "taker_bps": "7.5"},
    {"maker_bps": "2", "taker_bps": "7.5", "slippage_bps": "3"},
    {"maker_bps": "-1.3", "taker_bps": "40"},
    {"maker_bps": "25", "taker_bps": "-0.7", "slippage_bps": "120"},
    {"maker_bps": "10", "taker_bps": "10", "fee_in": "received"},
    {"maker_bps": "-3", "taker_bps": "33.3", "slippage_bps": "1", "fee_in": "received"},
)
_FILLS: tuple[dict[str, Any], ...] = (
    {},
    {"queue_model": "proportional"},
    {"queue_model": "power"},
    {"queue_model": "log"},
    {"queue_model": "none"},
    {"fill_model": "touch"},
)
_STOP_TRIGGERS = ("last", "touch", "mid")
_DELAYS: tuple[dict[str, Any], ...] = (
    {},
    {"cancel_latency_ns": 0},
    {"cancel_latency_ns": 2 * SECOND},
    {"jitter_ns": 40 * MS},
    {"jitter_ns": SECOND, "jitter": "exponential", "jitter_seed": 7},
)
_MARGINS: tuple[dict[str, Any], ...] = (
    {},
    {"maintenance_ratio": money("0.995")},
    {"max_short_leverage": money("3"), "maintenance_ratio": money("0.332")},
    {"max_short_leverage": money("5"), "maintenance_ratio": money("0.19")},
    {"max_short_leverage": money("0.5"), "maintenance_ratio": money("1.5")},
)
_RULES: tuple[dict[str, Any], ...] = (
    {},
    {BTC: Instrument(tick_size=money("0.5"), lot_size=money("0.001"), min_notional=money("5"))},
    {ETH: Instrument(lot_size=money("1"), min_quantity=money("2"))},
)
_LIMITS = (
    NO_LIMITS,
    RiskLimits(max_position=money("30"), max_order_notional=money("20")),
    RiskLimits(max_open_orders=1, max_orders_per_minute=3),
    RiskLimits(max_drawdown_pct=money("0.5")),
    RiskLimits(max_loss_streak=1, cooldown_ns=SECOND),
    RiskLimits(max_loss_streak=2),
)
_CASH = ("100", "1000", "7.77")


class Wish(NamedTuple):
    """One answer of a strategy by chance; prices are offsets, in ticks, from the price it sees."""

    action: int
    size: int
    order: int
    offset: int
    exits: int
    symbol: int


class Terms(NamedTuple):
    """On what terms a desk trades, by chance."""

    latency: int
    costs: int
    fills: int
    stops: int
    delays: int
    margin: int
    rules: int
    risk: int
    cash: int


class Cast(NamedTuple):
    """A desk by chance."""

    trigger: int
    watched: int
    terms: Terms
    wishes: tuple[Wish, ...]


wishes = st.builds(Wish, upto(len(_ACTIONS) - 1), upto(6), upto(len(_ORDERS) - 1), st.integers(-4, 4), upto(3), upto(5))
terms = st.builds(
    Terms,
    upto(len(LATENCIES_NS) - 1),
    upto(len(_COSTS) - 1),
    upto(len(_FILLS) - 1),
    upto(len(_STOP_TRIGGERS) - 1),
    upto(len(_DELAYS) - 1),
    upto(len(_MARGINS) - 1),
    upto(len(_RULES) - 1),
    upto(len(_LIMITS) - 1),
    upto(len(_CASH) - 1),
)
casts: SearchStrategy[list[Cast]] = st.lists(
    st.builds(Cast, upto(len(TRIGGERS) - 1), upto(3), terms, st.lists(wishes, min_size=3, max_size=8).map(tuple)),
    min_size=1,
    max_size=4,
)


def desks_of(casts: Iterable[Cast], *, can_short: bool = True) -> list[Desk]:
    """Fresh desks, one for each of `casts`."""
    return [_desk(f"desk{i}", cast, can_short) for i, cast in enumerate(casts)]


def _desk(name: str, cast: Cast, can_short: bool) -> Desk:
    strategy = a_strategy(
        _decide,
        name=name,
        trigger=TRIGGERS[cast.trigger],
        symbols=None if cast.watched == 3 else [SYMBOLS[cast.watched]],
        wants=("data", "config", "state", "portfolio"),
        config={"wishes": cast.wishes, "can_short": can_short},
        on_fill=_on_fill,
        on_stop=_on_stop,
    )
    drawn = cast.terms
    return desk_of(
        strategy,
        cash=_CASH[drawn.cash],
        risk=_LIMITS[drawn.risk],
        latency_ns=LATENCIES_NS[drawn.latency],
        stop_trigger=_STOP_TRIGGERS[drawn.stops],
        instruments=_RULES[drawn.rules],
        **_COSTS[drawn.costs],
        **_FILLS[drawn.fills],
        **_DELAYS[drawn.delays],
        **_MARGINS[drawn.margin],
    )


def _decide(data: Any, config: dict[str, Any], state: dict[str, Any], portfolio: Any) -> Any:
    """Wish by wish in a circle; what is seen goes into the ledger, so that another view is another history."""
    asked = state["asked"] = state.get("asked", -1) + 1
    wish = config["wishes"][asked % len(config["wishes"])]
    seen = _seen(data, portfolio) | {"told": state.get("told")}
    signal = _signal(wish, data, portfolio, config["can_short"], seen)
    return [signal, signal] if signal is not None and wish.size == 6 else signal


def _on_fill(fill: dict[str, Any], state: dict[str, Any]) -> None:
    state["told"] = [fill["order_id"], fill["price"], fill["reason"], fill["metadata"].get("ts")]


def _on_stop(state: dict[str, Any]) -> None:
    state["stopped"] = True


def _action(wish: Wish, held: float, open_ids: list[str]) -> str | None:
    """What the wish asks for; mostly something that can be done."""
    action = _ACTIONS[wish.action]
    if action in _UNDOING and not held and wish.size < 5:
        return _UNDOING[action]
    return "buy" if action in ("cancel", "cancel one", "replace") and not open_ids and wish.size < 5 else action


def _signal(wish: Wish, data: Any, portfolio: Any, can_short: bool, seen: dict[str, Any]) -> Signal | None:
    symbol = SYMBOLS[wish.symbol] if wish.symbol < 3 else data.symbol
    open_ids = [order.order_id for order in portfolio.open_orders]
    action = _action(wish, portfolio.position(symbol), open_ids)
    if action is None or (action == "short" and not can_short):
        return None
    tick = GRID[symbol][1]
    price = data.prices.get(symbol, GRID[symbol][0] * tick)
    below = 1 if action == "buy" else -1
    order = dict(_ORDERS[wish.order])
    in_base, kind = order.pop("in_base", False), order.get("order_type", "market")
    if kind in ("limit", "stop_limit"):
        order["limit_price"] = price + wish.offset // 2 * tick
    if kind in ("stop", "stop_limit", "take_profit"):
        order["stop_price"] = price + (wish.offset + 1 - wish.exits) * tick
    if kind == "trailing_stop":
        order["trail_bps"] = 5.0 + 30.0 * wish.exits
    if order.get("time_in_force") == "gtd":
        order["expires_at"] = data.ts + _EXPIRES_NS[wish.size % len(_EXPIRES_NS)]
    if action in ("cancel one", "replace"):
        order["order_id"] = open_ids[wish.size % len(open_ids)] if open_ids else "nothing"
    action = "cancel" if action == "cancel one" else action
    size = _size(action, wish, portfolio.cash) * (0.01 if in_base else 1.0)
    if not _ORDERS[wish.order] and wish.offset > 0:
        return Signal(action, symbol, size)  # a plain one, which the engine may deal with by a short way
    return Signal(
        action,
        symbol,
        0.0 if action == "replace" and wish.exits == 3 else size,
        size_in="base" if in_base else "quote",
        stop_loss=price - below * 3 * tick if wish.exits & 1 else None,
        take_profit=price + below * 4 * tick if wish.exits & 2 else None,
        metadata=seen,
        **order,
    )


def _size(action: str, wish: Wish, cash: float) -> float:
    size = wish.size % 5
    return _SIZES[size] if size < 3 else _SHARES.get(action, (1.0, 0.4))[size - 3] * cash


def _seen(data: Any, portfolio: Any) -> dict[str, Any]:
    """Everything a strategy can see."""
    view = data.book(depth=3)
    return {
        "ts": data.ts,
        "tick": [data.kind, data.symbol, data.price, data.size, data.side, data.stale],
        "touch": [data.bid, data.bid_size, data.ask, data.ask_size, data.mid, data.spread],
        "quotes": {symbol: [quote.bid, quote.ask] for symbol in SYMBOLS if (quote := data.quote(symbol))},
        "book": view and [view.bids, view.asks],
        "trades": [[trade.ts, trade.price, trade.size] for trade in data.recent_trades(n=5)],
        "candles": [[bar.ts, bar.open, bar.close, bar.volume] for bar in data.candles(interval="1s", n=4)],
        "prices": dict(data.prices),
        "mids": data.mids,
        "minutes": {symbol: [bar.close for bar in bars] for symbol, bars in data.candles_1m.items()},
        "cash": portfolio.cash,
        "equity": portfolio.equity,
        "positions": {symbol: open_.unrealized for symbol, open_ in portfolio.positions.items()},
        "orders": [order.order_id for order in portfolio.open_orders],
    }
