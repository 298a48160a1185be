"""Row groups of a tape into the batches that the engine walks, without work in Python per row."""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.ticks import NAN, Kind, Symbols, TickBatch
from recorder.tape_columns import ROW_GROUP

COLUMNS = (
    "ts_recv",
    "symbol",
    "kind",
    "side",
    "price",
    "size",
    "bid",
    "bid_size",
    "ask",
    "ask_size",
    "flags",
    "note",
)
"""What a batch is made of; the other columns are not read."""

_LATIN_1 = 256

# Not by `pa.scalar`: like `to_numpy` it imports pandas where that is installed, half a second at the start of a replay.
_NO_NUMBER = pa.Array.from_buffers(pa.float64(), 1, [None, pa.py_buffer(np.array([NAN]))])[0]
_NO_INDEX = pa.Array.from_buffers(pa.int32(), 1, [None, pa.py_buffer(np.array([-1], dtype=np.int32))])[0]
_UNKNOWN = np.full(ROW_GROUP, NAN)
_UNKNOWN.flags.writeable = False

_Number = TypeVar("_Number", bound=np.generic)

Codes = npt.NDArray[np.uint8] | npt.NDArray[np.uint32]
"""Codes of symbols, one a row: a byte wide while the tape has few names."""


class RowGroup:
    """The columns of consecutive rows, ready to be cut into batches.

    first_seq:  seq of the first of them.
    table:      `COLUMNS` of at least one row; a column of numbers or notes that are all unknown may be left out.
    symbols:    codes of the names seen so far in the tape; new names are added.
    """

    def __init__(self, first_seq: int, table: pa.Table, symbols: Symbols) -> None:
        self._symbols = symbols
        self.first_seq = first_seq
        self.ts: npt.NDArray[np.int64] = _values(table["ts_recv"], np.int64)
        self._kind: npt.NDArray[np.int8] = _values(table["kind"], np.int8)
        self._codes = _symbol_codes(table["symbol"], symbols)
        self._traded: Codes = self._codes * (self._kind == Kind.TRADE)
        self._side = _values(table["side"], np.int8)
        self._flags = _values(table["flags"], np.int16)
        self._price = _floats(table, "price")
        self._size = _floats(table, "size")
        self._bid = _floats(table, "bid")
        self._bid_size = _floats(table, "bid_size")
        self._ask = _floats(table, "ask")
        self._ask_size = _floats(table, "ask_size")
        self._note_rows, self._notes = _notes(table)

    def batches(self, start: int, stop: int, rows: int) -> Iterator[TickBatch]:
        """Rows `start` to before `stop` of the group, at most `rows` at a time."""
        for first in range(start, stop, rows):
            yield self._batch(slice(first, min(first + rows, stop)))

    def __len__(self) -> int:
        return len(self.ts)

    def _batch(self, cut: slice) -> TickBatch:
        note_from, note_to = np.searchsorted(self._note_rows, [cut.start, cut.stop]).tolist()
        kind = self._kind[cut].tobytes()
        # Reading an item of a list is 10 ns cheaper than one of a memoryview, making the list costs 25 ns an item:
        # it pays where nearly every row is read, as among trades, and not where `find` leaps over quotes.
        mostly_trades = 2 * kind.count(Kind.TRADE) > len(kind)
        return TickBatch(
            first_seq=self.first_seq + cut.start,
            ts=self.ts[cut].tolist() if mostly_trades else self.ts[cut].data,
            kind=kind,
            symbol=_text(self._codes[cut]),
            traded=_text(self._traded[cut]),
            symbols=self._symbols.names,
            side=self._side[cut].data,
            price=self._price[cut].tolist() if mostly_trades else self._price[cut].data,
            size=self._size[cut].data,
            bid=self._bid[cut].data,
            bid_size=self._bid_size[cut].data,
            ask=self._ask[cut].data,
            ask_size=self._ask_size[cut].data,
            flags=self._flags[cut].data,
            notes={
                row - cut.start: note
                for row, note in zip(
                    self._note_rows[note_from:note_to].tolist(), self._notes[note_from:note_to], strict=True
                )
            },
        )


def _values(column: pa.ChunkedArray, kind: type[_Number]) -> npt.NDArray[_Number]:
    """The numbers of a column without nulls, where they lie."""
    values = _one(column)
    return np.frombuffer(values.buffers()[1], dtype=kind)[values.offset : values.offset + len(values)]


def _one(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    whole = column.chunk(0) if column.num_chunks == 1 else column.unify_dictionaries().combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _floats(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    if name not in table.column_names:
        return _UNKNOWN[: table.num_rows] if table.num_rows <= ROW_GROUP else np.full(table.num_rows, NAN)
    column = table[name]
    return _values(column.fill_null(_NO_NUMBER) if column.null_count else column, np.float64)


def _symbol_codes(column: pa.ChunkedArray, symbols: Symbols) -> Codes:
    """The code of each row's symbol."""
    names = _one(column)
    code_of = np.array([0, *map(symbols.code, names.dictionary.to_pylist())], dtype=np.uint32)
    indices = names.indices.fill_null(_NO_INDEX) if names.null_count else names.indices
    rows = _values(pa.chunked_array([indices]), np.int32)
    narrow = code_of.astype(np.uint8) if len(symbols.names) <= _LATIN_1 else code_of
    return narrow.take(rows + 1)


def _text(codes: Codes) -> str:
    """One character a row, the code its code point."""
    if codes.dtype == np.uint8:
        return codes.tobytes().decode("latin-1")
    # Code points that UTF-16 keeps for itself are codes like others here.
    return codes.astype("<u4").tobytes().decode("utf-32-le", errors="surrogatepass")


def _notes(table: pa.Table) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The rows that have a note, rising, and their notes."""
    if "note" not in table.column_names:
        return np.empty(0, dtype=np.int64), []
    rows = np.flatnonzero(_values(table["note"].is_valid().cast(pa.int8()), np.int8))
    return rows, table["note"].drop_null().to_pylist()
