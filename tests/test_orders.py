"""How long orders live and how they end: times in force, cancels, replacements, and the time they are under way."""

from decimal import Decimal
from typing import Any

import pytest

from engine.events import (
    CancelSubmitted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderRested,
    OrderSubmitted,
    SignalRejected,
)
from engine.execution import ExecutionConfig, latency_ns
from tests.builders import (
    BTC,
    ETH,
    MS,
    Bench,
    a_desk,
    a_strategy,
    book_snapshot,
    buy,
    cancel,
    clock,
    close,
    cover,
    desk_of,
    fills,
    ledgers,
    lines,
    names_of,
    only,
    quote,
    replace,
    replay,
    sell,
    short,
    tape_of,
    the,
    trade,
)


def asked(*answers: Any, **rest: Any) -> Bench:
    """A desk that has answered each of `answers`, a nanosecond apart, at 99 bid and 101 asked."""
    bench = a_desk(signals=list(answers), cash="1000", **rest)
    bench.on(*(quote(ts, "99", "101") for ts in range(len(answers))))
    return bench


# -- times in force --------------------------------------------------------------------------------------------------


def test_a_gtc_order_rests_until_it_is_filled() -> None:
    bench = asked(buy("1 BTC", limit="98"))

    bench.on(*(clock(ts * 10**12) for ts in range(1, 9)))

    assert the(bench.on(trade(10**13, "97")), OrderFilled).price == 98


def test_a_gtd_order_expires_at_its_time_before_the_tick_that_shows_it() -> None:
    bench = asked(buy("1 BTC", limit="98", time_in_force="gtd", expires_at=50))
    assert bench.on(trade(49, "99")) == []

    events = bench.on(trade(60, "97"))

    assert (names_of(events), the(events, OrderExpired).ts) == (["OrderExpired"], 50)
    assert not bench.portfolio.reserves


def test_a_gtd_order_that_arrives_after_its_time_expires() -> None:
    bench = asked(buy("1 BTC", limit="98", time_in_force="gtd", expires_at=3), latency_ns=5)

    assert names_of(bench.on(clock(10))) == ["OrderExpired"]


def test_a_waiting_stop_can_expire_too() -> None:
    bench = asked(buy("1 BTC", stop="105", time_in_force="gtd", expires_at=50))

    assert names_of(bench.on(trade(60, "106"))) == ["OrderExpired"]


def test_a_gtd_order_needs_a_time() -> None:
    assert the(asked(buy("1 BTC", limit="98", time_in_force="gtd")).events, SignalRejected).reason == (
        "gtd order without expires_at"
    )


@pytest.mark.parametrize(("limit", "is_taken"), [("100.9", True), ("101", False)])
def test_post_only_rests_or_is_rejected(limit: str, is_taken: bool) -> None:
    bench = asked(buy("1 BTC", limit=limit, post_only=True))

    assert bool(only(bench.events, OrderRested)) is is_taken
    assert bool(only(bench.events, OrderRejected)) is not is_taken


# -- reduce only -----------------------------------------------------------------------------------------------------


def test_reduce_only_never_opens() -> None:
    bench = asked([buy("1 BTC", reduce_only=True), short("1 BTC", reduce_only=True)])

    assert [event.reason for event in only(bench.events, SignalRejected)] == ["no short position", "no long position"]


def test_reduce_only_never_turns_a_position() -> None:
    bull = asked(buy("1 BTC"), short("5 BTC", reduce_only=True))
    bear = asked(short("1 BTC"), buy("5 BTC", reduce_only=True))

    assert not bull.portfolio.positions and not bear.portfolio.positions
    assert [fill.side for fill in fills(bull.events)] == ["buy", "sell"]
    assert [fill.side for fill in fills(bear.events)] == ["short", "cover"]


def test_a_resting_order_that_may_only_reduce_ends_with_the_position() -> None:
    bench = asked(buy("1 BTC"), sell("1 BTC", limit="105"), close())

    events = bench.on(trade(9, "106"))

    assert names_of(events) == ["OrderCanceled"]
    assert the(events, OrderCanceled).reason == "no long position"


# -- cancels ---------------------------------------------------------------------------------------------------------


def test_a_cancel_takes_back_everything_of_the_symbol_at_the_venue() -> None:
    bench = asked([buy("1 BTC", limit="98"), sell("1 BTC", stop="90"), buy("1 BTC", stop="110")], cancel())

    assert [event.order_id for event in only(bench.events, OrderCanceled)] == ["alice-1", "alice-2", "alice-3"]
    assert not bench.portfolio.resting and not bench.portfolio.waiting and not bench.portfolio.reserves


