"""Two runs side by side: which decision parted first and why, and what came of it."""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from apps.ingredients import ingredients
from apps.plain import plain
from apps.problems import UserProblem
from apps.queries import open_run, rows
from apps.retracing import Decision, retrace
from engine import events
from engine.events import Event
from recorder.ledger import read_events
from recorder.run_files import RunFiles
from recorder.runs import STRATEGIES, Manifest, read_manifest

_LINES_MAX = 40
_FILLS_MAX = 10
_MONEY = ("equity", "pnl", "fees", "fills", "round_trips", "win_rate", "max_drawdown_pct", "status")
_NAMES = frozenset({"strategy", "seq", "correlation_id", "order_id", "ts", "indicators"})
"""What a signal may differ in and still be the same decision."""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the two runs were not made of alike.

    kind:  tape, range, code, config, libraries.
    what:  which one, such as `eager.config.size`.
    a, b:  in either run, as JSON has it; of code the lines that differ.
    """

    kind: str
    what: str
    a: Any
    b: Any


class Parting(msgspec.Struct, frozen=True, kw_only=True):
    """Where two histories of a strategy part.

    tick_seq:  of the first of the two that differ.
    fields:    in which they differ; empty where one of them is not there.
    a, b:      as JSON has them; None where that history has nothing there.
    """

    tick_seq: int
    fields: list[str]
    a: dict[str, Any] | None
    b: dict[str, Any] | None


class DecisionPair(msgspec.Struct, frozen=True, kw_only=True):
    """The first decision that is not the same, made again in both runs.

    parting:  the signals.
    a, b:     the two calls; None where the strategy was not asked at that tick.
    because:  what the strategy had in hand that differed: its config, its state, what it saw.
    """

    parting: Parting
    a: Decision | None
    b: Decision | None
    because: list[str]


class DeskDiff(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy in both runs.

    causes:    what it was not made of alike.
    event:     the first event that differs; None where the histories are the same.
    decision:  the first decision that differs; None where all are the same and only their results differ.
    fills:     how many are in both, and in one alone; `only_a` and `only_b` hold the first of those.
    money:     each figure as [a, b].
    """

    strategy: str
    is_same: bool
    causes: list[Cause]
    event: Parting | None
    decision: DecisionPair | None
    fills: dict[str, Any]  # JSON
    money: dict[str, list[Any]]  # JSON


class RunDiff(msgspec.Struct, frozen=True, kw_only=True):
    """Two runs. `only_a` and `only_b` are strategies that the other one does not have; `first` parted first."""

    a: str
    b: str
    is_same: bool
    causes: list[Cause]
    first: str | None
    desks: list[DeskDiff]
    only_a: list[str]
    only_b: list[str]


def diff_runs(a: Path, b: Path, *, only: Iterable[str] | None = None) -> RunDiff:
    """Everything in which two runs differ.

    only:  the strategies to compare; by default those that both have.

    Raises UserProblem where they have none in common.
    """
    first, second = read_manifest(a), read_manifest(b)
    common = sorted(set(first.strategies) & set(second.strategies))
    if not common:
        raise UserProblem(f"{b}: expected a strategy of {a}, {', '.join(sorted(first.strategies))}, found none of them")
    wanted = common if only is None else sorted(only)
    shared = _shared_causes(first, second)
    money = {path: {row["name"]: row for row in _leaderboard(path)} for path in (a, b)}
    desks = []
    for name in wanted:
        causes = _desk_causes(a, b, first, second, name)
        histories = _history(a, name), _history(b, name)
        event = _first_event(*histories)
        desks.append(
            DeskDiff(
                strategy=name,
                is_same=event is None,
                causes=causes,
                event=event,
                decision=None if event is None else _first_decision(a, b, name, *histories),
                fills=_fills(*histories),
                money={key: [money[a][name][key], money[b][name][key]] for key in _MONEY},
            )
        )
    parted = [desk for desk in desks if desk.event is not None]
    return RunDiff(
        a=str(a),
        b=str(b),
        is_same=not parted,
        causes=shared,
        first=min(parted, key=_when).strategy if parted else None,
        desks=desks,
        only_a=sorted(set(first.strategies) - set(second.strategies)) if only is None else [],
        only_b=sorted(set(second.strategies) - set(first.strategies)) if only is None else [],
    )


