"""What the commands promise to a person and to a machine: words, exit codes, JSON and nothing else on stdout."""

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from apps.commands.options import claimed_run
from apps.importing import simulated_tape
from recorder.run_care import write_label
from recorder.runs import read_manifest
from recorder.tape import Tape
from tests.commands import EAGER, PATIENT, WSPT, Place

COMMANDS = ("replay", "verify", "sql", "inspect", "import", "simulate", "runs", "new", "config", "explain", "diff")
HEAVY = ("pyarrow", "duckdb", "numpy", "rich.table", "rich.console", "streamlit", "talipp", "apps.session")
VIEWS = ("signals", "orders", "fills", "positions", "equity", "round_trips", "leaderboard")
ANNOUNCED = '''

def on_start(config, state):
    """Say that the run has begun: the tape lasts half a minute more."""
    print("begun", flush=True)
'''
LOUD = """
import os, sys
os.system("echo a program")
os.write(1, b"a descriptor\\n")
print("the first stdout", file=sys.__stdout__, flush=True)
print("loaded")
"""
TAPE_VIEWS = ("ticks", "trades", "quotes", "feed")

FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a minute of the simulated market."""
    path = tmp_path_factory.mktemp("tape") / "half.parquet"
    simulated_tape(7, 0.5, path)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with two strategies that trade."""
    place = Place(tmp_path)
    place.strategy("eager", EAGER)
    place.strategy("patient", PATIENT)
    return place


# -- help ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_reads_as_it_did(
    command: str, place: Place, monkeypatch: pytest.MonkeyPatch, snapshot: SnapshotAssertion
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")

    answer = place.wspt(*command.split(), "--help")

    assert answer.code == 0
    assert answer.out == snapshot


def test_help_needs_none_of_the_heavy_packages(place: Place) -> None:
    script = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "from apps.cli import main\n"
        "sys.argv = ['wspt', '--help']\n"
        "main()"
    )

    place.file("help.py", script)
    answer = place.spawn("help.py", program=[sys.executable])

    assert answer.code == 0
    assert not set(HEAVY) & set(answer.err.split())


# -- replay --------------------------------------------------------------------------------------------------


def test_replay_prints_one_json_object_and_nothing_else(place: Place, tape: Path) -> None:
    answer = place.spawn("replay", tape, "--out", "run", "--json")

    assert (answer.code, answer.err) == (0, "")
    assert answer.out.count("\n") == 1
    said = answer.json
    assert {"run", "tape", "ticks", "seconds", "ticks_per_s", "digest", "strategies"} <= set(said)
    assert (said["run"], said["tape"]) == ("run", [str(tape)])
    assert len(said["digest"]) == 64
    assert sorted(desk["name"] for desk in said["strategies"]) == ["eager", "patient"]


def test_replay_tells_of_each_desk_with_money_as_text(place: Place, tape: Path) -> None:
    said = place.wspt("replay", tape, "--only", "eager", "--json").json

    [desk] = said["strategies"]
    assert {
        "name", "equity", "pnl", "roi_pct", "fees", "fills", "round_trips", "win_rate", "max_drawdown_pct", "digest",
        "status",
    } <= set(desk)  # fmt: skip
    assert all(isinstance(desk[name], str) for name in ("name", "equity", "pnl", "fees", "digest", "status"))
    assert all(isinstance(desk[name], int) for name in ("fills", "round_trips"))
    assert desk["fills"] > 0


def test_the_digest_is_the_last_line_of_a_replay(place: Place, tape: Path) -> None:
    answer = place.wspt("replay", tape, "--out", "run")

    assert answer.code == 0
    assert answer.out.splitlines()[-1] == f"digest {place.wspt('verify', 'run', '--json').json['digest']}"


def test_a_replay_without_a_name_goes_into_a_new_folder_each_time(place: Place, tape: Path) -> None:
    first, second = (place.wspt("replay", tape, "--json").json for _ in range(2))

    assert first["run"] != second["run"]
    assert all(run.startswith("data/runs/") for run in (first["run"], second["run"]))
    assert first["digest"] == second["digest"]


def test_a_run_can_stand_for_its_tape(place: Place, tape: Path) -> None:
    first = place.wspt("replay", tape, "--out", "run", "--json").json

    again = place.wspt("replay", "run", "--out", "again", "--json").json

    assert again["digest"] == first["digest"]


