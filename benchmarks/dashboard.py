"""How long from an event on disk to its value in the browser, and at what cost, over a run that is long already?

8 desks of 100,000 marks each and a tape of 10,000,000 ticks, while new fills arrive. Goals: mean under 500 ms and
p99 under 1.25 s, first paint under 3 s, Streamlit under 40 % and Chromium under 35 % of a core; three sessions at once
under 1 s on average.
"""

import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import workloads

from apps.dashboard.serving import Dashboard
from engine.digest import canonical_lines
from engine.events import Event, OrderFilled, OrderSubmitted, PortfolioMarked, PortfolioOpened, SignalRaised
from engine.money import money
from recorder.ledger import LedgerWriter
from recorder.log_folder import RUNNING, FolderLock
from recorder.runs import LEDGER, Manifest, StrategyRecord, TapeReference, create_run, tape_path, write_manifest
from tests.browser import chromium

DESKS = 8
MARKS = 100_000
FILL_EVERY = 50
TICKS = 10_000_000
SECONDS = 60.0
MEANWHILE_S = (0.3, 1.3)
SYMBOL = "BTC/USD"
_STEP_NS = 100_000_000

_WATCH = """
() => {
  window.seen = {};
  const look = () => {
    for (const found of document.body.innerText.matchAll(/event (\\d+)!/g)) {
      if (!(found[1] in window.seen)) window.seen[found[1]] = Date.now();
    }
  };
  new MutationObserver(look).observe(document.body, {childList: true, subtree: true, characterData: true});
  look();
}
"""


class Desk:
    """One strategy's ledger, made up: it buys and sells in turn, and its equity walks."""

    def __init__(self, name: str, start: int) -> None:
        self.name = name
        self._chance = random.Random(name)
        self._seq = 0
        self._ts = start
        self._equity = 100.0
        self._held = False

    def opened(self) -> list[Event]:
        return [PortfolioOpened(**self._named(), currency="USD", cash=money(100))]

    def marked(self) -> list[Event]:
        self._equity += self._chance.gauss(0, 0.01)
        self._ts += _STEP_NS
        return [PortfolioMarked(**self._named(), cash=money(50), equity=money(round(self._equity, 4)))]

    def filled(self, reason: str) -> list[Event]:
        """A signal, its order, its fill."""
        ids = {"correlation_id": f"{self.name}-s{self._seq}", "symbol": SYMBOL}
        order = {**ids, "order_id": f"{self.name}-{self._seq}", "side": "sell" if self._held else "buy"}
        wanted = SignalRaised(
            **self._named(), **ids, action=order["side"], size=10.0, size_in="quote", order_type="market",
            time_in_force="gtc", reason=reason,
        )  # fmt: skip
        sent = OrderSubmitted(
            **self._named(), **order, order_type="market", arrives_at=self._ts, quantity=money("0.001"),
            time_in_force="gtc", purpose="signal",
        )  # fmt: skip
        self._held = not self._held
        done = OrderFilled(
            **self._named(), **order, price=money(50_000), quantity=money("0.001"), fee=money("0.05"),
            liquidity="taker", realized=money("-0.05"), cash=money(50),
            position=money("0.001" if self._held else 0), cost=money(50 if self._held else 0),
        )  # fmt: skip
        return [wanted, sent, done]

    def _named(self) -> dict[str, Any]:
        self._seq += 1
        return {"strategy": self.name, "seq": self._seq - 1, "tick_seq": self._seq, "ts": self._ts}


