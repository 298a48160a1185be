"""The terminal view of a live session: drawn a few times a second, by a thread of its own."""

import io
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from apps.recording import Recording
from apps.standing import DeskStanding, FillStanding, Looks, Standing, SymbolStanding
from apps.trading import Trading

EVERY_S = 0.5
"""Between two drawings: calm to look at, and a few percent of a core."""

SWITCH_S = 0.0005
"""How long the drawing may keep the interpreter from whoever receives messages."""

_LINES_KEPT = 500
_OLD_S = 5.0
_BLOCKS = "▁▂▃▄▅▆▇█"


class Screen:
    """A `Watcher` that draws on a terminal.

    Drawing costs milliseconds and a terminal may be slow, so that neither is done where messages are received: a look
    leaves how things stand, and the thread draws what was left last. Lines that are told scroll by above the picture.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.every_s = EVERY_S
        self._console = console or Console(file=sys.stderr)
        self._looks = Looks()
        self._standing: Standing | None = None
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._news = threading.Event()
        self._is_over = False

    @contextmanager
    def showing(self) -> Iterator[TextIO]:
        """See `Watcher`."""
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        thread = threading.Thread(target=self._draw, name="screen", daemon=True)
        thread.start()
        try:
            yield _Lines(self.tell)
        finally:
            sys.setswitchinterval(before)
            self._is_over = True
            self._news.set()
            thread.join(timeout=2.0)  # a terminal that takes nothing does not hold up the end

    def tell(self, line: str) -> None:
        """See `Watcher`."""
        self._lines.append(line)
        self._news.set()

    def look(self, recording: Recording, trading: Trading | None) -> None:
        """See `Watcher`."""
        self._standing = self._looks.look(recording, trading)
        self._news.set()

    def _draw(self) -> None:
        live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")
        with live:
            while not self._is_over:
                self._news.wait()
                self._news.clear()
                self._print_lines()
                if self._standing is not None:
                    live.update(picture(self._standing, self._console.width, self._console.height), refresh=True)
        self._print_lines()

    def _print_lines(self) -> None:
        while self._lines:
            self._console.print(Text(self._lines.popleft(), style="dim"), soft_wrap=True)


class _Lines(io.StringIO):
    """Takes what is printed, and hands it on line by line."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._tell(line)
        return len(text)


