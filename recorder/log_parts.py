"""Logs of a recording as further parts of its tape: sealed for good, or in memory for a reader who cannot wait."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from engine.ticks import FEED_LOST, Kind
from recorder.assembly import Assembler
from recorder.frame_log import LogHeader, LogProblem, LogRead, Record, RecordKind, read_log
from recorder.known import keep, recalled
from recorder.log_folder import LOG, SEALED, part_name, parts_of
from recorder.tape_columns import TapeProblem
from recorder.tape_files import Part, files_at, is_log, read_groups
from recorder.tape_writer import TapeWriter
from recorder.venues import Frame, Quality

_ATTEMPTS = 20


class PartMaker:
    """Makes the parts of one recording out of its logs, one after another; what the decoder knows runs on.

    parts:  those that are there already, in their order. What was known at their end was kept beside the last one,
            or is found again by taking in their frames once more.
    """

    def __init__(self, parts: Sequence[Part] = ()) -> None:
        self._parts = list(parts)
        self._assembler: Assembler | None = None
        self._symbols: list[str] = []

    @property
    def next_seq(self) -> int:
        """The seq of the next part's first row."""
        return self._parts[-1].stop_seq if self._parts else 0

    def write(self, path: Path, log: LogRead, sink: Any = None) -> int:
        """Write the rows of a log as the next part, to a file, or to `sink` in its place; how many they are.

        It counts as the next part when `add` has it.
        """
        header = log.header
        assert header is not None
        assembler = self._assembler_for(header)
        self._assembler = None  # until it has taken all of the log: nothing goes on from the middle of a part
        reversals, quality = assembler.clock_reversals, msgspec.structs.replace(assembler.quality)
        with TapeWriter(
            path,
            header.venue,
            channels=header.channels,
            source=f"record {header.url}".rstrip(),
            libraries=header.libraries,
            simulated=header.simulated,
            first_seq=self.next_seq,
            not_before=assembler.ts_recv,
            sink=sink,
        ) as writer:
            for record in log.records:
                _write(writer, assembler, record)
            rows = writer.next_seq - self.next_seq
            writer.close(_difference(assembler.quality, quality), clock_reversals=assembler.clock_reversals - reversals)
        self._assembler = assembler
        return rows

    def add(self, part: Part) -> None:
        """The part that was written has its place."""
        self._parts.append(part)

    def keep(self) -> None:
        """Write down beside the last part what is known at its end."""
        if self._assembler is not None:
            keep(self._parts[-1], self._assembler, self._symbols)

    def _assembler_for(self, header: LogHeader) -> Assembler:
        """What stands at the end of the parts. A decoder is made for the symbols asked for: others, another one."""
        before = self._parts[0].header.venue if self._parts else header.venue
        if header.venue != before:
            raise TapeProblem(f"{self._parts[0].path.parent}: expected venue {before}, found a log of {header.venue}")
        if self._assembler is not None and self._symbols == header.symbols:
            return self._assembler
        self._symbols = header.symbols
        return assembler_after(self._parts, header)


def assembler_after(parts: Sequence[Part], header: LogHeader) -> Assembler:
    """An assembler for the log behind some parts of its recording, which knows what was known at their end."""
    known = recalled(parts[-1], header.venue, header.symbols) if parts else None
    return known or decoded_again(parts, header)


def decoded_again(parts: Sequence[Part], header: LogHeader) -> Assembler:
    """The same, found by taking in the frames of the parts once more."""
    assembler = Assembler(header.venue, header.symbols)
    for record in _records_of(parts):
        assembler.take(record)
    return assembler


