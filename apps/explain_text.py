"""An explanation as a person reads it, from the tick to the money."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console

from apps.explain import Explanation, Step
from apps.explain_fill import Settlement
from apps.plain import amount
from apps.report import Justify, print_table, say
from apps.retracing import Decision

_LEVELS = 5
_LONG = 160
"""Characters of a value that are printed; `--json` has all of it."""


def print_explanation(console: Console, explanation: Explanation) -> None:
    """Everything but long histories, in sections."""
    say(console, f"{explanation.question}, {clock(explanation.ts)}", explanation.answer)
    if not explanation.is_same:
        say(console, "The replay gave other events than the ledger has: `wspt verify` says which.")
    if explanation.decision is not None:
        say(console, *_decided(explanation.decision))
    if explanation.life:
        say(console, "", "what became of it")
        _table(console, ["event", "after ms", "tick", ""], [_stepped(step) for step in explanation.life], "lrrl")
    if explanation.settlement is not None:
        say(console, *_settled(explanation.settlement))
    say(console, *_money(explanation))
    say(console, "", "ticks around")
    _neighbors(console, explanation)


def clock(ts: int) -> str:
    """A time to the nanosecond."""
    return f"{datetime.fromtimestamp(ts // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}.{ts % 1_000_000_000:09d} UTC"


def _decided(decision: Decision) -> Iterator[str]:
    seen = decision.seen
    yield ""
    yield f"what it saw at tick {decision.tick_seq}, {clock(decision.ts)}"
    if seen:
        told = ", ".join(
            f"{name} {seen[name]}" for name in ("kind", "symbol", "price", "size") if seen[name] is not None
        )
        yield f"  {told}; bid {seen['bid']} x {seen['bid_size']}, ask {seen['ask']} x {seen['ask_size']}"
    for name, levels in (("bids", decision.bids), ("asks", decision.asks)):
        if levels:
            yield f"  {name} {', '.join(f'{price} x {size}' for price, size in levels[:_LEVELS])}"
    for question in decision.asked:
        if question.asked not in seen or question.answer != seen[question.asked]:
            yield f"  asked {question.asked}: {_short(question.answer)}"
    yield f"config        {_short(decision.config)}"
    yield f"state before  {_short(decision.state_before)}"
    yield f"state after   {_short(_changed(decision))}"
    for signal in decision.answer:
        yield f"answer        {_short(signal)}"
    if not decision.answer:
        yield f"answer        {'raised' if decision.failure else 'None'}"
    yield from (f"  {line}" for line in decision.failure.splitlines())


def _changed(decision: Decision) -> Any:
    """What the call changed of the state, or that it changed nothing."""
    before, after = decision.state_before, decision.state_after
    changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
    gone = {key: "gone" for key in before if key not in after}
    return {**changed, **gone} or "unchanged"


def _stepped(step: Step) -> list[str]:
    return [f"{step.seq} {step.type}", f"{step.after_ns / 1e6:,.3f}", str(step.tick_seq), step.told[: 2 * _LONG]]


def _settled(settlement: Settlement) -> Iterator[str]:
    yield ""
    yield "what the order met"
    met = settlement.met
    if met is not None:
        yield f"  bid {met['bid']} x {met['bid_size']}, ask {met['ask']} x {met['ask_size']}, mid {met['mid']}"
    for level in settlement.levels:
        size = "unknown" if level.size is None else amount(level.size)
        yield f"  level {amount(level.price)} x {size}, of which it took {amount(level.taken)}"
    arithmetic = {
        "price": settlement.price,
        "costs": settlement.costs,
        "fee": settlement.fee,
        "money": settlement.money,
    }
    for name, lines in arithmetic.items():
        for number, line in enumerate(lines):
            yield f"{'' if number else name:<7}{line}"


def _money(explanation: Explanation) -> Iterator[str]:
    before, after = explanation.before, explanation.after
    yield ""
    yield f"before  {_holdings(before)}"
    yield f"after   {_holdings(after) if after != before else 'the same'}"


def _holdings(money: Mapping[str, Any]) -> str:
    balances = ", ".join(f"{asset} {units}" for asset, units in money["balances"].items()) or "nothing"
    positions = "".join(
        f"; {symbol} {position['quantity']} cost {position['cost']}" for symbol, position in money["positions"].items()
    )
    orders = f"; open {', '.join(money['open_orders'])}" if money["open_orders"] else ""
    return f"{balances}{positions}{orders}"


def _neighbors(console: Console, explanation: Explanation) -> None:
    names = ("kind", "symbol", "price", "size", "bid", "bid_size", "ask", "ask_size")
    rows = []
    for tick in explanation.neighbors:
        mark = ">" if tick["seq"] == explanation.tick_seq else ""
        offset = f"{(tick['ts'] - explanation.ts) / 1e6:+,.3f}"
        rows.append(
            [mark, str(tick["seq"]), offset, *("" if tick[name] is None else str(tick[name]) for name in names)]
        )
    _table(console, ["", "tick", "ms", *names], rows, "lrrllrrrrrr")


def _table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> None:
    justify: list[Justify] = ["left" if side == "l" else "right" for side in sides]
    print_table(console, headings, rows, justify)


def _short(value: Any) -> str:
    """JSON, cut where it is long."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _LONG else f"{text[:_LONG]} ... {len(text) - _LONG} characters more"
