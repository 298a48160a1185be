"""Shorts are owed, collateral is pledged, and what is no longer covered is bought back."""

from decimal import Decimal
from typing import Any

import pytest

from engine.events import MarginCalled, OrderCanceled, OrderSubmitted, PortfolioMarked, SignalRejected
from engine.money import money
from tests.builders import (
    ETH,
    SECOND,
    Bench,
    a_desk,
    a_strategy,
    book_snapshot,
    buy,
    clock,
    close,
    cover,
    desk_of,
    feed,
    fills,
    lines,
    names_of,
    only,
    quote,
    replay,
    short,
    tape_of,
    the,
    trade,
)


def bear(*signals: Any, leverage: str = "1", ratio: str = "0.3", **rest: Any) -> Bench:
    """A desk of $100 that has answered `signals` at 100 for either side."""
    terms = {"max_short_leverage": money(leverage), "maintenance_ratio": money(ratio)}
    bench = a_desk(signals=[list(signals)], **terms, **rest)
    bench.on(quote(0, "100", "100.0001"))
    return bench


def test_a_short_leaves_a_debt_of_base_and_the_proceeds_in_cash() -> None:
    bench = bear(short("0.5 BTC"))

    assert bench.portfolio.balances == {"USD": 150, "BTC": Decimal("-0.5")}
    assert bench.portfolio.position("BTC/USD").cost == -50


@pytest.mark.parametrize(("leverage", "most"), [("0.5", "50"), ("1", "100"), ("3", "300")])
def test_shorts_may_be_worth_so_many_times_the_equity(leverage: str, most: str) -> None:
    within, beyond = bear(short(f"{most} USD"), leverage=leverage), bear(short("301 USD"), leverage=leverage)

    assert len(fills(within.events)) == 1
    assert the(beyond.events, SignalRejected).reason == "insufficient collateral"


def test_a_rise_below_the_maintenance_ratio_calls_and_buys_everything_back() -> None:
    bench = bear(short("100 USD"))
    before = bench.on(quote(1, "153.7", "153.9"))  # equity 200 - 153.8 = 46.2 covers 0.3 x 153.8 = 46.14

    events = bench.on(quote(2, "153.8", "154.0"))

    assert before == []
    assert names_of(events) == ["MarginCalled", "OrderSubmitted", "OrderFilled"]
    called = the(events, MarginCalled)
    assert (called.equity, called.required) == (Decimal("46.1"), Decimal("46.17"))
    assert (the(events, OrderSubmitted).purpose, the(events, OrderSubmitted).side) == ("liquidation", "cover")
    assert not bench.portfolio.positions


def test_a_trade_alone_calls_nothing_while_there_is_a_quote() -> None:
    bench = bear(short("100 USD"))

    assert bench.on(trade(1, "190")) == []


def test_the_venue_liquidates_without_latency() -> None:
    bench = bear(short("100 USD"), latency_ns=50)
    bench.on(quote(60, "100", "100.0001"))

    assert fills(bench.on(quote(70, "160", "160.1")))[0].ts == 70


def test_a_margin_call_takes_back_what_rests_before_it_buys() -> None:
    bench = a_desk(signals=[short("100 USD"), cover("0.1 BTC", limit="50")])
    bench.on(quote(0, "100", "100.0001"), quote(1, "100", "100.0001"))

    events = bench.on(quote(2, "160", "160.1"))

    assert names_of(events) == ["MarginCalled", "OrderCanceled", "OrderSubmitted", "OrderFilled"]
    assert the(events, OrderCanceled).reason == "margin call"


def test_a_liquidation_walks_the_book_and_may_end_below_zero() -> None:
    bench = a_desk(signals=[short("300 USD")], max_short_leverage=money("3"), maintenance_ratio=money("0.3"))
    bench.on(book_snapshot(0, [(100, 9)], [("100.1", 9)]))

    events = bench.on(book_snapshot(1, [(130, 1)], [(131, 1), (150, 9)]))

    assert [float(fill.price) for fill in fills(events)] == [131, 150]
    assert bench.portfolio.cash() == 400 - 131 - 300
    assert not bench.portfolio.positions


def test_a_stale_market_calls_only_when_it_speaks_again() -> None:
    bench = bear(short("100 USD"))

    assert not only(bench.on(feed(1, "gap"), trade(2, "190"), clock(3 * SECOND)), MarginCalled)
    assert the(bench.on(quote(4 * SECOND, "190", "190.1")), MarginCalled)


def test_a_fall_of_what_else_is_held_calls_at_the_next_mark() -> None:
    """Another symbol's price moves the equity too; it is looked at every second, as marks are."""
    bench = a_desk(
        signals=[None, buy("100 USD", symbol=ETH), short("40 USD")],
        max_short_leverage=money("2"),
        maintenance_ratio=money("0.9"),
    )
    bench.on(quote(0, "100", "100.0001"), quote(1, "9.99", "10", ETH), quote(2, "100", "100.0001"))
    assert bench.portfolio.has_shorts()

    events = bench.on(quote(3, "3", "3.01", ETH), clock(2 * SECOND))

    assert the(events, MarginCalled)


def test_the_shortcuts_see_a_margin_call_where_walking_every_row_does() -> None:
    tape = tape_of(
        quote(0, "100", "100.0001"),
        *(quote(ts * 10**8, 100 + ts, 100.1 + ts) for ts in range(1, 80)),
    )

    def run(walk_every_row: bool) -> list[str]:
        desk = desk_of(a_strategy(signals=[short("100 USD")]))
        return lines(replay([desk], tape, walk_every_row=walk_every_row))

    assert run(False) == run(True)
    assert any("MarginCalled" in line for line in run(False))


def test_covering_at_a_loss_realizes_it_and_frees_the_collateral() -> None:
    bench = a_desk(signals=[short("50 USD"), close(), buy("75 USD")])

    bench.on(quote(0, "100", "100.1"), quote(1, "149.9", "150"), quote(2, "149.9", "150"))

    assert [fill.realized for fill in fills(bench.events)] == [0, -25, 0]
    assert bench.portfolio.cash() == 0


# -- equity ----------------------------------------------------------------------------------------------------------


def test_equity_without_any_conversion_is_null_with_the_reason() -> None:
    bench = a_desk()
    bench.on(quote(0, "99", "100"))
    bench.portfolio.balances["DOGE"] = money("5")  # as if it had come from elsewhere: no market here names it

    marked = the(bench.finish(), PortfolioMarked)

    assert (marked.equity, marked.unknown) == (None, "DOGE")


def test_collateral_without_a_known_price_shorts_nothing() -> None:
    bench = a_desk(signals=[short("1 USD")], currency="EUR")

    bench.on(quote(0, "99", "100"))

    assert the(bench.events, SignalRejected).reason == "no price to value the collateral"


def test_a_long_desk_is_never_called() -> None:
    bench = a_desk(signals=[buy("100 USD")])

    bench.on(quote(0, "99", "100"), quote(1, "1", "2"), clock(9 * SECOND))

    assert not only(bench.events, MarginCalled)
