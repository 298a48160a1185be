"""Orders walk the book as it stands when they arrive, and use no level twice."""

from decimal import Decimal
from typing import Any

import pytest

from engine.events import OrderCanceled, OrderExpired, OrderRejected, OrderRested, OrderSubmitted
from tests.builders import (
    ETH,
    Bench,
    a_desk,
    a_strategy,
    book,
    book_snapshot,
    buy,
    close,
    desk_of,
    feed,
    fills,
    instrument,
    names_of,
    quote,
    replay,
    sell,
    short,
    tape_of,
    the,
    trade,
)

BIDS, ASKS = [(99, 1), (98, 2), (97, 4)], [(101, 1), (102, 2), (103, 4)]


def at_a_book(*signals: Any, cash: str = "10000", **rest: Any) -> Bench:
    """A desk that is asked once at a book of three levels a side, and then at each tick."""
    bench = a_desk(signals=list(signals), cash=cash, **rest)
    bench.on(book_snapshot(0, BIDS, ASKS))
    return bench


def deals(bench: Bench) -> list[tuple[float, float]]:
    """Price and quantity of every fill."""
    return [(float(fill.price), float(fill.quantity)) for fill in fills(bench.events)]


# -- walking ---------------------------------------------------------------------------------------------------------


def test_a_market_order_walks_the_levels_one_after_the_other() -> None:
    assert deals(at_a_book(buy("2.5 BTC"))) == [(101, 1), (102, 1.5)]
    assert deals(at_a_book(short("2.5 BTC"))) == [(99, 1), (98, 1.5)]


def test_an_order_by_notional_spends_it_over_the_levels() -> None:
    assert deals(at_a_book(buy("203 USD"))) == [(101, 1), (102, 1)]


def test_a_walk_is_one_order_with_several_fills_and_what_is_left_after_each() -> None:
    first, second = fills(at_a_book(buy("2.5 BTC")).events)

    assert first.order_id == second.order_id
    assert (first.left, second.left) == (Decimal("1.5"), None)


def test_a_market_order_that_exhausts_the_book_is_canceled_with_what_is_left() -> None:
    bench = at_a_book(buy("9 BTC"))

    assert deals(bench) == [(101, 1), (102, 2), (103, 4)]
    assert the(bench.events, OrderCanceled).reason == "book exhausted"
    assert not bench.portfolio.in_flight and not bench.portfolio.reserves


def test_a_limit_order_takes_up_to_its_limit_and_rests_with_the_remainder() -> None:
    bench = at_a_book(buy("5 BTC", limit="102"))

    assert deals(bench) == [(101, 1), (102, 2)]
    assert the(bench.events, OrderRested)
    assert bench.portfolio.left["alice-1"] == 2


def test_the_remainder_of_an_ioc_order_expires() -> None:
    bench = at_a_book(buy("5 BTC", limit="102", time_in_force="ioc"))

    assert deals(bench) == [(101, 1), (102, 2)]
    assert names_of(bench.events)[-1] == "OrderExpired"


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        (buy("3 BTC", limit="102", time_in_force="fok"), [(101, 1), (102, 2)]),
        (buy("3.1 BTC", limit="102", time_in_force="fok"), []),
        (buy("7 BTC", time_in_force="fok"), [(101, 1), (102, 2), (103, 4)]),
        (buy("7.1 BTC", time_in_force="fok"), []),
        (buy("203 USD", time_in_force="fok"), [(101, 1), (102, 1)]),
        (buy("800 USD", time_in_force="fok"), []),
    ],
)
def test_a_fok_order_trades_whole_or_not_at_all(signal: Any, expected: list[tuple[float, float]]) -> None:
    bench = at_a_book(signal)

    assert deals(bench) == expected
    assert bool(expected) != (names_of(bench.events)[-1] == "OrderExpired")


