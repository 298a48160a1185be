"""Pauses between attempts to connect."""

from hypothesis import given
from hypothesis import strategies as st

from recorder.reconnecting import Reconnects


def reconnects(attempts_max: int = 100, window_s: float = 600.0, chance: float = 0.0) -> Reconnects:
    return Reconnects(attempts_max, window_s, first_s=0.2, longest_s=60.0, chance=lambda: chance)


def test_the_first_attempt_starts_at_once() -> None:
    assert reconnects().pause_s(now=0.0) == 0.0


def test_pauses_double_up_to_the_longest() -> None:
    plan = reconnects()
    pauses = []
    for _ in range(12):
        plan.attempt(now=0.0)
        pauses.append(plan.pause_s(now=0.0))

    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert pauses[-1] == 60.0


def test_up_to_half_of_a_pause_is_left_to_chance() -> None:
    plan = reconnects(chance=1.0)
    plan.attempt(now=0.0)

    assert plan.pause_s(now=0.0) == 0.1


def test_a_success_makes_the_next_pause_the_shortest() -> None:
    plan = reconnects()
    for _ in range(5):
        plan.attempt(now=0.0)
    plan.succeeded()

    assert plan.pause_s(now=0.0) == 0.2


def test_maintenance_makes_the_next_pause_longer_and_only_that_one() -> None:
    plan = reconnects()
    plan.attempt(now=0.0)
    plan.wait_at_least(5.0)
    during = plan.pause_s(now=0.0)
    plan.attempt(now=5.0)

    assert (during, plan.pause_s(now=5.0)) == (5.0, 0.4)


@given(
    attempts_max=st.integers(2, 40),
    window_s=st.sampled_from([1.0, 60.0, 600.0]),
    lives=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=200),
)
def test_a_venue_that_breaks_off_again_and_again_never_sees_more_attempts_than_it_allows(
    attempts_max: int, window_s: float, lives: list[float]
) -> None:
    plan = reconnects(attempts_max, window_s, chance=1.0)
    now, attempts = 0.0, []
    for life in lives:
        now += plan.pause_s(now)
        plan.attempt(now)
        attempts.append(now)
        plan.succeeded()
        now += life * window_s / 1000

    for at in attempts:
        assert sum(at - window_s < other <= at for other in attempts) <= attempts_max + 1e-9
