"""What trading costs: fees and rebates, in which asset; spread and slippage; and what a venue accepts at all."""

from decimal import Decimal
from typing import Any

import pytest

from engine.events import OrderFilled, SignalRejected
from engine.execution import Instrument
from engine.money import money
from tests.builders import (
    BTC,
    Bench,
    a_desk,
    book_snapshot,
    buy,
    close,
    cover,
    fills,
    instrument,
    only,
    quote,
    sell,
    short,
    the,
    trade,
)


def traded(*answers: Any, cash: str = "1000", **rest: Any) -> Bench:
    """A desk that has answered each of `answers`, a nanosecond apart, at 99 bid and 101 asked."""
    bench = a_desk(signals=list(answers), cash=cash, **rest)
    bench.on(*(quote(ts, "99", "101") for ts in range(len(answers))))
    return bench


# -- fees ------------------------------------------------------------------------------------------------------------


def test_a_rebate_is_a_negative_fee_and_comes_into_cash() -> None:
    bench = traded(buy("1 BTC", limit="98"), maker_bps="-2", taker_bps="9")
    filled = the(bench.on(trade(5, "97")), OrderFilled)

    assert (filled.fee, filled.realized) == (Decimal("-0.0196"), Decimal("0.0196"))
    assert bench.portfolio.cash() == 1000 - 98 + Decimal("0.0196")


def test_both_sides_pay_in_quote_currency_by_default() -> None:
    bought, sold = fills(traded(buy("1 BTC"), close(), taker_bps="100").events)

    assert (bought.fee, sold.fee) == (Decimal("1.01"), Decimal("0.99"))
    assert (bought.fee_base, sold.fee_base) == (None, None)
    assert bought.cash == 1000 - 101 - Decimal("1.01")


def test_where_the_fee_is_kept_back_from_what_is_received_a_buy_gets_less_and_pays_no_more() -> None:
    bench = traded(buy("1 BTC"), fee_in="received", taker_bps="100")
    [bought] = fills(bench.events)

    assert (bought.quantity, bought.fee_base, bought.fee) == (1, Decimal("0.01"), Decimal("1.01"))
    assert (bought.position, bought.cash) == (Decimal("0.99"), 1000 - 101)
    assert bench.portfolio.balance("BTC") == Decimal("0.99")
    assert bought.cash == 1000 + bought.realized - bought.cost
    assert bought.realized == -bought.fee


def test_where_the_fee_is_kept_back_a_sale_pays_in_quote_currency_and_a_round_trip_ends_flat() -> None:
    bench = traded(buy("1 BTC"), close(), fee_in="received", taker_bps="100")
    bought, sold = fills(bench.events)

    assert (sold.quantity, sold.fee_base, sold.fee) == (Decimal("0.99"), None, Decimal("0.9801"))
    assert not bench.portfolio.positions and bench.portfolio.balance("BTC") == 0
    assert bench.portfolio.cash() == 1000 + bought.realized + sold.realized


def test_a_short_is_covered_whole_where_fees_are_kept_back() -> None:
    bench = traded(short("1 BTC"), cover("1 BTC"), fee_in="received", taker_bps="100")

    assert not bench.portfolio.positions
    assert [fill.fee_base for fill in fills(bench.events)] == [None, None]


def test_an_all_in_buy_spends_everything_where_the_fee_is_kept_back() -> None:
    [bought] = fills(traded(buy("101 USD"), cash="101", fee_in="received", taker_bps="100").events)

    assert (bought.quantity, bought.cash) == (1, 0)


def test_a_rebate_in_what_is_received_is_more_of_it() -> None:
    bench = traded(buy("1 BTC", limit="98"), fee_in="received", maker_bps="-10")
    filled = the(bench.on(trade(5, "97")), OrderFilled)

    assert (filled.fee_base, filled.position) == (Decimal("-0.001"), Decimal("1.001"))
    assert filled.cash == 1000 + filled.realized - filled.cost


# -- spread and slippage ---------------------------------------------------------------------------------------------


def test_a_taker_pays_half_the_spread_on_either_side() -> None:
    bought, sold = fills(traded(buy("2 BTC"), close()).events)

    assert (bought.spread_cost, sold.spread_cost) == (2, 2)
    assert (bought.slippage_cost, sold.slippage_cost) == (None, None)


def test_a_maker_earns_what_a_taker_pays() -> None:
    bench = traded(buy("1 BTC", limit="99.5"))

    filled = the(bench.on(trade(5, "99.4")), OrderFilled)

    assert (filled.mid_at_arrival, filled.spread_cost) == (100.0, Decimal("-0.5"))