def test_a_cancel_by_id_takes_back_that_order_alone() -> None:
    bench = asked([buy("1 BTC", limit="98"), buy("1 BTC", limit="97")], cancel(order_id="alice-2"))

    assert list(bench.portfolio.resting) == ["alice-1"]


def test_a_cancel_of_another_symbol_or_of_an_unknown_order_finds_nothing() -> None:
    for wish in (cancel(ETH), cancel(order_id="bob-1")):
        bench = asked(buy("1 BTC", limit="98"), wish)

        assert the(bench.events, SignalRejected).reason == "nothing to cancel"
        assert list(bench.portfolio.resting) == ["alice-1"]


def test_an_order_is_asked_to_be_canceled_once() -> None:
    bench = asked(buy("1 BTC", limit="98"), cancel(), cancel(), cancel_latency_ns=50)

    assert len(only(bench.events, CancelSubmitted)) == 1
    assert the(bench.events, SignalRejected).reason == "nothing to cancel"


@pytest.mark.parametrize(("seen", "expected"), [(50, "OrderFilled"), (52, "OrderCanceled")])
def test_a_cancel_takes_its_own_time_and_a_fill_may_be_quicker(seen: int, expected: str) -> None:
    bench = asked(buy("1 BTC", limit="98"), cancel(), cancel_latency_ns=50)

    assert names_of(bench.on(trade(seen, "97"))) == [expected]


def test_a_cancel_never_overtakes_its_order() -> None:
    bench = asked([buy("1 BTC", limit="98"), cancel()], latency_ns=50, cancel_latency_ns=0)

    events = bench.on(clock(60))

    assert names_of(events) == ["OrderRested", "OrderCanceled"]
    assert [event.ts for event in events] == [50, 50]


def test_what_filled_before_the_cancel_stays_filled() -> None:
    bench = a_desk(signals=[buy("2 BTC", limit="98"), cancel()], cash="1000")
    bench.on(book_snapshot(0, [(99, 1), (97, 1)], [(101, 1)]), trade(1, "98", size=0.5, side=-1), trade(2, "99"))

    assert fills(bench.events)[0].quantity == Decimal("0.5")
    assert the(bench.events, OrderCanceled).reason == "requested"
    assert bench.portfolio.available("USD") == 1000 - 49


# -- replacements ----------------------------------------------------------------------------------------------------


def test_a_replacement_takes_the_old_order_off_and_comes_in_its_place() -> None:
    bench = asked(buy("1 BTC", limit="98"), replace("alice-1", "2 BTC", limit="97"))

    assert names_of(bench.events)[-3:] == ["OrderSubmitted", "OrderCanceled", "OrderRested"]
    assert the(bench.events, OrderCanceled).reason == "replaced"
    assert [(order.side, order.quantity, order.limit_price) for order in bench.portfolio.resting.values()] == [
        ("buy", 2, 97)
    ]


def test_a_replacement_without_a_size_has_what_is_left() -> None:
    bench = a_desk(signals=[buy("2 BTC", limit="98"), replace("alice-1", limit="97")], cash="1000")
    bench.on(book_snapshot(0, [(99, 1), (96, 1)], [(101, 1)]), trade(1, "98", size=0.5, side=-1))

    assert bench.portfolio.resting["alice-2"].quantity == Decimal("1.5")


def test_an_order_and_its_replacement_set_their_money_aside_once() -> None:
    bench = a_desk(signals=[buy("9 BTC", limit="98"), replace("alice-1", "10 BTC", limit="98")], cash="1000")

    bench.on(quote(0, "99", "101"), quote(1, "99", "101"))

    assert list(bench.portfolio.resting) == ["alice-2"]
    assert bench.portfolio.available("USD") == 1000 - 980


def test_money_of_a_replacement_under_way_is_not_spent_twice() -> None:
    wishes = [buy("5 BTC", limit="98"), [replace("alice-1", "8 BTC", limit="98"), buy("3 BTC", limit="98")]]
    bench = a_desk(signals=wishes, cash="1000", latency_ns=5)
    bench.on(quote(0, "99", "101"), quote(10, "99", "101"))

    assert the(bench.events, SignalRejected).reason == "insufficient cash"
    assert bench.portfolio.available("USD") == 1000 - 8 * 98


def test_a_replacement_that_comes_too_late_is_rejected() -> None:
    bench = a_desk(signals=[buy("1 BTC", limit="98"), replace("alice-1", limit="97")], cash="1000", latency_ns=5)
    bench.on(quote(0, "99", "101"), quote(10, "99", "101"), trade(12, "97.5"))

    events = bench.on(clock(20))

    assert the(events, OrderRejected).reason == "nothing to replace"
    assert not bench.portfolio.resting and not bench.portfolio.reserves


