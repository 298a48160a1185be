"""One strategy and its money: it is asked, its wishes become orders, and it hears what came of them."""

import copy
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from decimal import Decimal
from operator import index
from typing import Any, Protocol, SupportsFloat, SupportsIndex

import msgspec

from engine import events
from engine.account import Account
from engine.bounds import Bounds
from engine.broker import Broker
from engine.execution import ExecutionConfig
from engine.market import LookAhead, Market
from engine.moments import NEVER, Moment, is_time
from engine.money import is_number, money, multiply
from engine.portfolio import Order
from engine.risk import NO_LIMITS, RiskDesk, RiskLimits
from engine.signals import Signal, Strategy, is_plain
from engine.sizing import draft, valuation
from engine.snapshot import Snapshot, utc

_REASONS_KEPT = 256
"""Signals kept for their fills before those are dropped that no order or exit stands for."""


def _plain_value(value: object) -> str | int | float:
    """Text and numbers of a library's own kind, such as numpy's, as Python's."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, SupportsIndex):
        return index(value)
    if isinstance(value, SupportsFloat):
        return float(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


_encode = msgspec.json.Encoder(order="deterministic", enc_hook=_plain_value).encode


def _to_json(what: str, value: object) -> str:
    """A strategy's value for the ledger; keys become text. Raises Nonsense where JSON cannot hold it."""
    try:
        try:
            return _encode(value).decode()
        except TypeError:  # it may be for its keys alone
            return _encode(_with_text_keys(value)).decode()
    except (TypeError, ValueError) as error:
        raise Nonsense(f"{what} that JSON cannot hold: {error}") from error


def _with_text_keys(value: object) -> object:
    """Numbers as keys written out: averages are often kept by their length."""
    if isinstance(value, dict):
        return {str(_plain_value(key)): _with_text_keys(item) for key, item in value.items()}
    return [*map(_with_text_keys, value)] if isinstance(value, list | tuple) else value


class Asked(Protocol):
    """`generate_signal` with its parameters in our order."""

    def __call__(self, data: Snapshot, config: dict[str, Any], state: dict[str, Any], /) -> object: ...


class Nonsense(TypeError):
    """A strategy answered with something that is not a Signal, several, or None."""


