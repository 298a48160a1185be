"""Captures made elsewhere, read line by line into frames; what the frames mean is left to the venue's decoder."""

import gzip
import heapq
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias

import msgspec

from engine.ticks import Tick
from recorder.problems import Problem
from recorder.venues import Frame

UNSTAMPED_LINES_MAX = 1_000
"""Lines at the start of a capture that may come without a time before it is taken for another kind of file."""
CENTURY_NS = 4_102_444_800_000_000_000
"""The year 2100, in ns: no time of a market's lies beyond it."""
UNSTAMPED_FRAMES_MAX = 10_000
"""Frames at the start of a stream that may come without a time of their own; see `stamp`."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What Windows' editors put before UTF-8 text; it belongs to the file, not to its first line."""


class ImportProblem(Problem):
    """A file that cannot be imported, in one sentence for the user: the file, what was expected, what was found."""


class NoTimes(ImportProblem):
    """Frames of which none names a time; whoever knows where they came from should say so."""


class Counts(msgspec.Struct):
    """What was passed over while a capture was read.

    sent:       messages of the client's own.
    unstamped:  lines without a readable time; they become frames too, at the time of the line before.
    """

    sent: int = 0
    unstamped: int = 0


def hftbacktest(paths: Iterable[str | Path], counts: Counts | None = None) -> Iterator[Frame]:
    """Frames of hftbacktest's recorder: lines `<time of receipt in ns> <frame>`, gzip or plain.

    Several files run on as one stream, in the order given.
    Raises ImportProblem for a file that is missing, broken or of another kind, or begins before the one that it
    follows: trades that come after later ones would be taken for some that have been seen.
    """
    return _frames(_existing(paths), _HFTBACKTEST, counts or Counts())


def cryptofeed(paths: Iterable[str | Path], counts: Counts | None = None) -> Iterator[Frame]:
    """Frames of cryptofeed's recorder, as `<unix seconds>: <frame>`, and its REST answers with their URLs.

    Several files - one a connection, and one for REST - are merged by time; at equal times in the order given.
    `Frame.conn` counts the reconnects of all of them so far, as a venue's decoder knows only one connection.
    Raises ImportProblem for a file that is missing, broken or of another kind.
    """
    return _merged(_existing(paths), counts or Counts())


def frames(paths: Iterable[str | Path], counts: Counts | None = None) -> Iterator[Frame]:
    """Frames of a file with one frame a line, gzip or plain, in the order given. They have no time: see `stamp`.

    Raises ImportProblem for a file that is missing, broken or empty.
    """
    return _bare(_existing(paths))


CAPTURES: dict[str, Callable[[Iterable[str | Path], Counts | None], Iterator[Frame]]] = {
    "hftbacktest": hftbacktest,
    "cryptofeed": cryptofeed,
    "frames": frames,
}
"""The kinds of capture, by the name a user gives them."""


def capture(kind: str, paths: Iterable[str | Path], counts: Counts | None = None) -> Iterator[Frame]:
    """The frames of a capture of `kind`; raises ImportProblem for a kind that is not in `CAPTURES`."""
    reader = CAPTURES.get(kind)
    if reader is None:
        raise ImportProblem(f"{kind}: expected a kind of capture, one of {', '.join(CAPTURES)}")
    return reader(paths, counts)


Decoded: TypeAlias = tuple[Frame, Sequence[Tick]]


def stamp(decoded: Iterable[Decoded]) -> Iterator[Decoded]:
    """Give frames without a time of receipt the latest of the venue's times in them: none came before what it tells.

    The clock never runs backwards; a frame without any time takes that of the frame before it, and frames before
    the first known time take that one. Raises NoTimes where `UNSTAMPED_FRAMES_MAX` frames name no time.
    """
    now: int | None = None
    waiting: list[Decoded] = []
    for frame, ticks in decoded:
        known = frame.ts_recv if frame.ts_recv is not None else _event_time(ticks)
        if known is not None:
            now = known if now is None else max(now, known)
        waiting.append((frame, ticks))
        if now is not None:
            for early, early_ticks in waiting:
                yield Frame(now, early.payload, early.conn, early.url), early_ticks
            waiting.clear()
        elif len(waiting) >= UNSTAMPED_FRAMES_MAX:
            break
    if waiting:
        raise NoTimes(f"expected frames that name the venue's time, found none in {len(waiting)} frames")


def _event_time(ticks: Sequence[Tick]) -> int | None:
    """The latest of the venue's times; one of another century would hold the clock for all that follows."""
    return max(
        (tick.ts_event for tick in ticks if tick.ts_event is not None and tick.ts_event < CENTURY_NS), default=None
    )


class _Line(NamedTuple):
    """One line of a capture.

    time:     ns UTC, None where the line has none that can be read.
    payload:  the frame or REST body; None for a connection that was made.
    """

    time: int | None
    payload: bytes | None
    url: str | None = None


class _Format(NamedTuple):
    """How to read a line, and how to tell a user what was expected. A line that is to be skipped reads as None."""

    expected: str
    read: Callable[[bytes, Counts], _Line | None]


def _read_hftbacktest(text: bytes, counts: Counts) -> _Line:
    time, _, payload = text.partition(b" ")
    return _Line(_int64(time), payload) if payload and time.isdigit() else _Line(None, text)


_CRYPTOFEED_LINE = re.compile(rb"(?:(\S+) (<->|<-|->) )?(\d{1,10})(?:\.(\d*))?(?:: (.*))?", re.DOTALL)


