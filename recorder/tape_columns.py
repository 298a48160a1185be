"""The columns of a tape, and the header in its file metadata."""

import msgspec
import pyarrow as pa

from recorder.passport import Passport
from recorder.problems import Problem

FORMAT_VERSION = 1
METADATA_KEY = b"wspt"
"""Parquet file metadata: the `Header`, as JSON."""

ROW_GROUP = 65_536
"""Rows of a row group: what a reader holds in memory at a time."""

_NAME = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("ts_recv", pa.int64(), nullable=False),
        pa.field("ts_event", pa.int64()),
        pa.field("venue", _NAME, nullable=False),
        pa.field("symbol", _NAME),
        pa.field("kind", pa.int8(), nullable=False),
        pa.field("side", pa.int8(), nullable=False),
        pa.field("price", pa.float64()),
        pa.field("size", pa.float64()),
        pa.field("bid", pa.float64()),
        pa.field("bid_size", pa.float64()),
        pa.field("ask", pa.float64()),
        pa.field("ask_size", pa.float64()),
        pa.field("flags", pa.int16(), nullable=False),
        pa.field("trade_id", pa.string()),
        pa.field("note", pa.string()),
        pa.field("conn", pa.int32(), nullable=False),
        pa.field("frame", pa.binary()),
        pa.field("url", pa.string()),
    ]
)
"""One row a tick. Times are ns UTC; numbers that are not known are null.

`frame` and `url` stand on the first row of a frame only: the bytes as they arrived, and the address of a REST
answer. Every other column is explained by `engine.ticks.Tick` and `recorder.venues.Frame`.
"""

NO_ROWS = pa.Table.from_batches([], SCHEMA)
"""A tape's columns, empty. (`SCHEMA.empty_table()` would import pandas, where that is installed.)"""

FLOATS = tuple(field.name for field in SCHEMA if field.type == pa.float64())
"""The columns whose unknown numbers are null on the tape and NaN in a tick."""


class TapeProblem(Problem):
    """A tape that cannot be read, in one sentence for the user: the file, what was expected, what was found."""


class RowGroupHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What the header says of one row group, so that a reader can find its way without opening it.

    ts_first, ts_last:  `ts_recv` of its first and its last row, ns.
    unknown:            columns that are null on all of its rows.
    """

    rows: int
    ts_first: int
    ts_last: int
    unknown: list[str]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a tape's file says about itself.

    format:     version of columns and header.
    venue:      where the ticks come from, as in the column of that name.
    channels:   the venue's channels that were recorded, in its own words.
    source:     how the tape came to be, such as `import hftbacktest`.
    simulated:  true where the market is made up.
    libraries:  versions of the packages that wrote it, by name.
    first_seq:  seq of the first row; the others follow without a gap.
    groups:     the row groups in their order.
    """

    format: int
    venue: str
    channels: list[str]
    source: str
    simulated: bool
    libraries: dict[str, str]
    first_seq: int
    groups: list[RowGroupHeader]
    passport: Passport
