"""Whatever is wrong with what a user gives us is one clear sentence and exit code 2, and leaves nothing behind."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apps.importing import simulated_tape
from recorder.tape_columns import METADATA_KEY
from tests.commands import EAGER, Place, Result


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few seconds of the simulated market."""
    path = tmp_path_factory.mktemp("tape") / "short.parquet"
    simulated_tape(7, 0.1, path)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with a strategy that trades."""
    place = Place(tmp_path)
    place.strategy("eager", EAGER)
    return place


def refused(answer: Result) -> str:
    """The one sentence that a mistake is answered with."""
    assert answer.code == 2, answer
    assert answer.out == ""
    assert answer.err.startswith("wspt: ")
    assert answer.err.count("\n") == 1
    return answer.err.removeprefix("wspt: ").rstrip("\n")


# -- tapes that are none -------------------------------------------------------------------------------------


def rewritten(tape: Path, to: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """A tape with its header but with other columns."""
    with pq.ParquetFile(tape) as parquet:
        header, table = parquet.metadata.metadata[METADATA_KEY], change(parquet.read())
    with pq.ParquetWriter(to, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({METADATA_KEY: header})


def as_text(table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index("price")
    return table.set_column(place, "price", pa.array(["x"] * len(table)))


TAPES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "not Parquet": (lambda tape, to: to.write_text("ts,price\n1,2\n"), "not Parquet"),
    "an empty file": (lambda tape, to: to.touch(), "an empty file"),
    "a truncated file": (lambda tape, to: to.write_bytes(tape.read_bytes()[:-500]), "damaged or cut off"),
    "a file without its end": (lambda tape, to: to.write_bytes(tape.read_bytes()[:2_000]), "damaged or cut off"),
    "another Parquet file": (lambda tape, to: pq.write_table(pa.table({"a": [1]}), to), "import it first"),
    "a missing column": (lambda tape, to: rewritten(tape, to, lambda table: table.drop(["price"])), "price"),
    "a column of another type": (lambda tape, to: rewritten(tape, to, as_text), "price"),
    "a folder without parts": (lambda tape, to: to.mkdir(), "found no file"),
    "nothing there": (lambda tape, to: None, "found no such file"),
}


@pytest.mark.parametrize("command", ["replay", "inspect"])
@pytest.mark.parametrize("kind", TAPES)
def test_what_is_no_tape_is_named(kind: str, command: str, place: Place, tape: Path) -> None:
    make, found = TAPES[kind]
    make(tape, place.folder / "odd.parquet")

    sentence = refused(place.wspt(command, "odd.parquet", "--json"))

    assert sentence.startswith("odd.parquet: expected ")
    assert found in sentence
    assert not (place.folder / "data").exists()


def test_a_byte_that_has_flipped_in_a_tape_is_noticed(place: Place, tape: Path) -> None:
    content = bytearray(tape.read_bytes())
    content[200:210] = bytes(byte ^ 0xFF for byte in content[200:210])
    place.file("odd.parquet", bytes(content))

    assert "damaged" in refused(place.wspt("replay", "odd.parquet", "--out", "run"))


def test_a_tape_with_fewer_rows_than_it_says_is_noticed(place: Place, tape: Path) -> None:
    rewritten(tape, place.folder / "odd.parquet", lambda table: table.slice(9))

    assert "damaged" in refused(place.wspt("replay", "odd.parquet", "--out", "run"))


def test_an_empty_name_is_no_tape(place: Place) -> None:
    assert refused(place.wspt("replay", "")) == "TAPE: expected a file or a folder, found an empty name"


def test_two_tapes_are_not_one(place: Place, tape: Path) -> None:
    simulated_tape(8, 0.1, place.folder / "other.parquet")

    refused(place.wspt("replay", tape, "other.parquet"))


# -- words that make no sense --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--capital nonsense", "capital: expected an amount such as 100, found 'nonsense'"),
        ("--capital 0", "capital: expected more than nothing, found '0'"),
        ("--capital -5", "capital: expected more than nothing, found '-5'"),
        ("--capital nan", "capital: expected an amount such as 100, found 'nan'"),
        ("--capital inf", "capital: expected an amount such as 100, found 'inf'"),
        ("--capital 1e400", "capital: expected an amount such as 100, found '1e400'"),
        ("--speed fast", "--speed fast: expected max, 1x, 10x or the like"),
        ("--speed 0x", "--speed 0x: expected max, 1x, 10x or the like"),
        ("--speed -1x", "--speed -1x: expected max, 1x, 10x or the like"),
        ("--speed nan", "--speed nan: expected max, 1x, 10x or the like"),
        ("--speed inf", "--speed inf: expected max, 1x, 10x or the like"),
        ("--speed 1e-300x", "--speed 1e-300x: expected max, 1x, 10x or the like"),
        ("--out .", ".: expected a new or empty folder for the run, found files in it"),
        ("--out /", "/: expected a new or empty folder for the run, found files in it"),
        ("--from yesterday", "--from yesterday: expected a time such as 2026-01-01T00:05:00, or ns"),
        ("--to 2026-13-01", "--to 2026-13-01: expected a time such as 2026-01-01T00:05:00, or ns"),
        ("--from 2030-01-01", "expected ticks between --from and --to, found none"),
        ("--to 1", "expected ticks between --from and --to, found none"),
        ("--from 99999999999999999999999999", "expected ticks between --from and --to, found none"),
        ("--from 2026-01-01T00:00:03 --to 2026-01-01T00:00:02", "expected ticks between --from and --to, found none"),
        ("--only eagre", "--only eagre: expected one of eager; did you mean 'eager'?"),
        ("--set eager", "--set eager: expected name.key=value"),
        ("--set eager.evry=2", "--set eager.evry=2: eager has no 'evry' in CONFIG, only every, size; "
                               "did you mean 'every'?"),
        ("--set eagre.every=2", "--set eagre.every=2: expected one of eager, found 'eagre'; did you mean 'eager'?"),
        ("--config none.toml", "none.toml: expected a configuration file, found No such file or directory"),
        ("--strategies none", "none: expected a strategy file or a folder of them, found nothing there"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_option_is_named(words: str, expected: str, place: Place, tape: Path) -> None:
    assert refused(place.wspt("replay", tape, *words.split())) == expected
    assert not (place.folder / "data").exists()


@pytest.mark.parametrize("words", ["frobnicate", "replay", "replay x --bogus", "replay x --jobs 0", "import ticks x"])
def test_a_command_that_is_none_explains_itself_on_stderr(words: str, place: Place) -> None:
    answer = place.wspt(*words.split())

    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("Usage: wspt")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def generate_signal(data:\n", "strategies/odd.py:1: expected Python, found "),
        ("import no_such_package\n", "strategies/odd.py:1: expected to load it, found ModuleNotFoundError: "),
        ("CONFIG = {}\n", "strategies/odd.py: expected a function generate_signal"),
        ('STRATEGY_NAME = "eager"\ndef generate_signal(data): ...\n', "strategies/odd.py: expected a strategy name of"),
    ],
    ids=["syntax", "import", "no function", "two with one name"],
)
def test_a_strategy_that_cannot_be_loaded_is_named(source: str, found: str, place: Place, tape: Path) -> None:
    place.strategy("odd", source)

    assert refused(place.wspt("replay", tape)).startswith(found)


def test_a_strategy_may_be_named_like_a_standard_module(place: Place, tape: Path) -> None:
    for name in ("json", "signal", "class"):
        place.strategy(name)

    names = [desk["name"] for desk in place.wspt("replay", tape, "--json").json["strategies"]]

    assert sorted(names) == ["class", "eager", "json", "signal"]


# -- runs that are none --------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["verify {}", "sql {} from|fills"])
@pytest.mark.parametrize("kind", ["nothing", "an empty folder", "half of one", "damaged", "of no kind"])
def test_what_is_no_run_is_named(kind: str, words: str, place: Place) -> None:
    run = place.folder / "run"
    if kind != "nothing":
        run.mkdir()
    if kind == "half of one":
        (run / "ledger").mkdir()
        (run / "strategies").mkdir()
    if kind in ("damaged", "of no kind"):
        place.file("run/run.json", '{"status":' if kind == "damaged" else '{"status": "running"}')

    sentence = refused(place.wspt(*(word.replace("|", " ") for word in words.format("run").split())))

    assert sentence.startswith("run")
    assert "expected a run" in sentence


def test_a_run_that_was_cut_short_is_not_taken_for_a_whole_one(place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")
    manifest = place.folder / "run" / "run.json"
    manifest.write_text(manifest.read_text().replace('"finished"', '"running"'))

    answer = place.wspt("verify", "run")

    assert answer.err.startswith("run is crashed and has no end yet: compared the ")
    assert "`wspt recover run` makes it whole" in answer.err


def test_a_run_never_goes_into_a_folder_that_has_something_in_it(place: Place, tape: Path) -> None:
    assert "expected a new or empty folder" in refused(place.wspt("replay", tape, "--out", "strategies"))
    assert "expected a folder" in refused(place.wspt("replay", tape, "--out", "strategies/eager.py"))
    assert [path.name for path in (place.folder / "strategies").glob("*")] == ["eager.py"]


def test_a_run_needs_a_place_that_can_be_written(place: Place, tape: Path) -> None:
    # /proc refuses even root, for whom no folder is read-only.
    assert "expected a folder that can be written" in refused(place.wspt("replay", tape, "--out", "/proc/wspt/run"))


# -- queries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "selec 1",
        "",
        "from nothing",
        "select nothing from fills",
        "select 1; select 2",
        "select * from '/etc/passwd'",
        "select * from read_csv_auto('/etc/hosts')",
        "copy (select 1) to 'stolen.csv'",
        "copy fills to 'stolen.parquet'",
        "create table t as select 1",
        "attach 'stolen.db'",
        "install httpfs",
        "set enable_external_access = true",
        "pragma enable_profiling",
        "drop view fills",
    ],
)
def test_a_query_that_is_wrong_or_hostile_is_refused(query: str, place: Place, tape: Path) -> None:
    place.wspt("replay", tape, "--out", "run")

    refused(place.wspt("sql", "run", query))

    assert not list(place.folder.glob("stolen*"))


def test_a_query_needs_a_run(place: Place) -> None:
    assert "expected a run" in refused(place.wspt("sql", "from fills"))
    assert "expected a run and one query" in refused(place.wspt("sql", "run", "from", "fills"))


# -- imports -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("frame --venue kraken capture", "import frame: expected one of hftbacktest, cryptofeed, frames, ticks; "
                                         "did you mean 'frames'?"),
        ("frames capture", "import frames: expected --venue, one of kraken, binance"),
        ("frames --venue kracken capture", "--venue kracken: expected one of kraken, binance; did you mean 'kraken'?"),
        ("frames --venue kraken none", "none: expected a file, found none"),
        ("frames --venue kraken strategies", "strategies: expected a file, found a directory"),
        ("frames --venue kraken empty", "empty: expected one frame a line, found an empty file"),
        ("hftbacktest --venue binance capture", "capture: expected lines `<time in ns> <frame>`, found 'hello'"),
        ("hftbacktest --venue binance cut.gz", "cut.gz: expected a whole file, found one that is cut off or damaged"),
        ("cryptofeed --venue binance capture", "capture: expected lines `<unix seconds>: <frame>`, found 'hello'"),
        ("ticks capture capture", "import ticks: expected one file, found 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_named(words: str, expected: str, place: Place) -> None:
    place.file("capture", "hello\n")
    place.file("empty", "")
    place.file("cut.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b")

    assert refused(place.wspt("import", *words.split(), "-o", "out.parquet")) == expected
    assert not list(place.folder.glob("out.parquet*"))


@pytest.mark.parametrize(
    "table",
    [
        "",
        "ts,symbol,price,size\n",
        "ts,price,size\n1,2,3\n",
        "ts,symbol,price\n1,A/B,3\n",
        "ts,symbol,price,size\nx,A/B,2,3\n",
        "ts,symbol,price,size\n1,A/B,cheap,3\n",
        "ts,symbol,price,size,side\n1,A/B,1,3,sideways\n",
        "ts,symbol,price,size\n,A/B,1,3\n",
    ],
)
def test_a_table_that_cannot_be_read_is_named(table: str, place: Place) -> None:
    place.file("ticks.csv", table)

    assert refused(place.wspt("import", "ticks", "ticks.csv", "-o", "out.parquet")).startswith("ticks.csv: ")
    assert not list(place.folder.glob("out.parquet*"))


def test_an_import_never_writes_over_what_it_reads(place: Place) -> None:
    table = place.file("ticks.csv", "ts,symbol,price,size\n1,A/B,2,3\n")

    sentence = refused(place.wspt("import", "ticks", "ticks.csv", "-o", table))

    assert "found one of the files to import" in sentence
    assert table.read_text().startswith("ts,symbol")


def test_an_import_never_writes_over_what_it_reads_on_the_way(place: Place) -> None:
    table = place.file("out.parquet.tmp", "ts,symbol,price,size\n1,A/B,2,3\n")

    sentence = refused(place.wspt("import", "ticks", "out.parquet.tmp", "-o", "out.parquet"))

    assert "found one of the files to import: out.parquet.tmp" in sentence
    assert table.read_text().startswith("ts,symbol")


def test_an_import_says_what_it_replaced_and_what_cannot_be_traded(place: Place) -> None:
    place.file("ticks.csv", "ts,symbol,price,size\n1,BTCUSD,2,3\n")

    first = place.wspt("import", "ticks", "ticks.csv", "-o", "out.parquet")
    second = place.wspt("import", "ticks", "ticks.csv", "-o", "out.parquet")

    assert (first.code, second.code) == (0, 0)
    unquoted = "out.parquet: expected symbols such as BTC/USD, found BTCUSD: nothing can be bought there\n"
    assert first.err == unquoted
    assert second.err == f"out.parquet: the tape that was there is replaced\n{unquoted}"
    place.wspt("replay", "out.parquet", "--out", "run", "--set", "eager.every=1")
    refusals = place.wspt("sql", "run", "select distinct rejection from signals", "--json").json
    assert refusals == [{"rejection": "the symbol names no quote currency"}]


def test_frames_without_times_are_named(place: Place) -> None:
    place.file("capture", "{}\n" * 3)

    sentence = refused(place.wspt("import", "frames", "--venue", "kraken", "capture", "-o", "out.parquet"))

    assert sentence == "capture: expected frames that name the venue's time, found none in 3 frames"


def test_times_as_text_are_named(place: Place) -> None:
    place.file("ticks.csv", "ts,symbol,price,size\n2026-01-01T00:00:00,A/B,2,3\n")

    sentence = refused(place.wspt("import", "ticks", "ticks.csv", "-o", "out.parquet"))

    assert sentence.startswith("ticks.csv: expected ts in whole ns since 1970 and the rest in numbers, found: ")
    assert "2026-01-01T00:00:00" in sentence


@pytest.mark.parametrize("kind", ["frames --venue kraken", "ticks"])
def test_an_import_never_replaces_what_is_no_file(kind: str, place: Place) -> None:
    place.file("capture", "ts,symbol,price,size\n1,A/B,2,3\n")
    os.mkfifo(place.folder / "pipe")

    sentence = refused(place.wspt("import", *kind.split(), "capture", "-o", "pipe"))

    assert sentence == "pipe: expected the name of a new tape file, found something that is no file"
    assert (place.folder / "pipe").is_fifo()


def test_a_strategy_that_cannot_be_begun_is_one_sentence(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "strategies").rmdir()
    place.file("strategies", b"in the way")

    assert "strategies/mine.py: expected a file that can be written" in refused(place.wspt("new", "mine"))


def test_a_folder_whose_name_begins_with_a_tilde_is_here_and_not_at_home(place: Place, tape: Path) -> None:
    assert place.wspt("replay", tape, "--out", "~/run").code == 0
    assert (place.folder / "~" / "run" / "run.json").is_file()


def test_a_table_does_not_come_through_a_pipe(place: Place) -> None:
    os.mkfifo(place.folder / "pipe")

    assert refused(place.wspt("import", "ticks", "pipe", "-o", "out.parquet")) == "pipe: expected a file, found a pipe"


@pytest.mark.parametrize(("out", "found"), [("none/out.parquet", "found no none"), ("strategies", "found a folder")])
def test_a_tape_needs_a_place_that_is_there(out: str, found: str, place: Place) -> None:
    assert found in refused(place.wspt("simulate", "--minutes", "0.01", "-o", out))