def test_capital_is_what_every_strategy_starts_with(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run", "--capital", "2500.50")

    found = place.wspt("sql", "run", "--json", "select distinct on (strategy) strategy, cash from equity order by seq")

    assert sorted((row["strategy"], row["cash"]) for row in found.json) == [("eager", "2500.5"), ("patient", "2500.5")]


def test_what_is_set_from_outside_changes_the_history(place: Place, tape: Path) -> None:
    plain = place.wspt("replay", tape, "--json").json
    changed = place.wspt("replay", tape, "--set", "eager.every=7", "--json").json

    digests = [{desk["name"]: desk["digest"] for desk in said["strategies"]} for said in (plain, changed)]
    assert digests[0]["eager"] != digests[1]["eager"]
    assert digests[0]["patient"] == digests[1]["patient"]


def test_logs_are_written_where_they_are_asked_for(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run", "--logs")
    place.wspt("replay", tape, "--out", "quiet")

    assert (place.folder / "run" / "logs" / "trades.jsonl").is_file()
    assert not (place.folder / "quiet" / "logs").exists()


def test_a_strategy_that_raises_is_reported_and_the_others_go_on(place: Place, tape: Path) -> None:
    place.strategy("broken", "def generate_signal(data):\n    return 1 / 0\n")

    answer = place.wspt("replay", tape)

    assert answer.code == 0
    assert "broken failed: ZeroDivisionError at broken.py:2" in answer.out
    assert "Traceback" not in answer.out + answer.err


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_strategies_print_is_no_result(jobs: str, place: Place, tape: Path) -> None:
    place.strategy("eager", LOUD + EAGER + ANNOUNCED)
    place.strategy("patient", LOUD + PATIENT + ANNOUNCED)

    run = place.spawn("replay", tape, "--out", "run", "--jobs", jobs, "--json")
    verdict = place.spawn("verify", "run", "--json")

    assert run.json["status"] == "finished"
    assert verdict.json["identical"]
    for said in ("a program", "a descriptor", "the first stdout", "loaded", "begun"):
        assert said in run.err and said in verdict.err


CHATTY = """
from threading import Thread
def chat():
    for _ in range(20_000):
        print("and so on")
Thread(target=chat).start()
"""


def test_what_strategies_leave_to_be_said_at_the_end_is_no_result(place: Place, tape: Path) -> None:
    place.strategy("late", 'import atexit\natexit.register(print, "bye")\n' + CHATTY + EAGER)

    run = place.spawn("replay", tape, "--out", "run", "--json")

    assert run.json["status"] == "finished"
    assert "bye" in run.err and run.err.count("and so on") == 20_000


OBJECTS = """
from enum import Enum
class Kind(Enum):
    FAST = 1
CONFIG |= {"kind": Kind.FAST, "scale": lambda size: size * 2, "nothing": float("nan")}
"""


def test_a_config_may_hold_what_only_its_own_file_knows(place: Place, tape: Path) -> None:
    source = EAGER.replace("def generate_signal", OBJECTS + "\n\ndef generate_signal")
    source = source.replace('"buy", data.symbol, config["size"]', '"buy", data.symbol, config["scale"](config["size"])')
    for name in ("eager", "keen"):
        place.strategy(name, source.replace('config["scale"]', '(config["kind"] is Kind.FAST) and config["scale"]'))

    one = place.spawn("replay", tape, "--out", "one", "--jobs", "1", "--json")
    two = place.spawn("replay", tape, "--out", "two", "--jobs", "2", "--json")

    assert one.code == two.code == 0
    assert [desk["status"] for desk in two.json["strategies"]] == ["ok", "ok", "ok"]
    assert one.json["digest"] == two.json["digest"]
    assert place.wspt("verify", "two").code == 0


NUMPYS = '''"""Speaks numpy in all that it says and keeps."""

import numpy as np

from engine import Signal


def generate_signal(data, state):
    state["seen"] = np.float64(data.price)
    state["indicators"] = {"price": np.float64(data.price), "count": np.int64(3), "word": np.str_("up")}
    return Signal(np.str_("buy"), np.str_(data.symbol), np.float64(5.0), reason=np.str_("because"))
'''


def test_words_and_numbers_may_be_numpys(place: Place, tape: Path) -> None:
    place.strategy("numpys", NUMPYS)

    run = place.wspt("replay", tape, "--out", "run", "--json")

    assert [desk["status"] for desk in run.json["strategies"]] == ["ok"] * len(run.json["strategies"])
    assert place.wspt("verify", "run", "--json").json["identical"]
    assert place.wspt("explain", "run", "numpys-1", "--json").json["decision"]["answer"][0]["reason"] == "because"
    [raised] = place.wspt(
        "sql", "run", "select indicators from signals where strategy = 'numpys' limit 1", "--json"
    ).json
    assert raised["indicators"].endswith('"word":"up"}')


DRAWING = '''"""Trades by chance."""

import random

from engine import Signal


def on_start(config, state):
    random.seed(1)


def generate_signal(data, state):
    return Signal("buy", data.symbol, 1.0) if random.random() < 0.02 else None
'''


def test_chance_is_a_strategys_own_whoever_else_draws(place: Place, tape: Path) -> None:
    place.strategy("here", DRAWING)
    place.strategy("there", DRAWING)

    together = place.spawn("replay", tape, "--json")
    apart = place.spawn("replay", tape, "--jobs", "2", "--json")
    alone = place.spawn("replay", tape, "--only", "here", "--json")

    assert together.json["digest"] == apart.json["digest"]
    assert alone.json["strategies"][0]["digest"] in [desk["digest"] for desk in together.json["strategies"]]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("verify", "x" * 300), "expected a file's name, found one that is too long"),
        (("simulate", "-o", "t.parquet", "--minutes", "inf"), "--minutes"),
        (("replay", "TAPE", "--only", "eager", "--set", "eager.every=inf"), "expected a value that JSON can hold"),
        (("replay", "TAPE", "--set", "eager.every=" + "9" * 5_000), "expected a TOML value"),
        (("import", "ticks", "mac.csv", "-o", "t.parquet"), "mac.csv: expected a table that can be read"),
    ],
)
def test_what_nobody_can_mean_is_one_sentence(words: tuple[str, ...], sentence: str, place: Place, tape: Path) -> None:
    place.strategy("eager", "CONFIG = {'every': 1.0}\n" + EAGER)
    place.file("mac.csv", "ts,symbol,price,size\r1700000000000000000,A/B,1,1\r")

    answer = place.wspt(*[str(tape) if word == "TAPE" else word for word in words])

    assert answer.code == 2
    assert sentence in answer.err and "Traceback" not in answer.err


