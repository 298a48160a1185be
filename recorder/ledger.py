"""The ledger: portfolio events to Parquet and back, to the last digit."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from engine.events import Event
from recorder.ledger_columns import (
    COLUMNS,
    EVENT_TYPES,
    FORMAT_VERSION,
    METADATA_KEY,
    NUMBERS,
    SCHEMA,
    Column,
    filled_columns,
    mask,
    tag_of,
    values_of,
    whole_rows,
)
from recorder.problems import Problem

EVENTS_CONVERTED = 4_096
"""Events that are made into columns together: few enough to be still in the processor's cache."""
EVENTS_WRITTEN = 50_000
"""A row group a type of so many events is few enough groups for queries, and enough rows for compression."""
EVENTS_SEGMENT = 5_000_000
"""Events after which a segment is complete, so that no footer grows without end."""

_RISING = ("seq", "tick_seq", "ts", "arrives_at")
_OPTIONS = {
    "compression": "lz4",
    "column_encoding": dict.fromkeys(_RISING, "DELTA_BINARY_PACKED"),
    "use_dictionary": [field.name for field in SCHEMA if field.type not in NUMBERS and not field.name.endswith("_id")],
    "write_statistics": ["type", "strategy", "symbol", *_RISING],
    "write_page_checksum": True,
}
"""Of the ways to write 62,000 events this was the fastest; zstd is a third smaller and takes twice as long."""


class LedgerProblem(Problem):
    """A ledger that cannot be read, in one sentence for the user: the file, what was expected, what was found."""


