"""The ticks of a tape that no part has yet: its open log, followed for a reader who looks again and again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from engine.ticks import SNAPSHOT, Kind, Tick
from recorder.assembly import Assembled, Assembler
from recorder.frame_log import LogHeader, LogProblem, read_header, read_more
from recorder.known import recalled
from recorder.log_folder import LOG, SEALED, part_name, parts_of
from recorder.log_parts import decoded_again, sealed_before
from recorder.tape_columns import FLOATS, SCHEMA

WARM_ROWS_MAX = 300_000
"""Rows of sealed parts that are taken in again where nobody kept what a decoder knew at their end: half a second."""

_BEFORE_A_SNAPSHOT = frozenset({Kind.TRADE, Kind.QUOTE})
"""What can be understood without knowing what came before."""


class LogTail:
    """Follows the logs of a folder that somebody records into, from the first that is not sealed.

    What a decoder knew when that log began was kept, or is found again where it is not too much to read. Otherwise it
    begins anew, and what it says of books and of gaps before the venue has sent another snapshot means nothing: it is
    left out.

    next_seq:  of the row after those that were read.
    """

    def __init__(self, folder: Path) -> None:
        self.next_seq = 0
        self._folder = folder
        self._number = -1
        self._file: BinaryIO | None = None
        self._offset = 0
        self._knows_books = False
        self._assembler: Assembler | None = None

    def read(self) -> pa.Table:
        """The ticks since the look before, as rows of a tape without frames."""
        if self._file is None:
            self._begin()
        rows: list[dict[str, Any]] = []
        while self._file is not None:
            # A log is complete once there is another: look for that first, then read on, and only then move on.
            has_next = max(parts_of(self._folder), default=-1) > self._number
            rows += self._new_rows()
            if not has_next:
                break
            self._move_on()
        return pa.Table.from_pylist(rows, schema=SCHEMA)

    def close(self) -> None:
        """Let the log go. Without effect the second time."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        parts = parts_of(self._folder).items()
        open_ones = [number for number, endings in parts if LOG in endings and SEALED not in endings]
        header = self._open(open_ones[0]) if open_ones else None
        if header is None:
            return
        before = sealed_before(self._folder / part_name(self._number, LOG))
        self.next_seq = before[-1].stop_seq if before else 0
        known = recalled(before[-1], header.venue, header.symbols) if before else None
        rows = sum(group.header.rows for part in before for group in part.groups)
        self._knows_books = known is not None or rows <= WARM_ROWS_MAX
        self._assembler = known or decoded_again(before if self._knows_books else [], header)

    def _move_on(self) -> None:
        """To the next log; where that has been sealed already, to the first that has not."""
        self.close()
        if self._open(self._number + 1) is None:
            self._begin()

    def _open(self, number: int) -> LogHeader | None:
        path = self._folder / part_name(number, LOG)
        try:
            # It stays open, so that what is left of it can be read when it has been sealed and its name is gone.
            file = path.open("rb")
            header = read_header(path)
        except (FileNotFoundError, LogProblem):
            return None
        if header is None:
            file.close()
            return None
        self._number, self._file, self._offset = number, file, 0
        return header

    def _new_rows(self) -> Iterator[dict[str, Any]]:
        assert self._file is not None and self._assembler is not None
        records, self._offset = read_more(self._file, self._offset)
        for record in records:
            found = self._assembler.take(record)
            for tick in found.ticks:
                self._knows_books |= bool(tick.flags & SNAPSHOT)
                if self._knows_books or tick.kind in _BEFORE_A_SNAPSHOT:
                    yield _row(tick, self.next_seq, found, self._assembler.venue)
                self.next_seq += 1


def _row(tick: Tick, seq: int, found: Assembled, venue: str) -> dict[str, Any]:
    row = {name: getattr(tick, name) for name in Tick.__struct_fields__}
    for name in FLOATS:
        if row[name] != row[name]:  # NaN: not known
            row[name] = None
    return {**row, "seq": seq, "ts_recv": found.ts_recv, "venue": venue, "conn": found.conn}
