"""The terminal view of a live session: drawn a few times a second, by a thread of its own."""

import io
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from apps.board import Board, BoardProcess
from apps.picture import picture
from apps.recording import Recording
from apps.standing import Looks, Standing
from apps.trading import Trading

EVERY_S = 0.5
"""Between two drawings: calm to look at, and a few percent of a core."""

SWITCH_S = 0.0005
"""How long the drawing may keep the interpreter from whoever receives messages."""

_LINES_KEPT = 500


class Screen:
    """A `Watcher` that draws on a terminal.

    Drawing costs milliseconds and a terminal may be slow, so that neither is done where messages are received: a look
    leaves how the feed stands, and the thread draws what was left last, with the latest board of the run. Lines that
    are told scroll by above the picture.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.every_s = EVERY_S
        self._console = console or Console(file=sys.stderr)
        self._looks = Looks()
        self._standing: Standing | None = None
        self._run: Path | None = None
        self._board: BoardProcess | None = None
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
        self._run = trading.run if trading else None
        self._standing = self._looks.look(recording)
        self._news.set()

    def _draw(self) -> None:
        live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")
        try:
            with live:
                while not self._is_over:
                    self._news.wait()
                    self._news.clear()
                    self._print_lines()
                    if self._standing is not None:
                        shown = picture(self._standing, self._asked(), self._console.width, self._console.height)
                        live.update(shown, refresh=True)
            self._print_lines()
        finally:
            if self._board is not None:
                self._board.close()

    def _asked(self) -> Board | None:
        """The latest board, None where nobody trades or nothing has been answered yet."""
        if self._board is None and self._run is not None:
            self._board = BoardProcess(self._run)
        if self._board is None:
            return None
        self._board.poll()
        return self._board.latest

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
