"""From a signal to an order that the desk can afford and the venue takes, or the reason why not."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.events import OrderRejected, OrderSubmitted, SignalRejected
from engine.signals import Signal
from tests.builders import (
    BTC,
    ETH,
    ETH_BTC,
    Bench,
    a_desk,
    buy,
    close,
    cover,
    feed,
    fills,
    instrument,
    only,
    quote,
    sell,
    short,
    the,
    trade,
)


def asked(*signals: Any, **rest: Any) -> Bench:
    """A desk that has wanted all `signals` at once, at 99 bid and 100 asked."""
    bench = a_desk(signals=[list(signals)], **rest)
    bench.on(quote(0, "99", "100"))
    return bench


def reasons(bench: Bench) -> list[str]:
    return [event.reason for event in only(bench.events, SignalRejected)]


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        (Signal("hodl", BTC, 1.0), "unknown action 'hodl'"),
        (Signal("buy", BTC, 1.0, order_type="iceberg"), "unsupported order type 'iceberg'"),
        (Signal("buy", BTC, 1.0, time_in_force="day"), "unsupported time in force 'day'"),
        (Signal("buy", BTC, 1.0, size_in="lots"), "unknown size_in 'lots'"),
        (Signal("buy", BTC, 0.0), "invalid size"),
        (Signal("buy", BTC, 1.0, order_type="limit"), "limit order without a limit price"),
        (buy("1 USD", limit="-5"), "invalid limit_price"),
        (buy("1 USD", stop_loss=float("nan")), "invalid stop_loss"),
        (buy("1 USD", take_profit=0.0), "invalid take_profit"),
        (buy("1 USD", symbol="DOGE/USD"), "unknown symbol"),
        (sell("1 USD"), "no long position"),
        (cover("1 USD"), "no short position"),
        (close(), "no position to close"),
        (buy("101 USD"), "insufficient cash"),
        (buy("1.01 BTC"), "insufficient cash"),
        (short("101 USD"), "insufficient collateral"),
        (buy("0.0000001 USD"), "below minimum quantity"),
    ],
)
def test_a_signal_that_cannot_become_an_order_says_why(signal: Signal, reason: str) -> None:
    assert reasons(asked(signal)) == [reason]


def test_a_side_that_nobody_quotes_gives_no_market_order() -> None:
    bench = a_desk(signals=[buy("10 USD"), short("10 USD")])

    bench.on(quote(0, "99", None), quote(1, None, "100"))

    assert reasons(bench) == ["no ask", "no bid"]


def test_size_is_in_quote_currency_unless_it_says_base() -> None:
    first, second = only(asked(buy("10 USD"), buy("0.1 BTC")).events, OrderSubmitted)

    assert (first.notional, first.quantity) == (10, None)
    assert (second.notional, second.quantity) == (None, Decimal("0.1"))


def test_open_buy_orders_reserve_what_they_may_spend() -> None:
    assert reasons(asked(buy("60 USD", limit="90"), buy("60 USD", limit="80"))) == ["insufficient cash"]
    assert reasons(asked(buy("60 USD"), buy("60 USD"), latency_ns=5)) == ["insufficient cash"]


def test_an_order_for_more_than_is_left_on_arrival_is_rejected() -> None:
    bench = asked(buy("0.9 BTC"), latency_ns=5)

    bench.on(quote(3, "119", "120"), quote(9, "119", "120"))

    assert the(bench.events, OrderRejected).reason == "insufficient cash"


def test_an_order_by_notional_buys_less_when_the_price_has_risen() -> None:
    bench = asked(buy("90 USD"), latency_ns=5)

    bench.on(quote(3, "119", "120"), quote(9, "119", "120"))

    assert [fill.quantity for fill in fills(bench.events)] == [Decimal("0.75")]


def test_a_sell_never_goes_short_and_a_cover_never_long() -> None:
    bull, bear = a_desk(signals=[buy("0.5 BTC"), sell("2 BTC")]), a_desk(signals=[short("0.5 BTC"), cover("2 BTC")])

    for bench in (bull, bear):
        bench.on(quote(0, "99", "100"), quote(1, "99", "100"))

        assert [fill.quantity for fill in fills(bench.events)] == [Decimal("0.5"), Decimal("0.5")]
        assert not bench.portfolio.positions


def test_what_is_still_on_its_way_can_be_sold_or_covered() -> None:
    bull, bear = asked(buy("0.5 BTC"), sell("0.4 BTC")), asked(short("0.5 BTC"), cover("0.4 BTC"))

    assert [fill.position for fill in fills(bull.events)] == [Decimal("0.5"), Decimal("0.1")]
    assert [fill.position for fill in fills(bear.events)] == [Decimal("-0.5"), Decimal("-0.1")]


def test_close_closes_a_long_and_a_short_whole() -> None:
    for opening in (buy("0.37 BTC"), short("0.37 BTC")):
        bench = a_desk(signals=[opening, close()])
        bench.on(quote(0, "99", "100"), quote(1, "99", "100"))

        assert not bench.portfolio.positions


def test_shorts_need_collateral_up_to_the_equity_together() -> None:
    assert reasons(asked(short("60 USD"), short("30 USD"))) == []
    both = a_desk(signals=[short("60 USD"), short("60 USD")])
    both.on(quote(0, "99", "100"), quote(1, "99", "100"))

    assert reasons(both) == ["insufficient collateral"]


def test_the_proceeds_of_a_short_do_not_buy_something_else() -> None:
    bench = a_desk(signals=[None, short("50 USD"), buy("60 USD", symbol=ETH)])

    bench.on(quote(0, "9", "10", ETH), quote(1, "100", "100.01"), quote(2, "100", "100.01"))

    assert reasons(bench) == ["insufficient cash"]


def test_a_limit_price_moves_to_the_grid_on_our_better_side() -> None:
    bench = a_desk(signals=[None, [buy("10 USD", limit="98.77"), short("10 USD", limit="101.23")]])

    bench.on(instrument(0, tick_size="0.5"), quote(1, "99", "100"), quote(2, "99", "100"))

    assert [order.limit_price for order in only(bench.events, OrderSubmitted)] == [Decimal("98.5"), Decimal("101.5")]


def test_what_is_not_a_rule_falls_back_to_none() -> None:
    bench = a_desk(signals=[buy("10 USD")])

    bench.on(instrument(0, lot_size="x", tick_size="-1", min_notional="NaN"), quote(1, "99", "100"))

    assert fills(bench.events)


def test_shorting_against_a_holding_without_a_price_is_refused() -> None:
    bench = a_desk(signals=[buy("10 USD"), None, short("0.001 BTC", symbol=ETH_BTC)], currency="USD")
    bench.on(quote(0, "99", "100"), quote(1, "0.09", "0.1", ETH_BTC), quote(2, "0.09", "0.1", ETH_BTC))

    assert reasons(bench) == []
    assert fills(bench.events)[-1].rate == Decimal("99.5")


def test_a_stop_loss_beyond_the_price_is_kept_and_reached_at_once() -> None:
    bench = asked(msgspec.structs.replace(buy("10 USD"), stop_loss=150.0))

    bench.on(trade(1, "100"))

    assert [fill.side for fill in fills(bench.events)] == ["buy", "sell"]


def test_a_lost_market_takes_no_order() -> None:
    bench = a_desk(signals=[None, buy("10 USD", symbol=ETH)])

    bench.on(quote(0, "9", "10", ETH), feed(1, "gap", ETH), quote(2, "99", "100"))

    assert reasons(bench) == ["stale market"]
