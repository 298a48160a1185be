"""The frame log: what was appended comes back to the last whole record, whatever happened to the file."""

import errno
import os
import random
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import pytest

from recorder.frame_log import FrameLog, LogHeader, LogProblem, LogRead, Record, RecordKind, read_log
from recorder.log_folder import FolderLock, finished_logs, parts_of

HEADER = LogHeader(venue="kraken", url="wss://example.test/v2", symbols=["BTC/USD"], libraries={"wspt": "1"})
OPEN_FILES = Path("/proc/self/fd")
SECOND = 1_000_000_000
PREFIX_BYTES, RECORD_BYTES = 12, 27
"""Magic and version; and a record but its payload."""


def record(number: int, payload: bytes = b"{}") -> Record:
    return Record(wall_ns=1_000 + number, mono_ns=number, conn=0, kind=RecordKind.FRAME, payload=payload)


def many(count: int, seed: int = 1) -> list[Record]:
    """Records of every kind and of any bytes, some of them empty."""
    chance = random.Random(seed)
    return [
        Record(chance.getrandbits(62), n, n % 7, n % 7, chance.randbytes(chance.choice([0, 1, 30, 300])))
        for n in range(count)
    ]


def logged(folder: Path, records: list[Record]) -> Path:
    with FrameLog(folder, HEADER) as log:
        for each in records:
            log.append(each)
    return log.path


def ends_of(records: list[Record], size: int) -> list[int]:
    """The offset behind each record in a file of `size` bytes."""
    lengths = [RECORD_BYTES + len(each.payload) for each in records]
    at = size - sum(lengths)
    return [at := at + length for length in lengths]


def whole_before(records: list[Record], size: int, at: int) -> list[Record]:
    """The records of a file of `size` bytes that lie before the byte at `at`."""
    return [each for each, end in zip(records, ends_of(records, size), strict=True) if end <= at]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: the nearest thing to a full disk that needs no other disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# -- appending and reading


def test_what_was_appended_comes_back(tmp_path: Path) -> None:
    records = many(500)

    path = logged(tmp_path, records)

    assert read_log(path) == LogRead(header=HEADER, records=records, torn_at=path.stat().st_size, torn_bytes=0)


def test_a_record_can_be_read_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    with FrameLog(tmp_path, HEADER) as log:
        for number in range(10):
            log.append(record(number))

            assert len(read_log(log.path).records) == number + 1


def test_a_record_is_written_in_the_layout_that_the_format_promises(tmp_path: Path) -> None:
    path = logged(tmp_path, [Record(wall_ns=1, mono_ns=-1, conn=513, kind=5, payload=b"abc")])

    data = path.read_bytes()

    assert data.startswith(b"wsptlog\0\x01\0\0\0")
    assert data[-30:-22] == (22).to_bytes(4, "little") + crc32(data[-22:]).to_bytes(4, "little")
    assert data[-22:] == b"\x01\0\0\0\0\0\0\0" + b"\xff" * 8 + b"\x01\x02" + b"\x05" + b"abc"


def test_a_connection_number_beyond_the_format_takes_its_highest(tmp_path: Path) -> None:
    path = logged(tmp_path, [Record(wall_ns=1, mono_ns=1, conn=70_000, kind=0, payload=b"")])

    assert [each.conn for each in read_log(path).records] == [65_535]


# -- damage


def test_a_log_that_is_cut_off_anywhere_gives_the_records_before_the_cut(tmp_path: Path) -> None:
    records = many(300)
    path = logged(tmp_path, records)
    data = path.read_bytes()
    chance = random.Random(2)

    for at in [0, 1, PREFIX_BYTES, len(data) - 1, *(chance.randrange(len(data)) for _ in range(200))]:
        path.write_bytes(data[:at])
        read = read_log(path)

        assert read.records == whole_before(records, len(data), at)
        assert read.torn_at + read.torn_bytes == at


def test_a_log_with_a_flipped_bit_gives_the_records_before_it(tmp_path: Path) -> None:
    records = many(300)
    path = logged(tmp_path, records)
    data = path.read_bytes()
    first = ends_of(records, len(data))[0] - RECORD_BYTES - len(records[0].payload)
    chance = random.Random(3)

    for at in [PREFIX_BYTES, first, len(data) - 1, *(chance.randrange(PREFIX_BYTES, len(data)) for _ in range(200))]:
        flipped = bytearray(data)
        flipped[at] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        read = read_log(path)

        assert read.records == whole_before(records, len(data), at)
        assert (read.header is None) == (at < first)
        assert read.torn_at + read.torn_bytes == len(data)