def test_a_strategy_that_goes_elsewhere_takes_nobody_with_it(place: Place, tape: Path) -> None:
    goes = "import os\ndef on_stop(state):\n    os.chdir('/')\n"
    place.strategy("restless", goes + "def generate_signal(data):\n    os.chdir('/')\n")

    run = place.spawn("replay", tape, "--out", "run", "--json")

    assert run.json["status"] == "finished"
    assert place.spawn("verify", "run", "--json").json["identical"]


def test_a_failure_is_told_in_one_line_however_much_it_says(place: Place, tape: Path) -> None:
    place.strategy("wordy", "def generate_signal(data):\n    raise ValueError('much\\n' * 100_000)\n")

    answer = place.wspt("replay", tape)

    [line] = [line for line in answer.err.splitlines() if "wordy" in line]
    assert line.startswith("strategy failed: wordy.py:2 in generate_signal: ValueError: much much ")
    assert len(line) < 600


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_one_sentence(tape: Path) -> None:
    with FULL.open("wb") as full:
        done = subprocess.run([*WSPT, "inspect", str(tape)], stdout=full, stderr=subprocess.PIPE, check=False)

    assert done.returncode == 2
    assert done.stderr == b"wspt: output: expected room to write, found: No space left on device\n"


def test_a_symbol_that_a_terminal_cannot_show_is_escaped(place: Place) -> None:
    place.file("ticks.csv", "ts,symbol,price,size\n1,\u5e01/USDT,2,3\n")
    place.wspt("import", "ticks", "ticks.csv", "-o", "ticks.parquet")

    answer = place.spawn("inspect", "ticks.parquet", PYTHONIOENCODING="ascii")

    assert answer.code == 0
    assert "\\u5e01/USDT" in answer.out