class LongRun:
    """A session that has been going on for long, and goes on."""

    def __init__(self, home: Path) -> None:
        tape = workloads.quotes_tape(TICKS // 4)
        self.path = create_run(home / "long")
        self.lock = FolderLock(self.path, RUNNING)
        self.desks = [Desk(f"strategy_{number}", tape.start) for number in range(DESKS)]
        (self.path / LEDGER / "live-000001.jsonl").touch()
        with LedgerWriter(self.path / LEDGER) as writer:
            for desk in self.desks:
                writer.append(desk.opened())
                for number in range(MARKS):
                    writer.append(desk.marked())
                    if number % FILL_EVERY == 0:
                        writer.append(desk.filled("it is time"))
            segments = writer.close()
        record = StrategyRecord(file="", sha256="", version="0", config={}, symbols=[SYMBOL], trigger="trade")
        manifest = Manifest(
            status="running",
            kind="live",
            simulated=True,
            created="2026-01-01T00:00:00+00:00",
            configuration={"currency": "USD", "capital": "100"},
            strategies={desk.name: record for desk in self.desks},
            libraries={},
            tape=TapeReference(
                paths=[tape_path(str(tape.paths[0]), self.path)], venue="kraken", identity="", first_seq=0, stop_seq=0
            ),
            segments=segments,
            tail="live-000001.jsonl",
        )
        write_manifest(self.path, manifest)
        self._tail = os.open(self.path / LEDGER / "live-000001.jsonl", os.O_WRONLY | os.O_APPEND)

    def write(self, found: Sequence[Event]) -> None:
        os.write(self._tail, canonical_lines(found))


def measure(home: Path, sessions: int) -> None:
    """Print what so many browsers see of a run, and what it costs."""
    run = LongRun(home)
    started = time.monotonic()
    with Dashboard(home, str(run.path)) as dashboard, chromium() as browser:
        pages = [browser.new_page(viewport={"width": 1400, "height": 900}) for _ in range(sessions)]
        dashboard.wait_until_it_listens()
        listens = time.monotonic() - started
        paints = [_paint(page, dashboard.url) for page in pages]
        again = _paint(pages[0], dashboard.url)
        for page in pages:
            page.evaluate(_WATCH)
            page.wait_for_timeout(1000)
        before, began = _cpu(), time.monotonic()
        written = _go_on(run, pages[0])
        took = time.monotonic() - began
        used = {name: seconds - before.get(name, 0.0) for name, seconds in _cpu().items()}
        late = [_latencies(page, written) for page in pages]
    load = os.getloadavg()[0]
    print(f"{sessions} session(s), {len(written)} events in {took:.0f} s, load of the machine {load:.1f}")
    print(f"  first paint     {paints[0]:.2f} s, of a warm dashboard {again:.2f} s; it listens after {listens:.2f} s")
    for delays in late:
        delays.sort()
        p99, most = delays[min(len(delays) - 1, round(len(delays) * 0.99))] * 1e3, delays[-1] * 1e3
        mean, middle = statistics.mean(delays) * 1e3, statistics.median(delays) * 1e3
        print(f"  disk to DOM     mean {mean:4.0f} ms, p50 {middle:4.0f}, p99 {p99:4.0f}, most {most:4.0f}")
        if missed := len(written) - len(delays):
            print(f"                  {missed} were never seen")
    for name, seconds in sorted(used.items()):
        print(f"  {name:<15} {seconds / took * 100:3.0f} % of a core")


def _go_on(run: LongRun, page: Any) -> dict[int, float]:
    """New marks all the time and a fill now and then, each with a number of its own; when each was on disk."""
    chance, written = random.Random(1), {}
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for desk in run.desks:
            run.write(desk.marked())
        number = len(written)
        run.write(chance.choice(run.desks).filled(f"event {number}!"))
        written[number] = time.time()
        page.wait_for_timeout(chance.uniform(*MEANWHILE_S) * 1000)
    page.wait_for_timeout(3000)
    return written


def _paint(page: Any, url: str) -> float:
    """Seconds until the leaderboard is there."""
    began = time.monotonic()
    page.goto(f"{url}/?run=long")
    page.wait_for_selector("#leaderboard td", timeout=60_000)
    return time.monotonic() - began


def _latencies(page: Any, written: dict[int, float]) -> list[float]:
    seen = {int(number): at / 1000 for number, at in page.evaluate("window.seen").items()}
    return [seen[number] - at for number, at in written.items() if number in seen]


def _cpu() -> dict[str, float]:
    """Seconds of processor time of what we started, by the kind of program."""
    used: dict[str, float] = {}
    ours = {os.getpid()}
    processes = sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    for pid in processes:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if int(stat[1]) in ours or pid in ours:
            ours.add(pid)
            kind = "Chromium" if b"chrom" in command else "Streamlit" if b"apps.dashboard" in command else ""
            if kind:
                used[kind] = used.get(kind, 0.0) + (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    return used


def main() -> None:
    for sessions in (1, 3):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), sessions)


if __name__ == "__main__":
    main()
