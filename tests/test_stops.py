"""Orders that wait for a price, the exits of a position, and which price it is that they wait for."""

from decimal import Decimal
from typing import Any

import pytest

from engine.events import OrderFilled, OrderRested, OrderSubmitted, SignalRejected, StopTriggered
from engine.signals import Signal
from tests.builders import (
    BTC,
    Bench,
    Message,
    a_desk,
    book_snapshot,
    buy,
    close,
    cover,
    feed,
    fills,
    names_of,
    only,
    quote,
    sell,
    short,
    the,
    trade,
)


def waiting(*signals: Any, **rest: Any) -> Bench:
    """A desk that has 1 BTC, bought at 100, and has sent `signals` since."""
    bench = a_desk(signals=[buy("1 BTC"), list(signals)], cash="1000", **rest)
    bench.on(quote(0, "99", "100"), quote(1, "99", "100"))
    return bench


@pytest.mark.parametrize(
    ("signal", "before", "reached", "price"),
    [
        (sell("1 BTC", stop="95"), "95.1", "95", 94),
        (buy("1 BTC", stop="105"), "104.9", "105", 106),
        (sell("1 BTC", target="110"), "109.9", "110", 109),
        (buy("1 BTC", target="90"), "90.1", "90", 91),
    ],
)
def test_a_stop_waits_for_its_price_and_then_trades_at_the_market(
    signal: Signal, before: str, reached: str, price: int
) -> None:
    bench = waiting(signal)
    unmoved = bench.on(trade(2, before))
    bench.on(quote(3, str(int(reached) - 1), str(int(reached) + 1)))

    events = bench.on(trade(4, reached))

    assert unmoved == []
    assert names_of(events) == ["StopTriggered", "OrderFilled"]
    assert the(events, StopTriggered).price == Decimal(reached)
    assert the(events, OrderFilled).price == price


@pytest.mark.parametrize(
    ("signal", "side", "price"),
    [
        (buy("1 BTC", stop="105"), 1, 106),
        (sell("1 BTC", stop="95"), -1, 94),
        (buy("1 BTC", stop="105"), -1, 100),
        (sell("1 BTC", stop="95"), 1, 99),
    ],
)
def test_a_stop_that_a_sweep_triggers_gets_nothing_of_what_the_sweep_has_taken(
    signal: Signal, side: int, price: int
) -> None:
    bench = waiting(signal)  # the touch of 99 and 100 is still the last that the venue spoke of

    events = bench.on(trade(2, "106" if signal.action == "buy" else "94", side=side))

    assert the(events, OrderFilled).price == price


def test_what_a_sweep_left_is_known_from_one_batch_to_the_next_until_the_venue_speaks() -> None:
    bench = a_desk(signals=[buy("1 BTC")], trigger="trade", cash="1000", latency_ns=10)
    bench.on(book_snapshot(0, [(99, 1)], [(101, 2), (103, 2), (104, 1)]))
    bench.on(trade(1, "103", side=1))

    before = the(bench.on(quote(12, "99", "105")), OrderFilled)

    assert (before.price, before.mid_at_arrival) == (103, 101)


def test_a_stop_is_at_the_venue_already_and_triggers_without_latency() -> None:
    bench = waiting(sell("1 BTC", stop="95"), latency_ns=5)
    bench.on(quote(10, "99", "100"), trade(20, "94"))

    assert fills(bench.events)[-1].ts == 20


def test_a_stop_whose_price_has_been_passed_when_it_arrives_triggers_at_once() -> None:
    bench = a_desk(signals=[[buy("1 BTC"), sell("1 BTC", stop="101")]], cash="1000")

    events = bench.on(trade(0, "100"))

    assert names_of(events)[-3:] == ["OrderRested", "StopTriggered", "OrderFilled"]


def test_a_stop_limit_rests_at_its_limit_once_it_is_reached() -> None:
    bench = waiting(sell("1 BTC", stop="95", limit="99.5"))

    events = bench.on(trade(2, "95"))
    filled = bench.on(trade(3, "99.6"))

    assert names_of(events) == ["StopTriggered", "OrderRested"]
    assert (the(filled, OrderFilled).price, the(filled, OrderFilled).liquidity) == (Decimal("99.5"), "maker")


def test_a_stop_limit_takes_what_is_within_its_limit() -> None:
    bench = waiting(sell("1 BTC", stop="95", limit="98"))

    assert the(bench.on(trade(2, "95")), OrderFilled).liquidity == "taker"


def test_a_trailing_stop_follows_the_best_price_and_never_goes_back() -> None:
    bench = waiting(sell("1 BTC", trail_bps=100.0))
    held = bench.on(*(trade(ts, price) for ts, price in enumerate(("100", "120", "119", "118.81"), start=2)))

    triggered = the(bench.on(trade(9, "118.8")), StopTriggered)

    assert not only(held, StopTriggered)
    assert (triggered.level, triggered.kind) == (Decimal("118.8"), "trailing_stop")