def _read_cryptofeed(text: bytes, counts: Counts) -> _Line | None:
    match = _CRYPTOFEED_LINE.fullmatch(text)
    if match is None:
        return _Line(None, text)
    url, arrow, seconds, fraction, payload = match.groups()
    if arrow == b"<-":
        counts.sent += 1
        return None
    if (payload is None) != (arrow == b"<->"):
        return _Line(None, text)
    # Nine digits of the text, not a float: seconds since 1970 leave a double no room for nanoseconds.
    time = int(seconds) * 10**9 + int((fraction or b"").ljust(9, b"0")[:9])
    return _Line(_int64(b"%d" % time), payload, url.decode(errors="replace") if arrow == b"->" else None)


def _int64(digits: bytes) -> int | None:
    value = int(digits) if len(digits) <= len(str(2**63)) else 2**63
    return value if value < 2**63 else None


_HFTBACKTEST = _Format("lines `<time in ns> <frame>`", _read_hftbacktest)
_CRYPTOFEED = _Format("lines `<unix seconds>: <frame>`", _read_cryptofeed)


def _frames(paths: Sequence[Path], form: _Format, counts: Counts) -> Iterator[Frame]:
    before: tuple[Path, int] | None = None
    for path in paths:
        first: int | None = None
        for line in _stamped(path, form, counts):
            assert line.payload is not None
            if first is None and line.time is not None:
                first = line.time
                if before is not None and first < before[1]:
                    raise ImportProblem(f"{path}: expected files in the order of their times, found {before[0]} first")
                before = path, first
            yield Frame(line.time, line.payload)


def _merged(paths: Sequence[Path], counts: Counts) -> Iterator[Frame]:
    reconnects = 0
    for _, line in heapq.merge(*(_rising(path, counts) for path in paths), key=itemgetter(0)):
        if line.payload is None:
            reconnects += 1
        else:
            yield Frame(line.time, line.payload, reconnects, line.url)


def _rising(path: Path, counts: Counts) -> Iterator[tuple[int, _Line]]:
    """The lines of one cryptofeed file but the first connection, each behind the latest time in the file so far.

    That time merges the files: a clock that fell back must not send a line before its predecessors.
    """
    latest = 0
    is_first = True
    for line in _stamped(path, _CRYPTOFEED, counts):
        assert line.time is not None
        latest = max(latest, line.time)
        if line.payload is not None or not is_first:
            yield latest, line
        is_first = False


def _stamped(path: Path, form: _Format, counts: Counts) -> Iterator[_Line]:
    """The lines of a file, each with a time: one without takes that of the line before, or of the first that has one.

    A bad line among good ones is data, and its frame the whole line; a file of nothing else is a mistake.
    """
    time: int | None = None
    early: list[_Line] = []
    is_read = False
    for text in _lines(path):
        line = form.read(text, counts)
        is_read = True
        if line is None:
            continue
        if line.time is None:
            counts.unstamped += 1
            line = _Line(None, text)
        time = line.time if line.time is not None else time
        if time is None:
            early.append(line)
            if len(early) >= UNSTAMPED_LINES_MAX:
                break
            continue
        for earlier in (*early, line):
            yield earlier if earlier.time is not None else earlier._replace(time=time)
        early.clear()
    if early:
        raise ImportProblem(f"{path}: expected {form.expected}, found {_shown(early[0].payload or b'')}")
    if not is_read:
        raise ImportProblem(f"{path}: expected {form.expected}, found an empty file")


def _bare(paths: Sequence[Path]) -> Iterator[Frame]:
    for path in paths:
        is_read = False
        for text in _lines(path):
            is_read = True
            yield Frame(None, text)
        if not is_read:
            raise ImportProblem(f"{path}: expected one frame a line, found an empty file")


def _existing(paths: Iterable[str | Path]) -> list[Path]:
    """The paths, each of which can be opened: a mistake in the last shows before the first is read."""
    found = [Path(path) for path in paths]
    if not found:
        raise ImportProblem("expected at least one file to import, found none")
    for path in found:
        if not path.is_fifo():  # what comes through a pipe comes once
            with _opened(path):
                pass
    return found


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that are not blank, without their ends; gzip is told by its first bytes."""
    with _opened(path) as file:
        try:
            mark = _BYTE_ORDER_MARK
            for line in file:
                text = line.removeprefix(mark).rstrip(b"\r\n")
                mark = b""
                if text and not text.isspace():
                    yield text
        except (EOFError, zlib.error, OSError) as error:
            raise ImportProblem(f"{path}: expected a whole file, found one that is cut off or damaged") from error


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    try:
        file = path.open("rb")
        first = file.peek(2)[:2]  # looked at and left there: a pipe cannot be opened again
    except FileNotFoundError as error:
        raise ImportProblem(f"{path}: expected a file, found none") from error
    except IsADirectoryError as error:
        raise ImportProblem(f"{path}: expected a file, found a directory") from error
    except OSError as error:
        raise ImportProblem(f"{path}: expected a file that can be read, found: {error.strerror}") from error
    with file:
        if first == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked
        elif path.suffix == ".gz":
            raise ImportProblem(f"{path}: expected gzip data, found {_shown(first) if first else 'an empty file'}")
        else:
            yield file


def _shown(text: bytes) -> str:
    """The start of a line, safe to print."""
    return repr(text[:40].decode(errors="replace"))
