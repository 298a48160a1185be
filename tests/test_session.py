"""The same tape gives the same history, however the work is done; and what is not the same is found."""

import json
import os
import shutil
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apps.importing import simulated_tape
from recorder.runs import read_manifest
from recorder.tape import Tape, TapeWriter
from recorder.tape_columns import SCHEMA
from tests.commands import EAGER, PATIENT, Place

SECOND = 1_000_000_000
WAITING = '''

def on_start(config, state):
    """Say that the run has begun, and begin no sooner than the test says."""
    print("begun", flush=True)
    open("go").close()
'''
"""Opening a pipe waits until somebody writes to it: what happens before the first tick is over is then no race."""


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a minute of the simulated market."""
    path = tmp_path_factory.mktemp("tape") / "half.parquet"
    simulated_tape(7, 0.5, path)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with three strategies; one of them walks sets, whose order is Python's business."""
    place = Place(tmp_path)
    place.strategy("eager", EAGER)
    place.strategy("patient", PATIENT)
    place.strategy("setwise", EAGER.replace('reason="it is time"', 'reason="".join(sorted({"it", "is", "time"}))'))
    return place


def digests(said: dict[str, Any]) -> dict[str, str]:
    """The digest of each desk."""
    return {desk["name"]: desk["digest"] for desk in said["strategies"]}


def in_parts(tape: Path, folder: Path, *cuts: int) -> Path:
    """The tape cut before these rows, as a folder of parts."""
    folder.mkdir()
    whole = Tape.open(tape)
    edges = [0, *cuts, whole.rows]
    columns = [name for name in SCHEMA.names if name not in ("seq", "venue")]
    not_before = None
    for number, (start, stop) in enumerate(pairwise(edges)):
        rows = whole.table(columns, start_seq=start, stop_seq=stop)
        path = folder / f"part-{number:06d}.parquet"
        with TapeWriter(
            path, whole.venue, source="a test", simulated=True, first_seq=start, not_before=not_before
        ) as writer:
            writer.append_rows(rows)
        not_before = rows["ts_recv"][-1].as_py()
    return folder


# -- the same history ----------------------------------------------------------------------------------------


def test_the_hash_seed_of_python_changes_nothing(place: Place, tape: Path) -> None:
    runs = [place.start("replay", tape, "--json", "--out", seed, PYTHONHASHSEED=seed) for seed in ("0", "1", "random")]

    said = [json.loads(run.communicate(timeout=60)[0]) for run in runs]

    assert sum(desk["fills"] for desk in said[0]["strategies"]) > 0
    assert len({run["digest"] for run in said}) == 1


def test_the_number_of_processes_changes_nothing(place: Place, tape: Path) -> None:
    said = [place.spawn("replay", tape, "--json", "--out", jobs, "--jobs", jobs).json for jobs in ("1", "2", "3")]

    assert len({run["digest"] for run in said}) == 1
    assert place.wspt("verify", "3", "--json").json["digest"] == said[0]["digest"]


def test_a_run_of_several_processes_answers_queries_like_any_other(place: Place, tape: Path) -> None:
    for jobs in ("1", "2"):
        place.spawn("replay", tape, "--out", jobs, "--jobs", jobs)
    query = "select * from fills order by strategy, seq"

    one, two = (place.wspt("sql", run, query, "--json").json for run in ("1", "2"))

    assert one == two != []


def test_a_neighbor_changes_nothing_for_a_desk(place: Place, tape: Path) -> None:
    together = digests(place.wspt("replay", tape, "--json").json)
    place.strategy("aardvark", PATIENT)
    with_another = digests(place.wspt("replay", tape, "--json").json)
    alone = digests(place.wspt("replay", tape, "--only", "eager", "--json").json)

    assert together.items() <= with_another.items()
    assert alone == {"eager": together["eager"]}


