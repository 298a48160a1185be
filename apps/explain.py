"""Why something happened in a run, or nothing: the moment made again, with what the strategy saw and answered."""

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from apps.explain_fill import Settlement, settlement
from apps.ingredients import Ingredients, ingredients
from apps.plain import amount, plain
from apps.problems import UserProblem, nearest
from apps.retracing import Decision, Retraced, retrace
from apps.silence import why_not_asked
from engine import events
from engine.events import Event
from engine.portfolio import Portfolio
from engine.ticks import KIND_NAMES
from recorder.ledger import read_events
from recorder.run_files import RunFiles
from recorder.runs import Manifest, read_manifest
from recorder.tape import Tape

NEIGHBORS = 4
"""Ticks shown before and after the one in question."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """An event in the life of a signal.

    after_ns:  since the decision.
    told:      what it adds, in words.
    """

    seq: int
    type: str
    ts: int
    tick_seq: int
    after_ns: int
    told: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One event, or one moment without one, from the tick that led to it to the money it moved.

    question:     what was asked about, in words.
    answer:       in one sentence, what happened and why.
    event:        as recorded; None for a moment.
    is_same:      whether the replay gave the recorded events again.
    decision:     the call of `generate_signal` that led to it, or the latest one before it; None where there was none.
    life:         what became of the signal.
    settlement:   of a fill: what the order met, and the arithmetic of price, fee and money.
    execution:    the costs and delays in force.
    before, after:  the desk's money and orders, on either side of the event or the moment.
    neighbors:    the ticks around.
    """

    run: str
    strategy: str
    question: str
    answer: str
    ts: int
    tick_seq: int
    event: dict[str, Any] | None  # JSON
    is_same: bool
    decision: Decision | None
    life: list[Step]
    settlement: Settlement | None
    execution: dict[str, Any]  # JSON
    before: dict[str, Any]  # JSON
    after: dict[str, Any]  # JSON
    neighbors: list[dict[str, Any]]  # JSON


def explain_event(run: Path, name: str, *, is_event: bool = False) -> Explanation:
    """Why the event of this name came about.

    name:      STRATEGY-SEQ; the id of an order or of a signal stands for what became of it.
    is_event:  take STRATEGY-NUMBER for an event even where an order has that id.

    Raises UserProblem where there is no such event, or where the run cannot be made again.
    """
    manifest = read_manifest(run)
    strategy, number, is_signal = _parsed(name, manifest)
    recorded = _recorded(run, strategy)
    target = _target(name, strategy, number, recorded, is_signal=is_signal, is_event=is_event)
    made_of = ingredients(run, manifest, only=strategy)
    life = _life(target, recorded)
    asked_at = _decision_seq(target, life)
    done = retrace(made_of, target.tick_seq + 1, {asked_at})
    before, after = _folded(done.events, target.seq)
    decision = _for_symbol(done.decisions, getattr(target, "symbol", None))
    fill = target if isinstance(target, events.OrderFilled) else None
    return Explanation(
        run=str(run),
        strategy=strategy,
        question=f"{strategy}-{target.seq} {type(target).__name__}",
        answer=_answer(target, life, decision, manifest),
        ts=target.ts,
        tick_seq=target.tick_seq,
        event=_as_json(target),
        is_same=_is_same(done.events, recorded),
        decision=decision,
        life=[_step(event, life[0].ts) for event in life],
        settlement=None if fill is None else settlement(made_of, fill, _order(fill, life), before),
        execution=plain(made_of.config.desks[strategy].execution),
        before=money_of(before),
        after=money_of(after),
        neighbors=neighbors(made_of.tape, manifest, target.tick_seq),
    )


def explain_moment(run: Path, strategy: str, at_ns: int) -> Explanation:
    """What the strategy did at the last tick up to `at_ns`, and why nothing where it did nothing.

    Raises UserProblem where the run has no such strategy or its tape no such time.
    """
    manifest = read_manifest(run)
    if strategy not in manifest.strategies:
        known = sorted(manifest.strategies)
        raise UserProblem(f"--strategy {strategy}: expected one of {', '.join(known)}{nearest(strategy, known)}")
    made_of, recorded = ingredients(run, manifest, only=strategy), _recorded(run, strategy)
    seq = _seq_at(made_of, manifest, at_ns)
    first = retrace(made_of, seq + 1, {seq})
    done = first if first.decisions or first.last_call_seq < 0 else retrace(made_of, seq + 1, {first.last_call_seq})
    here = [event for event in done.events if event.tick_seq == seq]
    [row] = made_of.tape.ticks(seq, seq + 1)
    asked_for = next((event.symbol for event in here if isinstance(event, events.SignalRaised)), row.tick.symbol)
    decision = _for_symbol(done.decisions, asked_for)
    start = here[0].seq if here else len(done.events)
    before, after = _folded(done.events, start)[0], _folded(done.events, len(done.events))[0]
    return Explanation(
        run=str(run),
        strategy=strategy,
        question=f"{strategy} at tick {seq}",
        answer=_moment(decision if first.decisions else None, here, made_of, done, seq),
        ts=row.ts_recv,
        tick_seq=seq,
        event=None,
        is_same=_is_same(done.events, recorded),
        decision=decision,
        life=[_step(event, row.ts_recv) for event in here],
        settlement=None,
        execution=plain(made_of.config.desks[strategy].execution),
        before=money_of(before),
        after=money_of(after),
        neighbors=neighbors(made_of.tape, manifest, seq),
    )


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """The one object that `wspt explain --json` prints."""
    plain_values: dict[str, Any] = msgspec.to_builtins(explanation)
    return plain_values


