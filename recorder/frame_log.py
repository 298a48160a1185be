"""The frame log: what arrives is appended here, record by record, before anything else looks at it.

A recording is a folder of parts, `part-000000.wal` and so on, the last of them open. A part is a magic word and a
version, then records, little endian:

    u32 length | u32 crc32 | i64 wall ns | i64 monotonic ns | u16 conn | u8 kind | payload

`length` and `crc32` are those of everything behind them. The first record is the header, as JSON. Nothing here
knows what a frame means, and nothing is ever written twice: a log is read up to the first byte that is not as it
was written, and what stands before that byte is what arrived.
"""

import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import IntEnum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self
from zlib import crc32

import msgspec

from recorder.log_folder import LOG, FolderLock, LogProblem, next_part, part_name, sync_folder

__all__ = [
    "FORMAT_VERSION",
    "FrameLog",
    "LogHeader",
    "LogProblem",
    "LogRead",
    "Record",
    "RecordKind",
    "read_header",
    "read_log",
    "read_more",
]

FORMAT_VERSION = 1
"""Of the log's records. A log of another format is refused."""

SIMULATED = "simulated"
"""Event of a NOTE: who sends the frames says that the market is made up."""

PART_BYTES = 64 * 1024 * 1024
PART_AGE_NS = 600 * 1_000_000_000
SYNC_EVERY_S = 1.0

_MAGIC = b"wsptlog\0"
_VERSION = struct.Struct("<I")
_RECORD = struct.Struct("<IIqqHB")
_PREFIX = struct.Struct("<II")
_STAMPS = struct.Struct("<qqHB")
_pack_prefix, _pack_stamps = _PREFIX.pack, _STAMPS.pack
_START = len(_MAGIC) + _VERSION.size
_HEADER_KIND = 255
_CONN_MAX = 2**16 - 1
_HEADER_BYTES_MAX = 4 * 1024 * 1024

_sync_data: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)  # macOS has fsync only


class RecordKind(IntEnum):
    """What a record holds. The numbers are the log's, and never change."""

    FRAME = 0
    CONNECTED = 1
    SUBSCRIBED = 2
    DISCONNECTED = 3
    CLOCK = 4
    REST = 5
    NOTE = 6