@pytest.mark.parametrize("cuts", [(1,), (700,), (5, 6, 900, 1000)])
def test_a_tape_in_parts_gives_the_history_of_the_whole(cuts: tuple[int, ...], place: Place, tape: Path) -> None:
    parts = in_parts(tape, place.folder / "parts", *cuts)

    whole = place.wspt("replay", tape, "--json").json
    folder = place.wspt("replay", parts, "--out", "run", "--json").json
    named_backwards = place.wspt("replay", *sorted(parts.iterdir(), reverse=True), "--json").json

    assert whole["digest"] == folder["digest"] == named_backwards["digest"]
    assert len(folder["tape"]) == len(cuts) + 1
    assert place.wspt("verify", "run").code == 0


def test_the_speed_of_a_replay_and_so_the_size_of_its_batches_changes_nothing(place: Place, tape: Path) -> None:
    fast = place.wspt("replay", tape, "--json").json
    paced = place.wspt("replay", tape, "--speed", "1000x", "--json").json

    assert fast["digest"] == paced["digest"]


def test_an_earlier_end_gives_the_beginning_of_the_history(place: Place, tape: Path) -> None:
    middle = Tape.open(tape).start + 15 * SECOND
    place.wspt("replay", tape, "--out", "whole")
    place.wspt("replay", tape, "--out", "half", "--to", str(middle))
    query = "select * from fills where ts < {} order by strategy, seq"

    whole, half = (place.wspt("sql", run, "--json", query.format(middle)).json for run in ("whole", "half"))

    assert whole == half != []


def test_a_part_in_the_middle_can_be_replayed_and_verified(place: Place, tape: Path) -> None:
    start = Tape.open(tape).start

    said = place.wspt(
        "replay", tape, "--out", "run", "--from", str(start + 5 * SECOND), "--to", "2026-01-01T00:00:20", "--json"
    ).json

    assert 0 < said["ticks"] < Tape.open(tape).rows
    reference = read_manifest(place.folder / "run").tape
    assert reference.stop_seq - reference.first_seq == said["ticks"]
    assert place.wspt("verify", "run", "--json").json["digest"] == said["digest"]


LATE = """
from engine import Signal

CONFIG = {"after_ns": 0}


def generate_signal(data, config, state):
    \"\"\"From a moment on, trade at every tenth trade, for a reason that tells what is known of the market.\"\"\"
    if data.ts < config["after_ns"]:
        return None
    state["asked"] = state.get("asked", 0) + 1
    if state["asked"] % 10 != 1:
        return None
    book, closes = data.book(data.symbol, 3), [candle.close for candle in data.candles(data.symbol, "1s", 5)]
    known = [book and book.bids, closes, [trade.price for trade in data.recent_trades(n=20)]]
    return Signal("buy", data.symbol, 9.0, reason=str(known))
"""


@pytest.mark.parametrize("trigger", ["trade", "candle:2s"])
def test_a_replay_that_begins_later_knows_the_market_from_before(place: Place, tape: Path, trigger: str) -> None:
    middle = str(Tape.open(tape).start + 15 * SECOND)
    place.strategy("late", f'TRIGGER = "{trigger}"\n{LATE}')
    alone = ("--only", "late", "--set", f"late.after_ns={middle}")
    query = "select ts, symbol, side, price, quantity, cash, reason from fills order by seq"

    place.wspt("replay", tape, *alone, "--out", "whole")
    said = place.wspt("replay", tape, *alone, "--out", "later", "--from", middle, "--json").json
    whole, later = (place.wspt("sql", run, "--json", query).json for run in ("whole", "later"))

    assert whole == later
    assert later[0]["reason"].count("(") > 3, "a book"
    assert said["ticks"] < Tape.open(tape).rows
    assert place.wspt("verify", "later").code == 0


# -- what is not the same is found ---------------------------------------------------------------------------


