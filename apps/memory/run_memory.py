"""A run in the dashboard's memory: looked at again while it is written, asked by name, shared by all sessions."""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from apps.memory.ledger_memory import LedgerMemory
from apps.memory.tape_memory import TapeMemory
from apps.queries import in_memory
from recorder.problems import Problem
from recorder.runs import Manifest, Status, read_status

LOOK_EVERY_S = 0.1
"""Looks at the disk are at least this far apart, however many sessions ask."""
REST = 4.0
"""An answer stays, for a run that grows, at least so many times as long as it took: one core is never kept busy."""
ANSWERS_KEPT = 256

Part = Literal["ledger", "tape", "run"]

Row = dict[str, Any]  # a row of a query, by column: whatever DuckDB has a type for


class _Answer(msgspec.Struct, frozen=True):
    version: int
    until: float
    rows: list[Row]


class RunMemory:
    """One run: what it says of itself, its ledger and its tape, as far as they were on disk at the latest look.

    What was read once stays: a run whose folder disappears can still be looked at.

    with_tape:  without it only the ledger is read: there are no ticks.
    threads:    that may answer a query; None for one a core.

    manifest:  None until there was one to read.
    news_at:   when something new was found, by the monotonic clock.
    problem:   why the run cannot be read, or cannot any more; empty where it can.
    """

    def __init__(self, path: Path, *, with_tape: bool = True, threads: int | None = None) -> None:
        self.path = path
        self._with_tape = with_tape
        self._threads = threads
        self.manifest: Manifest | None = None
        self.status: Status | None = None
        self.problem = ""
        self.news_at = time.monotonic()
        self._ledger_news = self._tape_news = 0
        self._lock = threading.RLock()
        self._looked = float("-inf")
        self._answers: OrderedDict[tuple[Any, ...], _Answer] = OrderedDict()
        self._being_asked: set[str] = set()
        self._begin()

    @property
    def is_growing(self) -> bool:
        """Whether somebody is still writing it."""
        return self.status == "running"

    def version_of(self, part: Part = "run") -> int:
        """Another number whenever there is something new in it."""
        tape = self._tape_news + self.tape.chunks
        return {"ledger": self._ledger_news, "tape": tape, "run": self._ledger_news + tape}[part]

    def look(self) -> None:
        """Take in what was written since the look before."""
        with self._lock:
            if time.monotonic() - self._looked < LOOK_EVERY_S:
                return
            try:
                self._look()
                self.problem = ""
            except Problem as problem:
                self.problem = str(problem)
            except FileNotFoundError:
                pass  # sealed or removed between two reads: the next look sees which
            self._looked = time.monotonic()

    def ask(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, of: Part = "run", for_s: float = 0.0
    ) -> list[Row]:
        """The rows that a query gives now, or gave a moment ago.

        of:     what it reads: while nothing of that is new, neither is the answer.
        for_s:  how long the answer is good enough in any case.
        """
        key = (sql, *sorted((parameters or {}).items()))
        with self._lock:
            kept = self._answers.get(key)
            version = self.version_of(of)
            if kept is not None and (kept.version == version or time.monotonic() < kept.until):
                self._answers.move_to_end(key)
                return kept.rows
        began = time.monotonic()
        cursor = self._con.cursor()
        try:
            found = cursor.execute(sql, parameters or {})
            names = [column[0] for column in found.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        finally:
            cursor.close()
        took = time.monotonic() - began
        with self._lock:
            self._answers[key] = _Answer(version, time.monotonic() + max(REST * took, for_s), rows)
            while len(self._answers) > ANSWERS_KEPT:
                self._answers.popitem(last=False)
        return rows

    def ask_slowly(self, sql: str, *, of: Part = "run", for_s: float = 0.0) -> list[Row] | None:
        """The same for what takes seconds: what was known last, while a thread asks again; None before the first."""
        with self._lock:
            kept = self._answers.get((sql,))
            is_good = kept is not None and (kept.version == self.version_of(of) or time.monotonic() < kept.until)
            if not is_good and sql not in self._being_asked:
                self._being_asked.add(sql)
                threading.Thread(target=self._ask_aside, args=(sql, of, for_s), name="asking", daemon=True).start()
            return None if kept is None else kept.rows

    def close(self) -> None:
        """Forget it."""
        self.tape.close()
        self._con.close()

    def forget_the_time(self) -> None:
        """The next look is due at once."""
        self._looked = float("-inf")

    def forget_answers(self) -> None:
        """The next answers are new ones."""
        self._answers.clear()

    def _ask_aside(self, sql: str, of: Part, for_s: float) -> None:
        try:
            self.ask(sql, of=of, for_s=for_s)
        finally:
            self._being_asked.discard(sql)

    def _begin(self) -> None:
        self._con = in_memory(self._threads)
        self.ledger = LedgerMemory(self._con)
        self.tape = TapeMemory(self._con)
        self._answers.clear()

    def _look(self) -> None:
        manifest, status = read_status(self.path)
        if self.manifest is not None and manifest.created != self.manifest.created:
            self.close()
            self._begin()  # another run in the folder of that name
        is_new = (manifest, status) != (self.manifest, self.status)
        if is_new or status == "running":
            self.manifest, self.status = manifest, status
            has_events = self.ledger.take(self.path, manifest)
            # A run that was killed never came to say where its tape ends: there too, what is there counts.
            is_open = status in ("running", "crashed")
            has_ticks = self._with_tape and self.tape.take(self.path, manifest, is_open=is_open)
            self._ledger_news += has_events or is_new
            self._tape_news += has_ticks or is_new
            if has_events or has_ticks or is_new:
                self.news_at = time.monotonic()


def currency(run: RunMemory) -> str:
    """What the desks' money is."""
    return str(run.manifest.configuration.get("currency", "")) if run.manifest is not None else ""
