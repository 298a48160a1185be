"""What is known now: the touch, the last trade, books, candles and rates, as of a row and no further."""

import math
from decimal import Decimal
from typing import Any

import pytest

from engine.market import TRADES_KEPT
from tests.builders import (
    BTC,
    ETH,
    ETH_BTC,
    MS,
    SECOND,
    Message,
    Tape,
    a_desk,
    a_strategy,
    book,
    book_snapshot,
    desk_of,
    feed,
    other,
    quote,
    replay,
    tape_of,
    trade,
)


def seen(ask: Any, *messages: Message) -> list[Any]:
    """What `ask(data)` gave at each call."""
    found: list[Any] = []
    a_desk(lambda data, config, state: found.append(ask(data))).on(*messages)
    return found


def test_price_bid_and_mid_on_each_kind_of_tick() -> None:
    views = seen(
        lambda data: (data.kind, data.price, data.bid, data.ask, data.mid, data.spread, data.side),
        quote(0, "99", "101"),
        trade(1, "100.5", side=-1),
        quote(2, "98", "102"),
        book_snapshot(3, [("97", 1)], [("103", 1)]),
    )

    assert views == [
        ("quote", 100.0, 99.0, 101.0, 100.0, 2.0, 0),
        ("trade", 100.5, 99.0, 101.0, 100.0, 2.0, -1),
        ("quote", 100.5, 98.0, 102.0, 100.0, 4.0, 0),
        ("book", 100.5, 97.0, 103.0, 100.0, 6.0, -1),
    ]


def test_what_is_unknown_is_nan_or_none() -> None:
    [view] = seen(lambda data: (data.bid, data.ask, data.mid, data.quote(), data.book(), data.candles()), trade(0, "1"))

    assert all(math.isnan(number) for number in view[:3])
    assert view[3:] == (None, None, ())


def test_a_one_sided_quote_is_a_quote_without_a_mid() -> None:
    [view] = seen(lambda data: (data.bid, math.isnan(data.mid), data.quote().bid), quote(0, "99", None))

    assert view == (99.0, True, 99.0)


def test_a_book_is_folded_from_snapshot_and_deltas_whenever_it_is_asked_for() -> None:
    views = seen(
        lambda data: data.ts > 2 and data.book(depth=2),
        book(0, [("1", 1)]),
        book_snapshot(1, [("99", 1), ("98", 2)], [("101", 3)]),
        book(2, [("99", 0)], [("100", 4)]),
        book(3, [("97", 5)]),
    )

    assert views[-1].bids == ((98.0, 2.0), (97.0, 5.0))
    assert views[-1].asks == ((100.0, 4.0), (101.0, 3.0))


def test_deltas_without_a_snapshot_are_no_book() -> None:
    assert seen(lambda data: data.book(), book(0, [("1", 1)]), book(1, [("2", 1)])) == [None, None]


def test_a_loss_forgets_the_book_until_its_next_snapshot() -> None:
    views = seen(
        lambda data: data.book() and data.book().bids,
        book_snapshot(0, [("99", 1)], [("101", 1)]),
        feed(1, "checksum", BTC),
        book_snapshot(2, [("98", 1)], [("102", 1)]),
    )

    assert views == [((99.0, 1.0),), ((98.0, 1.0),)]


def test_a_snapshot_replaces_the_book_even_after_one_whose_last_row_did_not_end_its_message() -> None:
    # A decoder that adds a feed row to a crossed book moves the flag that ends the message to that row.
    first = book_snapshot(1, [("102", 1)], [("101", 1)])
    for row in first.rows:
        row.flags &= ~1
    crossed = Message(1, (*first.rows, *feed(1, "crossed", BTC).rows))

    views = seen(lambda data: data.book().bids, crossed, book_snapshot(2, [("98", 1)], [("103", 1)]))

    assert views[-1] == ((98.0, 1.0),)


def test_recent_trades_and_their_mean_price() -> None:
    views = seen(
        lambda data: ([one.price for one in data.recent_trades(n=2)], data.vwap(n=2)),
        trade(0, "1"),
        trade(1, "2", size=3),
        trade(2, "9", ETH),
        trade(3, "4", size=1),
    )

    assert views[-1] == ([2.0, 4.0], 2.5)


@pytest.mark.parametrize("n", [0, -1, TRADES_KEPT + 1])
def test_more_trades_than_are_kept_cannot_be_asked_for(n: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to"):
        a_desk().market.trades(BTC, n)


def rates(*messages: Message) -> Any:
    bench = a_desk()
    bench.on(*messages)
    return lambda asset, currency: bench.market.rate(asset, currency, 0)


def test_a_rate_is_the_mid_or_its_inverse_or_goes_by_way_of_another_market() -> None:
    rate = rates(quote(0, "99", "101"), quote(1, "0.19", "0.21", ETH_BTC), quote(2, "0.5", "0.5", "USD/EUR"))

    assert rate("USD", "USD") == 1
    assert rate("BTC", "USD") == 100
    assert rate("EUR", "USD") == 2
    assert rate("ETH", "USD") == Decimal(20)
    assert rate("DOGE", "USD") is None


def long_tape(rows: int) -> Tape:
    return tape_of(*(trade(i * 40 * MS, 100 + i % 17, size=1 + i % 3) for i in range(rows)))


def test_history_beyond_what_is_kept_is_the_same_for_every_batch_size_and_neighbor() -> None:
    rows = TRADES_KEPT * 5 // 2
    tape = long_tape(rows)

    def watcher(name: str, first_asked: int) -> Any:
        def decide(data: Any, config: Any, state: Any) -> None:
            state["n"] = state.get("n", 0) + 1
            if state["n"] >= first_asked and state["n"] % 2_000 == 0:
                bars, recent = data.candles(interval="15s", n=1_000), data.recent_trades(n=TRADES_KEPT)
                state.setdefault("seen", []).append([bars, len(recent), recent[0], data.vwap(n=5_000)])

        return desk_of(a_strategy(decide, name=name, trigger="trade"))

    def histories(desks: list[Any], size: int) -> list[Any]:
        replay(desks, tape, range(0, rows, size))
        return [desk.state["seen"] for desk in desks]

    early, late = histories([watcher("a", 1), watcher("b", 22_000)], rows)
    assert histories([watcher("b", 22_000)], 7) == [late]
    assert histories([watcher("a", 1)], 4_096) == [early]


def test_a_book_is_the_same_for_every_batch_size_however_late_it_is_asked_for() -> None:
    messages = [book_snapshot(0, [("99", 1)], [("101", 1)])]
    messages += [book(i * SECOND, [(str(50 + i % 40), i % 3)]) for i in range(1, 500)]
    tape = tape_of(*messages)

    def last_book(size: int) -> Any:
        def decide(data: Any, config: Any, state: Any) -> None:
            if data.ts == 499 * SECOND:
                state["book"] = data.book(depth=100)

        desk = desk_of(a_strategy(decide))
        replay([desk], tape, range(0, len(tape), size))
        return desk.state["book"].bids, desk.state["book"].asks

    assert last_book(1) == last_book(7) == last_book(10_000)


def test_a_symbol_that_is_only_named_has_not_spoken() -> None:
    bench = a_desk()
    bench.on(trade(0, "1"), other(1, ETH))

    assert bench.market.meets(ETH, 0) == "no market"
    assert bench.market.meets("XRP/USD", 0) == "unknown symbol"
