"""Tapes read back: checked as they are opened, then as batches, frames, rows or tables."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from engine.ticks import NAN, Symbols, Tick, TickBatch
from recorder.frame_log import SIMULATED
from recorder.log_folder import is_recording
from recorder.log_parts import parts_at
from recorder.passport import Passport, merge
from recorder.tape_batches import COLUMNS, RowGroup
from recorder.tape_columns import FLOATS, FORMAT_VERSION, NO_ROWS, ROW_GROUP, SCHEMA, Header, TapeProblem
from recorder.tape_files import DAMAGE, Group, Part, check_one_tape, damaged, is_log, read_groups
from recorder.tape_writer import TapeWriter
from recorder.venues import Frame

__all__ = ["FORMAT_VERSION", "ROW_GROUP", "SCHEMA", "Header", "Row", "Tape", "TapeProblem", "TapeWriter"]


_MAY_BE_LEFT_OUT = frozenset((*FLOATS, "note"))
"""The columns of a batch that are not read where a row group has nothing in them."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a tape, for a look at a few of them.

    frame:  the raw message, on its first row; None on the others.
    """

    seq: int
    ts_recv: int
    conn: int
    tick: Tick
    frame: bytes | None


class Tape:
    """One recording, in one file or in parts that follow one another without a gap.

    Make one with `Tape.open`. Whatever is wrong with a file, there or while reading, is a TapeProblem.
    Ranges of rows are half open, by `seq` and by `ts_recv`; a missing end is open.

    paths:    the files, in the order of their rows; logs among them, where it is being recorded.
    headers:  what each of them says about itself.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.paths = tuple(part.path for part in parts)
        self.headers = tuple(part.header for part in parts)
        self._parts = tuple(parts)
        self._groups = tuple(group for part in parts for group in part.groups)

    @classmethod
    def open(cls, places: str | Path | Iterable[str | Path]) -> "Tape":
        """The tape in a file, in the parts of a folder, in the files that a pattern names, or in all of several.

        A folder may be one that is being recorded: what its logs hold at this moment is on the tape too, to the last
        whole record, and what comes later is not.
        """
        named = [places] if isinstance(places, str | Path) else list(places)
        parts = parts_at(named)
        if not parts:
            raise TapeProblem(f"{_listed(named)}: expected a tape, found no file")
        filled = sorted((part for part in parts if part.groups), key=lambda part: part.groups[0].first_seq)
        if not filled:
            raise TapeProblem(f"{_listed(named)}: expected a tape with at least one tick, found none on it")
        check_one_tape(filled)
        return cls(filled)

    @property
    def rows(self) -> int:
        """Number of ticks."""
        return sum(group.header.rows for group in self._groups)

    @property
    def first_seq(self) -> int:
        """The seq of the first row: 0, unless earlier parts were left out."""
        return self._groups[0].first_seq

    @property
    def venue(self) -> str:
        """Where the ticks come from."""
        return self.headers[0].venue

    @property
    def symbols(self) -> list[str]:
        """Every symbol on the tape, in the order of their first row."""
        return self.passport.symbols

    @property
    def start(self) -> int:
        """`ts_recv` of the first row, ns."""
        return self._groups[0].header.ts_first

    @property
    def end(self) -> int:
        """`ts_recv` of the last row, ns."""
        return self._groups[-1].header.ts_last

    @property
    def simulated(self) -> bool:
        """True where any part of the market is made up."""
        return any(header.simulated for header in self.headers) or SIMULATED in self.passport.feed_events

    @property
    def is_growing(self) -> bool:
        """A recorder is at work on it: it will have more rows than were there when it was opened."""
        return any(is_log(path) and is_recording(path.parent) for path in self.paths)

    @cached_property
    def passport(self) -> Passport:
        """The quality passport of the whole tape."""
        return merge([header.passport for header in self.headers])

    @cached_property
    def identity(self) -> str:
        """Names the tape by its content: the SHA-256 of its file, or of its files' SHA-256 where it has parts.

        The same ticks cut into other parts are another tape by this name. Of a tape that is being recorded it names
        what was there when it was opened.
        """
        digests = [part.identity() for part in self._parts]
        return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def batches(
        self,
        rows: int = ROW_GROUP,
        *,
        start_seq: int | None = None,
        stop_seq: int | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
        symbols: Symbols | None = None,
    ) -> Iterator[TickBatch]:
        """What the engine walks: the ticks of a range in their order, at most `rows` at a time.

        A batch never reaches over the end of a row group, so it may be shorter than `rows`. Codes of symbols
        are given as their row groups are read, and hold for this one walk of the tape; or, where `symbols` are
        given, for whatever is known by them.
        """
        symbols = symbols or Symbols()
        for group, table in _read_ahead(self._touching(start_seq, stop_seq, from_ns, to_ns), COLUMNS):
            ticks = _checked(group, table, symbols)
            start, stop = _rows_of(ticks, start_seq, stop_seq, from_ns, to_ns)
            yield from ticks.batches(start, stop, rows)

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """What arrived, as it arrived, each with the seq of its first row."""
        for _, table in read_groups(self._groups, ("seq", "ts_recv", "conn", "frame", "url")):
            framed = table.filter(table["frame"].is_valid())
            for seq, ts_recv, conn, payload, url in zip(*(c.to_pylist() for c in framed.columns), strict=True):
                yield seq, Frame(ts_recv=ts_recv, payload=payload, conn=conn, url=url)

    def ticks(self, start_seq: int, stop_seq: int) -> list[Row]:
        """A few rows in full, for a look at them."""
        return [_row(row) for row in self.table(start_seq=start_seq, stop_seq=stop_seq).to_pylist()]

    def table(
        self, columns: Sequence[str] | None = None, *, start_seq: int | None = None, stop_seq: int | None = None
    ) -> Any:
        """The named columns (all, where none are named) of a range of rows, as one pyarrow Table in memory."""
        names = tuple(columns or SCHEMA.names)
        empty = NO_ROWS.select(names)
        tables = [
            table.slice(*_slice_of(group, start_seq, stop_seq))
            for group, table in read_groups(self._touching(start_seq, stop_seq, None, None), names)
        ]
        return pa.concat_tables([empty, *tables])

    def _touching(
        self, start_seq: int | None, stop_seq: int | None, from_ns: int | None, to_ns: int | None
    ) -> list[Group]:
        """The row groups that touch a range."""
        return [
            group
            for group in self._groups
            if (start_seq is None or start_seq < group.stop_seq)
            and (stop_seq is None or group.first_seq < stop_seq)
            and (from_ns is None or from_ns <= group.header.ts_last)
            and (to_ns is None or group.header.ts_first < to_ns)
        ]


