"""Finished logs into sealed parts of the tape: in a process of low priority while recording, and at recovery."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from recorder.frame_log import LogProblem, LogRead, RecordKind, read_log
from recorder.log_folder import SEALED, SEALING, TORN, FolderLock, finished_logs, is_recording, sync_folder
from recorder.log_parts import PartMaker, sealed_before
from recorder.problems import Problem
from recorder.tape_columns import SCHEMA, TapeProblem
from recorder.tape_files import Part, read_groups

_NICENESS = 10
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SealedLog(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a log. Files are named within their folder.

    part:        the sealed part, or None where the log was damaged from its beginning.
    rows:        rows of the part.
    torn_bytes:  bytes at the end of the log that belonged to no whole record.
    torn:        the file in which they are kept, or None where they were none, or zeros.
    """

    log: str
    part: str | None
    rows: int
    torn_bytes: int
    torn: str | None


class Sealer:
    """Seals the finished logs of one folder, in their order, and keeps other sealers out until it is closed.

    Where a recorder is at work, its own sealer has the folder, and this one raises LogProblem. Where there is none,
    it waits for a sealer that was left behind. `wait` asks to wait in any case.
    """

    def __init__(self, folder: Path, *, wait: bool = False) -> None:
        self.folder = folder
        try:
            self._lock = FolderLock(folder, SEALING, wait=wait or not is_recording(folder))
        except OSError as error:
            raise _unsealed(folder, error) from error
        self._maker: PartMaker | None = None

    def seal_finished(self) -> list[SealedLog]:
        """Seal every log that is finished. Before a Problem is raised, what could be sealed has been."""
        return [self._seal(log) for log in finished_logs(self.folder)]

    def steps(self, log: Path) -> Iterator[SealedLog | None]:
        """Seal a log, the first of its folder, step by step; the last one tells what became of it.

        After any of them the process may end without harm: until its rows stand sealed under their own name the log
        is untouched, and the next attempt does everything again, with the same result.
        """
        maker = self._maker or PartMaker(sealed_before(log))
        self._maker = None  # until the log is done
        read = read_log(log)
        torn = _keep_torn(log, read)
        yield None
        rows, part = 0, None
        if read.header is not None:
            unchecked, part = log.with_suffix(".unchecked"), log.with_suffix(f".{SEALED}")
            rows = maker.write(unchecked, read)
            yield None
            _check(unchecked, read, maker.next_seq, rows)
            unchecked.replace(part)
            yield None
            sync_folder(self.folder)
            maker.add(Part(part))
            maker.keep()
            yield None
        log.unlink()
        sync_folder(self.folder)
        self._maker = maker
        yield SealedLog(
            log=log.name,
            part=part.name if part else None,
            rows=rows,
            torn_bytes=read.torn_bytes,
            torn=torn.name if torn else None,
        )

    def close(self) -> None:
        """Let others seal."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _seal(self, log: Path) -> SealedLog:
        try:
            *_, sealed = self.steps(log)
        except OSError as error:
            raise _unsealed(log, error) from error
        assert sealed is not None
        return sealed


def recover(folder: Path | str) -> list[SealedLog]:
    """Seal what a recorder left behind that ended before it could; nothing to seal is no mistake.

    Raises a Problem where a recorder is at work there, and where a log cannot be sealed: it stays as it is then.
    """
    with Sealer(Path(folder)) as sealer:
        return sealer.seal_finished()


class SealingProcess:
    """A process that seals the logs of a folder as they are finished, out of the recorder's way.

    It goes by itself when the recorder is gone, however that ended, and before that seals what is left.

    sealed:    what became of the logs, as far as is known.
    problems:  why a log could not be sealed, as sentences. The log stays, and is tried again.
    """

    def __init__(self, folder: Path | str) -> None:
        self.sealed: list[SealedLog] = []
        self.problems: list[str] = []
        self._unread = b""
        # -P: where the user stands there may be a folder of that name.
        command = [sys.executable, "-P", "-m", "recorder.sealing", str(folder)]
        with _held_back():
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for pipe in (self._process.stdin, self._process.stdout):
            os.set_blocking(_open(pipe).fileno(), False)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def nudge(self) -> None:
        """Say that a log was finished. It neither waits nor raises: recording goes on, whatever becomes of sealing."""
        with suppress(OSError):
            os.write(_open(self._process.stdin).fileno(), b"\n")
        with suppress(BlockingIOError):
            while data := os.read(_open(self._process.stdout).fileno(), 65_536):
                self._take(data)
        self._check_end()

    def close(self, timeout_s: float | None = None) -> None:
        """Have it seal what is left, and wait for that. After `timeout_s` it goes on alone."""
        for pipe in (self._process.stdin, self._process.stdout):
            os.set_blocking(_open(pipe).fileno(), True)
        with suppress(subprocess.TimeoutExpired):
            told, _ = self._process.communicate(timeout=timeout_s)
            self._take(told)
        self._check_end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_end(self) -> None:
        problem = f"sealing: expected it to end well, found exit code {self._process.poll()}"
        if self._process.returncode and problem not in self.problems:
            self.problems.append(problem)

    def _take(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            told = msgspec.json.decode(line, type=_Told)
            self.sealed += told.sealed
            self.problems += [told.problem] if told.problem else []


class _Told(msgspec.Struct):
    """A line from the sealing process."""

    sealed: list[SealedLog] = []
    problem: str = ""


def main(folder: Path) -> None:
    """Seal what is finished, once at the start, once for every line on stdin, and once more when that ends."""
    # Ctrl+C reaches every process of a terminal. This one ends when the recorder has closed its log and lets go of it.
    for stop in _STOPS:
        signal.signal(stop, signal.SIG_IGN)
    os.nice(_NICENESS)
    try:
        sealer = Sealer(folder, wait=True)
    except Problem as problem:
        _tell(_Told(problem=str(problem)))
        return
    with sealer:
        _seal_and_tell(sealer)
        for _ in sys.stdin:
            _seal_and_tell(sealer)
        _seal_and_tell(sealer)


@contextmanager
def _held_back() -> Iterator[None]:
    """A process that is started here is not stopped before it can say that it does not want to be: it inherits that
    these signals wait. This process gets them a moment later.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _seal_and_tell(sealer: Sealer) -> None:
    try:
        told = _Told(sealed=sealer.seal_finished())
    except Problem as problem:
        told = _Told(problem=str(problem))
    _tell(told)


