"""Kraken v2 frames become the ticks that its rules ask for, on real captures and on hostile bytes."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ticks import BUY, LAST_OF_MESSAGE, RECOVERED, SNAPSHOT, Kind, Tick
from recorder.venues import Frame
from recorder.venues.kraken import KrakenDecoder, subscribe_messages
from recorder.venues.kraken_book import checksum, level

ETH_BTC_SNAPSHOT = (
    b'{"channel":"book","type":"snapshot","data":[{"symbol":"ETH/BTC","bids":[{"price":0.031348,"qty":0.03740000},'
    b'{"price":0.031347,"qty":2.87288049},{"price":0.031345,"qty":8.57986833},{"price":0.031344,"qty":14.40276069},'
    b'{"price":0.031340,"qty":12.96065840},{"price":0.031339,"qty":13.19606540},{"price":0.031338,"qty":20.41389313},'
    b'{"price":0.031336,"qty":0.03740000},{"price":0.031334,"qty":14.37158163},{"price":0.031332,"qty":14.40695990}],'
    b'"asks":[{"price":0.031357,"qty":0.03740000},{"price":0.031358,"qty":2.87194815},{"price":0.031361,"qty":0.00767324},'
    b'{"price":0.031362,"qty":4.27140781},{"price":0.031363,"qty":4.34586052},{"price":0.031364,"qty":27.28097668},'
    b'{"price":0.031365,"qty":12.92325840},{"price":0.031366,"qty":4.14290322},{"price":0.031368,"qty":0.00738649},'
    b'{"price":0.031370,"qty":0.03740000}],"checksum":3619791617,"timestamp":"2026-08-26T15:16:16.637831Z"}]}'
)
ONLINE = b'{"channel":"status","type":"update","data":[{"system":"online","connection_id":16763580994566763544}]}'

Ladder = list[tuple[str, str]]
"""Levels as (price text, size text), best first."""


def frame(payload: bytes | str | dict[str, Any]) -> Frame:
    if isinstance(payload, dict):
        payload = msgspec.json.encode(payload)
    return Frame(ts_recv=None, payload=payload.encode() if isinstance(payload, str) else payload)


def lines(path: Path) -> list[Frame]:
    return [frame(line) for line in path.read_bytes().splitlines()]


def crc_of(asks: Ladder, bids: Ladder) -> int:
    """The venue's rule, written a second time and slowly."""
    text = "".join(number.replace(".", "").lstrip("0") for pair in (*asks[:10], *bids[:10]) for number in pair)
    return crc32(text.encode())


def book(kind: str, bids: Ladder, asks: Ladder, crc: int, symbol: str = "BTC/USD", ts: str | None = None) -> str:
    """A book frame whose numbers stand as they are given."""
    sides = (",".join(f'{{"price":{price},"qty":{qty}}}' for price, qty in side) for side in (bids, asks))
    stamp = "" if ts is None else f',"timestamp":"{ts}"'
    change = '{{"symbol":"{}","bids":[{}],"asks":[{}],"checksum":{}{}}}'.format(symbol, *sides, crc, stamp)
    return f'{{"channel":"book","type":"{kind}","data":[{change}]}}'


BIDS: Ladder = [("100.0", "1.50"), ("99.9", "0.20")]
ASKS: Ladder = [("100.1", "2.00"), ("100.2", "0.00000010")]
SMALL_BOOK = book("snapshot", BIDS, ASKS, crc_of(ASKS, BIDS))


def trades(kind: str, *ids: int, symbol: str = "BTC/USD") -> dict[str, Any]:
    at = "2026-09-26T18:09:13.157776Z"
    fact = {"symbol": symbol, "side": "sell", "price": 84095.7, "qty": 0.25, "ord_type": "limit", "timestamp": at}
    return {"channel": "trade", "type": kind, "data": [fact | {"trade_id": trade_id} for trade_id in ids]}


def ticker(bid: float, ask: float, symbol: str = "BTC/USD") -> dict[str, Any]:
    quote = {"symbol": symbol, "bid": bid, "bid_qty": 1.5 if bid else 0, "ask": ask, "ask_qty": 2.5 if ask else 0}
    at = "2026-07-08T05:24:41.204829Z" if bid or ask else "1970-01-01T00:00:00.000000Z"
    return {"channel": "ticker", "type": "update", "data": [quote | {"timestamp": at}]}