def test_a_trailing_stop_that_buys_follows_the_price_down() -> None:
    bench = waiting(buy("1 BTC", trail_bps=1000.0))
    bench.on(trade(2, "100"), trade(3, "80"), trade(4, "87.9"))

    assert the(bench.on(trade(5, "88")), StopTriggered).level == 88


@pytest.mark.parametrize(
    ("trigger", "too_early", "reached"),
    [
        ("last", [quote(2, "90", "91"), quote(3, "94.9", "95.1")], trade(4, "95")),
        ("touch", [trade(2, "90"), quote(3, "95.1", "95.2")], quote(4, "95", "95.2")),
        ("mid", [trade(2, "90"), quote(3, "94", "96.2")], quote(4, "94", "96")),
    ],
)
def test_the_price_that_reaches_a_stop_is_the_configured_one(
    trigger: str, too_early: list[Message], reached: Message
) -> None:
    for signals in ([sell("1 BTC", stop="95")], []):
        exits = {} if signals else {"stop_loss": 95.0}
        bench = a_desk(signals=[buy("1 BTC", **exits), signals or None], cash="1000", stop_trigger=trigger)
        bench.on(trade(0, "99.5"), quote(0, "99", "100"), *too_early)

        assert not only(bench.events, StopTriggered)
        assert the(bench.on(reached), StopTriggered).price == 95


def test_a_stop_that_buys_looks_at_the_ask_where_the_touch_triggers() -> None:
    bench = a_desk(signals=[None, buy("1 BTC", stop="105")], cash="1000", stop_trigger="touch")
    bench.on(trade(0, "100"), quote(1, "99", "100"), quote(2, "104.9", "104.95"))

    assert the(bench.on(quote(3, "104", "105")), StopTriggered).price == 105


def test_without_trades_on_the_feed_the_touch_stands_in_for_them() -> None:
    bench = waiting(sell("1 BTC", stop="95"))

    assert the(bench.on(quote(2, "95", "96")), StopTriggered).price == 95


@pytest.mark.parametrize(
    ("opening", "message", "kind"),
    [
        (buy("1 BTC", take_profit=105.0), quote(1, "106", None), "take_profit"),
        (buy("1 BTC", stop_loss=95.0), quote(1, "94", None), "stop_loss"),
        (short("1 BTC", take_profit=95.0), quote(1, None, "94"), "take_profit"),
        (short("1 BTC", stop_loss=105.0), quote(1, None, "106"), "stop_loss"),
    ],
)
def test_one_side_of_the_market_is_enough_to_reach_an_exit(opening: Signal, message: Message, kind: str) -> None:
    bench = a_desk(signals=[opening], cash="1000")
    bench.on(quote(0, "99", "100"))

    assert the(bench.on(message), StopTriggered).kind == kind


def test_nothing_triggers_on_a_crossed_or_a_lost_market() -> None:
    bench = waiting(sell("1 BTC", stop="95"))

    assert bench.on(quote(2, "101", "100"), trade(3, "90"), feed(4, "gap"), trade(5, "90")) == []


def test_a_stop_by_notional_sells_what_that_is_worth_at_its_stop_price() -> None:
    bench = waiting(sell("47.5 USD", stop="95"))

    assert the(bench.on(trade(2, "95")), OrderFilled).quantity == Decimal("0.5")


def test_a_triggered_stop_that_exhausts_the_book_is_canceled() -> None:
    bench = a_desk(signals=[buy("9 BTC", stop="105")], cash="10000")
    bench.on(book_snapshot(0, [(99, 1)], [(101, 2), (106, 2)]))

    events = bench.on(trade(1, "105"))

    assert names_of(events) == ["StopTriggered", "OrderFilled", "OrderCanceled"]
    assert the(events, OrderFilled).price == 106
    assert not bench.portfolio.reserves


def test_a_stop_reserves_what_it_would_spend() -> None:
    bench = a_desk(signals=[[buy("9 BTC", stop="105"), buy("1 BTC")]], cash="1000")

    events = bench.on(quote(0, "99", "100"))

    assert the(events, SignalRejected).reason == "insufficient cash"
    assert bench.portfolio.available("USD") == 1000 - 9 * 105


def test_a_waiting_order_shows_no_place_in_a_queue() -> None:
    assert the(waiting(sell("1 BTC", stop="95")).events, OrderRested).queue_ahead is None