def money_of(portfolio: Portfolio) -> dict[str, Any]:
    """Balances, positions and open orders, as JSON has them."""
    return {
        "balances": {asset: amount(units) for asset, units in portfolio.balances.items() if units},
        "positions": {symbol: plain(position) for symbol, position in portfolio.positions.items()},
        "open_orders": [*portfolio.in_flight, *portfolio.resting],
        "exits": {symbol: plain(exits) for symbol, exits in portfolio.exits.items()},
        "equity": plain(portfolio.equity),
    }


def neighbors(tape: Tape, manifest: Manifest, seq: int) -> list[dict[str, Any]]:
    """The ticks around the one at `seq`, without their raw messages."""
    start = max(manifest.tape.first_seq, seq - NEIGHBORS)
    rows = tape.ticks(start, min(manifest.tape.stop_seq, seq + NEIGHBORS + 1))
    shown = ("symbol", "side", "price", "size", "bid", "bid_size", "ask", "ask_size", "note")
    return [
        {"seq": row.seq, "ts": row.ts_recv, "kind": KIND_NAMES[row.tick.kind]}
        | {name: plain(getattr(row.tick, name)) for name in shown}
        for row in rows
    ]


# -- which event is meant --------------------------------------------------------------------------------------


def _parsed(name: str, manifest: Manifest) -> tuple[str, int, bool]:
    """Strategy, number, and whether it is a signal's: of `dip-12` or `dip-s3`."""
    found = re.fullmatch(r"(.+)-(s?)(\d+)", name)
    if found is None:
        raise UserProblem(f"{name}: expected STRATEGY-NUMBER, such as {min(manifest.strategies)}-12")
    strategy, is_signal, number = found.groups()
    if strategy not in manifest.strategies:
        known = sorted(manifest.strategies)
        raise UserProblem(f"{name}: expected a strategy of the run, {', '.join(known)}{nearest(strategy, known)}")
    return strategy, int(number), bool(is_signal)


def _recorded(run: Path, strategy: str) -> list[Event]:
    """The strategy's events as the ledger has them by now."""
    files = RunFiles(run)
    try:
        return read_events(files.look(with_log=False).ledger, strategy)[strategy]
    finally:
        files.close()


def _target(
    name: str, strategy: str, number: int, recorded: Sequence[Event], *, is_signal: bool, is_event: bool
) -> Event:
    """The event that is meant: a fill of this seq, the latest of the order or signal of this id, any of this seq."""
    named = recorded[number] if number < len(recorded) and not is_signal else None
    if named is not None and (is_event or isinstance(named, events.OrderFilled)):
        return named
    if not is_event:
        key = "correlation_id" if is_signal else "order_id"
        of_it = [event for event in recorded if getattr(event, key, None) == name]
        fills = [event for event in of_it if isinstance(event, events.OrderFilled)]
        if fills or of_it:
            return (fills or of_it)[-1]
    if named is None:
        last = len(recorded) - 1
        raise UserProblem(f"{name}: expected an event of {strategy} up to {strategy}-{last}, found none of this name")
    return named


def _life(target: Event, recorded: Sequence[Event]) -> list[Event]:
    """Everything that belongs to the same signal; the event alone where there is none."""
    link = getattr(target, "correlation_id", None)
    if link is None:
        return [target]
    return [event for event in recorded if getattr(event, "correlation_id", None) == link]


def _decision_seq(target: Event, life: Sequence[Event]) -> int:
    raised = next((event for event in life if isinstance(event, events.SignalRaised)), target)
    return raised.tick_seq


def _order(fill: events.OrderFilled, life: Sequence[Event]) -> events.OrderSubmitted:
    [order] = [event for event in life if isinstance(event, events.OrderSubmitted) and event.order_id == fill.order_id]
    return order


def _for_symbol(decisions: Sequence[Decision], symbol: str | None) -> Decision | None:
    """The call that was about `symbol`: at a timer's tick there is one a symbol."""
    about = [decision for decision in decisions if decision.seen.get("symbol") in (symbol, None)]
    found = about or decisions
    return found[-1] if found else None


