"""Frames and their ticks into one Parquet file, which appears whole or not at all."""

import fcntl
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from engine.ticks import KIND_NAMES, RECOVERED, Kind, Tick
from recorder.passport import RECEIVED, PassportCollector
from recorder.tape_columns import (
    FLOATS,
    FORMAT_VERSION,
    METADATA_KEY,
    ROW_GROUP,
    SCHEMA,
    Header,
    RowGroupHeader,
    TapeProblem,
)
from recorder.venues import Frame, Quality

FRAME_BYTES_MAX = 64 * 1024 * 1024
"""Payload bytes after which a row group is closed early, so that huge frames do not pile up in memory."""

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_DICTIONARY = ["venue", "symbol", "kind", "side", "flags", "conn", *FLOATS]
_DICTIONARY_BYTES_MAX = 256 * 1024
_DELTA = {"seq": "DELTA_BINARY_PACKED", "ts_recv": "DELTA_BINARY_PACKED", "ts_event": "DELTA_BINARY_PACKED"}


class _Arrival(msgspec.Struct, gc=False):
    """Rows that came together; `payload` is None where no frame brought them. Not for the garbage collector to walk."""

    ts_recv: int
    conn: int
    payload: bytes | None
    url: str | None
    rows: int


class TapeWriter:
    """Writes one tape file, row by row in the order in which they shall be replayed.

    Rows get their `seq` here, gapless from `first_seq`. `ts_recv` never runs backwards on a tape: where the
    clock did, the row takes the latest time before it, and the passport counts the step.

    The file is written beside its place, as `<name>.tmp`, and moved there by `close` once it is safely on
    disk. As a context manager it closes on a clean exit, and on an exception leaves nothing behind. Whoever else
    writes the same tape meanwhile, here or in another process, gets a TapeProblem.

    channels:    the venue's channels that are recorded, in its own words.
    source:      how the tape comes to be, such as `import hftbacktest`.
    libraries:   versions of other packages that had a part in it; pyarrow's is added.
    first_seq:   for a further part of a tape, the seq after the last one of the part before.
    not_before:  for a further part, the `ts_recv` of the last row of the part before.
    sink:        takes the tape's bytes in place of a file, which is named all the same; a pyarrow stream.
    """

    def __init__(
        self,
        path: Path | str,
        venue: str,
        *,
        channels: Sequence[str] = (),
        source: str,
        libraries: Mapping[str, str] | None = None,
        simulated: bool = False,
        time_source: str = RECEIVED,
        first_seq: int = 0,
        not_before: int | None = None,
        sink: Any = None,
    ) -> None:
        self.path = Path(path)
        self._sink = sink
        self._part = unfinished(self.path)
        self._venue = venue
        self._header = partial(
            Header,
            format=FORMAT_VERSION,
            venue=venue,
            channels=list(channels),
            source=source,
            simulated=simulated,
            libraries={**(libraries or {}), "pyarrow": pa.__version__},
            first_seq=first_seq,
        )
        self._groups: list[RowGroupHeader] = []
        self._time_source = time_source
        self._next_seq = first_seq
        self._latest = _INT64_MIN if not_before is None else not_before
        self._clock_before = not_before
        self._clock_reversals = 0
        self._collector = PassportCollector()
        self._ticks: list[Tick] = []
        self._arrivals: list[_Arrival] = []
        self._frame_bytes = 0
        self._tables: list[pa.Table] = []
        self._table_rows = 0
        self._lock = -1
        try:
            if sink is None:
                self._lock = _held(self._part)
            self._parquet: Any = _open_parquet(
                self._part if sink is None else sink
            )  # None once closed; pyarrow has no types
        except BlockingIOError as error:
            raise TapeProblem(f"{path}: expected to write it alone, found that somebody else does") from error
        except OSError as error:
            self._release()
            raise TapeProblem(
                f"{path}: expected a place to write a tape to, found {error.strerror or error}"
            ) from error

    @property
    def next_seq(self) -> int:
        """The seq that the next row will get."""
        return self._next_seq + self._table_rows + len(self._ticks)

    def append(self, frame: Frame, ticks: Sequence[Tick]) -> None:
        """One frame and the ticks that it decoded to; a frame without any is kept on an `other` row.

        The frame must have been stamped: where a capture kept no time of receipt, choose one before.
        """
        assert frame.ts_recv is not None
        self._append(frame.ts_recv, frame.conn, frame.payload, frame.url, ticks or (Tick(kind=Kind.OTHER),))

    def append_feed(self, ts_recv: int, ticks: Sequence[Tick], conn: int = 0) -> None:
        """Ticks which no frame brought: connected, disconnected, the clock."""
        if ticks:
            self._append(ts_recv, conn, None, None, ticks)

    def append_rows(self, table: pa.Table) -> None:
        """Rows that are columns already: `SCHEMA` without `seq` and `venue`; `conn`, `frame`, `url` may be left out."""
        self._flush_ticks()
        self._add(table)

    def close(self, quality: Quality | None = None, *, clock_reversals: int = 0) -> None:
        """Put the finished tape in its place.

        quality:          what the decoder counted, for the passport.
        clock_reversals:  backward steps of the clock that were smoothed out before the rows came here.
        """
        try:
            self._flush_ticks()
            self._write_groups(at_least=1)
            self._clock_reversals += clock_reversals
            self._parquet.add_key_value_metadata({METADATA_KEY: msgspec.json.encode(self._sealed_header(quality))})
            self._parquet.close()
            if self._sink is None:
                _sync(self._part)
                self._part.replace(self.path)
                _sync(self.path.parent)
        except BaseException:
            self.abandon()
            raise
        self._parquet = None
        self._release()

    def abandon(self) -> None:
        """Give up: leave neither the tape nor its beginnings. Without effect on a closed writer."""
        if self._parquet is not None:
            parquet, self._parquet = self._parquet, None
            try:
                parquet.close()
            finally:
                if self._sink is None:
                    self._part.unlink(missing_ok=True)
                self._release()

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.abandon()
        elif self._parquet is not None:
            self.close()

    def _append(self, ts_recv: int, conn: int, payload: bytes | None, url: str | None, ticks: Sequence[Tick]) -> None:
        self._arrivals.append(_Arrival(ts_recv, conn, payload, url, len(ticks)))
        self._ticks.extend(ticks)
        self._frame_bytes += len(payload) if payload else 0
        if len(self._ticks) >= ROW_GROUP:
            self._flush_ticks()
        elif self._frame_bytes >= FRAME_BYTES_MAX:
            self._flush_ticks()
            self._write_groups(at_least=1)

    def _flush_ticks(self) -> None:
        if self._ticks:
            table = _table_of(self._arrivals, self._ticks)
            self._ticks, self._arrivals, self._frame_bytes = [], [], 0
            self._add(table)

    def _add(self, table: pa.Table) -> None:
        if table.num_rows:
            self._tables.append(_conformed(table, self._venue))
            self._table_rows += table.num_rows
            self._write_groups(at_least=ROW_GROUP)

    def _write_groups(self, at_least: int) -> None:
        """Write full row groups, and then the rest if it has `at_least` so many rows."""
        if self._table_rows < at_least:
            return
        table = pa.concat_tables(self._tables)
        start = 0
        while table.num_rows - start >= at_least:
            self._write_group(table.slice(start, ROW_GROUP))
            start += min(ROW_GROUP, table.num_rows - start)
        self._tables = [table.slice(start)] if start < table.num_rows else []
        self._table_rows = table.num_rows - start

    def _write_group(self, table: pa.Table) -> None:
        seq = np.arange(self._next_seq, self._next_seq + table.num_rows)
        clock: npt.NDArray[np.int64] = table["ts_recv"].to_numpy()
        before = clock[0] if self._clock_before is None else self._clock_before
        self._clock_reversals += int(np.count_nonzero(np.diff(clock, prepend=before) < 0))
        ts_recv = np.maximum(np.maximum.accumulate(clock), self._latest)
        self._clock_before, self._latest = int(clock[-1]), int(ts_recv[-1])
        columns = {name: table[name] for name in table.column_names}
        columns |= {"seq": pa.array(seq), "ts_recv": pa.array(ts_recv), "symbol": _encoded(table["symbol"])}
        group = pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
        self._parquet.write_table(group, row_group_size=ROW_GROUP)
        unknown = [name for name in group.column_names if group[name].null_count == group.num_rows]
        self._groups.append(
            RowGroupHeader(rows=group.num_rows, ts_first=int(ts_recv[0]), ts_last=int(ts_recv[-1]), unknown=unknown)
        )
        self._collect(group, ts_recv)
        self._next_seq += table.num_rows

    def _collect(self, group: pa.Table, ts_recv: npt.NDArray[np.int64]) -> None:
        kind: npt.NDArray[np.int8] = group["kind"].to_numpy()
        assert kind.min() >= 0 and kind.max() < len(KIND_NAMES)
        # What happened before we listened, and is told on subscribing, says nothing about how late we hear of things.
        is_past = (kind == Kind.OTHER) | (group["flags"].to_numpy() & RECOVERED != 0)
        has_event = group["ts_event"].is_valid().to_numpy() & ~is_past
        self._collector.see(
            ts_recv=ts_recv,
            skew_ns=ts_recv[has_event] - group["ts_event"].filter(pa.array(has_event)).to_numpy(),
            kind=kind,
            framed=group["frame"].is_valid().to_numpy(),
            symbols=group["symbol"].chunk(0).dictionary.to_pylist(),
            notes=group["note"].filter(pa.array(kind == Kind.FEED)).drop_null().to_pylist(),
        )

    def _sealed_header(self, quality: Quality | None) -> Header:
        passport = self._collector.passport(
            quality or Quality(), clock_reversals=self._clock_reversals, time_source=self._time_source
        )
        return self._header(passport=passport, groups=self._groups)


