"""What a person sees of a live session where there is no terminal to draw on: a line now and then, on stderr."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TextIO

from apps.containment import Aside
from apps.recording import Recording
from apps.trading import Trading

STATUS_EVERY_S = 30.0
"""Between two lines of status. The first one comes with the first prices."""


class StatusLines:
    """A `Watcher` that prints lines on stderr."""

    def __init__(self) -> None:
        self.every_s = 1.0
        self._aside = Aside(sys.stderr)
        self._seconds = 0.0
        self._has_begun = False

    @contextmanager
    def showing(self) -> Iterator[TextIO]:
        """See `Watcher`."""
        yield self._aside

    def tell(self, line: str) -> None:
        """See `Watcher`."""
        print(line, file=self._aside, flush=True)

    def look(self, recording: Recording, trading: Trading | None) -> None:
        """See `Watcher`."""
        self._seconds += self.every_s
        is_first = not self._has_begun and bool(recording.latest)
        if is_first or self._seconds >= STATUS_EVERY_S:
            self._seconds, self._has_begun = 0.0, self._has_begun or is_first
            self.tell(status(recording, trading))


def _price(price: float) -> str:
    return f"{price:g}" if price == price else "-"


def status(recording: Recording, trading: Trading | None) -> str:
    """One line: the feed's state, what arrived, what went wrong, and the best and worst desk."""
    feed = recording.feed
    simulated = "SIMULATED " if recording.is_simulated else ""
    state = "connected" if feed.is_connected else f"NOT connected ({feed.last_problem or 'connecting'})"
    parts = [f"{datetime.now(UTC):%H:%M:%S}", f"{simulated}{feed.profile.venue} {state}"]
    parts.append(f"{recording.records:,} messages, {recording.ticks:,} ticks")
    quoted = [
        (name, tick) for name, tick in sorted(recording.latest.items()) if tick.bid == tick.bid or tick.ask == tick.ask
    ]
    parts += [f"{name} {_price(tick.bid)}/{_price(tick.ask)}" for name, tick in quoted[:4]]
    trouble: Counter[str] = Counter()
    for (event, _), count in recording.events.items():
        if event in TROUBLE:
            trouble[event] += count
    parts += [f"{name} {count}" for name, count in sorted(trouble.items())]
    parts += [f"rejected {channel} {symbol or ''}".strip() for channel, symbol in feed.findings.rejected]
    if trading is not None:
        parts += _desks(trading)
    return " | ".join(parts)


def print_next_steps(run: Path) -> None:
    """How to go on from a run that has ended."""
    print(f"replay it: wspt replay {run}    prove it: wspt verify {run}", file=Aside(sys.stderr))


TROUBLE = frozenset({"disconnected", "gap", "checksum", "stale", "crossed", "trade_gap", "rejected", "unreachable"})


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
