"""A recording: the feed's records to disk first, then as rows to whoever follows."""

import gc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from apps.problems import UserProblem
from apps.recovery import Past
from engine.ticks import Symbols, Tick
from recorder.feed import Feed
from recorder.frame_log import SIMULATED, FrameLog, LogHeader, Record
from recorder.log_folder import is_recording
from recorder.log_parts import assembler_after, parts_at
from recorder.system_log import SystemLog
from recorder.tape import Tape

HEALED_BY_THE_VENUE = frozenset({"checksum", "gap", "resync"})
"""Feed events after which the venue is asked for a new book."""
WARM_UP_RECORDS = 2_000
"""Records after which what start-up left behind is taken out of the collector's sight."""

Follow = Callable[[Sequence[Tick], Sequence[int], int, Symbols], None]
"""Told rows, their times of receipt (ns), and the first one's seq."""


class Recording:
    """The feed's records into a frame log, and as rows to whoever follows: `wspt record` is this alone.

    events:  how often the feed had something to tell, by what it was and the symbol that it was about.
    """

    def __init__(
        self, feed: Feed, log: FrameLog, header: LogHeader, system: SystemLog, past: Past | None = None
    ) -> None:
        self.feed = feed
        self.is_simulated = header.simulated
        self.records = 0
        self.ticks = past.remade.stop_seq if past else 0
        self.events: Counter[tuple[str, str | None]] = Counter()
        self.last_ns = 0
        self._log = log
        self._system = system
        self._assembler = assembler_after(parts_at([log.folder]) if past else [], header)
        self._symbols = past.remade.symbols if past else Symbols()

    @property
    def latest(self) -> Mapping[str, Tick]:
        """The latest row of each symbol, with the touch as it is known."""
        return self._assembler.latest

    async def run(self, follow: Follow) -> None:
        """Until the feed is stopped. `follow` gets the rows of what came together."""
        await self.feed.run(lambda records: self.take(records, follow))

    def take(self, records: Sequence[Record], follow: Follow) -> None:
        """What came together: first to disk, then to the assembler, then to whoever follows."""
        self._log.append(*records)
        ticks, times = self._assembled(records)
        self.last_ns = times[-1]
        first = self.ticks
        was_warm = self.records >= WARM_UP_RECORDS
        self.records += len(records)
        follow(ticks, times, first, self._symbols)
        self.ticks += len(ticks)
        for seq, tick in enumerate(ticks, start=first):
            if tick.note is not None:
                self._mind(tick.symbol, tick.note, seq)
        if not was_warm and self.records >= WARM_UP_RECORDS:
            gc.collect()
            gc.freeze()

    def _assembled(self, records: Sequence[Record]) -> tuple[Sequence[Tick], list[int]]:
        """The rows of some records, and the time of each."""
        take = self._assembler.take
        if len(records) == 1:
            rows = take(records[0])
            return rows.ticks, [rows.ts_recv] * len(rows.ticks)
        ticks: list[Tick] = []
        times: list[int] = []
        for rows in map(take, records):
            ticks += rows.ticks
            times += [rows.ts_recv] * len(rows.ticks)
        return ticks, times

    def _mind(self, symbol: str | None, note: str, seq: int) -> None:
        event = msgspec.json.decode(note, type=_Event).event
        self.events[event, symbol] += 1
        self._system.hear(note, symbol, seq)
        self.is_simulated |= event == SIMULATED
        if symbol is not None and event in HEALED_BY_THE_VENUE:
            self.feed.heal(symbol)
        if self.feed.lists_nothing:
            self.feed.stop()


def connections_in(folder: Path, header: LogHeader) -> int:
    """How many connections a recording has had that goes on in this folder: the number of its next one.

    Raises UserProblem for a recording of another venue, or of another kind of market: the two are not one tape, and
    what was added could never be read.
    """
    if not folder.is_dir() or is_recording(folder):  # held by another recorder, it is refused in any case
        return 0
    if not any(part.groups for part in parts_at([folder])):
        return 0
    tape = Tape.open(folder)
    before, wanted = (f"simulated {one.venue}" if one.simulated else one.venue for one in (tape.headers[0], header))
    if before != wanted:
        raise UserProblem(f"{folder}: expected a recording of {wanted} to go on with, found one of {before}")
    last: int = tape.table(["conn"], start_seq=tape.first_seq + tape.rows - 1)["conn"][0].as_py()
    return last + 1


class _Event(msgspec.Struct):
    event: str = ""
