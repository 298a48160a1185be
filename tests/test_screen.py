"""The terminal view: what it shows, how it is cut, and that it stands on a real terminal."""

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

from apps.screen import picture, sparkline
from apps.standing import DeskStanding, FillStanding, Standing, SymbolStanding
from tests.commands import WSPT, Place

NAN = float("nan")


def a_standing(**changes: object) -> Standing:
    """Two symbols, of which one is stale, two desks, of which one has failed, and a fill."""
    ok = SymbolStanding(
        symbol="BTC/USD", age_s=0.2, state="ok", bid=59_999.5, ask=60_000.0, decimals=1, gaps=0, checksums=0
    )
    stale = SymbolStanding(
        symbol="XRP/USD", age_s=61.0, state="stale", bid=NAN, ask=NAN, decimals=4, gaps=2, checksums=1
    )
    winner = DeskStanding(
        name="ema",
        equity=Decimal("101.5"),
        pnl=Decimal("1.5"),
        fills=1,
        position="0.1 BTC/USD",
        status="ok",
        curve=[100.0, 101.5],
    )
    loser = msgspec.structs.replace(winner, name="dip", equity=Decimal("99"), pnl=Decimal("-1"), status="FAILED")
    fill = FillStanding(
        ts=1_767_225_661_000_000_000,
        strategy="ema",
        side="buy",
        symbol="BTC/USD",
        quantity=Decimal("0.100000000000"),
        price=Decimal("60000.50"),
        realized=Decimal("-0.24"),
        reason="fast over slow",
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
        desks=[winner, loser],
        fills=[fill],
    )
    return msgspec.structs.replace(standing, **changes)


def drawn(standing: Standing, width: int = 120, height: int = 40) -> str:
    console = Console(file=StringIO(), width=width, height=height, color_system=None)
    console.print(picture(standing, width, height))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


def test_a_picture_shows_feed_leaderboard_and_fills(snapshot: object) -> None:
    assert drawn(a_standing()) == snapshot


def test_a_made_up_market_and_a_foreign_address_are_said_in_the_first_lines() -> None:
    assert drawn(a_standing(is_simulated=True)).startswith(" SIMULATED  kraken connected")
    assert "ws://other is not the venue's own address" in drawn(a_standing(is_foreign=True, url="ws://other"))


def test_a_lost_connection_is_said_with_its_reason() -> None:
    lost = drawn(a_standing(is_connected=False, problem="connection lost", reconnects=3))

    assert "NOT CONNECTED: connection lost" in lost
    assert "reconnects 3" in lost


@pytest.mark.parametrize(("width", "height"), [(40, 10), (80, 12), (80, 24), (200, 60)])
def test_a_picture_fits_the_terminal(width: int, height: int) -> None:
    [desk, _], [symbol, _], [fill] = (getattr(a_standing(), name) for name in ("desks", "symbols", "fills"))
    much = a_standing(desks=[desk] * 30, symbols=[symbol] * 30, fills=[fill] * 8)

    assert len(drawn(much, width, height).splitlines()) <= height


def test_a_curve_is_drawn_from_its_lowest_to_its_highest_value() -> None:
    assert sparkline([1.0, 2.0, 3.0, 8.0]) == "▁▂▃█"
    assert sparkline([5.0, 5.0]) == "▄▄"
    assert sparkline([]) == ""


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
    while word not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen):
        assert time.monotonic() < given_up, seen
        if select.select([terminal], [], [], 1.0)[0]:
            seen += os.read(terminal, 65_536).decode(errors="replace")
    return seen


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.strategy("eager")
    return place