def diff_json(diff: RunDiff) -> dict[str, Any]:
    """The one object that `wspt diff --json` prints."""
    plain_values: dict[str, Any] = msgspec.to_builtins(diff)
    return plain_values


def _when(desk: DeskDiff) -> tuple[int, str]:
    assert desk.event is not None
    return desk.event.tick_seq, desk.strategy


def _leaderboard(run: Path) -> list[dict[str, Any]]:
    return rows(open_run(run, with_log=False), "FROM leaderboard")


def _history(run: Path, strategy: str) -> list[Event]:
    files = RunFiles(run)
    try:
        return read_events(files.look(with_log=False).ledger, strategy)[strategy]
    finally:
        files.close()


# -- what they were made of --------------------------------------------------------------------------------------


def _shared_causes(a: Manifest, b: Manifest) -> list[Cause]:
    """What differs for every strategy: tape, part of it, money, libraries."""
    causes = []
    if a.tape.identity != b.tape.identity:
        given = [[path.given for path in manifest.tape.paths] for manifest in (a, b)]
        causes.append(Cause(kind="tape", what="tape", a=given[0], b=given[1]))
    for name in ("first_seq", "stop_seq"):
        was, now = getattr(a.tape, name), getattr(b.tape, name)
        if was != now:
            causes.append(Cause(kind="range", what=f"tape.{name}", a=was, b=now))
    for name in ("capital", "currency"):
        was, now = a.configuration.get(name), b.configuration.get(name)
        if was != now:
            causes.append(Cause(kind="config", what=name, a=was, b=now))
    for name in sorted({*a.libraries, *b.libraries}):
        was, now = a.libraries.get(name), b.libraries.get(name)
        if was != now:
            causes.append(Cause(kind="libraries", what=name, a=was, b=now))
    return causes


def _desk_causes(a: Path, b: Path, first: Manifest, second: Manifest, name: str) -> list[Cause]:
    """What differs for this strategy: its code, its CONFIG, its costs and delays."""
    causes = []
    if first.strategies[name].sha256 != second.strategies[name].sha256:
        before, after = ((run / STRATEGIES / f"{name}.py").read_text(errors="replace").splitlines() for run in (a, b))
        changed = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]  # the first two name files
        gone = [line[1:] for line in changed if line.startswith("-")][:_LINES_MAX]
        came = [line[1:] for line in changed if line.startswith("+")][:_LINES_MAX]
        causes.append(Cause(kind="code", what=f"{name}.py", a=gone, b=came))
    was, now = (_flat(manifest.configuration["desks"][name]) for manifest in (first, second))
    for key in [*was, *(key for key in now if key not in was)]:
        if was.get(key) != now.get(key):
            causes.append(Cause(kind="config", what=f"{name}.{key}", a=was.get(key), b=now.get(key)))
    return causes