class LedgerWriter:
    """Writes a run's portfolio events to `folder`, in segments that appear whole or not at all.

    Rows of one type stand together, a row group a type, each in the order of emission: a query about fills
    then skips everything else by its statistics. What orders all events of a desk is their `seq`.

    As a context manager it closes on a clean exit, and on an exception drops the segment in hand.

    first_segment:     number of the first file, for a folder that has some already.
    events_converted:  events that are made into columns together, which take a quarter of their room.
    events_written:    events whose columns are written together, while the next ones come: up to twice as many are
                       held in memory.
    """

    def __init__(
        self,
        folder: Path,
        first_segment: int = 0,
        *,
        events_converted: int = EVENTS_CONVERTED,
        events_written: int = EVENTS_WRITTEN,
    ) -> None:
        self._folder = folder.absolute()  # pyarrow takes a leading ~ for somebody's home
        self._segment = first_segment
        self._events_converted = events_converted
        self._events_written = events_written
        self._waiting: dict[type[Event], list[Event]] = {}
        self._tables: dict[str, list[pa.Table]] = {}
        self._unconverted = 0
        self._converted = 0
        self._rows = 0
        self._sealed: list[str] = []
        self._parquet: Any = None  # open while a segment is; pyarrow has no types
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")  # encoding and compressing need no GIL
        self._writing: Future[None] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def append(self, events: Sequence[Event]) -> None:
        """Take in the events of a batch; every now and then this writes."""
        waiting = self._waiting
        for event in events:
            kind = type(event)
            if kind in waiting:
                waiting[kind].append(event)
            else:
                waiting[kind] = [event]
        self._unconverted += len(events)
        if self._unconverted >= self._events_converted:
            self._convert()

    def close(self) -> list[str]:
        """Put the rest on disk, and return the file names of all segments, in order: at least one, be it empty."""
        self._convert()
        self._write()
        self._wait()
        self._thread.shutdown()
        if self._parquet is not None or not self._sealed:
            self._seal()
        return self._sealed

    def abandon(self) -> None:
        """Give up: the segment in hand disappears, sealed ones stay. Without effect on a closed writer."""
        self._thread.shutdown()
        if self._parquet is not None:
            self._parquet.close()
            self._parquet = None
            self._unfinished.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def _convert(self) -> None:
        """What is waiting, into columns."""
        for kind, alike in self._waiting.items():
            self._tables.setdefault(tag_of(kind), []).append(filled_columns(alike))
        self._waiting.clear()
        self._converted += self._unconverted
        self._unconverted = 0
        if self._converted >= self._events_written:
            self._write()

    def _write(self) -> None:
        """Have the columns written, a row group a type, while the next ones come; a segment that is full is sealed."""
        self._wait()
        if self._rows >= EVENTS_SEGMENT:
            self._seal()
        if self._tables:
            self._writing = self._thread.submit(self._put, self._tables)
            self._tables = {}
        self._rows += self._converted
        self._converted = 0

    def _put(self, tables: dict[str, list[pa.Table]]) -> None:
        for tag, parts in tables.items():
            rows = whole_rows(tag, pa.concat_tables(parts))
            self._open().write_table(rows, row_group_size=len(rows))

    def _wait(self) -> None:
        """Until what is being written is on disk, or its error is raised here."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    @property
    def _name(self) -> str:
        return f"seg-{self._segment:06d}.parquet"

    @property
    def _unfinished(self) -> Path:
        return self._folder / f"{self._name}.tmp"

    def _open(self) -> Any:  # a pq.ParquetWriter
        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._unfinished, SCHEMA, **_OPTIONS)
        return self._parquet

    def _seal(self) -> None:
        self._open().close()
        self._parquet = None
        _sync(self._unfinished)
        self._unfinished.replace(self._folder / self._name)
        _sync(self._folder)
        self._sealed.append(self._name)
        self._segment += 1
        self._rows = 0


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_events(paths: Iterable[Path], strategy: str | None = None) -> dict[str, list[Event]]:
    """The events of each desk in the order of their `seq`, equal to those that were written.

    paths:     all segments of a ledger.
    strategy:  whose events; everybody's where it is None. Without any it has an empty list.

    Raises LedgerProblem where a segment is missing, damaged or not a segment.
    """
    desks: dict[str, list[Event]] = {} if strategy is None else {strategy: []}
    for path in paths:
        for event in _segment_events(path, strategy):
            desks.setdefault(event.strategy, []).append(event)
    for events in desks.values():
        events.sort(key=attrgetter("seq"))
    return dict(sorted(desks.items()))


def _segment_events(path: Path, strategy: str | None) -> Iterator[Event]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
            _check_format(path, parquet.metadata.metadata or {})
            for group in range(parquet.num_row_groups):
                yield from _group_events(path, parquet, group, strategy)
    except FileNotFoundError as error:
        raise LedgerProblem(f"{path}: expected a segment of a ledger, found no such file") from error
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise LedgerProblem(f"{path}: expected a segment of a ledger, found what cannot be read: {reason}") from error


def _check_format(path: Path, metadata: dict[bytes, bytes]) -> None:
    version = metadata.get(METADATA_KEY)
    if version is None:
        raise LedgerProblem(f"{path}: expected a segment of a ledger, found a Parquet file of another kind")
    if version != str(FORMAT_VERSION).encode():
        raise LedgerProblem(f"{path}: expected format {FORMAT_VERSION} of the ledger, found {version.decode()}")


def _group_events(path: Path, parquet: Any, group: int, strategy: str | None) -> Iterator[Event]:
    """The events of a row group; parquet is a pq.ParquetFile."""
    keys = parquet.read_row_group(group, columns=["type", "strategy"], use_threads=False)
    types, strategies = keys["type"].cast(pa.string()).to_pylist(), keys["strategy"].to_pylist()
    for tag in dict.fromkeys(types):
        if tag not in EVENT_TYPES:
            raise LedgerProblem(f"{path}: expected portfolio events, found an unknown {tag}")
        chosen = [kind == tag and strategy in (None, desk) for kind, desk in zip(types, strategies, strict=True)]
        if any(chosen):
            columns = _columns_present(path, parquet, tag)
            rows = parquet.read_row_group(group, columns=[column.name for column in columns], use_threads=False)
            yield from _events(path, tag, columns, rows if all(chosen) else rows.filter(mask(chosen)))


def _columns_present(path: Path, parquet: Any, tag: str) -> list[Column]:
    """The columns of a type of event; those which came later than the file, and have a default, are left out."""
    found = {field.name: field.type for field in parquet.schema_arrow}
    for column in COLUMNS[tag]:
        if found.get(column.name, None if column.required else column.type) != column.type:
            raise LedgerProblem(
                f"{path}: expected column {column.name} of type {column.type}, found {found.get(column.name, 'none')}"
            )
    return [column for column in COLUMNS[tag] if column.name in found]


def _events(path: Path, tag: str, columns: Sequence[Column], rows: pa.Table) -> Iterator[Event]:
    for column in columns:
        if rows[column.name].null_count and not column.nullable:
            raise LedgerProblem(f"{path}: expected a value in {column.name} of every {tag}, found none")
    told = [column for column in columns if column.required or rows[column.name].null_count < len(rows)]
    fields = [column.field for column in told]
    event_type: Any = EVENT_TYPES[tag]  # one of the classes in Event
    for values in zip(*(values_of(rows[column.name], column) for column in told), strict=True):
        yield event_type(**dict(zip(fields, values, strict=True)))
