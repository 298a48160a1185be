"""Events and moments of a desk in a sentence each."""

import re
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from apps.ingredients import Ingredients
from apps.plain import amount
from apps.retracing import Decision, Retraced
from apps.silence import why_not_asked
from engine import events
from engine.events import Event

FORCED = "liquidation"
"""The purpose of orders that no signal asked for."""


def answer(target: Event, life: Sequence[Event]) -> str:
    """What the event is and why, in a sentence."""
    raised = next((event for event in life if isinstance(event, events.SignalRaised)), None)
    because = f", reason {raised.reason!r}" if raised is not None and raised.reason else ""
    match target:
        case events.OrderFilled():
            [order] = [
                event
                for event in life
                if isinstance(event, events.OrderSubmitted) and event.order_id == target.order_id
            ]
            why = f"its signal to {raised.action}{because}" if raised is not None else "a margin call"
            if order.purpose not in ("signal", FORCED):
                why = f"the {order.purpose} that {why} had set"
            deal = f"{target.side} {amount(target.quantity)} {target.symbol} at {amount(target.price)}"
            return f"{deal}, fee {amount(target.fee)}, as {target.liquidity}: because of {why}."
        case events.SignalRejected():
            return f"The signal was rejected: {target.reason}."
        case events.OrderRejected() | events.OrderCanceled():
            return f"{told(target)} ({target.order_id})."
        case events.StrategyFailed():
            return f"The strategy failed in {target.where}: {target.exception} at line {target.line}."
        case events.SignalRaised():
            return f"The strategy wanted to {target.action} {target.symbol}{because}."
    return f"{told(target)}."


def moment_answer(
    decision: Decision | None, here: Sequence[Event], made_of: Ingredients, done: Retraced, seq: int
) -> str:
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


_SHARED = ("strategy", "seq", "tick_seq", "ts", "correlation_id", "order_id", "symbol")


def told(event: Event) -> str:
    """What the event says beyond what all of a signal's events share."""
    parts = []
    for name, value in msgspec.structs.asdict(event).items():
        if name not in _SHARED and value not in (None, "", False):
            parts.append(f"{name} {amount(value) if isinstance(value, Decimal) else value}")
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", type(event).__name__).lower()
    return f"{words}: {', '.join(parts)}" if parts else words
