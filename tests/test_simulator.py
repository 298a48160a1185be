"""The simulated venue speaks Kraken v2 without a mistake, and always says the same for the same seed."""

import hashlib
import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.simulated_market import PairModel, SimulatedMarket, steps
from apps.simulator import BTC_USD, START_NS, XRP_USD, simulate
from engine.ticks import BUY, RECOVERED, Kind, Tick
from recorder.venues import Frame
from recorder.venues.kraken import KrakenDecoder
from recorder.venues.kraken_frames import fixed

MINUTE = 60.0

Decoded = tuple[KrakenDecoder, list[Frame], list[Tick]]


def digest(frames: list[Frame]) -> str:
    return hashlib.sha256(b"".join(b"%d %s\n" % (frame.ts_recv or 0, frame.payload) for frame in frames)).hexdigest()


@pytest.fixture(scope="module")
def ten_minutes() -> Decoded:
    decoder, frames = KrakenDecoder(), list(simulate())
    return decoder, frames, [row for frame in frames for row in decoder.decode(frame)]


def of(rows: list[Tick], symbol: str, kind: Kind) -> list[Tick]:
    return [row for row in rows if row.symbol == symbol and row.kind == kind]


def note(row: Tick) -> dict[str, Any]:
    parts: dict[str, Any] = json.loads(row.note or "{}")
    return parts


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert list(simulate(seconds=20.0, seed=3)) == list(simulate(seconds=20.0, seed=3))
    assert digest(list(simulate(seconds=20.0, seed=3))) != digest(list(simulate(seconds=20.0, seed=4)))


def test_the_sample_market_is_the_same_on_every_machine_and_python(ten_minutes: Decoded) -> None:
    _, frames, _ = ten_minutes

    assert digest(frames) == "0918cd01ba7f16fe87a15a8634be8e104b6cb7edf6ab184c1642adde7420b27b"


def test_a_shorter_run_is_the_beginning_of_a_longer_one() -> None:
    short, longer = list(simulate(seconds=10.0)), list(simulate(seconds=20.0))

    assert longer[: len(short)] == short


def test_a_market_does_not_depend_on_its_neighbors() -> None:
    def told(frames: list[Frame]) -> list[bytes]:
        return [
            frame.payload for frame in frames if b'"symbol":"XRP/USD"' in frame.payload and b"update" in frame.payload
        ]

    assert told(list(simulate([XRP_USD], seconds=20.0))) == told(list(simulate([BTC_USD, XRP_USD], seconds=20.0)))


def test_the_decoder_finds_nothing_wrong_in_ten_minutes(ten_minutes: Decoded) -> None:
    decoder, frames, rows = ten_minutes
    quality = decoder.quality
    books = sum(b'"channel":"book","type"' in frame.payload for frame in frames)

    assert quality.checksum_ok == books > 3_000
    assert (quality.checksum_failed, quality.gaps, quality.duplicates, quality.crossed) == (0, 0, 0, 0)
    assert (quality.rejected, quality.unparsed) == (0, 0)
    assert 8_000 <= len(frames) <= 12_000
    assert len(rows) < 30_000


def test_trades_are_contiguous_and_go_on_from_the_snapshot(ten_minutes: Decoded) -> None:
    _, _, rows = ten_minutes
    for symbol in ("BTC/USD", "XRP/USD"):
        old = [int(row.trade_id or 0) for row in of(rows, symbol, Kind.OTHER)]
        new = [int(row.trade_id or 0) for row in of(rows, symbol, Kind.TRADE)]

        assert len(old) == 50
        assert old + new == list(range(old[0], old[0] + 50 + len(new)))
        assert not any(row.flags & RECOVERED for row in rows)


def test_a_taker_pays_the_touch_that_stood_or_worse(ten_minutes: Decoded) -> None:
    _, _, rows = ten_minutes
    sweeps = Counter[bool]()
    for before, row in pairwise(row for row in rows if row.symbol == "BTC/USD"):
        if row.kind != Kind.TRADE:
            continue
        touch = row.ask if row.side == BUY else row.bid
        assert (row.price - touch) * row.side >= 0.0
        if before.kind != Kind.TRADE:
            assert row.price == touch
        sweeps[row.price != touch] += 1
    assert sweeps[True] > 20
    assert sweeps[False] > 200


def test_what_a_taker_took_is_gone_from_the_book(ten_minutes: Decoded) -> None:
    _, _, rows = ten_minutes
    about = [row for row in rows if row.symbol == "XRP/USD" and row.kind in (Kind.TRADE, Kind.BOOK)]
    checked = 0
    for trade, after in pairwise(about):
        if trade.kind == Kind.TRADE and after.kind == Kind.BOOK and trade.flags & after.flags:
            resting = trade.ask_size if trade.side == BUY else trade.bid_size
            left = after.ask_size if trade.side == BUY else after.bid_size
            assert round(resting - trade.size - left, 8) == 0.0
            checked += 1
    assert checked > 100


