"""How the feed of a live session stands at a moment, in plain values: what the screen draws."""

import time
from decimal import Decimal

import msgspec

from apps.recording import Recording
from engine.ticks import NAN, Tick

_DISTURBED = frozenset({"gap", "trade_gap", "resync"})


class SymbolStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a symbol, and how well it was heard.

    age_s:  since the last row about it, or None before the first. Known to a look.
    state:  ok, stale, refused or unlisted, or waiting while nothing is known.
    bid, ask:  NaN where unknown.
    decimals:  the most that a price of it has had: it is drawn with as many, so that the point stands still.
    gaps, checksums:  how often something was missing, and how often the book was wrong.
    """

    symbol: str
    age_s: float | None
    state: str
    bid: float
    ask: float
    decimals: int
    gaps: int
    checksums: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    is_foreign:  the address is not the venue's own.
    problem:     why it is not connected, or empty.
    rate:        messages a second since the last look.
    reconnects:  connections that followed another.
    """

    venue: str
    url: str
    is_simulated: bool
    is_foreign: bool
    is_connected: bool
    problem: str
    seconds: float
    messages: int
    ticks: int
    rate: float
    reconnects: int
    symbols: list[SymbolStanding]


class Looks:
    """Looks at a session from time to time, and keeps what one look cannot know: ages and rates.

    It costs the session some microseconds a symbol, and reads only what is there already.
    """

    def __init__(self) -> None:
        self._started = self._looked = time.monotonic()
        self._messages = 0
        self._seen: dict[str, tuple[Tick, float]] = {}
        self._decimals: dict[str, int] = {}

    def look(self, recording: Recording) -> Standing:
        """How it stands now."""
        now = time.monotonic()
        passed, heard = now - self._looked, recording.records - self._messages
        self._looked, self._messages = now, recording.records
        feed = recording.feed
        return Standing(
            venue=feed.profile.venue,
            url=feed.url,
            is_simulated=recording.is_simulated,
            is_foreign=feed.url != feed.profile.url,
            is_connected=feed.is_connected,
            problem="" if feed.is_connected else feed.last_problem or "connecting",
            seconds=now - self._started,
            messages=recording.records,
            ticks=recording.ticks,
            rate=heard / passed if passed > 0 else 0.0,
            reconnects=max(0, recording.events["connected", None] - 1),
            symbols=[self._symbol(symbol, recording, now) for symbol in feed.symbols],
        )

    def _symbol(self, symbol: str, recording: Recording, now: float) -> SymbolStanding:
        tick = recording.latest.get(symbol)
        seen, at = self._seen.get(symbol, (None, now))
        if tick is not None and tick is not seen:
            self._seen[symbol] = (tick, now)
            at = now
        is_known = symbol in self._seen
        findings = recording.feed.findings
        state = "ok" if tick is not None else "stale" if is_known else "waiting"
        if symbol in findings.unknown:
            state = "unlisted"
        elif tick is None and any(name == symbol for _, name in findings.rejected):
            state = "refused"
        counts = recording.events
        bid, ask = (tick.bid, tick.ask) if tick else (NAN, NAN)
        decimals = max(self._decimals.get(symbol, 0), _decimals(bid), _decimals(ask))
        self._decimals[symbol] = decimals
        return SymbolStanding(
            symbol=symbol,
            age_s=now - at if is_known else None,
            state=state,
            bid=bid,
            ask=ask,
            decimals=decimals,
            gaps=sum(counts[event, symbol] for event in _DISTURBED),
            checksums=counts["checksum", symbol],
        )


def _decimals(price: float) -> int:
    """Decimals that the price is printed with, NaN and whole numbers without any."""
    return -min(0, int(Decimal(repr(price)).normalize().as_tuple().exponent)) if price == price else 0
