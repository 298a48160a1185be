"""What is kept of an assembler beside a sealed part: to go on from it is to go on from the whole tape."""

import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from recorder import known, log_parts, log_tail
from recorder.assembly import Assembled, Assembler
from recorder.frame_log import FrameLog, LogHeader, Record
from recorder.known import recalled
from recorder.log_tail import LogTail
from recorder.passport import Passport
from recorder.sealing import Sealer, recover
from recorder.tape import Tape
from recorder.tape_files import Part
from tests.test_sealing import STREAMS, as_records, contents, on_tape, recorded, simulation


def rows(assembler: Assembler, records: Sequence[Record]) -> list[str]:
    def line(found: Assembled) -> str:
        return repr((found.ts_recv, found.conn, found.url, [msgspec.structs.astuple(tick) for tick in found.ticks]))

    return [line(assembler.take(record)) for record in records]


@pytest.mark.parametrize("name", STREAMS)
def test_who_recalls_what_another_knew_goes_on_like_it(captures: Path, name: str) -> None:
    venue, frames = STREAMS[name]
    records = as_records(frames(captures), seed=3)
    chance = random.Random(name)
    cuts = sorted({0, 1, *(chance.randrange(len(records)) for _ in range(12))})
    first, at = Assembler(venue), 0

    for cut in cuts:
        rows(first, records[at:cut])
        at = cut
        second = Assembler(venue)
        second.recall(first.memory())

        assert second.memory() == first.memory()
        original, rest = Assembler(venue), records[cut : cut + 1_500]
        original.recall(first.memory())
        third = Assembler(venue)
        rows(third, records[:cut])
        expected = rows(third, rest)
        assert rows(second, rest) == expected
        assert second.memory() == third.memory()
        assert second.quality == third.quality
        assert original.memory() == first.memory(), "one that recalls does not share what it knows"


@pytest.mark.parametrize("other", [b"", b"\xc1", msgspec.msgpack.encode({"ts_recv": "now"})])
def test_what_no_assembler_wrote_is_refused(other: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        Assembler("kraken").recall(other)


def sealed_parts(folder: Path, *, forgetting: bool = False) -> dict[str, bytes]:
    """Seal one log after another, each by somebody who was not there before; the parts."""
    for log in sorted(folder.glob("*.wal")):
        with Sealer(folder) as sealer:
            list(sealer.steps(log))
        if forgetting:
            for path in folder.glob("*.known"):
                path.unlink()
    return {name: content for name, content in contents(folder).items() if name.endswith(".parquet")}


@pytest.mark.parametrize("name", STREAMS)
def test_parts_are_the_same_with_and_without_what_was_kept(captures: Path, tmp_path: Path, name: str) -> None:
    venue, frames = STREAMS[name]
    records = as_records(frames(captures))
    size = sum(len(record.payload) for record in records)
    kept = recorded(tmp_path / "kept", records, venue, part_bytes=size // 5)
    forgotten = recorded(tmp_path / "forgotten", records, venue, part_bytes=size // 5)

    parts = sealed_parts(kept)
    sealed_parts(forgotten, forgetting=True)

    assert on_tape(kept) == on_tape(forgotten)
    assert passport(kept) == passport(forgotten)
    assert sorted(path.stem for path in kept.glob("*.known")) == sorted(Path(part).stem for part in parts)[-2:]


def passport(folder: Path) -> Passport:
    """Rows do not tell whether the clock of a part began behind the latest, or behind the last, of the part before."""
    return msgspec.structs.replace(Tape.open(folder).passport, clock_reversals=0)


def test_what_was_kept_spares_the_tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = recorded(tmp_path, as_records(simulation(tmp_path)), part_bytes=60_000)
    logs = sorted(folder.glob("*.wal"))
    with Sealer(folder) as sealer:
        list(sealer.steps(logs[0]))

    monkeypatch.setattr(log_parts, "_records_of", None)  # nobody looks into the parts again
    with Sealer(folder) as sealer:
        list(sealer.steps(logs[1]))


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [damaged, cut, empty])
def test_what_was_kept_and_is_damaged_is_found_again(tmp_path: Path, harm) -> None:  # type: ignore[no-untyped-def]
    records = as_records(simulation(tmp_path))
    expected = sealed_parts(recorded(tmp_path / "whole", records, part_bytes=60_000))
    folder = recorded(tmp_path / "harmed", records, part_bytes=60_000)
    with Sealer(folder) as sealer:
        list(sealer.steps(folder / "part-000000.wal"))

    harm(folder / "part-000000.known")

    assert recalled(Part(folder / "part-000000.parquet"), "kraken", []) is None
    assert sealed_parts(folder) == expected


def test_what_other_decoders_wrote_or_others_asked_for_is_not_for_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recorded(tmp_path, as_records(simulation(tmp_path))[:200])
    recover(folder)
    part = Part(folder / "part-000000.parquet")

    assert recalled(part, "kraken", []) is not None
    assert recalled(part, "kraken", ["BTC/USD"]) is None
    assert recalled(part, "binance", []) is None
    monkeypatch.setattr(known, "_code", lambda: "of a later version")
    assert recalled(part, "kraken", []) is None


def test_a_disk_that_takes_nothing_does_not_keep_a_log_from_being_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recorded(tmp_path, as_records(simulation(tmp_path))[:200])
    (folder / "part-000000.known.tmp").mkdir()  # no file can have this name now

    recover(folder)

    assert not list(folder.glob("*.wal"))
    assert Tape.open(folder).rows > 200


def test_who_follows_a_long_recording_sees_its_books_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_tail, "WARM_ROWS_MAX", 0)
    records = [record for record in as_records(simulation(tmp_path)) if record.kind == 0]
    with FrameLog(tmp_path, LogHeader(venue="kraken"), part_bytes=60_000) as log, Sealer(tmp_path) as sealer:
        for record in records:
            log.append(record)
        sealer.seal_finished()
        sealed = Tape.open(sorted(tmp_path.glob("*.parquet"))).rows

        tail = LogTail(tmp_path)
        found = tail.read().to_pylist()
        tail.close()

    whole = Tape.open(tmp_path)
    assert whole.rows - sealed == len(found) > 50
    assert [(row["seq"], row["kind"], row["bid"]) for row in found] == [
        (row.seq, row.tick.kind, row.tick.bid if row.tick.bid == row.tick.bid else None)
        for row in whole.ticks(sealed, whole.rows)
    ]
