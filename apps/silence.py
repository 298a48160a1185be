"""Why a strategy was not asked at a tick."""

from collections.abc import Sequence

from apps.ingredients import Ingredients
from apps.market_at import market_at
from engine import events
from engine.events import Event
from engine.signals import Strategy
from engine.ticks import KIND_NAMES, LAST_OF_MESSAGE, Tick


def why_not_asked(made_of: Ingredients, history: Sequence[Event], seq: int) -> str:
    """The first reason that holds, in words.

    history:  the desk's events up to the tick.
    """
    [file] = made_of.files
    [row] = made_of.tape.ticks(seq, seq + 1)
    for event in history:
        if isinstance(event, events.StrategyFailed):
            return f"it failed at tick {event.tick_seq} ({event.exception}) and is not asked again"
        if isinstance(event, events.DeskHalted):
            return f"its desk was halted at tick {event.tick_seq} ({event.reason})"
    return (
        _of_tick(file.strategy, row.tick) or _of_market(made_of, row.tick, seq) or "the market had nothing to show it"
    )


def _of_tick(strategy: Strategy, tick: Tick) -> str:
    kind, trigger = KIND_NAMES[tick.kind], strategy.trigger
    if trigger.is_timed:
        return f"its trigger is {trigger.kind}, every {trigger.interval_ns / 1e9:g} s, and did not fire at this tick"
    if kind not in ("trade", "quote", "book"):
        return f"the tick is of kind {kind}, which triggers nobody"
    if tick.symbol is None or (strategy.symbols is not None and tick.symbol not in strategy.symbols):
        return f"it watches {', '.join(strategy.symbols or ())}, the tick is of {tick.symbol}"
    if trigger.kind not in ("tick", kind):
        return f"its trigger is {trigger.kind}, the tick is of kind {kind}"
    if kind == "book" and not tick.flags & LAST_OF_MESSAGE:
        return "the tick is not the last one of its message: a book is looked at when it is complete"
    return ""


def _of_market(made_of: Ingredients, tick: Tick, seq: int) -> str:
    assert tick.symbol is not None
    is_stale = market_at(made_of, seq + 1).is_stale(tick.symbol)
    return (
        f"the market of {tick.symbol} was stale: the feed had lost it, and it had not spoken again" if is_stale else ""
    )
