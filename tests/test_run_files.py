"""A run that is being written, or was killed, read by whoever looks: whole, exact, and at any moment."""

import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from apps.queries import OpenRun, open_run, rows
from engine.digest import canonical_lines
from engine.events import Event, PortfolioMarked
from engine.money import money
from recorder.frame_log import FrameLog, LogHeader, Record, RecordKind
from recorder.ledger import read_events
from recorder.ledger_tail import read_tail
from recorder.live_ledger import LiveLedger
from recorder.log_folder import RUNNING, FolderLock
from recorder.run_files import RunFiles
from recorder.runs import Manifest, TapeReference, create_run, list_runs, tape_path, write_manifest
from recorder.sealing import recover

SECOND = 1_000_000_000


def marks(start: int, stop: int) -> list[Event]:
    """Events from seq `start` to before `stop`, whose money needs every one of its digits."""
    return [
        PortfolioMarked(
            strategy="ema",
            seq=seq,
            tick_seq=seq,
            ts=seq * SECOND,
            cash=money("80"),
            equity=Decimal(f"12345678901234567890.{seq:012}"),
        )
        for seq in range(start, stop)
    ]


class LiveRun:
    """A run whose ledger grows as it is told, with its tape in `tape` where there is one."""

    def __init__(self, folder: Path, events_per_segment: int = 100) -> None:
        self.path = create_run(folder / "run")
        self.tape = folder / "tape"
        self._written = 0
        self._ledger = LiveLedger(self.path, self._say, events_per_segment=events_per_segment)

    def write(self, events: int) -> None:
        more = marks(self._written, self._written + events)
        self._ledger.append(more, canonical_lines(more))
        self._written += events

    @property
    def tail(self) -> Path:
        [tail] = (self.path / "ledger").glob("*.jsonl")
        return tail

    def _say(self, segments: list[str], tail: str) -> None:
        reference = TapeReference(
            paths=[tape_path(str(self.tape), self.path)], venue="kraken", identity="", first_seq=0, stop_seq=0
        )
        manifest = Manifest(
            status="running",
            kind="live",
            simulated=False,
            created="2026-01-01T00:00:00Z",
            configuration={},
            strategies={},
            libraries={},
            tape=reference,
            segments=segments,
            tail=tail,
        )
        write_manifest(self.path, manifest)


@pytest.fixture
def run(tmp_path: Path) -> LiveRun:
    return LiveRun(tmp_path)


def seqs(con: object) -> list[int]:
    return [row["seq"] for row in rows(con, "SELECT seq FROM events ORDER BY seq")]  # type: ignore[arg-type]


# -- the ledger


def test_events_of_segments_and_of_the_open_tail_are_one_ledger_to_the_last_digit(run: LiveRun) -> None:
    for _ in range(25):
        run.write(10)

    con = open_run(run.path)

    assert seqs(con) == list(range(250))
    [row] = rows(con, "SELECT equity FROM equity WHERE seq = 249")
    assert row["equity"] == "12345678901234567890.000000000249"


def test_a_look_gives_the_events_that_were_written(run: LiveRun) -> None:
    run.write(150)
    files = RunFiles(run.path)

    assert read_events(files.look().ledger) == {"ema": marks(0, 150)}
    files.close()


def test_a_torn_last_line_is_no_event_until_it_is_whole(run: LiveRun) -> None:
    run.write(3)
    [line] = canonical_lines(marks(3, 4)).splitlines(keepends=True)

    with OpenRun(run.path) as source, run.tail.open("ab") as tail:
        tail.write(line[:40])
        tail.flush()
        torn = seqs(source.look())
        tail.write(line[40:])
        tail.flush()
        whole = seqs(source.look())

    assert (torn, whole) == ([0, 1, 2], [0, 1, 2, 3])


def test_a_later_look_reads_the_tail_from_where_the_one_before_ended(run: LiveRun) -> None:
    run.write(50)
    with OpenRun(run.path) as source:
        assert len(seqs(source.look())) == 50
        data = run.tail.read_bytes()
        run.tail.write_bytes(b"x" * len(data))  # whoever read this again would find no event

        run.write(7)

        assert seqs(source.look()) == list(range(57))


