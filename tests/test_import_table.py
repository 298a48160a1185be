"""Plain tables of trades and quotes become rows of a tape, column by column, with the touch that they imply."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ticks import LAST_OF_MESSAGE, Kind
from recorder import import_table
from recorder.import_table import TicksTable, ticks_table
from recorder.imports import ImportProblem
from recorder.tape_columns import SCHEMA

NAN = math.nan
COLUMNS = ("ts", "symbol", "price", "size", "side", "bid", "bid_size", "ask", "ask_size")
Given = tuple[Any, ...]
"""One row of a plain table, in the order of COLUMNS; what is left out is null."""


def table(rows: Iterable[Given]) -> pa.Table:
    full = [(*row, *[None] * (len(COLUMNS) - len(row))) for row in rows]
    kinds = [pa.int64(), pa.string(), pa.float64(), pa.float64(), pa.int8(), *[pa.float64()] * 4]
    columns = zip(*full, strict=True) if full else [[] for _ in COLUMNS]
    return pa.table({name: pa.array(column, kind) for name, kind, column in zip(COLUMNS, kinds, columns, strict=True)})


def trade(ts: int, price: float | None, size: float | None = 1.0, side: int | None = 1, symbol: str = "A/USD") -> Given:
    return (ts, symbol, price, size, side)


def quote(ts: int, bid: float | None, ask: float | None, symbol: str | None = "A/USD") -> Given:
    return (ts, symbol, None, None, None, bid, 1.0 if bid else None, ask, 2.0 if ask else None)


def parquet(folder: Path, content: pa.Table) -> Path:
    path = folder / "ticks.parquet"
    pq.write_table(content, path)
    return path


def text(folder: Path, content: str) -> Path:
    path = folder / "ticks.csv"
    path.write_text(content)
    return path


def rows_of(read: TicksTable) -> list[dict[str, Any]]:
    return [row for part in read for row in part.to_pylist()]


def read(folder: Path, rows: Iterable[Given]) -> list[dict[str, Any]]:
    return rows_of(ticks_table(parquet(folder, table(rows))))


def touches(rows: Iterable[dict[str, Any]]) -> list[tuple[float | None, float | None]]:
    return [(row["bid"], row["ask"]) for row in rows]


def problem(path: Path) -> str:
    with pytest.raises(ImportProblem) as caught:
        list(ticks_table(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_columns_are_a_tapes(tmp_path: Path) -> None:
    [part] = ticks_table(parquet(tmp_path, table([trade(1, 10.0), quote(2, 9.0, 11.0)])))

    left_out = {"seq", "venue", "conn", "frame", "url"}
    assert part.schema == pa.schema(
        [pa.field(field.name, field.type) for field in SCHEMA if field.name not in left_out]
    )


def test_a_trade_carries_the_last_quote_of_its_own_symbol(tmp_path: Path) -> None:
    given_rows = [trade(1, 10.0), quote(2, 9.0, 11.0), quote(3, 1.0, 2.0, "B/USD"), trade(4, 10.5, side=-1)]

    rows = read(tmp_path, given_rows)

    assert [row["kind"] for row in rows] == [Kind.TRADE, Kind.QUOTE, Kind.QUOTE, Kind.TRADE]
    assert touches(rows) == [(None, None), (9.0, 11.0), (1.0, 2.0), (9.0, 11.0)]
    assert [row["side"] for row in rows] == [1, 0, 0, -1]
    assert all(row["flags"] == LAST_OF_MESSAGE for row in rows)


def test_the_touch_is_carried_from_batch_to_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_table, "BATCH_ROWS", 2)
    given_rows = [
        quote(1, 9.0, 11.0),
        quote(2, 1.0, 2.0, "B/USD"),
        quote(3, 5.0, 6.0, None),
        trade(4, 1.5, symbol="B/USD"),
    ]

    rows = read(tmp_path, [*given_rows, trade(5, 10.0)])

    assert touches(rows) == [(9.0, 11.0), (1.0, 2.0), (None, None), (1.0, 2.0), (9.0, 11.0)]


def test_a_row_with_both_is_the_quote_and_then_the_trade(tmp_path: Path) -> None:
    quoted, traded = read(tmp_path, [(7, "A/USD", 10.0, 1.0, 1, 9.0, 1.0, 11.0, 2.0)])

    assert (quoted["kind"], quoted["price"], quoted["flags"]) == (Kind.QUOTE, None, 0)
    assert (traded["kind"], traded["price"], traded["bid"], traded["flags"]) == (Kind.TRADE, 10.0, 9.0, 1)
    assert quoted["ts_recv"] == traded["ts_recv"] == 7


def test_a_crossed_quote_is_told_behind_it(tmp_path: Path) -> None:
    imported = ticks_table(parquet(tmp_path, table([quote(1, 11.0, 11.0)])))

    quoted, crossed = rows_of(imported)

    assert (quoted["kind"], quoted["bid"], quoted["ask"]) == (Kind.QUOTE, 11.0, 11.0)
    assert (crossed["kind"], json.loads(crossed["note"])["event"]) == (Kind.FEED, "crossed")
    assert imported.quality.crossed == 1


def test_a_quote_of_one_side_leaves_the_other_unknown(tmp_path: Path) -> None:
    rows = read(tmp_path, [quote(1, 9.0, 11.0), quote(2, None, 12.0), trade(3, 12.0)])

    assert touches(rows) == [(9.0, 11.0), (None, 12.0), (None, 12.0)]


@pytest.mark.parametrize(
    "bad",
    [
        trade(2, NAN),
        trade(2, 0.0),
        trade(2, -1.0),
        trade(2, math.inf),
        trade(2, 1.1e11),
        trade(2, 1e-13),
        trade(2, 1.0, 1.1e18),
        trade(2, 1.0, -1.0),
        trade(2, 1.0, None),
        trade(2, 1.0, symbol=""),
        quote(2, -1.0, 11.0),
        quote(2, 9.0, math.inf),
        quote(2, 9.0, 1e200),
        quote(2, 9.0, 11.0, None),
        (2, "A/USD", None, None, None, 9.0, -1.0, 11.0, 1.0),
        (2, "A/USD"),
    ],
)
def test_a_row_that_is_no_market_is_kept_and_counted(tmp_path: Path, bad: Given) -> None:
    imported = ticks_table(parquet(tmp_path, table([quote(1, 9.0, 11.0), bad, trade(3, 10.0)])))

    before, row, after = rows_of(imported)

    assert (row["kind"], row["ts_recv"], row["price"]) == (Kind.OTHER, 2, None)
    assert json.loads(row["note"])["event"] == "unparsed"
    assert touches([before, after]) == [(9.0, 11.0)] * 2
    assert imported.quality.unparsed == 1


def test_what_stood_in_a_bad_row_stays_in_its_note(tmp_path: Path) -> None:
    [row] = read(tmp_path, [trade(1, -5.0, 0.25)])

    assert json.loads(row["note"]) == {"event": "unparsed", "price": "-5.0", "size": "0.25"}


def test_nan_is_nothing_as_null_is(tmp_path: Path) -> None:
    rows = read(
        tmp_path, [(1, "A/USD", 10.0, 1.0, 1, NAN, NAN, NAN, NAN), (2, "A/USD", NAN, NAN, None, 9.0, 1.0, 11.0, 1.0)]
    )

    assert [row["kind"] for row in rows] == [Kind.TRADE, Kind.QUOTE]


def test_times_that_run_backwards_keep_the_order_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_table, "BATCH_ROWS", 2)
    imported = ticks_table(parquet(tmp_path, table([trade(ts, 10.0) for ts in (5, 3, 4, 9, 8)])))

    rows = rows_of(imported)

    assert [row["ts_recv"] for row in rows] == [5, 5, 5, 9, 9]
    assert [row["ts_event"] for row in rows] == [5, 3, 4, 9, 8]
    assert imported.time_reversals == 2


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    content = table([trade(1, 10.25), quote(2, 9.0, 11.5), trade(3, 0.1 + 0.2, 1e-8, None), quote(4, None, 12.0)])
    pyarrow.csv.write_csv(content, tmp_path / "ticks.csv")

    assert rows_of(ticks_table(tmp_path / "ticks.csv")) == rows_of(ticks_table(parquet(tmp_path, content)))


def test_columns_may_come_in_any_order_with_others_between(tmp_path: Path) -> None:
    path = text(tmp_path, 'size,"note",symbol,price,ts\n2,"a, b",A/USD,10,5\n3,7,A/USD,11,6\n')

    rows = rows_of(ticks_table(path))

    assert [(row["ts_recv"], row["price"], row["size"], row["side"]) for row in rows] == [(5, 10, 2, 0), (6, 11, 3, 0)]


def test_a_side_may_be_spelled_in_many_ways(tmp_path: Path) -> None:
    sides = ["buy", "BUY", "b", "1", "+1", "sell", "Sell", "S", "-1", "0", ""]
    path = text(tmp_path, "ts,symbol,price,size,side\n" + "".join(f"1,A/USD,1,1,{side}\n" for side in sides))

    assert [row["side"] for row in rows_of(ticks_table(path))] == [1] * 5 + [-1] * 4 + [0] * 2


@pytest.mark.parametrize("column", [pa.array([1.0, -1.0, NAN]), pa.array(["b", "s", None]).dictionary_encode()])
def test_a_side_may_be_a_number_or_a_category(tmp_path: Path, column: pa.Array) -> None:
    content = table([trade(1, 10.0)] * 3)
    content = content.set_column(content.column_names.index("side"), "side", column)

    assert [row["side"] for row in rows_of(ticks_table(parquet(tmp_path, content)))] == [1, -1, 0]


def test_arrow_timestamps_are_times(tmp_path: Path) -> None:
    content = table([trade(0, 10.0)]).set_column(0, "ts", pa.array([1_723_161_255_342], pa.timestamp("ms", "UTC")))

    [row] = rows_of(ticks_table(parquet(tmp_path, content)))

    assert row["ts_recv"] == 1_723_161_255_342_000_000


@given(st.data())
def test_the_touch_agrees_with_a_row_by_row_fold(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    symbols = st.sampled_from(["A/USD", "B/USD", None])
    prices = st.sampled_from([None, 1.0, 2.0, 3.0, -1.0])
    given_rows = data.draw(
        st.lists(st.builds(quote, st.integers(0, 9), prices, prices, symbols), min_size=1, max_size=30)
    )
    path = parquet(tmp_path_factory.getbasetemp(), table(given_rows))
    known: dict[str, tuple[float | None, float | None]] = {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_table, "BATCH_ROWS", data.draw(st.integers(1, 7)))
        rows = [row for row in rows_of(ticks_table(path)) if row["kind"] != Kind.FEED]

    for row, (_, symbol, *_, bid, _, ask, _) in zip(rows, given_rows, strict=True):
        if symbol and (bid or ask) and -1.0 not in (bid, ask):
            known[symbol] = (bid, ask)
        assert (row["bid"], row["ask"]) == (known.get(symbol, (None, None)) if symbol else (None, None))


def test_a_long_table_comes_in_batches(tmp_path: Path) -> None:
    count = import_table.BATCH_ROWS + 10
    content = pa.table(
        {"ts": np.arange(count), "symbol": ["A/USD"] * count, "price": np.ones(count), "size": np.ones(count)}
    )

    parts = list(ticks_table(parquet(tmp_path, content)))

    assert [part.num_rows for part in parts] == [import_table.BATCH_ROWS, 10]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "expected a table, found an empty file"),
        ("ts,symbol,price,size\n", "expected rows, found none"),
        ("a,b\n1,2\n", "expected columns ts, symbol and price, size (trades) or bid, bid_size, ask, ask_size (quotes)"),
        ("ts,symbol,price\n1,A,2\n", "expected the columns price, size together, found price"),
        ("symbol,price,size\nA,1,2\n", "found symbol, price, size"),
        ("ts,symbol,price,size\nyesterday,A,1,1\n", "CSV conversion error to int64"),
        ("ts,symbol,price,size\n1,A,cheap,1\n", "CSV conversion error to double"),
        ("ts,symbol,price,size\n1,A,1\n", "CSV parse error"),
        ("ts,symbol,price,size,side\n1,A,1,1,up\n", "side: expected buy, sell, b, s, 1, -1, 0 or nothing, found 'up'"),
        ("ts,symbol,price,size\n1,A,1,1\n,A,1,1\n", "ts: expected a time in every row, found none in row 2"),
        (
            "ts,symbol,price,size\n1,A,1,1\n-5,A,1,1\n",
            "ts: expected whole ns since 1970, before 2100, found -5 in row 2",
        ),
        ("ts,symbol,price,size\n1,A,1,1\n9000000000000000000,A,1,1\n", "found 9000000000000000000 in row 2"),
        ("ts,symbol,price,price,size\n1,A,1,2,1\n", "expected each column once, found price several times"),
    ],
)
def test_a_table_of_another_kind_is_named_with_what_was_found(tmp_path: Path, content: str, found: str) -> None:
    path = text(tmp_path, content)

    assert problem(path).startswith(f"{path}: ")
    assert found in problem(path)


NO_TEXT = pa.Array.from_buffers(pa.string(), 1, [*pa.array(["ab"]).buffers()[:2], pa.py_buffer(b"\xff\xfe")])
"""What says that it is UTF-8, and is not."""


@pytest.mark.parametrize(
    ("column", "values", "found"),
    [
        ("ts", pa.array([1.5]), "ts: expected whole ns since 1970, found double"),
        ("ts", pa.array([None], pa.int64()), "ts: expected a time in every row, found none in row 1"),
        ("ts", pa.array([2**63], pa.uint64()), "ts: expected whole ns since 1970, found uint64"),
        (
            "ts",
            pa.array([1_717_200_000]),
            "ts: expected whole ns since 1970, found 1717200000, which is 2024-06-01 in s",
        ),
        ("ts", pa.array([1_717_200_000_000]), "ts: expected whole ns since 1970, found 1717200000000, which is 2024"),
        ("ts", pa.array([1_717_200_000_000_000]), "found 1717200000000000, which is 2024-06-01 in us"),
        ("price", pa.array(["10"]), "price: expected numbers, found string"),
        ("price", pa.array([True]), "price: expected numbers, found bool"),
        ("symbol", pa.array([[1]]), "symbol: expected text, found list"),
        ("symbol", NO_TEXT, "symbol: expected text, found string: "),
        ("side", NO_TEXT, "side: expected buy or sell, found string: "),
    ],
)
def test_a_column_of_another_type_is_named(tmp_path: Path, column: str, values: pa.Array, found: str) -> None:
    content = table([trade(1, 10.0)])
    path = parquet(tmp_path, content.set_column(content.column_names.index(column), column, values))

    assert found in problem(path)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    fake = tmp_path / "fake.parquet"
    fake.write_bytes(b"hello world")
    cut = parquet(tmp_path, table([trade(1, 10.0)] * 1_000))
    cut.write_bytes(cut.read_bytes()[:-30])

    assert problem(fake) == f"{fake}: expected Parquet, found b'hell' at its start"
    assert "expected a table" in problem(cut)
    assert "No such file" in problem(tmp_path / "absent.csv")
    assert "directory" in problem(tmp_path)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_mistake(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    for name in ("any.csv", "any.parquet"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(content)
        assert problem(path)


@given(st.integers(0, 2_000))
def test_damaged_parquet_is_a_table_or_a_mistake(tmp_path_factory: pytest.TempPathFactory, place: int) -> None:
    path = parquet(tmp_path_factory.getbasetemp(), table([trade(1, 10.0), quote(2, 9.0, 11.0)]))
    damaged = bytearray(path.read_bytes())
    damaged[4 + place % (len(damaged) - 4)] ^= 0xFF
    path.write_bytes(damaged)

    try:
        list(ticks_table(path))
    except ImportProblem as mistake:
        assert "\n" not in str(mistake)
