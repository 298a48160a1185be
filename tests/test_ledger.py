"""Portfolio events survive Parquet; a damaged ledger is named."""

from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.digest import canonical_lines
from engine.events import Event, PortfolioMarked, PortfolioOpened
from engine.money import money
from recorder import ledger
from recorder.ledger import LedgerProblem, LedgerWriter, read_events
from recorder.ledger_columns import COLUMNS, EVENT_TYPES, MONEY, SCHEMA, Column, tag_of

amounts = st.one_of(
    st.integers(-(10**38) + 1, 10**38 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(10**7), 10**7),
).map(lambda units: Decimal(f"{units}E-12"))
texts = st.one_of(st.sampled_from(["", "gtc", "BTC/USD"]), st.text(st.characters(exclude_categories=["Cs"])))
values = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: texts,
    Decimal: amounts,
}


@st.composite
def any_events(draw: st.DrawFn) -> list[Any]:
    """Events of every type, filled in every way their fields allow, of up to three desks."""
    events = []
    seqs = {"a": 0, "b": 0, "ü": 0}
    for tag in draw(st.lists(st.sampled_from(sorted(EVENT_TYPES)), max_size=30)):
        strategy = draw(st.sampled_from(sorted(seqs)))
        fields: dict[str, Any] = {"strategy": strategy, "seq": seqs[strategy]}
        for column in COLUMNS[tag]:
            if column.field not in fields:
                known = values[column.kind]
                fields[column.field] = draw(st.none() | known if column.nullable else known)
        seqs[strategy] += 1
        events.append(EVENT_TYPES[tag](**fields))
    return events


def written(folder: Path, events: list[Any], **options: Any) -> list[Path]:
    writer = LedgerWriter(folder, **options)
    writer.append(events)
    return [folder / name for name in writer.close()]


def opened(strategy: str = "ema", seq: int = 0) -> PortfolioOpened:
    return PortfolioOpened(strategy=strategy, seq=seq, tick_seq=0, ts=0, currency="USD", cash=money("100"))


def marked(seq: int, equity: str = "100", strategy: str = "ema") -> PortfolioMarked:
    return PortfolioMarked(strategy=strategy, seq=seq, tick_seq=seq, ts=seq, cash=money(equity), equity=money(equity))


@given(any_events())
def test_events_of_every_type_come_back_equal_and_with_the_same_canonical_bytes(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any]
) -> None:
    paths = written(tmp_path_factory.mktemp("ledger"), events)

    desks = read_events(paths)

    for strategy in {event.strategy for event in events}:
        originals = [event for event in events if event.strategy == strategy]
        assert desks[strategy] == originals
        assert canonical_lines(desks[strategy]) == canonical_lines(_with_own_defaults(originals))


def _with_own_defaults(events: list[Any]) -> list[Any]:
    """The events, with the default itself where a text equals it: msgspec leaves out only that very object."""
    return [
        type(event)(
            **{
                column.field: _own_default(column, getattr(event, column.field))
                for column in COLUMNS[tag_of(type(event))]
            }
        )
        for event in events
    ]


def _own_default(column: Column, value: Any) -> Any:
    return column.default if isinstance(value, str) and value == column.default else value


def test_every_event_type_has_its_columns_in_the_schema() -> None:
    assert set(EVENT_TYPES) == {event.__name__ for event in get_args(Event)}
    assert {column.name for columns in COLUMNS.values() for column in columns} == set(SCHEMA.names) - {"type"}


def test_money_is_decimal128_and_times_are_int64() -> None:
    assert {SCHEMA.field(name).type for name in ("cash", "price", "limit_price", "rate")} == {MONEY}
    assert {SCHEMA.field(name).type for name in ("seq", "tick_seq", "ts", "arrives_at")} == {pa.int64()}


@pytest.mark.parametrize(
    "text",
    ["0", "0.000000000001", "-0.000000000001", "0.000000999999", "9223372.036854775807", "9223372.036854775808",
     "-9223372.036854775808", "-9223372.036854775809", "99999999999999999999999999.999999999999"],
)  # fmt: skip
def test_money_at_the_edges_of_the_fast_path_survives(tmp_path: Path, text: str) -> None:
    event = marked(0, text)

    assert read_events(written(tmp_path, [event]))["ema"] == [event]


def test_money_without_twelve_decimals_keeps_its_value(tmp_path: Path) -> None:
    event = PortfolioMarked(strategy="ema", seq=0, tick_seq=0, ts=0, cash=Decimal("1.5"), equity=Decimal("3E+2"))

    [read] = read_events(written(tmp_path, [event]))["ema"]

    assert isinstance(read, PortfolioMarked)
    assert (read.cash, read.equity) == (Decimal("1.5"), Decimal(300))


