"""A position is a quantity and its signed cost; what reduces it releases its share of that cost."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.money import ZERO, add, money, multiply, negate, subtract
from engine.position import FLAT, Position, traded

deals = st.lists(
    st.tuples(
        st.decimals("-5", "5", places=8).filter(bool),
        st.decimals("0.000001", "99999", places=6),
    ),
    max_size=30,
)


def deal(position: Position, quantity: str, price: str) -> tuple[Position, Decimal]:
    return traded(position, money(quantity), multiply(money(quantity), money(price)))


@given(deals)
def test_cash_is_opening_plus_realized_minus_cost_to_the_last_digit(deals: list[tuple[Decimal, Decimal]]) -> None:
    position, cash, realized = FLAT, money(1_000), ZERO

    for quantity, price in deals:
        notional = multiply(money(quantity), money(price))
        position, gained = traded(position, money(quantity), notional)
        cash, realized = subtract(cash, notional), add(realized, gained)

        assert cash == money(1_000) + realized - position.cost
        assert position.quantity or not position.cost


@given(deals)
def test_cost_has_the_sign_of_the_quantity(deals: list[tuple[Decimal, Decimal]]) -> None:
    position = FLAT

    for quantity, price in deals:
        position, _ = traded(position, money(quantity), multiply(money(quantity), money(price)))

        assert position.cost * position.quantity >= 0


@given(deals)
def test_a_mirrored_history_has_mirrored_positions_and_the_same_cost(deals: list[tuple[Decimal, Decimal]]) -> None:
    long, short = FLAT, FLAT

    for quantity, price in deals:
        notional = multiply(money(quantity), money(price))
        long, _ = traded(long, money(quantity), notional)
        short, _ = traded(short, negate(money(quantity)), negate(notional))

    assert (long.quantity, long.cost) == (negate(short.quantity), negate(short.cost))


@pytest.mark.parametrize(
    ("first", "second", "left", "cost", "realized"),
    [
        (("2", "100"), ("1", "130"), "3", "330", "0"),
        (("2", "100"), ("-0.5", "130"), "1.5", "150", "15"),
        (("2", "100"), ("-2", "90"), "0", "0", "-20"),
        (("2", "100"), ("-3", "130"), "-1", "-130", "60"),
        (("-2", "100"), ("0.5", "130"), "-1.5", "-150", "-15"),
        (("-2", "100"), ("3", "90"), "1", "90", "20"),
    ],
)
def test_adding_reducing_closing_and_turning(
    first: tuple[str, str], second: tuple[str, str], left: str, cost: str, realized: str
) -> None:
    position, opening = deal(FLAT, *first)
    position, gained = deal(position, *second)

    assert (opening, gained) == (0, Decimal(realized))
    assert (position.quantity, position.cost) == (Decimal(left), Decimal(cost))


def test_the_average_price_is_what_a_unit_cost_and_none_where_nothing_is_open() -> None:
    assert FLAT.average_price is None
    assert Position(money("-4"), money("-10")).average_price == Decimal("2.5")
