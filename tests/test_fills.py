"""The touch model: what an arriving order pays, and when a resting one is taken."""

from decimal import Decimal

import pytest

from engine.fills import TouchModel
from engine.market import Quote
from engine.ticks import NAN

QUOTE = Quote(99.0, 1.0, 101.0, 1.0)
NO_BID, NO_ASK = Quote(NAN, NAN, 101.0, 1.0), Quote(99.0, 1.0, NAN, NAN)


@pytest.mark.parametrize(("side", "price"), [("buy", 101), ("cover", 101), ("sell", 99), ("short", 99)])
def test_who_takes_pays_the_ask_or_receives_the_bid(side: str, price: int) -> None:
    assert TouchModel().take(side, QUOTE, None, Decimal(0)) == price


@pytest.mark.parametrize(("side", "quote"), [("buy", NO_ASK), ("cover", NO_ASK), ("sell", NO_BID), ("short", NO_BID)])
def test_a_side_that_nobody_quotes_trades_nothing(side: str, quote: Quote) -> None:
    assert TouchModel().take(side, quote, None, Decimal(0)) is None
    assert TouchModel().take(side, quote, Decimal(100), Decimal(0)) is None
    assert not TouchModel().is_hit(side, 100.0, NAN, quote)


@pytest.mark.parametrize(
    ("side", "limit", "price"),
    [
        ("buy", "100.99", None),
        ("buy", "101", "101"),
        ("buy", "101.5", "101.5"),
        ("buy", "103", "102.01"),
        ("sell", "99.01", None),
        ("sell", "99", "99"),
        ("sell", "98.5", "98.5"),
        ("sell", "97", "98.01"),
    ],
)
def test_slippage_is_adverse_and_stops_at_the_limit(side: str, limit: str, price: str | None) -> None:
    taken = TouchModel().take(side, QUOTE, Decimal(limit), Decimal(100))

    assert taken == (None if price is None else Decimal(price))


@pytest.mark.parametrize(
    ("side", "trade", "is_hit"),
    [("buy", 99.9, True), ("buy", 100.0, False), ("buy", NAN, False), ("sell", 100.1, True), ("sell", 100.0, False)],
)
def test_a_resting_order_is_hit_by_a_trade_through_its_price_and_not_by_one_at_it(
    side: str, trade: float, is_hit: bool
) -> None:
    assert TouchModel().is_hit(side, 100.0, trade, QUOTE) is is_hit


@pytest.mark.parametrize(
    ("side", "quote", "is_hit"),
    [
        ("buy", Quote(99.0, 1.0, 100.0, 1.0), True),
        ("buy", Quote(99.0, 1.0, 100.1, 1.0), False),
        ("sell", Quote(100.0, 1.0, 101.0, 1.0), True),
        ("sell", Quote(99.9, 1.0, 101.0, 1.0), False),
    ],
)
def test_a_resting_order_is_hit_by_the_opposite_touch_at_its_price(side: str, quote: Quote, is_hit: bool) -> None:
    assert TouchModel().is_hit(side, 100.0, NAN, quote) is is_hit
