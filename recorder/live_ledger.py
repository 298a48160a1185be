"""A run's ledger while it grows: a tail of JSON Lines that is on disk at once, sealed into Parquet now and then."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.events import Event
from recorder.ledger import LedgerProblem, LedgerWriter
from recorder.runs import LEDGER

EVENTS_PER_SEGMENT = 25_000
"""Sealed while messages wait: some hundredths of a second, the disk included."""
EVENTS_CONVERTED = 512
"""Made into columns while messages wait: two milliseconds."""
EVENTS_WRITTEN = 4_096
"""Written by a thread, while the next ones come: row groups that are large enough to be read."""


class LiveLedger:
    """Appends events to `run`. What `append` has returned from survives the end of this process.

    Write a tick to the frame log before the events that it caused: the caller's order is the promise that no
    event is on disk without its tick.

    segments:  that the run's ledger has already, in order; number: of the next file, which no other has.
    on_change:  told the sealed segments and the name of the open tail whenever they change; the manifest
                should say so before anything else happens.
    """

    def __init__(
        self,
        run: Path,
        on_change: Callable[[list[str], str], None],
        *,
        segments: Sequence[str] = (),
        number: int = 0,
        events_per_segment: int = EVENTS_PER_SEGMENT,
    ) -> None:
        self._folder = run / LEDGER
        self._on_change = on_change
        self._events_per_segment = events_per_segment
        self._segments = list(segments)
        self._number = number
        self._sealed_tail = ""
        self._waiting = 0
        self._begin()

    def append(self, events: Sequence[Event], lines: bytes) -> None:
        """Events in their order, and the same as canonical lines, which go to disk in one write.

        Raises LedgerProblem where the disk does not take them. What was there before is still there then, and the
        tape gives the rest again.
        """
        try:
            view = memoryview(lines)
            while view:
                view = view[os.write(self._tail, view) :]
            self._writer.append(events)
            self._waiting += len(events)
            if self._waiting >= self._events_per_segment:
                self._seal()
                self._begin()
        except OSError as error:
            raise _unwritable(self._folder / self._name, error) from error

    def close(self) -> list[str]:
        """Seal what is left; the names of all segments. Raises LedgerProblem like `append`."""
        try:
            self._seal()
            self._on_change(list(self._segments), "")
            (self._folder / self._sealed_tail).unlink()
        except OSError as error:
            raise _unwritable(self._folder / self._name, error) from error
        return self._segments

    def _begin(self) -> None:
        self._name = f"live-{self._number:06d}.jsonl"
        self._tail = os.open(self._folder / self._name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        # Whatever is written before the segment is full need not be waited for then.
        self._writer = LedgerWriter(
            self._folder, self._number, events_converted=EVENTS_CONVERTED, events_written=EVENTS_WRITTEN
        )
        self._waiting = 0
        self._on_change(list(self._segments), self._name)
        if self._sealed_tail:
            (self._folder / self._sealed_tail).unlink()

    def _seal(self) -> None:
        os.close(self._tail)
        self._segments += self._writer.close()
        self._number += 1
        self._sealed_tail = self._name


def _unwritable(path: Path, error: OSError) -> LedgerProblem:
    return LedgerProblem(f"{path}: expected a disk that takes what happens, found: {error.strerror or error}")