def test_a_fok_order_trades_nothing_where_lots_or_money_would_leave_a_part() -> None:
    lots = a_desk(signals=[None, buy("3 BTC", time_in_force="fok")], cash="1000")
    lots.on(instrument(0, lot_size="1"), quote(0, "99", "101"))
    lots.on(book_snapshot(1, [], [("101", "0.7"), ("102", "2.9")]))
    money = at_a_book(buy("2 BTC", time_in_force="fok"), cash="202.5")

    for bench in (lots, money):
        assert deals(bench) == []
        assert names_of(bench.events)[-1] == "OrderExpired"


def test_a_marketable_limit_order_is_a_taker_and_its_remainder_a_maker() -> None:
    bench = at_a_book(buy("2 BTC", limit="101"), maker_bps="1", taker_bps="10")
    bench.on(trade(1, "100", size=9, side=-1))

    taken, made = fills(bench.events)

    assert (taken.liquidity, taken.price, taken.fee) == ("taker", 101, Decimal("0.101"))
    assert (made.liquidity, made.price, made.fee) == ("maker", 101, Decimal("0.0101"))


def test_what_is_less_than_a_lot_stays_at_its_level() -> None:
    bench = a_desk(signals=[None, buy("2 BTC")], cash="1000")

    bench.on(instrument(0, lot_size="1"), quote(0, "99", "101"), book_snapshot(1, [], [("101", "0.7"), ("102", "2.9")]))

    assert deals(bench) == [(102, 2)]


def test_the_touch_as_quoted_stands_before_the_book() -> None:
    """Quotes are often ahead of the book: its levels better than the touch are gone already."""
    bench = a_desk(signals=[None, buy("3 BTC")], cash="1000")

    bench.on(book_snapshot(0, BIDS, ASKS), quote(1, "99", "102", ask_size="0.5"))

    assert deals(bench) == [(102, 0.5), (103, 2.5)]


def test_an_order_meets_the_book_that_stands_when_it_arrives() -> None:
    bench = at_a_book(buy("2 BTC"), latency_ns=50)
    bench.on(book(40, asks=[(101, 0), (102, 1)]))

    bench.on(book(60, asks=[(102, 0), (103, 9)]))

    assert deals(bench) == [(102, 1), (103, 1)]


def test_without_a_book_the_whole_order_trades_at_the_touch() -> None:
    bench = a_desk(signals=[buy("50 BTC")], cash="10000")

    bench.on(quote(0, "99", "101", ask_size="0.1"))

    assert deals(bench) == [(101, 50)]


def test_the_touch_model_ignores_the_book() -> None:
    assert deals(at_a_book(buy("9 BTC"), fill_model="touch")) == [(101, 9)]


def test_after_a_loss_the_old_book_is_gone() -> None:
    bench = at_a_book(None, buy("9 BTC"))
    bench.on(feed(1, "gap"))

    bench.on(book_snapshot(2, [(99, 1)], [(110, 9)]))

    assert deals(bench) == [(110, 9)]


def test_slippage_is_beyond_every_level_and_stops_at_the_limit() -> None:
    bench = at_a_book(buy("3 BTC", limit="102"), slippage_bps="50")

    assert deals(bench) == [(101.505, 1), (102, 2)]


# -- what was taken stays taken --------------------------------------------------------------------------------------


def test_what_an_order_took_the_next_one_does_not_find() -> None:
    bench = at_a_book([buy("1.5 BTC"), buy("1 BTC")])

    assert deals(bench) == [(101, 1), (102, 0.5), (102, 1)]


def test_what_was_taken_stays_taken_while_the_venue_speaks_of_other_levels() -> None:
    bench = at_a_book(buy("1 BTC"), None, None, buy("1 BTC"))

    bench.on(book(1, asks=[(103, 9)]), trade(2, "101"), quote(3, "99", "101"))

    assert deals(bench) == [(101, 1), (102, 1)]


@pytest.mark.parametrize("size", [1, 5])
def test_a_level_is_whole_again_when_the_book_speaks_of_it(size: int) -> None:
    bench = at_a_book(buy("1 BTC"), buy("1 BTC"))

    bench.on(book(1, asks=[(101, size)]))

    assert deals(bench) == [(101, 1), (101, 1)]


