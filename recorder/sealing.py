"""Finished logs into sealed parts of the tape: in a process of low priority while recording, and at recovery."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from recorder.frame_log import LogProblem, LogRead, read_log
from recorder.log_folder import (
    SEALED,
    SEALING,
    TORN,
    FolderLock,
    finished_logs,
    is_recording,
    parts_of,
    sync_folder,
)
from recorder.log_parts import PartMaker
from recorder.problems import Problem
from recorder.tape_columns import SCHEMA, TapeProblem
from recorder.tape_files import Part, read_groups

_NICENESS = 10
_UNCHECKED = "unchecked"


class SealedLog(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a log.

    part:        the sealed part, or None where the log was damaged from its beginning.
    rows:        rows of the part.
    torn_bytes:  bytes at the end of the log that belonged to no whole record.
    torn:        where they are kept, or None where there were none but zeros.
    """

    log: Path
    part: Path | None
    rows: int
    torn_bytes: int
    torn: Path | None


class Sealer:
    """Seals the finished logs of one folder, in their order, and holds the folder against other sealers.

    Raises LogProblem where a recorder is at work in the folder, whose own sealer has it. Where there is none, it
    waits for a sealer that was left behind to finish.
    """

    def __init__(self, folder: Path, *, wait: bool | None = None) -> None:
        self.folder = folder
        try:
            self._lock = FolderLock(folder, SEALING, wait=not is_recording(folder) if wait is None else wait)
        except OSError as error:
            raise LogProblem(f"{folder}: expected a folder to seal logs in, found: {error.strerror or error}") from error
        self._maker: PartMaker | None = None

    def seal_finished(self) -> list[SealedLog]:
        """Seal every log that is finished. What was sealed before a Problem stays sealed, the rest is a log still."""
        done = []
        for log in finished_logs(self.folder):
            try:
                for step in self.steps(log):
                    if isinstance(step, SealedLog):
                        done.append(step)
            except OSError as error:
                self._maker = None
                raise LogProblem(f"{log}: expected a disk to seal it on, found: {error.strerror or error}") from error
            except BaseException:
                self._maker = None
                raise
        return done

    def steps(self, log: Path) -> Iterator[str | SealedLog]:
        """Seal one log, the earliest of the folder, step by step; the last one tells what became of it.

        After each of them the process may end without harm: until its rows stand sealed under their own name the log
        is untouched, and a further attempt does everything again and comes to the same bytes.
        """
        maker = self._maker = self._maker or PartMaker(_sealed_before(log))
        read = read_log(log)
        torn = _keep_torn(log, read)
        yield "torn bytes kept"
        part = None
        if read.header is not None:
            unchecked = log.with_suffix(f".{_UNCHECKED}")
            maker.write(unchecked, read)
            yield "written"
            _check(unchecked, first_seq=maker.next_seq, frames=_frames_of(read))
            yield "checked"
            part = log.with_suffix(f".{SEALED}")
            unchecked.replace(part)
            yield "named"
            sync_folder(self.folder)
            maker.add(Part(part))
            yield "name on disk"
        log.unlink()
        sync_folder(self.folder)
        rows = maker.rows_of_last if part else 0
        yield SealedLog(log=log, part=part, rows=rows, torn_bytes=read.torn_bytes, torn=torn)

    def close(self) -> None:
        """Let others seal."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def recover(folder: Path) -> list[SealedLog]:
    """Seal what a recorder left behind that ended before it could. Nothing to do is no mistake."""
    with Sealer(folder) as sealer:
        return sealer.seal_finished()


class SealingProcess:
    """A process that seals the logs of a folder as they are finished, out of the recorder's way.

    It ends when this one does, however that ends, and seals then what is left.

    sealed:    what it has sealed so far, as far as it was asked.
    problems:  why a log could not be sealed. It stays, and is tried again.
    """

    def __init__(self, folder: Path | str) -> None:
        self.sealed: list[SealedLog] = []
        self.problems: list[str] = []
        self._unread = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        os.set_blocking(_pipe(self._process.stdout).fileno(), False)

    def nudge(self) -> None:
        """Say that a log was finished. Never waits, and never raises: recording goes on without sealing."""
        with suppress(OSError):
            os.write(_pipe(self._process.stdin).fileno(), b"\n")
        with suppress(BlockingIOError):
            while data := os.read(_pipe(self._process.stdout).fileno(), 65_536):
                self._take(data)

    def close(self, timeout_s: float | None = None) -> None:
        """Have it seal what is left, and wait for that; after `timeout_s` let it finish by itself."""
        with suppress(OSError):
            _pipe(self._process.stdin).close()
        os.set_blocking(_pipe(self._process.stdout).fileno(), True)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
            self._take(_pipe(self._process.stdout).read())
        _pipe(self._process.stdout).close()
        if self._process.returncode:
            self.problems.append(f"sealing ended with exit code {self._process.returncode}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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


def _seal_while_told(folder: Path) -> None:
    """Seal what is finished now, after every line on stdin, and at its end."""
    with Sealer(folder, wait=True) as sealer:
        _seal_and_tell(sealer)
        for _ in sys.stdin:
            _seal_and_tell(sealer)
        _seal_and_tell(sealer)


def _seal_and_tell(sealer: Sealer) -> None:
    try:
        told = _Told(sealed=sealer.seal_finished())
    except Problem as problem:
        told = _Told(problem=str(problem))
    if told.sealed or told.problem:
        with suppress(BrokenPipeError):  # a recorder that was killed does not listen any more
            sys.stdout.write(msgspec.json.encode(told, enc_hook=str).decode() + "\n")
            sys.stdout.flush()


def _sealed_before(log: Path) -> list[Part]:
    folder, number = log.parent, int(log.stem.removeprefix("part-"))
    return [
        Part(folder / f"{log.stem[:5]}{before:06d}.{SEALED}")
        for before, endings in parts_of(folder).items()
        if before < number and SEALED in endings
    ]


def _keep_torn(log: Path, read: LogRead) -> Path | None:
    """Put the bytes that no record explains beside the log: they may be worth a look, and are not ours to drop."""
    with log.open("rb") as file:
        file.seek(read.torn_at)
        tail = file.read()
    if not tail.strip(b"\0"):
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
