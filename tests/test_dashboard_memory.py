"""A run in the dashboard's memory: the same answers as the files give, at any moment of its writing."""

import random
import shutil
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from apps.memory import market_questions, questions
from apps.memory.run_memory import RunMemory
from apps.queries import open_run, table
from apps.simulator import simulate
from engine.digest import canonical_lines
from engine.events import Event
from engine.money import money
from recorder.frame_log import FrameLog, LogHeader, Record, RecordKind
from recorder.ledger import read_events
from recorder.live_ledger import LiveLedger
from recorder.log_folder import RUNNING, FolderLock
from recorder.log_tail import LogTail
from recorder.runs import Manifest, create_run, read_manifest, segment_paths, tape_path, write_manifest
from recorder.sealing import Sealer
from recorder.tape import Tape
from tests.commands import REPOSITORY, Place


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with fills, refusals and marks of two strategies."""
    place = Place(tmp_path_factory.mktemp("place"))
    place.strategy("eager")
    place.strategy("patient")
    tape = REPOSITORY / "data" / "sample.parquet"
    assert place.wspt("replay", tape, "--out", "run", "--set", "patient.every=11").code == 0
    return place.folder / "run"


class Growing:
    """A run that is written as it is told, event by event of another one."""

    def __init__(self, folder: Path, finished: Path, events_per_segment: int = 1_500) -> None:
        self.path = create_run(folder / "growing")
        self.manifest = msgspec.structs.replace(
            read_manifest(finished), status="running", created="now", segments=[], digest=None, digests={}
        )
        self.lock = FolderLock(self.path, RUNNING)
        self._ledger = LiveLedger(self.path, self._say, events_per_segment=events_per_segment)

    def write(self, events: Sequence[Event]) -> None:
        self._ledger.append(events, canonical_lines(events))

    def end(self) -> None:
        self._say(self._ledger.close(), "", status="finished")
        self.lock.release()

    @property
    def tail(self) -> Path:
        [tail] = (self.path / "ledger").glob("*.jsonl")
        return tail

    def _say(self, segments: list[str], tail: str, **more: str) -> None:
        self.manifest: Manifest = msgspec.structs.replace(self.manifest, segments=list(segments), tail=tail, **more)
        write_manifest(self.path, self.manifest)


@pytest.fixture
def growing(tmp_path: Path, finished: Path) -> Iterator[Growing]:
    run = Growing(tmp_path, finished)
    yield run
    run.lock.release()


def in_order(finished: Path) -> list[Event]:
    """The events of a run as a session would write them."""
    desks = read_events(segment_paths(finished, read_manifest(finished)))
    return sorted((event for events in desks.values() for event in events), key=lambda event: event.tick_seq)


def in_pieces(events: Sequence[Event], seed: int) -> Iterator[list[Event]]:
    chance = random.Random(seed)
    for _, piece in groupby(events, key=lambda event: (event.tick_seq, chance.random() < 0.3)):
        yield list(piece)


def looked_at(path: Path) -> RunMemory:
    run = RunMemory(path)
    look(run)
    return run


def look(run: RunMemory) -> None:
    """Without the rest that a page takes between two looks."""
    run.forget_the_time()
    run.look()
    run.forget_answers()


def board(path: Path) -> list[tuple[object, ...]]:
    con = open_run(path)
    try:
        return table(con, "FROM leaderboard")[1]
    finally:
        con.close()


def test_memory_and_files_agree_on_the_leaderboard(finished: Path) -> None:
    run = looked_at(finished)

    assert [tuple(row.values()) for row in questions.leaderboard(run)] == board(finished)


@pytest.mark.parametrize("seed", range(2))
def test_they_agree_at_every_moment_of_a_run_that_grows(growing: Growing, finished: Path, seed: int) -> None:
    run, chance = RunMemory(growing.path), random.Random(seed)

    for piece in in_pieces(in_order(finished), seed):
        growing.write(piece)
        if chance.random() < 0.005:
            look(run)
            assert [tuple(row.values()) for row in questions.leaderboard(run)] == board(growing.path)
    growing.end()
    look(run)

    assert run.status == "finished"
    assert [tuple(row.values()) for row in questions.leaderboard(run)] == board(finished)
    assert run.ask("SELECT count(*) AS n FROM marks") == looked_at(finished).ask("SELECT count(*) AS n FROM marks")


def test_a_half_written_line_waits_for_its_other_half(growing: Growing, finished: Path) -> None:
    events = in_order(finished)
    growing.write(events[:50])
    line = canonical_lines(events[50:51])
    run = looked_at(growing.path)
    before = run.ask("SELECT count(*) AS n FROM facts")

    with growing.tail.open("ab") as tail:
        tail.write(line[:20])
        tail.flush()
        look(run)
        assert (run.ledger.torn_bytes, run.problem, run.ask("SELECT count(*) AS n FROM facts")) == (20, "", before)

        tail.write(line[20:])
        tail.flush()
        look(run)

    assert run.ledger.torn_bytes == 0
    assert {(row["strategy"], row["seq"]) for row in run.ask("FROM known")} >= {(events[50].strategy, events[50].seq)}


def test_a_run_that_is_deleted_under_it_can_still_be_looked_at(growing: Growing, finished: Path) -> None:
    growing.write(in_order(finished)[:200])
    run = looked_at(growing.path)
    before = questions.leaderboard(run)

    shutil.rmtree(growing.path)
    look(run)

    assert "found no readable run.json" in run.problem
    assert questions.leaderboard(run) == before


def test_a_run_that_nobody_writes_any_more_has_crashed(growing: Growing, finished: Path) -> None:
    growing.write(in_order(finished)[:200])
    growing.lock.release()

    run = looked_at(growing.path)

    assert run.status == "crashed"
    assert len(questions.leaderboard(run)) == 2


def test_another_run_in_the_same_folder_is_another_run(growing: Growing, finished: Path) -> None:
    growing.write(in_order(finished)[:200])
    run = looked_at(growing.path)

    shutil.rmtree(growing.path)
    shutil.copytree(finished, growing.path)
    look(run)

    assert [tuple(row.values()) for row in questions.leaderboard(run)] == board(finished)


def test_a_down_sampled_curve_keeps_its_spikes_and_its_end(growing: Growing, finished: Path) -> None:
    marks = [event for event in in_order(finished) if type(event).__name__ == "PortfolioMarked"][:1]
    opened = [event for event in in_order(finished) if type(event).__name__ == "PortfolioOpened"]
    desk, start = marks[0].strategy, opened[0].ts
    growing.write(opened)
    growing.write(
        [
            msgspec.structs.replace(
                marks[0], seq=seq, ts=start + seq * 1_000_000_000, equity=money(1000 if seq == 4_321 else seq % 7)
            )
            for seq in range(1, 5_000)
        ]
    )

    curve = questions.equity_curves(looked_at(growing.path), [desk], points=400)[desk]

    assert len(curve) <= 403
    assert max(row["value"] for row in curve) == 1000
    assert curve[-1]["ts"] == start + 4_999 * 1_000_000_000


def frames(seconds: int) -> list[Record]:
    start = 1_700_000_000_000_000_000
    records = [Record(start, 0, 0, RecordKind.CONNECTED, b"wss://example.test")]
    for number, frame in enumerate(simulate(seconds=seconds)):
        records.append(Record(start + number * 1_000_000, number, 0, RecordKind.FRAME, frame.payload))
    return records


def rows(tape: Tape) -> list[dict[str, object]]:
    """A tape's rows without what arrived."""
    return [{**row, "frame": None, "url": None} for row in tape.table().to_pylist()]


