"""Markets and strategies by chance, for the property tests of the engine: small numbers that hypothesis can shrink."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from engine.desk import Desk
from engine.signals import Signal
from tests.builders import (
    BTC,
    ETH,
    ETH_BTC,
    MS,
    SECOND,
    Message,
    Tape,
    a_strategy,
    book,
    book_snapshot,
    clock,
    desk_of,
    feed,
    instrument,
    other,
    quote,
    tape_of,
    trade,
    trades,
)

SYMBOLS = (BTC, ETH, ETH_BTC)
TRIGGERS = ("tick", "trade", "quote", "book", "candle:1s", "candle:1m", "every:500ms", "every:7s")
LATENCIES_NS = (0, 1, 50 * MS, 3 * SECOND)
GAPS_NS = (0, 0, 1, 1_000, 20 * MS, 20 * MS, 300 * MS, SECOND, 5 * SECOND, 61 * SECOND)
TO_THE_SECOND = len(GAPS_NS)
"""A gap that ends exactly where timers, candles and marks fall due."""

_GRID = {BTC: (1_000, 0.1), ETH: (1_000, 0.01), ETH_BTC: (1_000, 0.0001)}
_TALK = ("trade",) * 5 + ("trades", "trades", "quote", "quote", "quote", "quote", "one side", "crossed")
_TALK += ("snapshot", "snapshot", "book", "book", "book", "rows of two symbols")
_TALK += ("loss", "loss of all", "connected", "instrument", "clock", "other", "other of a symbol")
_SIZES = (1.0, 10.0, 25.0, 100.0, 1_000.0)
_ACTIONS = (None, None, None, "buy", "buy", "sell", "short", "cover", "close", "cancel")


class Move(NamedTuple):
    """One message by chance; each number picks from a table or moves a price by so many ticks."""

    gap: int
    talk: int
    symbol: int
    step: int
    detail: int


class Wish(NamedTuple):
    """One answer of a strategy by chance; prices are offsets, in ticks, from the price it sees."""

    action: int
    size: int
    order: int
    offset: int
    exits: int
    symbol: int


class Cast(NamedTuple):
    """A desk by chance."""

    trigger: int
    latency: int
    watched: int
    costs: bool
    wishes: tuple[Wish, ...]


def _upto(last: int) -> SearchStrategy[int]:
    return st.integers(0, last)


moves: SearchStrategy[list[Move]] = st.lists(
    st.builds(Move, _upto(len(GAPS_NS)), _upto(len(_TALK) - 1), _upto(2), st.integers(-6, 6), _upto(7)),
    min_size=1,
    max_size=40,
)
wishes = st.builds(Wish, _upto(len(_ACTIONS) - 1), _upto(6), _upto(5), st.integers(-4, 4), _upto(3), _upto(3))
casts: SearchStrategy[list[Cast]] = st.lists(
    st.builds(
        Cast,
        _upto(len(TRIGGERS) - 1),
        _upto(len(LATENCIES_NS) - 1),
        _upto(3),
        st.booleans(),
        st.lists(wishes, min_size=1, max_size=8).map(tuple),
    ),
    min_size=1,
    max_size=4,
)


# -- the market ----------------------------------------------------------------------------------------------


def market_of(moves: Iterable[Move]) -> Tape:
    """The tape that these moves make."""
    ts, ticks = 1_000 * SECOND - 30 * MS, {symbol: start for symbol, (start, _) in _GRID.items()}
    said: list[Message] = []
    for move in moves:
        if move.gap == TO_THE_SECOND:
            ts += -ts % SECOND
        else:
            ts += GAPS_NS[move.gap]
        symbol = SYMBOLS[move.symbol]
        ticks[symbol] += move.step
        said.append(_message(ts, _TALK[move.talk], symbol, ticks[symbol], move))
    return tape_of(*said)


def _message(ts: int, talk: str, symbol: str, at: int, move: Move) -> Message:
    size = _GRID[symbol][1]

    def price(ticks: int) -> float:
        return round(ticks * size, 6)

    bid, ask, detail = price(at - 1), price(at + 1), move.detail
    levels = range(1, 2 + detail % 3)
    bids, asks = [(price(at - i), 1.0 + i) for i in levels], [(price(at + i), 2.0 + i) for i in levels]
    match talk:
        case "trade":
            return trade(ts, price(at), symbol, side=1 if detail % 2 else -1, size=0.5 + detail)
        case "trades":
            return trades(ts, price(at), price(at + detail), price(at - 1), symbol=symbol)
        case "quote":
            return quote(ts, bid, ask, symbol)
        case "one side":
            return quote(ts, None if detail % 2 else bid, ask if detail % 2 else None, symbol)
        case "crossed":
            return quote(ts, ask, bid, symbol)
        case "snapshot":
            return book_snapshot(ts, bids, asks, symbol)
        case "book":
            return book(ts, [(price(at - 2), float(detail))], [(price(at + 2), float(detail % 3))], symbol)
        case "rows of two symbols":
            neighbor = SYMBOLS[(move.symbol + 1) % 3]
            mine, its = trades(ts, price(at), price(at + 1), symbol=symbol), quote(ts, None, None, neighbor)
            first = [row for row in mine.rows if not row.flags & 1]
            return Message(ts, (*first, *its.rows) if detail % 2 else (*first, *mine.rows[-1:]))
        case "instrument":
            return instrument(ts, symbol, lot_size=("0.001", "0.1", "1")[detail % 3], min_notional=str(detail))
        case "loss":
            return feed(ts, ("gap", "checksum", "stale")[detail % 3], symbol)
        case "loss of all":
            return feed(ts, "disconnected")
        case "connected":
            return feed(ts, "connected")
        case "clock":
            return clock(ts)
        case _:
            return other(ts, symbol if talk == "other of a symbol" else None)


# -- those who trade at it -----------------------------------------------------------------------------------------


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
    costs = {"maker_bps": "2", "taker_bps": "7.5", "slippage_bps": "3"} if cast.costs else {}
    return desk_of(strategy, latency_ns=LATENCIES_NS[cast.latency], **costs)


def _decide(data: Any, config: dict[str, Any], state: dict[str, Any], portfolio: Any) -> Any:
    """Wish by wish in a circle; what is seen goes into the ledger, so that another view is another history."""
    asked = state["asked"] = state.get("asked", -1) + 1
    wish = config["wishes"][asked % len(config["wishes"])]
    signal = _signal(wish, data, config["can_short"], _seen(data, portfolio) | {"told": state.get("told")})
    return [signal, signal] if signal is not None and wish.size == 6 else signal


def _on_fill(fill: dict[str, Any], state: dict[str, Any]) -> None:
    state["told"] = [fill["order_id"], fill["price"], fill["reason"], fill["metadata"].get("ts")]


def _on_stop(state: dict[str, Any]) -> None:
    state["stopped"] = True


def _signal(wish: Wish, data: Any, can_short: bool, seen: dict[str, Any]) -> Signal | None:
    action = _ACTIONS[wish.action]
    if action is None or (action == "short" and not can_short):
        return None
    symbol = data.symbol if wish.symbol == 3 else SYMBOLS[wish.symbol]
    price = data.prices.get(symbol, _GRID[symbol][0] * _GRID[symbol][1])
    tick = _GRID[symbol][1]
    below = 1 if action == "buy" else -1
    order = {"order_type": "limit", "limit_price": price + wish.offset * tick} if wish.order > 2 else {}
    return Signal(
        action,
        symbol,
        _SIZES[wish.size % len(_SIZES)] * (0.01 if wish.order % 3 == 1 else 1.0),
        size_in="base" if wish.order % 3 == 1 else "quote",
        stop_loss=price - below * 3 * tick if wish.exits & 1 else None,
        take_profit=price + below * 4 * tick if wish.exits & 2 else None,
        time_in_force="ioc" if wish.order == 4 else "gtc",
        post_only=wish.order == 5,
        metadata=seen,
        **order,  # type: ignore[arg-type]  # text and a number, each under its own name
    )


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
