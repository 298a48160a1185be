"""The Parquet files that hold a run at this moment, also while it is being written."""

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from recorder.ledger import LedgerWriter
from recorder.ledger_tail import read_tail
from recorder.log_parts import parts_at
from recorder.runs import MANIFEST, Manifest, RunProblem, read_manifest, segment_paths, tail_path, tape_paths
from recorder.tape import Tape
from recorder.tape_files import files_at, is_log

_ATTEMPTS = 200
"""How often in a row the open tail may be sealed between its being named and its being opened."""
_FILES_MAX = 32
"""Temporary files of a tail before they are made into one."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a run as they stood together: every event's tick is among the ticks.

    ledger:  its events. At least one file, be it without a row, unless the run has no ledger yet.
    tape:    its ticks; empty where the tape is not there, or has nothing on it yet.
    """

    manifest: Manifest
    ledger: list[Path]
    tape: list[Path]


def own_tape(run: Path, manifest: Manifest) -> list[Path]:
    """Where the tape that the run was made of is, for who would otherwise answer about another one.

    Files that came to their place before the manifest did are taken at their word, others are read through.
    Raises RunProblem where the tape is not there, or holds something else by now.
    """
    places = tape_paths(run, manifest)
    if not manifest.tape.identity or manifest.status == "running":
        return places  # it may still grow
    since = (run / MANIFEST).stat().st_mtime_ns
    files = [file for place in places for file in files_at(place)]
    if any(file.stat().st_ctime_ns > since for file in files):  # as renaming and copying set it too
        tape = Tape.open(places)
        if tape.identity != manifest.tape.identity:
            raise RunProblem(f"{run}: expected the tape it was made of, found another one at {tape.paths[0]}")
    return places


class RunFiles:
    """Looks at a run, once or again and again. Close it when no file of its looks is needed any more.

    Sealed files are given as they stand. What is only in open ones, the tail of the ledger and the log of the tape,
    is put into temporary Parquet files, which stay until a later look replaces them or `close` removes them. A later
    look reads the tail from where the one before ended.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._temporary = TemporaryDirectory(prefix="wspt-")
        self._folder = Path(self._temporary.name)
        self._tail = ""
        self._end = 0
        self._files: list[Path] = []
        self._numbers = count()

    def look(self, manifest: Manifest | None = None, *, with_log: bool = True) -> Look:
        """The run as it is now.

        manifest:  the run's, where it is at hand.
        with_log:  whether ticks that are in no sealed part of the tape are wanted: they have to be decoded.
        """
        for _ in range(_ATTEMPTS - 1):
            manifest = manifest or read_manifest(self.run)
            try:
                return self._look(manifest, with_log)
            except FileNotFoundError:
                manifest = None  # the tail was sealed since it was named
        return self._look(read_manifest(self.run), with_log)

    def close(self) -> None:
        """Remove the temporary files. Without effect the second time."""
        self._temporary.cleanup()

    def _look(self, manifest: Manifest, with_log: bool) -> Look:
        # The ledger first: what the tape holds by then includes the tick of every event.
        ledger = [*segment_paths(self.run, manifest), *self._tail_files(manifest)]
        tape = self._tape_files(manifest, with_log)
        for file in set(self._folder.iterdir()).difference(ledger, tape):
            file.unlink()
        return Look(manifest=manifest, ledger=ledger, tape=tape)

    def _tail_files(self, manifest: Manifest) -> list[Path]:
        path = tail_path(self.run, manifest)
        if manifest.tail != self._tail:
            self._tail, self._end, self._files = manifest.tail, 0, []
        if path is None:
            return []
        if len(self._files) >= _FILES_MAX:
            self._end, self._files = 0, []
        read = read_tail(path, self._end)
        if read.events or not self._files:
            with LedgerWriter(self._folder, next(self._numbers)) as writer:
                writer.append(read.events)
                self._files += [self._folder / name for name in writer.close()]
        self._end = read.end
        return list(self._files)

    def _tape_files(self, manifest: Manifest, with_log: bool) -> list[Path]:
        try:
            places = tape_paths(self.run, manifest)
        except RunProblem:
            return []  # a run whose tape has moved still has its history
        named = [file for place in places for file in files_at(place)]
        sealed = [file for file in named if not is_log(file)]
        if not with_log or sealed == named:
            return sealed
        files: list[Path] = []
        for part in parts_at(places):
            if part.sealed is None:
                files.append(part.path)
            else:
                files.append(self._folder / f"log-{next(self._numbers)}.parquet")
                files[-1].write_bytes(part.sealed)
        return files