def test_of_what_is_not_there_nothing_can_be_replaced_and_of_one_order_only_once() -> None:
    unknown = asked(replace("bob-1", limit="97"))
    twice = asked(
        buy("1 BTC", limit="98"), [replace("alice-1", limit="97"), replace("alice-1", limit="96")], latency_ns=5
    )

    for bench in (unknown, twice):
        assert the(bench.events, SignalRejected).reason == "nothing to replace"


# -- the time under way ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jitter", ["uniform", "exponential"])
def test_jitter_is_drawn_from_the_seed_and_the_name_of_the_order(jitter: str) -> None:
    config = ExecutionConfig(latency_ns=50 * MS, jitter_ns=10 * MS, jitter=jitter)
    drawn = [latency_ns(config, f"alice-{n}") for n in range(2_000)]

    again = [latency_ns(config, f"alice-{n}") for n in range(2_000)]
    others = [latency_ns(ExecutionConfig(**as_dict(config) | {"jitter_seed": 1}), f"alice-{n}") for n in range(2_000)]

    assert drawn == again != others
    assert min(drawn) >= 50 * MS
    mean_ms = sum(drawn) / len(drawn) / MS - 50
    assert mean_ms == pytest.approx(5 if jitter == "uniform" else 10, rel=0.1)
    assert (max(drawn) <= 60 * MS) is (jitter == "uniform")


def as_dict(config: ExecutionConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__struct_fields__}


def test_without_jitter_every_order_takes_the_same_time_and_a_cancel_its_own() -> None:
    config = ExecutionConfig(latency_ns=7, cancel_latency_ns=3)

    assert {latency_ns(config, f"alice-{n}") for n in range(9)} == {7}
    assert latency_ns(config, "alice-1 cancel", is_cancel=True) == 3
    assert latency_ns(ExecutionConfig(latency_ns=7), "alice-1 cancel", is_cancel=True) == 7


def test_jittered_orders_may_overtake_each_other_and_replay_the_same() -> None:
    tape = tape_of(*(quote(ts * 10 * MS, "99", "101") for ts in range(40)))

    def desk(name: str) -> Any:
        strategy = a_strategy(signals=[buy("1 USD")] * 20, name=name)
        return desk_of(strategy, latency_ns=MS, jitter_ns=100 * MS)

    alone = ledgers(replay([desk("alice")], tape))
    beside = ledgers(replay([desk("aaron"), desk("alice")], tape))
    events = replay([desk("alice")], tape)
    numbers = [int(fill.order_id.removeprefix("alice-")) for fill in fills(events)]

    assert alone["alice"] == beside["alice"]
    assert sorted(numbers) != numbers
    assert lines(events) == lines(replay([desk("alice")], tape))


# -- what a strategy sees of them ------------------------------------------------------------------------------------


def test_open_orders_show_what_is_left_and_what_they_wait_for() -> None:
    seen: list[Any] = []

    def decide(data: Any, portfolio: Any) -> Any:
        seen.append([(order.order_id, order.quantity, order.stop_price) for order in portfolio.open_orders])
        return [buy("2 BTC", limit="98"), buy("1 BTC", stop="110")] if len(seen) == 1 else None

    bench = a_desk(decide, wants=("data", "portfolio"), cash="1000")
    bench.on(book_snapshot(0, [(99, 1), (97, 1)], [(101, 1)]), trade(1, "98", size=0.5, side=-1))

    assert seen[1][0][:2] == ("alice-1", 1.5)
    assert seen[1][1] == ("alice-2", 1.0, 110.0)


def test_an_order_of_one_side_does_not_cover_or_sell_beyond_what_there_is() -> None:
    bench = asked(short("1 BTC"), [cover("0.6 BTC", limit="95"), cover("0.6 BTC", limit="95")])

    bench.on(trade(5, "94"))

    assert [fill.quantity for fill in fills(bench.events)[1:]] == [Decimal("0.6"), Decimal("0.4")]
    assert not bench.portfolio.position(BTC).quantity
    assert not bench.portfolio.resting


def test_a_submitted_order_carries_its_terms() -> None:
    order = the(asked(buy("1 BTC", limit="98", time_in_force="gtd", expires_at=99)).events, OrderSubmitted)

    assert (order.limit_price, order.time_in_force, order.expires_at, order.reserved) == (98, "gtd", 99, 98)
