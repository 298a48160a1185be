"""The difference of two runs as a person reads it."""

from collections.abc import Iterator
from typing import Any

import msgspec
from rich.console import Console

from apps.diff import Cause, DeskDiff, Parting, RunDiff
from apps.report import print_table, say

_LONG = 100


def print_diff(console: Console, diff: RunDiff) -> None:
    """What they were made of, where each strategy parted, and what came of it."""
    say(console, *_lines(diff))
    if diff.desks:
        say(console, "")
        rows = [row for desk in diff.desks for row in _figures(desk)]
        print_table(console, ["strategy", "", "a", "b"], rows, ["left", "left", "right", "right"])


def _lines(diff: RunDiff) -> Iterator[str]:
    yield f"a {diff.a}"
    yield f"b {diff.b}"
    for side, names in (("a", diff.only_a), ("b", diff.only_b)):
        if names:
            yield f"only in {side}: {', '.join(names)}"
    yield from _causes(diff.causes)
    if diff.is_same:
        yield "the same histories, event by event"
    for desk in diff.desks:
        yield from _desk(desk, is_first=desk.strategy == diff.first)


def _desk(desk: DeskDiff, *, is_first: bool) -> Iterator[str]:
    if desk.event is None:
        if desk.causes:
            yield ""
            yield f"{desk.strategy}: the same history, though it was not made of the same:"
            yield from _causes(desk.causes)
        return
    yield ""
    yield f"{desk.strategy}{', which parted first' if is_first else ''}"
    yield from _causes(desk.causes)
    yield f"  first event that differs, at tick {desk.event.tick_seq}: {_parting(desk.event)}"
    decision = desk.decision
    if decision is None:
        yield "  every decision is the same; what came of them is not"
        return
    yield f"  first decision that differs, at tick {decision.parting.tick_seq}:"
    for side, signal, call in (("a", decision.parting.a, decision.a), ("b", decision.parting.b, decision.b)):
        answer = "was not asked" if call is None else _short(call.answer) if call.answer else "None"
        yield f"    {side} {answer if signal is None or call is not None else _short(signal)}"
    for because in decision.because:
        yield f"    differs in {because}{_values(because, desk)}"


def _values(because: str, desk: DeskDiff) -> str:
    """Both values of what differed, where they can be shown."""
    assert desk.decision is not None
    a, b = desk.decision.a, desk.decision.b
    kind, _, name = because.partition(": ")
    if a is None or b is None:
        return ""
    pairs: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "config": (a.config, b.config),
        "state": (a.state_before, b.state_before),
        "the tick": (a.seen, b.seen),
    }
    if kind not in pairs:
        return ""
    return f": {_short(pairs[kind][0].get(name))} and {_short(pairs[kind][1].get(name))}"


def _causes(causes: list[Cause]) -> Iterator[str]:
    for cause in causes:
        if cause.kind == "code":
            yield f"  code {cause.what}"
            yield from (f"    - {line}" for line in cause.a)
            yield from (f"    + {line}" for line in cause.b)
        else:
            yield f"  {cause.kind} {cause.what}: {_short(cause.a)} and {_short(cause.b)}"


def _parting(parting: Parting) -> str:
    if parting.a is None or parting.b is None:
        side, event = ("a", parting.a) if parting.a is not None else ("b", parting.b)
        assert event is not None
        return f"{event['type']} only in {side}"
    if parting.a["type"] != parting.b["type"]:
        return f"{parting.a['type']} and {parting.b['type']}"
    told = ", ".join(
        f"{name} {_short(parting.a.get(name))} and {_short(parting.b.get(name))}" for name in parting.fields
    )
    return f"{parting.a['type']} with {told}"


def _figures(desk: DeskDiff) -> Iterator[list[str]]:
    name = desk.strategy
    for figure, (a, b) in desk.money.items():
        yield [name, figure, _short(a), _short(b)]
        name = ""
    yield [
        "",
        "fills in one alone",
        str(desk.fills["a"] - desk.fills["both"]),
        str(desk.fills["b"] - desk.fills["both"]),
    ]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _LONG else f"{text[:_LONG]} ..."
