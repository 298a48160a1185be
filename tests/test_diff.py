"""Two runs side by side: where they part, why, and what came of it."""

from pathlib import Path
from typing import Any

import pytest

from apps.importing import simulated_tape
from tests.commands import EAGER, Place

STARTING = EAGER.replace('"size": 10.0}', '"size": 10.0, "start": 0}')
HESITANT = STARTING.replace('state.get("seen", 0)', 'state.get("seen", config["start"])')
"""Its decisions hang on a count that begins where CONFIG says."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with a tape and two strategies."""
    place = Place(tmp_path)
    place.strategy("eager", EAGER)
    place.strategy("hesitant", HESITANT)
    simulated_tape(7, 0.3, place.folder / "tape.parquet")
    assert place.wspt("replay", "tape.parquet", "--out", "a").code == 0
    return place


def compared(place: Place, *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is said of the run `a` and one of these words, and the part about each strategy by name."""
    assert place.wspt("replay", *(words or ("tape.parquet",)), "--out", "b").code == 0
    answer = place.wspt("diff", "a", "b", "--json")
    assert answer.code == (0 if answer.json["is_same"] else 1), answer.err
    return answer.json, {desk["strategy"]: desk for desk in answer.json["desks"]}


def test_the_same_run_twice_has_no_difference(place: Place) -> None:
    said, desks = compared(place)

    assert said["is_same"] and said["first"] is None
    assert all(desk["is_same"] and desk["event"] is None and not desk["causes"] for desk in desks.values())
    assert place.wspt("diff", "a", "b").out.startswith("a a\nb b\nthe same histories, event by event\n")


def test_a_changed_value_is_named_with_the_decision_that_it_changed(place: Place) -> None:
    said, desks = compared(place, "tape.parquet", "--set", "eager.size=20")

    assert said["first"] == "eager" and desks["hesitant"]["is_same"]
    assert desks["eager"]["causes"] == [{"kind": "config", "what": "eager.config.size", "a": 10.0, "b": 20.0}]
    decision = desks["eager"]["decision"]
    assert decision["because"] == ["config: size"]
    assert [decision[side]["answer"][0]["size"] for side in ("a", "b")] == [10.0, 20.0]
    assert decision["parting"]["fields"] == ["size"]


def test_a_state_that_differs_is_named_where_only_one_run_decided(place: Place) -> None:
    _, desks = compared(place, "tape.parquet", "--set", "hesitant.start=2")

    decision = desks["hesitant"]["decision"]
    assert decision["because"] == ["config: start", "state: seen"]
    assert decision["a"]["answer"] == [] and decision["b"]["answer"]
    assert decision["parting"]["a"] is None


def test_changed_code_is_shown_by_its_lines(place: Place) -> None:
    place.strategy("eager", EAGER.replace('"close", data', '"sell", data'))

    _, desks = compared(place)

    [cause] = desks["eager"]["causes"]
    assert (cause["kind"], cause["what"]) == ("code", "eager.py")
    assert [line.strip() for line in cause["a"]] == ['return Signal("close", data.symbol, reason="it is time")']
    assert [line.strip() for line in cause["b"]] == ['return Signal("sell", data.symbol, reason="it is time")']
    assert desks["eager"]["decision"]["parting"]["fields"] == ["action"]


def test_another_tape_is_named(place: Place) -> None:
    simulated_tape(8, 0.3, place.folder / "other.parquet")

    said, desks = compared(place, "other.parquet")

    assert {"tape", "range"} >= {cause["kind"] for cause in said["causes"]} >= {"tape"}
    assert not desks["eager"]["is_same"] and not desks["eager"]["causes"]


def test_other_costs_change_what_comes_of_the_same_decisions(place: Place) -> None:
    place.file("wspt.toml", "[execution.kraken]\ntaker_bps = 1\n")

    _, desks = compared(place)
    told = place.wspt("diff", "a", "b")

    desk = desks["eager"]
    assert desk["decision"] is None
    assert desk["event"]["a"]["type"] == "OrderSubmitted" and "reserved" in desk["event"]["fields"]
    assert [cause["what"] for cause in desk["causes"]] == ["eager.execution.taker_bps"]
    assert float(desk["money"]["fees"][0]) > float(desk["money"]["fees"][1])
    assert (told.code, told.err) == (1, "")
    assert "every decision is the same; what came of them is not" in told.out


def test_fills_and_money_are_those_of_the_two_runs(place: Place) -> None:
    _, desks = compared(place, "tape.parquet", "--set", "hesitant.start=2")

    for side, run in ((0, "a"), (1, "b")):
        [row] = place.wspt("sql", run, "from leaderboard where name = 'hesitant'", "--json").json
        assert {name: pair[side] for name, pair in desks["hesitant"]["money"].items()}.items() <= row.items()
        fills = desks["hesitant"]["fills"]
        assert fills[run] == row["fills"] and fills["both"] <= row["fills"]
    assert desks["eager"]["fills"]["both"] == desks["eager"]["fills"]["a"]


def test_a_strategy_of_one_run_alone_is_named(place: Place) -> None:
    said, _ = compared(place, "tape.parquet", "--only", "eager")

    assert (said["only_a"], said["only_b"], said["is_same"]) == (["hesitant"], [], True)


def test_runs_without_a_common_strategy_cannot_be_compared(place: Place) -> None:
    place.wspt("replay", "tape.parquet", "--only", "eager", "--out", "one")
    place.wspt("replay", "tape.parquet", "--only", "hesitant", "--out", "two")

    answer = place.wspt("diff", "one", "two")

    assert answer.code == 2
    assert "two: expected a strategy of one, eager, found none of them" in answer.err


# -- the counterfactual --------------------------------------------------------------------------------------


def test_what_if_is_the_difference_of_two_runs(place: Place) -> None:
    said = place.wspt("replay", "tape.parquet", "--vs", "eager.size=20", "--out", "if", "--json").json
    _, desks = compared(place, "tape.parquet", "--set", "eager.size=20")

    assert {"run", "tape", "ticks", "seconds", "ticks_per_s", "digest", "strategies"} <= set(said)
    assert sorted(desk["name"] for desk in said["strategies"]) == ["eager", "hesitant"]
    assert said["vs"]["desks"] == [desks["eager"]]
    assert (said["vs"]["a"], said["vs"]["b"]) == ("if", "if-vs")
    assert place.wspt("verify", "if-vs").code == 0


def test_what_if_is_told_before_the_report(place: Place) -> None:
    out = place.wspt("replay", "tape.parquet", "--vs", "eager.size=20", "--set", "hesitant.start=2").out

    assert "config eager.config.size: 10.0 and 20.0" in out
    assert out.splitlines()[-1].startswith("digest ")


def test_what_if_runs_into_no_folder_that_is_there(place: Place) -> None:
    (place.folder / "if-vs").mkdir()

    answer = place.wspt("replay", "tape.parquet", "--vs", "eager.size=20", "--out", "if")

    assert (answer.code, answer.out) == (2, "")
    assert "if-vs: expected a new folder for what --vs runs, found one that is there" in answer.err
    assert not (place.folder / "if").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("eager.sise=5", "--vs eager.sise=5: eager has no 'sise' in CONFIG, only every, size; did you mean 'size'?"),
        ("nobody.size=5", "--vs nobody.size=5: expected one of eager, hesitant, found 'nobody'"),
        ("eager", "--vs eager: expected name.key=value"),
    ],
)
def test_a_mistake_in_what_if_is_found_before_anything_runs(text: str, sentence: str, place: Place) -> None:
    answer = place.wspt("replay", "tape.parquet", "--vs", text, "--out", "if")

    assert (answer.code, answer.out) == (2, "")
    assert sentence in answer.err
    assert not (place.folder / "if").exists()
