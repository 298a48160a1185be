"""Run folders: written whole, found by name, and refused in one sentence where they are broken."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from recorder.ledger import LedgerWriter
from recorder.runs import (
    Manifest,
    RunProblem,
    StrategyRecord,
    TapePath,
    TapeReference,
    create_run,
    find_run,
    list_runs,
    read_manifest,
    save_strategy,
    segment_paths,
    tape_path,
    tape_paths,
    write_manifest,
)


def a_manifest(**changes: Any) -> Manifest:
    known: dict[str, Any] = {
        "status": "finished",
        "kind": "replay",
        "simulated": False,
        "created": "2026-01-01T00:00:00Z",
        "configuration": {"latency_ns": 0},
        "strategies": {
            "ema": StrategyRecord(
                file="strategies/ema.py",
                sha256="00",
                version="1",
                config={"fast": 0.1},
                symbols=["BTC/USD"],
                trigger="tick",
            )
        },
        "libraries": {"python": "3.11.7"},
        "tape": TapeReference(paths=[], venue="kraken", identity="ff", first_seq=0, stop_seq=10),
    }
    return Manifest(**known | changes)


def a_run(path: Path, **changes: Any) -> Path:
    create_run(path)
    segments = LedgerWriter(path / "ledger").close()
    write_manifest(path, a_manifest(segments=segments, **changes))
    return path


def with_tape(*paths: TapePath) -> Manifest:
    return a_manifest(tape=TapeReference(paths=list(paths), venue="kraken", identity="ff", first_seq=0, stop_seq=10))


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = a_manifest(digests={"ema": "ab"}, digest="cd", ticks=3, events=4, seconds=0.5)

    write_manifest(tmp_path, manifest)

    assert read_manifest(tmp_path) == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_new_manifest_replaces_the_old_one(tmp_path: Path) -> None:
    write_manifest(tmp_path, a_manifest(status="running"))

    write_manifest(tmp_path, a_manifest(status="interrupted"))

    assert read_manifest(tmp_path).status == "interrupted"


def test_a_run_is_created_only_where_nothing_is(tmp_path: Path) -> None:
    create_run(tmp_path / "runs" / "one")

    with pytest.raises(RunProblem, match="expected a new or empty folder"):
        create_run(tmp_path / "runs" / "one")


def test_a_file_in_the_place_of_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").touch()

    with pytest.raises(RunProblem, match="expected a folder that can be written"):
        create_run(tmp_path / "one")


def test_a_strategy_is_kept_byte_for_byte(tmp_path: Path) -> None:
    create_run(tmp_path / "one")
    source = b'"""\xc3\xbc"""\r\nx = 1'

    place = save_strategy(tmp_path / "one", "ema", source)

    assert place == tmp_path / "one" / "strategies" / "ema.py"
    assert place.read_bytes() == source


@pytest.mark.parametrize("name", ["", "..", "../ema", "a/b", "/etc/ema"])
def test_a_name_cannot_lead_out_of_the_run(tmp_path: Path, name: str) -> None:
    create_run(tmp_path / "one")

    with pytest.raises(RunProblem, match="expected the name of a file"):
        save_strategy(tmp_path / "one", name, b"")
    with pytest.raises(RunProblem, match="expected the name of a file"):
        segment_paths(tmp_path / "one", a_manifest(segments=[name]))


def test_a_folder_without_a_manifest_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunProblem, match=r"expected a run, found no readable run\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 40, -3])
def test_a_torn_manifest_is_one_sentence(tmp_path: Path, kept: int) -> None:
    write_manifest(tmp_path, a_manifest())
    (tmp_path / "run.json").write_bytes((tmp_path / "run.json").read_bytes()[:kept])

    with pytest.raises(RunProblem, match="found a damaged one") as problem:
        read_manifest(tmp_path)

    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"[]", b'{"status": "asleep"}', b"null"])
def test_a_manifest_that_says_something_else_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "run.json").write_bytes(data)

    with pytest.raises(RunProblem, match="found a damaged one"):
        read_manifest(tmp_path)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, msgspec.structs.replace(a_manifest(), format=9))

    with pytest.raises(RunProblem, match="expected format 1, found 9"):
        read_manifest(tmp_path)


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    run = a_run(tmp_path / "one")
    (run / "ledger" / "seg-000000.parquet").unlink()

    with pytest.raises(RunProblem, match=r"seg-000000\.parquet: expected a segment of the ledger, found no such file"):
        read_manifest(run)


def test_runs_are_listed_latest_first_and_broken_ones_last(tmp_path: Path) -> None:
    a_run(tmp_path / "b", created="2026-01-01T00:00:00Z")
    a_run(tmp_path / "a", created="2026-01-03T00:00:00Z")
    a_run(tmp_path / "c", created="2026-01-02T00:00:00Z")
    (tmp_path / "0-broken").mkdir()

    runs = list_runs(tmp_path)

    assert [(run.name, bool(run.problem)) for run in runs] == [
        ("a", False),
        ("c", False),
        ("b", False),
        ("0-broken", True),
    ]


def test_a_home_without_runs_has_an_empty_list(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nowhere") == []


def test_a_run_is_found_by_path_by_name_and_as_the_latest(tmp_path: Path) -> None:
    first = a_run(tmp_path / "runs" / "first", created="2026-01-01T00:00:00Z")
    second = a_run(tmp_path / "runs" / "second", created="2026-01-02T00:00:00Z")
    (tmp_path / "runs" / "third").mkdir()

    home = tmp_path / "runs"
    assert find_run(str(first), tmp_path / "elsewhere") == first
    assert find_run("first", home) == first
    assert find_run("latest", home) == second


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing", r"nothing: expected a run's folder, the name of one in .*, or latest, found none of them"),
        ("half", r"half: expected a run, found no readable run\.json"),
        ("latest", "expected a run, found none"),
    ],
)
def test_what_is_no_run_is_not_found(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "half").mkdir()

    with pytest.raises(RunProblem, match=expected):
        find_run(text, tmp_path)


def test_a_tape_is_found_after_run_and_tape_moved_together(tmp_path: Path) -> None:
    tape = tmp_path / "before" / "tapes" / "btc.parquet"
    tape.parent.mkdir(parents=True)
    tape.touch()
    run = create_run(tmp_path / "before" / "runs" / "one")
    manifest = with_tape(tape_path(str(tape), run))

    assert tape_paths(run, manifest) == [tape]
    (tmp_path / "before").rename(tmp_path / "after")

    [found] = tape_paths(tmp_path / "after" / "runs" / "one", manifest)
    assert found.resolve() == tmp_path / "after" / "tapes" / "btc.parquet"


def test_a_tape_is_found_in_the_folder_of_its_run(tmp_path: Path) -> None:
    (tmp_path / "tape").mkdir()
    (tmp_path / "tape" / "btc.parquet").touch()

    found = tape_paths(tmp_path, with_tape(TapePath(given="/gone/btc.parquet")))

    assert found == [tmp_path / "tape" / "btc.parquet"]


def test_a_tape_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunProblem, match=r"expected its tape /gone/btc\.parquet, found no such file"):
        tape_paths(tmp_path, with_tape(TapePath(given="/gone/btc.parquet", relative="../btc.parquet")))
