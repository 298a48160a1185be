"""Money is made from shortest texts, rounded once half to even, and always has twelve decimals."""

from decimal import Decimal, FloatOperation, Inexact, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import money as m
from engine.money import QUANTUM, ZERO, money

amounts = st.decimals(min_value="-1000000", max_value="1000000", places=12)
positive = st.decimals(min_value="0.000001", max_value="1000000", places=12)


@given(st.integers(0, 10**15 - 1), st.integers(0, 12))
def test_a_float_is_the_decimal_text_that_the_venue_printed(digits: int, places: int) -> None:
    text = str(Decimal(digits).scaleb(-places))

    assert money(float(text)) == Decimal(text)


@given(amounts)
def test_money_of_money_is_itself_to_the_last_character(amount: Decimal) -> None:
    assert str(money(money(amount))) == str(money(amount)) == str(money(str(money(amount))))


@pytest.mark.parametrize(
    "number", [0.0, -0.0, -1e-13, "-0", Decimal("-0.0000000000001"), 1, 1.5, "1e3", 123456789.123456789]
)
def test_money_has_twelve_decimals_and_no_negative_zero(number: Any) -> None:
    made = money(number)

    assert made.as_tuple().exponent == -12
    assert made or not made.is_signed()


@pytest.mark.parametrize(
    ("text", "rounded"), [("0.0000000000005", "0"), ("0.0000000000015", "2e-12"), ("0.0000000000025", "2e-12")]
)
def test_money_is_rounded_half_to_even(text: str, rounded: str) -> None:
    assert money(text) == Decimal(rounded)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e26, "1e400", "sNaN", "abc", ""])
def test_what_is_no_amount_of_money_is_refused_in_one_way(number: Any) -> None:
    with pytest.raises(ValueError, match="not an amount of money"):
        money(number)


@given(amounts, positive, positive)
def test_a_share_and_the_rest_are_the_whole(whole: Decimal, part: Decimal, of: Decimal) -> None:
    whole = money(whole)
    released = m.share(whole, min(part, of), of)

    assert m.add(released, m.subtract(whole, released)) == whole
    assert released.copy_abs() <= whole.copy_abs()
    assert m.share(whole, of, of) == whole


@given(positive, st.sampled_from(["0.1", "0.00000001", "5", "0.25"]))
def test_floor_and_ceil_are_the_nearest_multiples_of_the_step(amount: Decimal, text: str) -> None:
    step = Decimal(text)
    down, up = m.floor_to(amount, step), m.ceil_to(amount, step)

    assert down % step == up % step == 0
    assert down <= amount <= up
    assert up - down in (0, step)


@given(positive, positive)
def test_an_amount_pays_for_what_it_buys_and_for_no_lot_more(amount: Decimal, price: Decimal) -> None:
    lot = Decimal("0.00000001")

    bought = m.floor_divide(amount, price, lot)

    assert bought * price <= amount < (bought + lot) * price


@given(amounts, amounts, positive)
def test_every_operation_keeps_twelve_decimals(a: Decimal, b: Decimal, c: Decimal) -> None:
    a, b, c = money(a), money(b), money(c)

    for made in (
        m.add(a, b),
        m.subtract(a, b),
        m.multiply(a, b),
        m.divide(a, c),
        m.share(a, c, c),
        m.negate(a),
        m.bps_of(a, c),
    ):
        assert made.as_tuple().exponent == -12


@given(amounts)
def test_no_operation_makes_a_negative_zero(a: Decimal) -> None:
    a, little = money(a), QUANTUM.copy_negate()

    for made in (
        m.multiply(a, ZERO),
        m.multiply(little, QUANTUM),
        m.divide(little, money(10**6)),
        m.negate(ZERO),
        m.bps_of(little, money(1)),
    ):
        assert not (made.is_signed() and not made)


def test_the_threads_context_changes_nothing() -> None:
    def work() -> list[str]:
        a, b = money(12345.678912345), money("0.333333333333")
        made = (m.add(a, b), m.multiply(a, b), m.divide(a, b), m.share(a, b, money(7)), m.floor_divide(a, b, QUANTUM))
        return [str(amount) for amount in (*made, m.floor_to(a, b), m.ceil_to(a, b), m.bps_of(a, b), m.negate(a))]

    expected = work()

    with localcontext() as context:
        context.prec, context.traps[Inexact], context.traps[FloatOperation] = 2, True, True
        assert work() == expected


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        (1, True),
        (1.5, True),
        (Decimal(2), True),
        (True, False),
        ("1", False),
        (None, False),
        (float("nan"), False),
        (10**400, False),
        (Decimal("sNaN"), False),
        (1j, False),
    ],
)
def test_a_number_is_finite_and_real_and_no_bool(value: Any, is_one: bool) -> None:
    assert m.is_number(value) is is_one