def test_a_log_whose_first_bytes_are_damaged_is_read_by_the_checksum_of_its_header(tmp_path: Path) -> None:
    records = many(20)
    path = logged(tmp_path, records)
    data = path.read_bytes()

    for at in range(PREFIX_BYTES):
        path.write_bytes(data[:at] + bytes([data[at] ^ 64]) + data[at + 1 :])

        assert read_log(path).records == records


@pytest.mark.parametrize("zeros", [1, 7, 8, 26, 27, 28, 4096, 100_000])
def test_a_tail_of_zeros_is_no_record(tmp_path: Path, zeros: int) -> None:
    records = many(50)
    path = logged(tmp_path, records)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + bytes(zeros))

    read = read_log(path)

    assert (read.records, read.torn_at, read.torn_bytes) == (records, size, zeros)


def test_a_log_overwritten_with_zeros_from_anywhere_gives_the_records_before(tmp_path: Path) -> None:
    # Bytes that were zero before are not damaged by zeros: the record they end is whole.
    records = [Record(each.wall_ns, each.mono_ns, 1, 1, b"\xff" * len(each.payload) + b"\xff") for each in many(100)]
    path = logged(tmp_path, records)
    data = path.read_bytes()
    chance = random.Random(4)

    for at in (chance.randrange(len(data)) for _ in range(200)):
        path.write_bytes(data[:at] + bytes(len(data) - at))

        assert read_log(path).records == whole_before(records, len(data), at)


def test_a_log_of_a_later_format_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "part-000000.wal"
    path.write_bytes(b"wsptlog\0" + (9).to_bytes(4, "little") + b"something else")

    with pytest.raises(LogProblem, match="expected frame log format 1, found format 9"):
        read_log(path)


def test_a_log_that_is_not_there_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LogProblem, match="expected a frame log, found: No such file"):
        read_log(tmp_path / "part-000000.wal")


# -- rotation


def test_a_part_ends_before_the_record_that_would_make_it_too_long(tmp_path: Path) -> None:
    records = [record(n, b"x" * 100) for n in range(100)]

    with FrameLog(tmp_path, HEADER, part_bytes=1_000) as log:
        for each in records:
            log.append(each)

    parts = sorted(tmp_path.glob("*.wal"))
    assert [each for path in parts for each in read_log(path).records] == records
    assert len(parts) > 10 and all(path.stat().st_size <= 1_000 for path in parts)


def test_a_record_that_is_longer_than_a_part_has_one_of_its_own(tmp_path: Path) -> None:
    with FrameLog(tmp_path, HEADER, part_bytes=500) as log:
        for payload in (b"a", b"b" * 5_000, b"c"):
            log.append(record(0, payload))

    assert [[r.payload[:1] for r in read_log(p).records] for p in sorted(tmp_path.glob("*.wal"))] == [
        [b"a"],
        [b"b"],
        [b"c"],
    ]


def test_a_part_ends_when_it_is_old_by_the_clock_that_never_runs_backwards(tmp_path: Path) -> None:
    told: list[int] = []
    with FrameLog(tmp_path, HEADER, part_age_ns=10 * SECOND, on_rotate=lambda: told.append(1)) as log:
        for second in range(25):
            log.append(Record(wall_ns=-second, mono_ns=second * SECOND, conn=0, kind=0, payload=b""))

    assert [len(read_log(path).records) for path in sorted(tmp_path.glob("*.wal"))] == [10, 10, 5]
    assert len(told) == 2


def test_a_number_is_not_used_twice(tmp_path: Path) -> None:
    for name in ("part-000003.parquet", "part-000007.torn", "part-000001.wal"):
        (tmp_path / name).touch()

    with FrameLog(tmp_path, HEADER) as log:
        assert log.path.name == "part-000008.wal"


# -- the disk


def test_a_record_for_which_there_is_no_room_leaves_the_others_whole(tmp_path: Path) -> None:
    records = [record(n, b"x" * 1_000) for n in range(10)]
    with FrameLog(tmp_path, HEADER) as log:
        for each in records[:5]:
            log.append(each)
        size = log.path.stat().st_size

        with largest_file(size + 300), pytest.raises(LogProblem, match=r"part-000000.wal: expected a disk that takes"):
            log.append(records[5])

        assert log.path.stat().st_size == size
        for each in records[5:]:  # there is room again
            log.append(each)
    assert read_log(log.path).records == records