def note(row: Tick) -> dict[str, Any]:
    assert row.note is not None
    parts = json.loads(row.note)
    assert isinstance(parts, dict)
    return parts


def touch(row: Tick) -> tuple[float, float, float, float]:
    return row.bid, row.bid_size, row.ask, row.ask_size


def is_unknown(row: Tick) -> bool:
    return all(map(math.isnan, touch(row)))


def fold(rows: Iterable[Tick]) -> tuple[dict[float, float], dict[float, float]]:
    """Bids and asks of one symbol as the rows of a tape tell them, by the simplest reader there is."""
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    is_new_message = True
    for row in rows:
        if row.kind != Kind.BOOK:
            continue
        if row.flags & SNAPSHOT and is_new_message:
            bids.clear()
            asks.clear()
        side = bids if row.side == BUY else asks
        side[row.price] = row.size
        if row.size == 0:
            del side[row.price]
        is_new_message = bool(row.flags & LAST_OF_MESSAGE)
    return bids, asks


# Real captures


def test_every_checksum_of_the_book_capture_is_right(captures: Path) -> None:
    decoder = KrakenDecoder()
    rows = [row for f in lines(captures / "kraken/v2_book10_btcusd_20260719T1754Z.jsonl") for row in decoder.decode(f)]

    bids, asks = fold(rows)

    quality = decoder.quality
    assert (quality.checksum_ok, quality.checksum_failed, quality.crossed, quality.unparsed) == (1254, 0, 0, 0)
    assert len(bids) == len(asks) == 10


def test_every_touch_of_the_book_capture_is_the_best_of_its_rows(captures: Path) -> None:
    decoder, seen = KrakenDecoder(), list[Tick]()
    checked = 0
    for f in lines(captures / "kraken/v2_book10_btcusd_20260719T1754Z.jsonl")[:300]:
        seen += decoder.decode(f)
        if seen[-1].kind == Kind.BOOK:
            bids, asks = fold(seen)
            assert touch(seen[-1]) == (*max(bids.items()), *min(asks.items()))
            checked += 1
    assert checked > 200


def test_all_stored_ladders_have_their_checksum(captures: Path) -> None:
    cases = json.loads((captures / "kraken/v2_checksum_cases_btcusd_20260721.json").read_bytes())["captures"]

    right = 0
    for case in cases:
        asks, bids = (
            [level(-1, price.encode(), qty.encode()).digits for price, qty in case[side]]
            for side in ("local_book_asks", "local_book_bids")
        )
        right += checksum(asks, bids) == case["expected_checksum"]

    assert (len(cases), right) == (200, 200)


def test_live_trades_go_on_where_the_snapshot_ended(captures: Path) -> None:
    decoder = KrakenDecoder()
    rows = [row for f in lines(captures / "kraken/v2_trades_btcusd_ethusd_20260926.jsonl") for row in decoder.decode(f)]

    news = [row for row in rows if row.kind == Kind.TRADE]
    old = [row for row in rows if row.kind == Kind.OTHER and row.trade_id is not None]

    assert [(row.symbol, row.trade_id, row.side) for row in news] == [
        ("BTC/USD", "109183886", -1),
        ("BTC/USD", "109183887", -1),
    ]
    assert max(int(row.trade_id or 0) for row in old if row.symbol == "BTC/USD") == 109183885
    assert len(old) == 100
    assert (decoder.quality.gaps, decoder.quality.duplicates) == (0, 0)


def test_each_pair_of_the_instrument_snapshot_has_steps_in_plain_decimals(captures: Path) -> None:
    snapshot = frame((captures / "kraken/v2_instrument_snapshot.json").read_bytes())

    rows = KrakenDecoder().decode(snapshot)
    [bitcoin] = KrakenDecoder(symbols=["BTC/USD"]).decode(snapshot)

    assert len(rows) == 683
    assert not any("E" in note(row)["lot_size"] for row in rows)
    assert note(bitcoin) == {
        "event": "instrument",
        "tick_size": "0.1",
        "lot_size": "0.00000001",
        "min_quantity": "0.00010000",
        "min_notional": "0.50",
        "status": "online",
    }