def test_a_changed_copy_of_the_code_is_not_run(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")
    copy = place.folder / "run" / "strategies" / "eager.py"
    copy.write_text(copy.read_text() + "\n")

    answer = place.wspt("verify", "run")

    assert answer.code == 2
    assert answer.err == "wspt: run: expected the code that ran in strategies/eager.py, found a changed file\n"


def test_verify_runs_the_code_that_ran_whatever_the_file_says_now(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")
    place.strategy("eager", EAGER.replace('"buy"', '"short"'))

    assert place.wspt("verify", "run").code == 0
    assert place.wspt("verify", "run", "--current").code == 1


def test_a_ledger_with_one_changed_fill_is_found(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")
    [segment] = (place.folder / "run" / "ledger").iterdir()
    seq = fake_a_fee(segment)

    answer = place.wspt("verify", "run", "--json")

    assert answer.code == 1
    difference = answer.json["first_difference"]
    assert (difference["strategy"], difference["seq"]) == ("eager", seq)
    assert difference["recorded"]["fee"] == "0.000000000001" != difference["replayed"]["fee"]


def fake_a_fee(segment: Path) -> int:
    """Make the first fill of the eager desk a cheap one; return its seq."""
    with pq.ParquetFile(segment) as parquet:
        metadata = {key: value for key, value in parquet.metadata.metadata.items() if key != b"ARROW:schema"}
        groups = [parquet.read_row_group(number) for number in range(parquet.num_row_groups)]
    table = pa.concat_tables(groups)
    rows = table.select(["type", "strategy"]).to_pylist()
    row = next(i for i, at in enumerate(rows) if at == {"type": "OrderFilled", "strategy": "eager"})
    fees = table["fee"].to_pylist()
    fees[row] = type(fees[row])("0.000000000001")
    place = table.schema.get_field_index("fee")
    table = table.set_column(place, table.schema.field("fee"), pa.array(fees, table.schema.field("fee").type))
    with pq.ParquetWriter(segment, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(metadata)
    seq: int = table["seq"][row].as_py()
    return seq


def test_a_ledger_that_lost_a_segment_is_named(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")
    [segment] = (place.folder / "run" / "ledger").iterdir()
    segment.unlink()

    answer = place.wspt("verify", "run")

    assert answer.code == 2
    assert str(segment.name) in answer.err


def test_another_tape_in_the_place_of_the_first_is_found(place: Place, tape: Path) -> None:
    mine = Path(shutil.copy(tape, place.folder / "mine.parquet"))
    place.wspt("replay", mine, "--out", "run")
    simulated_tape(8, 0.5, mine)

    answer = place.wspt("verify", "run")

    assert answer.code == 2
    assert "expected the tape it was made of, found another one" in answer.err


def test_a_run_and_its_tape_can_move_together(place: Place, tape: Path) -> None:
    (place.folder / "before").mkdir()
    shutil.copy(tape, place.folder / "before" / "mine.parquet")
    place.wspt("replay", "before/mine.parquet", "--out", "before/run")

    (place.folder / "before").rename(place.folder / "after")

    assert place.wspt("verify", "after/run").code == 0


def test_a_run_without_its_tape_is_named_and_keeps_its_history(place: Place, tape: Path) -> None:
    shutil.copy(tape, place.folder / "mine.parquet")
    place.wspt("replay", "mine.parquet", "--out", "run")
    (place.folder / "mine.parquet").unlink()

    answer = place.wspt("verify", "run")

    assert (answer.code, answer.err) == (2, "wspt: run: expected its tape mine.parquet, found no such file\n")
    assert place.wspt("sql", "run", "from fills limit 1", "--json").json


# -- being interrupted ---------------------------------------------------------------------------------------


def test_processes_that_are_stopped_end_together_at_one_row(place: Place, tape: Path) -> None:
    """Ctrl+C goes to the whole group; a run is then the same prefix of the tape for every desk."""
    parts = in_parts(tape, place.folder / "parts", *range(100, 1_000, 100))
    for name in ("eager", "patient", "setwise"):
        place.strategy(name, (place.folder / "strategies" / f"{name}.py").read_text() + WAITING)
    os.mkfifo(place.folder / "go")
    process = place.start("replay", parts, "--jobs", "3", "--out", "run")
    assert process.stderr is not None
    for _ in range(3):
        assert process.stderr.readline() == "begun\n"

    os.killpg(process.pid, signal.SIGINT)
    with (place.folder / "go").open("r+b", buffering=0):
        out, err = process.communicate(timeout=60)
        verdict = place.wspt("verify", "run", "--json")

    assert (process.returncode, err) == (130, "")
    assert out.splitlines()[-1].startswith("digest ")
    assert read_manifest(place.folder / "run").status == "interrupted"
    assert verdict.json["identical"]


RUDE = '''"""Leaves everybody's arithmetic with two digits."""

import decimal

decimal.getcontext().prec = 2


def generate_signal(data, config, state):
    """Once more, and with a trap."""
    decimal.getcontext().prec = 2
    decimal.getcontext().traps[decimal.Inexact] = True
'''
EXACT = EAGER.replace("from engine", "from decimal import Decimal\n\nfrom engine").replace(
    'config["size"], reason="it is time"', 'float(Decimal("10.123") * 1), reason="it is time"'
)


def test_a_neighbors_decimal_context_changes_neither_a_desk_nor_the_report(place: Place, tape: Path) -> None:
    place.strategy("exact", EXACT)
    alone = place.wspt("replay", tape, "--json", "--out", "alone").json

    place.strategy("a_rude_one", RUDE)
    beside = place.wspt("replay", tape, "--json", "--out", "beside", "--jobs", "1").json
    told = place.wspt("replay", tape, "--capital", "12345.67", "--out", "told", "--jobs", "1")

    assert digests(alone).items() <= digests(beside).items()
    assert told.code == 0
    assert "12345.67 each" in told.out


@pytest.mark.parametrize(
    ("before", "after"),
    [('"taker_bps": "40.000000000000"', '"taker_bps": "0"'), ('"every": 5', '"every": 7'), ('"USD"', '"BTC"')],
)
def test_a_configuration_that_was_changed_in_the_manifest_is_found(
    before: str, after: str, place: Place, tape: Path
) -> None:
    place.wspt("replay", tape, "--out", "run")
    manifest = place.folder / "run" / "run.json"
    text = manifest.read_text()
    assert before in text

    manifest.write_text(text.replace(before, after))
    answer = place.wspt("verify", "run")

    assert answer.code == 2
    assert "expected the configuration that it ran with" in answer.err


def test_a_configuration_without_a_name_is_held_against_the_ledger_all_the_same(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")
    path = place.folder / "run" / "run.json"
    manifest = json.loads(path.read_text())
    manifest["configuration_sha256"] = ""
    manifest["configuration"]["desks"]["eager"]["execution"]["taker_bps"] = "0"

    path.write_text(json.dumps(manifest))
    answer = place.wspt("verify", "run", "--json")

    assert answer.code == 1
    assert answer.json["first_difference"]["recorded"]["type"] == "OrderSubmitted"


@pytest.mark.parametrize("where", ["module", "file"])
def test_a_limit_rejects_signals_with_its_reason_and_the_run_verifies(where: str, place: Place, tape: Path) -> None:
    if where == "module":
        place.strategy("eager", f"{EAGER}\nRISK = {{'max_order_notional': 9}}\n")
    else:
        place.file("wspt.toml", "[strategies.eager.risk]\nmax_order_notional = 9\n")

    [desk] = place.wspt("replay", tape, "--only", "eager", "--out", "run", "--json").json["strategies"]
    reasons = place.wspt("sql", "run", "select distinct rejection from signals where rejected", "--json").json

    assert desk["fills"] == 0
    assert {"rejection": "risk: max_order_notional"} in reasons
    assert place.wspt("verify", "run").code == 0


def test_a_desks_digest_that_was_changed_in_the_manifest_is_found(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")
    manifest = place.folder / "run" / "run.json"
    digest = read_manifest(manifest.parent).digests["eager"]
    manifest.write_text(manifest.read_text().replace(digest, "0" * 64))

    answer = place.wspt("verify", "run")

    assert answer.code == 2
    assert "digest of eager" in answer.err