def test_a_name_that_is_no_text_is_a_mistake(place: Place) -> None:
    answer = place.spawn("inspect", "tape\udcff.parquet")

    assert (answer.code, answer.err) == (2, "wspt: tape\\udcff.parquet: expected a name in UTF-8, found other bytes\n")


def test_a_command_leaves_nothing_open_that_python_would_warn_of(place: Place, tape: Path) -> None:
    assert place.spawn("inspect", tape, PYTHONWARNINGS="default").err == ""


def test_a_closed_stdout_is_nothing_to_fail_on(tape: Path) -> None:
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *WSPT, "inspect", str(tape)], capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (0, b"")


def test_a_strategy_that_watches_nothing_of_the_tape_is_told(place: Place, tape: Path) -> None:
    place.strategy("idle", 'SYMBOLS = ["XPR/USD"]\ndef generate_signal(data): ...\n')
    place.strategy("half", 'SYMBOLS = ["XRP/USD", "XPR/USD"]\ndef generate_signal(data): ...\n')

    answer = place.wspt("replay", tape)

    assert answer.code == 0
    hints = [line for line in answer.err.splitlines() if "SYMBOLS" in line]
    assert hints == ["idle: none of its SYMBOLS (XPR/USD) is on the tape; did you mean 'XRP/USD'?"]


def test_runs_that_start_in_one_moment_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ExitStack() as claims:
        folders = [claims.enter_context(claimed_run("tape.parquet")) for _ in range(3)]
        assert len(set(folders)) == 3
        (folders[1] / "run.json").touch()

    assert [folder.exists() for folder in folders] == [False, True, False]


def test_a_replay_of_nothing_leaves_no_run_behind(place: Place, tape: Path) -> None:
    answer = place.wspt("replay", tape, "--from", "2100-01-01")

    assert answer.code == 2
    assert not (place.folder / "data").exists()


@pytest.mark.parametrize("says", ["return 1 / 0", "raise SystemExit(3)"])
def test_a_failure_that_cannot_say_what_it_is_stops_nobody_else(says: str, place: Place, tape: Path) -> None:
    mute = f"class Mute(Exception):\n    def __str__(self):\n        {says}\n"
    place.strategy("mute", mute + "def generate_signal(data):\n    raise Mute\n")

    answer = place.wspt("replay", tape)

    assert answer.code == 0
    assert "mute failed: Mute at mute.py:5" in answer.out


def test_nothing_that_a_strategy_says_is_obeyed_by_the_terminal(place: Place, tape: Path) -> None:
    hostile = 'reason="\\x1b[2J\\x9bgone\\r\\n"'
    place.strategy("eager", EAGER.replace('reason="it is time"', hostile))
    place.strategy("rude", "def generate_signal(data):\n    raise ValueError('\\x1b[2J\\x9bgone')\n")

    run = place.wspt("replay", tape, "--out", "run")
    answers = [
        run,
        place.wspt("explain", "run", "eager-1"),
        place.wspt("explain", "run", "--at", str(Tape.open(tape).end), "--strategy", "rude"),
        place.wspt("sql", "run", "select reason from fills"),
        place.wspt("diff", "run", place.wspt("replay", tape, "--set", "eager.every=7", "--json").json["run"]),
        place.wspt("explain", "run", "\x1b[2J-1"),
    ]

    for answer in answers:
        assert all(line.isprintable() for line in (answer.out + answer.err).split("\n"))
    assert r"\x1b[2J\x9bgone\r\n" in answers[1].out


# -- verify --------------------------------------------------------------------------------------------------


def test_verify_says_identical_and_the_digest(place: Place, tape: Path) -> None:
    run = place.wspt("replay", tape, "--out", "run", "--json").json

    answer = place.wspt("verify", "run")

    assert answer.code == 0
    assert answer.out.startswith(f"identical {run['digest']} (")


def test_verify_prints_one_json_object(place: Place, tape: Path) -> None:
    run = place.wspt("replay", tape, "--out", "run", "--json").json

    said = place.wspt("verify", "run", "--json").json

    assert set(said) == {"identical", "events", "digest", "first_difference"}
    assert (said["identical"], said["digest"], said["first_difference"]) == (True, run["digest"], None)
    assert said["events"] > 0