def test_steps_that_are_no_steps_are_left_out() -> None:
    pair = '{"symbol":"X","price_increment":-0.1,"qty_increment":"NaN","qty_min":1E-8,"cost_min":1E-40}'

    [row] = KrakenDecoder().decode(frame(f'{{"channel":"instrument","type":"update","data":{{"pairs":[{pair}]}}}}'))

    assert note(row) == {"event": "instrument", "min_quantity": "0.00000001"}


# Book


def test_the_published_vector_has_its_checksum() -> None:
    decoder = KrakenDecoder()

    rows = decoder.decode(frame(ETH_BTC_SNAPSHOT))

    assert decoder.quality.checksum_ok == 1
    assert len(rows) == 20
    assert touch(rows[-1]) == (0.031348, 0.0374, 0.031357, 0.0374)
    assert rows[-1].ts_event == 1_787_757_376_637_831_000


def test_a_snapshot_flags_all_its_rows_and_ends_with_the_touch() -> None:
    rows = KrakenDecoder().decode(frame(SMALL_BOOK))

    assert [row.flags for row in rows] == [SNAPSHOT, SNAPSHOT, SNAPSHOT, SNAPSHOT | LAST_OF_MESSAGE]
    assert [(row.side, row.price, row.size) for row in rows] == [
        (1, 100.0, 1.5),
        (1, 99.9, 0.2),
        (-1, 100.1, 2.0),
        (-1, 100.2, 1e-7),
    ]
    assert all(map(is_unknown, rows[:-1]))
    assert touch(rows[-1]) == (100.0, 1.5, 100.1, 2.0)


def test_rows_within_a_message_carry_the_touch_from_before_it() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(SMALL_BOOK))
    bids = [("100.0", "0.00"), ("99.8", "3.00")]
    after = crc_of(ASKS, [("99.9", "0.20"), ("99.8", "3.00")])

    first, last = decoder.decode(frame(book("update", bids, [], after)))

    assert touch(first) == (100.0, 1.5, 100.1, 2.0)
    assert touch(last) == (99.9, 0.2, 100.1, 2.0)


def test_a_price_that_is_deleted_and_added_again_in_one_message_stays() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(SMALL_BOOK))
    bids = [("100.0", "0.00"), ("100.0", "4.00")]

    rows = decoder.decode(frame(book("update", bids, [], crc_of(ASKS, [("100.0", "4.00"), BIDS[1]]))))

    assert touch(rows[-1]) == (100.0, 4.0, 100.1, 2.0)


def test_a_level_pushed_out_by_the_cut_gets_a_row_that_removes_it() -> None:
    decoder = KrakenDecoder()
    bids = [(f"{100 - i}.0", "1.0") for i in range(10)]
    decoder.decode(frame(book("snapshot", bids, ASKS, crc_of(ASKS, bids))))

    after = [("100.05", "1.0"), *bids[:9]]
    added, removed = decoder.decode(frame(book("update", [("100.05", "1.0")], [], crc_of(ASKS, after))))

    assert (added.price, added.size, added.flags) == (100.05, 1.0, 0)
    assert (removed.side, removed.price, removed.size, removed.flags) == (1, 91.0, 0.0, LAST_OF_MESSAGE)


def test_the_depth_is_the_acknowledged_one_even_where_the_snapshot_is_short() -> None:
    decoder = KrakenDecoder()
    result = {"channel": "book", "depth": 25, "snapshot": True, "symbol": "BTC/USD"}
    decoder.decode(frame({"method": "subscribe", "result": result, "success": True}))
    decoder.decode(frame(SMALL_BOOK))
    more = [(f"{90 - i}.0", "1.0") for i in range(20)]

    rows = decoder.decode(frame(book("update", more, [], crc_of(ASKS, BIDS + more))))

    assert len(rows) == 20
    assert decoder.quality.checksum_failed == 0


def test_an_acknowledgement_that_comes_late_still_sets_the_depth() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(SMALL_BOOK))
    for depth in ({"depth": 25}, {}):
        result = {"channel": "book", "symbol": "BTC/USD"} | depth
        decoder.decode(frame({"method": "subscribe", "result": result, "success": True}))
    more = [(f"{90 - i}.0", "1.0") for i in range(20)]

    rows = decoder.decode(frame(book("update", more, [], crc_of(ASKS, BIDS + more))))

    assert len(rows) == 20
    assert touch(rows[-1]) == (100.0, 1.5, 100.1, 2.0)