class Desk:
    """A strategy at work.

    wake:         the tape time at which something is due that no tick announces: an arrival, a mark, a timer.
    is_guarding:  whether something rests, waits or is owed, and must be held against every tick.
    is_asked:     whether its strategy is still asked for signals.
    """

    __slots__ = (
        "_because",
        "_broker",
        "_emit",
        "_market",
        "_on_failure",
        "_risk",
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
        risk: RiskLimits = NO_LIMITS,
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
        self.config: dict[str, Any] = copy.deepcopy(dict(strategy.config))
        self.state: dict[str, Any] = {}
        self.is_asked = True
        self.is_guarding = False
        self.wake = self.next_mark = self.next_timer = NEVER
        self._broker = Broker(strategy.name, execution, self._hear)
        self._emit = self._broker.emit
        self.portfolio = self._broker.portfolio
        self._on_failure = on_failure
        self._risk = None if risk == NO_LIMITS else RiskDesk(risk)
        self._because: dict[str, Signal] = {}

    def listen(self, out: list[events.Event]) -> None:
        """Append the facts that follow to `out`."""
        self._broker.listen(out)

    def open(self, market: Market, at: Moment, takes_short_ways: bool = True) -> None:
        """Begin at the tape's first tick: the money is there, and `on_start` is called.

        Without short ways every tick is held against what is guarded, and every order takes the general way.
        """
        self._market = market
        self._broker.open(market, takes_short_ways)
        self.account = Account(self.portfolio, market)
        self.decide = _bound(self.strategy, self.account)
        self._emit(
            events.PortfolioOpened(
                strategy=self.name, seq=0, tick_seq=at.seq, ts=at.ts, currency=self.currency, cash=self.cash
            )
        )
        if self._risk is not None:
            self._risk.hear_equity(self.cash)
        if self.strategy.trigger.is_timed:
            self.next_timer = _next_multiple(at.ts, self.strategy.trigger.interval_ns)
        if self.strategy.on_start is not None:
            self._call("on_start", self.strategy.on_start, at, self.config, self.state)
        self.set_wake()

    def watches(self, symbol: str) -> bool:
        """Whether the strategy asked for this symbol."""
        return self.strategy.symbols is None or symbol in self.strategy.symbols

    @property
    def bounds(self) -> Mapping[str, Bounds]:
        """By symbol, the prices between which nothing that is guarded needs a closer look."""
        return self._broker.bounds

    # -- time passes -----------------------------------------------------------------------------------

    def advance(self, at: Moment) -> None:
        """Everything due by `at.ts`, each at its own time, against the market before row `at.stop`."""
        broker = self._broker
        while True:
            due = broker.next_due
            if self.next_mark <= at.ts and self.next_mark <= due:
                self._mark_if_moved(Moment(self.next_mark, at.seq, at.stop), at.ts)
            elif due > at.ts:
                break
            else:
                broker.deal(at)
        self._look_ahead()

    def match(self, at: Moment) -> None:
        """What rests, waits or is owed against the tick in hand, which the market has taken in."""
        self._broker.match(at)
        self._look_ahead()

    def finish(self, at: Moment) -> None:
        """The tape is over: a last mark, and `on_stop`."""
        self._emit_mark(at, *valuation(self.portfolio, self._market, at.stop))
        if self.strategy.on_stop is not None and self.is_asked:
            self._call("on_stop", self.strategy.on_stop, at, self.state)

    def set_wake(self) -> None:
        """Work out anew when something falls due, and whether anything rests."""
        self._broker.set_due()
        self._look_ahead()

    def _look_ahead(self) -> None:
        wake = self.next_mark if self.next_mark < self.next_timer else self.next_timer
        due = self._broker.next_due
        self.wake = due if due < wake else wake
        self.is_guarding = self._broker.is_guarding

    def _mark_if_moved(self, at: Moment, now_ns: int) -> None:
        equity, unknown = valuation(self.portfolio, self._market, at.stop)
        if equity != self.portfolio.equity:
            self._emit_mark(at, equity, unknown)
            if self._risk is not None and equity is not None:
                self._halt(self._risk.hear_equity(equity), at)
        self.next_mark = _next_multiple(now_ns, self.mark_every_ns) if self.portfolio.is_exposed() else NEVER
        if self._broker.is_guarding and self.portfolio.has_shorts():
            self._broker.check_margin(at)

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
        if type(answer) is Signal:
            self._raise(answer, at)
        else:
            try:
                signals = _several(answer)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self.fail("generate_signal", error, at)
                return
            for signal in signals:
                if self.is_asked:
                    self._raise(signal, at)
        due = self._broker.next_due
        if due <= at.ts:
            self.advance(at)
        elif due < self.wake:
            self.wake = due

    def fail(self, where: str, error: BaseException, at: Moment) -> None:
        """The strategy is not asked again. Its exits stay in force; its resting orders are taken back."""
        file, line = _place(error, self.strategy)
        if self._on_failure is not None:
            self._on_failure(f"{file}:{line} in {where}: {type(error).__name__}: {_text(error)}")
        self._emit(
            events.StrategyFailed(
                **self._broker.head(at),
                where=where,
                exception=type(error).__name__,
                file=file,
                line=line,
                detail=str(error) if isinstance(error, Nonsense | LookAhead) else "",
            )
        )
        self._leave("strategy failed", at)

    def _halt(self, reason: str, at: Moment) -> None:
        """A limit of its own stops the desk, where there is a reason. Its exits stay in force."""
        if reason and self.is_asked:
            self._emit(events.DeskHalted(**self._broker.head(at), reason=reason))
            self._leave("desk halted", at)

    def _leave(self, reason: str, at: Moment) -> None:
        self.is_asked = False
        self.next_timer = NEVER
        self._broker.abandon(reason, at)
        self.set_wake()

    def _raise(self, signal: Signal, at: Moment) -> None:
        portfolio = self.portfolio
        correlation_id = f"{self.name}-s{portfolio.signals + 1}"
        try:
            plain = is_plain(signal)
            signal = _in_plain_numbers(_in_plain_words(signal, plain), plain)
            raised = self._raised(signal, plain, correlation_id, at)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.fail("generate_signal", error, at)
            return
        self._emit(raised)
        if signal.action == "cancel":
            self._request_cancels(signal, correlation_id, at)
            return
        if plain and self._risk is None and self._broker.submit_plain(signal, correlation_id, at):
            self._remember(correlation_id, signal)
            return
        if not plain:
            signal = self._replacement(signal)
        wanted = draft(signal, plain, portfolio, self._market, at.stop, self.execution)
        if self._risk is not None and not isinstance(wanted, str):
            wanted = self._risk.refusal(wanted, signal.symbol, portfolio, at.ts, signal.order_id) or wanted
        if isinstance(wanted, str):
            self._reject_signal(signal.symbol, correlation_id, wanted, at)
            return
        if self._risk is not None:
            self._risk.hear_sent(at.ts)
        self._remember(correlation_id, signal)
        self._broker.submit(wanted, signal, plain, correlation_id, at)

    def _raised(self, signal: Signal, plain: bool, correlation_id: str, at: Moment) -> events.SignalRaised:
        indicators = self.state.get("indicators")
        raised = events.SignalRaised(
            self.name,
            self.portfolio.next_seq,
            at.seq,
            at.ts,
            correlation_id=correlation_id,
            action=signal.action,
            symbol=signal.symbol,
            size=_number(signal.size) or 0.0,
            size_in=signal.size_in,
            order_type=signal.order_type,
            time_in_force=signal.time_in_force,
            reason=signal.reason,
            indicators=_to_json("state['indicators']", indicators) if indicators else None,
        )
        return raised if plain else _with_terms(raised, signal)

    def _reject_signal(self, symbol: str, correlation_id: str, reason: str, at: Moment) -> None:
        self._emit(
            events.SignalRejected(
                **self._broker.head(at),
                correlation_id=correlation_id,
                symbol=symbol,
                reason=reason,
            )
        )

    def _replacement(self, signal: Signal) -> Signal:
        """The order that takes another's place: on its side, and where no size is given of what is left of it.

        Once only: the second of two replacements would find the first one there.
        """
        if signal.action != "replace":
            return signal if signal.order_id is None else msgspec.structs.replace(signal, order_id=None)
        portfolio = self.portfolio
        old = portfolio.order(signal.order_id or "")
        if (
            old is None
            or old.quantity is None
            or any(other.replaces == old.order_id for other in portfolio.in_flight.values())
        ):
            return signal
        size: float | Decimal = signal.size
        size_in = signal.size_in
        if not size:
            size, size_in = portfolio.left.get(old.order_id, old.quantity), "base"
        return msgspec.structs.replace(signal, action=old.side, symbol=old.symbol, size=size, size_in=size_in)

    def _request_cancels(self, signal: Signal, correlation_id: str, at: Moment) -> None:
        """Of one order, or of all in the symbol that do not trade on arrival."""
        portfolio, wanted = self.portfolio, signal.order_id
        asked = {cancel.order_id for cancel in portfolio.cancels}
        open_orders = (*portfolio.resting.values(), *portfolio.waiting.values(), *portfolio.in_flight.values())
        targets = [
            order
            for order in open_orders
            if order.order_id not in asked
            and order.order_type != "market"
            and (order.symbol == signal.symbol if wanted is None else order.order_id == wanted)
        ]
        if not targets:
            self._reject_signal(signal.symbol, correlation_id, "nothing to cancel", at)
        for order in targets:
            self._broker.request_cancel(order, correlation_id, at)

    # -- those who are told --------------------------------------------------------------------------------

    def _hear(self, filled: events.OrderFilled, order: Order, at: Moment) -> None:
        """An order of the desk has traded."""
        if self.next_mark == NEVER:
            self.next_mark = _next_multiple(at.ts, self.mark_every_ns)
        if self._risk is not None:
            was_closing = filled.side in ("sell", "cover") or filled.realized != filled.fee.copy_negate()
            self._halt(self._risk.hear_filled(filled, was_closing), at)
        if self.strategy.on_fill is not None and self.is_asked:
            self._call("on_fill", self.strategy.on_fill, at, self._told(filled, order), self.state)

    def _call(self, where: str, hook: Callable[..., Any], at: Moment, *arguments: object) -> None:
        try:
            hook(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.fail(where, error, at)

    def _told(self, filled: events.OrderFilled, order: Order) -> dict[str, Any]:
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

    def _remember(self, correlation_id: str, signal: Signal) -> None:
        """Keep the signal for `on_fill`, which is told the reason for a fill."""
        if self.strategy.on_fill is None:
            return
        if len(self._because) >= _REASONS_KEPT:
            self._forget_reasons()
        self._because[correlation_id] = signal

    def _forget_reasons(self) -> None:
        portfolio = self.portfolio
        open_orders = (*portfolio.in_flight.values(), *portfolio.resting.values(), *portfolio.waiting.values())
        wanted = {order.correlation_id for order in open_orders}
        wanted |= {levels.correlation_id for levels in portfolio.exits.values()}
        self._because = {key: signal for key, signal in self._because.items() if key in wanted}


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
    if isinstance(answer, Signal):  # of a strategy's own kind
        return [answer]
    if isinstance(answer, str | bytes | Mapping | AbstractSet) or not hasattr(answer, "__iter__"):
        raise Nonsense(f"generate_signal() returned {type(answer).__name__}; expected a Signal, several, or None")
    signals = list(answer)
    for signal in signals:
        if not isinstance(signal, Signal):
            raise Nonsense(f"generate_signal() returned a {type(signal).__name__} among its signals")
    return signals


def _text(error: BaseException) -> str:
    """What an exception says; its `__str__` may be the strategy's own, and fail like anything of it."""
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as worse:
        return f"<{type(worse).__name__} while it was asked what it says>"


def _place(error: BaseException, strategy: Strategy) -> tuple[str, int]:
    """File name and line of the innermost frame in the strategy's own file, else where `generate_signal` begins."""
    found, traceback = strategy.first_line, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == strategy.path:
            found = traceback.tb_lineno
        traceback = traceback.tb_next
    return strategy.path.rpartition("/")[2], found


_WORDS = ("action", "symbol", "reason", "order_type", "size_in", "time_in_force", "order_id")


def _in_plain_words(signal: Signal, plain: bool) -> Signal:
    """The signal with its words as text and nothing more, which numpy's are not.

    Raises Nonsense unless a file can hold them.
    """
    words = [signal.action, signal.symbol, signal.reason, signal.order_type, signal.size_in, signal.time_in_force]
    if not plain and signal.order_id is not None:
        words.append(signal.order_id)
    try:
        text = "".join(words)
        if not text.isascii():
            text.encode()
    except (TypeError, UnicodeEncodeError) as error:
        raise Nonsense("a Signal with something in place of a word that is not text") from error
    for word in words:
        if type(word) is not str:
            known = {name: getattr(signal, name) for name in _WORDS}
            texts = {name: str.__str__(word) for name, word in known.items() if word is not None}
            return msgspec.structs.replace(signal, **texts)
    return signal


_NUMBERS = ("size", "price", "limit_price", "stop_price", "stop_loss", "take_profit", "trail_bps", "expires_at")


def _in_plain_numbers(signal: Signal, plain: bool) -> Signal:
    """The signal with numbers of a library's own kind, such as numpy's, as Python's."""
    if plain and type(signal.size) is float:
        return signal
    changed = {}
    for name in _NUMBERS:
        value = getattr(signal, name)
        if value is not None and not isinstance(value, int | float | Decimal | str):
            with suppress(TypeError, ValueError):  # what is no number is refused as such
                changed[name] = _plain_value(value)
    return msgspec.structs.replace(signal, **changed) if changed else signal


def _with_terms(raised: events.SignalRaised, signal: Signal) -> events.SignalRaised:
    """The fact of a signal that is not plain, as given."""
    metadata = signal.metadata
    if metadata is not None and not isinstance(metadata, Mapping):
        raise Nonsense("a Signal whose metadata is not a mapping")
    return msgspec.structs.replace(
        raised,
        price=_number(signal.price),
        limit_price=_number(signal.limit_price),
        stop_price=_number(signal.stop_price),
        stop_loss=_number(signal.stop_loss),
        take_profit=_number(signal.take_profit),
        trail_bps=_number(signal.trail_bps),
        expires_at=signal.expires_at if is_time(signal.expires_at) else None,
        post_only=bool(signal.post_only),
        reduce_only=bool(signal.reduce_only),
        order_id=signal.order_id,
        metadata=_to_json("a Signal with metadata", metadata) if metadata else None,
    )


def _number(value: object) -> float | None:
    return float(value) if is_number(value) else None  # type: ignore[arg-type]  # is_number has looked


def _next_multiple(ts: int, interval_ns: int) -> int:
    return ts - ts % interval_ns + interval_ns
