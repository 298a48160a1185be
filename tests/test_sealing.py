"""Sealing, recovery and reading while recording: whatever happens to a log, its rows are those of its whole records."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import pytest

from apps.simulator import simulate
from engine.ticks import Tick
from recorder.assembly import Assembler
from recorder.frame_log import FrameLog, LogHeader, LogProblem, Record, RecordKind, read_log
from recorder.imports import cryptofeed, hftbacktest
from recorder.log_folder import parts_of
from recorder.sealing import SealedLog, Sealer, SealingProcess, recover
from recorder.tape import Tape, TapeProblem
from recorder.venues import Frame

URL = "wss://example.test"
SECOND = 1_000_000_000
Line = tuple[object, ...]


# -- what is recorded


def as_records(frames: Iterable[Frame], seed: int = 1, start_ns: int = 1_700_000_000 * SECOND) -> list[Record]:
    """Frames as a feed would record them: connections come and go, there are silences and notes, the clock jumps."""
    chance = random.Random(seed)
    said = [
        (RecordKind.CLOCK, b""),
        (RecordKind.NOTE, b'{"event":"stale","symbol":"BTC/USD"}'),
        (RecordKind.NOTE, b'{"event":"slow","symbol":"BTC/USD"}'),
        (RecordKind.NOTE, b'{"event":"rejected","symbol":"XRP/USD"}'),
        (RecordKind.NOTE, b"\xff"),
        (RecordKind.FRAME, b"\xff\x00 no frame of anybody"),
        (RecordKind.DISCONNECTED, b"going away"),
        (RecordKind.CONNECTED, URL.encode()),
    ]
    records = [Record(start_ns, 0, 0, RecordKind.CONNECTED, URL.encode())]
    conn = 0
    for number, frame in enumerate(frames):
        at = frame.ts_recv if frame.ts_recv is not None else start_ns + number * 1_000_000
        at -= 3_600 * SECOND if chance.random() < 0.002 else 0
        if chance.random() < 0.02:
            kind, payload = chance.choice(said)
            conn += kind == RecordKind.CONNECTED
            records.append(Record(at, number, conn, kind, payload))
        if frame.url is None:
            records.append(Record(at, number, conn, RecordKind.FRAME, frame.payload))
        else:
            records.append(Record(at, number, conn, RecordKind.REST, frame.url.encode() + b"\n" + frame.payload))
    return records


def kraken_capture(captures: Path) -> list[Frame]:
    names = ("v2_book10_btcusd_20260719T1754Z.jsonl", "v2_trades_btcusd_ethusd_20260926.jsonl")
    return [Frame(None, line) for name in names for line in (captures / "kraken" / name).read_bytes().splitlines()]


def binance_capture(captures: Path) -> list[Frame]:
    frames = hftbacktest([captures / "binance_spot" / "btcusdt_20240809.gz"])
    return [frame for frame, _ in zip(frames, range(6_000), strict=False)]


def binance_with_rest(captures: Path) -> list[Frame]:
    folder = captures / "binance_spot"
    return list(cryptofeed([folder / "BINANCE.ws.1.0_20211012", folder / "BINANCE.http.0.0_20211012"]))


def simulation(_: Path) -> list[Frame]:
    return list(simulate(seconds=60))


STREAMS: dict[str, tuple[str, Callable[[Path], list[Frame]]]] = {
    "kraken": ("kraken", kraken_capture),
    "binance": ("binance", binance_capture),
    "binance with rest": ("binance", binance_with_rest),
    "simulated": ("kraken", simulation),
}


@pytest.fixture(scope="module")
def simulated() -> list[Record]:
    return as_records(simulate(seconds=20))


def log_of(folder: Path, records: Sequence[Record], venue: str = "kraken", part_bytes: int = 2**30) -> FrameLog:
    """A log with some records, still open."""
    log = FrameLog(folder, LogHeader(venue=venue, url=URL), part_bytes=part_bytes)
    for record in records:
        log.append(record)
    return log


def recorded(folder: Path, records: Sequence[Record], venue: str = "kraken", part_bytes: int = 2**30) -> Path:
    """A folder in which some records were logged, and nothing was sealed."""
    log_of(folder, records, venue, part_bytes).close()
    return folder


# -- what must come back


def assembled(records: Sequence[Record], venue: str = "kraken", symbols: Sequence[str] | None = None) -> list[Line]:
    """The rows that a live session sees."""
    assembler = Assembler(venue, symbols)
    lines: list[Line] = []
    for record in records:
        rows = assembler.take(record)
        for number, tick in enumerate(rows.ticks):
            lines.append(line(len(lines), rows.ts_recv, rows.conn, tick, rows.payload if number == 0 else None))
    return lines


def on_tape(*places: Path) -> list[Line]:
    tape = Tape.open(places)
    return [line(r.seq, r.ts_recv, r.conn, r.tick, r.frame) for r in tape.ticks(tape.first_seq, 2**62)]


def line(seq: int, ts_recv: int, conn: int, tick: Tick, frame: bytes | None) -> Line:
    return seq, ts_recv, conn, repr((int(tick.kind), *msgspec.structs.astuple(tick)[1:])), frame


def in_batches(folder: Path) -> list[Line]:
    """What the engine gets of a tape."""
    return [
        (batch.first_seq + row, batch.ts[row], batch.kind[row], repr(batch.bid[row]), batch.notes.get(row))
        for batch in Tape.open(folder).batches(1_000)
        for row in range(len(batch))
    ]


# -- sealing


@pytest.mark.parametrize("name", STREAMS)
def test_rows_are_the_same_live_in_open_logs_and_sealed_in_any_parts(captures: Path, tmp_path: Path, name: str) -> None:
    venue, frames = STREAMS[name]
    records = as_records(frames(captures))
    size = sum(len(record.payload) for record in records)
    expected = assembled(records, venue)

    folder = recorded(tmp_path / "tape", records, venue, part_bytes=size // 5)
    while_open, batches = on_tape(folder), in_batches(folder)
    logs = sorted(folder.glob("*.wal"))
    for log in logs[:3]:
        with Sealer(folder) as sealer:  # each of them must find out for itself what was known before
            assert list(sealer.steps(log))[-1] is not None
        for known in folder.glob("*.known"):
            known.unlink()
    half_sealed = on_tape(folder)
    recover(folder)

    assert len(logs) > 4
    assert while_open == expected
    assert half_sealed == expected
    assert on_tape(folder) == expected
    assert in_batches(folder) == batches
    assert [set(endings) for endings in parts_of(folder).values()] == [{"parquet"}] * len(logs)


def test_frames_of_a_sealed_tape_are_the_bytes_that_arrived(tmp_path: Path, simulated: list[Record]) -> None:
    rest = Record(simulated[-1].wall_ns, 0, 0, RecordKind.REST, b"https://x/?a=1\nbody\nof two lines")
    folder = recorded(tmp_path, [*simulated, rest])

    recover(folder)

    frames = [frame for _, frame in Tape.open(folder).frames()]
    assert [f.payload for f in frames[:-1]] == [r.payload for r in simulated if r.kind == RecordKind.FRAME]
    assert (frames[-1].url, frames[-1].payload) == ("https://x/?a=1", b"body\nof two lines")


def test_passport_of_the_parts_is_that_of_the_whole(tmp_path: Path, simulated: list[Record]) -> None:
    whole, parts = recorded(tmp_path / "whole", simulated), recorded(tmp_path / "parts", simulated, part_bytes=30_000)

    recover(whole)
    recover(parts)

    passports = [Tape.open(folder).passport for folder in (whole, parts)]
    assert passports[0] == passports[1]
    assert passports[0].clock_reversals > 0 and passports[0].unparsed > 0 and passports[0].checksum_ok > 10


def test_what_a_sealer_tells_is_what_it_did(tmp_path: Path, simulated: list[Record]) -> None:
    folder = recorded(tmp_path, simulated)

    [sealed] = recover(folder)

    rows = len(assembled(simulated))
    assert sealed == SealedLog(log="part-000000.wal", part="part-000000.parquet", rows=rows, torn_bytes=0, torn=None)
    assert recover(folder) == []


def test_a_log_without_a_record_becomes_a_part_without_a_row(tmp_path: Path, simulated: list[Record]) -> None:
    recorded(tmp_path, [])
    recorded(tmp_path, simulated)

    recover(tmp_path)

    assert list(parts_of(tmp_path)) == [0, 1]
    assert on_tape(tmp_path) == assembled(simulated)


def test_a_recording_that_goes_on_later_is_one_tape(tmp_path: Path, simulated: list[Record]) -> None:
    for start in range(0, len(simulated), 100):
        recorded(tmp_path, simulated[start : start + 100])
        if start % 200:
            recover(tmp_path)

    assert on_tape(tmp_path) == assembled(simulated)


def test_a_recording_of_other_symbols_goes_on_with_what_was_known(tmp_path: Path, simulated: list[Record]) -> None:
    for symbols, records in ((["BTC/USD"], simulated[:200]), (["XRP/USD"], simulated[200:])):
        with FrameLog(tmp_path, LogHeader(venue="kraken", symbols=symbols)) as log:
            for record in records:
                log.append(record)

    while_open = on_tape(tmp_path)
    recover(tmp_path)

    # Only the first of the two had the instruments, which are sent once.
    assert on_tape(tmp_path) == while_open == assembled(simulated, symbols=["BTC/USD"])


def test_sealed_binance_day_takes_a_quarter_of_its_frames(captures: Path, tmp_path: Path) -> None:
    frames = list(hftbacktest([captures / "binance_spot" / "btcusdt_20240809.gz"]))
    records = [Record(frame.ts_recv or 0, 0, 0, RecordKind.FRAME, frame.payload) for frame in frames]

    recover(recorded(tmp_path, records, "binance"))

    sealed = sum(path.stat().st_size for path in tmp_path.glob("*.parquet"))
    assert sealed <= 0.25 * sum(len(frame.payload) for frame in frames)


# -- crashes

KILLED = """
import os, sys
from pathlib import Path
from recorder.sealing import Sealer
folder, steps = Path(sys.argv[1]), int(sys.argv[2])
with Sealer(folder) as sealer:
    for number, _ in enumerate(sealer.steps(folder / "part-000001.wal"), start=1):
        if number == steps:
            os._exit(9)
