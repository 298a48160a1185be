"""Binance frames and depth snapshots become the ticks that its rules ask for, on real captures and on hostile bytes."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ticks import BUY, LAST_OF_MESSAGE, SELL, SNAPSHOT, Kind, Tick
from recorder.imports import cryptofeed, hftbacktest
from recorder.venues import Frame
from recorder.venues.binance import BinanceDecoder, canonical, stream_names, subscribe_messages
from recorder.venues.binance_book import HELD_DIFFS_MAX, HELD_LEVELS_MAX, Ladder

DAYS = ("binance_spot/btcusdt_20240808.gz", "binance_spot/btcusdt_20240809.gz")

Level = tuple[str, str]
"""Price and size as texts."""


def frame(message: Any, url: str | None = None) -> Frame:
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    return Frame(ts_recv=None, payload=payload, url=url)


def trade(trade_id: int, *, name: str = "BTCUSDT", buyer_is_maker: bool = False, time: int = 1723161255342) -> Frame:
    body = {"e": "trade", "E": time + 1, "s": name, "t": trade_id, "p": "61837.63000000", "q": "0.02000000", "T": time}
    return frame(body | {"m": buyer_is_maker, "M": True})


def aggregate(aggregate_id: int, first: int, last: int) -> Frame:
    body = {"e": "aggTrade", "E": 2, "s": "BTCUSDT", "a": aggregate_id, "p": "10.5", "q": "2", "f": first, "l": last}
    return frame(body | {"T": 1618677373912, "m": False, "M": True})


def quote(bid: str, ask: str, *, name: str = "BTCUSDT", bid_size: str = "1", ask_size: str = "2") -> Frame:
    return frame({"u": 7, "s": name, "b": bid, "B": bid_size, "a": ask, "A": ask_size})


def diff(first: int, last: int, bids: Sequence[Level] = (), asks: Sequence[Level] = (), name: str = "BTCUSDT") -> Frame:
    body = {"e": "depthUpdate", "E": 1723161255208, "s": name, "U": first, "u": last}
    return frame({"stream": f"{name.lower()}@depth@100ms", "data": body | {"b": list(bids), "a": list(asks)}})


def snapshot(last: int, bids: Sequence[Level], asks: Sequence[Level], url: str | None = None) -> Frame:
    return frame({"lastUpdateId": last, "bids": bids, "asks": asks}, url)


def partial(bids: Sequence[Level], asks: Sequence[Level]) -> Frame:
    body = {"lastUpdateId": 5, "bids": bids, "asks": asks}
    return frame({"stream": "btcusdt@depth5@100ms", "data": body})


BIDS: list[Level] = [("100", "1.5"), ("99.9", "0.2")]
ASKS: list[Level] = [("100.1", "3"), ("100.2", "4")]


def decoded(frames: Iterable[Frame], decoder: BinanceDecoder | None = None) -> list[Tick]:
    """The ticks of the last of `frames`."""
    decoder = decoder or BinanceDecoder()
    ticks: list[Tick] = []
    for one in frames:
        ticks = decoder.decode(one)
        assert ticks
        assert [tick.flags & LAST_OF_MESSAGE for tick in ticks] == [0] * (len(ticks) - 1) + [LAST_OF_MESSAGE]
    return ticks


def note(tick: Tick) -> Any:
    assert tick.note is not None
    return json.loads(tick.note)


def touch(tick: Tick) -> tuple[float, float, float, float]:
    return tick.bid, tick.bid_size, tick.ask, tick.ask_size


def is_unknown(tick: Tick) -> bool:
    return all(math.isnan(value) for value in touch(tick))


def kinds(ticks: Iterable[Tick]) -> list[int]:
    return [tick.kind for tick in ticks]


# --- what the feed knows of it


def test_a_book_that_the_feed_lost_waits_for_a_snapshot_and_takes_it() -> None:
    decoder = BinanceDecoder({"BTCUSDT": "BTC/USDT"})
    decoded([diff(11, 12), snapshot(10, BIDS, ASKS)], decoder)
    decoder.lost("BTC/USDT")

    held = decoded([diff(13, 13, BIDS)], decoder)
    healed = decoded([snapshot(12, BIDS, ASKS)], decoder)

    assert kinds(held) == [Kind.OTHER]
    assert healed[0].kind == Kind.BOOK
    assert healed[0].flags & SNAPSHOT


def test_the_rules_of_a_symbol_are_an_instrument_row() -> None:
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001", "stepSize": "0.00001"},
        {"filterType": "NOTIONAL", "minNotional": "5.0"},
    ]
    listed = [
        {"symbol": name, "baseAsset": base, "quoteAsset": "USDT", "filters": filters}
        for name, base in (("BTCUSDT", "BTC"), ("ETHUSDT", "ETH"))
    ]

    [row] = decoded([frame({"timezone": "UTC", "symbols": listed})], BinanceDecoder({"ETHUSDT": "ETH/USDT"}))

    assert (row.kind, row.symbol) == (Kind.FEED, "ETH/USDT")
    assert note(row) == {
        "event": "instrument",
        "tick_size": "0.01",
        "lot_size": "0.00001",
        "min_quantity": "0.00001",
        "min_notional": "5.0",
    }


# --- the captures


@pytest.fixture(scope="module")
def days(captures: Path) -> list[Frame]:
    return list(hftbacktest(captures / day for day in DAYS))


def test_two_days_of_btcusdt_have_no_gap_and_lose_no_frame(days: list[Frame]) -> None:
    decoder = BinanceDecoder()

    per_frame = [decoder.decode(one) for one in days]

    counts = Counter(tick.kind for ticks in per_frame for tick in ticks)
    assert len(days) == 99_574
    assert counts[Kind.QUOTE] == 28_040 + 45_134
    assert counts[Kind.TRADE] == 9_757 + 10_147
    assert counts[Kind.OTHER] == 3  # The diffs that waited for the snapshot; one of them was joined to it.
    assert counts[Kind.FEED] == 0
    assert sum(ticks[0].kind == Kind.BOOK for ticks in per_frame) == 3_451 + 3_044 + 1 - 3
    assert (decoder.quality.gaps, decoder.quality.unparsed, decoder.quality.crossed) == (0, 0, 0)


def test_rows_alone_rebuild_a_book_that_agrees_with_the_quotes(days: list[Frame]) -> None:
    decoder = BinanceDecoder()
    rebuilt: dict[int, dict[float, float]] = {BUY: {}, SELL: {}}
    quotes: list[tuple[float, ...]] = []
    agreed = compared = next_quote = update = 0
    latest = None
    for one in days:
        ticks = decoder.decode(one)
        message = json.loads(one.payload)
        body = message.get("data", message)
        if ticks[0].kind == Kind.QUOTE:
            quotes.append((body["u"], *(float(body[key]) for key in "bBaA")))
            continue
        # The frame of the snapshot ends with the rows of the diff that was held for it, and stands where that does.
        update = body.get("u", update)
        if ticks[0].kind != Kind.BOOK:
            continue
        fold(rebuilt, ticks)
        while next_quote < len(quotes) and quotes[next_quote][0] <= update:
            latest, next_quote = quotes[next_quote], next_quote + 1
        if latest is not None:
            bid, ask = max(rebuilt[BUY]), min(rebuilt[SELL])
            compared += 1
            agreed += latest[1:] == (bid, rebuilt[BUY][bid], ask, rebuilt[SELL][ask])

    assert (agreed, compared) == (6_491, 6_493)


def fold(book: dict[int, dict[float, float]], ticks: Iterable[Tick]) -> None:
    """Book rows into plain dictionaries, as any reader of a tape may do it."""
    is_first = True
    for tick in ticks:
        if tick.kind != Kind.BOOK:
            continue
        if tick.flags & SNAPSHOT and is_first:
            book[BUY].clear()
            book[SELL].clear()
        is_first = False
        if tick.size:
            book[tick.side][tick.price] = tick.size
        else:
            book[tick.side].pop(tick.price, None)


@pytest.mark.parametrize(
    ("folder", "stem", "day", "books"),
    [
        ("binance_spot", "BINANCE", "20210417", 10),
        ("binance_spot", "BINANCE", "20211012", 4),
        ("binance_us", "BINANCE_US", "20210814", 4),
    ],
)
def test_every_recorded_rest_snapshot_joins_its_diffs(
    captures: Path, folder: str, stem: str, day: str, books: int
) -> None:
    decoder = BinanceDecoder()
    files = [captures / folder / f"{stem}.ws.1.0_{day}", captures / folder / f"{stem}.http.0.0_{day}"]

    answers = [decoder.decode(one) for one in cryptofeed(files)]

    snapshots = {ticks[0].symbol for ticks in answers if ticks[0].flags & SNAPSHOT}
    assert len(snapshots) == books
    assert not [tick.note for ticks in answers for tick in ticks if tick.kind == Kind.FEED]
    assert (decoder.quality.gaps, decoder.quality.unparsed) == (0, 0)


def test_a_capture_of_futures_keeps_its_chain_by_what_each_diff_says_of_the_one_before(captures: Path) -> None:
    decoder = BinanceDecoder()
    book: dict[int, dict[float, float]] = {BUY: {}, SELL: {}}
    quoted = agreed = compared = 0

    for one in hftbacktest([captures / "binance_usdm" / "btcusdt_20240808.gz"]):
        ticks = decoder.decode(one)
        fold(book, ticks)
        quoted += ticks[-1].kind == Kind.QUOTE
        if ticks[-1].kind == Kind.BOOK and not math.isnan(ticks[-1].bid):
            compared += 1
            agreed += abs(max(book[BUY]) - ticks[-1].bid) <= 5.0  # quotes run ahead of the book

    assert (decoder.quality.gaps, decoder.quality.unparsed, quoted) == (0, 0, 66_089)
    assert compared > 5_000
    assert agreed / compared > 0.99


# --- symbols and requests


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("BTCUSDT", "BTC/USDT"),
        ("ETHBTC", "ETH/BTC"),
        ("BUSDTRY", "BUSD/TRY"),
        ("SWRVBUSD", "SWRV/BUSD"),
        ("OPFDUSD", "OP/FDUSD"),
        ("BNBUSD", "BNB/USD"),
        ("BATUSD", "BAT/USD"),
        ("USDTUSD", "USDT/USD"),
        ("SHIBUSD", "SHIB/USD"),
        ("SHIBBUSD", "SHIB/BUSD"),
        ("ETHTUSD", "ETH/TUSD"),
        ("1INCHEUR", "1INCH/EUR"),
        ("USDT", "USDT"),
        ("WHATEVER", "WHATEVER"),
    ],
)
def test_a_symbol_is_split_at_the_longest_quote_asset(name: str, symbol: str) -> None:
    assert canonical(name) == symbol


def test_symbols_given_to_the_decoder_win() -> None:
    [tick] = BinanceDecoder({"shibusd": "SHIB/USD"}).decode(quote("1", "2", name="SHIBUSD"))

    assert tick.symbol == "SHIB/USD"


def test_both_spellings_name_the_same_streams() -> None:
    assert stream_names(["BTC/USDT"]) == stream_names(["BTCUSDT"])
    assert stream_names(["BTCUSDT"]) == ["btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@100ms"]


def test_requests_stay_small_and_hold_every_stream_once() -> None:
    symbols = [f"A{number}USDT" for number in range(300)]

    messages = [json.loads(message) for message in subscribe_messages(symbols)]

    assert [message["id"] for message in messages] == [1, 2, 3, 4, 5]
    assert [name for message in messages for name in message["params"]] == stream_names(symbols)


def test_more_streams_than_a_connection_carries_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1024 streams"):
        subscribe_messages([f"A{number}USDT" for number in range(342)])


# --- trades


def test_a_buying_maker_means_that_the_taker_sold() -> None:
    [sold] = decoded([trade(5, buyer_is_maker=True)])
    [bought] = decoded([trade(5)])

    assert (sold.side, bought.side) == (SELL, BUY)
    assert (sold.price, sold.size, sold.trade_id, sold.symbol) == (61837.63, 0.02, "5", "BTC/USDT")


def test_times_are_read_in_milliseconds_and_in_microseconds() -> None:
    [in_ms] = decoded([trade(5, time=1_723_161_255_342)])
    [in_us] = decoded([trade(5, time=1_723_161_255_342_017)])

    assert in_ms.ts_event == 1_723_161_255_342_000_000
    assert in_us.ts_event == 1_723_161_255_342_017_000


def test_a_combined_frame_says_the_same_as_a_raw_one() -> None:
    raw = trade(5)
    wrapped = frame(b'{"stream":"btcusdt@trade","data":' + raw.payload + b"}")

    assert repr(decoded([raw])) == repr(decoded([wrapped]))


def test_old_trade_frames_with_order_ids_are_trades() -> None:
    body = json.loads(trade(5).payload) | {"b": 88, "a": 50}

    assert kinds(decoded([frame(body)])) == [Kind.TRADE]


def test_a_trade_seen_before_is_no_news_even_after_a_reconnect() -> None:
    decoder = BinanceDecoder()
    decoder.decode(trade(5))
    decoder.disconnected(0)
    decoder.connected(1)

    assert kinds(decoder.decode(trade(5))) == [Kind.OTHER]
    assert kinds(decoder.decode(trade(6))) == [Kind.TRADE]
    assert (decoder.quality.duplicates, decoder.quality.gaps) == (1, 0)


def test_a_jump_in_trade_ids_is_told_before_the_trade_and_leaves_the_touch() -> None:
    decoder = BinanceDecoder()

    gap, row = decoded([quote("100", "101"), trade(5), trade(9)], decoder)

    assert note(gap) == {"event": "trade_gap", "missed": 3}
    assert (row.kind, row.trade_id, touch(row)) == (Kind.TRADE, "9", (100.0, 1.0, 101.0, 2.0))
    assert decoder.quality.gaps == 1


def test_a_raw_stream_of_all_markets_is_a_message_that_nobody_asked_for() -> None:
    decoder = BinanceDecoder()
    everything = [{"e": "24hrTicker", "s": name, "c": "10.5"} for name in ("BTCUSDT", "ETHUSDT")]

    assert [row.kind for row in decoder.decode(frame(everything))] == [Kind.OTHER]
    assert decoder.quality.unparsed == 0
    decoder.decode(frame([1, 2]))
    assert decoder.quality.unparsed == 1


def test_aggregates_alone_are_the_trades() -> None:
    decoder = BinanceDecoder()

    decoded([aggregate(1, 10, 12)], decoder)
    [again] = decoded([aggregate(1, 10, 12)], decoder)
    gap, row = decoded([aggregate(3, 14, 14)], decoder)

    assert again.kind == Kind.OTHER
    assert note(gap) == {"event": "trade_gap", "missed": 1}
    assert (row.trade_id, row.price, row.size) == ("3", 10.5, 2.0)


def test_aggregates_alone_are_the_trades_of_a_connection_after_one_with_single_trades() -> None:
    decoder = BinanceDecoder()
    decoded([trade(10), trade(11)], decoder)
    decoder.connected(1)

    stream = [aggregate(4, 10, 11), aggregate(5, 12, 13), trade(13), trade(14)]
    rows = [row for one in stream for row in decoder.decode(one)]

    assert [row.trade_id for row in rows if row.kind == Kind.TRADE] == ["5", "14"]
    assert decoder.quality.duplicates == 2


def test_trades_and_aggregates_of_one_symbol_are_counted_once() -> None:
    decoder = BinanceDecoder()
    stream = [aggregate(1, 10, 12), trade(12), trade(13), aggregate(2, 13, 13), trade(14)]

    rows = [decoder.decode(one)[0] for one in stream]

    assert kinds(rows) == [Kind.TRADE, Kind.OTHER, Kind.TRADE, Kind.OTHER, Kind.TRADE]
    assert decoder.quality.gaps == 0


# --- quotes


def test_a_book_ticker_is_a_quote_without_a_time() -> None:
    [row] = decoded([quote("100", "101")])

    assert (row.kind, row.symbol, row.ts_event) == (Kind.QUOTE, "BTC/USDT", None)
    assert touch(row) == (100.0, 1.0, 101.0, 2.0)


def test_a_side_printed_as_zeros_is_unknown() -> None:
    [row] = decoded([quote("0.00000000", "101", bid_size="0.00000000")])

    assert math.isnan(row.bid) and math.isnan(row.bid_size)
    assert (row.ask, row.ask_size) == (101.0, 2.0)


@pytest.mark.parametrize("ask", ["100", "99"])
def test_a_locked_or_crossed_quote_is_printed_and_told(ask: str) -> None:
    decoder = BinanceDecoder()

    row, crossed = decoded([quote("100", ask)], decoder)

    assert (row.bid, row.ask) == (100.0, float(ask))
    assert note(crossed) == {"event": "crossed", "bid": 100.0, "ask": float(ask)}
    assert decoder.quality.crossed == 1


# --- the book


def test_held_diffs_are_joined_to_the_snapshot_in_one_message() -> None:
    stream = [
        diff(189, 202, [("98", "7")]),
        diff(203, 207),
        diff(208, 224, [("100", "0"), ("99.95", "2")], [("100.1", "5")]),
        snapshot(218, BIDS, ASKS),
    ]

    rows = decoded(stream)

    assert [(row.side, row.price, row.size) for row in rows] == [
        *((BUY, 100.0, 1.5), (BUY, 99.9, 0.2), (SELL, 100.1, 3.0), (SELL, 100.2, 4.0)),
        *((BUY, 100.0, 0.0), (BUY, 99.95, 2.0), (SELL, 100.1, 5.0)),
    ]
    assert [bool(row.flags & SNAPSHOT) for row in rows] == [True] * 4 + [False] * 3
    assert all(is_unknown(row) for row in rows[:-1])
    assert touch(rows[-1]) == (99.95, 2.0, 100.1, 5.0)


def test_diffs_before_a_snapshot_are_kept_as_other_rows() -> None:
    [row] = decoded([diff(1, 2, BIDS, ASKS)])

    assert (row.kind, row.symbol) == (Kind.OTHER, "BTC/USDT")
    assert is_unknown(row)


def test_a_snapshot_may_come_before_the_first_diff() -> None:
    decoder = BinanceDecoder({"BTCUSDT": "BTC/USDT"})
    decoded([snapshot(100, BIDS, ASKS)], decoder)

    [old] = decoded([diff(95, 100, [("1", "1")])], decoder)
    [overlapping] = decoded([diff(99, 103, [("100", "9")])], decoder)
    [following] = decoded([diff(104, 104, [("100", "8")])], decoder)

    assert kinds([old, overlapping, following]) == [Kind.OTHER, Kind.BOOK, Kind.BOOK]
    assert touch(following) == (100.0, 8.0, 100.1, 3.0)


def test_a_snapshot_older_than_the_diffs_held_asks_for_another() -> None:
    decoder = BinanceDecoder()

    [resync] = decoded([diff(50, 52), diff(53, 55), snapshot(48, BIDS, ASKS)], decoder)
    rows = decoded([snapshot(53, BIDS, ASKS)], decoder)

    assert note(resync) == {"event": "resync", "snapshot": 48, "first_held": 50}
    assert rows[0].flags & SNAPSHOT


def test_a_snapshot_that_ends_right_before_the_diffs_held_is_taken() -> None:
    rows = decoded([diff(50, 52, [("100", "9")]), snapshot(49, BIDS, ASKS)])

    assert touch(rows[-1]) == (100.0, 9.0, 100.1, 3.0)


def test_a_gap_voids_the_book_until_the_next_snapshot() -> None:
    decoder = BinanceDecoder()
    decoded([diff(1, 2), snapshot(2, BIDS, ASKS), diff(3, 4)], decoder)

    [gap] = decoded([diff(6, 7, [("100", "9")])], decoder)
    [waiting] = decoded([diff(8, 8)], decoder)
    rows = decoded([snapshot(6, BIDS, ASKS)], decoder)

    assert note(gap) == {"event": "gap", "expected": 5, "got": 6}
    assert (gap.symbol, is_unknown(gap), decoder.quality.gaps) == ("BTC/USDT", True, 1)
    assert waiting.kind == Kind.OTHER
    assert touch(rows[-1]) == (100.0, 9.0, 100.1, 3.0)


def test_a_gap_among_the_diffs_held_starts_them_again() -> None:
    decoder = BinanceDecoder()

    [gap] = decoded([diff(1, 2, [("50", "1")]), diff(5, 6, [("100", "9")])], decoder)
    [resync] = decoded([snapshot(2, BIDS, ASKS)], decoder)

    assert note(gap) == {"event": "gap", "expected": 3, "got": 5}
    assert note(resync)["event"] == "resync"


def test_a_diff_with_a_number_that_is_none_is_lost_and_the_next_shows_it() -> None:
    decoder = BinanceDecoder()
    decoded([diff(1, 2), snapshot(2, BIDS, ASKS)], decoder)

    [unread] = decoded([diff(3, 4, [("101", "1"), ("NaN", "1")])], decoder)
    [gap] = decoded([diff(5, 6)], decoder)

    assert (unread.kind, unread.symbol, decoder.quality.unparsed) == (Kind.OTHER, None, 1)
    assert note(gap)["event"] == "gap"


def test_only_the_last_row_of_a_diff_carries_the_new_touch() -> None:
    first, last = decoded([diff(1, 2), snapshot(2, BIDS, ASKS), diff(3, 4, [("100", "0")], [("100.05", "1")])])

    assert touch(first) == (100.0, 1.5, 100.1, 3.0)
    assert touch(last) == (99.9, 0.2, 100.05, 1.0)
    assert last.ts_event == 1_723_161_255_208_000_000


def test_a_delete_for_an_unknown_level_is_routine() -> None:
    decoder = BinanceDecoder()

    [row] = decoded([diff(1, 2), snapshot(2, BIDS, ASKS), diff(3, 4, [("42", "0")])], decoder)

    assert touch(row) == (100.0, 1.5, 100.1, 3.0)


def test_an_empty_diff_continues_the_chain() -> None:
    decoder = BinanceDecoder()

    [empty] = decoded([diff(1, 2), snapshot(2, BIDS, ASKS), diff(3, 4)], decoder)
    [row] = decoded([diff(5, 5, [("100", "9")])], decoder)

    assert (empty.kind, empty.bid, row.kind) == (Kind.OTHER, 100.0, Kind.BOOK)


def test_the_touch_is_the_quotes_once_there_was_a_quote() -> None:
    stream = [diff(1, 2), snapshot(2, BIDS, ASKS), quote("100.02", "100.06"), diff(3, 4, [("100", "9")])]

    [row] = decoded(stream)

    assert touch(row) == (100.02, 1.0, 100.06, 2.0)


def test_a_crossed_book_is_told() -> None:
    decoder = BinanceDecoder()

    row, crossed = decoded([diff(1, 2), snapshot(2, BIDS, ASKS), diff(3, 4, [("100.1", "1")])], decoder)

    assert (row.bid, row.ask) == (100.1, 100.1)
    assert note(crossed)["event"] == "crossed"
    assert decoder.quality.crossed == 1


def test_a_rest_answer_belongs_to_the_symbol_in_its_url() -> None:
    url = "https://api.binance.com/api/v3/depth?symbol=ETHBTC&limit=5000"

    rows = decoded([diff(1, 2), diff(1, 2, name="ETHBTC"), snapshot(2, BIDS, ASKS, url)])

    assert rows[0].symbol == "ETH/BTC"


def test_a_bare_rest_answer_belongs_to_the_diffs_it_fits() -> None:
    stream = [diff(10, 20), diff(1_000, 2_000, name="ETHBTC")]

    rows = decoded([*stream, snapshot(1_500, BIDS, ASKS)])
    [unowned] = decoded([*stream, snapshot(500, BIDS, ASKS)])

    assert rows[0].symbol == "ETH/BTC"
    assert (unowned.kind, note(unowned)) == (Kind.OTHER, {"event": "snapshot_of_unknown_symbol"})


def test_a_bare_rest_answer_does_not_belong_to_a_market_with_quite_other_prices() -> None:
    [unowned] = decoded([trade(1), snapshot(500, BIDS, ASKS)])

    assert note(unowned) == {"event": "snapshot_of_unknown_symbol"}


def test_a_symbol_in_a_url_may_be_percent_encoded() -> None:
    url = "https://api.binance.com/api/v3/depth?symbol=%E5%B8%81USDT&limit=5000"

    assert decoded([snapshot(2, BIDS, ASKS, url)])[0].symbol == "币/USDT"


def test_a_raw_stream_of_partial_books_replaces_the_book_each_time() -> None:
    decoder = BinanceDecoder()
    decoded([quote("100", "100.1"), snapshot(5, BIDS, ASKS)], decoder)

    rows = decoded([snapshot(6, [("99", "1")], [("101", "1")])], decoder)
    [again] = decoded([snapshot(6, BIDS, ASKS)], decoder)

    assert [(row.price, bool(row.flags & SNAPSHOT)) for row in rows] == [(99.0, True), (101.0, True)]
    assert again.kind == Kind.OTHER


def test_a_diff_of_futures_goes_on_from_the_one_that_it_names() -> None:
    def futures(first: int, last: int, previous: int) -> Frame:
        body = {"e": "depthUpdate", "E": 1, "T": 1, "s": "BTCUSDT", "U": first, "u": last, "pu": previous}
        return frame({"stream": "btcusdt@depth@0ms", "data": body | {"b": [("100", "9")], "a": []}})

    decoder = BinanceDecoder()
    decoded([futures(10, 14, 7), futures(18, 20, 14), snapshot(16, BIDS, ASKS)], decoder)

    [follows] = decoded([futures(25, 30, 20)], decoder)
    [gap] = decoded([futures(41, 50, 35)], decoder)

    assert follows.kind == Kind.BOOK
    assert note(gap) == {"event": "gap", "expected": 31, "got": 41}


def test_a_listing_says_what_base_and_quote_are() -> None:
    listed = {"symbols": [{"symbol": "FOOBARU", "baseAsset": "FOOBAR", "quoteAsset": "U", "filters": []}]}

    assert decoded([frame(listed), quote("1", "2", name="FOOBARU")])[0].symbol == "FOOBAR/U"


def test_a_snapshot_of_a_book_that_is_whole_changes_nothing() -> None:
    stream = [diff(1, 2), snapshot(2, BIDS, ASKS)]

    [named] = decoded([*stream, snapshot(2, [("1", "1")], [], "https://x/depth?symbol=BTCUSDT")])
    [bare] = decoded([*stream, snapshot(2, [("1", "1")], [])])

    assert (named.kind, named.bid) == (Kind.OTHER, 100.0)
    assert (bare.kind, note(bare)["event"]) == (Kind.OTHER, "snapshot_of_unknown_symbol")


def test_a_partial_book_is_a_snapshot_each_time() -> None:
    decoder = BinanceDecoder()
    decoded([partial(BIDS, ASKS)], decoder)

    rows = decoded([partial([("90", "1")], [("91", "1")])], decoder)

    assert all(row.flags & SNAPSHOT and row.symbol == "BTC/USDT" for row in rows)
    assert touch(rows[-1]) == (90.0, 1.0, 91.0, 1.0)


@pytest.mark.parametrize("empty", [partial([], []), snapshot(5, [], [], "https://x/depth?symbol=BTCUSDT")])
def test_an_empty_snapshot_empties_the_book(empty: Frame) -> None:
    book: dict[int, dict[float, float]] = {BUY: {}, SELL: {}}
    decoder = BinanceDecoder()
    fold(book, decoder.decode(partial(BIDS, ASKS)))

    rows = decoder.decode(empty)
    fold(book, rows)

    assert book == {BUY: {}, SELL: {}}
    assert is_unknown(rows[-1])


def test_diffs_held_are_bounded_and_a_fresh_snapshot_still_joins() -> None:
    decoder = BinanceDecoder()
    decoded([diff(n, n, [("100", str(n))]) for n in range(1, HELD_DIFFS_MAX + 11)], decoder)

    [resync] = decoded([snapshot(5, BIDS, ASKS)], decoder)
    rows = decoded([snapshot(900, BIDS, ASKS)], decoder)

    assert note(resync)["first_held"] == 11
    assert touch(rows[-1])[:2] == (100.0, float(HELD_DIFFS_MAX + 10))


def test_levels_held_are_bounded() -> None:
    levels = [(str(price), "1") for price in range(1, HELD_LEVELS_MAX // 2 + 2)]

    [resync] = decoded([diff(1, 1, levels), diff(2, 2, levels), snapshot(0, BIDS, ASKS)])

    assert note(resync)["first_held"] == 2


# --- the connection


def test_a_lost_connection_leaves_nothing_known() -> None:
    decoder = BinanceDecoder()
    decoded([quote("100", "101"), diff(1, 2), snapshot(2, BIDS, ASKS)], decoder)

    [lost] = decoder.disconnected(0)
    [back] = decoder.connected(1)
    [row] = decoder.decode(trade(5))
    [held] = decoder.decode(diff(900, 901))

    assert (note(lost), note(back)) == ({"event": "disconnected"}, {"event": "connected"})
    assert (lost.symbol, lost.kind) == (None, Kind.FEED)
    assert is_unknown(row)
    assert (held.kind, decoder.quality.gaps) == (Kind.OTHER, 0)


@pytest.mark.parametrize("wrap", [True, False])
def test_a_server_that_shuts_down_says_so(wrap: bool) -> None:
    body = {"e": "serverShutdown", "E": 1770123456789}

    [row] = decoded([frame({"stream": "!serverShutdown", "data": body} if wrap else body)])

    assert (row.kind, note(row), row.ts_event) == (Kind.FEED, {"event": "server_shutdown"}, 1_770_123_456_789_000_000)


@pytest.mark.parametrize(
    "answer",
    [
        {"code": 2, "msg": "Invalid request: unknown variant", "id": 1},
        {"error": {"code": 2, "msg": "Invalid request: unknown variant"}, "id": 1},
    ],
)
def test_a_refused_request_is_told(answer: dict[str, Any]) -> None:
    decoder = BinanceDecoder()

    [row] = decoded([frame(answer)], decoder)

    assert note(row) == {"event": "rejected", "code": 2, "message": "Invalid request: unknown variant", "request": 1}
    assert decoder.quality.rejected == 1


@pytest.mark.parametrize(
    "message",
    [
        {"result": None, "id": 1},
        {"e": "kline", "E": 1, "s": "BTCUSDT", "k": {}},
        {"stream": "btcusdt@kline_1m", "data": {"e": "kline"}},
        {"stream": "btcusdt@forceOrder", "data": {"e": "forceOrder"}},
    ],
)
def test_what_is_none_of_ours_is_kept_and_not_counted(message: dict[str, Any]) -> None:
    decoder = BinanceDecoder()

    assert kinds(decoded([frame(message)], decoder)) == [Kind.OTHER]
    assert decoder.quality.unparsed == 0


# --- hostile input


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"data":' * 100_000,
        b"5",
        b"[]",
        b"{}",
        b'{"stream":"btcusdt@trade"}',
        b'{"stream":"btcusdt@trade","data":[]}',
        b'{"stream":"\xff@trade","data":{}}',
        b'{"e":"trade","s":"","t":1,"p":"1","q":"1","T":1,"m":true}',
        b'{"e":"trade","s":"BTCUSDT","t":1,"p":"inf","q":"1","T":1,"m":true}',
        b'{"e":"trade","s":"BTCUSDT","t":1,"p":"1","q":"-1","T":1,"m":true}',
        b'{"e":"trade","s":"BTCUSDT","t":1,"p":"0","q":"1","T":1,"m":true}',
        b'{"e":"trade","s":"BTCUSDT","t":1,"p":"1e300","q":"1","T":1,"m":true}',
        b'{"e":"trade","s":"BTCUSDT","t":1,"p":"1","q":"1e300","T":1,"m":true}',
        b'{"e":"trade","s":"BTCUSDT","t":1e400,"p":"1","q":"1","T":1,"m":true}',
        b'{"e":"trade","s":"BTCUSDT","t":1,"p":"1","q":"1","T":99999999999999999,"m":true}',
        b'{"u":1,"s":"BTCUSDT","b":"1","B":"nan","a":"2","A":"1"}',
        b'{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":2,"u":1,"b":[],"a":[]}',
        b'{"lastUpdateId":1,"bids":[["1"]],"asks":[]}',
        b"x" * 5_000_000,
    ],
    ids=lambda payload: repr(payload[:40]),
)
def test_what_cannot_be_read_is_one_row_and_counted(payload: bytes) -> None:
    decoder = BinanceDecoder()

    [row] = decoder.decode(frame(payload))

    assert (row.kind, row.symbol, decoder.quality.unparsed) == (Kind.OTHER, None, 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["1", "-1", "nan"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("esubBaAtpqTmUEflM"), inner, max_size=8)
    ),
    max_leaves=20,
)
BODY = st.dictionaries(
    st.sampled_from([*"esubBaAtpqTmUEflM", "lastUpdateId", "bids", "asks", "code", "error", "result"]),
    JSON,
    max_size=12,
)
EVENTS = st.sampled_from(["trade", "aggTrade", "depthUpdate", "serverShutdown", "bookTicker"])
STREAMS = st.sampled_from(["btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth", "btcusdt@depth5", "!x", "@"])


def test_a_diff_that_comes_again_or_late_changes_nothing() -> None:
    decoder = BinanceDecoder()
    decoded([snapshot(10, BIDS, ASKS, "https://x/depth?symbol=BTCUSDT"), diff(11, 12, [("100", "2")])], decoder)
    kept = decoded([diff(13, 14, [("100", "3")])], decoder)

    for late in (diff(13, 14, [("100", "9")]), diff(11, 12, [("100", "2")]), diff(5, 14)):
        assert kinds(decoder.decode(late)) == [Kind.OTHER]
    assert kinds(kept) == [Kind.BOOK]
    assert kinds(decoded([diff(15, 16, [("100", "4")])], decoder)) == [Kind.BOOK]
    assert decoder.quality.gaps == 0


def test_the_touch_is_the_books_again_where_no_quotes_come_after_a_gap() -> None:
    decoder = BinanceDecoder()
    url = "https://x/depth?symbol=BTCUSDT"
    decoded([snapshot(10, BIDS, ASKS, url), quote("1", "2"), diff(20, 21)], decoder)

    tick = decoded([snapshot(21, BIDS, ASKS, url), diff(22, 23, [("100", "7")])], decoder)[-1]

    assert (tick.bid, tick.bid_size) == (100.0, 7.0)


@given(st.binary(max_size=200))
def test_any_bytes_are_at_least_one_row(payload: bytes) -> None:
    assert BinanceDecoder().decode(frame(payload))


@given(BODY, EVENTS, STREAMS)
def test_any_object_is_at_least_one_row(body: dict[str, Any], event: str, stream: str) -> None:
    decoder = BinanceDecoder()

    for message in (body, body | {"e": event}, {"stream": stream, "data": body}):
        assert decoder.decode(frame(message))
        assert decoder.decode(frame(message, url="https://x/depth?symbol=BTCUSDT"))


@given(st.data())
def test_cut_frames_never_raise_nor_touch_the_book(data: st.DataObject) -> None:
    decoder = BinanceDecoder()
    decoded([diff(1, 2), snapshot(2, BIDS, ASKS)], decoder)
    payload = diff(3, 4, BIDS, ASKS).payload
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]

    assert kinds(decoder.decode(frame(cut))) == [Kind.OTHER]
    assert kinds(decoder.decode(diff(3, 4, [("100", "2")]))) == [Kind.BOOK]


# --- numbers and ladders


@given(st.data())
def test_wherever_a_snapshot_falls_the_rows_rebuild_the_book(data: st.DataObject) -> None:
    change = st.tuples(st.sampled_from([BUY, SELL]), st.integers(1, 9), st.integers(0, 3))
    updates = data.draw(st.lists(change, min_size=2, max_size=40))
    ends = sorted(data.draw(st.sets(st.integers(1, len(updates)), min_size=1, max_size=10)) | {len(updates)})
    frames = [diff_of(updates, first + 1, last) for first, last in pairwise([0, *ends])]
    missed = data.draw(st.integers(0, len(frames) - 1))
    taken = data.draw(st.integers([0, *ends][missed], len(updates)))
    state = state_after(updates[:taken])
    bids, asks = ([(str(price), str(size)) for price, size in state[side].items()] for side in (BUY, SELL))
    heard = frames[missed:]
    heard.insert(data.draw(st.integers(0, len(heard))), snapshot(taken, bids, asks, "https://x/depth?symbol=BTCUSDT"))

    decoder, rebuilt = BinanceDecoder(), state_after([])
    for one in heard:
        fold(rebuilt, decoder.decode(one))

    assert decoder.quality.gaps == 0
    assert rebuilt == state_after(updates)


def diff_of(updates: list[tuple[int, int, int]], first: int, last: int) -> Frame:
    """The diff of updates `first` to `last`, counted from 1; a level changed twice stands there once."""
    levels = {(side, price): size for side, price, size in updates[first - 1 : last]}
    bids = [(str(price), str(size)) for (side, price), size in levels.items() if side == BUY]
    asks = [(str(price), str(size)) for (side, price), size in levels.items() if side == SELL]
    return diff(first, last, bids, asks)


def state_after(updates: list[tuple[int, int, int]]) -> dict[int, dict[float, float]]:
    book: dict[int, dict[float, float]] = {BUY: {}, SELL: {}}
    for side, price, size in updates:
        if size:
            book[side][float(price)] = float(size)
        else:
            book[side].pop(float(price), None)
    return book


@given(st.integers(1, 10**17), st.integers(7, 12))
def test_prices_are_the_nearest_doubles_of_their_texts(digits: int, places: int) -> None:
    text = f"{digits:0{places + 1}d}"
    text = f"{text[:-places]}.{text[-places:]}" if places else text

    [row] = BinanceDecoder().decode(quote(text, "1e11"))

    assert row.bid == float(text)


CHANGES = st.lists(
    st.lists(st.tuples(st.integers(1, 30).map(float), st.integers(0, 3).map(float)), max_size=6), max_size=60
)


@given(CHANGES, st.sampled_from([BUY, SELL]))
def test_a_ladder_agrees_with_a_plain_dictionary(changes: list[list[tuple[float, float]]], side: int) -> None:
    ladder, plain = Ladder(side), dict[float, float]()
    for levels in changes:
        ladder.apply(levels)
        plain.update(levels)
        plain = {price: size for price, size in plain.items() if size}
        if plain:
            best = max(plain) if side == BUY else min(plain)
            assert ladder.best() == (best, plain[best])
        else:
            assert all(math.isnan(value) for value in ladder.best())


def test_a_ladder_forgets_prices_that_come_and_go() -> None:
    ladder = Ladder(BUY)
    ladder.apply([(1_000.0, 1.0)])
    for _ in range(10_000):
        ladder.apply([(1.0, 1.0)])
        ladder.apply([(1.0, 0.0)])

    assert len(ladder.queue) <= 2 * len(ladder.sizes) + 64
