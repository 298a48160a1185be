"""The tape: what is written comes back, in any parts and batches, and what is damaged is said in one sentence."""

import hashlib
import math
import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ticks import BUY, LAST_OF_MESSAGE, NAN, RECOVERED, Kind, Symbols, Tick, TickBatch, batch_of
from recorder.tape import ROW_GROUP, SCHEMA, Tape, TapeProblem, TapeWriter
from recorder.tape_columns import METADATA_KEY
from recorder.venues import Frame, Quality

COLUMNS = ("ts", "side", "price", "size", "bid", "bid_size", "ask", "ask_size", "flags")


def trade(price: float = 1.0, symbol: str | None = "BTC/USD") -> Tick:
    return Tick(kind=Kind.TRADE, symbol=symbol, side=BUY, price=price, size=2.0)


def record(path: Path, ticks: Sequence[Tick], first_seq: int = 0, source: str = "test") -> Path:
    """A tape with a frame for each tick, received at the time of its seq."""
    with TapeWriter(path, "kraken", source=source, first_seq=first_seq) as writer:
        for ts, tick in enumerate(ticks, start=first_seq):
            writer.append(Frame(ts_recv=ts, payload=b"frame %d" % ts), [tick])
    return path


def rows_of(batches: Sequence[TickBatch]) -> list[tuple[object, ...]]:
    """Every row of some batches, its codes spelled out, NaN as None."""
    return [
        (
            batch.first_seq + i,
            batch.kind[i],
            batch.symbols[ord(batch.symbol[i])],
            batch.symbols[ord(batch.traded[i])],
            batch.notes.get(i),
            *(None if math.isnan(getattr(batch, name)[i]) else getattr(batch, name)[i] for name in COLUMNS),
        )
        for batch in batches
        for i in range(len(batch))
    ]


def problem_with(*places: Path) -> str:
    """What is said of a tape that cannot be opened or read."""
    with pytest.raises(TapeProblem) as raised:
        tape = Tape.open(places)
        list(tape.batches())
        list(tape.frames())
    return str(raised.value)


def rewritten(path: Path, table: pa.Table) -> Path:
    """The tape in `path` with other columns under the same header."""
    header = pq.read_metadata(path).metadata[METADATA_KEY]
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: header}), path)
    return path


NUMBERS = st.just(NAN) | st.floats(0, 1e12)
TICKS = st.builds(
    Tick,
    kind=st.sampled_from([kind.value for kind in Kind]),
    symbol=st.sampled_from([None, "A/B", "C/D", "E/F", "Ä/€"]),
    side=st.sampled_from([-1, 0, 1]),
    price=NUMBERS,
    size=NUMBERS,
    bid=NUMBERS,
    bid_size=NUMBERS,
    ask=NUMBERS,
    ask_size=NUMBERS,
    ts_event=st.none() | st.integers(0, 2**62),
    flags=st.integers(0, 7),
    trade_id=st.none() | st.text(max_size=5),
    note=st.none() | st.just('{"event":"gap"}'),
)


@given(
    ticks=st.lists(TICKS, min_size=1, max_size=60),
    size=st.integers(1, 70),
    cuts=st.sets(st.integers(1, 59), max_size=3),
)
def test_ticks_come_back_as_they_were_in_any_parts_and_batches(
    tmp_path_factory: pytest.TempPathFactory, ticks: list[Tick], size: int, cuts: set[int]
):
    folder = tmp_path_factory.mktemp("tape")
    edges = [0, *sorted(cut for cut in cuts if cut < len(ticks)), len(ticks)]
    for part, start in enumerate(edges[:-1]):
        record(folder / f"part-{part:06d}.parquet", ticks[start : edges[part + 1]], first_seq=start)

    batches = list(Tape.open(folder).batches(size))

    symbols = Symbols()
    assert rows_of(batches) == rows_of([batch_of(ticks, range(len(ticks)), 0, symbols)])
    assert batches[-1].symbols == symbols.names
    assert all(len(batch) <= size for batch in batches)


