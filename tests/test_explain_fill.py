"""The arithmetic of fills that walked a book, queued, waited for a price, or were forced."""

from decimal import Decimal
from itertools import groupby
from pathlib import Path

import pytest

from apps.explain import Explanation, explain_event
from engine import events
from recorder.ledger import read_events
from recorder.runs import read_manifest, segment_paths
from recorder.tape_writer import TapeWriter
from tests.builders import SELL, Message, book_snapshot, quote, tape_of, trade
from tests.commands import Place

MS = 1_000_000
ONCE = """from engine import Signal

TRIGGER = "book"


def generate_signal(data, state):
    if state.setdefault("n", 0):
        return None
    state["n"] = 1
    return Signal({signal})
"""
DEEP = book_snapshot(0, bids=[(99, 5), (98, 5)], asks=[(101, 1), (102, 1), (103, 5)])
TOML = "capital = 1000\n[execution.kraken]\n"


class Stage(Place):
    """One signal on a tape of one's own."""

    def fills(self, signal: str, *messages: Message, toml: str = "") -> list[Explanation]:
        """The explanation of every fill that came of it."""
        self.strategy("it", ONCE.replace("{signal}", signal))
        self.file("wspt.toml", TOML + toml)
        tape = tape_of(*messages)
        with TapeWriter(self.folder / "tape.parquet", "kraken", source="a test") as writer:
            rows = zip(tape.ts, tape.ticks, strict=True)
            for ts, ticks in groupby(rows, key=lambda row: row[0]):
                writer.append_feed(ts, [tick for _, tick in ticks])
        assert self.wspt("replay", "tape.parquet", "--out", "run").code == 0
        run = self.folder / "run"
        history = read_events(segment_paths(run, read_manifest(run)), "it")["it"]
        fills = [event.seq for event in history if isinstance(event, events.OrderFilled)]
        return [explain_event(run, f"it-{seq}", is_event=True) for seq in fills]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def told(explanation: Explanation) -> str:
    """All lines of its arithmetic."""
    settlement = explanation.settlement
    assert settlement is not None and settlement.is_accounted_for, settlement
    assert explanation.is_same
    return "\n".join([*settlement.price, *settlement.costs, *settlement.fee, *settlement.money])


def taken(explanation: Explanation) -> list[tuple[Decimal, Decimal]]:
    assert explanation.settlement is not None
    return [(level.price, level.taken) for level in explanation.settlement.levels]


def test_each_level_that_an_order_walks_is_a_fill_with_its_place_in_the_book(stage: Stage) -> None:
    first, second, third = stage.fills(
        "'buy', data.symbol, 2.5, size_in='base'", DEEP, quote(100 * MS, 99, 101, bid_size=5), quote(200 * MS, 99, 101)
    )

    assert "best ask 101, 1 displayed" in told(first)
    assert "ask 2 102, 1 displayed" in told(second)
    assert "ask 3 103, 5 displayed" in told(third)
    assert taken(third) == [(101, 1), (102, 1), (103, Decimal("0.5"))]
    assert "mid 100, touch 101: 0.5 for the half spread" in told(third)
    assert "touch 101, price 103: 1 for depth and slippage" in told(third)
    assert third.before["positions"]["BTC/USD"]["quantity"] == "2"


def test_slippage_is_part_of_the_price_and_a_limit_holds_it_back(stage: Stage) -> None:
    [fill] = stage.fills(
        "'buy', data.symbol, 0.5, size_in='base', order_type='limit', limit_price=101.05",
        DEEP,
        quote(100 * MS, 99, 101),
        toml="slippage_bps = 10\n",
    )

    assert fill.event is not None and fill.event["price"] == "101.05"
    assert "slippage 10 bps: 101.05" in told(fill)


def test_a_resting_order_tells_of_the_queue_that_was_ahead_of_it(stage: Stage) -> None:
    first, second = stage.fills(
        "'buy', data.symbol, 3, size_in='base', order_type='limit', limit_price=99",
        DEEP,
        quote(100 * MS, 99, 101, bid_size=5),
        trade(200 * MS, 99, size=4, side=SELL),
        trade(300 * MS, 99, size=2, side=SELL),
        trade(400 * MS, 98.5, size=1, side=SELL),
    )

    assert "it rested at its limit 99 behind 5; 6 traded at that price since" in told(first)
    assert "2 traded at its price, and what was ahead of it was gone" in told(first)
    assert "a trade at 98.5 went through its price" in told(second)
    assert [fill.event["quantity"] for fill in (first, second) if fill.event] == ["1", "2"]


def test_a_resting_order_that_the_other_side_comes_to(stage: Stage) -> None:
    [fill] = stage.fills(
        "'buy', data.symbol, 3, size_in='base', order_type='limit', limit_price=99",
        DEEP,
        quote(100 * MS, 99, 101, bid_size=5),
        quote(200 * MS, 97, 99),
    )

    assert "the ask came to it, at 99" in told(fill)


def test_a_stop_trades_against_the_market_that_triggered_it(stage: Stage) -> None:
    [fill] = stage.fills(
        "'buy', data.symbol, 1, size_in='base', order_type='stop', stop_price=105",
        DEEP,
        quote(100 * MS, 99, 101),
        book_snapshot(200 * MS, bids=[(104, 5)], asks=[(106, 5)]),
        trade(300 * MS, 105.5),
    )

    assert "best ask 106, 5 displayed" in told(fill)
    assert [step.type for step in fill.life][-2:] == ["StopTriggered", "OrderFilled"]


def test_a_forced_purchase_is_followed_back_to_the_margin_call(stage: Stage) -> None:
    opening, forced = stage.fills(
        "'short', data.symbol, 9, size_in='base'",
        book_snapshot(0, bids=[(100, 50)], asks=[(101, 50)]),
        quote(100 * MS, 100, 101, bid_size=50, ask_size=50),
        book_snapshot(200 * MS, bids=[(170, 50)], asks=[(171, 50)]),
        trade(300 * MS, 170.5),
        trade(400 * MS, 170.5),
    )

    assert "because of its signal to short" in opening.answer
    assert "a margin call" in forced.answer and forced.decision is None
    assert "MarginCalled" in [step.type for step in forced.life]
    assert told(opening) and told(forced)


def test_without_a_quote_the_last_trade_is_the_price(stage: Stage) -> None:
    stage.strategy("unused", "def generate_signal(data):\n    return None\n")
    source = ONCE.replace('TRIGGER = "book"', 'TRIGGER = "trade"')
    stage.strategy("it", source.replace("{signal}", "'buy', data.symbol, 50.0"))
    tape = tape_of(trade(0, 100), trade(100 * MS, 101), trade(200 * MS, 102))
    with TapeWriter(stage.folder / "tape.parquet", "kraken", source="a test") as writer:
        for ts, tick in zip(tape.ts, tape.ticks, strict=True):
            writer.append_feed(ts, [tick])
    assert stage.wspt("replay", "tape.parquet", "--out", "run").code == 0

    explanation = explain_event(stage.folder / "run", "it-1")

    assert "nobody quoted: the last trade's price, 100" in told(explanation)
