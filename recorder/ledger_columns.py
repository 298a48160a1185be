"""The columns of a ledger, made from the event classes, and Python values into them."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, get_args

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.events import Event, PortfolioEvent

FORMAT_VERSION = 1
METADATA_KEY = b"wspt.ledger"
"""Parquet file metadata: the format version, as text."""

MONEY = pa.decimal128(38, 12)
_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string(), Decimal: MONEY}
NUMBERS = (pa.int64(), pa.float64(), MONEY, pa.bool_())


class Column(NamedTuple):
    """Where a field of an event is kept.

    field:     its name in the event.
    name:      its name in the table: the same, or `given_...` for a float of a signal, which is a number as the
               strategy gave it, where other events have, or may come to have, money of that name.
    kind:      the Python type of its values.
    nullable:  whether a value may be None.
    default:   of the field; msgspec.NODEFAULT where it has none.
    """

    field: str
    name: str
    kind: type
    nullable: bool
    default: Any

    @property
    def type(self) -> pa.DataType:
        """Arrow's type of the column."""
        return _TYPES[self.kind]

    @property
    def required(self) -> bool:
        """Whether an event cannot be made without it."""
        return self.default is msgspec.NODEFAULT


def tag_of(event: type[PortfolioEvent]) -> str:
    return str(event.__struct_config__.tag)


def _kind(hint: Any) -> type:  # a type hint may be many things; here it is a class, or a union of one with None
    [kind] = [part for part in get_args(hint) or (hint,) if part is not type(None)]
    assert isinstance(kind, type)
    return kind


def _layout() -> dict[str, tuple[Column, ...]]:
    fields = {tag: msgspec.structs.fields(event) for tag, event in EVENT_TYPES.items()}
    return {
        tag: tuple(
            Column(
                field=field.name,
                name=f"given_{field.name}" if tag == "SignalRaised" and _kind(field.type) is float else field.name,
                kind=_kind(field.type),
                nullable=type(None) in get_args(field.type),
                default=field.default,
            )
            for field in known
        )
        for tag, known in fields.items()
    }


def _schema() -> pa.Schema:
    types: dict[str, pa.DataType] = {"type": pa.dictionary(pa.int8(), pa.string())}
    for columns in COLUMNS.values():
        for column in columns:
            assert types.setdefault(column.name, column.type) == column.type, f"two types for {column.name}"
    return pa.schema(list(types.items()), metadata={METADATA_KEY: str(FORMAT_VERSION)})


EVENT_TYPES: dict[str, type[PortfolioEvent]] = {tag_of(event): event for event in get_args(Event)}
"""Every event class by its tag, which is what stands in the column `type`."""

COLUMNS: dict[str, tuple[Column, ...]] = _layout()
"""What each type of event fills of the table, in the order of its fields; the rest is null."""

SCHEMA: pa.Schema = _schema()
"""One row an event, whatever its type. Times are ns UTC, money is decimal128 with twelve decimals.

Made from the event classes, so that a new event or field needs nothing here.
"""


def filled_columns(events: Sequence[Event]) -> pa.Table:
    """Events of one type, at least one, as a table of the columns that this type fills."""
    columns = COLUMNS[tag_of(type(events[0]))]
    fields = zip(*map(msgspec.structs.astuple, events), strict=True)
    arrays = [_array(values, column) for values, column in zip(fields, columns, strict=True)]
    return pa.Table.from_arrays(arrays, names=[column.name for column in columns])


def whole_rows(tag: str, filled: pa.Table) -> pa.Table:
    """What `filled_columns` made, as rows of the ledger."""
    rows = len(filled)
    arrays = dict(zip(filled.column_names, filled.columns, strict=True))
    first = pa.Array.from_buffers(pa.int8(), rows, [None, pa.py_buffer(np.zeros(rows, dtype=np.int8))])
    tags = pa.Array.from_buffers(pa.string(), 1, [None, *_texts([tag])])
    arrays["type"] = pa.DictionaryArray.from_arrays(first, tags)
    nothing = {kind: pa.nulls(rows, kind) for kind in set(SCHEMA.types)}
    wide = [arrays.get(field.name, nothing[field.type]) for field in SCHEMA]
    return pa.Table.from_arrays(wide, schema=SCHEMA)


def values_of(array: pa.ChunkedArray, column: Column) -> list[Any]:
    """The values of a column as they stood in the events."""
    if column.kind is not Decimal or array.null_count == len(array):
        values: list[Any] = array.to_pylist()
        # msgspec leaves out of its JSON only the very object that is the default, not another text that equals it.
        default = column.default
        return [default if value == default else value for value in values] if isinstance(default, str) else values
    # By way of text it takes half the time of pyarrow's own conversion.
    texts = array.cast(pa.string()).to_pylist()
    if array.null_count:
        return [None if text is None else Decimal(text) for text in texts]
    return list(map(Decimal, texts))