def test_a_part_for_which_there_is_no_room_leaves_no_file(tmp_path: Path) -> None:
    with FrameLog(tmp_path, HEADER, part_bytes=1_000) as log:
        log.append(record(0, b"x" * 900))

        with largest_file(10), pytest.raises(LogProblem, match=r"part-000001.wal: expected a disk"):
            log.append(record(1, b"y" * 900))
        log.append(record(2))

    assert parts_of(tmp_path) == {0: {"wal"}, 1: {"wal"}}
    assert not list(tmp_path.glob("*.tmp"))
    assert [len(read_log(path).records) for path in sorted(tmp_path.glob("*.wal"))] == [1, 1]


def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LogProblem, match=r"tape: expected a disk that takes what arrives, found: Not a directory"):
        FrameLog(tmp_path / "file" / "tape", HEADER)


def test_every_part_is_synced_and_none_after_it_was_closed(tmp_path: Path) -> None:
    synced: list[tuple[int, int]] = []
    wrong: list[OSError] = []

    def sync(file: int) -> None:
        try:
            synced.append((os.fstat(file).st_ino, os.fstat(file).st_size))
        except OSError as error:
            wrong.append(error)

    with FrameLog(tmp_path, HEADER, part_bytes=300, sync_every_s=0.0001, sync=sync) as log:
        for number in range(2_000):
            log.append(record(number, b"x" * 50))

    last_sizes = dict(synced)
    parts = sorted(tmp_path.glob("*.wal"))
    assert not wrong
    assert len(parts) > 400
    assert {path.stat().st_ino: path.stat().st_size for path in parts} == last_sizes


def test_no_file_stays_open_behind_a_log(tmp_path: Path) -> None:
    if not OPEN_FILES.exists():
        pytest.skip(f"needs {OPEN_FILES} to count open files")
    before = len(list(OPEN_FILES.iterdir()))

    with FrameLog(tmp_path, HEADER, part_bytes=300) as log:
        for number in range(100):
            log.append(record(number, b"x" * 50))

    assert len(list(OPEN_FILES.iterdir())) == before


def test_a_disk_that_refuses_is_told_at_the_next_append_and_at_the_end(tmp_path: Path) -> None:
    asked = threading.Event()

    def sync(file: int) -> None:
        try:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        finally:
            asked.set()

    log = FrameLog(tmp_path, HEADER, sync_every_s=0.001, sync=sync)
    assert asked.wait(30)

    with pytest.raises(LogProblem, match="found: Input/output error"):
        for number in range(10_000_000):
            log.append(record(number))
    with pytest.raises(LogProblem, match="found: Input/output error"):
        log.close()

    FrameLog(tmp_path, HEADER).close()  # the folder is free again


# -- one recorder at a time


def test_a_second_recorder_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with FrameLog(tmp_path, HEADER), pytest.raises(LogProblem, match=rf"found a recorder \(process {os.getpid()}\)"):
        FrameLog(tmp_path, HEADER)

    FrameLog(tmp_path, HEADER).close()


def test_the_folder_of_a_recorder_that_was_killed_is_free(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from recorder.frame_log import FrameLog, LogHeader, Record\n"
        "log = FrameLog(sys.argv[1], LogHeader(venue='kraken'))\n"
        "for n in range(1000): log.append(Record(n, n, 0, 0, b'x' * 100))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9

    with FrameLog(tmp_path, HEADER) as log:
        assert [len(read_log(path).records) for path in finished_logs(tmp_path)] == [1_000]
        assert log.path.name == "part-000001.wal"


def test_the_last_log_is_finished_when_nobody_records(tmp_path: Path) -> None:
    with FrameLog(tmp_path, HEADER, part_age_ns=1) as log:
        for number in range(3):
            log.append(record(number))
        while_recording = finished_logs(tmp_path)
    afterwards = finished_logs(tmp_path)

    assert [path.name for path in while_recording] == ["part-000000.wal", "part-000001.wal"]
    assert [path.name for path in afterwards] == ["part-000000.wal", "part-000001.wal", "part-000002.wal"]


def test_a_lock_is_free_again_after_it_was_released(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.release()

    with FolderLock(tmp_path), pytest.raises(LogProblem):
        FolderLock(tmp_path)
