"""Ticks, wishes and desks in the words of the domain, for the tests of the engine."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import msgspec

from engine.desk import Desk
from engine.digest import canonical_lines
from engine.engine import ROWS_AT_ONCE, Engine
from engine.events import Event, OrderFilled
from engine.execution import ExecutionConfig
from engine.market import Market
from engine.portfolio import Portfolio
from engine.risk import NO_LIMITS, RiskLimits
from engine.signals import Signal, Strategy, trigger_of
from engine.ticks import (
    BUY,
    FEED_LOST,
    LAST_OF_MESSAGE,
    NAN,
    SELL,
    SNAPSHOT,
    Kind,
    Symbols,
    Tick,
    TickBatch,
    batch_of,
)

BTC, ETH, ETH_BTC = "BTC/USD", "ETH/USD", "ETH/BTC"
MS, SECOND, MINUTE = 1_000_000, 1_000_000_000, 60_000_000_000

E = TypeVar("E")
Number = float | str
Touch = tuple[float, float, float, float]
Levels = Sequence[tuple[Number, Number]]
Decide = Callable[..., Any]
UNKNOWN: Touch = (NAN, NAN, NAN, NAN)


# -- what a venue says ---------------------------------------------------------------------------------------


class Message(NamedTuple):
    """One message of a venue: its time of receipt (ns), and its rows in order, the touch still missing."""

    ts: int
    rows: tuple[Tick, ...]


def quote(
    ts: int,
    bid: Number | None,
    ask: Number | None,
    symbol: str = BTC,
    *,
    bid_size: Number = 1.0,
    ask_size: Number = 1.0,
) -> Message:
    """The best bid and ask; None for a side that nobody quotes."""
    tick = Tick(
        kind=Kind.QUOTE,
        symbol=symbol,
        bid=_number(bid),
        bid_size=NAN if bid is None else float(bid_size),
        ask=_number(ask),
        ask_size=NAN if ask is None else float(ask_size),
    )
    return Message(ts, (tick,))


def trade(ts: int, price: Number, symbol: str = BTC, *, size: Number = 1.0, side: int = BUY) -> Message:
    """A match at the venue."""
    return Message(ts, (_trade_row(price, symbol, size, side),))


def trades(ts: int, *prices: Number, symbol: str = BTC) -> Message:
    """Several matches in one message: only the last row is flagged as its end, as decoders do."""
    return Message(ts, _one_message([_trade_row(price, symbol, 1.0, BUY) for price in prices]))


def book(ts: int, bids: Levels = (), asks: Levels = (), symbol: str = BTC) -> Message:
    """Changed levels of a book as (price, size); size 0 removes one."""
    return Message(ts, _levels(bids, asks, symbol, 0))


def book_snapshot(ts: int, bids: Levels = (), asks: Levels = (), symbol: str = BTC) -> Message:
    """All levels of a book."""
    return Message(ts, _levels(bids, asks, symbol, SNAPSHOT))


def feed(ts: int, event: str, symbol: str | None = None, **parts: str) -> Message:
    """Something that the feed did: disconnected, gap, checksum, connected, crossed ..."""
    note = msgspec.json.encode({"event": event, **parts}).decode()
    return Message(ts, (Tick(kind=Kind.FEED, symbol=symbol, note=note),))


def instrument(ts: int, symbol: str = BTC, **rules: str) -> Message:
    """What the venue accepts: tick_size, lot_size, min_quantity, min_notional, each as decimal text."""
    return feed(ts, "instrument", symbol, **rules)


def clock(ts: int) -> Message:
    """A second without a frame."""
    return feed(ts, "clock")


def other(ts: int, symbol: str | None = None) -> Message:
    """A frame that means nothing to the engine."""
    return Message(ts, (Tick(kind=Kind.OTHER, symbol=symbol),))


def note_of(tick: Tick) -> dict[str, Any]:
    """What a feed row says, as a dictionary."""
    said: dict[str, Any] = msgspec.json.decode(tick.note or "{}")
    return said


class Venue:
    """Gives every row the touch as known after it, as a decoder does. Books and quotes share one touch."""

    def __init__(self) -> None:
        self._touch: dict[str, Touch] = {}
        self._books: dict[str, tuple[dict[float, float], dict[float, float]]] = {}

    def rows_of(self, message: Message) -> list[Tick]:
        """The finished rows of `message`."""
        if message.rows and message.rows[0].flags & SNAPSHOT:
            self._books.pop(message.rows[0].symbol or "", None)
        rows = []
        for row in message.rows:
            if row.kind == Kind.FEED:
                self._forget(row)
            elif row.kind == Kind.QUOTE:
                self._touch[row.symbol or ""] = (row.bid, row.bid_size, row.ask, row.ask_size)
            elif row.kind == Kind.BOOK:
                self._level(row)
            bid, bid_size, ask, ask_size = self._touch.get(row.symbol or "", UNKNOWN)
            rows.append(msgspec.structs.replace(row, bid=bid, bid_size=bid_size, ask=ask, ask_size=ask_size))
        return rows

    def _forget(self, row: Tick) -> None:
        if note_of(row).get("event") not in FEED_LOST:
            return
        for symbol in [row.symbol] if row.symbol else [*self._touch, *self._books]:
            self._touch[symbol] = UNKNOWN
            self._books.pop(symbol, None)

    def _level(self, row: Tick) -> None:
        symbol = row.symbol or ""
        sides = self._books.setdefault(symbol, ({}, {}))
        levels = sides[0] if row.side > 0 else sides[1]
        levels[row.price] = row.size
        if not row.size:
            del levels[row.price]
        if row.flags & LAST_OF_MESSAGE:
            bid, ask = max(sides[0], default=NAN), min(sides[1], default=NAN)
            self._touch[symbol] = (bid, sides[0].get(bid, NAN), ask, sides[1].get(ask, NAN))


class Tape(msgspec.Struct, frozen=True):
    """Rows of a tape as they would be read from disk: their times of receipt (ns) and their ticks."""

    ts: list[int]
    ticks: list[Tick]

    def __len__(self) -> int:
        return len(self.ts)

    def upto(self, row: int) -> "Tape":
        """The rows before `row`."""
        return Tape(self.ts[:row], self.ticks[:row])


def tape_of(*messages: Message) -> Tape:
    """The rows of `messages`, which follow one another."""
    venue = Venue()
    made = [(message.ts, row) for message in messages for row in venue.rows_of(message)]
    return Tape([ts for ts, _ in made], [row for _, row in made])


def batches(tape: Tape, cuts: Iterable[int] = (), *, names: Iterable[str] = ()) -> Iterator[TickBatch]:
    """The tape in batches that end before the rows in `cuts`; `names` are symbols that its list names early."""
    symbols = Symbols()
    for name in names:
        symbols.code(name)
    ts, ticks = tape.ts, tape.ticks
    edges = [0, *sorted(cut for cut in set(cuts) if 0 < cut < len(ts)), len(ts)]
    for start, stop in pairwise(edges):
        made = batch_of(ticks[start:stop], ts[start:stop], start, symbols)
        made.symbols = list(made.symbols)  # else symbols of later batches would show in earlier ones
        yield made


# -- what a strategy wants -------------------------------------------------------------------------------------


def buy(amount: str, **rest: Any) -> Signal:
    """`buy("10 USD")`, `buy("0.1 BTC", limit="49900", stop_loss=49000.0)`: open or add long.

    Further kinds of order by what they wait for: `stop`, `stop` and `limit`, `target`, `trail_bps`.
    """
    return _wish("buy", amount, rest)


def sell(amount: str, **rest: Any) -> Signal:
    """Reduce or close long."""
    return _wish("sell", amount, rest)


def short(amount: str, **rest: Any) -> Signal:
    """Open or add short."""
    return _wish("short", amount, rest)


def cover(amount: str, **rest: Any) -> Signal:
    """Reduce or close short."""
    return _wish("cover", amount, rest)


def close(symbol: str = BTC, **rest: Any) -> Signal:
    """Close whatever is open."""
    return Signal("close", symbol, **rest)


def cancel(symbol: str = BTC, order_id: str | None = None) -> Signal:
    """Take back one order, or every one at the venue of the symbol."""
    return Signal("cancel", symbol, order_id=order_id)


def replace(order_id: str, amount: str = "0 BTC", **rest: Any) -> Signal:
    """Another order in the place of one; an amount of nothing is what is left of it."""
    return msgspec.structs.replace(_wish("replace", amount, rest), order_id=order_id)


def _wish(action: str, amount: str, rest: dict[str, Any]) -> Signal:
    size, unit = amount.split()
    symbol = rest.pop("symbol", BTC)
    for name, order_type in (("limit", "limit"), ("stop", "stop"), ("target", "take_profit")):
        if name in rest:
            field = "limit_price" if name == "limit" else "stop_price"
            rest |= {"order_type": "stop_limit" if "limit_price" in rest else order_type, field: float(rest.pop(name))}
    if "trail_bps" in rest:
        rest["order_type"] = "trailing_stop"
    size_in = "quote" if symbol.endswith(f"/{unit}") else "base"
    return Signal(action, symbol, float(size), size_in=size_in, **rest)


# -- who wants it ------------------------------------------------------------------------------------------------


def a_strategy(
    decide: Decide | None = None,
    *,
    signals: Sequence[Any] = (),
    name: str = "alice",
    trigger: str = "tick",
    symbols: Sequence[str] | None = None,
    wants: Sequence[str] = ("data", "config", "state"),
    config: Mapping[str, Any] | None = None,
    **rest: Any,
) -> Strategy:
    """A strategy that calls `decide`; or else answers `signals` one after the other, then nothing."""
    return Strategy(
        name=name,
        version="0",
        symbols=None if symbols is None else tuple(symbols),
        config=config or {},
        trigger=trigger_of(trigger),
        generate_signal=decide or _script(signals),
        wants=tuple(wants),
        path=rest.pop("path", __file__),
        **rest,
    )


def _script(signals: Sequence[Any]) -> Decide:
    def generate_signal(data: object, config: dict[str, Any], state: dict[str, Any]) -> object:
        asked = state["asked"] = state.get("asked", 0) + 1
        return signals[asked - 1] if asked <= len(signals) else None

    return generate_signal


def desk_of(
    strategy: Strategy,
    *,
    cash: str = "100",
    currency: str = "USD",
    latency_ns: int = 0,
    maker_bps: str = "0",
    taker_bps: str = "0",
    slippage_bps: str = "0",
    risk: RiskLimits = NO_LIMITS,
    **execution: Any,
) -> Desk:
    """A desk without costs and delays, unless told; `execution` is what else an ExecutionConfig takes."""
    config = ExecutionConfig(
        maker_bps=Decimal(maker_bps),
        taker_bps=Decimal(taker_bps),
        slippage_bps=Decimal(slippage_bps),
        latency_ns=latency_ns,
        **execution,
    )
    return Desk(strategy, cash=Decimal(cash), currency=currency, execution=config, risk=risk)


class Bench:
    """One desk at an engine of its own, told what the venue says message by message, a batch each."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.engine = Engine([desk])
        self.events: list[Event] = []
        self._symbols, self._venue, self._next_seq = Symbols(), Venue(), 0

    def on(self, *messages: Message) -> list[Event]:
        """What these messages make true, PortfolioOpened aside."""
        fresh: list[Event] = []
        for message in messages:
            rows = self._venue.rows_of(message)
            batch = batch_of(rows, [message.ts] * len(rows), self._next_seq, self._symbols)
            self._next_seq += len(rows)
            fresh += self.engine.process(batch)
        self.events += fresh
        return [event for event in fresh if type(event).__name__ != "PortfolioOpened"]

    def finish(self) -> list[Event]:
        """What the tape's end makes true."""
        fresh = self.engine.finish()
        self.events += fresh
        return fresh

    @property
    def portfolio(self) -> Portfolio:
        """The state of the desk."""
        return self.desk.portfolio

    @property
    def market(self) -> Market:
        """What the engine knows."""
        return self.engine.market

    @property
    def state(self) -> dict[str, Any]:
        """The strategy's memory."""
        return self.desk.state


