"""One desk of a run again, up to a tick, with some of its decisions watched."""

import traceback
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from apps.containment import contained
from apps.desks import batches_of, desks_of
from apps.ingredients import Ingredients
from apps.listening import Heard, Question, listening
from apps.plain import plain
from engine.desk import Desk
from engine.engine import Engine
from engine.events import Event
from engine.signals import Signal
from engine.snapshot import Snapshot

LEVELS_SHOWN = 10
_SEEN = ("symbol", "kind", "side", "price", "size", "bid", "bid_size", "ask", "ask_size", "mid", "spread", "stale")


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One call of `generate_signal`.

    tick_seq, ts:   the tick in hand.
    seen:           that tick, and the touch.
    bids, asks:     the best levels of the book then, as (price, size); empty where no book is known.
    asked:          what the strategy asked the snapshot.
    state_before, state_after:  as JSON has them.
    answer:         the signals that it returned; empty for None.
    failure:        the exception it raised instead, with the lines that led there; empty where it did not.
    """

    tick_seq: int
    ts: int
    seen: dict[str, Any]  # JSON
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    asked: list[Question]
    config: dict[str, Any]  # JSON
    state_before: dict[str, Any]  # JSON
    state_after: dict[str, Any]  # JSON
    answer: list[dict[str, Any]]  # JSON
    failure: str


class Retraced(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    events:     the desk's history up to there.
    decisions:  those at the watched ticks.
    calls:      how often the strategy was asked, and at which tick the last time; -1 where never.
    """

    events: list[Event]
    decisions: list[Decision]
    calls: int
    last_call_seq: int


def retrace(made_of: Ingredients, stop_seq: int, watched: Collection[int] = ()) -> Retraced:
    """Run the one strategy of `made_of` over the ticks before `stop_seq`; watch its calls at the ticks `watched`."""
    [file], part = made_of.files, made_of.part
    watch = _Watch(frozenset(watched))
    strategy = msgspec.structs.replace(file.strategy, generate_signal=watch.over(file.strategy))
    [desk] = desks_of([msgspec.structs.replace(file, strategy=strategy)], made_of.config)
    watch.desk, watch.engine = desk, Engine([desk], opens_at=part.from_ns)
    events: list[Event] = []
    for batch in batches_of(made_of.tape, msgspec.structs.replace(part, stop_seq=stop_seq)):
        with contained():
            events += watch.engine.process(batch)
    return Retraced(events=events, decisions=watch.decisions, calls=watch.calls, last_call_seq=watch.last)


class _Watch:
    """Stands in for `generate_signal`, and lets it answer."""

    desk: Desk
    engine: Engine

    def __init__(self, watched: frozenset[int]) -> None:
        self.decisions: list[Decision] = []
        self.calls = 0
        self.last = -1
        self._watched = watched

    def over(self, strategy: Any) -> Any:
        """The strategy's function, watched; it gets its arguments by place, in the order of `wants`."""
        ask, wants = strategy.generate_signal, strategy.wants

        def generate_signal(*arguments: Any) -> Any:
            market = self.engine.market
            assert market.batch is not None
            self.calls += 1
            self.last = market.batch.first_seq + market.row
            if self.last not in self._watched:
                return ask(*arguments)
            data = arguments[wants.index("data")] if "data" in wants else None
            return self._decide(ask, arguments, data)

        return generate_signal

    def _decide(self, ask: Any, arguments: tuple[Any, ...], data: Snapshot | None) -> Any:
        heard, market, desk = Heard(), self.engine.market, self.desk
        assert market.batch is not None
        book = None if data is None else data.book(data.symbol, LEVELS_SHOWN)
        seen = {} if data is None else {name: plain(getattr(data, name)) for name in _SEEN}
        ts, before = market.batch.ts[market.row], plain(desk.state)
        answer, failure = None, ""
        if data is not None:
            arguments = tuple(listening(data, heard) if value is data else value for value in arguments)
        try:
            answer = ask(*arguments)
            if isinstance(answer, Iterator):
                answer = list(answer)  # it can be walked but once
            return answer
        except Exception as error:
            failure = "".join(traceback.format_exception(error)[-3:]).rstrip()
            raise
        finally:
            heard.is_listening = False
            self.decisions.append(
                Decision(
                    tick_seq=self.last,
                    ts=ts,
                    seen=seen,
                    bids=[] if book is None else list(book.bids),
                    asks=[] if book is None else list(book.asks),
                    asked=list(heard.questions.values()),
                    config=plain(desk.config),
                    state_before=before,
                    state_after=plain(desk.state),
                    answer=[told(signal) for signal in _several(answer)],
                    failure=failure,
                )
            )


def told(signal: object) -> Any:
    """A signal in short: what it says, without what it leaves at the default."""
    if not isinstance(signal, Signal):
        return plain(signal)
    usual = msgspec.structs.asdict(Signal("", ""))
    given = {name: value for name, value in msgspec.structs.asdict(signal).items() if value != usual[name]}
    return {name: plain(value) for name, value in given.items()}


def _several(answer: object) -> list[object]:
    if answer is None:
        return []
    return list(answer) if isinstance(answer, list | tuple) else [answer]