def test_what_lies_beyond_the_touch_is_slippage_whether_configured_or_walked() -> None:
    bench = a_desk(signals=[buy("3 BTC")], cash="1000", slippage_bps="100")
    bench.on(book_snapshot(0, [(99, 9)], [(101, 1), (102, 9)]))

    first, second = fills(bench.events)

    assert (first.price, first.slippage_cost) == (Decimal("102.01"), Decimal("1.01"))
    assert (second.price, second.slippage_cost) == (Decimal("103.02"), Decimal("4.04"))
    assert (first.spread_cost, second.spread_cost) == (1, 2)


@pytest.mark.parametrize("opening", [buy("3 BTC"), short("3 BTC")])
def test_what_a_fill_costs_against_the_mid_is_its_spread_and_its_slippage(opening: Any) -> None:
    bench = a_desk(signals=[opening], cash="1000", slippage_bps="7.3", taker_bps="3")
    bench.on(book_snapshot(0, [(99, 1), (98, 9)], [("101.3", 1), (102, 9)]))

    for fill in fills(bench.events):
        mid = money(fill.mid_at_arrival or 0.0)
        against = fill.price - mid if fill.side == "buy" else mid - fill.price
        assert fill.quantity * against == (fill.spread_cost or 0) + (fill.slippage_cost or 0)


def test_without_a_mid_nobody_knows_what_the_spread_cost() -> None:
    bench = a_desk(signals=[buy("1 BTC")], cash="1000")
    bench.on(quote(0, None, "101"))

    [filled] = fills(bench.events)

    assert (filled.mid_at_decision, filled.mid_at_arrival, filled.spread_cost) == (None, None, None)


def test_the_mid_at_the_decision_and_the_one_at_the_arrival_are_both_kept() -> None:
    bench = a_desk(signals=[buy("1 BTC")], cash="1000", latency_ns=5)
    bench.on(quote(0, "99", "101"), quote(3, "101", "103"))

    [filled] = fills(bench.on(quote(9, "9", "10")))

    assert (filled.mid_at_decision, filled.mid_at_arrival, filled.price) == (100.0, 102.0, 103)


# -- what a venue accepts --------------------------------------------------------------------------------------------

RULES = {"tick_size": "0.5", "lot_size": "0.01", "min_quantity": "0.02", "min_notional": "5"}


def configured() -> dict[str, Instrument]:
    return {BTC: Instrument(**{name: money(value) for name, value in RULES.items()})}


@pytest.mark.parametrize("is_on_tape", [True, False])
def test_rules_come_from_the_tape_or_from_the_configuration(is_on_tape: bool) -> None:
    wishes = [None, [buy("4 USD"), buy("0.015 BTC"), buy("50 USD"), buy("10 USD", limit="98.77")]]
    bench = a_desk(signals=wishes, cash="1000", **({} if is_on_tape else {"instruments": configured()}))

    bench.on(instrument(0, **(RULES if is_on_tape else {})), quote(0, "99", "101"), quote(1, "99", "101"))

    reasons = [event.reason for event in only(bench.events, SignalRejected)]
    assert reasons == ["below minimum notional", "below minimum quantity"]
    assert [fill.quantity for fill in fills(bench.events)] == [Decimal("0.49")]
    assert [order.limit_price for order in bench.portfolio.resting.values()] == [Decimal("98.5")]


def test_the_configuration_goes_before_the_tape() -> None:
    bench = a_desk(signals=[None, buy("50 USD")], cash="1000", instruments=configured())

    bench.on(instrument(0, lot_size="1", min_notional="70"), quote(1, "99", "101"), quote(2, "99", "101"))

    assert [fill.quantity for fill in fills(bench.events)] == [Decimal("0.49")]


def test_a_hundred_dollars_trade_bitcoin_in_fractions() -> None:
    rules = {BTC: Instrument(tick_size=money("0.1"), lot_size=money("0.00000001"), min_notional=money("0.5"))}
    bench = a_desk(signals=[buy("100 USD"), sell("25 USD"), close()], cash="100", taker_bps="40", instruments=rules)

    bench.on(*(quote(ts, "97123.4", "97123.5") for ts in range(3)))

    bought, sold, closed = fills(bench.events)
    assert bought.quantity == Decimal("0.00102551") and 0 <= bought.cash < Decimal("0.001")
    assert sold.quantity == Decimal("0.00025740")
    assert closed.quantity == bought.quantity - sold.quantity
    assert bench.portfolio.cash() == 100 + bought.realized + sold.realized + closed.realized
