"""Draws have the shapes of their names, and the same values everywhere."""

from math import exp, log
from statistics import fmean, median, stdev

import pytest

from apps.chance import Chance, _exp


def test_equal_seeds_give_equal_streams() -> None:
    one, other = Chance("7 BTC/USD"), Chance("7 BTC/USD")

    assert [one.uniform() for _ in range(100)] == [other.uniform() for _ in range(100)]
    assert one.uniform() != Chance("8 BTC/USD").uniform()


def test_draws_are_the_same_to_the_last_bit_on_every_machine() -> None:
    chance = Chance("7")

    draws = chance.uniform(), chance.normal(), chance.exponential(), chance.log_normal(100.0)

    assert [draw.hex() for draw in draws] == [
        "0x1.6cc4a0240ef97p-1",
        "0x1.252e2b86780ffp-1",
        "0x1.a52f476bdc63bp-2",
        "0x1.b8366190190f5p+8",
    ]


def test_shapes_are_near_their_names() -> None:
    chance = Chance("shape")

    normal = [chance.normal() for _ in range(20_000)]
    exponential = [chance.exponential() for _ in range(20_000)]
    sizes = [chance.log_normal(50.0) for _ in range(20_000)]

    assert abs(fmean(normal)) < 0.03
    assert abs(stdev(normal) - 1.0) < 0.03
    assert abs(fmean(exponential) - 1.04) < 0.03
    assert 48.0 < median(sizes) < 52.0
    assert abs(stdev([log(size) for size in sizes]) - 1.0) < 0.03


@pytest.mark.parametrize("power", [-6.0, -1.0, 0.0, 0.5, 6.0])
def test_our_exponential_function_is_within_two_percent(power: float) -> None:
    assert _exp(power) == pytest.approx(exp(power), rel=0.02)