class Record(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened on the feed, stamped once.

    wall_ns:  the clock on the wall, ns UTC; recorded as it is, even where it ran backwards.
    mono_ns:  the clock that never runs backwards, ns since an unknown moment.
    conn:     number of the connection within the recording, from 0; at most 65,535.
    kind:     a RecordKind.
    payload:  FRAME: the message as it arrived. REST: the address, a line feed, and the body. CONNECTED: the
              address. DISCONNECTED: why, or empty. SUBSCRIBED: what was sent, or empty. CLOCK: empty.
              NOTE: a feed row's JSON object, with its `event` and, where it is about one, its `symbol`.
    """

    wall_ns: int
    mono_ns: int
    conn: int
    kind: int
    payload: bytes


class LogHeader(msgspec.Struct, kw_only=True):
    """What a log says about itself, in its first record.

    url:        where the frames come from.
    symbols:    the symbols asked for, canonical; empty where all were.
    channels:   the venue's channels that are recorded, in its own words.
    simulated:  the market is made up.
    created:    when the recording began, ns UTC.
    libraries:  versions of the packages that had a part in it.
    """

    format: int = FORMAT_VERSION
    venue: str
    url: str = ""
    symbols: list[str] = []
    channels: list[str] = []
    simulated: bool = False
    created: int = 0
    libraries: dict[str, str] = {}


class LogRead(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a log: the whole records before the first damage, and how much stands behind them.

    header:      None where even the first record is damaged; there are no records then.
    records:     in the order in which they were appended.
    torn_at:     offset of the first byte that belongs to no whole record.
    torn_bytes:  number of bytes from there to the end.
    """

    header: LogHeader | None
    records: list[Record]
    torn_at: int
    torn_bytes: int


class FrameLog:
    """Appends records to the log of a folder, which it holds alone until it is closed.

    `append` returns when the operating system has the records: no end of this process can lose them then. Once in
    `sync_every_s` a thread has the disk take what was written, so that an end of the machine loses no more than
    that. Parts are cut before the record that would make one longer than `part_bytes`, or that comes `part_age_ns`
    after the part's first one.

    on_rotate:  called after a part was finished, by the thread that appends.
    sync:       puts the data of an open file on disk.

    Raises LogProblem where the folder cannot be written, or is held by another recorder.
    """

    def __init__(
        self,
        folder: Path | str,
        header: LogHeader,
        *,
        part_bytes: int = PART_BYTES,
        part_age_ns: int = PART_AGE_NS,
        sync_every_s: float = SYNC_EVERY_S,
        on_rotate: Callable[[], None] | None = None,
        sync: Callable[[int], None] = _sync_data,
    ) -> None:
        self.folder = Path(folder)
        self.header = header
        self._part_bytes = part_bytes
        self._part_age_ns = part_age_ns
        self._on_rotate = on_rotate
        self._began_ns: int | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.folder)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        try:
            self._number = next_part(self.folder)
            self.path, self._file, self._size = self._new_part()
        except BaseException:
            self._lock.release()
            raise
        self._syncer = _Syncer(self.folder, self._file, sync_every_s, sync)

    def append(self, *records: Record) -> None:
        """Write records, at least one, in one piece.

        Raises LogProblem where they cannot be written, or where the disk has refused what was written before. What
        there is of these records is cut off then, and the records before them stand.
        """
        syncer = self._syncer
        if syncer.failure is not None:
            raise _unwritable(self.path, syncer.failure) from syncer.failure
        mono_ns = records[0].mono_ns
        data = _packed(records[0]) if len(records) == 1 else b"".join(map(_packed, records))
        if self._began_ns is None:
            self._began_ns = mono_ns
        elif self._size + len(data) > self._part_bytes or mono_ns - self._began_ns >= self._part_age_ns:
            self._rotate(mono_ns)
        try:
            written = os.write(self._file, data)
            if written != len(data):
                _write_rest(self._file, data, written)
            self._size += len(data)
        except OSError as error:
            self._cut()
            raise _unwritable(self.path, error) from error
        except BaseException:
            self._cut()
            raise
        syncer.is_dirty = True

    def close(self) -> None:
        """Put everything on disk and let the folder go. Without effect the second time.

        Raises LogProblem where the disk refuses what was written; the folder is free then too.
        """
        if self._file < 0:
            return
        self._file = -1
        try:
            self._syncer.close()
        finally:
            self._lock.release()
        if self._syncer.failure is not None:
            raise _unwritable(self.path, self._syncer.failure) from self._syncer.failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rotate(self, mono_ns: int) -> None:
        self._number += 1
        try:
            path, file, size = self._new_part()
        except LogProblem:
            self._number -= 1
            raise
        # The old part is the syncer's now: it closes it when the disk has it, and no append waits for that.
        self._syncer.follow(file)
        self.path, self._file, self._size, self._began_ns = path, file, size, mono_ns
        if self._on_rotate is not None:
            self._on_rotate()

    def _new_part(self) -> tuple[Path, int, int]:
        """The next part, its header in place before it has its name: a log without a header is a damaged one."""
        path = self.folder / part_name(self._number, LOG)
        unfinished = path.with_name(path.name + ".tmp")
        data = (
            _MAGIC
            + _VERSION.pack(FORMAT_VERSION)
            + _packed(Record(0, 0, 0, _HEADER_KIND, msgspec.json.encode(self.header)))
        )
        try:
            file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
            try:
                _write_rest(file, data, 0)
                unfinished.rename(path)
            except BaseException:
                os.close(file)
                unfinished.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _unwritable(path, error) from error
        return path, file, len(data)

    def _cut(self) -> None:
        """Take away what there is of a record that could not be written; a reader would stop at it for good."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError as error:
            self._syncer.failure = error


class _Syncer:
    """Has the disk take what was written to the part in hand, in a thread.

    is_dirty:  something was written since the last time.
    failure:   why the disk did not take it. It stays: what it refused once may be lost, whatever it says later.
    """

    def __init__(self, folder: Path, file: int, every_s: float, sync: Callable[[int], None]) -> None:
        self.is_dirty = True
        self.failure: OSError | None = None
        self._folder = folder
        self._file = file
        self._every_s = every_s
        self._sync = sync
        self._finished: list[int] = []
        self._has_new_names = True
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="frame-log-sync", daemon=True)
        self._thread.start()

    def follow(self, file: int) -> None:
        """Sync this part from now on; the one before is synced once more, then closed."""
        with self._lock:
            self._finished.append(self._file)
            self._file = file
            self._has_new_names = True
        self.is_dirty = True

    def close(self) -> None:
        """Sync what is left, and close every part."""
        self._is_over.set()
        self._thread.join()
        os.close(self._file)

    def _run(self) -> None:
        while not self._is_over.wait(self._every_s):
            self._attempt(self._sync_all)
        self._attempt(self._sync_all)

    def _sync_all(self) -> None:
        with self._lock:
            files, self._finished = self._finished, []
            has_new_names, self._has_new_names = self._has_new_names, False
            if self.is_dirty:
                self.is_dirty = False  # before the sync: what is appended meanwhile is for the next one
                # One of our own: a rotation gives the other one away, and its number may then name any other file.
                files.append(os.dup(self._file))
        for file in files:
            self._attempt(partial(self._sync, file))
            os.close(file)
        if has_new_names:
            sync_folder(self._folder)

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self.failure = error


def read_log(path: Path) -> LogRead:
    """The records of a log up to the first that is not whole, also of one that is being written.

    Raises LogProblem for a file that cannot be read, and for one that is a log of another format or none at all. A
    file that is damaged where its header was has no header and no records.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LogProblem(f"{path}: expected a frame log, found: {error.strerror or error}") from error
    header = _header(path, data)
    if header is None:
        return LogRead(header=None, records=[], torn_at=0, torn_bytes=len(data))
    found = list(_records(data))
    end = found[-1][1]
    return LogRead(header=header, records=[record for record, _ in found[1:]], torn_at=end, torn_bytes=len(data) - end)