def picture(standing: Standing, width: int, height: int) -> RenderableType:
    """What there is to see, cut to a terminal of so many columns and rows."""
    parts: list[RenderableType] = [_head(standing)]
    room = height - 4
    symbols = standing.symbols[: max(1, min(len(standing.symbols), room // 3))]
    parts.append(_feed(symbols, len(standing.symbols) - len(symbols)))
    room -= len(symbols) + 4
    if standing.desks and room > 3:
        desks = standing.desks[: max(1, min(len(standing.desks), room - 6 if room > 9 else room - 2))]
        parts += ["", _leaderboard(desks, len(standing.desks) - len(desks), width)]
        room -= len(desks) + 4
    if standing.fills and room > 3:
        parts += ["", _fills(standing.fills[: room - 3], width)]
    return Group(*parts)


def _head(standing: Standing) -> Text:
    head = Text(no_wrap=True, overflow="ellipsis")
    if standing.is_simulated:
        head.append(" SIMULATED ", "bold black on yellow")
        head.append(" ")
    head.append(standing.venue, "bold")
    if standing.is_connected:
        head.append(" connected ", "green")
    else:
        head.append(f" NOT CONNECTED: {standing.problem} ", "bold red")
    hours, rest = divmod(int(standing.seconds), 3600)
    head.append(f" {hours}:{rest // 60:02}:{rest % 60:02}  {standing.messages:,} messages")
    head.append(f"  {standing.rate:,.0f}/s  {standing.ticks:,} ticks")
    if standing.reconnects:
        head.append(f"  reconnects {standing.reconnects}", "yellow")
    if standing.is_foreign and not standing.is_simulated:
        head.append("\n")
        head.append(f"{standing.url} is not the venue's own address", "yellow")
    head.append("\n")
    return head


def _feed(symbols: Sequence[SymbolStanding], more: int) -> Table:
    table = _table(("symbol", "left"), ("bid", "right"), ("ask", "right"), ("spread", "right"), ("age", "right"))
    for name in ("gaps", "checksums", "feed"):
        table.add_column(name, justify="left" if name == "feed" else "right", header_style="dim")
    for one in symbols:
        mid = (one.bid + one.ask) / 2
        spread = f"{(one.ask - one.bid) / mid * 10_000:.2f} bps" if mid == mid and mid else "-"
        is_old = one.age_s is not None and one.age_s >= _OLD_S
        table.add_row(
            one.symbol,
            _price(one.bid, one.decimals),
            _price(one.ask, one.decimals),
            spread,
            Text("-" if one.age_s is None else f"{one.age_s:.1f} s", "yellow" if is_old else ""),
            _count(one.gaps),
            _count(one.checksums),
            Text(one.state, "green" if one.state == "ok" else "dim" if one.state == "waiting" else "bold red"),
        )
    if more:
        table.add_row(Text(f"and {more} more", "dim"))
    return table


def _leaderboard(desks: Sequence[DeskStanding], more: int, width: int) -> Table:
    table = _table(("strategy", "left"), ("equity", "right"), ("P&L", "right"), ("fills", "right"))
    is_wide = width >= 100
    if is_wide:
        table.add_column("", justify="left", no_wrap=True)
    table.add_column("position", justify="left", no_wrap=True, overflow="ellipsis", header_style="dim")
    table.add_column("status", justify="left", header_style="dim")
    for desk in desks:
        curve = [Text(sparkline(desk.curve), "cyan")] if is_wide else []
        status = Text(desk.status, "" if desk.status == "ok" else "bold red")
        table.add_row(
            desk.name, f"{desk.equity:.2f}", _signed(desk.pnl), f"{desk.fills:,}", *curve, desk.position, status
        )
    if more:
        table.add_row(Text(f"and {more} more", "dim"))
    return table


def _fills(fills: Sequence[FillStanding], width: int) -> Table:
    table = _table(("last fills", "left"), ("strategy", "left"), ("side", "left"), ("quantity", "right"))
    table.add_column("symbol", header_style="dim")
    table.add_column("price", justify="right", header_style="dim")
    table.add_column("P&L", justify="right", header_style="dim")
    if width >= 80:
        table.add_column("reason", no_wrap=True, overflow="ellipsis", header_style="dim")
    for fill in fills:
        at = f"{datetime.fromtimestamp(fill.ts / 1e9, UTC):%H:%M:%S}"
        facts = [fill.side, f"{fill.quantity.normalize():f}", fill.symbol, f"{fill.price.normalize():f}"]
        reason = [fill.reason] if width >= 80 else []
        table.add_row(at, fill.strategy, *facts, _signed(fill.realized, 4), *reason)
    return table


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for name, justify in columns:
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True, header_style="dim")
    return table


def sparkline(values: Sequence[float]) -> str:
    """A curve as blocks, the lowest value at the bottom and the highest at the top; a flat one in the middle."""
    if not values:
        return ""
    low, high = min(values), max(values)
    if high == low:
        return _BLOCKS[3] * len(values)
    steps = (len(_BLOCKS) - 1) / (high - low)
    return "".join(_BLOCKS[round((value - low) * steps)] for value in values)


def _price(price: float, decimals: int) -> str:
    return f"{price:,.{decimals}f}" if price == price else "-"


def _count(count: int) -> Text:
    return Text(f"{count:,}", "yellow" if count else "dim")


def _signed(amount: Decimal, decimals: int = 2) -> Text:
    return Text(f"{amount:+.{decimals}f}", "green" if amount > 0 else "red" if amount < 0 else "dim")