@given(ticks=st.lists(TICKS, min_size=1, max_size=20), start=st.integers(0, 20), length=st.integers(0, 20))
def test_range_by_seq_or_time_is_the_same_part_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, ticks: list[Tick], start: int, length: int
):
    tape = Tape.open(record(tmp_path_factory.mktemp("tape") / "a.parquet", ticks))
    stop = start + length

    whole = rows_of(list(tape.batches()))

    assert rows_of(list(tape.batches(7, start_seq=start, stop_seq=stop))) == whole[start:stop]
    assert rows_of(list(tape.batches(7, from_ns=start, to_ns=stop))) == whole[start:stop]


@given(ticks=st.lists(TICKS, min_size=1, max_size=20))
def test_rows_give_back_whole_ticks_and_frames(tmp_path_factory: pytest.TempPathFactory, ticks: list[Tick]):
    tape = Tape.open(record(tmp_path_factory.mktemp("tape") / "a.parquet", ticks))

    rows = tape.ticks(0, len(ticks))

    assert [repr(row.tick) for row in rows] == [repr(tick) for tick in ticks]
    assert [row.frame for row in rows] == [b"frame %d" % i for i in range(len(ticks))]


def test_frames_come_back_with_the_seq_of_their_first_row(tmp_path: Path):
    frames = [Frame(ts_recv=5, payload=b"\xff\x00"), Frame(ts_recv=6, payload=b"", conn=3, url="https://venue/depth")]
    with TapeWriter(tmp_path / "a.parquet", "kraken", source="test") as writer:
        writer.append(frames[0], [trade(), trade()])
        writer.append_feed(5, [Tick(kind=Kind.FEED, note='{"event":"clock"}')])
        writer.append(frames[1], [])

    tape = Tape.open(tmp_path / "a.parquet")

    assert list(tape.frames()) == [(0, frames[0]), (3, frames[1])]
    assert [row.tick.kind for row in tape.ticks(2, 4)] == [Kind.FEED, Kind.OTHER]


