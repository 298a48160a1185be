"""A session over a real socket, and the proof that its tape gives the same history again."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from apps import live
from apps.importing import simulated_tape
from recorder.tape import Tape
from recorder.venues.profiles import PROFILES
from tests.commands import EAGER, Place
from tests.sessions import Looking

RAISING = '''"""Fails in the middle of a session."""

from engine import Signal


def generate_signal(data, config, state):
    state["asked"] = state.get("asked", 0) + 1
    if state["asked"] == 400:
        raise ValueError("enough")
    return Signal("buy", data.symbol, 5.0) if state["asked"] == 100 else None
'''


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two minutes of the simulated market."""
    path = tmp_path_factory.mktemp("tape") / "market.parquet"
    simulated_tape(11, 2, path)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with two strategies, one of which fails on the way."""
    place = Place(tmp_path)
    place.strategy("eager")
    place.strategy("raising", RAISING)
    return place


def test_a_session_that_is_ended_while_it_begins_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def beginning(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(live, "_run", beginning)
    before = signal.getsignal(signal.SIGTERM)
    session = live.Session(
        profile=PROFILES["kraken"], symbols=["BTC/USD"], tape=tmp_path / "tape", run=tmp_path / "run"
    )

    with pytest.raises(KeyboardInterrupt):
        live.run_session(session, Looking(lambda recording, trading: None))

    assert not (tmp_path / "run").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def a_session(place: Place, *words: str | Path) -> dict[str, object]:
    """Serve a tape as it is told to, trade it until the server has nothing more to say, and end in order."""
    server = place.start("serve", *words, "--speed", "max")
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    session = place.start(
        "live", "--url", url, "--symbols", "BTC/USD,XRP/USD", "--strategies", "strategies", "--out", "run", "--json"
    )
    server.communicate(timeout=60)
    session.send_signal(signal.SIGTERM)
    out, err = session.communicate(timeout=60)
    assert session.returncode == 0, err
    said: dict[str, object] = json.loads(out)
    return said


@pytest.mark.parametrize("faults", ["", "garble=0.01,reorder=0.01", "disconnect=400f,drop=0.01,checksum=0.01,dup=0.01"])
def test_a_session_replays_to_the_same_history_whatever_the_venue_did(place: Place, tape: Path, faults: str) -> None:
    said = a_session(place, tape, *(["--fault", faults] if faults else []))

    verdict = place.wspt("verify", "run", "--json").json
    replayed = place.wspt("replay", "run", "--out", "again", "--json").json

    assert verdict == {
        "identical": True,
        "events": verdict["events"],
        "digest": said["digest"],
        "first_difference": None,
    }
    assert replayed["digest"] == said["digest"]
    assert replayed["ticks"] == said["ticks"]
    assert verdict["events"] > 100
    status = {desk["name"]: desk["status"] for desk in said["strategies"]}  # type: ignore[attr-defined]
    assert status == {"eager": "ok", "raising": "failed: ValueError at raising.py:9"}


def test_a_strategy_that_goes_elsewhere_takes_no_file_of_the_session_with_it(place: Place) -> None:
    place.strategy("restless", "import os\ndef generate_signal(data):\n    os.chdir('/')\n")

    session = place.spawn("live", "--simulated", "--duration", "2s", "--out", "run", "--json")

    assert (session.code, session.json["status"]) == (0, "finished")
    assert place.spawn("verify", "run", "--json").json["identical"]


def test_a_session_that_was_killed_is_recovered_and_replays(place: Place, tape: Path) -> None:
    server = place.start("serve", tape, "--speed", "20x")
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    session = place.start("live", "--url", url, "--symbols", "BTC/USD", "--out", "run")
    log = place.folder / "data" / "tapes" / "run"
    given_up = time.monotonic() + 30
    while sum(part.stat().st_size for part in log.glob("*.wal")) < 100_000:
        assert session.poll() is None and time.monotonic() < given_up

    session.kill()
    session.communicate(timeout=60)
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)
    recovered = place.wspt("recover", log)

    assert recovered.code == 0, recovered.err
    assert not list(log.glob("*.wal"))
    assert Tape.open(log).passport.checksum_ok > 50
    assert place.wspt("replay", log, "--out", "again").code == 0
    assert place.wspt("verify", "again").out.startswith("identical ")


def test_a_venue_that_is_not_there_is_a_mistake_in_what_was_asked(place: Place) -> None:
    answer = place.spawn("live", "--url", "ws://127.0.0.1:9", "--symbols", "BTC/USD", "--duration", "1s")

    assert answer.code == 2
    assert answer.err.splitlines()[-1].startswith("wspt: ws://127.0.0.1:9")


def test_a_venue_that_does_not_answer_is_no_venue(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"ws://127.0.0.1:{mute.getsockname()[1]}"

        answer = place.spawn("live", "--url", url, "--duration", "500ms")

    assert answer.code == 2
    assert answer.err.endswith(f"wspt: {url}/v2: expected a venue to connect to, found none: it has not answered\n")


@pytest.mark.parametrize("venue", ["kraken", "binance"])
def test_symbols_of_which_the_venue_lists_none_are_a_mistake_in_what_was_asked(place: Place, venue: str) -> None:
    server = place.start("serve", "--simulated", "--venue", venue)
    assert server.stdout is not None
    url = server.stdout.readline().strip()

    answer = place.spawn(
        "live", "--venue", venue, "--url", url, "--symbols", "BTC/UDS,XBT/USD", "--duration", "60s", "--out", "run"
    )

    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)
    assert answer.code == 2
    said = f"wspt: --symbols BTC/UDS,XBT/USD: expected what {venue} lists, found none of it; did you mean BTC/USD"
    assert answer.err.splitlines()[-1].startswith(said)


def test_a_market_that_is_made_up_elsewhere_is_marked_on_the_tape(place: Place) -> None:
    server = place.start("serve", "--simulated")
    assert server.stdout is not None
    url = server.stdout.readline().strip()

    answer = place.spawn("record", "--url", url, "--symbols", "BTC/USD", "--duration", "1s", "--out", "tape", "--json")

    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)
    assert json.loads(answer.out)["simulated"] is True
    assert 0 < json.loads(answer.out)["quality"]["skew_ms"]["p50"] < 1000


def test_a_session_keeps_logs_in_which_each_line_is_json_and_knows_its_tick(place: Place, tape: Path) -> None:
    place.file("wspt.toml", "[execution.kraken]\nlatency_ms = 0\n")  # on a fast machine all is told within 50 ms
    a_session(place, tape, "--fault", "disconnect=900f,checksum=0.01")

    logs = place.folder / "run" / "logs"
    said = {
        path.relative_to(logs).as_posix(): [json.loads(line) for line in path.read_text().splitlines()]
        for path in logs.rglob("*.jsonl")
    }

    assert said.keys() == {"system.jsonl", "trades.jsonl", "strategies/eager.jsonl", "strategies/raising.jsonl"}
    assert all({"tick_seq", "correlation_id"} <= line.keys() for lines in said.values() for line in lines)
    events = [line["event"] for line in said["system.jsonl"]]
    assert (events[0], events[-1]) == ("started", "sealed")
    assert {"connected", "subscribed", "disconnected", "checksum", "strategy_failed", "stopped"} <= set(events)
    fills = place.wspt("sql", "run", "select count(*) as n from fills", "--json").json
    assert len(said["trades.jsonl"]) == fills[0]["n"] > 0


def test_a_session_that_may_not_record_leaves_no_run_behind(place: Place) -> None:
    (place.folder / "data").mkdir()
    place.file("data/tapes", "a file in the place of the folder")

    answer = place.spawn("live", "--simulated", "--symbols", "BTC/USD", "--out", "run", "--duration", "1s")

    assert answer.code == 2
    assert answer.err.splitlines()[-1].startswith("wspt: data/tapes/run: expected a disk that takes what arrives")
    assert not (place.folder / "run").exists()


def test_a_session_goes_on_though_nobody_reads_what_it_and_its_strategies_say(place: Place) -> None:
    place.strategy("talking", ('print("x" * 10_000)\n' + EAGER).replace("seen = ", 'print("x" * 10_000); seen = '))
    words = ("--symbols", "BTC/USD", "--strategies", "strategies/talking.py", "--out", "run", "--duration", "3s")
    session = place.start("live", "--simulated", *words)
    assert session.stdout is not None and session.stderr is not None

    session.stderr.close()
    report = session.stdout.read()
    session.wait(timeout=60)

    session.stdout.close()
    assert session.returncode == 0
    assert "digest " in report and "failed" not in report
    assert place.wspt("verify", "run").code == 0


def test_recording_alone_makes_a_tape(place: Place) -> None:
    answer = place.spawn("record", "--simulated", "--symbols", "BTC/USD", "--duration", "2s", "--out", "tape", "--json")

    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["simulated"] is True
    assert json.loads(answer.out)["quality"]["checksum_failed"] == 0


@pytest.mark.parametrize("venue", ["kraken", "binance"])
def test_a_made_up_market_speaks_as_the_venue_that_was_asked_for(place: Place, venue: str) -> None:
    answer = place.spawn("record", "--simulated", "--venue", venue, "--duration", "2s", "--out", "tape", "--json")

    assert answer.code == 0, answer.err
    said = json.loads(answer.out)
    assert (said["venue"], said["symbols"], said["simulated"]) == (venue, ["BTC/USD"], True)
    assert said["kinds"]["book"] > 0


def test_a_recording_goes_on_in_its_folder_and_counts_its_connections_on(place: Place) -> None:
    words = ("record", "--simulated", "--symbols", "BTC/USD", "--duration", "1s", "--out", "tape")
    assert place.spawn(*words).code == 0

    again = place.spawn(*words)

    assert again.code == 0, again.err
    tape = Tape.open(place.folder / "tape")
    assert set(tape.table(["conn"])["conn"].to_pylist()) == {0, 1}


def test_a_recording_does_not_go_on_with_one_of_another_market(place: Place, tape: Path) -> None:
    words = ("--duration", "1s", "--out", "tape", "--url", "ws://127.0.0.1:1")
    (place.folder / "tape").mkdir()
    (place.folder / "tape" / "part-000000.parquet").write_bytes(tape.read_bytes())

    other, real = place.wspt("record", "--venue", "binance", *words), place.wspt("record", *words)

    assert (other.code, real.code) == (2, 2)
    assert other.err.endswith("tape: expected a recording of binance to go on with, found one of simulated kraken\n")
    assert real.err.endswith("tape: expected a recording of kraken to go on with, found one of simulated kraken\n")
    assert sorted(path.name for path in (place.folder / "tape").iterdir()) == ["part-000000.parquet"]


def test_a_session_can_be_asked_and_replayed_while_it_runs(place: Place, tape: Path) -> None:
    server = place.start("serve", tape, "--speed", "20x")
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    session = place.start("live", "--url", url, "--symbols", "BTC/USD,XRP/USD", "--out", "data/runs/run")
    given_up = time.monotonic() + 30
    question = "SELECT count(*) AS n, max(tick_seq) AS latest, (SELECT max(seq) FROM ticks) AS tick FROM events"
    while (asked := place.wspt("sql", "run", question, "--json")).code != 0 or asked.json[0]["n"] < 20:
        assert session.poll() is None and time.monotonic() < given_up

    listed = place.wspt("runs", "--json").json
    refused = [
        place.wspt("live", "--resume", "run", "--duration", "1s"),
        place.wspt("recover", "run"),
        place.wspt("live", "--simulated", "--out", "data/runs/run", "--duration", "1s"),
        place.wspt("record", "--simulated", "--out", "data/tapes/run", "--duration", "1s"),
    ]
    replayed = place.wspt("replay", "data/runs/run", "--out", "again")
    again = [place.wspt("verify", "again").out]
    server.send_signal(signal.SIGTERM)
    session.send_signal(signal.SIGTERM)
    session.communicate(timeout=60)
    server.communicate(timeout=60)
    again.append(place.wspt("verify", "again").out)

    assert asked.json[0]["tick"] >= asked.json[0]["latest"]
    assert [run["status"] for run in listed] == ["running"]
    assert [answer.code for answer in refused] == [2, 2, 2, 2]
    assert all("expected to be alone in this folder, found a session" in answer.err for answer in refused[:2])
    assert "expected a new or empty folder for the run" in refused[2].err
    assert "expected to be alone in this folder, found a recorder" in refused[3].err
    assert [len(answer.err.splitlines()) for answer in refused if answer is not refused[2]] == [1, 1, 1]
    assert replayed.code == 0, replayed.err
    assert again[0].startswith("identical ") and again[0] == again[1]
    assert len(place.wspt("sql", "again", "FROM ticks", "--json").json) > 100
