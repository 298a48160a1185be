"""What README.md shows is true: its commands run, in its order, and its strategies trade."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.commands import REPOSITORY, WSPT, Place

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^\| `wspt (\w+)", README, re.MULTILINE)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A clone, as far as the tour needs one: the shipped strategies and the sample tape."""
    place = Place(tmp_path)
    shutil.rmtree(tmp_path / "strategies")
    (tmp_path / "strategies").mkdir()
    for name in ("buy_and_hold", "ema_cross", "market_making", "mean_reversion", "order_flow"):
        shutil.copy(REPOSITORY / "strategies" / f"{name}.py", tmp_path / "strategies")
    (tmp_path / "data").mkdir()
    shutil.copy(REPOSITORY / "data" / "sample.parquet", tmp_path / "data")
    return place


def the_strategy() -> tuple[str, str]:
    """The file name and the code of the strategy in the tour."""
    [name] = re.findall(r"Save this as `strategies/(\w+\.py)`", README)
    [code] = [body for language, body in BLOCKS if language == "python" and "generate_signal" in body]
    return name, code


def tour() -> list[list[str]]:
    """The tour's commands, in its order, without those that install or need a capture of one's own."""
    words = [
        shlex.split(command, comments=True)
        for language, body in BLOCKS
        if language == "sh"
        for command in re.split(r"\n(?=\w)", body.strip())
    ]
    return [command[1:] for command in words if command[:1] == ["wspt"] and command[1] != "import"]


def test_the_tour_runs_as_it_is_written(place: Place) -> None:
    name, code = the_strategy()
    commands = tour()
    names = [command[0] for command in commands]
    assert names[:2] == ["replay", "replay"]
    assert {"sql", "verify", "inspect", "live"} <= set(names)

    for number, words in enumerate(commands):
        if number == 1:
            place.file(f"strategies/{name}", code)
        if words[0] == "live":
            words[words.index("--duration") + 1] = "3s"
        answer = place.spawn(*words)
        assert answer.code == 0, answer.err
        assert answer.err == "" or words[0] == "live", words  # a session tells on stderr how to go on
        assert answer.out

    assert place.wspt("sql", "mine", "select status from leaderboard where status <> 'ok'", "--json").json == []
    verdict = place.wspt("verify", "mine")
    assert verdict.out.startswith("identical ")


def test_the_strategy_in_the_tour_trades(place: Place) -> None:
    name, code = the_strategy()
    path = place.file(name, code)

    [desk] = place.wspt("replay", "data/sample.parquet", "--strategies", path, "--json").json["strategies"]

    assert desk["status"] == "ok"
    assert desk["fills"] > 0


def test_the_query_in_the_tour_answers(place: Place) -> None:
    name, code = the_strategy()
    place.file(f"strategies/{name}", code)
    [query] = [words for words in tour() if words[0] == "sql"]
    place.wspt("replay", "data/sample.parquet", "--out", query[1])

    rows = place.wspt(*query, "--json").json

    assert len(rows) == place.wspt("sql", query[1], "select count(*) n from fills", "--json").json[0]["n"]
    assert [row["spread"] for row in rows if row["spread"] is not None]
    assert all(row["spread"] > 0 for row in rows if row["spread"] is not None)


def test_the_imports_that_are_shown_take_those_options(place: Place) -> None:
    shown = [line for language, body in BLOCKS if language == "sh" for line in body.splitlines() if "import" in line]
    commands = [shlex.split(line, comments=True)[1:] for line in shown]
    assert {words[1] for words in commands} == {"hftbacktest", "cryptofeed", "frames", "ticks"}

    for words in commands:
        answer = place.wspt(*words)
        [file] = [word for word in words if word.endswith((".gz", ".1.0", ".jsonl", ".csv"))]
        assert (answer.code, answer.err.split(": expected")[0]) == (2, f"wspt: {file}"), answer


def test_every_command_is_in_the_table_and_every_one_in_the_table_is_there() -> None:
    listed = subprocess.run([*WSPT, "--help"], capture_output=True, text=True, check=True).stdout
    offered = re.findall(r"^  (\w+)  ", listed.partition("Commands:")[2], re.MULTILINE)

    assert sorted(COMMANDS) == sorted(offered)


def test_the_readme_names_only_files_that_are_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]

    missing = [link for link in links if not (REPOSITORY / link).exists()]

    assert missing == []