def _seq_at(made_of: Ingredients, manifest: Manifest, at_ns: int) -> int:
    """The last tick of the run up to `at_ns`."""
    tape, reference = made_of.tape, manifest.tape
    [first] = tape.ticks(reference.first_seq, reference.first_seq + 1)
    [last] = tape.ticks(reference.stop_seq - 1, reference.stop_seq)
    if not first.ts_recv <= at_ns <= last.ts_recv:
        raise UserProblem(f"--at {at_ns}: expected a time of the run, {first.ts_recv} to {last.ts_recv}")
    for span in (10**9, 60 * 10**9, 3_600 * 10**9, at_ns - first.ts_recv):
        found = -1
        for batch in tape.batches(from_ns=at_ns - span, to_ns=at_ns + 1, stop_seq=reference.stop_seq):
            found = batch.first_seq + len(batch) - 1
        if found >= reference.first_seq:
            return found
    raise AssertionError("a time of the run has a tick before it")


# -- in words ----------------------------------------------------------------------------------------------------


def _answer(target: Event, life: Sequence[Event], decision: Decision | None, manifest: Manifest) -> str:
    raised = next((event for event in life if isinstance(event, events.SignalRaised)), None)
    because = f", reason {raised.reason!r}" if raised is not None and raised.reason else ""
    match target:
        case events.OrderFilled():
            order = _order(target, life)
            why = f"its signal to {raised.action}{because}" if raised is not None else "its signal"
            if order.purpose != "signal":
                why = f"the {order.purpose} that {why} had set"
            deal = f"{target.side} {amount(target.quantity)} {target.symbol} at {amount(target.price)}"
            return f"{deal}, fee {amount(target.fee)}, as {target.liquidity}: because of {why}."
        case events.SignalRejected():
            return f"The signal was rejected: {target.reason}."
        case events.OrderRejected() | events.OrderCanceled():
            return f"{_told(target)} ({target.order_id})."
        case events.StrategyFailed():
            return f"The strategy failed in {target.where}: {target.exception} at line {target.line}."
        case events.SignalRaised():
            return f"The strategy wanted to {target.action} {target.symbol}{because}."
    return f"{_told(target)}."


def _moment(decision: Decision | None, here: Sequence[Event], made_of: Ingredients, done: Retraced, seq: int) -> str:
    """Why something or nothing happened at the tick `seq`."""
    rejected = [event for event in here if isinstance(event, events.SignalRejected)]
    failed = [event for event in here if isinstance(event, events.StrategyFailed)]
    if failed:
        return f"The strategy was asked and failed: {failed[0].exception} at line {failed[0].line}."
    if rejected:
        return f"The strategy was asked and signaled; the signal was rejected: {rejected[0].reason}."
    if decision is not None and not decision.answer:
        return "The strategy was asked and answered None."
    if decision is not None:
        wanted = " and ".join(f"{signal.get('action')} {signal.get('symbol')}" for signal in decision.answer)
        return f"The strategy was asked and signaled: {wanted}."
    why = why_not_asked(made_of, done.events, seq)
    last = f"It was last asked at tick {done.last_call_seq}." if done.calls else "It had not been asked before."
    return f"The strategy was not asked: {why}. {last}"


def _is_same(replayed: Sequence[Event], recorded: Sequence[Event]) -> bool:
    """Whether the two agree as far as both go: the ledger of a run that goes on may lag behind."""
    return all(now == was for now, was in zip(replayed, recorded, strict=False))


def _step(event: Event, since: int) -> Step:
    return Step(
        seq=event.seq,
        type=type(event).__name__,
        ts=event.ts,
        tick_seq=event.tick_seq,
        after_ns=event.ts - since,
        told=_told(event),
    )


_SHARED = ("strategy", "seq", "tick_seq", "ts", "correlation_id", "order_id", "symbol")


def _told(event: Event) -> str:
    """What the event says beyond what all of a signal's events share."""
    parts = []
    for name, value in msgspec.structs.asdict(event).items():
        if name not in _SHARED and value not in (None, "", False):
            parts.append(f"{name} {amount(value) if isinstance(value, Decimal) else value}")
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", type(event).__name__).lower()
    return f"{words}: {', '.join(parts)}" if parts else words


def _as_json(event: Event) -> dict[str, Any]:
    return {"type": type(event).__name__, **plain(event)}


def _folded(history: Sequence[Event], stop: int) -> tuple[Portfolio, Portfolio]:
    """The desk before the event `stop`, and after it where there is one."""
    before, after = Portfolio(), Portfolio()
    for event in history[:stop]:
        before.apply(event)
    for event in history[: stop + 1]:
        after.apply(event)
    return before, after
