"""A place in the queue: what trades before us, who leaves, and that no trade is used twice."""

import math
from decimal import Decimal
from typing import Any

import pytest

from engine.events import OrderRested
from engine.money import money
from engine.queues import Place, probability
from tests.builders import Bench, a_desk, book, book_snapshot, buy, cancel, feed, fills, only, quote, short, the, trade

BIDS, ASKS = [(99, 5), (98, 2)], [(101, 5), (102, 2)]


def resting(*signals: Any, **rest: Any) -> Bench:
    """A desk whose orders rest at a book of 5 units at 99 and 101."""
    bench = a_desk(signals=[list(signals)], cash="10000", **rest)
    bench.on(book_snapshot(0, BIDS, ASKS))
    return bench


def got(bench: Bench) -> list[float]:
    return [float(fill.quantity) for fill in fills(bench.events)]


def place(ahead: str, shown: str, model: str = "conservative", power: float = 3.0) -> Place:
    return Place(side=1, price=99.0, ahead=money(ahead), shown=money(shown), behind=probability(model, power))


# -- at the broker ---------------------------------------------------------------------------------------------------


def test_the_displayed_size_at_its_price_is_ahead_of_an_order() -> None:
    at_a_level, between = resting(buy("1 BTC", limit="99")), resting(buy("1 BTC", limit="100"))

    assert the(at_a_level.events, OrderRested).queue_ahead == 5.0
    assert the(between.events, OrderRested).queue_ahead == 0.0


def test_trades_at_the_price_eat_the_queue_and_then_us_by_their_size() -> None:
    bench = resting(buy("2 BTC", limit="99"))

    for ts, size in enumerate((4, 1.5, 0.25, 9), start=1):
        bench.on(trade(ts, "99", size=size, side=-1))

    assert got(bench) == [0.5, 0.25, 1.25]
    assert {fill.liquidity for fill in fills(bench.events)} == {"maker"}


def test_a_sale_queues_among_the_asks() -> None:
    bench = resting(short("2 BTC", limit="101"))

    bench.on(trade(1, "101", size=6, side=1))

    assert got(bench) == [1.0]


def test_a_trade_whose_aggressor_is_on_our_side_does_not_reach_our_queue() -> None:
    bench = resting(buy("1 BTC", limit="99"))

    bench.on(trade(1, "99", size=50, side=1))

    assert got(bench) == []


def test_a_trade_through_the_price_fills_us_whole() -> None:
    bench = resting(buy("2 BTC", limit="99"))

    bench.on(trade(1, "98.9", size=0.01, side=-1))

    assert got(bench) == [2.0]
    assert fills(bench.events)[0].price == 99


def test_a_purchase_below_our_bid_tells_of_an_offer_that_the_book_would_have_shown() -> None:
    bench = resting(buy("2 BTC", limit="99"))

    bench.on(trade(1, "98.9", size=5, side=1))

    assert got(bench) == []


def test_the_other_side_coming_to_the_price_trades_what_it_shows() -> None:
    bench = resting(buy("2 BTC", limit="99"))

    bench.on(quote(1, "98", "99", ask_size="0.5"), quote(2, "98", "99", ask_size="0.5"))
    bench.on(book_snapshot(3, [(97, 1)], [(98, 0.25), (99, 0.25), (100, 9)]))

    assert got(bench) == [0.5, 0.5]
    assert {(fill.price, fill.liquidity) for fill in fills(bench.events)} == {(Decimal(99), "maker")}


def test_a_remainder_that_rests_where_it_took_does_not_take_the_same_again() -> None:
    bench = resting(buy("9 BTC", limit="102"))
    assert got(bench) == [5.0, 2.0]

    bench.on(trade(1, "101", size=4, side=1), quote(2, "99", "101", ask_size="5"), trade(3, "102", size=1, side=1))

    assert got(bench) == [5.0, 2.0]