def test_spreads_are_mostly_of_one_to_five_ticks(ten_minutes: Decoded) -> None:
    _, _, rows = ten_minutes
    for model in (BTC_USD, XRP_USD):
        scale = 10**model.rules.price_decimals
        spreads = [round((row.ask - row.bid) * scale) for row in of(rows, model.rules.symbol, Kind.QUOTE)]

        assert min(spreads) == 1
        assert sum(spread <= 5 for spread in spreads) > 0.8 * len(spreads)


def test_minutes_are_quiet_and_busy(ten_minutes: Decoded) -> None:
    _, frames, _ = ten_minutes
    minutes = Counter(
        ((frame.ts_recv or 0) - START_NS) // 60_000_000_000 for frame in frames if b'"channel":"trade"' in frame.payload
    )

    assert max(minutes.values()) > 1.5 * min(minutes[minute] for minute in range(10))


def test_the_flow_of_orders_tells_something_about_the_next_seconds() -> None:
    moved_with, moved_against = 0.0, 0.0
    for seed in range(3):
        for side, moved in flows_and_moves(SimulatedMarket(BTC_USD, seed), horizon_ns=3_000_000_000):
            with_flow = moved * side
            moved_with += max(with_flow, 0.0)
            moved_against += max(-with_flow, 0.0)

    assert moved_with > 1.1 * moved_against


def flows_and_moves(market: SimulatedMarket, horizon_ns: int) -> list[tuple[int, float]]:
    """For each trade after the book has settled: the taker's side, and how the mid moved within the horizon."""
    mids: list[tuple[int, float]] = []
    takers: list[tuple[int, int]] = []
    for now in steps(0, 600.0):
        change = market.advance(now)
        mids.append((now, (market.shown(BUY)[0][0] + market.shown(-BUY)[0][0]) / 2))
        if change is not None and change.deals:
            takers.append((len(mids) - 1, change.deals[0].side))
    ahead = horizon_ns // (mids[1][0] - mids[0][0])
    return [(side, mids[at + ahead][1] - mids[at][1]) for at, side in takers if at + ahead < len(mids)]


def test_times_of_receipt_never_run_backwards_and_follow_the_event(ten_minutes: Decoded) -> None:
    _, frames, _ = ten_minutes
    received = [frame.ts_recv or 0 for frame in frames]

    assert all(earlier < later for earlier, later in pairwise(received))
    decoder = KrakenDecoder()
    for frame in frames[-500:]:
        for row in decoder.decode(frame):
            assert row.ts_event is None or row.ts_event < (frame.ts_recv or 0) < row.ts_event + 100_000_000


def test_the_connection_opens_as_the_venue_does() -> None:
    opening = list(simulate(seconds=0.0))
    decoder = KrakenDecoder()
    rows = [row for frame in opening for row in decoder.decode(frame)]
    events = Counter(note(row)["event"] for row in rows if row.kind == Kind.FEED)
    [bitcoin] = [note(row) for row in rows if row.symbol == "BTC/USD" and note(row).get("event") == "instrument"]

    assert opening[0].payload.startswith(b'{"channel":"status"')
    assert events == {"subscribed": 7, "instrument": 2}
    assert (bitcoin["tick_size"], bitcoin["lot_size"]) == ("0.1", "0.00000001")
    assert (bitcoin["min_quantity"], bitcoin["min_notional"]) == ("0.00010000", "0.50")


def test_a_heartbeat_comes_every_second() -> None:
    beats = [frame for frame in simulate(seconds=10.5) if b"heartbeat" in frame.payload]

    assert len(beats) == 10


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.floats(0.5, 20.0), st.floats(0.5, 10.0))
def test_no_market_crosses_runs_dry_or_falls_to_zero(seed: int, volatility: float, gap: float) -> None:
    model = PairModel(rules=BTC_USD.rules, price=20_000, volatility=volatility, gap=gap, qty=9_000, qty_step=1_000)
    market = SimulatedMarket(model, seed)
    for now in steps(START_NS, MINUTE):
        market.advance(now)
        bids, asks = market.shown(BUY), market.shown(-BUY)
        assert len(bids) == len(asks) == 10
        assert bids[-1][0] > 0
        assert bids[0][0] < asks[0][0]
        assert all(qty > 0 and qty % 1_000 == 0 for _, qty in (*bids, *asks))


@given(st.integers(-(10**15), 10**15), st.integers(0, 10))
def test_fixed_point_text_is_exact(units: int, decimals: int) -> None:
    text = fixed(units, decimals)

    assert int(text.replace(".", "")) == units
    assert len(text.partition(".")[2]) == decimals