def _flat(desk: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    return {f"{section}.{key}": value for section, values in desk.items() for key, value in (values or {}).items()}


# -- where they part -----------------------------------------------------------------------------------------------


def _first_event(a: Sequence[Event], b: Sequence[Event]) -> Parting | None:
    for index in range(max(len(a), len(b))):
        was, now = (events[index] if index < len(events) else None for events in (a, b))
        if was != now:
            return _parting(was, now)
    return None


def _parting(a: Event | None, b: Event | None) -> Parting:
    plain_a, plain_b = (None if event is None else {"type": type(event).__name__, **plain(event)} for event in (a, b))
    fields = [] if plain_a is None or plain_b is None else _differing(plain_a, plain_b)
    return Parting(
        tick_seq=min(event.tick_seq for event in (a, b) if event is not None), fields=fields, a=plain_a, b=plain_b
    )


def _first_decision(a: Path, b: Path, name: str, was: Sequence[Event], now: Sequence[Event]) -> DecisionPair | None:
    """The first signal that only one of them raised, or raised otherwise, and the two calls at its tick."""
    signals_a, signals_b = (
        [event for event in history if isinstance(event, events.SignalRaised)] for history in (was, now)
    )
    for index in range(max(len(signals_a), len(signals_b))):
        first, second = (signals[index] if index < len(signals) else None for signals in (signals_a, signals_b))
        if first is None or second is None or _meaning(first) != _meaning(second):
            break
    else:
        return None
    parting = _parting(*_at_first_tick(first, second))
    calls = [_call(run, name, parting) for run in (a, b)]
    return DecisionPair(parting=parting, a=calls[0], b=calls[1], because=_because(*calls))


def _at_first_tick(a: Event | None, b: Event | None) -> tuple[Event | None, Event | None]:
    """Both where they are of one tick; else only the earlier one: at its tick the other run did nothing."""
    if a is None or b is None or a.tick_seq == b.tick_seq:
        return a, b
    return (a, None) if a.tick_seq < b.tick_seq else (None, b)


def _meaning(signal: events.SignalRaised) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(signal).items() if name not in _NAMES}


def _call(run: Path, name: str, parting: Parting) -> Decision | None:
    """The call at that tick, about the symbol in question, made again."""
    made_of, seq = ingredients(run, read_manifest(run), only=name), parting.tick_seq
    if not made_of.first_seq <= seq < made_of.stop_seq:
        return None
    symbol = (parting.a or parting.b or {})["symbol"]
    decisions = retrace(made_of, seq + 1, {seq}).decisions
    about = [decision for decision in decisions if decision.seen.get("symbol") in (symbol, None)]
    found = about or decisions
    return found[-1] if found else None


def _because(a: Decision | None, b: Decision | None) -> list[str]:
    if a is None or b is None:
        asked = [side for side, decision in (("a", a), ("b", b)) if decision is not None]
        return [f"only {asked[0]} was asked at this tick"] if asked else []
    found = [f"config: {name}" for name in _differing(a.config, b.config)]
    found += [f"state: {name}" for name in _differing(a.state_before, b.state_before)]
    found += [f"the tick: {name}" for name in _differing(a.seen, b.seen)]
    answers = [{question.asked: question.answer for question in decision.asked} for decision in (a, b)]
    found += [f"answer to {name}" for name in answers[0] if name in answers[1] and answers[0][name] != answers[1][name]]
    return found or ["config, state and what it saw are the same: the code, or the portfolio it was given, is not"]


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return [name for name in {**a, **b} if (name in a) != (name in b) or a.get(name) != b.get(name)]


# -- what came of it -------------------------------------------------------------------------------------------------


def _fills(a: Sequence[Event], b: Sequence[Event]) -> dict[str, Any]:
    """Fills that are in both - of one tick, symbol, side, price and quantity - and in one of them alone."""
    keyed = [
        [(_fill_key(event), event) for event in history if isinstance(event, events.OrderFilled)] for history in (a, b)
    ]
    counts = [Counter(key for key, _ in fills) for fills in keyed]
    both = counts[0] & counts[1]
    alone = [_beyond(fills, both) for fills in keyed]
    return {
        "both": both.total(),
        "a": len(keyed[0]),
        "b": len(keyed[1]),
        "only_a": [plain(fill) for fill in alone[0][:_FILLS_MAX]],
        "only_b": [plain(fill) for fill in alone[1][:_FILLS_MAX]],
    }


def _fill_key(fill: events.OrderFilled) -> tuple[Any, ...]:
    return fill.tick_seq, fill.symbol, fill.side, fill.price, fill.quantity


def _beyond(fills: Sequence[tuple[Any, events.OrderFilled]], both: Counter[Any]) -> list[events.OrderFilled]:
    left = Counter(both)
    alone = []
    for key, fill in fills:
        if left[key]:
            left[key] -= 1
        else:
            alone.append(fill)
    return alone
