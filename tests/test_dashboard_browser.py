"""The dashboard as people meet it: a server, a session, and a real browser that looks on."""

import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from apps import figures
from apps.importing import simulated_tape
from engine.digest import canonical_lines
from tests.browser import CHROMIUM, chromium
from tests.commands import Place
from tests.test_dashboard_memory import Growing, in_order

pytest.importorskip("streamlit", reason="the dashboard extra is not installed")
pytest.importorskip("playwright", reason="the development group is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

PATIENCE_MS = 30_000
Page = Any  # playwright's


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with a strategy that trades a lot, and its tape."""
    place = Place(tmp_path)
    place.strategy("eager")
    simulated_tape(11, 1, place.folder / "tape.parquet")
    return place


@contextmanager
def running(place: Place, *words: str | Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A command that goes on, and the first line that it prints."""
    process = place.start(*words)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        end(process)


def end(process: "subprocess.Popen[str]") -> str:
    """End a command in order; what it said on stderr."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    return process.communicate(timeout=60)[1]


class Watched:
    """A page of the dashboard, and everything that would be wrong with it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.asked: set[str] = set()
        page.on("request", lambda request: self.asked.add(request.url))
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url)
        page.evaluate("window.isTheSame = true")

    def shows(self, text: str, *, where: str = "body") -> None:
        """Wait until it does."""
        self.page.wait_for_function(
            "([text, where]) => document.querySelector(where)?.innerText.includes(text)", arg=[text, where]
        )

    def shows_no_more(self, text: str) -> None:
        self.page.wait_for_function("text => !document.body.innerText.includes(text)", arg=text)

    def check(self) -> None:
        """No error, no reload since it was opened, and nobody else was asked for anything."""
        assert self.page.locator('[data-testid="stException"]').count() == 0
        assert self.page.evaluate("window.isTheSame") is True
        assert {
            url for url in self.asked if not re.match(r"(https?|wss?)://127\.0\.0\.1[:/]|data:|blob:", url)
        } == set()

    def board(self) -> dict[str, list[str]]:
        """The leaderboard's cells by the strategy of their row."""
        rows = self.page.eval_on_selector_all(
            "#leaderboard tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
        )
        return {row[0]: row[2:] for row in rows}


@contextmanager
def looking(url: str) -> Iterator[Callable[[str], Watched]]:
    """A browser that opens pages of the dashboard at `url`."""
    with chromium() as browser:
        yield lambda path: Watched(browser.new_page(viewport={"width": 1400, "height": 900}), f"{url}/{path}")


def test_a_session_is_seen_from_its_first_fill_to_its_end(place: Place) -> None:
    serve = ("serve", "tape.parquet", "--speed", "5x", "--at-end", "stay")
    with (
        running(place, *serve) as (server, address),
        running(place, "dashboard", "--port", "0") as (_, url),
        looking(url) as look,
    ):
        page = look("")
        page.shows("There is no run")

        session = place.start("live", "--url", address, "--symbols", "BTC/USD,XRP/USD", "--out", "data/runs/session")
        page.shows("it is time", where="#fills")
        page.shows("● live")

        end(server)
        page.shows("has lost its connection")
        with running(place, *serve, "--port", address.rpartition(":")[2].partition("/")[0]):
            page.shows_no_more("has lost its connection")
            end(session)
        page.shows("✓ finished")
        page.check()

        said = json.loads(place.wspt("sql", "session", "FROM leaderboard", "--json").out)
        assert page.board() == {
            row["name"]: [
                figures.money(float(row["equity"])),
                figures.signed(float(row["pnl"])),
                figures.signed(row["roi_pct"]),
                figures.money(float(row["fees"])),
                figures.count(row["fills"]),
                figures.percent(row["win_rate"]),
                figures.fixed(row["max_drawdown_pct"], 2),
                figures.count(row["open_positions"]),
                "✓ ended",
            ]
            for row in said
        }


def test_a_page_outlives_a_torn_tail_and_the_deletion_of_its_run(place: Place) -> None:
    assert place.wspt("replay", "tape.parquet", "--out", "done").code == 0
    runs = place.folder / "data" / "runs"
    runs.mkdir(parents=True)
    run = Growing(runs, place.folder / "done")
    events = in_order(place.folder / "done")
    fills = [number for number, event in enumerate(events) if type(event).__name__ == "OrderFilled"]
    first, second = fills[:2]
    run.write(events[: first + 1])

    with running(place, "dashboard", "--port", "0") as (_, url), looking(url) as look:
        page = look("?run=growing")
        page.shows("it is time", where="#fills")
        assert page.page.locator("#fills tbody tr").count() == 1

        rest = canonical_lines(events[first + 1 : second + 1])
        with run.tail.open("ab") as tail:
            tail.write(rest[:-10])
            tail.flush()
            page.shows("no whole line yet")
            assert page.page.locator("#fills tbody tr").count() == 1
            tail.write(rest[-10:])
        page.page.wait_for_function("document.querySelectorAll('#fills tbody tr').length === 2")

        shutil.rmtree(run.path)
        page.shows("found no readable run.json")
        assert page.page.locator("#fills tbody tr").count() == 2
        page.page.get_by_role("link", name="Strategy").click()
        page.shows("Round trips")
        page.check()
    run.lock.release()


def test_every_page_draws_and_asks_nobody_else(place: Place) -> None:
    assert place.wspt("replay", "tape.parquet", "--out", "data/runs/one").code == 0
    shown = {
        "Overview": "Newest fills",
        "Strategy": "Where the P&L comes from",
        "Decisions": "What followed",
        "Market": "Tape quality passport",
        "Time travel": "What had just happened",
        "Compare": "First decision that differs",
        "SQL": "Answer",
        "Runs": "Delete",
    }

    with running(place, "dashboard", "--port", "0") as (_, url), looking(url) as look:
        page = look("")
        for name, text in shown.items():
            page.page.get_by_role("link", name=name, exact=True).click()
            page.shows(text)
            page.check()


def test_a_port_that_is_taken_is_one_sentence(place: Place) -> None:
    with running(place, "dashboard", "--port", "0") as (_, url):
        port = url.rpartition(":")[2]

        done = place.wspt("dashboard", "--port", port)

    assert done.code == 2
    assert done.err == f"wspt: --host 127.0.0.1 --port {port}: expected an address to listen on, found: " + (
        "Address already in use\n"
    )


def test_an_address_for_others_comes_with_a_warning(place: Place) -> None:
    with running(place, "dashboard", "--port", "0", "--host", "0.0.0.0") as (process, _):
        said = end(process)

    assert "everybody who reaches 0.0.0.0 can read these runs" in said


def test_a_run_that_is_not_there_is_one_sentence(place: Place) -> None:
    done = place.wspt("dashboard", "nothing")

    assert done.code == 2
    assert done.err.startswith("wspt: nothing: expected a run's folder, the name of one in data/runs, or latest")


def test_a_dashboard_ends_with_the_command_that_was_killed(place: Place) -> None:
    with running(place, "dashboard", "--port", "0") as (command, url):
        host, _, port = url.rpartition("//")[2].partition(":")
        address = (host, int(port))
        with socket.create_connection(address, timeout=60) as open_still:
            command.kill()
            with suppress(ConnectionResetError):
                assert open_still.recv(1) == b""
        deadline = time.monotonic() + 60
        while _listens(address):
            assert time.monotonic() < deadline


def _listens(address: tuple[str, int]) -> bool:
    with socket.socket() as client:
        return client.connect_ex(address) == 0
