"""The open tail of a ledger: what was written comes back to the last whole line, whatever happened to the file."""

import random
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from apps.comparison import Comparison
from engine.digest import canonical_lines
from engine.events import Event, OrderFilled, PortfolioMarked, SignalRaised
from engine.money import money
from recorder.ledger_tail import read_tail


def many(count: int, seed: int = 1) -> list[Event]:
    """Events of several kinds, with numbers of every size and text of every alphabet."""
    chance = random.Random(seed)

    def amount() -> Decimal:
        return money(Decimal(chance.randrange(-(10**15), 10**15)).scaleb(-chance.randrange(13)))

    events: list[Event] = []
    for seq in range(count):
        known = {"strategy": "ema", "seq": seq, "tick_seq": seq * 3, "ts": seq * 1_000_000_007}
        named = {"symbol": "BTC/USD", "correlation_id": f"ema-s{seq}"}
        match chance.randrange(3):
            case 0:
                events.append(PortfolioMarked(**known, cash=amount(), equity=amount()))
            case 1:
                events.append(
                    SignalRaised(
                        **known,
                        **named,
                        action="buy",
                        size=chance.random(),
                        size_in="quote",
                        order_type="market",
                        time_in_force="gtc",
                        reason=chance.choice(["", "fast over slow", 'it "is" time\n', "Größe λ 買い"]),
                    )
                )
            case _:
                events.append(
                    OrderFilled(
                        **known,
                        **named,
                        order_id=f"ema-{seq}",
                        side="buy",
                        liquidity="taker",
                        price=amount(),
                        quantity=amount(),
                        fee=amount(),
                        realized=amount(),
                        position=amount(),
                        cost=amount(),
                        cash=amount(),
                    )
                )
    return events


@pytest.fixture
def tail(tmp_path: Path) -> Path:
    path = tmp_path / "live-000000.jsonl"
    path.write_bytes(canonical_lines(many(300)))
    return path


def ends_of(data: bytes) -> list[int]:
    """The offset behind each line."""
    return [at + 1 for at, byte in enumerate(data) if byte == 10]


def whole_before(events: Sequence[Event], data: bytes, at: int) -> list[Event]:
    """The events whose lines lie before the byte at `at`."""
    return [event for event, end in zip(events, ends_of(data), strict=True) if end <= at]


def test_what_was_written_comes_back(tail: Path) -> None:
    read = read_tail(tail)

    assert read.events == many(300)
    assert (read.end, read.torn_bytes) == (tail.stat().st_size, 0)


def test_reading_goes_on_where_it_ended(tail: Path) -> None:
    data = tail.read_bytes()
    chance = random.Random(2)
    found: list[Event] = []
    end = 0

    for cut in [*sorted(chance.randrange(len(data)) for _ in range(50)), len(data)]:
        tail.write_bytes(data[:cut])
        read = read_tail(tail, end)
        found += read.events
        end = read.end

    assert found == many(300)


def test_a_tail_that_is_cut_off_anywhere_gives_the_events_before_the_cut(tail: Path) -> None:
    data, events = tail.read_bytes(), many(300)
    chance = random.Random(3)

    for at in [0, 1, len(data) - 1, *(chance.randrange(len(data)) for _ in range(200))]:
        tail.write_bytes(data[:at])
        read = read_tail(tail)

        assert read.events == whole_before(events, data, at)
        assert read.end + read.torn_bytes == at


def test_a_flipped_bit_changes_no_event_before_it_and_is_found_by_the_replay(tail: Path) -> None:
    # A line has no checksum, and needs none: what the tape gives again is what it is held against.
    data, events = tail.read_bytes(), many(300)
    chance = random.Random(4)
    noticed = 0

    for at in (chance.randrange(len(data)) for _ in range(200)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << chance.randrange(8)
        tail.write_bytes(flipped)
        found = read_tail(tail).events
        before = whole_before(events, data, at)
        comparison = Comparison({"ema": found})
        comparison.take("ema", events[: len(found)])

        assert found[: len(before)] == before
        assert (comparison.first_difference() is None) == (found == events[: len(found)])
        noticed += found != events
    assert noticed >= 195  # 1E-7 and 1e-7 are the same number


@pytest.mark.parametrize("zeros", [1, 7, 4096, 100_000])
def test_zeros_behind_a_tail_are_no_event(tail: Path, zeros: int) -> None:
    size = tail.stat().st_size
    tail.write_bytes(tail.read_bytes() + bytes(zeros))

    read = read_tail(tail)

    assert (read.events, read.end, read.torn_bytes) == (many(300), size, zeros)
