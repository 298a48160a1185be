"""A run's tape in memory: its trades and quotes as bars, its feed rows, and what only the open log holds yet."""

import threading
from collections.abc import Sequence
from pathlib import Path

from apps.queries import Connection, create_tape_views, done, files_in_sql
from recorder.log_tail import LogTail
from recorder.problems import Problem
from recorder.run_files import own_tape
from recorder.runs import Manifest
from recorder.tape import Tape
from recorder.tape_columns import NO_ROWS

BARS_WANTED = 5_000
"""Bars a symbol at least, over a whole tape: charts are made of them, so that they do not read ten million rows."""
CHUNK_ROWS = 1_000_000
"""Rows of a tape that are made into bars at a time; further chunks are left to a thread."""

MESSAGE_ROWS_MAX = 20_000
"""Rows of one message at most: a whole book."""

_WIDTHS_MS = (10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)

_TABLES = """
CREATE TABLE bars (symbol VARCHAR, bucket BIGINT, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE,
    volume DOUBLE, bought DOUBLE, trades BIGINT, bid DOUBLE, ask DOUBLE, bid_size DOUBLE, ask_size DOUBLE,
    spread_low DOUBLE, spread_sum DOUBLE, spread_high DOUBLE, quotes BIGINT,
    first_seq BIGINT, last_seq BIGINT, last_ts BIGINT);
CREATE TABLE feed_rows (seq BIGINT, ts BIGINT, symbol VARCHAR, event VARCHAR, note VARCHAR);
CREATE TABLE book_starts (symbol VARCHAR, seq BIGINT, ts BIGINT);
CREATE TABLE unsealed AS FROM arriving;
"""

# Within a message only the last row has the touch after it; a crossed or half-known touch is no spread.
_BARS = """
SELECT symbol, ts_recv // {width} AS bucket,
    arg_min(price, seq) FILTER (kind = 1) AS open, max(price) FILTER (kind = 1) AS high,
    min(price) FILTER (kind = 1) AS low, arg_max(price, seq) FILTER (kind = 1) AS close,
    coalesce(sum(size) FILTER (kind = 1), 0) AS volume,
    coalesce(sum(size) FILTER (kind = 1 AND side = 1), 0) AS bought, count(*) FILTER (kind = 1) AS trades,
    arg_max(bid, seq) FILTER (flags & 1 = 1 AND bid < ask) AS bid,
    arg_max(ask, seq) FILTER (flags & 1 = 1 AND bid < ask) AS ask,
    arg_max(bid_size, seq) FILTER (flags & 1 = 1 AND bid < ask) AS bid_size,
    arg_max(ask_size, seq) FILTER (flags & 1 = 1 AND bid < ask) AS ask_size,
    min(ask - bid) FILTER (flags & 1 = 1 AND bid < ask) AS spread_low,
    sum(ask - bid) FILTER (flags & 1 = 1 AND bid < ask) AS spread_sum,
    max(ask - bid) FILTER (flags & 1 = 1 AND bid < ask) AS spread_high,
    count(*) FILTER (flags & 1 = 1 AND bid < ask) AS quotes,
    min(seq) AS first_seq, max(seq) AS last_seq, max(ts_recv) AS last_ts
FROM {rows} WHERE symbol IS NOT NULL AND kind IN (1, 2, 3) AND {where} GROUP BY 1, 2
"""

_FEED = """
SELECT seq, ts_recv AS ts, symbol, note->>'event' AS event, note
FROM {rows} WHERE kind = 4 AND note->>'event' <> 'clock' AND {where}
"""

# The first row of a snapshot's message: a few rows before the chunk are looked at again, as it may begin there.
_STARTS = """
SELECT symbol, seq, ts FROM (
    SELECT symbol, seq, ts_recv AS ts, lag(seq) OVER rows AS before, lag(flags) OVER rows AS flags_before
    FROM {rows} WHERE kind = 3 AND flags & 2 = 2 AND {where_before}
    WINDOW rows AS (PARTITION BY symbol ORDER BY seq)
) WHERE (before IS NULL OR before <> seq - 1 OR flags_before & 1 = 1) AND {where}
"""