def unfinished(path: Path) -> Path:
    """Where a tape is while it is being written."""
    return path.with_name(f"{path.name}.tmp")


def _held(path: Path) -> int:
    """An open file at `path` that nobody else has locked: the lock is the system's, and ends with the process.

    Raises BlockingIOError where somebody has.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # whoever held it has put it in its place since


def _open_parquet(place: Any) -> Any:
    return pq.ParquetWriter(
        place,
        SCHEMA,
        compression="zstd",
        compression_level=1,
        use_dictionary=_DICTIONARY,
        # Prices and sizes lie on a grid: few distinct values, which read twice as fast from a dictionary, and
        # are smaller. The limit makes a column with more than 32,768 of them go on as plain doubles.
        dictionary_pagesize_limit=_DICTIONARY_BYTES_MAX,
        column_encoding=_DELTA,
        # Without this, the footer would hold the smallest and largest frame of every row group.
        write_statistics=[name for name in SCHEMA.names if name != "frame"],
        write_page_checksum=True,
    )


def _table_of(arrivals: list[_Arrival], ticks: list[Tick]) -> pa.Table:
    """The columns of whole frames, without `seq` and `venue`."""
    counts = np.array([arrival.rows for arrival in arrivals])
    first_rows = np.cumsum(counts) - counts
    return pa.table(
        {
            "ts_recv": np.repeat(np.array([arrival.ts_recv for arrival in arrivals], dtype=np.int64), counts),
            "ts_event": _times([tick.ts_event for tick in ticks]),
            "symbol": _texts([tick.symbol or None for tick in ticks]),
            "kind": pa.array([tick.kind for tick in ticks], pa.int8()),
            "side": pa.array([tick.side for tick in ticks], pa.int8()),
            **{name: _floats(ticks, name) for name in FLOATS},
            "flags": pa.array([tick.flags for tick in ticks], pa.int16()),
            "trade_id": _texts([tick.trade_id for tick in ticks]),
            "note": _texts([tick.note for tick in ticks]),
            "conn": np.repeat(np.array([arrival.conn for arrival in arrivals], dtype=np.int32), counts),
            "frame": _spread([arrival.payload for arrival in arrivals], first_rows, len(ticks), pa.binary()),
            "url": _spread([arrival.url for arrival in arrivals], first_rows, len(ticks), pa.string()),
        }
    )


def _floats(ticks: list[Tick], name: str) -> pa.Array:
    values = np.array([getattr(tick, name) for tick in ticks], dtype=np.float64)
    return pa.array(values, from_pandas=True)  # NaN becomes null


def _times(values: list[int | None]) -> pa.Array:
    try:
        return pa.array(values, pa.int64())
    except OverflowError:
        # A venue may send any number. A time which is none must not cost us the tape.
        known = [value if value is not None and _INT64_MIN <= value <= _INT64_MAX else None for value in values]
        return pa.array(known, pa.int64())


def _texts(values: list[str | None]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        # JSON can name half a character (`\ud800`), UTF-8 cannot: it becomes a question mark.
        return pa.array([value and value.encode(errors="replace").decode() for value in values], pa.string())


def _spread(values: Sequence[bytes | str | None], rows: npt.NDArray[np.int64], length: int, kind: Any) -> pa.Array:
    """A column of `length` rows with `values` at `rows`, null elsewhere."""
    column: list[bytes | str | None] = [None] * length
    for row, value in zip(rows.tolist(), values, strict=True):
        column[row] = value
    return pa.array(column, kind)


def _conformed(table: pa.Table, venue: str) -> pa.Table:
    """`table` with all columns of a tape but `seq`, in their types; names stay plain text until they are written."""
    fill: dict[str, Callable[[], pa.Array]] = {
        "venue": lambda: pa.repeat(venue, table.num_rows).dictionary_encode(),
        "conn": lambda: pa.repeat(pa.scalar(0, pa.int32()), table.num_rows),
        "frame": lambda: pa.nulls(table.num_rows, pa.binary()),
        "url": lambda: pa.nulls(table.num_rows, pa.string()),
    }
    columns = {}
    for field in SCHEMA:
        if field.name == "seq":
            continue
        if field.name in fill and field.name not in table.column_names:
            columns[field.name] = fill[field.name]()
            continue
        column = table[field.name].cast(pa.string() if field.name == "symbol" else field.type)
        columns[field.name] = _nan_to_null(column) if pa.types.is_floating(field.type) else column
    return pa.table(columns)


def _nan_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc  # noqa: PLC0415 - it takes its time, and who replays a tape writes none

    unknown = pc.is_nan(column)
    return pc.if_else(unknown, None, column) if pc.any(unknown).as_py() else column


def _encoded(names: pa.ChunkedArray) -> pa.Array:
    """Names as a dictionary in the order of their first row."""
    encoded = names.combine_chunks().dictionary_encode()
    return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded


def _sync(path: Path) -> None:
    """Put a file's bytes, or a folder's names, on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