def parts_at(places: Sequence[str | Path]) -> list[Part]:
    """The parts of the tapes at some places, each once: files as they are, logs by the rows they hold by now.

    Raises TapeProblem for what is no part of a tape.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return _parts_at(places)
        except _Moved:
            continue  # a part was sealed between two looks
    try:
        return _parts_at(places)
    except _Moved as error:
        raise TapeProblem(str(error)) from error


class _Moved(Exception):
    """A folder is not any more as it was a moment ago, or a part of it is missing."""


def _parts_at(places: Sequence[str | Path]) -> list[Part]:
    paths = list(dict.fromkeys(path for place in places for path in files_at(place)))
    logs: dict[Path, Part | None] = {}
    for folder in dict.fromkeys(path.parent for path in paths if is_log(path)):
        logs |= _logs_in(folder)
    parts = [_part_of_log(path, logs) if is_log(path) else Part(path) for path in paths]
    return [part for part in parts if part is not None]


def _part_of_log(path: Path, logs: dict[Path, Part | None]) -> Part | None:
    if path not in logs:
        raise _Moved(f"{path}: expected a wspt tape, found no such file")
    return logs[path]


def _logs_in(folder: Path) -> dict[Path, Part | None]:
    """The logs of a folder as parts in memory, by the path of the log; None for one that is damaged from its start."""
    paths = [folder / part_name(number, LOG) for number in _unsealed(folder)]
    # All of them at once: a log that was read may be sealed meanwhile, it is the same to us.
    logs = {path: _read(path) for path in paths}
    maker = PartMaker(sealed_before(paths[0]) if paths else ())
    found: dict[Path, Part | None] = {}
    for path, log in logs.items():
        found[path] = None
        if log.header is not None:
            sink = pa.BufferOutputStream()
            maker.write(path, log, sink)
            part = found[path] = Part(path, sink.getvalue())
            maker.add(part)
    return found


def sealed_before(log: Path) -> list[Part]:
    """The sealed parts of a log's folder that come before it."""
    folder = log.parent
    paths = [folder / part_name(number, SEALED) for number, endings in parts_of(folder).items() if SEALED in endings]
    return [Part(path) for path in paths if path.stem < log.stem]  # not its own part: it may be about to be replaced


def _unsealed(folder: Path) -> list[int]:
    """The numbers of the logs of a folder, in which no part is missing: what comes after it would have no seq."""
    parts = parts_of(folder)
    # Sealed parts know their seq, so the first ones may be gone; a log goes on from the part before.
    first = next((number for number, endings in parts.items() if SEALED in endings), 0)
    for expected, number in enumerate(parts, start=min([first, *parts])):
        if number != expected:
            raise _Moved(f"{folder}: expected {part_name(expected, SEALED)}, found the tape to go on without it")
    return [number for number, endings in parts.items() if LOG in endings and SEALED not in endings]


def _read(path: Path) -> LogRead:
    try:
        return read_log(path)
    except LogProblem as error:
        if not path.exists():
            raise _Moved(str(error)) from error
        raise TapeProblem(str(error)) from error


def _write(writer: TapeWriter, assembler: Assembler, record: Record) -> None:
    rows = assembler.take(record)
    if rows.payload is None:
        writer.append_feed(rows.ts_recv, rows.ticks, rows.conn)
    else:
        writer.append(Frame(rows.ts_recv, rows.payload, rows.conn, rows.url), rows.ticks)


def _difference(now: Quality, before: Quality) -> Quality:
    return Quality(**{name: getattr(now, name) - getattr(before, name) for name in Quality.__struct_fields__})


class _Note(msgspec.Struct):
    event: str


_EVENTS = {"connected": RecordKind.CONNECTED, "disconnected": RecordKind.DISCONNECTED}


def _records_of(parts: Sequence[Part]) -> Iterator[Record]:
    """What a decoder must see of some parts to know at their end what it knew there once.

    That is the frames, and the rows of the feed that made it forget. No decoder makes rows with their events.
    """
    import pyarrow.compute as pc  # noqa: PLC0415 - it takes its time, and a sealed tape is replayed without

    groups = [group for part in parts for group in part.groups]
    for _, table in read_groups(groups, ("ts_recv", "conn", "frame", "url", "kind", "note")):
        is_frame = table["frame"].is_valid()
        wanted = table.filter(pc.or_(is_frame, pc.equal(table["kind"], int(Kind.FEED))))
        for ts_recv, conn, frame, url, _, note in zip(*(c.to_pylist() for c in wanted.columns), strict=True):
            if frame is None:
                yield from _records_of_note(ts_recv, conn, note)
            elif url is None:
                yield Record(ts_recv, 0, conn, RecordKind.FRAME, frame)
            else:
                yield Record(ts_recv, 0, conn, RecordKind.REST, url.encode() + b"\n" + frame)
    if groups:
        # The last row may be one of the clock's, and the time of what follows may not be before it.
        yield Record(groups[-1].header.ts_last, 0, 0, RecordKind.CLOCK, b"")


def _records_of_note(ts_recv: int, conn: int, note: str | None) -> Iterator[Record]:
    try:
        event = msgspec.json.decode(note or "", type=_Note).event
    except msgspec.MsgspecError:
        return
    if event in _EVENTS:
        yield Record(ts_recv, 0, conn, _EVENTS[event], b"")
    elif event in FEED_LOST:
        yield Record(ts_recv, 0, conn, RecordKind.NOTE, (note or "").encode())