def test_tape_longer_than_a_row_group_goes_on_without_a_gap(tmp_path: Path):
    count = 2 * ROW_GROUP + 5
    table = SCHEMA.empty_table().drop(["seq", "venue", "conn", "frame", "url"])
    columns = {name: pa.nulls(count, table.schema.field(name).type) for name in table.column_names}
    columns |= {"ts_recv": pa.array(range(count)), "price": pa.array([1.0, NAN] * (count // 2) + [3.0])}
    columns |= {name: pa.repeat(pa.scalar(1, pa.int8()), count) for name in ("kind", "side", "flags")}
    with TapeWriter(tmp_path / "a.parquet", "kraken", source="test") as writer:
        for start in range(0, count, 50_000):
            writer.append_rows(pa.table(columns).slice(start, 50_000))
        assert writer.next_seq == count

    tape = Tape.open(tmp_path / "a.parquet")
    batches = list(tape.batches(40_000))

    assert [len(batch) for batch in batches] == [40_000, 25_536] * 2 + [5]
    assert [batch.first_seq for batch in batches] == [0, 40_000, 65_536, 105_536, 131_072]
    assert batches[-1].price[4] == 3.0
    assert math.isnan(batches[-1].price[3])
    assert tape.table(["price"])["price"].null_count == count // 2


@pytest.mark.parametrize("count", [255, 256, 57_500])
def test_every_symbol_keeps_its_name_however_many_there_are(tmp_path: Path, count: int):
    names = [f"S{i}/USD" for i in range(count)]
    path = record(tmp_path / "a.parquet", [trade(symbol=name) for name in names])

    [batch] = Tape.open(path).batches()

    assert [batch.symbols[ord(char)] for char in batch.symbol] == names
    assert batch.traded == batch.symbol
    assert Tape.open(path).symbols == names


def test_time_never_runs_backwards_on_a_tape_and_each_step_back_is_counted(tmp_path: Path):
    with TapeWriter(tmp_path / "a.parquet", "kraken", source="test", not_before=12) as writer:
        for ts in (10, 20, 15, 16, 30):
            writer.append(Frame(ts_recv=ts, payload=b""), [trade()])

    tape = Tape.open(tmp_path / "a.parquet")

    assert [row.ts_recv for row in tape.ticks(0, 5)] == [12, 20, 20, 20, 30]
    assert tape.passport.clock_reversals == 2
    assert (tape.start, tape.end) == (12, 30)


def test_header_and_passport_come_back(tmp_path: Path):
    with TapeWriter(tmp_path / "a.parquet", "kraken", source="simulated", channels=["trade"], simulated=True) as writer:
        writer.append(Frame(ts_recv=30_000_000, payload=b""), [msgspec.structs.replace(trade(), ts_event=10_000_000)])
        writer.close(Quality(checksum_ok=3), clock_reversals=4)

    tape = Tape.open(tmp_path / "a.parquet")

    assert (tape.venue, tape.simulated, tape.headers[0].channels) == ("kraken", True, ["trade"])
    assert (tape.rows, tape.passport.checksum_ok, tape.passport.clock_reversals) == (1, 3, 4)
    assert tape.passport.skew_ms is not None
    assert tape.passport.skew_ms.max == 20


def test_text_and_times_that_cannot_be_stored_do_not_cost_the_tape(tmp_path: Path):
    odd = Tick(kind=Kind.OTHER, symbol="\ud800", trade_id="\udfff", ts_event=2**70)

    [row] = Tape.open(record(tmp_path / "a.parquet", [odd])).ticks(0, 1)

    assert (row.tick.symbol, row.tick.trade_id, row.tick.ts_event) == ("?", "?", None)


def test_row_group_ends_early_where_frames_are_huge(tmp_path: Path):
    payload = random.Random(1).randbytes(5_000_000)
    with TapeWriter(tmp_path / "a.parquet", "kraken", source="test") as writer:
        for ts in range(16):
            writer.append(Frame(ts_recv=ts, payload=payload), [trade()])

    tape = Tape.open(tmp_path / "a.parquet")

    assert [len(batch) for batch in tape.batches()] == [14, 2]
    assert all(frame.payload == payload for _, frame in tape.frames())


def test_same_ticks_written_twice_are_the_same_bytes(tmp_path: Path):
    first, second = (record(tmp_path / name, [trade(1.5), trade(2.5)]) for name in ("a.parquet", "b.parquet"))

    assert first.read_bytes() == second.read_bytes()
    assert Tape.open(first).identity == hashlib.sha256(second.read_bytes()).hexdigest()


def test_identity_tells_tapes_apart_by_any_frame(tmp_path: Path):
    one = record(tmp_path / "a.parquet", [trade(1.5)])
    other = record(tmp_path / "b.parquet", [trade(1.5)], first_seq=1)

    assert len({Tape.open(one).identity, Tape.open(other).identity, Tape.open([one, other]).identity}) == 3


def test_parts_are_found_by_folder_pattern_or_name_and_ordered_by_seq(tmp_path: Path):
    late = record(tmp_path / "a.parquet", [trade(3.0)], first_seq=2)
    early = record(tmp_path / "b.parquet", [trade(1.0), trade(2.0)])

    tapes = [Tape.open(place) for place in (tmp_path, str(tmp_path / "*.parquet"), [late, early, late])]

    assert [tape.paths for tape in tapes] == [(early, late)] * 3
    assert [tape.rows for tape in tapes] == [3] * 3


def test_writer_that_fails_leaves_nothing_and_keeps_what_was_there(tmp_path: Path):
    path = record(tmp_path / "a.parquet", [trade()])
    before = path.read_bytes()

    with pytest.raises(ZeroDivisionError), TapeWriter(path, "kraken", source="test") as writer:
        writer.append(Frame(ts_recv=1, payload=b""), [trade()] * ROW_GROUP)
        raise ZeroDivisionError

    assert [path] == list(tmp_path.iterdir())
    assert path.read_bytes() == before


def test_nothing_is_in_place_before_the_tape_is_whole(tmp_path: Path):
    writer = TapeWriter(tmp_path / "a.parquet", "kraken", source="test")
    writer.append(Frame(ts_recv=1, payload=b""), [trade()])
    names = [path.name for path in tmp_path.iterdir()]
    writer.close()

    assert names == ["a.parquet.tmp"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_two_who_write_one_tape_do_not_meet(tmp_path: Path):
    first = TapeWriter(tmp_path / "a.parquet", "kraken", source="first")
    first.append(Frame(ts_recv=1, payload=b""), [trade(1.0)])

    with pytest.raises(TapeProblem, match=r"a\.parquet: expected to write it alone"):
        TapeWriter(tmp_path / "a.parquet", "kraken", source="second")
    first.close()

    assert [batch.price[0] for batch in Tape.open(tmp_path / "a.parquet").batches()] == [1.0]
    record(tmp_path / "a.parquet", [trade(2.0)])  # nobody holds it any more
    assert [batch.price[0] for batch in Tape.open(tmp_path / "a.parquet").batches()] == [2.0]


def test_what_a_killed_writer_left_is_written_over(tmp_path: Path):
    (tmp_path / "a.parquet.tmp").write_bytes(b"half of a longer tape" * 10_000)
    record(tmp_path / "a.parquet", [trade(3.0)])

    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    assert [batch.price[0] for batch in Tape.open(tmp_path / "a.parquet").batches()] == [3.0]


def test_unknown_further_columns_are_tolerated(tmp_path: Path):
    path = record(tmp_path / "a.parquet", [trade(4.0)])
    table = pq.read_table(path)
    rewritten(path, pa.table([*table.columns, [1]], schema=table.schema.append(pa.field("later", pa.int64()))))

    assert [batch.price[0] for batch in Tape.open(path).batches()] == [4.0]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "found an empty file"),
        (b"seq,price\n1,2\n", "found a file that is not Parquet"),
        (b"PAR1", "found a Parquet file that is damaged or cut off"),
    ],
)
def test_file_that_is_no_tape_is_named_with_what_it_is(tmp_path: Path, content: bytes, found: str):
    path = tmp_path / "btc.parquet"
    path.write_bytes(content)

    assert problem_with(path) == f"{path}: expected a wspt tape (Parquet), {found}"


def test_missing_file_and_empty_folder_are_named(tmp_path: Path):
    assert problem_with(tmp_path / "no.parquet").endswith("no.parquet: expected a wspt tape, found no such file")
    assert problem_with(tmp_path) == f"{tmp_path}: expected a tape, found no file"


def test_plain_parquet_is_not_a_tape(tmp_path: Path):
    pq.write_table(pa.table({"price": [1.0]}), tmp_path / "a.parquet")

    assert "found a Parquet file without its header" in problem_with(tmp_path / "a.parquet")


def test_tape_without_ticks_is_refused(tmp_path: Path):
    assert "with at least one tick, found none" in problem_with(record(tmp_path / "a.parquet", []))


def test_tape_of_a_later_format_is_refused(tmp_path: Path):
    path = record(tmp_path / "a.parquet", [trade()])
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: b'{"format":2,"other":[]}'}), path)

    assert problem_with(path) == f"{path}: expected tape format 1, found format 2"