def test_verify_with_a_changed_current_file_names_desk_event_and_both_versions(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")
    place.strategy("eager", EAGER.replace("it is time", "why not"))

    said = place.wspt("verify", "run", "--current", "--json")

    assert said.code == 1
    difference = said.json["first_difference"]
    assert difference["strategy"] == "eager"
    assert difference["recorded"]["seq"] == difference["replayed"]["seq"] == difference["seq"]
    assert (difference["recorded"]["reason"], difference["replayed"]["reason"]) == ("it is time", "why not")


def test_verify_says_in_words_what_differs(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")
    place.strategy("eager", EAGER.replace("it is time", "why not"))

    answer = place.wspt("verify", "run", "--current")

    assert answer.code == 1
    head, recorded, replayed = answer.out.splitlines()
    assert head.startswith("different: eager event ") and head.endswith(", SignalRaised differs in reason")
    assert '"reason":"it is time"' in recorded and '"reason":"why not"' in replayed


def test_verify_with_the_current_files_unchanged_is_identical(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")

    assert place.wspt("verify", "run", "--current").code == 0


# -- sql -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [*VIEWS, *TAPE_VIEWS])
def test_sql_answers_about_every_view(view: str, place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")

    answer = place.wspt("sql", "run", f"from {view} limit 3", "--json")

    assert answer.code == 0
    assert all(isinstance(row, dict) for row in answer.json)


def test_sql_joins_a_fill_with_the_quotes_of_the_second_before_it(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")

    answer = place.wspt(
        "sql", "run", "--json",
        "select f.strategy, f.seq, count(*) as quotes,"
        " min(f.ts - q.ts_recv) as nearest, max(f.ts - q.ts_recv) as oldest"
        " from fills f join quotes q"
        " on q.symbol = f.symbol and q.ts_recv between f.ts - 1_000_000_000 and f.ts group by all",
    )  # fmt: skip

    assert answer.json
    assert all(row["quotes"] > 0 and 0 <= row["nearest"] <= row["oldest"] <= 10**9 for row in answer.json)


def test_sql_without_a_run_asks_the_latest(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--only", "patient")

    answer = place.wspt("sql", "select distinct strategy from fills", "--json")

    assert answer.json == [{"strategy": "patient"}]


def test_sql_answers_about_no_other_tape_than_the_runs_own(place: Place, tape: Path) -> None:
    own = place.folder / "own.parquet"
    own.write_bytes(tape.read_bytes())
    place.wspt("replay", own, "--out", "run")
    assert place.wspt("sql", "run", "select count(*) from ticks").code == 0
    place.wspt("simulate", "--seed", "8", "--minutes", "0.1", "-o", own)

    asked = place.wspt("sql", "run", "select count(*) from ticks")
    again = place.wspt("replay", "run")

    for answer in (asked, again):
        assert answer.code == 2
        assert answer.err == f"wspt: run: expected the tape it was made of, found another one at {own}\n"
    assert place.wspt("sql", "run", "select count(*) from fills").code == 0


def test_sql_says_that_a_tape_is_gone(place: Place, tape: Path) -> None:
    own = place.folder / "own.parquet"
    own.write_bytes(tape.read_bytes())
    place.wspt("replay", own, "--out", "run")
    own.unlink()

    answer = place.wspt("sql", "run", "from quotes")

    assert (answer.code, answer.err) == (2, f"wspt: run: expected its tape {own}, found no such file\n")


def test_sql_prints_wide_tables_whole_where_no_terminal_is(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")

    lines = place.wspt("sql", "run", "from fills").out.splitlines()

    assert "…" not in "".join(lines)
    assert lines[0].split()[:5] == ["strategy", "seq", "tick_seq", "ts", "symbol"]
    assert all(line == line.rstrip() for line in lines)


# -- inspect, runs, new --------------------------------------------------------------------------------------


def test_inspect_prints_one_json_object(place: Place, tape: Path) -> None:
    said = place.wspt("inspect", tape, "--json").json

    assert {"ticks", "frames", "symbols", "venue", "start", "end", "kinds", "quality"} <= set(said)
    assert set(said["kinds"]) == {"trade", "quote", "book", "feed", "other"}
    assert sum(said["kinds"].values()) == said["ticks"]
    quality = {"gaps", "checksum_ok", "checksum_failed", "reconnects", "unparsed", "skew_ms", "longest_silence_s"}
    assert quality <= set(said["quality"])
    assert set(said["quality"]["skew_ms"]) == {"p50", "p99", "max"}
    assert isinstance(said["start"], int) and said["simulated"] is True


def test_inspect_takes_a_run_for_its_tape(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")

    assert place.wspt("inspect", "run", "--json").json == place.wspt("inspect", tape, "--json").json


def test_a_simulated_market_says_so_everywhere(place: Place, tape: Path) -> None:
    assert place.wspt("replay", tape).out.startswith("SIMULATED")
    assert "SIMULATED" in place.wspt("inspect", tape).out
    assert "(simulated)" in place.wspt("runs").out


def test_runs_lists_the_newest_first_and_broken_ones_last(place: Place, tape: Path) -> None:
    older, newer = (place.wspt("replay", tape, "--json").json["run"] for _ in range(2))
    (place.folder / "data/runs/0-half/ledger").mkdir(parents=True)

    said = place.wspt("runs", "--json").json

    assert [run["path"] for run in said] == [newer, older, "data/runs/0-half"]
    assert said[0]["status"] == "finished"
    assert "run.json" in said[2]["problem"]
    shown = place.wspt("runs")
    assert shown.code == 0
    assert said[2]["problem"] in shown.out.splitlines()[-1]


def test_runs_shows_what_a_run_was_called(place: Place, tape: Path) -> None:
    run = place.wspt("replay", tape, "--json").json["run"]
    assert "label" not in place.wspt("runs").out
    write_label(place.folder / run, "before the fee change")

    assert "before the fee change" in place.wspt("runs").out
    assert [known["label"] for known in place.wspt("runs", "--json").json] == ["before the fee change"]


def test_runs_says_where_there_are_none(place: Place) -> None:
    answer = place.wspt("runs")

    assert (answer.code, answer.out) == (0, "No runs in data/runs yet: `wspt replay TAPE` makes one.\n")
    assert place.wspt("runs", "--json").json == []


def test_a_new_strategy_runs_as_it_is(place: Place, tape: Path) -> None:
    made = place.wspt("new", "dip-2")

    assert made.code == 0
    assert (place.folder / "strategies" / "dip-2.py").is_file()
    [desk] = place.wspt("replay", tape, "--only", "dip-2", "--json").json["strategies"]
    assert desk["status"] == "ok"


def test_a_new_strategy_never_replaces_a_file(place: Place) -> None:
    answer = place.wspt("new", "eager")

    assert answer.code == 2
    assert (place.folder / "strategies" / "eager.py").read_text() == EAGER


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "/tmp/x", "_x", ".x", "..", "é", "x\ny"])
def test_a_new_strategy_needs_a_plain_name(name: str, place: Place) -> None:
    before = sorted(place.folder.rglob("*"))

    answer = place.wspt("new", name)

    assert answer.code == 2
    assert answer.err.startswith("wspt: ")
    assert sorted(place.folder.rglob("*")) == before


# -- being interrupted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_replay_ends_cleanly_and_what_it_did_can_be_verified(
    number: signal.Signals, place: Place, tape: Path
) -> None:
    place.strategy("eager", EAGER + ANNOUNCED)
    process = place.start("replay", tape, "--speed", "1x", "--out", "run", "--only", "eager")
    assert process.stderr is not None
    assert process.stderr.readline() == "begun\n"

    process.send_signal(number)
    out, err = process.communicate(timeout=30)

    assert (process.returncode, err) == (130, "")
    assert out.splitlines()[-1].startswith("digest ")
    assert read_manifest(place.folder / "run").status == "interrupted"
    assert place.wspt("verify", "run", "--json").json["identical"]


def test_wspt_is_quiet_about_a_reader_that_leaves(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")
    process = place.start("sql", "run", "from ticks")
    assert process.stdout is not None and process.stderr is not None

    process.stdout.readline()
    process.stdout.close()

    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait(timeout=30)
