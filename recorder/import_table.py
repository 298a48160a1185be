"""A plain table of trades and quotes, in Parquet or CSV, to rows of a tape: columns in, columns out."""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from engine.ticks import BUY, LAST_OF_MESSAGE, NO_SIDE, PRICE_MAX, PRICE_MIN, SELL, SIZE_MAX, Kind
from recorder.imports import CENTURY_NS, ImportProblem
from recorder.venues import Quality

TRADE_COLUMNS = ("price", "size")
QUOTE_COLUMNS = ("bid", "bid_size", "ask", "ask_size")
_NUMBERS = (*TRADE_COLUMNS, *QUOTE_COLUMNS)
BATCH_ROWS = 262_144
"""Rows that are held in memory at a time."""

_COARSE = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000}
_CRYPTO_NS = (1_230_768_000_000_000_000, CENTURY_NS)
"""From the first Bitcoin, 2009, to 2100. The same in s, ms or us, taken for ns, is within the first weeks of 1970."""

SIDES: dict[str, int] = {
    **{"buy": BUY, "b": BUY, "1": BUY, "+1": BUY, "1.0": BUY},
    **{"sell": SELL, "s": SELL, "-1": SELL, "-1.0": SELL},
    **{"": NO_SIDE, "0": NO_SIDE, "0.0": NO_SIDE, "nan": NO_SIDE},
}
"""How a trade's aggressor may be spelled, in any case."""

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


def ticks_table(path: str | Path) -> "TicksTable":
    """The rows of a plain table as rows of a tape.

    Columns: `ts` (ns UTC, or an Arrow timestamp; s, ms and us of our times are recognized, and refused) and `symbol`;
    `price`, `size` and perhaps `side` for trades; `bid`, `bid_size`, `ask`, `ask_size` for quotes. Other columns are
    not read. A file may hold both: a row is a trade where it has a price or a size, a quote where it has a bid or an
    ask, and first the quote and then the trade where it has both. NaN counts as nothing, like null.

    Raises ImportProblem for a file that is missing, damaged, empty, or has other columns or types than these; what
    can be known only while reading is raised by the iteration.
    """
    return TicksTable(Path(path))


