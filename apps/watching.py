"""What a person sees of a live session while it runs: a line now and then, on stderr."""

import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from apps.live import Recording, Trading

EVERY_S = 30.0
"""Between two lines of status."""


def status(recording: Recording, trading: Trading | None) -> None:
    """One line: the feed's state, what arrived, what went wrong, and the best and worst desk."""
    feed = recording.feed
    state = "connected" if feed.is_connected else f"NOT connected ({feed.last_problem or 'connecting'})"
    parts = [f"{datetime.now(UTC):%H:%M:%S}", f"{feed.profile.venue} {state}"]
    parts.append(f"{recording.records:,} messages, {recording.ticks:,} ticks")
    parts += [f"{name} {tick.bid:g}/{tick.ask:g}" for name, tick in sorted(recording.latest.items())[:4]]
    trouble = {name: count for name, count in recording.events.items() if name in _TROUBLE}
    parts += [f"{name} {count}" for name, count in sorted(trouble.items())]
    parts += [f"rejected {name}" for name in feed.findings.rejected]
    if trading is not None:
        parts += _desks(trading)
    print(" | ".join(parts), file=sys.stderr, flush=True)


def print_next_steps(run: Path) -> None:
    """How to go on from a run that has ended."""
    print(f"replay it: wspt replay {run}    prove it: wspt verify {run}", file=sys.stderr)


_TROUBLE = frozenset({"disconnected", "gap", "checksum", "stale", "crossed", "trade_gap", "rejected", "unreachable"})


def _desks(trading: Trading) -> list[str]:
    equities = [
        (desk.portfolio.equity, desk.name) for desk in trading.engine.desks if desk.portfolio.equity is not None
    ]
    failed = [f"{desk.name} FAILED" for desk in trading.engine.desks if desk.portfolio.is_failed]
    if not equities:
        return failed
    best, worst = max(equities), min(equities)
    shown = [best] if best == worst else [best, worst]
    return [*(f"{name} {_amount(equity)}" for equity, name in shown), *failed]


def _amount(equity: Decimal) -> str:
    return f"{equity:.2f}"