def test_a_snapshot_of_an_empty_book_clears_what_was_there() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(SMALL_BOOK))

    [row] = decoder.decode(frame(book("snapshot", [], [], crc_of([], []))))

    assert (row.kind, row.side, row.size, row.flags) == (Kind.BOOK, 0, 0.0, SNAPSHOT | LAST_OF_MESSAGE)
    assert is_unknown(row)


def test_a_flipped_digit_costs_the_book_until_the_next_snapshot() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(SMALL_BOOK))
    right = book("update", [("99.8", "3.10")], [], crc_of(ASKS, [*BIDS, ("99.8", "3.10")]))

    [wrong] = decoder.decode(frame(right.replace("3.10", "3.20")))
    [ignored] = decoder.decode(frame(right))
    healed = decoder.decode(frame(SMALL_BOOK))

    assert (wrong.kind, wrong.symbol, note(wrong)["event"]) == (Kind.FEED, "BTC/USD", "checksum")
    assert note(wrong)["expected"] != note(wrong)["computed"]
    assert is_unknown(wrong)
    assert ignored.kind == Kind.OTHER
    assert is_unknown(ignored)
    assert touch(healed[-1]) == (100.0, 1.5, 100.1, 2.0)
    assert (decoder.quality.checksum_ok, decoder.quality.checksum_failed) == (2, 1)


def test_trailing_zeros_count_in_the_checksum() -> None:
    decoder = KrakenDecoder()

    [row] = decoder.decode(frame(SMALL_BOOK.replace("2.00", "2.0")))

    assert note(row)["event"] == "checksum"


def test_numbers_without_a_point_or_with_an_exponent_have_the_digits_of_their_plain_form() -> None:
    assert level(1, 100, b"1E-8").digits == level(1, b"100", b"0.00000001").digits == b"1001"
    assert level(1, b"1.5e2", 3).digits == level(1, b"150", b"3").digits


def test_a_crossed_book_is_noticed_after_its_rows() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(SMALL_BOOK))

    *_, last, crossed = decoder.decode(
        frame(book("update", [("100.3", "1.00")], [], crc_of(ASKS, [("100.3", "1.00"), *BIDS])))
    )

    assert note(crossed) == {"event": "crossed"}
    assert touch(crossed) == touch(last) == (100.3, 1.0, 100.1, 2.0)
    assert decoder.quality.crossed == 1


def test_a_frame_about_two_symbols_keeps_two_books() -> None:
    decoder = KrakenDecoder()
    both = SMALL_BOOK.removesuffix("]}") + "," + SMALL_BOOK.split('"data":[')[1].replace("BTC/USD", "ETH/USD")

    rows = decoder.decode(frame(both))

    assert [row.symbol for row in rows] == ["BTC/USD"] * 4 + ["ETH/USD"] * 4
    assert [bool(row.flags & LAST_OF_MESSAGE) for row in rows] == [False, False, False, True] * 2
    assert decoder.quality.checksum_ok == 2


def test_updates_without_a_snapshot_are_kept_and_mean_nothing() -> None:
    [row] = KrakenDecoder().decode(frame(book("update", BIDS, ASKS, 1)))

    assert (row.kind, row.symbol) == (Kind.OTHER, "BTC/USD")


prices = st.integers(1, 40).map(lambda ticks: f"{ticks / 10:.1f}")
sizes = st.integers(0, 3).map(lambda lots: f"{lots * 7}.{lots}0")
changes = st.lists(st.tuples(prices, sizes), max_size=6)


@given(st.lists(st.tuples(changes, changes), min_size=1, max_size=30), st.sampled_from([10, 25]))
def test_rows_rebuild_the_book_that_a_plain_dictionary_keeps(messages: list[tuple[Ladder, Ladder]], depth: int) -> None:
    decoder, rows = KrakenDecoder(), list[Tick]()
    result = {"channel": "book", "depth": depth, "symbol": "BTC/USD"}
    decoder.decode(frame({"method": "subscribe", "result": result, "success": True}))
    bids: dict[str, str] = {}
    asks: dict[str, str] = {}
    for at, (bid_changes, ask_changes) in enumerate(messages):
        bids, asks = naive(bids, bid_changes, depth, -1), naive(asks, ask_changes, depth, 1)
        crc = crc_of(list(asks.items()), list(bids.items()))
        rows += decoder.decode(frame(book("update" if at else "snapshot", bid_changes, ask_changes, crc)))

    assert decoder.quality.checksum_ok == len(messages)
    assert fold(rows) == ({float(p): float(q) for p, q in bids.items()}, {float(p): float(q) for p, q in asks.items()})