def test_without_a_book_the_touch_reaching_the_price_fills_us_whole() -> None:
    bench = a_desk(signals=[buy("2 BTC", limit="98")], cash="1000")

    bench.on(quote(0, "99", "101"), quote(1, "97", "98", ask_size="0.1"))

    assert got(bench) == [2.0]


def test_without_a_book_nobody_knows_the_queue_and_only_trades_through_the_price_fill() -> None:
    bench = a_desk(signals=[buy("1 BTC", limit="98")], cash="1000")
    bench.on(quote(0, "99", "101"), trade(1, "98", size=1e6, side=-1))

    assert the(bench.events, OrderRested).queue_ahead is None
    assert got(bench) == []

    bench.on(trade(2, "97.99", size=0.001, side=-1))

    assert got(bench) == [1.0]


def test_a_price_beyond_the_visible_book_is_as_unknown_until_the_book_reaches_it() -> None:
    bench = resting(buy("1 BTC", limit="97"))
    bench.on(trade(1, "97", size=1e6, side=-1))  # a book of two levels says nothing of the third

    assert the(bench.events, OrderRested).queue_ahead is None
    assert got(bench) == []

    bench.on(book(2, bids=[(97, 3)]), trade(3, "97", size=3.5, side=-1))

    assert got(bench) == [0.5]


def test_a_level_that_leaves_a_book_of_limited_depth_was_not_canceled() -> None:
    """A snapshot that ends above the price says nothing of it; one that reaches beyond it says that it is gone."""
    bench = resting(buy("1 BTC", limit="98"))
    bench.on(book_snapshot(1, [(100, 1), (99, 5)], [(101, 5)]), trade(2, "98", size=2.0, side=-1))

    assert got(bench) == []

    bench.on(book_snapshot(3, [(100, 1), (97, 5)], [(101, 5)]), trade(4, "98", size=0.5, side=-1))

    assert got(bench) == [0.5]


def test_two_orders_at_one_price_never_use_the_same_trade() -> None:
    bench = resting(buy("1 BTC", limit="99"), buy("1 BTC", limit="99"))

    bench.on(trade(1, "99", size=6.5, side=-1))

    assert got(bench) == [1.0, 0.5]
    assert [fill.order_id for fill in fills(bench.events)] == ["alice-1", "alice-2"]

    bench.on(trade(2, "99", size=0.25, side=-1))

    assert got(bench)[2:] == [0.25]


def test_a_later_order_queues_behind_what_came_since() -> None:
    bench = a_desk(signals=[buy("1 BTC", limit="99"), buy("1 BTC", limit="99")], cash="1000")
    bench.on(book_snapshot(0, BIDS, ASKS), book(1, bids=[(99, 8)]))

    assert [rested.queue_ahead for rested in only(bench.events, OrderRested)] == [5.0, 8.0]


def test_more_size_at_the_level_stands_behind_us() -> None:
    bench = resting(buy("1 BTC", limit="99"))

    bench.on(book(1, bids=[(99, 50)]), trade(2, "99", size=5.5, side=-1))

    assert got(bench) == [0.5]


def test_a_cancellation_leaves_us_where_we_are_until_the_level_is_smaller_than_the_queue() -> None:
    bench = resting(buy("1 BTC", limit="99"))

    bench.on(book(1, bids=[(99, 9)]), book(2, bids=[(99, 5)]), trade(3, "99", size=4.5, side=-1))
    assert got(bench) == []

    bench.on(book(4, bids=[(99, 0.25)]), trade(5, "99", size=0.75, side=-1))
    assert got(bench) == [0.5]


def test_a_shrinkage_that_trades_explain_is_not_a_cancellation_too() -> None:
    bench = resting(buy("1 BTC", limit="99"), queue_model="proportional")

    bench.on(book(1, bids=[(99, 10)]), trade(2, "99", size=2, side=-1), book(3, bids=[(99, 8)]))
    bench.on(trade(4, "99", size=3.5, side=-1))

    assert got(bench) == [0.5]


