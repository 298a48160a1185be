"""One strategy, its money and its orders: it decides, asserts facts, and folds them into its portfolio."""

import copy
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from engine import events
from engine.account import Account
from engine.execution import ExecutionConfig, assets
from engine.fills import FillModel, TouchModel
from engine.market import NO_QUOTE, LookAhead, Market, Quote
from engine.money import ZERO, add, bps_of, floor_divide, is_number, money, multiply, negate, subtract
from engine.orders import BUYING
from engine.portfolio import Portfolio
from engine.position import traded
from engine.signals import Signal, Strategy
from engine.sizing import affordable, buying_power, draft, short_room, too_small, valuation
from engine.snapshot import Snapshot, utc
from engine.ticks import NAN, Kind

INFINITE = float("inf")
NEVER = 1 << 62
"""A time that no tape reaches."""

_REASONS_KEPT = 256
"""Signals kept for their fills before those are dropped that no order or exit stands for."""

_to_json = msgspec.json.Encoder(order="deterministic").encode


class Moment(msgspec.Struct, gc=False):
    """Where on the tape something happens.

    ts:    tape time in ns.
    seq:   the tick that causes it.
    stop:  the row of the batch in hand before which the market counts.
    """

    ts: int
    seq: int
    stop: int


class Bounds(msgspec.Struct, frozen=True, gc=False):
    """The prices of a symbol between which nothing that rests can happen, so that most ticks need no closer look.

    below, above:  of the highest limit to buy and the lowest to sell.
    low, high:     of the exits: what they wait for lies at or beyond them.
    """

    below: float
    above: float
    low: float
    high: float

    def is_reached(self, trade: float, bid: float, ask: float) -> bool:
        """Whether a trade (NaN where the tick is none) or a touch calls for a closer look."""
        return (
            trade <= self.below
            or trade >= self.above
            or ask <= self.below
            or bid >= self.above
            or trade <= self.low
            or trade >= self.high
            or bid <= self.low
            or ask >= self.high
        )


class Asked(Protocol):
    """`generate_signal` with its parameters in our order."""

    def __call__(self, data: Snapshot, config: dict[str, Any], state: dict[str, Any], /) -> object: ...


class Nonsense(TypeError):
    """A strategy answered with something that is not a Signal, several, or None."""