def test_many_looks_leave_few_files_behind(run: LiveRun) -> None:
    with OpenRun(run.path) as source:
        for _ in range(40):
            run.write(1)
            con = source.look()

        assert seqs(con) == list(range(40))
        assert len(list(source._files._folder.iterdir())) <= 32


def test_a_ledger_is_whole_at_any_moment_while_its_tail_is_sealed_again_and_again(tmp_path: Path) -> None:
    run = LiveRun(tmp_path, events_per_segment=20)
    run.write(1)

    def write() -> None:
        for _ in range(300):
            run.write(7)

    writer = threading.Thread(target=write)
    turns = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)  # a session is another process: it does not hold up who reads for 5 ms at a time
    try:
        writer.start()
        with OpenRun(run.path) as source:
            while writer.is_alive():
                for found in (seqs(source.look()), seqs(open_run(run.path))):
                    assert found == list(range(len(found)))
            assert len(seqs(source.look())) == 2_101
    finally:
        sys.setswitchinterval(turns)
        writer.join()


def test_reading_a_tail_stops_before_a_line_that_is_damaged(run: LiveRun) -> None:
    run.write(10)
    data = bytearray(run.tail.read_bytes())
    damage = data.index(b"\n", data.index(b'"seq":6')) - 1
    data[damage] = 0
    run.tail.write_bytes(data)

    read = read_tail(run.tail)

    assert read.events == marks(0, 6)
    assert read.end + read.torn_bytes == len(data)


# -- the tape


@pytest.fixture
def log(run: LiveRun) -> Iterator[FrameLog]:
    """An open frame log with five seconds of silence and something that was said."""
    header = LogHeader(venue="kraken", url="ws://example.test", symbols=["BTC/USD"])
    with FrameLog(run.tape, header) as log:
        log.append(Record(SECOND, 0, 0, RecordKind.CONNECTED, b"ws://example.test"))
        for second in range(2, 7):
            log.append(Record(second * SECOND, second, 0, RecordKind.CLOCK, b""))
        yield log


def test_ticks_of_the_open_log_are_in_the_view(run: LiveRun, log: FrameLog) -> None:
    run.write(1)

    assert rows(open_run(run.path), "SELECT count(*) AS n, max(ts_recv) AS ts FROM ticks") == [
        {"n": 6, "ts": 6 * SECOND}
    ]


def test_ticks_are_whole_at_any_moment_while_the_log_is_sealed(run: LiveRun) -> None:
    run.write(1)
    header = LogHeader(venue="kraken", symbols=["BTC/USD"])
    with OpenRun(run.path) as source:
        for part in range(3):
            with FrameLog(run.tape, header) as log:
                for second in range(10):
                    log.append(Record(second * SECOND, second, 0, RecordKind.CLOCK, b""))
                    if second % 5 == 0:
                        found = [row["seq"] for row in rows(source.look(), "SELECT seq FROM ticks ORDER BY seq")]
                        assert found == list(range(part * 10 + second + 1))
            recover(run.tape)
        assert len(rows(source.look(), "FROM ticks")) == 30


def test_a_reader_may_do_without_the_open_log(run: LiveRun, log: FrameLog) -> None:
    run.write(1)

    con = open_run(run.path, with_log=False)

    assert len(rows(con, "FROM equity")) == 1
    assert "ticks" not in {row["name"] for row in rows(con, "SHOW TABLES")}


# -- who runs it


def test_a_run_that_nobody_runs_has_crashed(run: LiveRun) -> None:
    with FolderLock(run.path, RUNNING):
        [while_held] = list_runs(run.path.parent)[:1]
    [afterwards] = list_runs(run.path.parent)[:1]

    assert (while_held.status, afterwards.status) == ("running", "crashed")


def test_a_run_that_has_ended_is_what_it_says(run: LiveRun) -> None:
    manifest = list_runs(run.path.parent)[0].manifest
    assert manifest is not None
    write_manifest(run.path, msgspec.structs.replace(manifest, status="finished"))

    assert list_runs(run.path.parent)[0].status == "finished"