def a_desk(decide: Decide | None = None, **rest: Any) -> Bench:
    """A desk on the bench; takes what `a_strategy` and `desk_of` take."""
    of_desk = {"cash", "currency", "risk", *ExecutionConfig.__struct_fields__}
    settings = {key: rest.pop(key) for key in of_desk if key in rest}
    return Bench(desk_of(a_strategy(decide, **rest), **settings))


# -- what came of it -----------------------------------------------------------------------------------------------


def replay(
    desks: Sequence[Desk],
    tape: Tape,
    cuts: Iterable[int] = (),
    *,
    names: Iterable[str] = (),
    walk_every_row: bool = False,
    rows_at_once: int = ROWS_AT_ONCE,
    is_finished: bool = True,
) -> list[Event]:
    """Everything that `tape` makes true at these desks."""
    engine = Engine(desks, walk_every_row=walk_every_row, rows_at_once=rows_at_once)
    events = [event for batch in batches(tape, cuts, names=names) for event in engine.process(batch)]
    return events + engine.finish() if is_finished else events


def ledgers(events: Iterable[Event]) -> dict[str, bytes]:
    """Each desk's canonical lines."""
    by_desk: dict[str, list[Event]] = {}
    for event in events:
        by_desk.setdefault(event.strategy, []).append(event)
    return {name: canonical_lines(own) for name, own in by_desk.items()}


