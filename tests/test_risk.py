"""Limits that a desk sets itself: what is not sent, and what halts it."""

from typing import Any

import pytest

from engine.events import DeskHalted, OrderCanceled, OrderSubmitted, SignalRejected
from engine.money import money
from engine.risk import RiskLimits
from tests.builders import (
    ETH,
    MINUTE,
    SECOND,
    Bench,
    a_desk,
    book_snapshot,
    buy,
    clock,
    close,
    cover,
    fills,
    names_of,
    only,
    quote,
    replace,
    sell,
    short,
    the,
    trade,
)


def limited(*answers: Any, cash: str = "1000", every_ns: int = 1, latency_ns: int = 0, **limits: Any) -> Bench:
    """A desk under these limits that has answered `answers` one after the other, at 100."""
    exact = {name: money(value) if isinstance(value, str) else value for name, value in limits.items()}
    bench = a_desk(signals=list(answers), cash=cash, latency_ns=latency_ns, risk=RiskLimits(**exact))
    bench.on(*(quote(n * every_ns, "99.99", "100") for n in range(len(answers))))
    return bench


def refused(bench: Bench) -> list[str]:
    return [event.reason for event in only(bench.events, SignalRejected)]


def test_one_order_may_be_worth_so_much() -> None:
    bench = limited(buy("20 USD"), buy("20.01 USD"), buy("0.21 BTC"), short("21 USD"), max_order_notional="20")

    assert refused(bench) == ["risk: max_order_notional"] * 3


def test_a_position_may_be_worth_so_much_open_orders_included() -> None:
    bench = limited([buy("20 USD"), buy("10 USD", limit="90"), buy("1 USD")], max_position="30")

    assert refused(bench) == ["risk: max_position"]


def test_of_an_order_that_filled_in_part_only_the_rest_counts_beside_the_position() -> None:
    bench = a_desk(
        signals=[buy("2 BTC", limit="100"), buy("1 BTC")], cash="1000", risk=RiskLimits(max_position=money("310"))
    )

    bench.on(book_snapshot(0, [(99, 1)], [(100, 1), (101, 9)]), trade(1, "100.5", size=0.1))

    assert refused(bench) == []


def test_a_short_position_counts_as_a_long_one_and_symbols_for_themselves() -> None:
    bench = limited(short("30 USD"), short("1 USD"), max_position="30")
    other = a_desk(
        signals=[None, [buy("30 USD"), buy("30 USD", symbol=ETH)]], risk=RiskLimits(max_position=money("30"))
    )
    other.on(quote(0, "9", "10", ETH), quote(1, "99", "100"))

    assert refused(bench) == ["risk: max_position"]
    assert len(fills(other.events)) == 2


def test_so_many_orders_may_be_open() -> None:
    bench = limited([buy("1 USD", limit="90"), buy("1 USD", stop="110"), buy("1 USD")], max_open_orders=2)

    assert refused(bench) == ["risk: max_open_orders"]


def test_so_many_orders_may_be_sent_within_a_minute_of_tape_time() -> None:
    bench = limited(*[buy("1 USD")] * 4, max_orders_per_minute=2, every_ns=29 * SECOND)

    assert refused(bench) == ["risk: max_orders_per_minute"]
    assert [order.ts // SECOND for order in only(bench.events, OrderSubmitted)] == [0, 29, 87]


def test_what_reduces_a_position_is_never_held_back() -> None:
    tight = {"max_order_notional": "10", "max_position": "10", "max_open_orders": 1, "max_orders_per_minute": 1}
    bull = limited(buy("10 USD"), sell("5 USD"), close(), **tight)
    bear = limited(short("10 USD"), cover("5 USD"), close(), **tight)

    for bench in (bull, bear):
        assert refused(bench) == []
        assert not bench.portfolio.positions


def test_a_drawdown_halts_the_desk_and_takes_its_orders_back() -> None:
    bench = limited([buy("500 USD"), buy("1 USD", limit="50")], max_drawdown_pct="10")
    bench.on(quote(1 * SECOND, "110", "110.01"), quote(2 * SECOND, "89", "89.01"))
    assert not only(bench.events, DeskHalted)  # from 1050 at its peak to 945 would be ten per cent

    events = bench.on(quote(3 * SECOND, "88", "88.01"), clock(4 * SECOND))

    assert the(events, DeskHalted).reason == "risk: max_drawdown"
    assert the(events, OrderCanceled).reason == "desk halted"
    assert bench.portfolio.is_halted


def test_a_halted_desk_is_not_asked_again_and_keeps_its_exits() -> None:
    bench = limited(buy("500 USD", stop_loss=50.0), buy("1 USD"), max_drawdown_pct="10", every_ns=SECOND)
    bench.on(quote(2 * SECOND, "70", "70.01"), clock(3 * SECOND))
    assert only(bench.events, DeskHalted)

    events = bench.on(trade(4 * SECOND, "49"))

    assert names_of(events)[:3] == ["StopTriggered", "OrderSubmitted", "OrderFilled"]


def round_trips(*results: str) -> list[Any]:
    return [wish for _ in results for wish in (buy("100 USD"), close())]


def at_prices(results: tuple[str, ...]) -> list[Any]:
    """Quotes at which round trip after round trip wins or loses."""
    return [quote(2 * n + i, bid, "100") for n, bid in enumerate(results) for i in range(2)]


@pytest.mark.parametrize(
    ("results", "is_halted"), [(("99", "99"), True), (("99", "99.999", "99"), True), (("99",), False)]
)
def test_losses_in_a_row_halt_the_desk(results: tuple[str, ...], is_halted: bool) -> None:
    bench = a_desk(signals=round_trips(*results), cash="1000", risk=RiskLimits(max_loss_streak=2))

    bench.on(*at_prices(results))

    assert bool(only(bench.events, DeskHalted)) is is_halted
    if is_halted:
        assert the(bench.events, DeskHalted).reason == "risk: 2 losses in a row"


def test_a_win_ends_a_streak() -> None:
    trips = [buy("100 USD"), close()] * 3
    bench = a_desk(signals=trips, cash="1000", risk=RiskLimits(max_loss_streak=2))

    bench.on(*(quote(ts, bid, "100") for ts, bid in enumerate(("99", "99", "99"))), quote(3, "101", "102"))
    bench.on(quote(4, "99", "100"), quote(5, "98", "100"))

    assert len(fills(bench.events)) == 6
    assert not only(bench.events, DeskHalted)


def test_with_a_cooldown_a_streak_rests_the_desk_instead() -> None:
    wishes = [buy("100 USD"), close(), buy("100 USD"), buy("100 USD")]
    bench = a_desk(signals=wishes, cash="1000", risk=RiskLimits(max_loss_streak=1, cooldown_ns=MINUTE))

    bench.on(quote(0, "99", "100"), quote(1, "99", "100"), quote(MINUTE, "99", "100"), quote(MINUTE + 1, "99", "100"))

    assert refused(bench) == ["risk: cooling down"]
    assert len(fills(bench.events)) == 3
    assert not only(bench.events, DeskHalted)


def test_a_replacement_counts_as_the_order_whose_place_it_takes() -> None:
    bench = limited(
        buy("20 USD", limit="90"), replace("alice-1", "0.2 BTC", limit="95"), max_position="21", max_open_orders=1
    )

    assert refused(bench) == []


def test_without_limits_nothing_is_held_back() -> None:
    assert refused(limited(*[buy("10 USD")] * 50)) == []