def read_header(path: Path) -> LogHeader | None:
    """What a log says about itself, or None where that is damaged. Raises LogProblem like `read_log`."""
    try:
        with path.open("rb") as file:
            return _header(path, file.read(_HEADER_BYTES_MAX))
    except OSError as error:
        raise LogProblem(f"{path}: expected a frame log, found: {error.strerror or error}") from error


def read_more(file: BinaryIO, start: int) -> tuple[list[Record], int]:
    """The whole records of an open log from the offset `start` on, and the offset behind them, where to go on.

    start:  0, or where an earlier look ended. The header's record is left out.
    """
    file.seek(start)
    data = file.read()
    found = list(_records(data, 0 if start else _START))
    end = start + found[-1][1] if found else start
    return [record for record, _ in found if record.kind != _HEADER_KIND], end


def _packed(record: Record) -> bytes:
    conn = record.conn
    stamps = _pack_stamps(record.wall_ns, record.mono_ns, conn if conn <= _CONN_MAX else _CONN_MAX, record.kind)
    body = stamps + record.payload
    return _pack_prefix(len(body), crc32(body)) + body


def _write_rest(file: int, data: bytes, written: int) -> None:
    """Write what a disk that is nearly full did not take at once; it says why when it takes nothing more."""
    rest = memoryview(data)[written:]
    while rest:
        rest = rest[os.write(file, rest) :]


def _records(data: bytes, start: int = _START) -> Iterator[tuple[Record, int]]:
    """Whole records from an offset on, the header's first, each with the offset behind it."""
    view, size, at = memoryview(data), len(data), start
    unpack, prefix, smallest = _RECORD.unpack_from, _PREFIX.size, _STAMPS.size
    while size - at >= _RECORD.size:
        length, checksum, wall_ns, mono_ns, conn, kind = unpack(data, at)
        end = at + prefix + length
        # A stretch of zeros has the length 0, which no record has.
        if length < smallest or end > size or crc32(view[at + prefix : end]) != checksum:
            return
        yield Record(wall_ns, mono_ns, conn, kind, data[at + _RECORD.size : end]), end
        at = end


def _header(path: Path, data: bytes) -> LogHeader | None:
    """The header, for which its own checksum vouches, or None where it is damaged."""
    first = next(_records(data), None)
    if first is not None and first[0].kind == _HEADER_KIND:
        with suppress(msgspec.MsgspecError):
            header = msgspec.json.decode(first[0].payload, type=LogHeader)
            if header.format == FORMAT_VERSION:
                return header
    if data.startswith(_MAGIC) and len(data) >= _START:
        (version,) = _VERSION.unpack_from(data, len(_MAGIC))
        if version != FORMAT_VERSION:
            raise LogProblem(f"{path}: expected frame log format {FORMAT_VERSION}, found format {version}")
    return None


def _unwritable(path: Path, error: OSError) -> LogProblem:
    return LogProblem(f"{path}: expected a disk that takes what arrives, found: {error.strerror or error}")