def lines(events: Iterable[Event]) -> list[str]:
    """All events as canonical text, one line each: what pytest can show the difference of."""
    return canonical_lines(events).decode().splitlines()


def only(events: Iterable[Event], kind: type[E]) -> list[E]:
    """The events of one type."""
    return [event for event in events if isinstance(event, kind)]


def the(events: Iterable[Event], kind: type[E]) -> E:
    """The one event of this type."""
    [found] = only(events, kind)
    return found


def fills(events: Iterable[Event]) -> list[OrderFilled]:
    """What traded."""
    return only(events, OrderFilled)


def names_of(events: Iterable[Event]) -> list[str]:
    """The types of the events, in order."""
    return [type(event).__name__ for event in events]


def state_of(portfolio: Portfolio) -> dict[str, Any]:
    """Every field of a portfolio, to compare with another's."""
    return dict(vars(portfolio))


def folded(events: Iterable[Event]) -> Portfolio:
    """The portfolio that a ledger leads to."""
    portfolio = Portfolio()
    for event in events:
        portfolio.apply(event)
    return portfolio


# -- rows ------------------------------------------------------------------------------------------------------------


def _number(value: Number | None) -> float:
    return NAN if value is None else float(value)


def _trade_row(price: Number, symbol: str, size: Number, side: int) -> Tick:
    return Tick(kind=Kind.TRADE, symbol=symbol, side=side, price=float(price), size=float(size))


def _levels(bids: Levels, asks: Levels, symbol: str, flags: int) -> tuple[Tick, ...]:
    sides = [(BUY, level) for level in bids] + [(SELL, level) for level in asks]
    rows = [
        Tick(kind=Kind.BOOK, symbol=symbol, side=side, price=float(price), size=float(size), flags=flags)
        for side, (price, size) in sides
    ]
    if rows:
        rows[-1].flags |= LAST_OF_MESSAGE
    return tuple(rows)


def _one_message(rows: list[Tick]) -> tuple[Tick, ...]:
    for row in rows[:-1]:
        row.flags &= ~LAST_OF_MESSAGE
    return tuple(rows)