def naive(side: dict[str, str], new: Ladder, depth: int, sign: int) -> dict[str, str]:
    """One side after `new` and the cut, best first."""
    levels = side | dict(new)
    kept = sorted((p for p, q in levels.items() if float(q)), key=lambda p: float(p) * sign)
    return {price: levels[price] for price in kept[:depth]}


# Trades


def test_trades_of_the_first_snapshot_are_not_news() -> None:
    rows = KrakenDecoder().decode(frame(trades("snapshot", 5, 6)))

    assert [(row.kind, row.trade_id, row.ts_event is not None) for row in rows] == [
        (Kind.OTHER, "5", True),
        (Kind.OTHER, "6", True),
    ]
    assert [row.flags for row in rows] == [0, LAST_OF_MESSAGE]


def test_a_trade_carries_side_price_size_and_the_touch_of_the_moment() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(ticker(84095.7, 84095.8)))

    [row] = decoder.decode(frame(trades("update", 7)))

    assert (row.kind, row.side, row.price, row.size, row.trade_id) == (Kind.TRADE, -1, 84095.7, 0.25, "7")
    assert row.ts_event == 1_790_446_153_157_776_000
    assert touch(row) == (84095.7, 1.5, 84095.8, 2.5)


def test_a_frame_that_comes_twice_is_counted_once() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(trades("update", 7, 8)))

    again = decoder.decode(frame(trades("update", 7, 8)))

    assert [row.kind for row in again] == [Kind.OTHER, Kind.OTHER]
    assert (decoder.quality.duplicates, decoder.quality.gaps) == (2, 0)


def test_trades_missed_while_away_are_recovered_once() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(trades("snapshot", 5, 6)))
    decoder.decode(frame(trades("update", 7)))
    decoder.disconnected(0)
    decoder.connected(1)

    rows = decoder.decode(frame(trades("snapshot", 6, 7, 8, 9)))
    again = decoder.decode(frame(trades("snapshot", 8, 9)))

    assert [(row.kind, row.trade_id) for row in rows] == [
        (Kind.OTHER, "6"),
        (Kind.OTHER, "7"),
        (Kind.TRADE, "8"),
        (Kind.TRADE, "9"),
    ]
    assert [row.flags for row in rows[2:]] == [RECOVERED, RECOVERED | LAST_OF_MESSAGE]
    assert {row.kind for row in again} == {Kind.OTHER}
    assert (decoder.quality.duplicates, decoder.quality.gaps) == (0, 0)


def test_a_jump_in_trade_ids_says_how_many_are_missing_and_keeps_the_book() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(SMALL_BOOK))
    decoder.decode(frame(trades("update", 7)))

    gap, trade = decoder.decode(frame(trades("update", 11)))

    assert note(gap) == {"event": "trade_gap", "missed": 3}
    assert touch(gap) == touch(trade) == (100.0, 1.5, 100.1, 2.0)
    assert decoder.quality.gaps == 1


def test_trade_ids_are_counted_per_symbol() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(trades("update", 700)))

    [row] = decoder.decode(frame(trades("update", 3, symbol="ETH/USD")))

    assert (row.kind, row.symbol) == (Kind.TRADE, "ETH/USD")
    assert decoder.quality.duplicates == decoder.quality.gaps == 0


# Quotes


def test_the_touch_is_of_whoever_spoke_last() -> None:
    decoder = KrakenDecoder()

    [quote] = decoder.decode(frame(ticker(90.0, 91.0)))
    first, *_, last = decoder.decode(frame(SMALL_BOOK))
    [later] = decoder.decode(frame(ticker(92.0, 93.0)))

    assert (quote.kind, touch(quote)) == (Kind.QUOTE, (90.0, 1.5, 91.0, 2.5))
    assert touch(first) == (90.0, 1.5, 91.0, 2.5)
    assert touch(last) == (100.0, 1.5, 100.1, 2.0)
    assert touch(later) == (92.0, 1.5, 93.0, 2.5)


