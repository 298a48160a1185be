"""Strategy files in the dialect of the predecessor run as they are: same imports, same names, same view of the data."""

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from apps.config import settle
from apps.config_file import ConfigFile
from apps.loader import load_strategy
from engine.desk import Desk
from engine.engine import Engine
from engine.events import OrderFilled, SignalRaised, StopTriggered, StrategyFailed
from recorder.tape import Tape

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "data" / "sample.parquet"
NAMES = ("book_imbalance", "relative_strength", "rsi_dip")


class Ran(msgspec.Struct, frozen=True):
    """What became of one file on the sample tape: its events, and the state it was left with."""

    events: list[Any]
    state: dict[str, Any]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture(scope="module")
def ran() -> dict[str, Ran]:
    """Each file over the sample tape, all at one market as in a real run."""
    tape, files = Tape.open(SAMPLE), [load_strategy(HERE / "predecessor" / f"{name}.py") for name in NAMES]
    settings = settle(ConfigFile(), files, tape.venue, tape.symbols)
    desks = [
        Desk(
            file.strategy,
            cash=settings.capital,
            currency=settings.currency,
            execution=settings.desks[file.strategy.name].execution,
        )
        for file in files
    ]
    engine = Engine(desks)
    events = [event for batch in tape.batches() for event in engine.process(batch)] + engine.finish()
    return {
        desk.name: Ran([event for event in events if event.strategy == desk.name], desk.state) for desk in engine.desks
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_predecessor_file_trades_and_never_fails(name: str, ran: dict[str, Ran]) -> None:
    assert ran[name].of(StrategyFailed) == []
    assert len(ran[name].of(OrderFilled)) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_a_predecessor_file_is_told_of_every_fill_in_its_own_words(name: str, ran: dict[str, Ran]) -> None:
    filled = [(fill.side, float(fill.quantity), float(fill.price)) for fill in ran[name].of(OrderFilled)]

    assert ran[name].state["fills"] == filled


@pytest.mark.parametrize("name", NAMES)
def test_a_predecessor_file_hears_that_the_tape_is_over(name: str, ran: dict[str, Ran]) -> None:
    assert ran[name].state["summary"]


@pytest.mark.parametrize("name", NAMES)
def test_a_predecessor_files_indicators_are_logged_with_its_signals(name: str, ran: dict[str, Ran]) -> None:
    assert all(signal.indicators for signal in ran[name].of(SignalRaised))


def test_a_predecessor_file_can_go_short_and_cover(ran: dict[str, Ran]) -> None:
    assert {fill.side for fill in ran["book_imbalance"].of(OrderFilled)} >= {"short", "cover"}


def test_a_positional_price_in_a_signal_is_its_reference_price(ran: dict[str, Ran]) -> None:
    signals = ran["book_imbalance"].of(SignalRaised)

    assert all(signal.price is not None and signal.limit_price is None for signal in signals)


def test_stops_and_targets_of_a_predecessor_file_are_told_to_on_fill(ran: dict[str, Ran]) -> None:
    triggered = ran["rsi_dip"].of(StopTriggered)
    exits = [float(fill.realized) for fill in ran["rsi_dip"].of(OrderFilled) if fill.side == "sell"]

    assert len(triggered) == len(exits) >= 1
    assert ran["rsi_dip"].state["exits"] == exits


def test_the_folder_that_a_predecessor_file_puts_on_the_path_is_gone_after_loading() -> None:
    before = list(sys.path)

    load_strategy(HERE / "predecessor" / "rsi_dip.py")

    assert sys.path == before