def test_missing_column_is_named(tmp_path: Path):
    path = record(tmp_path / "a.parquet", [trade()])

    rewritten(path, pq.read_table(path).drop_columns(["bid"]))

    assert problem_with(path) == f"{path}: expected a column bid (double), found none"


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("price", pa.array(["1"]), "expected column price as double, found string"),
        ("kind", pa.array([None], pa.int8()), "expected column kind as int8 not null, found int8"),
    ],
)
def test_column_of_another_type_is_named(tmp_path: Path, column: str, values: pa.Array, said: str):
    path = record(tmp_path / "a.parquet", [trade()])
    table = pq.read_table(path)

    rewritten(path, table.set_column(table.schema.get_field_index(column), column, values))

    assert problem_with(path) == f"{path}: {said}"


def test_missing_part_is_named_with_the_seq_that_is_lost(tmp_path: Path):
    for part in (0, 2):
        record(tmp_path / f"part-{part:06d}.parquet", [trade()], first_seq=part)

    said = "expected the tape to go on at seq 1 after part-000000.parquet, found seq 2"
    assert problem_with(tmp_path) == f"{tmp_path / 'part-000002.parquet'}: {said}"


def test_two_tapes_are_not_one(tmp_path: Path):
    one, other = (record(tmp_path / name, [trade()]) for name in ("a.parquet", "b.parquet"))

    assert "expected the tape to go on at seq 1 after a.parquet, found seq 0" in problem_with(one, other)


