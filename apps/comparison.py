"""Two histories of the same desks, held against each other event by event as one of them is made."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from engine.events import Event


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first event in which a desk's recorded and replayed histories differ; None where one has ended."""

    strategy: str
    seq: int
    recorded: Event | None
    replayed: Event | None


class Comparison:
    """Takes a replayed history as it is made, desk by desk, and finds where the recorded one parts from it.

    recorded:  the events of each desk, in order.
    """

    def __init__(self, recorded: Mapping[str, Sequence[Event]]) -> None:
        self._recorded = recorded
        self._seen: dict[str, int] = {}
        self._differences: dict[str, Difference] = {}

    def take(self, name: str, replayed: Sequence[Event]) -> None:
        """Further events of one desk."""
        seen = self._seen.get(name, 0)
        recorded = self._recorded.get(name, ())[seen : seen + len(replayed)]
        if list(recorded) != list(replayed) and name not in self._differences:
            self._differences[name] = _first_difference(name, seen, recorded, replayed)
        self._seen[name] = seen + len(replayed)

    def rest(self) -> dict[str, Sequence[Event]]:
        """What each desk's recorded history has beyond what was replayed."""
        rest = {name: events[self._seen.get(name, 0) :] for name, events in sorted(self._recorded.items())}
        return {name: events for name, events in rest.items() if events}

    def first_difference(self, *, of_rest: bool = True) -> Difference | None:
        """The earliest over all desks, or None where all histories are the same. Ask when everything was taken.

        of_rest:  whether a recorded event beyond what was replayed is one.
        """
        differences = dict(self._differences)
        for name, events in self.rest().items() if of_rest else ():
            differences.setdefault(
                name, Difference(strategy=name, seq=events[0].seq, recorded=events[0], replayed=None)
            )
        return min(differences.values(), key=_place, default=None)


def difference_as_json(difference: Difference | None) -> dict[str, Any] | None:
    """A difference as plain values, decimals as text."""
    if difference is None:
        return None
    plain: dict[str, Any] = _plain(msgspec.to_builtins(difference, builtin_types=(Decimal,)))
    return plain


def _first_difference(name: str, seq: int, recorded: Sequence[Event], replayed: Sequence[Event]) -> Difference:
    for offset in range(max(len(recorded), len(replayed))):
        was = recorded[offset] if offset < len(recorded) else None
        now = replayed[offset] if offset < len(replayed) else None
        if was != now:
            return Difference(strategy=name, seq=seq + offset, recorded=was, replayed=now)
    raise AssertionError("equal histories have no difference")


def _place(difference: Difference) -> tuple[int, str, int]:
    event = difference.recorded or difference.replayed
    assert event is not None
    return event.tick_seq, difference.strategy, event.seq


def _plain(value: Any) -> Any:  # what JSON has, and decimals
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return f"{value:f}" if isinstance(value, Decimal) else value
