"""Why something happened in a run, or nothing: the moment made again, with what the strategy saw and answered."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from apps.explain_fill import Settlement, settlement
from apps.explain_words import FORCED, answer, moment_answer, told
from apps.ingredients import Ingredients, ingredients
from apps.plain import amount, plain
from apps.problems import UserProblem, nearest
from apps.retracing import Decision, retrace
from engine import events
from engine.events import Event
from engine.portfolio import Portfolio
from engine.ticks import KIND_NAMES
from recorder.ledger import read_events
from recorder.run_files import RunFiles
from recorder.runs import Manifest, read_manifest

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


def explain_event(run: Path, name: str, *, is_event: bool = False, is_order: bool = False) -> Explanation:
    """Why the event of this name came about.

    name:      STRATEGY-NUMBER: the fill of this seq, else the order of this id, else any event of this seq. The id
               of an order or of a signal, STRATEGY-sNUMBER, stands for what became of it.
    is_event:  take the number for a seq alone.
    is_order:  take it for an order's alone.

    Raises UserProblem where there is no such event, or where the run cannot be made again.
    """
    manifest = read_manifest(run)
    strategy, number, is_signal = _parsed(name, manifest)
    recorded = _recorded(run, strategy)
    target = _target(name, strategy, number, recorded, is_id=is_signal or is_order, is_event=is_event)
    made_of = ingredients(run, manifest, only=strategy)
    life = _life(target, recorded)
    done = retrace(made_of, target.tick_seq + 1, _decision_seqs(target, life))
    before, after = _folded(done.events, target.seq)
    decision = _for_symbol(done.decisions, getattr(target, "symbol", None))
    fill = target if isinstance(target, events.OrderFilled) else None
    return Explanation(
        run=str(run),
        strategy=strategy,
        question=f"{strategy}-{target.seq} {type(target).__name__}",
        answer=answer(target, life),
        ts=target.ts,
        tick_seq=target.tick_seq,
        event=_as_json(target),
        is_same=_is_same(done.events, recorded),
        decision=decision,
        life=[_step(event, life[0].ts) for event in life],
        settlement=None if fill is None else settlement(made_of, fill, life, before),
        execution=plain(made_of.config.desks[strategy].execution),
        before=money_of(before),
        after=money_of(after),
        neighbors=neighbors(made_of, target.tick_seq),
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
    seq = _seq_at(made_of, at_ns)
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
        answer=moment_answer(decision if first.decisions else None, here, made_of, done, seq),
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
        neighbors=neighbors(made_of, seq),
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
        "open_orders": [*portfolio.in_flight, *portfolio.resting, *portfolio.waiting],
        "reserved": {order_id: amount(units) for order_id, units in portfolio.reserves.items()},
        "exits": {symbol: plain(exits) for symbol, exits in portfolio.exits.items()},
        "equity": plain(portfolio.equity),
    }


def neighbors(made_of: Ingredients, seq: int) -> list[dict[str, Any]]:
    """The ticks around the one at `seq`, without their raw messages."""
    start = max(made_of.first_seq, seq - NEIGHBORS)
    rows = made_of.tape.ticks(start, min(made_of.stop_seq, seq + NEIGHBORS + 1))
    shown = ("symbol", "side", "price", "size", "bid", "bid_size", "ask", "ask_size", "note")
    return [
        {"seq": row.seq, "ts": row.ts_recv, "kind": KIND_NAMES[row.tick.kind]}
        | {name: plain(getattr(row.tick, name)) for name in shown}
        for row in rows
    ]


def iso(ts: int) -> str:
    """A time to the nanosecond, as `--at` takes it; of what no calendar has, the number."""
    try:
        return f"{datetime.fromtimestamp(ts // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{ts % 1_000_000_000:09d}"
    except (ValueError, OverflowError, OSError):
        return str(ts)


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


def _target(name: str, strategy: str, number: int, recorded: Sequence[Event], *, is_id: bool, is_event: bool) -> Event:
    """The event that is meant: a fill of this seq, the latest of the order or signal of this id, any of this seq."""
    named = recorded[number] if number < len(recorded) and not is_id else None
    if named is not None and (is_event or isinstance(named, events.OrderFilled)):
        return named
    if not is_event:
        of_it = [event for event in recorded if name in _ids(event)]
        fills = [event for event in of_it if isinstance(event, events.OrderFilled)]
        if fills or of_it:
            return (fills or of_it)[-1]
    if named is None:
        found = f"an order or signal of {strategy}" if is_id else _seqs_of(strategy, recorded)
        raise UserProblem(f"{name}: expected {found}, found none of this name")
    return named


def _ids(event: Event) -> tuple[str | None, str | None]:
    """Of the order and the signal that an event belongs to; they cannot be mistaken for one another."""
    return getattr(event, "order_id", None), getattr(event, "correlation_id", None)


def _seqs_of(strategy: str, recorded: Sequence[Event]) -> str:
    if not recorded:
        return f"an event of {strategy}, which has none"
    return f"an event of {strategy} up to {strategy}-{len(recorded) - 1}"


def _life(target: Event, recorded: Sequence[Event]) -> list[Event]:
    """Everything that belongs to the same signal; the event alone where there is none."""
    link = getattr(target, "correlation_id", None)
    if link is None:
        return [target]
    life = [event for event in recorded if getattr(event, "correlation_id", None) == link]
    calls = [event for event in recorded if isinstance(event, events.MarginCalled)]
    forced = {event.tick_seq for event in life if isinstance(event, events.OrderSubmitted) and event.purpose == FORCED}
    return sorted([*life, *(call for call in calls if call.tick_seq in forced)], key=lambda event: event.seq)


def _decision_seqs(target: Event, life: Sequence[Event]) -> set[int]:
    """The tick at which the strategy was asked; none for what no call of it led to."""
    led = [event for event in life if isinstance(event, events.SignalRaised | events.StrategyFailed)]
    return {led[0].tick_seq} if led else set()


def _for_symbol(decisions: Sequence[Decision], symbol: str | None) -> Decision | None:
    """The call that was about `symbol`: at a timer's tick there is one a symbol."""
    about = [decision for decision in decisions if decision.seen.get("symbol") in (symbol, None)]
    found = about or decisions
    return found[-1] if found else None


def _seq_at(made_of: Ingredients, at_ns: int) -> int:
    """The last tick of the run up to `at_ns`."""
    tape = made_of.tape
    [first] = tape.ticks(made_of.first_seq, made_of.first_seq + 1)
    [last] = tape.ticks(made_of.stop_seq - 1, made_of.stop_seq)
    if not first.ts_recv <= at_ns <= last.ts_recv:
        known = f"{iso(first.ts_recv)} to {iso(last.ts_recv)}"
        raise UserProblem(f"--at {iso(at_ns)}: expected a time of the run, {known}")
    for span in (10**9, 60 * 10**9, 3_600 * 10**9, at_ns - first.ts_recv):
        found = -1
        for batch in tape.batches(from_ns=at_ns - span, to_ns=at_ns + 1, stop_seq=made_of.stop_seq):
            found = batch.first_seq + len(batch) - 1
        if found >= made_of.first_seq:
            return found
    raise AssertionError("a time of the run has a tick before it")


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
        told=told(event),
    )


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