"""


@pytest.mark.parametrize("steps", range(1, 6))
def test_sealing_that_is_killed_after_any_step_is_done_again_with_the_same_bytes(
    tmp_path: Path, simulated: list[Record], steps: int
) -> None:
    folder = recorded(tmp_path / "tape", simulated, part_bytes=40_000)
    torn = folder / "part-000001.wal"
    torn.write_bytes(torn.read_bytes() + b"torn")
    with Sealer(folder) as sealer:
        list(sealer.steps(folder / "part-000000.wal"))
    shutil.copytree(folder, tmp_path / "unharmed")
    recover(tmp_path / "unharmed")

    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(steps)], check=False)
    between = on_tape(folder)
    recover(folder)

    assert killed.returncode == 9
    assert between == assembled(simulated)
    assert contents(folder) == contents(tmp_path / "unharmed")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_part_that_was_cut_off_while_it_was_written_is_written_again(tmp_path: Path, simulated: list[Record]) -> None:
    folder = recorded(tmp_path, simulated)
    for name in ("part-000000.unchecked", "part-000000.unchecked.tmp", "part-000000.torn.tmp"):
        (folder / name).write_bytes(b"PAR1 and no more")

    recover(folder)

    assert on_tape(folder) == assembled(simulated)


def test_a_damaged_log_gives_exactly_the_rows_before_the_damage(tmp_path: Path, simulated: list[Record]) -> None:
    records = simulated[:100]
    folder = recorded(tmp_path, records)
    log = folder / "part-000000.wal"
    data = log.read_bytes()
    starts = len(data) - sum(27 + len(record.payload) for record in records)
    expected = assembled(records)
    rows_after = [len(assembled(records[:count])) for count in range(len(records) + 1)]
    chance = random.Random(5)

    for number in range(60):
        at = chance.randrange(starts + 200, len(data))
        flipped = data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
        log.write_bytes(data[:at] if number % 2 else flipped)
        whole = len(read_log(log).records)

        assert on_tape(folder) == expected[: rows_after[whole]]


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_log_is_sealed_to_its_whole_records_and_its_torn_bytes_are_kept(
    tmp_path: Path, simulated: list[Record], seed: int
) -> None:
    folder = recorded(tmp_path, simulated)
    log = folder / "part-000000.wal"
    data = bytearray(log.read_bytes())
    data[random.Random(seed).randrange(1_000, len(data))] ^= 4
    log.write_bytes(data)
    read = read_log(log)

    [sealed] = recover(folder)

    assert on_tape(folder) == assembled(read.records)
    assert sealed.torn_bytes == read.torn_bytes == len(data) - read.torn_at > 0
    assert sealed.torn == "part-000000.torn"
    assert (folder / "part-000000.torn").read_bytes() == data[read.torn_at :]


def test_zeros_behind_a_log_are_told_and_not_kept(tmp_path: Path, simulated: list[Record]) -> None:
    folder = recorded(tmp_path, simulated)
    with (folder / "part-000000.wal").open("ab") as file:
        file.write(bytes(5_000))

    [sealed] = recover(folder)

    assert (sealed.torn_bytes, sealed.torn) == (5_000, None)
    assert on_tape(folder) == assembled(simulated)


def test_a_log_that_is_damaged_from_its_beginning_is_kept_and_the_tape_goes_on(
    tmp_path: Path, simulated: list[Record]
) -> None:
    for records in (simulated[:100], simulated[100:200], simulated[200:]):
        recorded(tmp_path, records)
    damaged = tmp_path / "part-000001.wal"
    data = damaged.read_bytes()
    damaged.write_bytes(data[:60] + b"\0" + data[61:])

    while_open = on_tape(tmp_path)
    sealed = recover(tmp_path)

    assert [(s.part, s.torn) for s in sealed][1] == (None, "part-000001.torn")
    assert (tmp_path / "part-000001.torn").stat().st_size == len(data)
    assert on_tape(tmp_path) == while_open == assembled([*simulated[:100], *simulated[200:]])
    recorded(tmp_path, simulated[:1])
    assert on_tape(tmp_path)[: len(while_open)] == while_open


@pytest.mark.parametrize("left", [b"", bytes(4_096), b"wsptlog"])
def test_a_log_of_which_a_power_cut_left_nothing_leaves_no_gap(
    tmp_path: Path, simulated: list[Record], left: bytes
) -> None:
    recorded(tmp_path, simulated[:100])
    (tmp_path / "part-000001.wal").write_bytes(left)

    while_open = on_tape(tmp_path)
    recover(tmp_path)
    recorded(tmp_path, simulated[100:])

    assert while_open == assembled(simulated[:100])
    assert on_tape(tmp_path) == assembled(simulated)


def test_a_disk_without_room_for_the_part_leaves_the_log(tmp_path: Path, simulated: list[Record]) -> None:
    folder = recorded(tmp_path, simulated)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(LogProblem, match=r"part-000000.wal: expected a disk to seal logs on, found"):
            recover(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert on_tape(folder) == assembled(simulated)
    recover(folder)
    assert on_tape(folder) == assembled(simulated)


# -- reading while recording


def test_a_tape_can_be_read_while_it_is_recorded_to_the_last_whole_record(
    tmp_path: Path, simulated: list[Record]
) -> None:
    expected = assembled(simulated)

    with FrameLog(tmp_path, LogHeader(venue="kraken"), part_bytes=60_000) as log:
        for number, record in enumerate(simulated, start=1):
            log.append(record)
            if number % 97 == 0:
                assert on_tape(tmp_path) == expected[: len(assembled(simulated[:number]))]


def test_what_was_opened_stays_as_it_was_while_recording_and_sealing_go_on(
    tmp_path: Path, simulated: list[Record]
) -> None:
    with log_of(tmp_path, simulated[:200]) as log:
        tape = Tape.open(tmp_path)
        before = (tape.rows, tape.identity)
        for record in simulated[200:]:
            log.append(record)
    recover(tmp_path)

    assert (tape.rows, tape.identity) == before
    assert sum(len(batch) for batch in tape.batches()) == tape.rows
    assert len(tape.ticks(0, tape.rows)) == tape.rows
    assert Tape.open(tmp_path).rows > tape.rows


def test_a_tape_has_the_same_name_before_and_after_it_is_sealed(tmp_path: Path, simulated: list[Record]) -> None:
    folder = recorded(tmp_path, simulated, part_bytes=40_000)
    before = Tape.open(folder)

    recover(folder)
    after = Tape.open(folder)

    assert after.identity == before.identity
    assert Tape.open(before.paths).identity == before.identity  # the logs by the names that they had
    assert after.paths != before.paths and not after.simulated
    assert after.headers[0].source == f"record {URL}"


def test_a_single_log_can_be_opened_by_its_name(tmp_path: Path, simulated: list[Record]) -> None:
    folder = recorded(tmp_path, simulated, part_bytes=40_000)
    logs = sorted(folder.glob("*.wal"))

    assert on_tape(*logs[:2]) + on_tape(*logs[2:]) == assembled(simulated)
    assert on_tape(*reversed(logs)) == assembled(simulated)


def test_a_tape_with_a_part_missing_says_which(tmp_path: Path, simulated: list[Record]) -> None:
    folder = recorded(tmp_path / "tape", simulated, part_bytes=40_000)
    (folder / "part-000001.wal").unlink()

    for place in (folder, folder / "part-000001.wal", folder / "part-000002.wal"):
        with pytest.raises(TapeProblem, match=r"expected part-000001.parquet, found the tape to go on without it"):
            Tape.open(place)
    with pytest.raises(TapeProblem, match=r"part-000009.wal: expected a wspt tape, found no such file"):
        Tape.open(recorded(tmp_path / "other", simulated) / "part-000009.wal")


def test_a_recording_of_another_venue_is_refused(tmp_path: Path, simulated: list[Record]) -> None:
    recorded(tmp_path, simulated)
    recorded(tmp_path, [], venue="binance")

    with pytest.raises(TapeProblem, match="expected venue kraken, found a log of binance"):
        Tape.open(tmp_path)
    with pytest.raises(TapeProblem, match="expected venue kraken, found a log of binance"):
        recover(tmp_path)
    assert (tmp_path / "part-000001.wal").exists()


# -- the process beside the recorder


def test_sealing_goes_on_beside_the_recorder_and_a_reader_sees_a_whole_tape_at_any_time(
    tmp_path: Path, simulated: list[Record]
) -> None:
    expected = assembled(simulated)
    rows = 0

    with (
        SealingProcess(tmp_path) as sealing,
        FrameLog(tmp_path, LogHeader(venue="kraken"), part_bytes=5_000, on_rotate=sealing.nudge) as log,
    ):
        for number, record in enumerate(simulated, start=1):
            log.append(record)
            if number % 20 == 0:
                seen = on_tape(tmp_path)
                assert seen == expected[: len(seen)] and len(seen) > rows
                rows = len(seen)

    assert sealing.problems == []
    assert sum(sealed.rows for sealed in sealing.sealed) == len(expected)
    assert {ending for endings in parts_of(tmp_path).values() for ending in endings} == {"parquet"}
    assert on_tape(tmp_path) == expected


def test_what_cannot_be_sealed_is_told_and_kept_and_recording_goes_on(tmp_path: Path, simulated: list[Record]) -> None:
    log = log_of(tmp_path, simulated, part_bytes=40_000)
    broken = tmp_path / "part-000000.wal"
    broken.write_bytes(b"wsptlog\0\2\0\0\0 of a later version")

    with SealingProcess(tmp_path) as sealing:
        log.close()

    assert {problem.partition("wal: ")[2] for problem in sealing.problems} == {
        "expected frame log format 1, found format 2"
    }
    assert broken.exists()


def test_a_sealing_process_that_was_killed_is_told_and_recording_goes_on(
    tmp_path: Path, simulated: list[Record]
) -> None:
    with SealingProcess(tmp_path) as sealing:
        os.kill(sealing.pid, signal.SIGKILL)
        os.waitid(os.P_PID, sealing.pid, os.WEXITED | os.WNOWAIT)
        with FrameLog(tmp_path, LogHeader(venue="kraken"), part_bytes=5_000, on_rotate=sealing.nudge) as log:
            for record in simulated:
                log.append(record)

    assert sealing.problems == ["sealing: expected it to end well, found exit code -9"]
    assert on_tape(tmp_path) == assembled(simulated)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_sealing_process_is_not_stopped_while_it_starts(tmp_path: Path, stop: signal.Signals) -> None:
    with SealingProcess(tmp_path) as sealing:
        os.kill(sealing.pid, stop)

    assert sealing.problems == []


def test_recovery_is_refused_where_a_recorder_and_its_sealer_are_at_work(
    tmp_path: Path, simulated: list[Record]
) -> None:
    with log_of(tmp_path, simulated), Sealer(tmp_path), pytest.raises(LogProblem, match="found a sealer"):
        recover(tmp_path)


RECORDER = """
import os, sys
from pathlib import Path
from apps.simulator import simulate
from recorder.frame_log import FrameLog, LogHeader, Record, RecordKind
from recorder.sealing import SealingProcess
sealing = SealingProcess(sys.argv[1])
log = FrameLog(sys.argv[1], LogHeader(venue="kraken"), part_bytes=50_000, on_rotate=sealing.nudge)
for number, frame in enumerate(simulate(seconds=20)):
    log.append(Record(frame.ts_recv, number, 0, RecordKind.FRAME, frame.payload))
    if number == 200:
        os.kill(os.getpid(), 9)
