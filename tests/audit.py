"""A second opinion on what a desk's ledger says: the money, the orders and the market, kept again by other means."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from engine.events import (
    Event,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderRested,
    OrderSubmitted,
    PortfolioOpened,
    SignalRaised,
    StopTriggered,
)
from engine.execution import assets
from engine.ticks import FEED_LOST, LAST_OF_MESSAGE, NAN, SNAPSHOT, Kind, Tick
from tests.builders import Tape, note_of

NOTHING = Decimal(0)
Level = tuple[str, int, float]
"""A symbol, bid (+1) or ask (-1), and a price."""


class Books:
    """The desk's balances, from opening cash, fills and their realized PnL alone."""

    def __init__(self) -> None:
        self.balances: dict[str, Decimal] = {}
        self._released: dict[str, tuple[Decimal, Decimal]] = {}

    def take(self, event: Event) -> None:
        """The next fact."""
        if isinstance(event, PortfolioOpened):
            self._add(event.currency, event.cash)
        if isinstance(event, OrderFilled):
            base, quote_currency = assets(event.symbol)
            position, cost = self._released.get(event.symbol, (NOTHING, NOTHING))
            self._add(base, event.position - position)
            self._add(quote_currency, event.realized - (event.cost - cost))
            self._released[event.symbol] = (event.position, event.cost)

    def _add(self, asset: str, amount: Decimal) -> None:
        self.balances[asset] = self.balances.get(asset, NOTHING) + amount


class Orders:
    """What each order asked for, and what has traded of it."""

    def __init__(self) -> None:
        self._sent: dict[str, OrderSubmitted] = {}
        self._traded: dict[str, Decimal] = {}

    def take(self, event: Event) -> None:
        """The next fact: no order may trade more than it asked for, nor at a worse price."""
        if isinstance(event, OrderSubmitted):
            self._sent[event.order_id] = event
        if isinstance(event, OrderFilled):
            self._fill(event, self._sent[event.order_id])
        if isinstance(event, OrderCanceled | OrderExpired | OrderRejected):
            is_whole_or_nothing = self._sent[event.order_id].time_in_force == "fok"
            assert not is_whole_or_nothing or event.order_id not in self._traded

    def _fill(self, filled: OrderFilled, order: OrderSubmitted) -> None:
        amount = filled.quantity if order.notional is None else round(filled.quantity * filled.price, 12)
        traded = self._traded[order.order_id] = self._traded.get(order.order_id, NOTHING) + amount
        wanted = order.quantity if order.notional is None else order.notional
        assert wanted is not None and filled.quantity > 0 and traded <= wanted
        if order.notional is None:  # filled + open = submitted; what is canceled later is what was open then
            assert traded + (filled.left or NOTHING) == wanted
        elif filled.left is not None:
            assert traded + filled.left == wanted
        if order.limit_price is not None:
            is_buying = order.side in {"buy", "cover"}
            assert filled.price <= order.limit_price if is_buying else filled.price >= order.limit_price


