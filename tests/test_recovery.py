"""Runs that were killed or stopped: made whole from their tape, and gone on with, as if nothing had happened."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from apps.problems import UserProblem
from apps.recording import Recording
from apps.recovery import ASIDE, recover_run
from apps.resuming import resumed_session
from apps.serving import Source, simulated_source
from apps.simulator import simulate
from apps.verify import verify
from engine.events import Event, OrderFilled
from recorder.frame_log import FrameLog, LogHeader, Record, RecordKind, read_log
from recorder.ledger import read_events
from recorder.ledger_tail import read_tail
from recorder.log_folder import RUNNING, FolderLock, LogProblem
from recorder.run_files import RunFiles
from recorder.runs import Manifest, RunProblem, read_manifest, read_status, write_manifest
from recorder.tape import Tape
from tests.commands import EAGER, Place
from tests.sessions import a_venue, trade

SYMBOLS = ["BTC/USD", "XRP/USD"]
RESTING = '''"""Leaves an order far away that rests for good, and counts what it has seen."""

from engine import Signal

TRIGGER = "trade"


def generate_signal(data, config, state):
    """The first order stays open; the thousandth trade is told."""
    seen = state["seen"] = state.get("seen", 0) + 1
    if seen == 1:
        return Signal("buy", data.symbol, 10.0, order_type="limit", limit_price=data.price * 0.5, reason="far away")
    if seen % 50 == 0:
        return Signal("buy", data.symbol, 5.0, reason=f"trade {seen}")
    return None
'''


EARLY, LATE = simulated_source(11, 60), simulated_source(11, 30, after_s=60)
"""A minute of the simulated market, and what comes after it."""


def events_of(run: Path) -> dict[str, list[Event]]:
    files = RunFiles(run)
    try:
        return read_events(files.look(with_log=False).ledger)
    finally:
        files.close()


def trade_and_die(source: Source, folder: Path, strategies: list[Path], *, records: int, resumes: bool = False) -> Path:
    """A run as `kill -9` leaves it after some records: everything on disk at one moment, and nobody there."""

    def snatch(recording: Recording) -> bool:
        if recording.records < records:
            return False
        for name in ("run", "tape"):
            shutil.copytree(folder / name, folder / "snatched" / name)
        return True

    with a_venue(source) as server:
        trade(server, folder, strategies, SYMBOLS, until=snatch, resumes=resumes)
    for name in ("run", "tape"):
        shutil.rmtree(folder / name)
        (folder / "snatched" / name).rename(folder / name)
    return folder / "run"


@pytest.fixture(scope="module")
def strategies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("strategies")
    (folder / "eager.py").write_text(EAGER)
    (folder / "resting.py").write_text(RESTING)
    return [folder]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, strategies: list[Path]) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    trade_and_die(EARLY, folder, strategies, records=1_000)
    return folder.rename(folder.with_name("moved"))  # a run that is moved with its tape finds it beside itself


@pytest.fixture
def crashed(tmp_path: Path, killed: Path) -> Path:
    """A run that was killed, of its own."""
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


# -- recovery


def test_a_killed_run_is_made_whole(crashed: Path) -> None:
    before, status = events_of(crashed), read_status(crashed)[1]

    recovery = recover_run(crashed)

    after = events_of(crashed)
    assert status == "crashed"
    assert recovery.remade is not None and recovery.remade.difference is None
    assert {name: own[: len(before[name])] for name, own in after.items()} == before
    assert sum(map(len, before.values())) == recovery.remade.found > 50
    verdict = verify(crashed)
    assert verdict.identical and verdict.digest == recovery.manifest.digest == read_manifest(crashed).digest
    assert read_status(crashed)[1] == "finished"
    assert not list(crashed.parent.glob("tape/*.wal"))
    fills = [event for own in after.values() for event in own if isinstance(event, OrderFilled)]
    assert len((crashed / "logs" / "trades.jsonl").read_text().splitlines()) == len(fills) > 10


def test_a_killed_run_is_compared_as_far_as_it_goes(crashed: Path) -> None:
    verdict = verify(crashed)

    assert (verdict.identical, verdict.status) == (True, "crashed")
    assert verdict.events == sum(map(len, events_of(crashed).values()))


def test_a_run_that_has_ended_is_left_as_it_is(crashed: Path) -> None:
    recover_run(crashed)
    before = {path: path.read_bytes() for path in crashed.rglob("*") if path.is_file()}

    assert recover_run(crashed).remade is None
    assert {path: path.read_bytes() for path in crashed.rglob("*") if path.is_file()} == before


def test_a_run_that_somebody_runs_is_not_recovered(crashed: Path) -> None:
    with FolderLock(crashed, RUNNING), pytest.raises(LogProblem, match="found a session"):
        recover_run(crashed)


def test_recovery_that_was_killed_is_done_again(crashed: Path) -> None:
    ledger = crashed / "ledger"
    for name in ("seg-000001.parquet", "seg-000002.parquet.tmp", "live-000003.jsonl"):
        (ledger / name).write_bytes(b"of a recovery that never came to its manifest")

    recover_run(crashed)

    assert verify(crashed).identical
    assert [path.name for path in ledger.iterdir()] == read_manifest(crashed).segments


def test_a_ledger_that_says_something_else_is_replaced_kept_aside_and_told(crashed: Path) -> None:
    [tail] = (crashed / "ledger").glob("*.jsonl")
    fill = tail.read_bytes().index(b'"type":"OrderFilled"')
    at = tail.read_bytes().index(b'"quantity":"', fill) + len(b'"quantity":"0.')
    data = bytearray(tail.read_bytes())
    data[at] = ord("7") if data[at] != ord("7") else ord("8")
    tail.write_bytes(data)

    recovery = recover_run(crashed)

    assert recovery.remade is not None and recovery.remade.difference is not None
    assert (crashed / "ledger" / ASIDE / tail.name).read_bytes() == data
    assert verify(crashed).identical


def test_events_whose_ticks_a_power_cut_took_are_replaced_by_what_the_tape_gives(crashed: Path) -> None:
    [log] = crashed.parent.glob("tape/*.wal")
    log.write_bytes(log.read_bytes()[: log.stat().st_size * 2 // 3])
    found = sum(map(len, events_of(crashed).values()))

    recovery = recover_run(crashed)

    assert recovery.remade is not None and recovery.remade.difference is None
    assert 0 < recovery.remade.lost_ticks < recovery.remade.found == found
    assert verify(crashed).identical


def test_a_torn_tail_is_mended_wherever_it_was_cut(crashed: Path) -> None:
    [tail] = (crashed / "ledger").glob("*.jsonl")
    data, before = tail.read_bytes(), events_of(crashed)
    tail.write_bytes(data[: len(data) // 2])
    found = len(read_tail(tail).events)

    recovery = recover_run(crashed)

    assert recovery.remade is not None and recovery.remade.difference is None
    assert 0 < recovery.remade.found == found
    after = events_of(crashed)
    assert {name: own[: len(before[name])] for name, own in after.items()} == before


@pytest.mark.parametrize("seed", range(8))
def test_a_run_is_made_whole_whatever_a_crash_did_to_both_its_files(crashed: Path, seed: int) -> None:
    chance = random.Random(seed)
    [log], [tail] = crashed.parent.glob("tape/*.wal"), (crashed / "ledger").glob("*.jsonl")
    damage(log, chance)
    damage(tail, chance)

    recovery = recover_run(crashed)

    assert recovery.remade is not None
    assert verify(crashed).identical
    assert all([event.seq for event in own] == list(range(len(own))) for own in events_of(crashed).values())


def damage(path: Path, chance: random.Random) -> None:
    """Cut a file off, flip one of its bits, or let it end in zeros; not in its first bytes, which no crash reaches."""
    data = bytearray(path.read_bytes())
    at = chance.randrange(2_000, len(data))
    match chance.randrange(3):
        case 0:
            del data[at:]
        case 1:
            data[at] ^= 1 << chance.randrange(8)
        case _:
            data[at:] = bytes(len(data) - at)
    path.write_bytes(data)


# -- going on


def test_a_killed_session_goes_on_with_its_memory_its_orders_and_its_ids(
    crashed: Path,
) -> None:
    before = events_of(crashed)

    with a_venue(LATE) as server:
        manifest = trade(server, crashed.parent, [], SYMBOLS, resumes=True)

    after, verdict = events_of(crashed), verify(crashed)
    assert {name: own[: len(before[name])] for name, own in after.items()} == before
    assert verdict.identical and verdict.digest == manifest.digest
    assert all([event.seq for event in own] == list(range(len(own))) for own in after.values())
    tape = Tape.open(crashed.parent / "tape")
    notes = [row["note"] for row in tape.table(["note", "kind"]).to_pylist() if row["kind"] == 4]
    interrupted = [number for number, note in enumerate(notes) if "the session was interrupted" in note]
    assert len(interrupted) == 1 and '"event":"connected"' in "".join(notes[interrupted[0] :])
    assert tape.table(["conn"])["conn"].to_pylist()[-1] >= 1
    # Only one that remembers the trades before the crash counts on from there.
    told = [event.reason for event in after["resting"] if type(event).__name__ == "SignalRaised"]
    assert told == ["far away", *(f"trade {50 * (number + 1)}" for number in range(len(told) - 1))]
    assert len(told) > len([event for event in before["resting"] if type(event).__name__ == "SignalRaised"])
    assert [event for event in after["resting"] if type(event).__name__ == "OrderRested"]


def test_a_session_that_was_stopped_goes_on_again_and_again_as_one(tmp_path: Path, strategies: list[Path]) -> None:
    digests: list[str | None] = []
    for round_ in range(3):
        with a_venue(simulated_source(11, 10, after_s=10 * round_)) as server:
            manifest = trade(server, tmp_path, strategies, SYMBOLS, resumes=round_ > 0)
        digests.append(manifest.digest)

        assert verify(tmp_path / "run").identical

    assert len(set(digests)) == 3
    assert len(read_manifest(tmp_path / "run").segments) == 2


def test_a_resumed_session_that_is_killed_can_be_recovered(crashed: Path) -> None:
    trade_and_die(LATE, crashed.parent, [], records=300, resumes=True)

    recovery = recover_run(crashed)

    assert recovery.remade is not None and recovery.remade.difference is None
    assert verify(crashed).identical


def a_replay(run: Path, manifest: Manifest) -> None:
    write_manifest(run, msgspec.structs.replace(manifest, kind="replay", feed=None))


def without_tape(run: Path, manifest: Manifest) -> None:
    shutil.rmtree(run.parent / "tape")


def with_other_code(run: Path, manifest: Manifest) -> None:
    (run / "strategies" / "eager.py").write_text(EAGER.replace("10.0", "11.0"))


def never_connected(run: Path, manifest: Manifest) -> None:
    write_manifest(run, msgspec.structs.replace(manifest, status="failed"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (a_replay, "expected a live run, found a replay"),
        (without_tape, "expected its tape"),
        (with_other_code, "expected the code that ran in strategies/eager.py, found a changed file"),
        (never_connected, "found one that never reached its venue"),
    ],
)
def test_what_cannot_go_on_is_refused_in_one_sentence(
    crashed: Path, spoil: Callable[[Path, Manifest], None], said: str
) -> None:
    spoil(crashed, read_manifest(crashed))

    with pytest.raises((UserProblem, RunProblem)) as problem:
        resumed_session(crashed)

    assert said in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_session_does_not_go_on_from_a_history_that_its_tape_does_not_give(crashed: Path) -> None:
    [tail] = (crashed / "ledger").glob("*.jsonl")
    tail.write_bytes(tail.read_bytes().replace(b"it is time", b"it is late", 1))

    with a_venue(LATE) as server, pytest.raises(UserProblem, match="expected its tape to give its history again"):
        trade(server, crashed.parent, [], SYMBOLS, resumes=True)

    assert read_status(crashed)[1] == "crashed"
    assert not [path for path in crashed.parent.glob("tape/*.wal") if read_log(path).records]


def test_the_command_line_refuses_what_would_make_another_run_of_it(tmp_path: Path, crashed: Path) -> None:
    (tmp_path / "place").mkdir()
    place = Place(tmp_path / "place")

    for words in (["--symbols", "ETH/USD"], ["--capital", "7"], ["--simulated"], ["--venue", "binance"]):
        answer = place.wspt("live", "--resume", crashed, *words)

        assert answer.code == 2
        assert words[0] in answer.err and len(answer.err.splitlines()) == 1


def test_the_log_of_a_recording_tells_that_it_was_recovered(tmp_path: Path) -> None:
    place = Place(tmp_path)
    tape = place.folder / "tape"
    with FrameLog(tape, LogHeader(venue="kraken")) as log:
        for number, frame in enumerate(simulate(seconds=2)):
            log.append(Record(frame.ts_recv or 0, number, 0, RecordKind.FRAME, frame.payload))

    assert place.wspt("recover", tape).code == 0
    assert place.wspt("recover", tape).code == 0

    [line] = [json.loads(line) for line in (tape / "logs" / "system.jsonl").read_text().splitlines()]
    assert (line["event"], line["log"]) == ("recovered", "part-000000.wal")