def test_rows_of_a_type_stand_together_in_order_of_emission(tmp_path: Path) -> None:
    events = [opened(), marked(1), opened("rsi"), marked(2), marked(1, strategy="rsi")]

    [path] = written(tmp_path, events)

    parquet = pq.ParquetFile(path)
    groups = [parquet.read_row_group(group).to_pylist() for group in range(parquet.num_row_groups)]
    assert [[(row["type"], row["strategy"], row["seq"]) for row in group] for group in groups] == [
        [("PortfolioOpened", "ema", 0), ("PortfolioOpened", "rsi", 0)],
        [("PortfolioMarked", "ema", 1), ("PortfolioMarked", "ema", 2), ("PortfolioMarked", "rsi", 1)],
    ]


def test_a_long_ledger_is_cut_into_segments_and_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "EVENTS_SEGMENT", 12)
    events: list[Event] = [opened(), *map(marked, range(1, 40))]
    writer = LedgerWriter(tmp_path, first_segment=7, events_converted=3, events_written=6)

    for first in range(0, 40, 2):
        writer.append(events[first : first + 2])
    names = writer.close()

    assert names[:2] == ["seg-000007.parquet", "seg-000008.parquet"]
    assert len(names) > 2
    assert read_events([tmp_path / name for name in names]) == {"ema": events}
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_an_empty_ledger_is_one_empty_segment(tmp_path: Path) -> None:
    paths = written(tmp_path, [])

    assert [path.name for path in paths] == ["seg-000000.parquet"]
    assert read_events(paths) == {}


def test_one_strategy_is_read_without_the_others(tmp_path: Path) -> None:
    paths = written(tmp_path, [opened("a"), opened("b"), marked(1, strategy="b")])

    assert read_events(paths, "b") == {"b": [opened("b"), marked(1, strategy="b")]}
    assert read_events(paths, "c") == {"c": []}


def test_a_writer_that_gives_up_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), LedgerWriter(tmp_path, events_converted=1, events_written=1) as writer:
        writer.append([opened()])
        raise RuntimeError

    assert list(tmp_path.iterdir()) == []


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerProblem, match=r"seg-000000\.parquet: expected a segment of a ledger, found no such file"):
        read_events([tmp_path / "seg-000000.parquet"])


@pytest.mark.parametrize("kept", [0, 3, 100, -1])
def test_a_truncated_segment_is_one_sentence(tmp_path: Path, kept: int) -> None:
    [path] = written(tmp_path, [opened()])
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(LedgerProblem, match="found what cannot be read") as problem:
        read_events([path])

    assert "\n" not in str(problem.value)


def test_a_flipped_bit_in_a_page_is_noticed(tmp_path: Path) -> None:
    [path] = written(tmp_path, [opened()])
    data = bytearray(path.read_bytes())
    data[data.index(b"ema")] ^= 1
    path.write_bytes(data)

    with pytest.raises(LedgerProblem, match="found what cannot be read"):
        read_events([path])


def test_a_foreign_parquet_file_is_not_taken_for_a_ledger(tmp_path: Path) -> None:
    pq.write_table(pa.table({"type": ["PortfolioOpened"]}), tmp_path / "other.parquet")

    with pytest.raises(LedgerProblem, match="found a Parquet file of another kind"):
        read_events([tmp_path / "other.parquet"])


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    [path] = written(tmp_path, [opened()])
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"wspt.ledger": b"999"}), path)

    with pytest.raises(LedgerProblem, match="expected format 1 of the ledger, found 999"):
        read_events([path])


def test_a_ledger_without_a_column_that_events_need_is_refused(tmp_path: Path) -> None:
    [path] = written(tmp_path, [opened()])
    pq.write_table(pq.read_table(path).drop_columns(["cash"]), path)

    with pytest.raises(LedgerProblem, match=r"expected column cash of type decimal128\(38, 12\), found none"):
        read_events([path])


def test_a_field_that_came_after_the_file_has_its_default(tmp_path: Path) -> None:
    [path] = written(tmp_path, [opened(), marked(1)])
    pq.write_table(pq.read_table(path).drop_columns(["unknown"]), path)

    assert read_events([path])["ema"] == [opened(), marked(1)]


def test_rows_of_several_types_in_one_row_group_are_read_too(tmp_path: Path) -> None:
    [path] = written(tmp_path, [opened("a"), marked(1, strategy="a"), opened("b")])
    pq.write_table(pq.read_table(path), path)

    assert read_events([path], "a") == {"a": [opened("a"), marked(1, strategy="a")]}
