"""Where each value of a configuration comes from, told as `wspt config` tells it."""

from pathlib import Path
from typing import Any

import pytest

from apps.importing import simulated_tape
from tests.commands import EAGER, PATIENT, Place

TOML = """\
capital = 250

[execution.kraken]
taker_bps = 26
latency_ms = 5

[risk]
max_open_orders = 4

[strategies.eager.config]
every = 3
size = 5

[strategies.eager.execution]
taker_bps = 1
jitter_ms = 2

[strategies.eager.risk]
cooldown_s = 1.5

[recording]
sync_s = 0.5
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with two strategies and a wspt.toml."""
    place = Place(tmp_path)
    place.strategy("eager", EAGER)
    place.strategy("patient", f"{PATIENT}\nRISK = {{'max_position': 20}}\n")
    place.file("wspt.toml", TOML)
    return place


def told(place: Place, *words: str | Path) -> dict[str, tuple[Any, str]]:
    """Value and origin by name."""
    answer = place.wspt("config", *words, "--json")
    assert answer.code == 0, answer.err
    return {setting["name"]: (setting["value"], setting["where"]) for setting in answer.json["settings"]}


def test_each_value_names_what_gave_it(place: Place) -> None:
    said = told(place, "--set", "eager.size=7")

    assert said["capital"] == ("250", "wspt.toml:1")
    assert said["currency"] == ("USD", "follows from the symbols")
    assert said["strategies.eager.config.every"] == (3, "wspt.toml:11 [strategies.eager.config]")
    assert said["strategies.eager.config.size"] == (7.0, "--set")
    assert said["strategies.patient.config.size"] == (10.0, "strategies/patient.py CONFIG")
    assert said["strategies.eager.execution.taker_bps"] == ("1", "wspt.toml:15 [strategies.eager.execution]")
    assert said["strategies.eager.execution.jitter_ms"] == (2.0, "wspt.toml:16 [strategies.eager.execution]")
    assert said["strategies.eager.execution.jitter"] == ("uniform", "default")
    assert said["strategies.patient.execution.taker_bps"] == ("26", "wspt.toml:4 [execution.kraken]")
    assert said["strategies.patient.execution.latency_ms"] == (5.0, "wspt.toml:5 [execution.kraken]")
    assert said["strategies.patient.execution.maker_bps"] == ("25", "kraken's lowest published tier")
    assert said["strategies.patient.execution.slippage_bps"] == ("0", "default")
    assert said["strategies.patient.risk.max_open_orders"] == (4, "wspt.toml:8 [risk]")
    assert said["strategies.eager.risk.cooldown_s"] == (1.5, "wspt.toml:19 [strategies.eager.risk]")
    assert said["strategies.patient.risk.max_position"] == ("20", "strategies/patient.py RISK")
    assert said["strategies.eager.risk.max_position"] == (None, "default")
    assert said["recording.sync_s"] == (0.5, "wspt.toml:22 [recording]")
    assert said["recording.part_minutes"] == (10.0, "default")


def test_the_command_line_is_named_where_it_wins(place: Place) -> None:
    assert told(place, "--capital", "9")["capital"] == ("9", "--capital")


@pytest.mark.parametrize("line", TOML.splitlines())
def test_what_the_file_is_said_to_give_falls_back_when_it_is_taken_out(line: str, place: Place) -> None:
    """The origins are worked out apart from the values: this holds the two together."""
    before = told(place)
    number = TOML.splitlines().index(line) + 1
    given = [name for name, (_, where) in before.items() if where.partition(" ")[0] == f"wspt.toml:{number}"]

    place.file("wspt.toml", TOML.replace(line, "# gone", 1) if "=" in line else TOML)
    after = told(place)

    assert bool(given) == ("=" in line)
    assert {name for name in before if before[name][0] != after[name][0]} == set(given)


def test_of_a_run_it_shows_what_ran(place: Place, tmp_path: Path) -> None:
    simulated_tape(7, 0.1, place.folder / "tape.parquet")
    place.wspt("replay", "tape.parquet", "--set", "eager.every=9", "--out", "run")
    place.file("wspt.toml", "capital = 1")

    said = told(place, "run")

    assert said["strategies.eager.config.every"] == (9, "run/run.json")
    assert said["capital"] == ("250", "run/run.json")
    assert said["strategies.eager.execution.taker_bps"] == ("1", "run/run.json")


def test_a_tape_decides_about_venue_and_currency(place: Place) -> None:
    place.file("usdt.csv", "ts,symbol,price,size\n1,BTC/USDT,1,2\n2,BTC/USDT,1,2\n")
    assert place.wspt("import", "ticks", "usdt.csv", "-o", "usdt.parquet").code == 0

    assert told(place, "usdt.parquet")["currency"] == ("USDT", "follows from the symbols")


def test_people_get_a_table(place: Place) -> None:
    out = place.wspt("config", "--only", "eager").out.splitlines()

    assert out[0].split() == ["setting", "value", "from"]
    assert out[1].split() == ["capital", "250", "wspt.toml:1"]


def test_a_file_that_speaks_of_a_strategy_left_out_by_only_is_no_mistake(place: Place) -> None:
    simulated_tape(7, 0.1, place.folder / "tape.parquet")

    assert place.wspt("replay", "tape.parquet", "--only", "patient").code == 0