class TicksTable:
    """Iterates over tables with the columns of a tape but `seq` and `venue`; what it counts is final after that.

    `ts_recv` is the latest `ts` so far, `ts_event` the row's own: the order of the rows is kept even where their
    times run backwards. Rows that are no market - a price which is not positive, a negative size, no symbol - are
    `other` rows whose note has what stood there. The touch is the symbol's last quote.

    time_reversals:  rows whose time is before that of the row above.
    quality:         `unparsed` and `crossed` rows.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.time_reversals = 0
        self.quality = Quality()
        self._touch: dict[str, tuple[float, float, float, float]] = {}
        self._clock: int | None = None
        self._latest = -(2**63)
        self._row = 0
        self._batches = _batches(path)

    def __iter__(self) -> Iterator[pa.Table]:
        for batch in self._batches:
            yield self._rows(_Columns(self.path, batch, self._row))
            self._row += batch.num_rows
        if not self._row:
            raise ImportProblem(f"{self.path}: expected rows, found none")

    def _rows(self, read: "_Columns") -> pa.Table:
        """The rows of a batch: up to three for each of its own - quote, feed row if it is crossed, trade."""
        quoted, traded = _any_number(read.quote), _any_number(read.trade)
        good_quote = quoted & read.has_symbol & _is_quote(*read.quote)
        good_trade = traded & read.has_symbol & _is_trade(*read.trade)
        crossed = good_quote & (read.quote[0] >= read.quote[2])
        slots = np.column_stack((quoted, crossed, traded, ~(quoted | traded)))
        source, slot = np.nonzero(slots)

        is_quote = (slot == 0) & good_quote[source]
        is_trade = (slot == 2) & good_trade[source]
        is_feed = slot == 1
        is_other = ~(is_quote | is_trade | is_feed)
        kind = np.select([is_quote, is_trade, is_feed], [Kind.QUOTE, Kind.TRADE, Kind.FEED], Kind.OTHER)
        self.quality.unparsed += int(np.count_nonzero(is_other))
        self.quality.crossed += int(np.count_nonzero(crossed))

        ts_recv = self._rising(read.ts)
        price, size = (np.where(is_trade, column[source], np.nan) for column in read.trade)
        touch = self._touch_after(read, source, is_quote)
        return pa.table(
            {
                "ts_recv": ts_recv[source],
                "ts_event": read.ts[source],
                "symbol": pa.DictionaryArray.from_arrays(
                    pa.array(read.symbol[source], mask=~read.has_symbol[source]), read.symbols
                ),
                "kind": kind.astype(np.int8),
                "side": np.where(slot == 2, read.side[source], NO_SIDE).astype(np.int8),
                "price": pa.array(price, from_pandas=True),
                "size": pa.array(size, from_pandas=True),
                **{name: pa.array(touch[name], from_pandas=True) for name in QUOTE_COLUMNS},
                "flags": np.append(source[1:] != source[:-1], True).astype(np.int16) * LAST_OF_MESSAGE,
                "trade_id": pa.nulls(len(source), pa.string()),
                "note": _notes(read, source, is_feed, is_other),
            }
        )

    def _rising(self, ts: _Ints) -> _Ints:
        before = np.append(ts[0] if self._clock is None else self._clock, ts[:-1])
        self.time_reversals += int(np.count_nonzero(ts < before))
        rising = np.maximum(np.maximum.accumulate(ts), self._latest)
        self._clock, self._latest = int(ts[-1]), int(rising[-1])
        return rising

    def _touch_after(self, read: "_Columns", source: _Ints, is_quote: _Bools) -> dict[str, _Floats]:
        """The touch on each row: the last quote of its symbol, in this batch or the ones before."""
        names = read.symbols.to_pylist()
        before = np.array([self._touch.get(name, (np.nan,) * 4) for name in names] or [(np.nan,) * 4])
        code = read.symbol[source]
        # Sorted by symbol, a running maximum of positions of quotes is the last quote, unless it is another symbol's.
        order = np.argsort(code, kind="stable")
        last = np.maximum.accumulate(np.where(is_quote[order], np.arange(len(order)), -1))
        own = (last >= 0) & (code[order[last]] == code[order])
        quote = np.empty(len(order), dtype=np.int64)
        quote[order] = np.where(own, source[order[last]], -1)
        touch: dict[str, _Floats] = {
            name: np.where(quote >= 0, column[quote], before[code, number])
            for number, (name, column) in enumerate(zip(QUOTE_COLUMNS, read.quote, strict=True))
        }
        ends = order[np.append(np.flatnonzero(np.diff(code[order])), len(order) - 1)]
        for end in ends.tolist() if names else ():
            bid, bid_size, ask, ask_size = (float(touch[name][end]) for name in QUOTE_COLUMNS)
            self._touch[names[code[end]]] = (bid, bid_size, ask, ask_size)
        return {name: np.where(read.has_symbol[source], column, np.nan) for name, column in touch.items()}


class _Columns:
    """The columns of one batch as arrays; a column that the file does not have is full of NaN.

    symbol:  index into `symbols`, 0 where there is none; `has_symbol` tells.
    """

    def __init__(self, path: Path, batch: pa.RecordBatch, first_row: int) -> None:
        self._path, self._batch, self._first_row = path, batch, first_row
        self.ts = self._times()
        encoded = self._cast("symbol", pa.string(), "text").dictionary_encode()
        self.symbols: Any = encoded.dictionary  # pyarrow has no types
        self.symbol: _Ints = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int32)
        self.has_symbol: _Bools = _has_text(encoded)
        self.trade = [self._numbers(name) for name in TRADE_COLUMNS]
        self.quote = [self._numbers(name) for name in QUOTE_COLUMNS]
        self.side = self._sides()

    def _times(self) -> _Ints:
        kind = self._batch.schema.field("ts").type
        if pa.types.is_timestamp(kind):
            column = self._cast("ts", pa.timestamp("ns", kind.tz), "times in ns").cast(pa.int64())
        elif pa.types.is_integer(kind):
            column = self._cast("ts", pa.int64(), "whole ns since 1970")
        else:
            raise self._problem("ts", "whole ns since 1970", kind)
        if column.null_count:
            row = self._first_row + pc.index(pc.is_null(column), True).as_py() + 1
            raise ImportProblem(f"{self._path}: ts: expected a time in every row, found none in row {row}")
        times: _Ints = column.to_numpy(zero_copy_only=False)
        if not self._first_row:
            self._check_unit(int(times[0]))
        for row in (int(times.argmin()), int(times.argmax())):
            if not 0 <= times[row] < CENTURY_NS:
                where = f"{times[row]} in row {self._first_row + row + 1}"
                raise self._problem("ts", "whole ns since 1970, before 2100", where)
        return times

    def _check_unit(self, ts: int) -> None:
        for unit, ns in _COARSE.items():
            if _CRYPTO_NS[0] <= ts * ns <= _CRYPTO_NS[1]:
                day = datetime.fromtimestamp(ts * ns // 1_000_000_000, UTC).date()
                raise self._problem("ts", "whole ns since 1970", f"{ts}, which is {day} in {unit}")

    def _numbers(self, name: str) -> _Floats:
        if name not in self._batch.schema.names:
            return np.full(self._batch.num_rows, np.nan)
        kind = self._batch.schema.field(name).type
        if not (_is_number(kind) or pa.types.is_null(kind)):
            raise self._problem(name, "numbers", kind)
        numbers: _Floats = self._cast(name, pa.float64(), "numbers").to_numpy(zero_copy_only=False)
        return numbers

    def _sides(self) -> _Ints:
        if "side" not in self._batch.schema.names:
            return np.zeros(self._batch.num_rows, dtype=np.int64)
        encoded = self._cast("side", pa.string(), "buy or sell").fill_null("").dictionary_encode()
        codes = []
        for text in encoded.dictionary.to_pylist():
            side = SIDES.get(text.strip().lower())
            if side is None:
                raise ImportProblem(
                    f"{self._path}: side: expected buy, sell, b, s, 1, -1, 0 or nothing, found {text!r}"
                )
            codes.append(side)
        sides: _Ints = np.array(codes, dtype=np.int64)[encoded.indices.to_numpy()]
        return sides

    def _cast(self, name: str, kind: Any, expected: str) -> Any:
        column = self._batch.column(name)
        try:
            cast = column if column.type == kind else column.cast(kind)
            cast.validate(full=pa.types.is_string(kind))  # a Parquet file may call any bytes text
            return cast
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise self._problem(name, expected, f"{column.type}: {_first_line(error)}") from error

    def _problem(self, name: str, expected: str, found: object) -> ImportProblem:
        return ImportProblem(f"{self._path}: {name}: expected {expected}, found {found}")


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The file's batches, of the columns that are read. The file and its columns are checked before the first."""
    if path.is_fifo():
        raise ImportProblem(f"{path}: expected a file, found a pipe")  # it is looked at more than once
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ImportProblem(f"{path}: expected a table, found: {error.strerror}") from error
    is_parquet = magic == b"PAR1"
    if not is_parquet and path.suffix == ".parquet":
        raise ImportProblem(f"{path}: expected Parquet, found {magic!r} at its start")
    if not magic:
        raise ImportProblem(f"{path}: expected a table, found an empty file")
    try:
        return _reported(path, _parquet_batches(path) if is_parquet else _csv_batches(path))
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, error) from error