def test_parts_of_different_venues_are_not_one_tape(tmp_path: Path):
    record(tmp_path / "a.parquet", [trade()])
    with TapeWriter(tmp_path / "b.parquet", "binance", source="test", first_seq=1) as writer:
        writer.append(Frame(ts_recv=1, payload=b""), [trade()])

    assert problem_with(tmp_path).endswith("b.parquet: expected venue kraken, found binance")


def test_part_that_goes_back_in_time_is_refused(tmp_path: Path):
    record(tmp_path / "a.parquet", [trade()] * 9)
    with TapeWriter(tmp_path / "b.parquet", "kraken", source="test", first_seq=9) as writer:
        writer.append(Frame(ts_recv=3, payload=b""), [trade()])

    assert problem_with(tmp_path).endswith("expected ts_recv to go on from 8 after a.parquet, found 3")


def test_folder_that_does_not_exist_is_no_place_for_a_tape(tmp_path: Path):
    with pytest.raises(TapeProblem, match="expected a place to write a tape to"):
        TapeWriter(tmp_path / "no" / "a.parquet", "kraken", source="test")


TRUNCATED = st.floats(0, 1, exclude_max=True)


@given(part=TRUNCATED)
def test_tape_cut_off_anywhere_is_a_problem_in_one_sentence(tmp_path_factory: pytest.TempPathFactory, part: float):
    path = record(tmp_path_factory.mktemp("tape") / "a.parquet", [trade(i / 7) for i in range(200)])
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])

    said = problem_with(path)

    assert said.startswith(f"{path}: expected")
    assert "\n" not in said


@given(place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_flipped_bit_in_a_page_is_a_problem_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
):
    path = record(tmp_path_factory.mktemp("tape") / "a.parquet", [trade(i / 7) for i in range(200)])
    whole = rows_of(list(Tape.open(path).batches()))
    content = bytearray(path.read_bytes())
    pages = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[place % pages] ^= 1 << bit
    path.write_bytes(content)

    try:
        found = rows_of(list(Tape.open(path).batches()))
    except TapeProblem:
        return
    assert found == whole


def test_damaged_page_is_named_with_its_ticks(tmp_path: Path):
    path = record(tmp_path / "a.parquet", [trade(i / 7) for i in range(2000)])
    chunk = pq.read_metadata(path).row_group(0).column(SCHEMA.get_field_index("price"))
    content = bytearray(path.read_bytes())
    content[chunk.dictionary_page_offset + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(content)

    assert f"{path}: expected ticks 0 to 1999, found them damaged" in problem_with(path)


def test_trades_of_before_the_recording_say_nothing_about_how_late_it_was(tmp_path: Path) -> None:
    past = Tick(kind=Kind.OTHER, symbol="A/B", ts_event=0, trade_id="1")
    missed = Tick(kind=Kind.TRADE, symbol="A/B", price=1.0, size=1.0, ts_event=0, flags=LAST_OF_MESSAGE | RECOVERED)
    news = Tick(kind=Kind.TRADE, symbol="A/B", price=1.0, size=1.0, ts_event=1_000_000_001)

    skew = Tape.open(record(tmp_path / "tape.parquet", [past, missed, news])).passport.skew_ms

    assert skew is not None
    assert len(skew.buckets) == 1
    assert skew.max < 0