"""


def test_what_a_killed_recorder_left_is_sealed_by_recovery_or_by_its_sealer(tmp_path: Path) -> None:
    frames = [frame for frame, _ in zip(simulate(seconds=20), range(201), strict=False)]
    expected = assembled([Record(f.ts_recv or 0, n, 0, RecordKind.FRAME, f.payload) for n, f in enumerate(frames)])

    killed = subprocess.run([sys.executable, "-c", RECORDER, str(tmp_path)], check=False)
    recover(tmp_path)

    assert killed.returncode == -9
    assert on_tape(tmp_path) == expected
    assert {ending for endings in parts_of(tmp_path).values() for ending in endings} == {"parquet"}


def test_a_folder_that_is_not_there_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LogProblem, match=r"nowhere: expected a disk to seal logs on, found: No such file"):
        recover(tmp_path / "nowhere")


def test_reports_of_sealing_survive_the_pipe() -> None:
    sealed = SealedLog(log="part-000000.wal", part=None, rows=0, torn_bytes=7, torn="part-000000.torn")

    assert msgspec.json.decode(msgspec.json.encode(sealed), type=SealedLog) == sealed
    assert os.sep not in sealed.log


def test_a_recording_goes_on_after_a_silence_though_the_clock_was_set_back(tmp_path: Path) -> None:
    header = LogHeader(venue="kraken")
    for wall_ns in (10 * SECOND, 9 * SECOND):
        with FrameLog(tmp_path, header) as log:
            log.append(Record(wall_ns - SECOND, 0, 0, RecordKind.CONNECTED, b""))
            log.append(Record(wall_ns, 1, 0, RecordKind.CLOCK, b""))
        recover(tmp_path)

    times = Tape.open(tmp_path).table(["ts_recv"])["ts_recv"].to_pylist()

    assert times == sorted(times) and max(times) == 10 * SECOND
