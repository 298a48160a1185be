"""What happens to a session or a recording while it runs: a line of JSON each, and a line for whoever watches."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Self

import msgspec
import structlog

FILE = Path("logs") / "system.jsonl"

TELL_AGAIN_S = 30.0
"""The same thing about the same symbol is told once in this time; the file has every one."""

LEVELS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("disconnected", "gap", "trade_gap", "checksum", "stale", "resync", "status"), "warning"),
        **dict.fromkeys(("rejected", "unknown_symbol", "unanswered", "unreachable"), "warning"),
        **dict.fromkeys(("snapshot_failed", "listing_failed", "server_shutdown", "simulated"), "warning"),
        **dict.fromkeys(("strategy_failed", "sealing_failed", "logs_failed", "failed"), "error"),
        **dict.fromkeys(("crossed", "subscribed", "unsubscribed"), "debug"),
    }
)
"""Of an event; all others are `info`."""

_TOLD_ELSEWHERE = ("rotated", "sealed", "strategy_failed", "started", "resumed", "stopped", "failed")
UNTOLD = frozenset({"crossed", "subscribed", "unsubscribed", *_TOLD_ELSEWHERE})
"""Events for the file alone: too many to read, no news to whoever began it, or told elsewhere in more words."""

UNLOGGED = frozenset({"clock", "instrument"})
"""Feed rows that tell of the market or of nothing at all: they stand on the tape."""

_encode = msgspec.json.Encoder(decimal_format="string").encode


class SystemLog:
    """Appends to `logs/system.jsonl` of a run or a recording.

    A line has `ts` (ns UTC, when it was written), `level`, `event`, `tick_seq` (of the feed row that it tells of, else
    null), `correlation_id` (null: nothing here comes of a signal), and what else there is to say. Strict JSON.

    A disk that does not take it costs the log and not the recording: that is told once, and no more is written.

    tell:  gets a line for a person.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told: dict[tuple[str, object], float] = {}
        self._untold: dict[tuple[str, object], int] = {}
        self._file: BinaryIO | None = None
        path = folder / FILE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
        except OSError as error:
            self._lose(error)
        self._log = structlog.wrap_logger(
            structlog.BytesLogger(self._file or None),
            processors=[self._tell_person, structlog.processors.JSONRenderer(serializer=_line)],
            wrapper_class=structlog.BoundLogger,
            context_class=dict,
        )

    def say(self, event: str, tick_seq: int | None = None, **parts: object) -> None:
        """Log an event, and tell it where a person should know."""
        if self._file is None:
            with suppress(structlog.DropEvent):
                self._tell_person(None, "", {"event": event, "level": LEVELS.get(event, "info"), **parts})
            return
        head = {"ts": time.time_ns(), "level": LEVELS.get(event, "info"), "tick_seq": tick_seq, "correlation_id": None}
        try:
            self._log.msg(event, **head, **parts)
        except OSError as error:
            self._lose(error)

    def hear(self, note: str, symbol: str | None, tick_seq: int) -> None:
        """Log a feed row, by its note."""
        parts: dict[str, object] = msgspec.json.decode(note)
        event = str(parts.pop("event", "unnamed"))
        if event not in UNLOGGED:
            about = {"symbol": symbol} if symbol is not None else {}
            self.say(event, tick_seq=tick_seq, **{**parts, **about})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish; without effect the second time."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _lose(self, error: OSError) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()
        self._tell(f"the system log is not written any more: {error.strerror or error}")

    def _tell_person(self, logger: Any, method: str, line: Any) -> Any:
        """A processor of structlog: what is worth a person's while, and not more often than that."""
        if line["event"] in UNTOLD:
            return line
        event, subject = str(line["event"]), (str(line["event"]), line.get("symbol"))
        now = time.monotonic()
        if now - self._told.get(subject, now - TELL_AGAIN_S) < TELL_AGAIN_S:
            self._untold[subject] = self._untold.get(subject, 0) + 1
            return line
        self._told[subject] = now
        more = self._untold.pop(subject, 0)
        words = [f"{datetime.now(UTC):%H:%M:%S}", event.replace("_", " ")]
        words += [f"{_plain(part)}" for name, part in line.items() if name not in _HEAD and part not in (None, [], "")]
        self._tell(" ".join(words) + (f" ({more} more since it was last told)" if more else ""))
        return line


_HEAD = frozenset({"ts", "level", "event", "tick_seq", "correlation_id"})


def _plain(part: object) -> str:
    return ", ".join(map(str, part)) if isinstance(part, list) else str(part)


def _line(line: dict[str, object], **options: object) -> bytes:
    head = ("ts", "level", "event", "tick_seq", "correlation_id")
    return _encode({**{name: line[name] for name in head}, **line})
