"""Faults are read as they are written, and strike the same frames for the same seed."""

import re

import pytest

from apps.faults import FaultPlan, Faults, Period, Then, parse_faults
from apps.problems import UserProblem

SECOND = 1_000_000_000
BOOK = b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","checksum":3906264065}]}'


def frames(count: int) -> list[bytes]:
    return [b"frame %d" % number for number in range(count)]


def sent(faults: Faults, payloads: list[bytes], seed: int = 7, conn: int = 0) -> list[bytes]:
    plan = FaultPlan(faults, seed, conn)
    return [got for payload in payloads for got in plan.take(0, payload)[0]] + plan.rest()


def first_break(faults: Faults, gap_ns: int = 0, seed: int = 7) -> tuple[int, Then]:
    plan = FaultPlan(faults, seed, conn=0)
    for number in range(2_000):
        then = plan.take(number * gap_ns, b"frame")[1]
        if then is not Then.GO_ON:
            return number, then
    raise AssertionError("nothing happened")


def test_faults_are_read_as_they_are_written() -> None:
    text = "drop=0.001, dup=0.5,reorder=1,garble=0,checksum=.25,disconnect=30s,stall=500ms,half-open=200f"

    assert parse_faults(text) == Faults(
        drop=0.001,
        dup=0.5,
        reorder=1.0,
        checksum=0.25,
        disconnect=Period(ns=30 * SECOND),
        stall_s=0.5,
        half_open=Period(frames=200),
    )


def test_no_words_are_no_faults() -> None:
    assert parse_faults("") == Faults()
    assert sent(Faults(), frames(100)) == frames(100)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("dorp=0.1", "--fault dorp=0.1: expected one of drop, dup,"),
        ("dorp=0.1", "did you mean 'drop'?"),
        ("drop=2", "--fault drop=2: expected odds from 0 to 1, found 2"),
        ("drop=nan", "expected odds from 0 to 1, found nan"),
        ("drop", "expected odds from 0 to 1, found nothing"),
        ("disconnect=soon", "expected a time like 30s or a count like 500f, found soon"),
        ("disconnect=1.5f", "expected a time like 30s or a count like 500f, found 1.5f"),
        ("disconnect=0s", "expected a time like 30s or a count like 500f, found 0s"),
        ("stall=10f", "expected a time like 5s, found 10f"),
        ("half-open=", "expected a time like 30s or a count like 500f, found nothing"),
        ("drop=0.1,drop=0.2", "expected each fault once, found drop again"),
    ],
)
def test_a_mistake_is_one_sentence(text: str, complaint: str) -> None:
    with pytest.raises(UserProblem, match=re.escape(complaint)) as caught:
        parse_faults(text)

    assert "\n" not in str(caught.value)


def test_the_same_seed_and_connection_suffer_the_same_and_others_do_not() -> None:
    faults = Faults(drop=0.1, dup=0.1, reorder=0.1, garble=0.1)

    assert sent(faults, frames(500)) == sent(faults, frames(500))
    assert sent(faults, frames(500)) != sent(faults, frames(500), seed=8)
    assert sent(faults, frames(500)) != sent(faults, frames(500), conn=1)


def test_a_dropped_frame_never_comes_and_the_rest_keeps_its_order() -> None:
    got = sent(Faults(drop=0.2), frames(1_000))

    assert 700 < len(got) < 900
    assert got == [frame for frame in frames(1_000) if frame in set(got)]


def test_a_doubled_frame_comes_twice_in_a_row() -> None:
    assert sent(Faults(dup=1.0), [b"a", b"b"]) == [b"a", b"a", b"b", b"b"]


def test_a_reordered_frame_comes_after_the_next_one_and_none_is_lost() -> None:
    assert sent(Faults(reorder=1.0), frames(5)) == [b"frame 1", b"frame 0", b"frame 3", b"frame 2", b"frame 4"]


def test_a_garbled_frame_has_its_length_and_other_bytes() -> None:
    [got] = sent(Faults(garble=1.0), [BOOK])

    assert len(got) == len(BOOK)
    assert 1 <= sum(a != b for a, b in zip(got, BOOK, strict=True)) <= 4


def test_a_wrong_checksum_is_wrong_and_nothing_else_is() -> None:
    [got] = sent(Faults(checksum=1.0), [BOOK])
    pattern = re.compile(rb'"checksum":(\d+)')

    assert got != BOOK
    assert pattern.sub(b"", got) == pattern.sub(b"", BOOK)
    assert sent(Faults(checksum=1.0), [b'{"channel":"heartbeat"}']) == [b'{"channel":"heartbeat"}']


def test_a_connection_is_cut_after_its_frames_or_its_time() -> None:
    assert first_break(Faults(disconnect=Period(frames=500))) == (499, Then.CUT)
    assert first_break(Faults(disconnect=Period(ns=30 * SECOND)), gap_ns=SECOND) == (30, Then.CUT)


def test_a_connection_goes_half_open_when_told_or_somewhere_within_a_thousand_frames() -> None:
    assert first_break(Faults(half_open=Period(frames=10))) == (9, Then.FREEZE)
    drawn = {first_break(Faults(half_open=Period()), seed=seed)[0] for seed in range(20)}
    assert len(drawn) > 10
    assert max(drawn) < 1_000


def test_stalls_come_again_and_again() -> None:
    plan = FaultPlan(Faults(stall_s=1.0), 7, 0)
    for _ in range(20_000):
        plan.take(0, b"frame")

    assert 20 <= plan.counts["stall"] <= 80


def test_a_fault_strikes_the_same_frames_with_and_without_one_that_never_does() -> None:
    assert sent(Faults(drop=0.1), frames(500)) == sent(Faults(drop=0.1, disconnect=Period(frames=10**6)), frames(500))