class Desk:
    """A strategy at work.

    wake:         the tape time at which something is due that no tick announces: an arrival, a mark, a timer.
    is_guarding:  whether some resting order or exit must be held against every tick.
    is_asked:     whether its strategy is still asked for signals.
    """

    __slots__ = (
        "_because",
        "_bounds",
        "_market",
        "_model",
        "_on_failure",
        "_out",
        "account",
        "cash",
        "config",
        "currency",
        "decide",
        "execution",
        "is_asked",
        "is_guarding",
        "mark_every_ns",
        "name",
        "next_mark",
        "next_timer",
        "portfolio",
        "state",
        "strategy",
        "wake",
    )

    def __init__(
        self,
        strategy: Strategy,
        *,
        cash: Decimal,
        currency: str,
        execution: ExecutionConfig,
        model: FillModel | None = None,
        mark_every_ns: int = 1_000_000_000,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        """`on_failure` is told, in words for a person, why the strategy failed; the ledger has no such text."""
        self.strategy = strategy
        self.name = strategy.name
        self.cash = money(cash)
        self.currency = currency
        self.execution = execution
        self.mark_every_ns = mark_every_ns
        self.portfolio = Portfolio()
        self.config: dict[str, Any] = copy.deepcopy(dict(strategy.config))
        self.state: dict[str, Any] = {}
        self.is_asked = True
        self.is_guarding = False
        self.wake = self.next_mark = self.next_timer = NEVER
        self._on_failure = on_failure
        self._model: FillModel = model or TouchModel()
        self._because: dict[str, Signal] = {}
        self._bounds: dict[str, Bounds] = {}

    def listen(self, out: list[events.Event]) -> None:
        """Append the facts that follow to `out`."""
        self._out = out

    def open(self, market: Market, at: Moment) -> None:
        """Begin at the tape's first tick: the money is there, and `on_start` is called."""
        self._market = market
        self.account = Account(self.portfolio, market)
        self.decide = _bound(self.strategy, self.account)
        self._emit(
            events.PortfolioOpened(
                strategy=self.name, seq=0, tick_seq=at.seq, ts=at.ts, currency=self.currency, cash=self.cash
            )
        )
        if self.strategy.trigger.is_timed:
            self.next_timer = _next_multiple(at.ts, self.strategy.trigger.interval_ns)
        if self.strategy.trigger.kind == "candle":
            market.keep_candles(self.strategy.trigger.interval_ns, self.name)
        if self.strategy.on_start is not None:
            self._call("on_start", self.strategy.on_start, at, self.config, self.state)
        self.set_wake()

    def watches(self, symbol: str) -> bool:
        """Whether the strategy asked for this symbol."""
        return self.strategy.symbols is None or symbol in self.strategy.symbols

    # -- time passes -----------------------------------------------------------------------------------

    def advance(self, at: Moment) -> None:
        """Everything due by `at.ts`, each at its own time, against the market before row `at.stop`."""
        while True:
            due = self._next_arrival()
            if self.next_mark <= at.ts and (due is None or self.next_mark <= due.arrives_at):
                self._mark_if_moved(Moment(self.next_mark, at.seq, at.stop), at.ts)
            elif due is None or due.arrives_at > at.ts:
                break
            elif isinstance(due, events.OrderSubmitted):
                self._arrive(due, Moment(due.arrives_at, at.seq, at.stop))
            else:
                self._cancel(due.order_id, "requested", Moment(due.arrives_at, at.seq, at.stop))
        self.set_wake()

    def _next_arrival(self) -> events.OrderSubmitted | events.CancelSubmitted | None:
        """The order or cancel that reaches the venue next; of two at the same time the one sent first."""
        first: events.OrderSubmitted | events.CancelSubmitted | None = None
        for order in self.portfolio.in_flight.values():
            first = order
            break
        if self.portfolio.cancels:
            cancel = self.portfolio.cancels[0]
            if first is None or (cancel.arrives_at, cancel.seq) < (first.arrives_at, first.seq):
                return cancel
        return first

    def finish(self, at: Moment) -> None:
        """The tape is over: a last mark, and `on_stop`."""
        self._mark(at)
        if self.strategy.on_stop is not None and self.is_asked:
            self._call("on_stop", self.strategy.on_stop, at, self.state)

    def set_wake(self) -> None:
        """Work out anew when something falls due, and whether anything rests."""
        portfolio = self.portfolio
        wake = self.next_mark if self.next_mark < self.next_timer else self.next_timer
        for order in portfolio.in_flight.values():
            if order.arrives_at < wake:
                wake = order.arrives_at
        for cancel in portfolio.cancels:
            if cancel.arrives_at < wake:
                wake = cancel.arrives_at
        self.wake = wake
        self.is_guarding = bool(portfolio.resting or portfolio.exits)
        if self.is_guarding or self._bounds:
            self._bounds = _bounds(portfolio)

    def _mark_if_moved(self, at: Moment, now_ns: int) -> None:
        equity, unknown = valuation(self.portfolio, self._market, at.stop)
        if equity != self.portfolio.equity:
            self._emit_mark(at, equity, unknown)
        self.next_mark = _next_multiple(now_ns, self.mark_every_ns) if self.portfolio.is_exposed() else NEVER

    def _mark(self, at: Moment) -> None:
        self._emit_mark(at, *valuation(self.portfolio, self._market, at.stop))

    def _emit_mark(self, at: Moment, equity: Decimal | None, unknown: str) -> None:
        self._emit(
            events.PortfolioMarked(
                strategy=self.name,
                seq=self.portfolio.next_seq,
                tick_seq=at.seq,
                ts=at.ts,
                cash=self.portfolio.cash(),
                equity=equity,
                unknown=unknown,
            )
        )

    # -- the strategy answers ----------------------------------------------------------------------------

    def take(self, answer: object, at: Moment) -> None:
        """What `generate_signal` returned at `at`: a Signal, several, or something it must not return."""
        try:
            signals = [answer] if isinstance(answer, Signal) else _several(answer)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.fail("generate_signal", error, at)
            return
        for signal in signals:
            if self.is_asked:
                self._raise(signal, at)
        if self.execution.latency_ns == 0:
            self.advance(at)
        else:
            self.set_wake()

    def fail(self, where: str, error: BaseException, at: Moment) -> None:
        """The strategy is not asked again. Its exits stay in force; its resting orders are taken back."""
        file, line = _place(error, self.strategy)
        self.is_asked = False
        if self._on_failure is not None:
            self._on_failure(f"{file}:{line} in {where}: {type(error).__name__}: {error}")
        self._emit(
            events.StrategyFailed(
                strategy=self.name,
                seq=self.portfolio.next_seq,
                tick_seq=at.seq,
                ts=at.ts,
                where=where,
                exception=type(error).__name__,
                file=file,
                line=line,
                detail=str(error) if isinstance(error, Nonsense | LookAhead) else "",
            )
        )
        self.next_timer = NEVER
        for order_id in list(self.portfolio.resting):
            self._cancel(order_id, "strategy failed", at)
        self.set_wake()

    def _raise(self, signal: Signal, at: Moment) -> None:
        correlation_id = f"{self.name}-s{self.portfolio.signals + 1}"
        try:
            raised = self._raised(signal, correlation_id, at)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.fail("generate_signal", error, at)
            return
        self._emit(raised)
        if signal.action == "cancel":
            self._request_cancels(signal.symbol, correlation_id, at)
            return
        wanted = draft(signal, self.portfolio, self._market, at.stop, self.execution)
        if isinstance(wanted, str):
            self._reject_signal(signal.symbol, correlation_id, wanted, at)
            return
        if len(self._because) >= _REASONS_KEPT:
            self._forget_reasons()
        self._because[correlation_id] = signal
        self._emit(
            events.OrderSubmitted(
                strategy=self.name,
                seq=self.portfolio.next_seq,
                tick_seq=at.seq,
                ts=at.ts,
                order_id=f"{self.name}-{self.portfolio.orders + 1}",
                correlation_id=correlation_id,
                symbol=signal.symbol,
                side=wanted.side,
                order_type=signal.order_type,
                arrives_at=at.ts + self.execution.latency_ns,
                quantity=wanted.quantity,
                notional=wanted.notional,
                limit_price=wanted.limit_price,
                stop_loss=wanted.stop_loss,
                take_profit=wanted.take_profit,
                time_in_force=signal.time_in_force,
                post_only=bool(signal.post_only),
                purpose="signal",
            )
        )

    def _raised(self, signal: Signal, correlation_id: str, at: Moment) -> events.SignalRaised:
        _check_words(signal)
        if signal.metadata is not None and not isinstance(signal.metadata, Mapping):
            raise Nonsense("a Signal whose metadata is not a mapping")
        indicators = self.state.get("indicators")
        return events.SignalRaised(
            strategy=self.name,
            seq=self.portfolio.next_seq,
            tick_seq=at.seq,
            ts=at.ts,
            correlation_id=correlation_id,
            action=signal.action,
            symbol=signal.symbol,
            size=_number(signal.size) or 0.0,
            size_in=signal.size_in,
            order_type=signal.order_type,
            price=None if signal.price is None else _number(signal.price),
            limit_price=None if signal.limit_price is None else _number(signal.limit_price),
            stop_price=None if signal.stop_price is None else _number(signal.stop_price),
            stop_loss=None if signal.stop_loss is None else _number(signal.stop_loss),
            take_profit=None if signal.take_profit is None else _number(signal.take_profit),
            time_in_force=signal.time_in_force,
            post_only=bool(signal.post_only),
            reason=signal.reason,
            metadata=_to_json(signal.metadata).decode() if signal.metadata else None,
            indicators=_to_json(indicators).decode() if indicators else None,
        )

    def _reject_signal(self, symbol: str, correlation_id: str, reason: str, at: Moment) -> None:
        self._emit(
            events.SignalRejected(
                strategy=self.name,
                seq=self.portfolio.next_seq,
                tick_seq=at.seq,
                ts=at.ts,
                correlation_id=correlation_id,
                symbol=symbol,
                reason=reason,
            )
        )

    def _request_cancels(self, symbol: str, correlation_id: str, at: Moment) -> None:
        asked = {cancel.order_id for cancel in self.portfolio.cancels}
        open_orders = [*self.portfolio.resting.values(), *self.portfolio.in_flight.values()]
        targets = [
            order.order_id
            for order in open_orders
            if order.symbol == symbol and order.order_id not in asked and order.limit_price is not None
        ]
        if not targets:
            self._reject_signal(symbol, correlation_id, "nothing to cancel", at)
        for order_id in targets:
            self._emit(
                events.CancelSubmitted(
                    strategy=self.name,
                    seq=self.portfolio.next_seq,
                    tick_seq=at.seq,
                    ts=at.ts,
                    order_id=order_id,
                    correlation_id=correlation_id,
                    symbol=symbol,
                    arrives_at=at.ts + self.execution.latency_ns,
                )
            )

    # -- orders meet the market --------------------------------------------------------------------------

    def match(self, at: Moment) -> None:
        """Resting orders and exits against the tick in hand, which the market has taken in."""
        market, row = self._market, at.stop - 1
        batch = market.batch
        assert batch is not None
        symbol = batch.symbols[ord(batch.symbol[row])]
        bounds = self._bounds.get(symbol)
        if bounds is None:
            return
        trade = batch.price[row] if batch.kind[row] == Kind.TRADE else NAN
        if not bounds.is_reached(trade, batch.bid[row], batch.ask[row]):
            return
        if isinstance(market.meets(symbol, at.stop), str):
            return
        quote = market.quote(symbol, at.stop) or NO_QUOTE  # here a last trade is no quote: it has gone by
        for order in list(self.portfolio.resting.values()):
            limit = order.limit_price if order.symbol == symbol else None
            if order.order_id not in self.portfolio.resting:
                continue  # an on_fill that failed has taken it back
            if limit is not None and self._model.is_hit(order.side, float(limit), trade, quote):
                self._fill(order, limit, self.execution.maker_bps, "maker", at)
        if symbol in self.portfolio.exits:
            self._watch_exit(symbol, trade, quote, at)
        self.set_wake()

    def _watch_exit(self, symbol: str, trade: float, quote: Quote, at: Moment) -> None:
        """Exits trigger by the last trade; by the touch they would close at on a feed that has no trades."""
        held, levels = self.portfolio.position(symbol).quantity, self.portfolio.exits[symbol]
        price = trade
        if trade != trade and self._market.last_price(symbol, at.stop) != self._market.last_price(symbol, at.stop):
            price = quote.bid if held > ZERO else quote.ask
        if price != price:
            return
        reached, is_long = money(price), held > ZERO
        stop, target = levels.stop_loss, levels.take_profit
        if stop is not None and (reached <= stop if is_long else reached >= stop):
            self._trigger(symbol, "stop_loss", stop, reached, at)
        elif target is not None and (reached >= target if is_long else reached <= target):
            self._trigger(symbol, "take_profit", target, reached, at)

    def _trigger(self, symbol: str, kind: str, level: Decimal, price: Decimal, at: Moment) -> None:
        levels, held = self.portfolio.exits[symbol], self.portfolio.position(symbol).quantity
        self._emit(
            events.StopTriggered(
                strategy=self.name,
                seq=self.portfolio.next_seq,
                tick_seq=at.seq,
                ts=at.ts,
                correlation_id=levels.correlation_id,
                symbol=symbol,
                kind=kind,
                level=level,
                price=price,
            )
        )
        self._emit(
            events.OrderSubmitted(
                strategy=self.name,
                seq=self.portfolio.next_seq,
                tick_seq=at.seq,
                ts=at.ts,
                order_id=f"{self.name}-{self.portfolio.orders + 1}",
                correlation_id=levels.correlation_id,
                symbol=symbol,
                side="sell" if held > ZERO else "cover",
                order_type="market",
                arrives_at=at.ts + self.execution.latency_ns,
                quantity=held.copy_abs(),
                time_in_force="gtc",
                stop_loss=levels.stop_loss,
                take_profit=levels.take_profit,
                purpose=kind,
            )
        )
        if self.execution.latency_ns == 0:
            self.advance(at)

    def _arrive(self, order: events.OrderSubmitted, at: Moment) -> None:
        quote = self._market.meets(order.symbol, at.stop)
        if isinstance(quote, str):
            self._reject(order, quote, at)
            return
        price = self._model.take(order.side, quote, order.limit_price, self.execution.slippage_bps)
        if price is not None and order.post_only:
            self._reject(order, "would take liquidity", at)
        elif price is not None:
            self._fill(order, price, self.execution.taker_bps, "taker", at)
        elif order.limit_price is None:
            self._reject(order, "no ask" if order.side in BUYING else "no bid", at)
        elif order.time_in_force == "gtc":
            self._emit(events.OrderRested(**self._about(order, at)))
            if not self.is_asked:
                self._cancel(order.order_id, "strategy failed", at)  # nobody is left to look after it
        else:
            self._emit(events.OrderExpired(**self._about(order, at)))

    def _fill(self, order: events.OrderSubmitted, price: Decimal, fee_bps: Decimal, liquidity: str, at: Moment) -> None:
        sized = self._tradable(order, price, fee_bps, at)
        if isinstance(sized, str):
            if liquidity == "taker":
                self._reject(order, sized, at)
            else:
                self._cancel(order.order_id, sized, at)
            return
        quantity, notional, fee = sized
        symbol, portfolio = order.symbol, self.portfolio
        quote = assets(symbol)[1]
        is_buying = order.side in BUYING
        after, gross = traded(
            portfolio.position(symbol),
            quantity if is_buying else negate(quantity),
            notional if is_buying else negate(notional),
        )
        flow = subtract(negate(notional) if is_buying else notional, fee)
        rate = None if quote == portfolio.currency else self._market.rate(quote, portfolio.currency, at.stop) or ZERO
        filled = events.OrderFilled(
            strategy=self.name,
            seq=portfolio.next_seq,
            tick_seq=at.seq,
            ts=at.ts,
            order_id=order.order_id,
            correlation_id=order.correlation_id,
            symbol=symbol,
            side=order.side,
            price=price,
            quantity=quantity,
            fee=fee,
            liquidity=liquidity,
            realized=subtract(gross, fee),
            cash=add(portfolio.balance(quote), flow),
            position=after.quantity,
            cost=after.cost,
            rate=rate,
        )
        self._emit(filled)
        if self.next_mark == NEVER:
            self.next_mark = _next_multiple(at.ts, self.mark_every_ns)
        if self.strategy.on_fill is not None and self.is_asked:
            self._call("on_fill", self.strategy.on_fill, at, self._told(filled, order), self.state)

    def _tradable(
        self, order: events.OrderSubmitted, price: Decimal, fee_bps: Decimal, at: Moment
    ) -> tuple[Decimal, Decimal, Decimal] | str:
        """Quantity, notional and fee that the desk can settle at `price` as things stand now, or why none."""
        symbol, portfolio, market = order.symbol, self.portfolio, self._market
        instrument = market.instrument(symbol)
        held = portfolio.position(symbol).quantity
        quantity = order.quantity
        if quantity is None:
            quantity = floor_divide(order.notional or ZERO, price, instrument.lot_size)
        if order.side == "sell":
            quantity = min(quantity, held, portfolio.balance(assets(symbol)[0]))
            if quantity <= ZERO:
                return "no long position"
        elif order.side == "cover":
            quantity = min(quantity, negate(held))
            if quantity <= ZERO:
                return "no short position"
        notional = multiply(quantity, price)
        fee = bps_of(notional, fee_bps)
        if order.side == "buy":
            power = buying_power(portfolio, market, symbol, at.stop, order.order_id)
            if add(notional, fee) > power:
                if order.notional is None:
                    return "insufficient cash"
                quantity = floor_divide(max(affordable(power, fee_bps), ZERO), price, instrument.lot_size)
                notional = multiply(quantity, price)
                fee = bps_of(notional, fee_bps)
        elif order.side == "short":
            room = short_room(portfolio, market, symbol, at.stop)
            if room is None:
                return "no price to value the collateral"
            if notional > room:
                return "insufficient collateral"
        return too_small(quantity, notional, instrument) or (quantity, notional, fee)

    def _reject(self, order: events.OrderSubmitted, reason: str, at: Moment) -> None:
        self._emit(events.OrderRejected(**self._about(order, at), reason=reason))

    def _cancel(self, order_id: str, reason: str, at: Moment) -> None:
        order = self.portfolio.resting[order_id]
        self._emit(events.OrderCanceled(**self._about(order, at), reason=reason))

    def _about(self, order: events.OrderSubmitted, at: Moment) -> dict[str, Any]:
        return {
            "strategy": self.name,
            "seq": self.portfolio.next_seq,
            "tick_seq": at.seq,
            "ts": at.ts,
            "order_id": order.order_id,
            "correlation_id": order.correlation_id,
            "symbol": order.symbol,
        }

    # -- facts, and those who are told ---------------------------------------------------------------------

    def _emit(self, event: events.Event) -> None:
        self.portfolio.apply(event)
        self._out.append(event)

    def _call(self, where: str, hook: Callable[..., Any], at: Moment, *arguments: object) -> None:
        try:
            hook(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.fail(where, error, at)

    def _told(self, filled: events.OrderFilled, order: events.OrderSubmitted) -> dict[str, Any]:
        """A fill as `on_fill` gets it: plain numbers, under today's names and the predecessor's."""
        signal = self._because.get(filled.correlation_id)
        reason = signal.reason if signal is not None else ""
        if order.purpose != "signal":
            reason = order.purpose
        return {
            "order_id": filled.order_id,
            "fill_id": f"{filled.strategy}-{filled.seq}",
            "correlation_id": filled.correlation_id,
            "ts": filled.ts,
            "timestamp": utc(filled.ts),
            "symbol": filled.symbol,
            "side": filled.side,
            "price": float(filled.price),
            "quantity": float(filled.quantity),
            "size": float(filled.quantity),
            "value": float(multiply(filled.quantity, filled.price)),
            "fee": float(filled.fee),
            "liquidity": filled.liquidity,
            "realized": float(filled.realized),
            "pnl": float(filled.realized),
            "position": float(filled.position),
            "cash": float(filled.cash),
            "reason": reason,
            "signal_reason": reason,
            "metadata": dict(signal.metadata) if signal is not None and signal.metadata else {},
        }

    def _forget_reasons(self) -> None:
        portfolio = self.portfolio
        wanted = {order.correlation_id for order in (*portfolio.in_flight.values(), *portfolio.resting.values())}
        wanted |= {levels.correlation_id for levels in portfolio.exits.values()}
        self._because = {key: signal for key, signal in self._because.items() if key in wanted}


def _bounds(portfolio: Portfolio) -> dict[str, Bounds]:
    limits: dict[str, list[float]] = {}
    for order in portfolio.resting.values():
        levels = limits.setdefault(order.symbol, [-INFINITE, INFINITE, -INFINITE, INFINITE])
        limit = float(order.limit_price or ZERO)
        if order.side in BUYING:
            levels[0] = max(levels[0], limit)
        else:
            levels[1] = min(levels[1], limit)
    for symbol, exits in portfolio.exits.items():
        levels = limits.setdefault(symbol, [-INFINITE, INFINITE, -INFINITE, INFINITE])
        stop = None if exits.stop_loss is None else float(exits.stop_loss)
        target = None if exits.take_profit is None else float(exits.take_profit)
        low, high = (stop, target) if portfolio.position(symbol).quantity > ZERO else (target, stop)
        levels[2] = -INFINITE if low is None else low
        levels[3] = INFINITE if high is None else high
    return {symbol: Bounds(*levels) for symbol, levels in limits.items()}


def _bound(strategy: Strategy, account: Account) -> Asked:
    """`generate_signal`, to be called as (data, config, state) whatever its parameters and their order."""
    function, wants = strategy.generate_signal, strategy.wants
    if wants == ("data", "config", "state"):
        return function

    def decide(data: Snapshot, config: dict[str, Any], state: dict[str, Any], /) -> object:
        given: Mapping[str, object] = {"data": data, "config": config, "state": state, "portfolio": account}
        return function(*(given[name] for name in wants))

    return decide


def _several(answer: object) -> list[Signal]:
    if isinstance(answer, str | bytes | Mapping | AbstractSet) or not hasattr(answer, "__iter__"):
        raise Nonsense(f"generate_signal() returned {type(answer).__name__}; expected a Signal, several, or None")
    signals = list(answer)
    for signal in signals:
        if not isinstance(signal, Signal):
            raise Nonsense(f"generate_signal() returned a {type(signal).__name__} among its signals")
    return signals


def _place(error: BaseException, strategy: Strategy) -> tuple[str, int]:
    """File name and line of the innermost frame in the strategy's own file, else where `generate_signal` begins."""
    found, traceback = strategy.first_line, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == strategy.path:
            found = traceback.tb_lineno
        traceback = traceback.tb_next
    return strategy.path.rpartition("/")[2], found


def _check_words(signal: Signal) -> None:
    """Raise Nonsense unless the words of a signal are text that a file can hold."""
    words = (signal.action, signal.symbol, signal.reason, signal.order_type, signal.size_in, signal.time_in_force)
    try:
        "".join(words).encode()
    except (TypeError, UnicodeEncodeError) as error:
        raise Nonsense("a Signal with something in place of a word that is not text") from error


def _number(value: object) -> float | None:
    return float(value) if is_number(value) else None  # type: ignore[arg-type]  # is_number has looked


def _next_multiple(ts: int, interval_ns: int) -> int:
    return ts - ts % interval_ns + interval_ns
