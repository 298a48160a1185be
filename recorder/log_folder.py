"""The folder of a tape that is recorded in parts: their names and numbers, and who may write there."""

import fcntl
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from recorder.problems import Problem

LOG, SEALED, TORN = "wal", "parquet", "torn"
"""Endings of a part's name: still a log, sealed into a tape, and the bytes of a log that no record explains."""
KNOWN = "known"
"""And of the file beside a sealed part with what a decoder knew at its end."""

RECORDING, SEALING, RUNNING = ".recording.lock", ".sealing.lock", ".running.lock"
"""The lock of who appends to the last log, of who seals the others, and, in a run's folder, of who writes the run."""

_HOLDERS = {RECORDING: "a recorder", SEALING: "a sealer", RUNNING: "a session"}

_PART_NAME = re.compile(rf"part-(\d{{6,}})\.({LOG}|{SEALED}|{TORN})")
_ATTEMPTS = 20
_ATTEMPT_S = 0.005


class LogProblem(Problem):
    """A log that cannot be written or read, in one sentence for the user: where, what was expected, what was found."""


class FolderLock:
    """Holds a folder for one recorder, sealer or session, against others in this process and in all others.

    The lock is the system's: it ends with the process that holds it, however that ends. Where somebody else holds
    it, LogProblem says who, unless `wait` asks to wait for them.
    """

    def __init__(self, folder: Path, name: str = RECORDING, *, wait: bool = False) -> None:
        self._file = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if wait:
                fcntl.flock(self._file, fcntl.LOCK_EX)
            elif not self._is_taken():
                holder = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
                who = f"{_HOLDERS[name]} (process {holder})"
                raise LogProblem(f"{folder}: expected to be alone in this folder, found {who}")
            with suppress(
                OSError
            ):  # who it is helps whoever comes second; a full disk is no reason to go without a lock
                os.ftruncate(self._file, 0)
                os.pwrite(self._file, b"%d\n" % os.getpid(), 0)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let others have the folder; what is in it should be whole. Without effect the second time."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _is_taken(self) -> bool:
        # A look of `is_held` holds the lock for a moment; a recorder holds it for long.
        for _ in range(_ATTEMPTS):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_ATTEMPT_S)
            else:
                return True
        return False


def is_recording(folder: Path) -> bool:
    """Somebody holds the folder to record into it."""
    return is_held(folder, RECORDING)


def is_held(folder: Path, name: str) -> bool:
    """Somebody holds this lock of the folder."""
    try:
        file = os.open(folder / name, os.O_RDONLY)
    except OSError:  # no lock was ever made, or none that we may look at
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def parts_of(folder: Path) -> dict[int, set[str]]:
    """The parts in a folder by their number, each with its endings; rising. Other files are none of ours."""
    found: dict[int, set[str]] = {}
    for path in folder.iterdir():
        match = _PART_NAME.fullmatch(path.name)
        if match:
            found.setdefault(int(match[1]), set()).add(match[2])
    return dict(sorted(found.items()))


def part_name(number: int, ending: str) -> str:
    """The file name of a part."""
    return f"part-{number:06d}.{ending}"


def next_part(folder: Path) -> int:
    """The number after the last part of a folder; numbers are not used twice."""
    return max(parts_of(folder), default=-1) + 1


def finished_logs(folder: Path) -> list[Path]:
    """The logs to which nothing will be appended any more: all, or all but the last one while a recorder runs.

    A recorder never goes on with a log that was there before it, so what is finished stays so.
    """
    was_recording = is_recording(folder)
    logs = [folder / part_name(number, LOG) for number, endings in parts_of(folder).items() if LOG in endings]
    # A recorder that came after the look may have made a log since: it holds the folder now.
    return logs[:-1] if was_recording or is_recording(folder) else logs


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on disk."""
    names = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(names)
    finally:
        os.close(names)
