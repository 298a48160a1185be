"""How a live session stands at a moment, in plain values: what the screen draws."""

import time
from collections import deque
from decimal import Decimal

import msgspec

from apps.recording import Recording
from apps.trading import Trading
from engine.portfolio import Portfolio
from engine.position import Position
from engine.ticks import NAN, Tick

CURVE_POINTS = 40
"""Points of an equity curve that are kept for a sparkline."""
CURVE_EVERY_S = 2.0

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


class DeskStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A desk, in the order of the leaderboard.

    equity:  as last marked, in the desk's currency.
    curve:   the equity of the last minutes, oldest first.
    status:  ok, FAILED or halted.
    """

    name: str
    equity: Decimal
    pnl: Decimal
    fills: int
    position: str
    status: str
    curve: list[float]


class FillStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One of the last fills; `ts` ns UTC."""

    ts: int
    strategy: str
    side: str
    symbol: str
    quantity: Decimal
    price: Decimal
    realized: Decimal
    reason: str


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
    desks: list[DeskStanding]
    fills: list[FillStanding]


class Looks:
    """Looks at a session from time to time, and keeps what one look cannot know: ages, rates and curves.

    It costs the session some microseconds a symbol and a desk, and reads only what is there already.
    """

    def __init__(self) -> None:
        self._started = self._looked = time.monotonic()
        self._messages = 0
        self._seen: dict[str, tuple[Tick, float]] = {}
        self._decimals: dict[str, int] = {}
        self._curves: dict[str, deque[float]] = {}
        self._curved = 0.0

    def look(self, recording: Recording, trading: Trading | None) -> Standing:
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
            desks=self._desks(trading, now) if trading else [],
            fills=_fills(trading) if trading else [],
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

    def _desks(self, trading: Trading, now: float) -> list[DeskStanding]:
        is_due = now - self._curved >= CURVE_EVERY_S
        if is_due:
            self._curved = now
        found = []
        for desk in trading.engine.desks:
            portfolio = desk.portfolio
            equity = portfolio.equity if portfolio.equity is not None else portfolio.opening
            curve = self._curves.setdefault(desk.name, deque(maxlen=CURVE_POINTS))
            if is_due:
                curve.append(float(equity))
            found.append(
                DeskStanding(
                    name=desk.name,
                    equity=equity,
                    pnl=equity - portfolio.opening,
                    fills=trading.filled[desk.name],
                    position=", ".join(f"{held.quantity.normalize():f} {name}" for name, held in _open(portfolio)),
                    status="FAILED" if portfolio.is_failed else "halted" if portfolio.is_halted else "ok",
                    curve=list(curve),
                )
            )
        return sorted(found, key=lambda desk: (-desk.equity, desk.name))


def _decimals(price: float) -> int:
    """Decimals that the price is printed with, NaN and whole numbers without any."""
    return -min(0, int(Decimal(repr(price)).normalize().as_tuple().exponent)) if price == price else 0


def _open(portfolio: Portfolio) -> list[tuple[str, Position]]:
    return sorted(portfolio.positions.items())


def _fills(trading: Trading) -> list[FillStanding]:
    return [
        FillStanding(
            ts=fill.ts,
            strategy=fill.strategy,
            side=fill.side,
            symbol=fill.symbol,
            quantity=fill.quantity,
            price=fill.price,
            realized=fill.realized,
            reason=reason,
        )
        for fill, reason in reversed(trading.fills)
    ]