class Shown:
    """What the venue has shown, row by row, and how much of it the desk has used since."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._rows = 0
        self._books: dict[str, dict[tuple[int, float], float]] = {}
        self._coming: dict[str, dict[tuple[int, float], float]] = {}
        self._touch: dict[str, tuple[float, float, float, float]] = {}
        self._used: dict[Level, Decimal] = {}
        self._most: dict[Level, float] = {}

    def read(self, rows: int) -> None:
        """What stands in the first `rows` of the tape is known."""
        while self._rows < rows:
            self._row(self._tape.ticks[self._rows])
            self._rows += 1

    def _row(self, tick: Tick) -> None:
        symbol = tick.symbol or ""
        if tick.kind == Kind.FEED and note_of(tick).get("event") in FEED_LOST:
            for lost in [symbol] if symbol else list(self._books):
                self._books.pop(lost, None)
                self._coming.pop(lost, None)
        if tick.kind == Kind.BOOK:
            self._level(symbol, tick)
        before, now = self._touch.get(symbol), (tick.bid, tick.bid_size, tick.ask, tick.ask_size)
        if symbol and now != before:
            self._touch[symbol] = now
            for side, price in ((1, tick.bid), (-1, tick.ask)):
                self._restate((symbol, side, price))

    def _level(self, symbol: str, tick: Tick) -> None:
        if tick.flags & SNAPSHOT:
            coming = self._coming.setdefault(symbol, {})
            coming[tick.side, tick.price] = tick.size
            if tick.flags & LAST_OF_MESSAGE:
                self._books[symbol] = self._coming.pop(symbol)
                for level in list(self._used):
                    if level[0] == symbol:
                        self._restate(level)
        elif symbol in self._books:
            self._books[symbol][tick.side, tick.price] = tick.size
        self._restate((symbol, tick.side, tick.price))

    def _restate(self, level: Level) -> None:
        self._used.pop(level, None)
        self._most.pop(level, None)

    def take(self, filled: OrderFilled) -> None:
        """A taker's fill without slippage: at a level that was shown, and no more than what was left of it."""
        side = -1 if filled.side in {"buy", "cover"} else 1
        bid, bid_size, ask, ask_size = self._touch[filled.symbol]
        best, best_size = (bid, bid_size) if side > 0 else (ask, ask_size)
        swept = self._swept(filled.symbol, side)
        if (best - swept) * side > 0:
            best, best_size = swept, NAN
        book, price = self._books.get(filled.symbol), float(filled.price)
        if book is None:
            assert price == best or best != best
            return
        assert price == best or book.get((side, price), 0.0) > 0.0, (filled, book)
        level = (filled.symbol, side, price)
        size = best_size if price == best and best_size == best_size else book.get((side, price), 0.0)
        most = self._most[level] = max(self._most.get(level, 0.0), size)
        used = self._used[level] = self._used.get(level, NOTHING) + filled.quantity
        assert used <= Decimal(repr(most)), (filled, used, most)

    def _swept(self, symbol: str, side: int) -> float:
        """The price of the trade that was the last thing the symbol said, where it took from this side; else NaN."""
        last = next((tick for tick in reversed(self._tape.ticks[: self._rows]) if tick.symbol == symbol), None)
        is_taken = last is not None and last.kind == Kind.TRADE and last.side != side
        return last.price if last is not None and is_taken else NAN

    def _come(self, filled: OrderFilled) -> None:
        """The other side's touch came to a resting order: what it got was shown up to its price, and is used now."""
        side = -1 if filled.side in {"buy", "cover"} else 1
        bid, bid_size, ask, ask_size = self._touch[filled.symbol]
        book, (best, best_size) = self._books.get(filled.symbol), (bid, bid_size) if side > 0 else (ask, ask_size)
        if book is None:
            return
        behind = {price: size for (of, price), size in book.items() if of == side and (best - price) * side > 0}
        shown = {best: best_size if best_size == best_size else book.get((side, best), 0.0)} | behind
        missing = filled.quantity
        for price in sorted(shown, reverse=side > 0):
            if (price - float(filled.price)) * side >= 0:
                level = (filled.symbol, side, price)
                most = self._most[level] = max(self._most.get(level, 0.0), shown[price])
                part = min(max(Decimal(repr(most)) - self._used.get(level, NOTHING), NOTHING), missing)
                self._used[level] = self._used.get(level, NOTHING) + part
                missing -= part
        assert not missing, (filled, shown)

    def give(self, fills: Sequence[OrderFilled]) -> None:
        """All that one desk's resting orders got at the last row read: the market came to them, and had as much."""
        tick, traded = self._tape.ticks[self._rows - 1], NOTHING
        for filled in fills:
            assert filled.symbol == tick.symbol
            price, is_bid = float(filled.price), filled.side in {"buy", "cover"}
            is_through = tick.kind == Kind.TRADE and (tick.price < price if is_bid else tick.price > price)
            if is_through and (tick.side != (1 if is_bid else -1) or filled.symbol not in self._books):
                continue
            if tick.ask <= price if is_bid else tick.bid >= price:
                if filled is fills[-1]:  # those before it have been here before
                    self._come(filled)
                continue
            assert tick.kind == Kind.TRADE and tick.price == price
            traded += filled.quantity
            assert traded <= Decimal(repr(tick.size)), (fills, tick)


def audit_market(ledger: Iterable[Event], tape: Tape) -> None:
    """Hold every fill of one desk, which pays no slippage and owes nothing, against what the tape showed."""
    shown, asked_at, given, arrived = Shown(tape), -1, list[OrderFilled](), dict[str, tuple[int, int]]()
    for event in ledger:
        if given and given[-1].tick_seq != event.tick_seq:
            given = []
        if isinstance(event, OrderRested):
            arrived[event.order_id] = event.tick_seq, event.ts
        if isinstance(event, StopTriggered) and event.ts == tape.ts[event.tick_seq]:
            if arrived.get(event.order_id or "") == (event.tick_seq, event.ts) and asked_at != event.tick_seq:
                return  # it arrived just when a row came, and nobody can tell which of the two it was triggered by
            asked_at = event.tick_seq  # from here on the row itself is known
        if isinstance(event, SignalRaised):
            asked_at = event.tick_seq
        if isinstance(event, OrderFilled) and event.liquidity == "maker":
            shown.read(event.tick_seq + 1)
            given.append(event)
            shown.give(given)
        elif isinstance(event, OrderFilled):
            shown.read(event.tick_seq + (asked_at == event.tick_seq))
            shown.take(event)