class TapeMemory:
    """The ticks of one run in `con`, as the views `ticks`, `trades`, `quotes`, `feed`, and for charts:

    price_bars:  a row a symbol and `width_ns` of time (`bucket * width_ns`); of one bucket there may be several,
                 in the order of `first_seq`.
    feed_events: the feed's rows but the clock's.
    book_begins: the first row of every snapshot of a book.

    width_ns:  of a bar.
    chunks:    of the sealed rows that were made into bars.
    progress:  share of the sealed rows that the bars hold, 0 to 1.
    problem:   why there is no tape, or empty.
    """

    def __init__(self, con: Connection) -> None:
        self.width_ns = 1_000_000_000
        self.chunks = 0
        self.progress = 1.0
        self.problem = ""
        self._con = con
        self._files: list[Path] = []
        self._first = self._upto = self._stop = 0
        self._tail: LogTail | None = None
        self._thread: threading.Thread | None = None
        con.register("arriving", NO_ROWS)
        done(con, _TABLES)
        con.unregister("arriving")
        self._create_views()

    def take(self, run: Path, manifest: Manifest, *, is_open: bool) -> bool:
        """Whatever is new; whether anything was.

        is_open:  the manifest does not say yet where the run's part of the tape ends.
        """
        try:
            places = own_tape(run, manifest)
            files = [file for place in places for file in _sealed(place)]
            is_new = self._take_sealed(files, manifest, is_open)
            if is_open and len(places) == 1 and places[0].is_dir():
                is_new |= self._take_tail(places[0])
            self.problem = "" if self._files or self._tail else "Nothing has been recorded yet."
        except (Problem, OSError) as problem:
            self.problem = str(problem)
            return False
        return is_new

    @property
    def has_ticks(self) -> bool:
        """Whether there is anything to be asked."""
        return bool(self._files) or self._tail is not None

    @property
    def files(self) -> list[Path]:
        """The sealed files."""
        return self._files

    def wait(self) -> None:
        """Until the bars hold the whole tape."""
        if (thread := self._thread) is not None:
            thread.join()

    def close(self) -> None:
        """Let open files go."""
        self._stop = 0  # whoever fills the bars stops at its next chunk
        self.wait()
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    def _take_sealed(self, files: list[Path], manifest: Manifest, is_open: bool) -> bool:
        if files == self._files and is_open:
            return False
        stop = self._stop
        if files != self._files:
            tape = Tape.open(files)
            if not self._files:
                self._first = self._upto = max(tape.first_seq, manifest.tape.first_seq)
                self.width_ns = 1_000_000_000 if is_open else _width_ns(tape.end - tape.start)
            stop = tape.first_seq + tape.rows
        if not is_open:
            stop = min(stop, manifest.tape.stop_seq)
            self.close()
        if files == self._files and stop == self._stop:
            return False
        self._files, self._stop = files, stop
        self._create_views()
        done(self._con, f"DELETE FROM unsealed WHERE seq < {stop}")
        self._fill()
        return True

    def _take_tail(self, folder: Path) -> bool:
        if self._tail is None:
            self._tail = LogTail(folder)
        rows = self._tail.read()
        if not len(rows):
            return False
        self._con.register("arriving", rows)
        done(self._con, f"INSERT INTO unsealed FROM arriving WHERE seq >= {self._stop}")
        self._con.unregister("arriving")
        return True

    def _fill(self) -> None:
        """The first chunk at once, so that a page has something to show, the rest while it is looked at."""
        self._fill_chunk(self._con)
        if self._upto < self._stop and self._thread is None:
            self._thread = threading.Thread(target=self._fill_rest, name="bars", daemon=True)
            self._thread.start()

    def _fill_rest(self) -> None:
        con = self._con.cursor()
        try:
            while self._upto < self._stop:
                self._fill_chunk(con)
        except Problem as problem:
            self.problem = str(problem)
        self._thread = None

    def _fill_chunk(self, con: Connection) -> None:
        stop = min(self._stop, self._upto + CHUNK_ROWS)
        chunk = {
            "rows": f"read_parquet({files_in_sql(self._files)})",
            "where": f"seq >= {self._upto} AND seq < {stop}",
            "where_before": f"seq >= {self._upto - MESSAGE_ROWS_MAX} AND seq < {stop}",
            "width": self.width_ns,
        }
        tape = self._files[0]
        done(con, f"INSERT INTO bars {_BARS.format(**chunk)}", reads=tape)
        done(con, f"INSERT INTO feed_rows {_FEED.format(**chunk)}", reads=tape)
        done(con, f"INSERT INTO book_starts {_STARTS.format(**chunk)}", reads=tape)
        self._upto = stop
        self.progress = self._upto / max(self._stop, 1)
        self.chunks += 1

    def _create_views(self) -> None:
        where = f"seq >= {self._first} AND seq < {self._stop}"
        sealed = f"FROM read_parquet({files_in_sql(self._files)}) WHERE {where} UNION ALL BY NAME "
        create_tape_views(self._con, f"({sealed if self._files else ''}FROM unsealed)")
        fresh = {"rows": "unsealed", "where": "true", "where_before": "true", "width": self.width_ns}
        done(
            self._con,
            f"""
            CREATE OR REPLACE VIEW price_bars AS FROM bars UNION ALL {_BARS.format(**fresh)};
            CREATE OR REPLACE VIEW feed_events AS FROM feed_rows UNION ALL {_FEED.format(**fresh)};
            CREATE OR REPLACE VIEW book_begins AS FROM book_starts UNION ALL {_STARTS.format(**fresh)};
        """,
        )


def _sealed(place: Path) -> Sequence[Path]:
    return sorted(place.glob("*.parquet")) if place.is_dir() else [place]


def _width_ns(duration_ns: int) -> int:
    """The widest of the usual widths that still gives enough bars."""
    fitting = [width for width in _WIDTHS_MS if duration_ns // (width * 1_000_000) >= BARS_WANTED]
    return max(fitting, default=_WIDTHS_MS[0]) * 1_000_000