def test_a_quote_of_zeros_means_that_nobody_quotes() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(ticker(90.0, 91.0)))

    [empty] = decoder.decode(frame(ticker(0.0, 0.0)))
    [one_sided] = decoder.decode(frame(ticker(90.0, 0.0)))

    assert is_unknown(empty)
    assert empty.ts_event is None
    assert (one_sided.bid, math.isnan(one_sided.ask), math.isnan(one_sided.ask_size)) == (90.0, True, True)


def test_a_crossed_quote_is_noticed() -> None:
    decoder = KrakenDecoder()

    quote, crossed = decoder.decode(frame(ticker(91.0, 91.0)))

    assert (quote.kind, note(crossed)) == (Kind.QUOTE, {"event": "crossed"})
    assert (quote.flags, crossed.flags) == (0, LAST_OF_MESSAGE)
    assert decoder.quality.crossed == 1


@pytest.mark.parametrize("event", ["connected", "disconnected"])
def test_a_connection_that_begins_or_ends_leaves_no_touch(event: str) -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(SMALL_BOOK))

    [row] = getattr(decoder, event)(1)
    [trade] = decoder.decode(frame(trades("update", 7)))
    [update] = decoder.decode(frame(book("update", BIDS, [], 0)))

    assert (row.kind, row.symbol, note(row)) == (Kind.FEED, None, {"event": event})
    assert is_unknown(trade)
    assert update.kind == Kind.OTHER


# The feed


def test_an_acknowledged_subscription_is_a_feed_row() -> None:
    result = {"channel": "book", "depth": 10, "snapshot": True, "symbol": "BTC/USD", "warnings": ["slow"]}

    [row] = KrakenDecoder().decode(frame({"method": "subscribe", "result": result, "success": True, "req_id": 3}))

    assert (row.kind, row.symbol) == (Kind.FEED, "BTC/USD")
    assert note(row) == {"event": "subscribed", "channel": "book", "depth": 10, "warnings": ["slow"]}


def test_a_canceled_book_subscription_leaves_no_book() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(SMALL_BOOK))
    result = {"channel": "book", "symbol": "BTC/USD", "depth": 10}

    [row] = decoder.decode(frame({"method": "unsubscribe", "result": result, "success": True}))
    [update] = decoder.decode(frame(book("update", BIDS, [], 0)))

    assert note(row)["event"] == "unsubscribed"
    assert is_unknown(row)
    assert update.kind == Kind.OTHER


@pytest.mark.parametrize(("frames", "bid"), [([], None), ([SMALL_BOOK], 100.0)], ids=["alone", "beside a book"])
def test_a_canceled_ticker_leaves_the_touch_of_the_book(frames: list[str], bid: float | None) -> None:
    decoder = KrakenDecoder()
    for one in frames:
        decoder.decode(frame(one))
    decoder.decode(frame(ticker(90.0, 91.0)))
    result = {"channel": "ticker", "symbol": "BTC/USD", "event_trigger": "bbo"}

    [row] = decoder.decode(frame({"method": "unsubscribe", "result": result, "success": True}))

    assert row.bid == bid if bid is not None else is_unknown(row)


def test_a_book_message_may_leave_out_a_side_without_changes() -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(SMALL_BOOK))
    update = SMALL_BOOK.replace("snapshot", "update")

    rows = decoder.decode(frame(update[: update.index('"bids"')] + update[update.index('"asks"') :]))

    assert rows[-1].kind == Kind.BOOK
    assert decoder.quality.checksum_ok == 2


@pytest.mark.parametrize(
    ("reply", "symbol", "error"),
    [
        (
            b'{"error":"Currency pair not supported XBT/USDT","success":false,"symbol":"XBT/USDT"}',
            "XBT/USDT",
            "Currency pair not supported XBT/USDT",
        ),
        (b'{"Error":"Exceeded msg rate"}', None, "Exceeded msg rate"),
    ],
)
def test_a_rejected_request_is_a_feed_row_and_counted(reply: bytes, symbol: str | None, error: str) -> None:
    decoder = KrakenDecoder()

    [row] = decoder.decode(frame(reply))

    assert (row.kind, row.symbol) == (Kind.FEED, symbol)
    assert (note(row)["event"], note(row)["error"]) == ("rejected", error)
    assert (decoder.quality.rejected, decoder.quality.unparsed) == (1, 0)