@pytest.mark.parametrize("part_bytes", [2**30, 20_000])
def test_a_log_that_is_followed_gives_the_rows_of_its_tape(tmp_path: Path, part_bytes: int) -> None:
    chance, found = random.Random(part_bytes), []
    tail = LogTail(tmp_path)
    with FrameLog(tmp_path, LogHeader(venue="kraken"), part_bytes=part_bytes) as log, Sealer(tmp_path) as sealer:
        for record in frames(20):
            log.append(record)
            if chance.random() < 0.1:
                found += tail.read().to_pylist()
                sealer.seal_finished()
    found += tail.read().to_pylist()
    tail.close()

    assert found == rows(Tape.open(tmp_path))


def test_the_tape_of_a_session_is_there_before_it_is_sealed(growing: Growing, finished: Path, tmp_path: Path) -> None:
    tape = tmp_path / "tape"
    with FrameLog(tape, LogHeader(venue="kraken")) as log:
        for record in frames(20):
            log.append(record)
        growing.manifest = msgspec.structs.replace(
            growing.manifest,
            tape=msgspec.structs.replace(growing.manifest.tape, paths=[tape_path(str(tape), growing.path)]),
        )
        growing.write(in_order(finished)[:10])
        growing._say([], growing.tail.name)
        run = looked_at(growing.path)
        unsealed = market_questions.prices(run)
    with Sealer(tape) as sealer:
        sealer.seal_finished()
    look(run)
    growing.lock.release()
    crashed = looked_at(growing.path)

    assert [row["symbol"] for row in unsealed] == ["BTC/USD", "XRP/USD"]
    assert market_questions.prices(run) == unsealed
    assert (crashed.status, market_questions.prices(crashed)) == ("crashed", unsealed)
    run.close()
    crashed.close()


def test_ratios_are_made_of_every_mark(finished: Path) -> None:
    con = open_run(finished)
    named = table(con, "FROM metrics")
    con.close()

    found = questions.metrics(looked_at(finished))

    assert [tuple(row.values()) for row in found.values()] == named[1]
    assert any(row["sharpe"] is not None for row in found.values())


def test_the_parts_of_a_pnl_add_up_to_it(finished: Path) -> None:
    run = looked_at(finished)

    for desk in questions.leaderboard(run):
        parts = questions.attribution(run, desk["name"])
        assert parts is not None
        assert parts["price_move"] + parts["spread"] + parts["slippage"] + parts["fees"] == parts["pnl"] == desk["pnl"]


def test_a_ledger_of_an_earlier_version_is_read_without_what_came_later(finished: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(finished, old)
    for segment in segment_paths(old, read_manifest(old)):
        pq.write_table(
            pq.read_table(segment).drop_columns(["left", "spread_cost", "slippage_cost", "queue_ahead"]), segment
        )

    run = looked_at(old)

    assert questions.leaderboard(run) == questions.leaderboard(looked_at(finished))
    assert len(questions.newest_fills(run, 5)) == 5


def test_events_that_are_known_already_do_not_stop_what_follows(growing: Growing, finished: Path) -> None:
    events = in_order(finished)
    growing.write(events[:100])
    run = looked_at(growing.path)
    again = growing.tail.with_name("live-999999.jsonl")
    again.write_bytes(canonical_lines(events[:100]))
    growing._say([], again.name)
    look(run)

    with again.open("ab") as tail:
        tail.write(canonical_lines(events[100:200]))
    look(run)

    assert run.problem == ""
    assert [tuple(row.values()) for row in questions.leaderboard(run)] == board(growing.path)