def test_a_level_is_whole_again_when_the_touch_shows_another_size_there() -> None:
    bench = at_a_book(buy("1 BTC"), [buy("1 BTC"), buy("2 BTC")])

    bench.on(quote(1, "99", "101", ask_size="1.5"))

    assert deals(bench) == [(101, 1), (101, 1), (101, 0.5), (102, 1.5)]


def test_a_level_seen_in_the_book_and_not_as_the_touch_any_more_is_not_another_level() -> None:
    bench = a_desk(signals=[None, buy("4 BTC"), None, buy("4 BTC")], cash="10000")
    bench.on(book_snapshot(0, BIDS, [(101, 3), (105, 9)]), quote(1, "99", "101", ask_size="5"))

    bench.on(quote(2, "99", "100", ask_size="1"), quote(3, "99", "100", ask_size="1"))

    assert deals(bench) == [(101, 4), (100, 1), (105, 3)]


def test_a_snapshot_makes_every_level_whole() -> None:
    bench = at_a_book(buy("3 BTC"), buy("3 BTC"))

    bench.on(book_snapshot(1, BIDS, ASKS))

    assert deals(bench) == [(101, 1), (102, 2), (101, 1), (102, 2)]


def test_desks_do_not_see_what_the_other_took() -> None:
    tape = tape_of(book_snapshot(0, BIDS, ASKS))
    desks = [desk_of(a_strategy(signals=[buy("1 BTC")], name=name), cash="1000") for name in ("alice", "bob")]

    assert [fill.price for fill in fills(replay(desks, tape))] == [101, 101]


def test_what_was_taken_from_the_asks_is_still_among_the_bids() -> None:
    bench = at_a_book(buy("1 BTC"), close())

    bench.on(trade(1, "100"))

    assert deals(bench) == [(101, 1), (99, 1)]


def test_levels_of_two_symbols_are_not_the_same() -> None:
    bench = at_a_book([buy("1 BTC")], buy("1 ETH", symbol=ETH))

    bench.on(book_snapshot(1, BIDS, ASKS, ETH))

    assert deals(bench) == [(101, 1), (101, 1)]


def test_what_the_venue_restated_is_watched_no_longer() -> None:
    bench = at_a_book(*[buy("1 BTC")] * 40, cash="100000")

    for ts in range(1, 40):
        bench.on(book(ts, asks=[(101, 1)]))

    [fold] = bench.market._books.values()
    assert len(deals(bench)) == 40
    assert sum(len(watchers) for watchers in fold.book._watches.values()) <= 2


# -- what a desk can settle ------------------------------------------------------------------------------------------


def test_an_order_whose_first_level_cannot_be_paid_for_the_whole_of_it_is_rejected() -> None:
    bench = at_a_book(buy("2 BTC"), cash="203", latency_ns=50)

    bench.on(book(40, asks=[(101, 0)]), trade(60, "100"))

    assert the(bench.events, OrderRejected).reason == "insufficient cash"


def test_a_walk_ends_at_the_level_that_can_no_longer_be_paid() -> None:
    bench = at_a_book(buy("2 BTC"), cash="203", latency_ns=50)

    bench.on(book(40, asks=[(102, 0)]), trade(60, "100"))

    assert deals(bench) == [(101, 1)]
    assert the(bench.events, OrderCanceled).reason == "insufficient cash"


def test_selling_more_than_is_held_sells_what_is_held() -> None:
    bench = at_a_book(buy("1.5 BTC"), sell("9 BTC"))

    bench.on(trade(1, "100"))

    assert deals(bench)[2:] == [(99, 1), (98, 0.5)]
    assert not bench.portfolio.positions


def test_an_order_that_finds_no_side_is_rejected() -> None:
    bench = at_a_book(buy("1 BTC"), latency_ns=50)

    bench.on(book(40, asks=[(101, 0), (102, 0), (103, 0)]), trade(60, "100"))

    assert the(bench.events, OrderRejected).reason == "no ask"
    assert the(bench.events, OrderSubmitted).quantity == 1


def test_an_ioc_order_without_a_level_within_its_limit_expires_whole() -> None:
    assert the(at_a_book(buy("1 BTC", limit="100", time_in_force="ioc")).events, OrderExpired)
