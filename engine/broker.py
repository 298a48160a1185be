"""One desk's orders: they are sent, arrive, trade, rest, wait for their price, and end."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import msgspec

from engine import events
from engine.bounds import REACHED, Bounds, bounds_of
from engine.depth import fill_model
from engine.execution import ExecutionConfig, cash_fee_bps, latency_ns
from engine.margin import called, margin_prices
from engine.market import NO_QUOTE, Market, Quote
from engine.moments import NEVER, Moment
from engine.money import ZERO, add, money, of_float, subtract
from engine.orders import BUYING, WAITING
from engine.plain import plain_fill, plain_order
from engine.portfolio import Order, Portfolio, wanted
from engine.queues import Place, probability
from engine.settlement import NOTHING_LEFT, settled, slipped
from engine.signals import Signal
from engine.sizing import Draft
from engine.stops import Stop, reference_price, stop_of
from engine.ticks import NAN, Kind

Told = Callable[[events.OrderFilled, Order, Moment], None]


class Broker:
    """The orders of one desk at the venue, and what becomes of them.

    next_due:     the tape time at which an order or a cancel arrives, or an order expires.
    is_guarding:  whether something rests, waits or is owed, and must be held against every tick.
    bounds:       by symbol, the prices between which nothing of it needs a closer look.
    """

    __slots__ = (
        "_cash_fee_bps",
        "_execution",
        "_market",
        "_model",
        "_name",
        "_on_fill",
        "_orphaned",
        "_out",
        "_places",
        "_plain",
        "_stops",
        "_takes_short_ways",
        "bounds",
        "is_guarding",
        "next_due",
        "portfolio",
    )

    def __init__(self, name: str, execution: ExecutionConfig, on_fill: Told | None) -> None:
        """`on_fill` hears of every fill after it has been folded."""
        self.portfolio = Portfolio()
        self.next_due = NEVER
        self.is_guarding = False
        self._name = name
        self._execution = execution
        self._cash_fee_bps = cash_fee_bps(execution)
        self._on_fill = on_fill
        self._model = fill_model(execution.fill_model)
        self._places: dict[str, Place] = {}
        self._stops: dict[str, Stop] = {}
        self.bounds: dict[str, Bounds] = {}
        self._orphaned = ""
        self._takes_short_ways = True
        self._plain: Order | None = None  # the last order that came of a plain signal by the short way

    def listen(self, out: list[events.Event]) -> None:
        """Append the facts that follow to `out`."""
        self._out = out

    def open(self, market: Market, takes_short_ways: bool) -> None:
        """From now on orders meet this market; without short ways, as a reference does, there are no bounds either."""
        self._takes_short_ways = takes_short_ways
        self._market = market

    def emit(self, event: events.Event) -> None:
        """Assert a fact: fold it, and pass it on."""
        self.portfolio.apply(event)
        self._out.append(event)

    def head(self, at: Moment) -> dict[str, Any]:
        """What all facts share, for the next one. Those of every trade spell it out, which is faster."""
        return {"strategy": self._name, "seq": self.portfolio.next_seq, "tick_seq": at.seq, "ts": at.ts}

    # -- sending -----------------------------------------------------------------------------------------

    def submit_plain(self, signal: Signal, correlation_id: str, at: Moment) -> bool:
        """Send the order of a plain signal by the short way; whether that could be done."""
        if not self._takes_short_ways:
            return False
        order = plain_order(
            self._name, signal, correlation_id, self.portfolio, self._market, self._execution, self._cash_fee_bps, at
        )
        if order is None:
            return False
        self._plain = order
        self.emit(order)
        if order.arrives_at < self.next_due:
            self.next_due = order.arrives_at
        return True

    def submit(self, draft: Draft, signal: Signal, plain: bool, correlation_id: str, at: Moment) -> None:
        """Send the order that came of a signal; of a `plain` one there are no further terms."""
        portfolio, execution = self.portfolio, self._execution
        order_id = f"{self._name}-{portfolio.orders + 1}"
        arrives_at = at.ts + (latency_ns(execution, order_id) if execution.jitter_ns else execution.latency_ns)
        if signal.order_id is not None:
            arrives_at = max(arrives_at, self._arrival(signal.order_id))
        order = Order(
            self._name,
            portfolio.next_seq,
            at.seq,
            at.ts,
            order_id=order_id,
            correlation_id=correlation_id,
            symbol=signal.symbol,
            side=draft.side,
            order_type=signal.order_type,
            arrives_at=arrives_at,
            quantity=draft.quantity,
            notional=draft.notional,
            time_in_force=signal.time_in_force,
            reserved=draft.reserved,
            mid_at_decision=draft.mid,
            purpose="signal",
        )
        self.emit(order if plain else _with_terms(order, draft, signal))
        if arrives_at < self.next_due:
            self.next_due = arrives_at

    def request_cancel(self, order: Order, correlation_id: str, at: Moment) -> None:
        """Ask the venue to take an order back. What is sent later on one connection never overtakes the order."""
        delay_ns = latency_ns(self._execution, f"{order.order_id} cancel", is_cancel=True)
        arrives_at = max(at.ts + delay_ns, self._arrival(order.order_id))
        self.next_due = min(self.next_due, arrives_at)
        self.emit(
            events.CancelSubmitted(
                **self.head(at),
                order_id=order.order_id,
                correlation_id=correlation_id,
                symbol=order.symbol,
                arrives_at=arrives_at,
            )
        )

    def _arrival(self, order_id: str) -> int:
        """When an order of this desk reaches the venue, where it is on its way; else any time."""
        order = self.portfolio.in_flight.get(order_id)
        return 0 if order is None else order.arrives_at

    def abandon(self, reason: str, at: Moment) -> None:
        """Nobody looks after the orders any more: those at the venue are taken back, others will not rest."""
        self._orphaned = reason
        for order_id in (*self.portfolio.resting, *self.portfolio.waiting):
            self._cancel(order_id, reason, at)

    def close(self, symbol: str, purpose: str, at: Moment, exits: Any = None, delay_ns: int = 0) -> None:
        """Send the market order that closes a position: of an exit, or because the margin is gone."""
        portfolio = self.portfolio
        held = portfolio.position(symbol).quantity
        number = portfolio.orders + 1
        self.emit(
            Order(
                **self.head(at),
                order_id=f"{self._name}-{number}",
                correlation_id=exits.correlation_id if exits is not None else f"{self._name}-m{number}",
                symbol=symbol,
                side="sell" if held > ZERO else "cover",
                order_type="market",
                arrives_at=at.ts + delay_ns,
                quantity=held.copy_abs(),
                time_in_force="gtc",
                stop_loss=None if exits is None else exits.stop_loss,
                take_profit=None if exits is None else exits.take_profit,
                mid_at_decision=self._mid(symbol, at.stop),
                purpose=purpose,
            )
        )

    def _mid(self, symbol: str, stop: int) -> float | None:
        meets = self._market.meets(symbol, stop)
        return None if isinstance(meets, str) or meets.mid != meets.mid else meets.mid

    # -- time passes -------------------------------------------------------------------------------------

    def set_due(self) -> None:
        """Work out anew when something falls due, and what must be held against every tick."""
        portfolio = self.portfolio
        due = NEVER
        for order in portfolio.in_flight.values():
            if order.arrives_at < due:
                due = order.arrives_at
        if portfolio.cancels:
            due = min(due, *(cancel.arrives_at for cancel in portfolio.cancels))
        guards = portfolio.exits or portfolio.has_shorts()
        if portfolio.resting or portfolio.waiting:
            guards = True
            for order in (*portfolio.resting.values(), *portfolio.waiting.values()):
                if order.expires_at is not None and order.expires_at < due:
                    due = order.expires_at
        self.next_due = due
        self.is_guarding = bool(guards)
        if guards or self.bounds:
            shorts = margin_prices(portfolio, self._market, self._execution)
            self.bounds = bounds_of(portfolio, self._stops, shorts)
            if not self._takes_short_ways:
                self.bounds = dict.fromkeys(self.bounds, REACHED)

    def deal(self, at: Moment) -> None:
        """The next thing that is due: of two at the same time the one that was sent first."""
        portfolio, due = self.portfolio, self.next_due
        if self._plain is not None and self._fill_plain(self._plain, Moment(due, at.seq, at.stop)):
            self.set_due()
            return
        first: Order | events.CancelSubmitted | None = None
        for order in portfolio.in_flight.values():
            if order.arrives_at == due:
                first = order
                break
        for cancel in portfolio.cancels:
            if cancel.arrives_at == due:
                if first is None or cancel.seq < first.seq:
                    first = cancel
                break
        then = Moment(due, at.seq, at.stop)
        if type(first) is Order:
            self._arrive(first, then)
        elif first is not None:
            self._cancel(first.order_id, "requested", then)
        else:
            self._expire(due, then)
        self.set_due()

    def _fill_plain(self, order: Order, at: Moment) -> bool:
        """Fill a plain order by the short way, if it is this order that is due; whether that could be done."""
        portfolio = self.portfolio
        if order.arrives_at != at.ts or len(portfolio.in_flight) != 1 or portfolio.cancels:
            return False
        self._plain = None
        if order.order_id not in portfolio.in_flight:
            return False
        filled = plain_fill(order, portfolio, self._market, self._execution, at)
        if filled is None:
            return False
        self.emit(filled)
        if self._on_fill is not None:
            self._on_fill(filled, order, at)
        return True

    def _expire(self, due: int, at: Moment) -> None:
        for orders in (self.portfolio.resting, self.portfolio.waiting):
            for order in list(orders.values()):
                if order.expires_at is not None and order.expires_at <= due:
                    self._end(events.OrderExpired(**self._about(order, at)))

    # -- an order arrives --------------------------------------------------------------------------------

    def _arrive(self, order: Order, at: Moment) -> None:
        quote = self._market.stands(order.symbol, at.stop)
        if isinstance(quote, str):
            self._reject(order, quote, at)
        elif order.replaces is not None and not self._make_way(order.replaces, at):
            self._reject(order, "nothing to replace", at)
        elif order.expires_at is not None and order.expires_at <= at.ts:
            self._end(events.OrderExpired(**self._about(order, at)))
        elif order.order_type in WAITING:
            self._wait(order, quote, at)
        else:
            self._enter(order, quote, at)

    def _make_way(self, order_id: str, at: Moment) -> bool:
        """Take the order that is to be replaced off the book; whether it was still there."""
        portfolio = self.portfolio
        if order_id not in portfolio.resting and order_id not in portfolio.waiting:
            return False
        self._cancel(order_id, "replaced", at)
        return True

    def _enter(self, order: Order, quote: Quote, at: Moment) -> None:
        """Take what can be taken, then rest or end."""
        portfolio, order_id, side = self.portfolio, order.order_id, 1 if order.side in BUYING else -1
        if order.time_in_force == "fok" and not self._trades_whole(order, side, quote, at):
            self._end(events.OrderExpired(**self._about(order, at)))
            return
        touch = NAN
        for number, price, available in self._offers(order, side, quote):
            if order.post_only:
                self._refuse(order, "would take liquidity", at)
                return
            if touch != touch:
                touch = number
            got = self._trade(order, price, available, touch, quote, False, at)
            if isinstance(got, str):
                self._refuse(order, got, at)
                return
            if available is not None and got:
                self._model.take(side, order.symbol, number, got, self._market)
            if order_id not in portfolio.in_flight:
                return
            if available is None:
                self._refuse(order, NOTHING_LEFT[order.side], at)
                return
        self._settle_down(order, quote, touch == touch, at)

    def _offers(self, order: Order, side: int, quote: Quote) -> Iterator[tuple[float, Decimal, Decimal | None]]:
        """The levels up to the order's limit: the price there, that price slipped, and the base units to be had."""
        limit, slippage_bps = order.limit_price, self._execution.slippage_bps
        for number, available in self._model.levels(side, order.symbol, quote, self._market):
            price = of_float(number)
            if limit is not None and (price > limit if side > 0 else price < limit):
                return
            yield number, slipped(price, side, limit, slippage_bps) if slippage_bps else price, available

    def _trades_whole(self, order: Order, side: int, quote: Quote, at: Moment) -> bool:
        """Whether all of the order would trade now: it is tried on a copy of the portfolio, lots and money included."""
        trial, market, config = self.portfolio.copy(), self._market, self._execution
        for number, price, available in self._offers(order, side, quote):
            filled = settled(order, price, available, number, quote, False, trial, market, config, at)
            if isinstance(filled, str):
                return False
            if filled is not None:
                trial.apply(filled)
                if filled.left is None:
                    return True
        return False

    def _settle_down(self, order: Order, quote: Quote, found_any: bool, at: Moment) -> None:
        """Nothing more to take: what is left rests, or the order is over."""
        if order.limit_price is None:
            nobody = "no ask" if order.side in BUYING else "no bid"
            self._refuse(order, "book exhausted" if found_any else nobody, at)
        elif order.time_in_force in ("ioc", "fok"):
            self._end(events.OrderExpired(**self._about(order, at)))
        else:
            self._rest(order, quote, at)

    def _rest(self, order: Order, quote: Quote, at: Moment) -> None:
        limit = order.limit_price
        assert limit is not None
        side, price, execution = (1 if order.side in BUYING else -1), float(limit), self._execution
        book = self._market.book(order.symbol)
        ahead: Decimal | None = None
        if execution.queue_model == "none":
            ahead = ZERO
        elif book is not None:
            best, size = (quote.bid, quote.bid_size) if side > 0 else (quote.ask, quote.ask_size)
            shown = size if price == best and size == size else book.size(side, price)
            ahead = None if shown is None else money(shown)
        queue_ahead = None if ahead is None else float(ahead)
        self.emit(events.OrderRested(**self._about(order, at), queue_ahead=queue_ahead))
        behind = probability(execution.queue_model, execution.queue_power)
        place = Place(side=side, price=price, ahead=ahead, shown=ahead or ZERO, behind=behind)
        self._places[order.order_id] = place
        if book is not None and execution.queue_model != "none":
            book.watch(place)
        if self._orphaned:
            self._cancel(order.order_id, self._orphaned, at)

    # -- an order trades -----------------------------------------------------------------------------------

    def _trade(
        self,
        order: Order,
        price: Decimal,
        available: Decimal | None,
        touch: float,
        quote: Quote,
        is_maker: bool,
        at: Moment,
    ) -> Decimal | str:
        """Trade at `price` what the order still wants, as far as the desk can settle it and `available` allows.

        Returns how much it got, which is nothing where that is less than a lot; or why the order is over.
        """
        filled = settled(
            order, price, available, touch, quote, is_maker, self.portfolio, self._market, self._execution, at
        )
        if filled is None:
            return ZERO
        if isinstance(filled, str):
            return filled
        self.emit(filled)
        if filled.left is None:
            self._forget(order.order_id)
        if self._on_fill is not None:
            self._on_fill(filled, order, at)
        return filled.quantity

    # -- a tick meets what rests -------------------------------------------------------------------------

    def match(self, at: Moment) -> None:
        """What rests, waits or is owed against the tick in hand, which the market has taken in."""
        market, row = self._market, at.stop - 1
        batch = market.batch
        assert batch is not None
        symbol = batch.symbols[ord(batch.symbol[row])]
        bounds = self.bounds.get(symbol)
        if bounds is None:
            return
        trade = batch.price[row] if batch.kind[row] == Kind.TRADE else NAN
        if not bounds.is_reached(trade, batch.bid[row], batch.ask[row]):
            return
        if isinstance(market.meets(symbol, at.stop), str):
            return
        quote = market.quote(symbol, at.stop) or NO_QUOTE  # here a last trade is no quote: it has gone by
        if self.portfolio.resting:
            self._match_resting(symbol, trade, batch.size[row], batch.side[row], quote, at)
        last = market.last_price(symbol, at.stop)
        if self.portfolio.waiting:
            self._match_waiting(symbol, trade, last == last, quote, at)
        if symbol in self.portfolio.exits:
            self._match_exit(symbol, trade, last == last, quote, at)
        if self.portfolio.has_shorts():
            self.check_margin(at)
        self.set_due()

    def _match_resting(self, symbol: str, trade: float, size: float, aggressor: int, quote: Quote, at: Moment) -> None:
        """Through the price everything trades; at the price what is ahead of us, then us, oldest order first."""
        used: dict[float, Decimal] = {}
        for order in list(self.portfolio.resting.values()):
            if order.symbol != symbol or order.order_id not in self.portfolio.resting:
                continue  # an on_fill that failed has taken it back
            place = self._places[order.order_id]
            is_bid, price = place.side > 0, place.price
            is_through = trade < price if is_bid else trade > price
            if is_through and (aggressor != place.side or self._market.book(symbol) is None):
                self._fill_resting(order, None, quote, at)
            elif quote.ask <= price if is_bid else quote.bid >= price:
                self._meet(order, place, quote, at)
            elif trade == price and aggressor != place.side:
                self._market.book(symbol)  # brings the place up to this row
                beyond = place.trade(money(size)) if size > 0.0 else ZERO
                mine = used.get(price, ZERO)
                if mine and beyond:
                    place.fill(min(mine, beyond))  # an older order of ours stood before this one
                    beyond = max(subtract(beyond, mine), ZERO)
                if beyond:
                    got = self._fill_resting(order, beyond, quote, at)
                    place.fill(got)
                    used[price] = add(mine, got)

    def _meet(self, order: Order, place: Place, quote: Quote, at: Moment) -> None:
        """The other side has come to the order's price: it trades with what is shown there and not yet taken."""
        missing, parts = self.portfolio.left.get(order.order_id, wanted(order)), list[tuple[float, Decimal]]()
        for number, available in self._model.levels(place.side, order.symbol, quote, self._market):
            if available is None:
                self._fill_resting(order, None, quote, at)
                return
            if number > place.price if place.side > 0 else number < place.price:
                break
            parts.append((number, min(available, missing)))
            missing = subtract(missing, parts[-1][1])
        total = ZERO
        for _, part in parts:
            total = add(total, part)
        got = self._fill_resting(order, total, quote, at) if total else ZERO
        for number, part in parts:
            if got and part:
                self._model.take(place.side, order.symbol, number, min(part, got), self._market)
                got = subtract(got, min(part, got))

    def _fill_resting(self, order: Order, available: Decimal | None, quote: Quote, at: Moment) -> Decimal:
        limit = order.limit_price
        assert limit is not None
        got = self._trade(order, limit, available, float(limit), quote, True, at)
        if isinstance(got, str):
            self._cancel(order.order_id, got, at)
            return ZERO
        if order.order_id in self.portfolio.resting and available is None:
            self._cancel(order.order_id, NOTHING_LEFT[order.side], at)
        return got

    def _match_waiting(self, symbol: str, trade: float, has_trades: bool, quote: Quote, at: Moment) -> None:
        for order in list(self.portfolio.waiting.values()):
            if order.symbol != symbol or order.order_id not in self.portfolio.waiting:
                continue
            trigger, is_buying = self._execution.stop_trigger, order.side in BUYING
            price = reference_price(trigger, is_buying, trade, quote, has_trades)
            if price is not None and self._stops[order.order_id].meets(price):
                self._trigger(order, price, at)

    def _wait(self, order: Order, quote: Quote, at: Moment) -> None:
        """A stop is at the venue. Where the price has already reached it, it does not wait."""
        stop = self._stops[order.order_id] = stop_of(order)
        self.emit(events.OrderRested(**self._about(order, at)))
        last = self._market.last_price(order.symbol, at.stop)
        price = reference_price(self._execution.stop_trigger, order.side in BUYING, last, quote, last == last)
        if price is not None and stop.meets(price):
            self._trigger(order, price, at)
        elif self._orphaned:
            self._cancel(order.order_id, self._orphaned, at)

    def _trigger(self, order: Order, price: Decimal, at: Moment) -> None:
        """A stop was at the venue already: it trades at once, against the market that triggered it."""
        level = self._stops.pop(order.order_id).level
        assert level is not None
        self.emit(events.StopTriggered(**self._about(order, at), kind=order.order_type, level=level, price=price))
        stands = self._market.stands(order.symbol, at.stop)
        if isinstance(stands, str):
            self._refuse(order, stands, at)
        else:
            self._enter(order, stands, at)

    def _match_exit(self, symbol: str, trade: float, has_trades: bool, quote: Quote, at: Moment) -> None:
        """The exits of a position: the order that closes it is sent from here, and takes its latency."""
        held, exits = self.portfolio.position(symbol).quantity, self.portfolio.exits[symbol]
        is_long = held > ZERO
        price = reference_price(self._execution.stop_trigger, not is_long, trade, quote, has_trades)
        if price is None:
            return
        stop, target = exits.stop_loss, exits.take_profit
        if stop is not None and (price <= stop if is_long else price >= stop):
            kind, level = "stop_loss", stop
        elif target is not None and (price >= target if is_long else price <= target):
            kind, level = "take_profit", target
        else:
            return
        self.emit(
            events.StopTriggered(
                **self.head(at),
                correlation_id=exits.correlation_id,
                symbol=symbol,
                kind=kind,
                level=level,
                price=price,
            )
        )
        order_id = f"{self._name}-{self.portfolio.orders + 1}"
        self.close(symbol, kind, at, exits, latency_ns(self._execution, order_id))
        self._deal_at_once(at)

    def check_margin(self, at: Moment) -> None:
        """Buy shorts back where the equity no longer covers them; what rests is taken back before that."""
        call = called(self.portfolio, self._market, at.stop, self._execution)
        if call is None:
            return
        equity, required = call
        self.emit(events.MarginCalled(**self.head(at), equity=equity, required=required))
        for order_id in (*self.portfolio.resting, *self.portfolio.waiting):
            self._cancel(order_id, "margin call", at)
        for symbol, position in sorted(self.portfolio.positions.items()):
            if position.quantity < ZERO:
                self.close(symbol, "liquidation", at)
        self._deal_at_once(at)

    def _deal_at_once(self, at: Moment) -> None:
        """What was sent without latency meets the market of this same tick, after it."""
        self.set_due()
        while self.next_due <= at.ts:
            self.deal(at)

    # -- an order is over ----------------------------------------------------------------------------------

    def _refuse(self, order: Order, reason: str, at: Moment) -> None:
        """The venue does not go on with the order: a rejection, or where it has begun, a cancellation."""
        if order.order_id in self.portfolio.left:
            self._end(events.OrderCanceled(**self._about(order, at), reason=reason))
        else:
            self._reject(order, reason, at)

    def _reject(self, order: Order, reason: str, at: Moment) -> None:
        self._end(events.OrderRejected(**self._about(order, at), reason=reason))

    def _cancel(self, order_id: str, reason: str, at: Moment) -> None:
        order = self.portfolio.order(order_id)
        assert order is not None
        self._end(events.OrderCanceled(**self._about(order, at), reason=reason))

    def _end(self, event: events.OrderCanceled | events.OrderExpired | events.OrderRejected) -> None:
        self.emit(event)
        self._forget(event.order_id)

    def _forget(self, order_id: str) -> None:
        """The order is over: nothing of it queues or waits."""
        if self._stops:
            self._stops.pop(order_id, None)
        if not self._places:
            return
        place = self._places.pop(order_id, None)
        if place is not None:
            self._market.forget(place)

    def _about(self, order: Order, at: Moment) -> dict[str, Any]:
        about = {"order_id": order.order_id, "correlation_id": order.correlation_id, "symbol": order.symbol}
        return self.head(at) | about


def _with_terms(order: Order, draft: Draft, signal: Signal) -> Order:
    """The order with all that its signal said."""
    return msgspec.structs.replace(
        order,
        limit_price=draft.limit_price,
        stop_price=draft.stop_price,
        trail_bps=draft.trail_bps,
        stop_loss=None if signal.stop_loss is None else money(signal.stop_loss),
        take_profit=None if signal.take_profit is None else money(signal.take_profit),
        expires_at=signal.expires_at if signal.time_in_force == "gtd" else None,
        post_only=bool(signal.post_only),
        replaces=signal.order_id,
    )