# -- exits: one cancels the other ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("price", "kind"), [("94", "stop_loss"), ("111", "take_profit")])
def test_of_a_stop_loss_and_a_take_profit_the_first_that_is_reached_ends_both(price: str, kind: str) -> None:
    bench = a_desk(signals=[buy("1 BTC", stop_loss=95.0, take_profit=110.0)], cash="1000")
    bench.on(quote(0, "99", "100"))

    events = bench.on(trade(1, price), trade(2, "90"), trade(3, "120"))

    assert [triggered.kind for triggered in only(events, StopTriggered)] == [kind]
    assert len(fills(events)) == 1
    assert not bench.portfolio.positions and not bench.portfolio.exits


def test_the_exits_of_a_short_are_on_the_other_side() -> None:
    for price, kind in (("106", "stop_loss"), ("89", "take_profit")):
        bench = a_desk(signals=[short("1 BTC", stop_loss=105.0, take_profit=90.0)], cash="1000")
        bench.on(quote(0, "99", "100"))

        events = bench.on(trade(1, price))

        assert the(events, StopTriggered).kind == kind
        assert the(events, OrderSubmitted).side == "cover"


def test_an_exit_sends_its_order_from_here_so_it_takes_the_latency() -> None:
    bench = a_desk(signals=[buy("1 BTC", stop_loss=95.0)], cash="1000", latency_ns=5)
    bench.on(quote(0, "99", "100"), trade(10, "94"), quote(12, "80", "81"))

    filled = fills(bench.on(quote(20, "70", "71")))[-1]

    assert (filled.ts, filled.price) == (15, 80)


def test_a_position_closed_by_hand_leaves_no_exit_behind() -> None:
    bench = a_desk(signals=[buy("1 BTC", stop_loss=95.0), close()], cash="1000")
    bench.on(quote(0, "99", "100"), quote(1, "99", "100"))

    assert bench.on(trade(2, "90")) == []


def test_a_part_that_filled_has_its_exits_while_the_rest_still_waits() -> None:
    bench = a_desk(signals=[buy("5 BTC", limit="101", stop_loss=95.0)], cash="1000")
    bench.on(book_snapshot(0, [(99, 9)], [(101, 2)]))

    events = bench.on(trade(1, "94.9", size=0.1, side=1))

    assert the(events, StopTriggered).kind == "stop_loss" and fills(events)[-1].quantity >= 2


def test_exits_of_a_later_signal_replace_the_earlier_ones() -> None:
    bench = a_desk(signals=[buy("1 BTC", stop_loss=95.0), buy("1 BTC", stop_loss=90.0)], cash="1000")
    bench.on(quote(0, "99", "100"), quote(1, "99", "100"))

    assert bench.on(trade(2, "94")) == []
    assert fills(bench.on(trade(3, "90")))[0].quantity == 2


def test_an_exit_that_finds_its_money_spent_elsewhere_is_not_tried_again_and_again() -> None:
    eth_btc = "ETH/BTC"
    bench = a_desk(signals=[None, buy("1 BTC", stop_loss=95.0), buy("1 BTC", symbol=eth_btc)], cash="1000")
    bench.on(quote(0, "0.09", "0.1", eth_btc), quote(1, "99", "100"), quote(2, "99", "100"))

    events = bench.on(*(trade(ts, "90") for ts in range(3, 9)))

    assert bench.portfolio.balance("BTC") == 0
    assert names_of(events) == ["StopTriggered", "OrderSubmitted", "OrderRejected"]


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        (Signal("buy", BTC, 1.0, order_type="stop"), "stop order without a stop price"),
        (Signal("buy", BTC, 1.0, order_type="stop_limit", stop_price=9.0), "stop_limit order without a limit price"),
        (Signal("buy", BTC, 1.0, order_type="take_profit", stop_price=-1.0), "take_profit order without a stop price"),
        (buy("1 BTC", trail_bps=0.0), "trailing_stop order without trail_bps between 0 and 10000"),
        (buy("1 BTC", trail_bps=10_000.0), "trailing_stop order without trail_bps between 0 and 10000"),
        (buy("1 BTC", stop="105", post_only=True), "stop order that is post_only, ioc or fok"),
        (buy("1 BTC", stop="105", time_in_force="ioc"), "stop order that is post_only, ioc or fok"),
    ],
)
def test_a_stop_whose_terms_make_no_sense_is_rejected(signal: Signal, reason: str) -> None:
    bench = a_desk(signals=[signal], cash="1000")

    assert the(bench.on(quote(0, "99", "100")), SignalRejected).reason == reason


def test_a_stop_that_covers_a_short_buys_it_back() -> None:
    bench = a_desk(signals=[short("1 BTC"), cover("1 BTC", stop="105")], cash="1000")
    bench.on(quote(0, "99", "100"), quote(1, "99", "100"), trade(2, "105"))

    assert not bench.portfolio.positions
