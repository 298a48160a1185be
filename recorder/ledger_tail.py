"""The open tail of a ledger, read while it grows: JSON Lines, to the last whole one."""

from pathlib import Path

import msgspec

from engine.events import Event

_DECODER = msgspec.json.Decoder(Event)


class TailRead(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a tail from some offset on.

    events:      in the order in which they were written, decimals exact.
    end:         offset behind the last whole line; where to read on.
    torn_bytes:  number of bytes behind it: the beginning of a line that is being written, was torn, or is damaged.
    """

    events: list[Event]
    end: int
    torn_bytes: int


def read_tail(path: Path, start: int = 0) -> TailRead:
    """The events of a tail from the offset `start` on, which is 0 or the `end` of an earlier look.

    Raises FileNotFoundError for a tail that has been sealed since its name was read.
    """
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    try:
        events: list[Event] = _DECODER.decode_lines(whole)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        events, whole = _before_damage(whole)
    return TailRead(events=events, end=start + len(whole), torn_bytes=len(data) - len(whole))


def _before_damage(data: bytes) -> tuple[list[Event], bytes]:
    """The events before the first line that is none, and their lines."""
    events: list[Event] = []
    at = 0
    for line in data.splitlines(keepends=True):
        try:
            events.append(_DECODER.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            break
        at += len(line)
    return events, data[:at]
