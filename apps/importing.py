"""Captures and tables made elsewhere, to tapes, through the same decoders that a live feed uses."""

import os
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from apps.problems import UserProblem, nearest
from apps.simulator import simulate
from engine.ticks import Tick
from recorder.assembly import VENUES, decoder_for
from recorder.import_table import ticks_table
from recorder.imports import CAPTURES, Counts, NoTimes, capture, stamp
from recorder.tape import Tape, TapeWriter
from recorder.tape_writer import unfinished
from recorder.venues import Decoder, Frame

FORMATS = (*CAPTURES, "ticks")
PLAIN_VENUE = "ticks"
"""The venue of a tape made of a plain table, unless the user names one."""
FROM_FRAMES = "frames"


class _Clock(msgspec.Struct):
    """The recorder's clock, as the frames tell of it, and how often it stepped back."""

    now: int | None = None
    reversals: int = 0

    def see(self, time: int | None) -> None:
        """The next frame was received at `time`, ns UTC, if that is known."""
        if time is not None:
            self.reversals += self.now is not None and time < self.now
            self.now = time


def import_files(kind: str, venue: str | None, paths: Sequence[Path], out: Path) -> Tape:
    """The files as a new tape at `out`. Raises a Problem for what cannot be imported; nothing is left behind then."""
    for written in (out, unfinished(out)):
        if written.exists() and any(path.exists() and path.samefile(written) for path in paths):
            raise UserProblem(f"{out}: expected the name of a new tape, found one of the files to import: {written}")
    if kind == "ticks":
        return _import_ticks(venue or PLAIN_VENUE, paths, out)
    if kind not in FORMATS:
        raise UserProblem(f"import {kind}: expected one of {', '.join(FORMATS)}{nearest(kind, FORMATS)}")
    if venue is None:
        raise UserProblem(f"import {kind}: expected --venue, one of {', '.join(VENUES)}")
    counts = Counts()
    time_source = FROM_FRAMES if kind == "frames" else "received"
    try:
        return write_tape(capture(kind, paths, counts), venue, out, source=f"import {kind}", time_source=time_source)
    except NoTimes as problem:
        raise UserProblem(f"{', '.join(map(str, paths))}: {problem}") from problem


def simulated_tape(seed: int, minutes: float, out: Path) -> Tape:
    """A tape of the simulated market. It says of itself that it is simulated."""
    source = f"simulate --seed {seed} --minutes {minutes:g}"
    return write_tape(simulate(seconds=minutes * 60, seed=seed), "kraken", out, source=source, simulated=True)


def write_tape(
    frames: Iterable[Frame],
    venue: str,
    out: Path,
    *,
    source: str,
    time_source: str = "received",
    simulated: bool = False,
) -> Tape:
    """Frames of one stream, decoded and written to a new tape, with a feed row for every connection."""
    if venue not in VENUES:
        raise UserProblem(f"--venue {venue}: expected one of {', '.join(VENUES)}{nearest(venue, VENUES)}")
    decoder = decoder_for(venue)
    announced: dict[int, list[Tick]] = {}
    clock = _Clock()
    with TapeWriter(
        _new(out),
        venue,
        source=source,
        libraries={"wspt": version("wspt")},
        time_source=time_source,
        simulated=simulated,
    ) as writer:
        for frame, ticks in stamp(_decoded(frames, decoder, announced, clock)):
            if frame.conn in announced:
                assert frame.ts_recv is not None
                writer.append_feed(frame.ts_recv, announced.pop(frame.conn), frame.conn)
            writer.append(frame, ticks)
        if writer.next_seq == 0:
            raise UserProblem(f"{out}: expected frames to import, found none")
        writer.close(decoder.quality, clock_reversals=clock.reversals)
    return Tape.open(out)


def _decoded(
    frames: Iterable[Frame], decoder: Decoder, announced: dict[int, list[Tick]], clock: _Clock
) -> Iterator[tuple[Frame, Sequence[Tick]]]:
    """Each frame with its ticks; the rows that announce its connection, where it is a new one, in `announced`."""
    conn: int | None = None
    for frame in frames:
        if frame.conn != conn:
            gone = [] if conn is None else decoder.disconnected(conn)
            announced[frame.conn] = [*gone, *decoder.connected(frame.conn)]
            conn = frame.conn
        clock.see(frame.ts_recv)  # before the times are smoothed, which hides what the clock did
        yield frame, decoder.decode(frame)


def _import_ticks(venue: str, paths: Sequence[Path], out: Path) -> Tape:
    if len(paths) != 1:
        raise UserProblem(f"import ticks: expected one file, found {len(paths)}")
    table = ticks_table(paths[0])
    with TapeWriter(_new(out), venue, source="import ticks", libraries={"wspt": version("wspt")}) as writer:
        for rows in table:
            writer.append_rows(rows)
        writer.close(table.quality, clock_reversals=table.time_reversals)
    return Tape.open(out)


def _new(out: Path) -> Path:
    """`out`, if a tape can be written there."""
    if out.is_dir():
        raise UserProblem(f"{out}: expected the name of a new tape file, found a folder")
    if out.exists() and not out.is_file():
        raise UserProblem(f"{out}: expected the name of a new tape file, found something that is no file")
    if not out.parent.is_dir():
        raise UserProblem(f"{out}: expected a folder to write it to, found no {out.parent}")
    if not os.access(out.parent, os.W_OK):
        raise UserProblem(f"{out}: expected a folder that can be written, found {out.parent} read-only")
    return out