def mask(values: Sequence[bool]) -> pa.Array:
    """Booleans as Arrow has them."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bits(values)])


# Arrays are put together from buffers: `pa.array(list)` takes two to three times as long, and imports pandas,
# where that is installed, for nothing (half a second of every replay).


def _array(values: Sequence[Any], column: Column) -> pa.Array:
    validity = None
    if column.nullable:
        if values[0] is None and values.count(None) == len(values):
            return pa.nulls(len(values), column.type)
        known = [value is not None for value in values]
        if not all(known):
            validity = _bits(known)
            filler = _FILLERS[column.kind]
            values = [filler if value is None else value for value in values]
    return pa.Array.from_buffers(column.type, len(values), [validity, *_BUFFERS[column.kind](values)])


def _bits(values: Sequence[bool]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.array(values, dtype=np.bool_), bitorder="little"))


def _numbers(kind: type[np.number[Any]]) -> Callable[[Sequence[Any]], list[pa.Buffer]]:
    return lambda values: [pa.py_buffer(np.array(values, dtype=kind))]


def _texts(values: Sequence[str]) -> list[pa.Buffer]:
    ends = np.zeros(len(values) + 1, dtype=np.int32)
    joined = "".join(values).encode()
    if values.count(values[0]) == len(values):  # a symbol, a side: most columns of text
        ends[:] = np.arange(len(values) + 1) * (len(joined) // len(values))
    else:
        parts: Sequence[str | bytes] = values if joined.isascii() else [value.encode() for value in values]
        np.cumsum(np.fromiter(map(len, parts), dtype=np.int32, count=len(parts)), out=ends[1:])
    return [pa.py_buffer(ends), pa.py_buffer(joined)]


_QUANTUM = Decimal("0.000000000001")
_FILLERS: dict[type, Any] = {bool: False, int: 0, float: 0.0, str: "", Decimal: Decimal("1.000000000000")}
"""What stands where a value is null: nobody sees it. One and not zero, whose text takes longer to read: 0E-12."""
_AS_NUMBERS = msgspec.json.Encoder(decimal_format="number")
_INT64 = np.iinfo(np.int64)


def _money(values: Sequence[Decimal]) -> list[pa.Buffer]:
    """Amounts as 128-bit integers of the twelfth decimal.

    Their text is read as 64-bit integers all at once, in a third of the time that each on its own takes.
    Amounts beyond nine million do not fit, and are rare enough for the slow way.
    """
    text = _AS_NUMBERS.encode(values)[1:-1]
    units = _units_in_text(text) if _have_twelve_decimals(values, text) else None
    if units is None:
        return [pa.array(values, MONEY).buffers()[1]]
    words = np.empty((len(units), 2), dtype="<i8")
    words[:, 0] = units
    words[:, 1] = units >> 63
    return [pa.py_buffer(words)]


def _units_in_text(text: bytes) -> npt.NDArray[np.int64] | None:
    """Numbers between commas in units of the twelfth decimal, which all of them have; None if one is too large."""
    digits = text.replace(b".", b"")
    if b"E" in text:  # 5.0E-11 has the digits 50, and these are the units
        for exponent in range(7, 13):
            digits = digits.replace(b"E-%d" % exponent, b"")
    units = np.fromstring(digits, dtype=np.int64, sep=",")
    # A number that does not fit is read as the nearest that does.
    return None if units.max() == _INT64.max or units.min() == _INT64.min else units


def _have_twelve_decimals(values: Sequence[Decimal], text: bytes) -> bool:
    """Whether the next comma, or the end, is thirteen characters behind the point of each number in their text."""
    if b"E" in text:  # numbers below a millionth, zero among them, are told from others one by one
        return all(map(_QUANTUM.same_quantum, values))
    characters = np.frombuffer(text, dtype=np.uint8)
    points, commas = np.flatnonzero(characters == ord(".")), np.flatnonzero(characters == ord(","))
    return len(points) == len(commas) + 1 and bool(np.all(np.append(commas, len(text)) - points == 13))


_BUFFERS: dict[type, Callable[[Any], list[pa.Buffer]]] = {
    bool: lambda values: [_bits(values)],
    int: _numbers(np.int64),
    float: _numbers(np.float64),
    str: _texts,
    Decimal: _money,
}
"""By the kind of a column: the buffers of its array after the one which says what is null."""