def _tell(told: "_Told") -> None:
    if told.sealed or told.problem:
        with suppress(BrokenPipeError):  # a recorder that was killed does not listen any more
            os.write(1, msgspec.json.encode(told) + b"\n")


def _keep_torn(log: Path, read: LogRead) -> Path | None:
    """Put the bytes that no record explains into a file beside the log: they are not ours to drop.

    Zeros were never written by a recorder. A log without a header leaves its file in any case, to account for its
    number: no part is missing there.
    """
    with log.open("rb") as file:
        file.seek(read.torn_at)
        tail = file.read(read.torn_bytes)
    if read.header is not None and not tail.strip(b"\0"):
        return None
    torn = log.with_suffix(f".{TORN}")
    unfinished = torn.with_name(f"{torn.name}.tmp")
    with unfinished.open("wb") as file:
        file.write(tail)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(torn)
    sync_folder(torn.parent)
    return torn


def _check(sealed: Path, log: LogRead, first_seq: int, rows: int) -> None:
    """Read back what was sealed, every page with its checksum, before the log may go."""
    part = Part(sealed)
    found = sum(table.num_rows for _, table in read_groups(part.groups, SCHEMA.names))
    if (part.header.first_seq, found) != (first_seq, rows):
        raise TapeProblem(
            f"{sealed}: expected {rows} rows from seq {first_seq}, found {found} from {part.header.first_seq}"
        )
    frames = sum(record.kind in (RecordKind.FRAME, RecordKind.REST) for record in log.records)
    if part.header.passport.frames != frames:
        raise TapeProblem(f"{sealed}: expected {frames} frames, found {part.header.passport.frames}")


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _unsealed(place: Path, error: OSError) -> LogProblem:
    return LogProblem(f"{place}: expected a disk to seal logs on, found: {error.strerror or error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
