"""A simulated Kraken: seeded markets whose every event is told in the venue's own frames.

It is made up, and says so: the random walk in it has no opinion about any real market. What it is good
for is a tape that comes with the project, tests that need a venue, and strategies that want to be run
before they meet real data.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from decimal import Decimal
from heapq import merge

from apps.chance import Chance
from apps.simulated_market import Change, PairModel, SimulatedMarket, steps
from engine.ticks import BUY
from recorder.venues import Frame
from recorder.venues import kraken_frames as print_frame
from recorder.venues.kraken_frames import Deal, PairRules

START_NS = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z, a round time that nobody takes for a recording."""

WARM_UP_S = 120.0
"""Run before the first frame, so that there is a book to show and a past to snapshot."""

_TRADES_IN_SNAPSHOT = 50
_HEARTBEAT_NS = 1_000_000_000
_DEPTH = 10

BTC_USD = PairModel(
    rules=PairRules(symbol="BTC/USD", price_decimals=1, qty_decimals=8, qty_min=10_000, cost_min=Decimal("0.50")),
    price=600_000,
    volatility=50.0,
    gap=9.0,
    qty=8_000_000,
    qty_step=10_000,
    first_id=80_000_001,
)
XRP_USD = PairModel(
    rules=PairRules(symbol="XRP/USD", price_decimals=4, qty_decimals=8, qty_min=200_000_000, cost_min=Decimal("0.50")),
    price=23_500,
    volatility=3.0,
    gap=1.2,
    qty=90_000_000_000,
    qty_step=100_000_000,
    first_id=40_000_001,
)
DEFAULT_MARKETS = (BTC_USD, XRP_USD)


def simulate(
    markets: Sequence[PairModel] = DEFAULT_MARKETS,
    seconds: float = 600.0,
    seed: int = 7,
    start_ns: int = START_NS,
    warm_up_s: float = WARM_UP_S,
) -> Iterator[Frame]:
    """The frames of one connection to a simulated Kraken, from its first status to the last event.

    The stream holds what `subscribe_messages` asks for: instruments, books of depth 10, quotes and trades. The same
    arguments give the same bytes, and a market does not depend on which others there are. `ts_recv` is
    the venue's time plus a delay, and never runs backwards. A later start with a warm-up that is longer by as much
    is the same market, later.
    """
    connection = _Connection(Chance(f"{seed} network"))
    running = [SimulatedMarket(model, seed) for model in markets]
    past = [_warm_up(market, start_ns, warm_up_s) for market in running]
    yield from connection.frames(start_ns, _opening(running, past, start_ns))
    live = (_events(market, index, start_ns, seconds) for index, market in enumerate(running))
    for ts, _, payloads in merge(*live, _heartbeats(len(running), start_ns, seconds)):
        yield from connection.frames(ts, payloads)


class _Connection:
    """Gives each payload its time of receipt."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._last_ns = 0

    def frames(self, ts: int, payloads: list[bytes]) -> Iterator[Frame]:
        """Frames sent at `ts`, which arrive 8 to 12 ms later, and sometimes a good deal after that."""
        for payload in payloads:
            delay_us = 8_000 + int(4_000 * self._chance.uniform())
            if self._chance.uniform() < 0.02:
                delay_us += int(40_000 * self._chance.uniform())
            self._last_ns = max(ts + delay_us * 1_000, self._last_ns + 20_000)
            yield Frame(ts_recv=self._last_ns, payload=payload)


def _warm_up(market: SimulatedMarket, start_ns: int, seconds: float) -> list[Deal]:
    """Runs the market up to `start_ns`, and answers its last trades."""
    deals: deque[Deal] = deque(maxlen=_TRADES_IN_SNAPSHOT)
    for now in steps(start_ns - int(seconds * 1e9), seconds):
        change = market.advance(now)
        if change is not None:
            deals.extend(change.deals)
    return list(deals)


def _opening(markets: list[SimulatedMarket], past: list[list[Deal]], ts: int) -> list[bytes]:
    """What a venue says before anything happens: status, acknowledgements, snapshots."""
    pairs = [market.model.rules for market in markets]
    channels: list[tuple[str, dict[str, object]]] = [
        ("book", {"depth": _DEPTH}),
        ("ticker", {"event_trigger": "bbo"}),
        ("trade", {}),
    ]
    acks = [
        print_frame.subscribed(channel, ts, pair.symbol, **params) for channel, params in channels for pair in pairs
    ]
    snapshots = [
        payload for market, deals in zip(markets, past, strict=True) for payload in _snapshots(market, deals, ts)
    ]
    return [
        print_frame.status(),
        print_frame.subscribed("instrument", ts),
        print_frame.instruments(pairs),
        *acks,
        *snapshots,
    ]


def _snapshots(market: SimulatedMarket, past: list[Deal], ts: int) -> list[bytes]:
    return [_book(market, "snapshot", ts), _ticker(market, "snapshot", ts), _trades(market, "snapshot", past)]


def _events(
    market: SimulatedMarket, index: int, start_ns: int, seconds: float
) -> Iterator[tuple[int, int, list[bytes]]]:
    """What the venue says about each thing that happens: (time, market, frames)."""
    for now in steps(start_ns, seconds):
        change = market.advance(now)
        if change is not None:
            yield change.ts, index, _told(market, change)


def _told(market: SimulatedMarket, change: Change) -> list[bytes]:
    """The trade, then the book after it, then the quote."""
    payloads = [_trades(market, "update", list(change.deals))] if change.deals else []
    payloads.append(_book(market, "update", change.ts, change))
    if change.is_touch:
        payloads.append(_ticker(market, "update", change.ts))
    return payloads


def _heartbeats(index: int, start_ns: int, seconds: float) -> Iterator[tuple[int, int, list[bytes]]]:
    ends = start_ns + int(seconds * 1e9)
    return ((ts, index, [print_frame.heartbeat()]) for ts in range(start_ns + _HEARTBEAT_NS, ends, _HEARTBEAT_NS))


def _book(market: SimulatedMarket, kind: str, ts: int, change: Change | None = None) -> bytes:
    bids, asks = market.shown(BUY), market.shown(-BUY)
    crc = print_frame.checksum(asks, bids)
    if change is None:
        return print_frame.book(market.model.rules, kind, bids, asks, crc, ts)
    return print_frame.book(market.model.rules, kind, change.bids, change.asks, crc, ts)


def _ticker(market: SimulatedMarket, kind: str, ts: int) -> bytes:
    [bid, *_], [ask, *_] = market.shown(BUY), market.shown(-BUY)
    return print_frame.ticker(market.model.rules, kind, bid, ask, market.day, ts)


def _trades(market: SimulatedMarket, kind: str, deals: list[Deal]) -> bytes:
    return print_frame.trades(market.model.rules, kind, deals)