def _reported(path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    try:
        for batch in batches:
            if batch.num_rows:
                yield batch
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ImportProblem:
    if "CSV conversion error" in str(error):
        expected = "ts in whole ns since 1970 and the rest in numbers"
        return ImportProblem(f"{path}: expected {expected}, found: {_first_line(error)}")
    return ImportProblem(f"{path}: expected a table that can be read, found: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    parquet = pq.ParquetFile(path)
    columns = _known_columns(path, parquet.schema_arrow.names)
    batches: Iterator[pa.RecordBatch] = parquet.iter_batches(BATCH_ROWS, columns=columns)
    return batches


def _csv_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.input_stream(str(path), compression="detect") as file:
        header = bytes(file.read(65_536)).partition(b"\n")[0].decode("utf-8-sig")
    columns = _known_columns(path, next(csv.reader([header.strip()]), []))
    numbers = dict.fromkeys(_NUMBERS, pa.float64())
    reader: Iterator[pa.RecordBatch] = pacsv.open_csv(
        path,
        read_options=pacsv.ReadOptions(block_size=4 * 1024 * 1024),
        convert_options=pacsv.ConvertOptions(
            include_columns=columns,
            column_types={"ts": pa.int64(), "symbol": pa.string(), "side": pa.string(), **numbers},
            null_values=["", "null", "NULL", "None"],
            strings_can_be_null=True,
        ),
    )
    return reader


def _known_columns(path: Path, names: list[str]) -> list[str]:
    """The columns of a file that are read; raises ImportProblem where it has neither trades nor quotes."""
    twice = sorted({name for name in names if names.count(name) > 1} & {"ts", "symbol", "side", *_NUMBERS})
    if twice:
        raise ImportProblem(f"{path}: expected each column once, found {', '.join(twice)} several times")
    has_trades, has_quotes = (set(group) <= set(names) for group in (TRADE_COLUMNS, QUOTE_COLUMNS))
    known = [name for name in ("ts", "symbol", *TRADE_COLUMNS, "side", *QUOTE_COLUMNS) if name in names]
    for group, is_whole in ((TRADE_COLUMNS, has_trades), (QUOTE_COLUMNS, has_quotes)):
        half = [name for name in group if name in names]
        if half and not is_whole:
            raise ImportProblem(f"{path}: expected the columns {', '.join(group)} together, found {', '.join(half)}")
    if not {"ts", "symbol"} <= set(names) or not (has_trades or has_quotes):
        raise ImportProblem(
            f"{path}: expected columns ts, symbol and {', '.join(TRADE_COLUMNS)} (trades) or"
            f" {', '.join(QUOTE_COLUMNS)} (quotes), found {', '.join(names) or 'none'}"[:500]
        )
    return known


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _has_text(encoded: Any) -> _Bools:
    """Where a dictionary column holds a text that is not empty."""
    is_text: _Bools = pc.greater(pc.utf8_length(encoded.dictionary), 0).to_numpy(zero_copy_only=False)
    has: _Bools = encoded.is_valid().to_numpy(zero_copy_only=False)
    return has & is_text[encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)] if len(is_text) else has


def _any_number(columns: list[_Floats]) -> _Bools:
    has = np.zeros(len(columns[0]), dtype=np.bool_)
    for column in columns:
        has |= ~np.isnan(column)
    return has


def _is_trade(price: _Floats, size: _Floats) -> _Bools:
    return _is_price(price) & (size >= 0) & (size <= SIZE_MAX)


def _is_quote(bid: _Floats, bid_size: _Floats, ask: _Floats, ask_size: _Floats) -> _Bools:
    """A side may be unknown, but what it says must be a price and a size."""
    sides = (_is_price(bid) | np.isnan(bid)) & (_is_price(ask) | np.isnan(ask))
    sizes = ~((bid_size < 0) | (bid_size > SIZE_MAX) | (ask_size < 0) | (ask_size > SIZE_MAX))
    known: _Bools = sides & sizes & ~(np.isnan(bid) & np.isnan(ask))
    return known


def _is_price(column: _Floats) -> _Bools:
    return (column >= PRICE_MIN) & (column <= PRICE_MAX)


def _notes(read: _Columns, source: _Ints, is_feed: _Bools, is_other: _Bools) -> pa.Array:
    """The notes of the few rows that have one: crossed quotes, and what stood in rows that are no market."""
    rows = np.flatnonzero(is_feed | is_other)
    if not len(rows):
        return pa.nulls(len(source), pa.string())
    notes: list[str | None] = [None] * len(source)
    for row in rows.tolist():
        numbers = [column[source[row]] for column in (*read.trade, *read.quote)]
        named = zip(_NUMBERS, numbers, strict=True)
        found = {name: repr(float(number)) for name, number in named if not np.isnan(number)}
        event = "crossed" if is_feed[row] else "unparsed"
        notes[row] = msgspec.json.encode({"event": event, **found}).decode()
    return pa.array(notes, pa.string())