def test_the_engine_state_is_told_while_it_is_not_online_and_when_it_is_again() -> None:
    decoder = KrakenDecoder()
    trouble = ONLINE.replace(b'"online"', b'"cancel_only"')

    rows = [decoder.decode(frame(payload))[0] for payload in (ONLINE, trouble, ONLINE, ONLINE)]

    assert [row.kind for row in rows] == [Kind.OTHER, Kind.FEED, Kind.FEED, Kind.OTHER]
    assert [note(row)["system"] for row in rows[1:3]] == ["cancel_only", "online"]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"channel":"heartbeat"}',
        b'{"method":"pong","req_id":101,"time_in":"x","time_out":"y"}',
        b'{"channel":"ohlc","type":"update","data":[{"symbol":"BTC/USD","open":1}]}',
        b'{"channel":"book","type":"update","data":[]}',
        b'{"channel":"trade","type":"update","data":[],"new":{"key":[1,2]}}',
        b'{"channel":"instrument","type":"update","data":{"assets":[],"pairs":[]}}',
    ],
)
def test_a_well_formed_frame_without_news_is_one_row_and_no_complaint(payload: bytes) -> None:
    decoder = KrakenDecoder()

    [row] = decoder.decode(frame(payload))

    assert (row.kind, row.symbol, row.flags) == (Kind.OTHER, None, LAST_OF_MESSAGE)
    assert decoder.quality.unparsed == 0


def test_subscriptions_ask_for_trade_snapshots_and_quotes_that_move_with_the_book() -> None:
    requests = [json.loads(message) for message in subscribe_messages(["BTC/USD", "XRP/USD"], depth=25)]

    by_channel = {request["params"]["channel"]: request["params"] for request in requests}

    assert set(by_channel) == {"instrument", "book", "ticker", "trade"}
    assert by_channel["trade"]["snapshot"] is True
    assert by_channel["ticker"]["event_trigger"] == "bbo"
    assert (by_channel["book"]["depth"], by_channel["book"]["symbol"]) == (25, ["BTC/USD", "XRP/USD"])
    assert len({request["req_id"] for request in requests}) == 4


def test_a_depth_that_the_venue_does_not_offer_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of 10, 25, 100, 500, 1000, found 20"):
        subscribe_messages(["BTC/USD"], depth=20)


# Hostile input

BAD_LEVELS = [
    "-1.0",
    "NaN",
    "1e999",
    "1.1e18",
    '"1.0"',
    "null",
    "true",
    "[]",
    "{}",
    "9" * 5000,
    "1." + "0" * 5000,
    "0x10",
    "-0.1e-40",
]
BAD_FRAMES = [
    b"",
    b"\x00",
    b"null",
    b"[]",
    b'"text"',
    b"{}",
    b'{"channel":5}',
    b'{"method":7}',
    b'{"channel":"book"}',
    b'{"channel":"status","data":{}}',
    b'{"error":"lone surrogate","symbol":"\\ud800"}',
    b'{"method":"subscribe","success":true,"result":{"channel":"book","depth":-1,"symbol":"BTC/USD"}}',
    b'{"channel":"instrument","type":"snapshot","data":{"pairs":[{"symbol":"X","cost_min":1e99999999999999999999}]}}',
    SMALL_BOOK.replace("BTC/USD", "").encode(),
    SMALL_BOOK.replace('"checksum":', '"checksum":-').encode(),
    SMALL_BOOK.replace('"checksum":', '"checksum":99999').encode(),
    b'{"channel":"heartbeat"} x',
    b'{"channel":"heartbeat","x":"\xff"}',
    b"[" * 1_000_000,
    b'{"channel":"book","x":' + b"[" * 1_000_000,
    b"x" * 5_000_000,
    b'{"channel":"trade","type":"update","data":[' + b" " * 5_000_000,
    b'{"channel":"trade","type":"late","data":[]}',
    msgspec.json.encode(trades("update", 2**70)),
    msgspec.json.encode(trades("update", -1)),
    msgspec.json.encode(trades("update", 1)).replace(b"84095.7", b"-1"),
    msgspec.json.encode(trades("update", 1)).replace(b"84095.7", b"1e999"),
    msgspec.json.encode(trades("update", 1)).replace(b"84095.7", b"1.1e11"),
    msgspec.json.encode(trades("update", 1)).replace(b"84095.7", b"1e-13"),
    msgspec.json.encode(ticker(1.0, 2.0)).replace(b"2.0", b"1e300"),
    msgspec.json.encode(trades("update", 1)).replace(b"2026-09-26", b"2026-13-26"),
    msgspec.json.encode(ticker(1.0, 2.0)).replace(b"1.5", b"-1.5"),
    *(SMALL_BOOK.replace("99.9", bad).encode() for bad in [*BAD_LEVELS, "0.0"]),
    *(SMALL_BOOK.replace("0.20", bad).encode() for bad in BAD_LEVELS if bad != "-0.1e-40"),
    book("snapshot", [(str(1 + i), "1.0") for i in range(2001)], [], 0).encode(),
]


