"""The terminal view: what it shows, how it is cut, and that it stands on a real terminal."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from decimal import Decimal
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from apps.board import Board, BoardProcess, DeskRow, FillRow
from apps.board_queries import board
from apps.figures import fixed, percent, signed
from apps.memory.run_memory import RunMemory
from apps.picture import picture, sparkline
from apps.queries import open_run, table
from apps.standing import Standing, SymbolStanding
from tests.commands import PATIENT, REPOSITORY, WSPT, Place

NAN = float("nan")


def a_standing(**changes: object) -> Standing:
    """Two symbols, of which one is stale."""
    ok = SymbolStanding(
        symbol="BTC/USD", age_s=0.2, state="ok", bid=59_999.5, ask=60_000.0, decimals=1, gaps=0, checksums=0
    )
    stale = SymbolStanding(
        symbol="XRP/USD", age_s=61.0, state="stale", bid=NAN, ask=NAN, decimals=4, gaps=2, checksums=1
    )
    standing = Standing(
        venue="kraken",
        url="wss://ws.kraken.com/v2",
        is_simulated=False,
        is_foreign=False,
        is_connected=True,
        problem="",
        seconds=3_725.0,
        messages=12_345,
        ticks=23_456,
        rate=99.6,
        reconnects=0,
        symbols=[ok, stale],
    )
    return msgspec.structs.replace(standing, **changes)


def a_board(**changes: object) -> Board:
    """Two desks, of which one has failed and is not worth a known amount, and a fill."""
    winner = DeskRow(
        name="ema",
        equity=Decimal("101.5"),
        pnl=Decimal("1.5"),
        roi_pct=1.5,
        fees=Decimal("0.24"),
        fills=1,
        round_trips=0,
        win_rate=None,
        max_drawdown_pct=0.25,
        holds="0.1 BTC/USD",
        status="ok",
        curve=[100.0, 101.5],
    )
    failed = "failed: KeyError at dip.py:12"
    loser = msgspec.structs.replace(winner, name="dip", equity=None, pnl=None, roi_pct=None, status=failed)
    fill = FillRow(
        ts=1_767_225_661_000_000_000,
        strategy="ema",
        side="buy",
        symbol="BTC/USD",
        quantity=Decimal("0.100000000000"),
        price=Decimal("60000.50"),
        realized=Decimal("-0.24"),
        reason="fast over slow",
    )
    return msgspec.structs.replace(Board(desks=[winner, loser], fills=[fill]), **changes)


def drawn(standing: Standing, board: Board | None = None, width: int = 120, height: int = 40) -> str:
    console = Console(file=StringIO(), width=width, height=height, color_system=None)
    console.print(picture(standing, board, width, height))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("width", [80, 120, 160])
def test_a_picture_shows_feed_leaderboard_and_fills(width: int, snapshot: object) -> None:
    assert drawn(a_standing(), a_board(), width) == snapshot


def test_a_recording_has_no_leaderboard_and_a_board_that_is_old_says_why() -> None:
    assert "strategy" not in drawn(a_standing())
    old = drawn(a_standing(), a_board(problem="run: expected a manifest, found none"))

    assert "the leaderboard is of a moment ago: run: expected a manifest, found none" in old
    assert "101.50" in old


def test_a_made_up_market_and_a_foreign_address_are_said_in_the_first_lines() -> None:
    assert drawn(a_standing(is_simulated=True)).startswith(" SIMULATED  kraken connected")
    assert "ws://other is not the venue's own address" in drawn(a_standing(is_foreign=True, url="ws://other"))


def test_a_lost_connection_is_said_with_its_reason() -> None:
    lost = drawn(a_standing(is_connected=False, problem="connection lost", reconnects=3))

    assert "NOT CONNECTED: connection lost" in lost
    assert "reconnects 3" in lost


@pytest.mark.parametrize(("width", "height"), [(40, 10), (80, 12), (80, 24), (200, 60)])
def test_a_picture_fits_the_terminal(width: int, height: int) -> None:
    [symbol, _], [desk, _], [fill] = a_standing().symbols, a_board().desks, a_board().fills
    much = a_board(desks=[desk] * 30, fills=[fill] * 8, problem="gone " * 60)

    lines = drawn(a_standing(symbols=[symbol] * 30), much, width, height).splitlines()

    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_the_leaderboard_has_its_place_on_a_low_terminal_too() -> None:
    [desk, _] = a_board().desks

    shown = drawn(a_standing(), a_board(desks=[desk] * 5), 80, 12)

    assert "and 1 more" in shown.splitlines()[5]
    assert shown.count("101.50") == 1
    assert "and 4 more" in shown


def test_a_curve_is_drawn_from_its_lowest_to_its_highest_value() -> None:
    assert sparkline([1.0, 2.0, 3.0, 8.0]) == "▁▂▃█"
    assert sparkline([5.0, 5.0]) == "▄▄"
    assert sparkline([]) == ""


# -- on a terminal


def test_a_session_draws_on_a_terminal_and_leaves_it_clean(place: Place) -> None:
    """A real pseudo-terminal: what is on it while the session runs, and what is left when it is over."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    words = ["live", "--simulated", "--symbols", "BTC/USD", "--strategies", "strategies", "--out", "run"]
    command = [*WSPT, *words]
    environment = {**os.environ, "TERM": "xterm-256color"}
    session = subprocess.Popen(
        command, cwd=place.folder, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=environment
    )
    os.close(theirs)
    try:
        seen = _read_until(ours, "eager")
        session.send_signal(signal.SIGINT)
        out, _ = session.communicate(timeout=60)
    finally:
        session.kill()
        session.wait()
        os.close(ours)

    assert "SIMULATED" in seen
    assert "BTC/USD" in seen
    assert session.returncode == 0
    assert b"digest" in out