def test_where_everybody_cancels_alike_half_of_it_was_ahead_of_who_stands_in_the_middle() -> None:
    bench = resting(buy("1 BTC", limit="99"), queue_model="proportional")

    bench.on(book(1, bids=[(99, 10)]), book(2, bids=[(99, 6)]), trade(3, "99", size=3.5, side=-1))

    assert got(bench) == [0.5]


def test_without_a_queue_model_nobody_is_ahead() -> None:
    bench = resting(buy("1 BTC", limit="99"), queue_model="none")

    bench.on(trade(1, "99", size=0.25, side=-1))

    assert got(bench) == [0.25]


def test_less_than_a_lot_is_remembered_until_it_is_one() -> None:
    bench = resting(buy("1 BTC", limit="99"), instruments={"BTC/USD": an_instrument(lot="0.5")})

    bench.on(trade(1, "99", size=5.3, side=-1), trade(2, "99", size=0.3, side=-1))

    assert got(bench) == [0.5]


def an_instrument(lot: str) -> Any:
    from engine.execution import Instrument  # noqa: PLC0415

    return Instrument(lot_size=money(lot))


def test_after_a_loss_the_order_still_rests_and_its_queue_is_what_the_new_book_shows_at_most() -> None:
    bench = resting(buy("1 BTC", limit="99"))

    bench.on(feed(1, "gap"), book_snapshot(2, [(99, 3), (98, 1)], ASKS), trade(3, "99", size=3.5, side=-1))

    assert got(bench) == [0.5]


def test_a_canceled_order_watches_no_level() -> None:
    bench = a_desk(signals=[buy("1 BTC", limit="99"), cancel()], cash="1000")
    bench.on(book_snapshot(0, BIDS, ASKS), trade(1, "100"))

    [fold] = bench.market._books.values()
    assert not fold.book.is_watched


# -- the formulas ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "power", "expected"),
    [
        ("proportional", 3.0, 3 / 4),
        ("power", 1.0, 3 / 4),
        ("power", 3.0, 27 / 28),
        ("log", 3.0, math.log(4) / (math.log(4) + math.log(2))),
    ],
)
def test_the_probability_that_a_cancellation_is_behind_us(model: str, power: float, expected: float) -> None:
    """f(back) / (f(back) + f(front)) with f(x) = x, x**n and log(1 + x), one unit in front and three behind."""
    chance = probability(model, power)
    assert chance is not None

    assert chance(1.0, 3.0) == pytest.approx(expected)
    assert chance(0.0, 0.0) == 1.0


@pytest.mark.parametrize(("model", "expected"), [("proportional", 6 - 2.4), ("power", None), ("log", None)])
def test_the_queue_shrinks_by_what_was_canceled_in_front(model: str, expected: float | None) -> None:
    """hftbacktest's ProbQueueModel: front - (1 - p) c + min(back - p c, 0), for a cancellation of c units."""
    spot = place("6", "10", model)
    chance = probability(model, 3.0)
    assert chance is not None

    spot.show(6.0)

    p = chance(6.0, 4.0)
    formula = 6 - (1 - p) * 4 + min(4 - p * 4, 0)
    assert float(spot.ahead or 0) == pytest.approx(formula)
    assert expected is None or formula == pytest.approx(expected)


def test_what_cannot_have_been_behind_us_was_in_front() -> None:
    spot = place("6", "7", "power")

    spot.show(2.0)

    assert spot.ahead is not None and spot.ahead <= Decimal(2)


def test_the_queue_is_never_longer_than_the_level() -> None:
    for model in ("conservative", "proportional", "power", "log"):
        spot = place("6", "10", model)
        spot.show(1.5)
        assert spot.ahead is not None and 0 <= spot.ahead <= Decimal("1.5")


def test_cancellations_alone_fill_nobody() -> None:
    for model in ("conservative", "proportional", "power", "log"):
        spot = place("6", "10", model)
        spot.show(0.0)
        assert spot.ahead == 0
        assert spot.trade(money("0.25")) == Decimal("0.25")