@pytest.mark.parametrize("payload", BAD_FRAMES, ids=lambda payload: repr(payload[-24:]))
def test_a_frame_that_cannot_be_read_is_one_row_and_changes_nothing(payload: bytes) -> None:
    decoder = KrakenDecoder()
    decoder.decode(frame(SMALL_BOOK))

    [row] = decoder.decode(frame(payload))
    [after] = decoder.decode(frame(trades("update", 1)))

    assert (row.kind, row.symbol, decoder.quality.unparsed) == (Kind.OTHER, None, 1)
    assert touch(after) == (100.0, 1.5, 100.1, 2.0)
    assert decoder.quality.duplicates == 0


def test_one_bad_item_takes_the_whole_frame_out() -> None:
    decoder = KrakenDecoder()
    message = trades("update", 1, 2)
    message["data"][1]["qty"] = -1

    [row] = decoder.decode(frame(message))
    good = decoder.decode(frame(trades("update", 1, 2)))

    assert row.kind == Kind.OTHER
    assert [tick.kind for tick in good] == [Kind.TRADE, Kind.TRADE]


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=8,
)
keys = st.sampled_from(
    ["symbol", "bids", "asks", "checksum", "price", "qty", "trade_id", "timestamp", "pairs", "system"]
)
near_misses = st.fixed_dictionaries(
    {},
    optional={
        "channel": st.sampled_from(["book", "trade", "ticker", "instrument", "status", "heartbeat", "ohlc"]),
        "type": st.sampled_from(["snapshot", "update", "?"]),
        "method": st.sampled_from(["subscribe", "unsubscribe", "pong"]) | json_values,
        "result": st.dictionaries(st.sampled_from(["channel", "symbol", "depth"]), json_values) | json_values,
        "error": json_values,
        "success": json_values,
        "symbol": json_values,
        "data": json_values | st.lists(st.dictionaries(keys, json_values), max_size=3),
    },
)


def assert_tolerated(payloads: Sequence[bytes]) -> None:
    decoder = KrakenDecoder()
    for payload in payloads:
        rows = decoder.decode(frame(payload))
        assert rows
        assert rows[-1].flags & LAST_OF_MESSAGE
        assert all((row.note is None) == (row.kind != Kind.FEED) for row in rows)


@given(st.lists(st.binary(max_size=200) | near_misses.map(msgspec.json.encode), max_size=4))
def test_no_bytes_raise(payloads: list[bytes]) -> None:
    assert_tolerated(payloads)


@given(st.integers(0, len(ETH_BTC_SNAPSHOT) - 1), st.binary(min_size=1, max_size=3))
def test_no_damage_to_a_real_frame_raises_or_passes_for_a_right_book(at: int, damage: bytes) -> None:
    damaged = ETH_BTC_SNAPSHOT[:at] + damage + ETH_BTC_SNAPSHOT[at + len(damage) :]
    decoder = KrakenDecoder()

    rows = decoder.decode(frame(damaged))

    assert rows
    if decoder.quality.checksum_ok:
        assert [(row.side, row.price, row.size) for row in rows] == [
            (row.side, row.price, row.size) for row in KrakenDecoder().decode(frame(ETH_BTC_SNAPSHOT))
        ]


@given(st.integers(0, len(ETH_BTC_SNAPSHOT) - 1))
def test_a_frame_cut_short_is_one_row(length: int) -> None:
    decoder = KrakenDecoder()

    [row] = decoder.decode(frame(ETH_BTC_SNAPSHOT[:length]))

    assert (row.kind, decoder.quality.unparsed) == (Kind.OTHER, 1)