def _read_until(terminal: int, word: str) -> str:
    seen, given_up = "", time.monotonic() + 60
    while word not in _plain(seen):
        assert time.monotonic() < given_up, seen
        seen += _more(terminal)
    return seen


def _more(terminal: int) -> str:
    """What the terminal gets within a second, if anything."""
    if select.select([terminal], [], [], 1.0)[0]:
        return os.read(terminal, 65_536).decode(errors="replace")
    return ""


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_the_leaderboard_on_a_terminal_is_that_of_the_query(place: Place) -> None:
    """The venue falls silent after its tape, so that screen and query come to speak of the same moment."""
    place.strategy("patient", PATIENT)
    server = place.start("serve", REPOSITORY / "data" / "sample.parquet", "--speed", "max", "--at-end", "stay")
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 170, 0, 0))
    words = ["live", "--url", url, "--symbols", "BTC/USD,XRP/USD", "--strategies", "strategies", "--out", "run"]
    session = subprocess.Popen(
        [*WSPT, *words],
        cwd=place.folder,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        # Where tests run in several processes, these speak of another terminal.
        env={name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        | {"TERM": "xterm-256color"},
    )
    os.close(theirs)
    seen, given_up = "", time.monotonic() + 60
    try:
        shown: list[list[str]] = []
        expected = None
        while not shown or shown != expected:
            assert time.monotonic() < given_up, (shown, expected)
            seen = (seen + _more(ours))[-100_000:]
            shown = _rows_shown(_plain(seen))
            if shown:
                expected = _rows_asked(place)
        session.send_signal(signal.SIGINT)
        session.communicate(timeout=60)
    finally:
        for process in (session, server):
            process.kill()
            process.communicate()
        os.close(ours)

    assert [row[0] for row in shown] == [row[0] for row in expected or []]
    assert all(int(row[4].replace(",", "")) > 10 for row in shown), shown
    assert session.returncode == 0


def _rows_shown(text: str) -> list[list[str]]:
    """The cells of the leaderboard of the last whole picture, without the curves."""
    end = text.rfind("last fills")
    start = text.rfind("equity over time", 0, end)
    if start < 0 or end < 0:
        return []
    lines = [line.strip() for line in text[start:end].splitlines()[2:]]
    found = [re.split(r" {2,}", line) for line in lines if line]
    return [[cell for cell in cells if not set(cell) & set("▁▂▃▄▅▆▇█")] for cells in found]


def _rows_asked(place: Place) -> list[list[str]]:
    """The same cells by the views of `wspt sql`."""
    with contextlib.closing(open_run(place.folder / "run", with_log=False)) as con:
        names, found = table(con, "FROM leaderboard")
        _, held = table(con, "SELECT strategy, symbol, position FROM positions_now WHERE position <> 0 ORDER BY symbol")
    cells = []
    for desk in (dict(zip(names, row, strict=True)) for row in found):
        holds = ", ".join(f"{size.normalize():f} {symbol}" for name, symbol, size in held if name == desk["name"])
        cells.append(
            [
                desk["name"],
                fixed(desk["equity"], 2),
                signed(desk["pnl"]),
                signed(desk["roi_pct"]),
                f"{desk['fills']:,}",
                fixed(desk["fees"], 2),
                f"{desk['round_trips']:,}",
                percent(desk["win_rate"]),
                fixed(desk["max_drawdown_pct"], 2),
                *([holds] if holds else []),
                desk["status"],
            ]
        )
    return cells


# -- the board of a run


@pytest.fixture
def finished(place: Place) -> Path:
    assert place.wspt("replay", REPOSITORY / "data" / "sample.parquet", "--out", "run").code == 0
    return place.folder / "run"


def test_a_board_is_the_leaderboard_and_the_newest_fills(finished: Path) -> None:
    run = RunMemory(finished, with_tape=False, threads=1)
    run.look()
    found = board(run)
    with contextlib.closing(open_run(finished)) as con:
        names, [row] = table(con, "FROM leaderboard")
        _, fills = table(con, "SELECT ts, realized, reason FROM fills ORDER BY ts DESC, seq DESC LIMIT 8")
        _, [ends] = table(
            con, "SELECT min(equity)::DOUBLE, max(equity)::DOUBLE, arg_max(equity, seq)::DOUBLE FROM equity"
        )
    run.close()

    [desk] = found.desks
    assert {name: getattr(desk, name) for name in names if hasattr(desk, name)} == {
        name: value for name, value in zip(names, row, strict=True) if hasattr(desk, name)
    }
    assert [(fill.ts, fill.realized, fill.reason) for fill in found.fills] == fills
    assert (min(desk.curve), max(desk.curve), desk.curve[-1]) == ends
    assert run.tape.files == []


def test_a_board_is_asked_for_in_another_process_that_ends_with_its_own(finished: Path) -> None:
    asked = BoardProcess(finished)
    given_up = time.monotonic() + 60
    while asked.latest is None:
        assert time.monotonic() < given_up
        select.select([asked.answers], [], [], 1.0)
        asked.poll()
    run = RunMemory(finished, with_tape=False)
    run.look()
    expected = board(run)
    run.close()
    asked.close()

    assert asked.latest == expected


def test_a_board_whose_process_is_gone_says_so_and_keeps_what_it_had(finished: Path, tmp_path: Path) -> None:
    asked = BoardProcess(finished)
    asked.latest = a_board()
    os.kill(asked.pid, signal.SIGKILL)
    select.select([asked.answers], [], [], 60.0)  # its end

    asked.poll()

    assert asked.latest.desks == a_board().desks
    assert asked.latest.problem == "whoever is asked for it has ended (exit code -9)"
    asked.close()


def test_a_board_whose_process_is_gone_asks_another_one(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.board.RESTART_AFTER_S", 0.0)
    asked = BoardProcess(finished)
    first = asked.pid
    os.kill(first or 0, signal.SIGKILL)
    select.select([asked.answers], [], [], 60.0)
    asked.poll()
    assert asked.pid is None

    given_up = time.monotonic() + 60
    while asked.latest is None or asked.latest.problem:
        assert time.monotonic() < given_up
        asked.poll()
        select.select([asked.answers], [], [], 1.0)
    second = asked.pid
    asked.close()

    assert second not in (None, first)
    assert [desk.name for desk in asked.latest.desks] == ["eager"]


def test_a_board_for_which_nobody_can_be_started_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "no python"))

    asked = BoardProcess(tmp_path)

    assert asked.latest == Board(desks=[], fills=[], problem="nobody can be asked: No such file or directory")
    asked.poll()
    asked.close()


def test_a_long_curve_is_drawn_from_its_beginning_to_its_end_where_there_is_little_room() -> None:
    [desk, _] = a_board().desks
    rising = a_board(desks=[msgspec.structs.replace(desk, curve=[float(value) for value in range(40)])])

    [row] = [line for line in drawn(a_standing(), rising, 100).splitlines() if line.startswith("ema  ")]

    assert "▁" in row
    assert "█" in row
    assert sum(row.count(block) for block in "▁▂▃▄▅▆▇█") == 16


def test_a_board_of_what_is_no_run_says_so(tmp_path: Path) -> None:
    run = RunMemory(tmp_path, with_tape=False)
    run.look()

    assert board(run).desks == []
    assert "expected a run" in board(run).problem
    run.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.strategy("eager")
    return place