def _listed(places: Sequence[str | Path]) -> str:
    return ", ".join(str(place) for place in places) or "tape"


def _read_ahead(groups: Sequence[Group], columns: Sequence[str]) -> Iterator[tuple[Group, Any]]:
    """What `read_groups` gives, with the next row group being read while this one is worked on.

    Columns in which nothing is known are left out.

    Only the reading happens in the thread, which pyarrow does without the interpreter's lock.
    """
    source = read_groups(groups, columns, left_out=_MAY_BE_LEFT_OUT)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tape") as thread:
        ahead = thread.submit(next, source, None)
        while (item := ahead.result()) is not None:
            ahead = thread.submit(next, source, None)
            yield item


def _checked(group: Group, table: Any, symbols: Symbols) -> RowGroup:
    """The ticks of a row group, whose time never runs backwards."""
    try:
        ticks = RowGroup(group.first_seq, table, symbols)
    except DAMAGE as error:
        raise damaged(group, error) from error
    if np.any(ticks.ts[1:] < ticks.ts[:-1]):
        raise TapeProblem(
            f"{group.path}: expected ts_recv never to fall, found that it does after seq {group.first_seq}"
        )
    return ticks


def _rows_of(
    ticks: RowGroup, start_seq: int | None, stop_seq: int | None, from_ns: int | None, to_ns: int | None
) -> tuple[int, int]:
    """The first row of a group inside a range, and the row after the last one."""
    start, stop = 0, len(ticks)
    if start_seq is not None:
        start = max(start, start_seq - ticks.first_seq)
    if from_ns is not None:
        start = max(start, int(np.searchsorted(ticks.ts, from_ns)))
    if stop_seq is not None:
        stop = min(stop, stop_seq - ticks.first_seq)
    if to_ns is not None:
        stop = min(stop, int(np.searchsorted(ticks.ts, to_ns)))
    return start, stop


def _slice_of(group: Group, start_seq: int | None, stop_seq: int | None) -> tuple[int, int]:
    """Offset and length of the rows of a group inside a range."""
    start = 0 if start_seq is None else max(0, start_seq - group.first_seq)
    stop = group.header.rows if stop_seq is None else min(group.header.rows, stop_seq - group.first_seq)
    return start, stop - start


def _row(row: dict[str, Any]) -> Row:
    known = {name: row[name] for name in Tick.__struct_fields__}
    known |= {name: NAN for name in FLOATS if row[name] is None}
    return Row(seq=row["seq"], ts_recv=row["ts_recv"], conn=row["conn"], frame=row["frame"], tick=Tick(**known))
