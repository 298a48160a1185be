"""A run's ledger in memory: sealed segments read once, the open tail from where it was left."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from apps.queries import Connection, create_ledger_views, done, files_in_sql
from engine.events import Event
from recorder.ledger_rows import rows_of
from recorder.ledger_tail import read_tail
from recorder.runs import Manifest, segment_paths, tail_path

CURVE_STRETCHES = 2_048
"""Stretches of time, at most twice as many, in which equity is summed up as it arrives: no chart reads it all."""

CURVE_PIECES = 200
"""Looks after which rows of the same stretch are made into one."""

_TABLES = """
CREATE TABLE facts AS SELECT * REPLACE (type::VARCHAR AS type) FROM arriving LIMIT 0;
CREATE TABLE marks (strategy VARCHAR, seq BIGINT, tick_seq BIGINT, ts BIGINT, cash DECIMAL(38, 12),
    equity DECIMAL(38, 12), unknown VARCHAR);
CREATE TABLE telling AS FROM marks LIMIT 0;
CREATE TABLE known (strategy VARCHAR, seq BIGINT);
CREATE TABLE curves (strategy VARCHAR, stretch BIGINT, low DOUBLE, low_ts BIGINT, high DOUBLE, high_ts BIGINT,
    last DOUBLE, last_ts BIGINT, last_seq BIGINT);
CREATE VIEW events AS FROM facts UNION ALL BY NAME
    SELECT 'PortfolioMarked' AS type, * FROM telling;
"""

# The same views once more, over every mark there is: for what is asked seldom, and needs them all.
_WHOLE = """
CREATE SCHEMA whole;
SET schema = 'whole';
CREATE VIEW events AS FROM main.facts UNION ALL BY NAME
    SELECT 'PortfolioMarked' AS type, * FROM main.marks
    WHERE (strategy, seq) NOT IN (SELECT strategy, seq FROM main.facts WHERE type = 'PortfolioOpened');
"""

# Nine in ten events of a long run are marks, and all that a leaderboard needs of them is a handful: the first, the
# last, and the highs and lows of the deepest fall. So the marks stand apart, and the views of apps.queries see
# only those that make a difference to them: the same definitions, a hundredth of the work.
_TAKE = """
CREATE OR REPLACE TEMP TABLE new_marks AS
SELECT strategy, seq, tick_seq, ts, cash, if(type = 'PortfolioOpened', cash, equity) AS equity, unknown
FROM {source} AS arriving LEFT JOIN (SELECT strategy, seq AS before FROM known) USING (strategy)
WHERE type IN ('PortfolioOpened', 'PortfolioMarked') AND seq > coalesce(before, -1);
CREATE OR REPLACE TEMP TABLE new_facts AS
SELECT arriving.* REPLACE (arriving.type::VARCHAR AS type)
FROM {source} AS arriving LEFT JOIN (SELECT strategy, seq AS before FROM known) AS known USING (strategy)
WHERE arriving.type <> 'PortfolioMarked' AND arriving.seq > coalesce(before, -1);
"""

_KEEP = """
INSERT INTO facts BY NAME FROM new_facts;
INSERT INTO marks FROM new_marks;
CREATE OR REPLACE TABLE known AS SELECT strategy, max(seq) AS seq FROM (
    FROM known UNION ALL SELECT strategy, max(seq) FROM new_marks GROUP BY strategy
    UNION ALL SELECT strategy, max(seq) FROM new_facts GROUP BY strategy
) GROUP BY strategy;
"""

_TELLING = """
CREATE OR REPLACE TABLE telling AS
WITH candidate AS (FROM telling UNION ALL FROM new_marks), opened AS (
    SELECT strategy, min(seq) AS seq FROM facts WHERE type = 'PortfolioOpened' GROUP BY strategy
), followed AS (
    SELECT strategy, seq, equity FROM candidate
    UNION ALL SELECT strategy, seq, cash FROM facts WHERE type = 'PortfolioOpened'
), fallen AS (
    SELECT *, max(equity) OVER (PARTITION BY strategy ORDER BY seq ROWS UNBOUNDED PRECEDING) AS peak FROM followed
), depth AS (
    SELECT strategy, arg_max({seq: seq, peak: peak}, if(peak > 0, (peak - equity)::DOUBLE / peak::DOUBLE, 0)) AS trough,
        arg_max(seq, equity) AS top_seq, max(seq) AS last_seq
    FROM fallen GROUP BY strategy
), worth AS (
    SELECT strategy, min(seq) AS before_seq, any_value(trough.seq) AS trough_seq, any_value(top_seq) AS top_seq,
        any_value(last_seq) AS last_seq
    FROM depth JOIN followed USING (strategy) WHERE equity = trough.peak GROUP BY strategy
)
SELECT candidate.* FROM candidate JOIN worth USING (strategy) LEFT JOIN opened USING (strategy)
WHERE candidate.seq IN (trough_seq, before_seq, top_seq, last_seq) AND candidate.seq IS DISTINCT FROM opened.seq
"""

_CURVES = """
INSERT INTO curves
SELECT strategy, ts // {width} AS stretch, min(equity), arg_min(ts, equity), max(equity), arg_max(ts, equity),
    arg_max(equity, seq), arg_max(ts, seq), max(seq)
FROM new_marks WHERE equity IS NOT NULL GROUP BY ALL
"""

# What arrived in pieces becomes one row a stretch again, and two stretches become one where there are too many.
_TIDY_CURVES = """
CREATE OR REPLACE TABLE curves AS
SELECT strategy, stretch // {merged} AS stretch, min(low) AS low, arg_min(low_ts, low) AS low_ts, max(high) AS high,
    arg_max(high_ts, high) AS high_ts, arg_max(last, last_seq) AS last, arg_max(last_ts, last_seq) AS last_ts,
    max(last_seq) AS last_seq
FROM curves GROUP BY ALL
"""


class LedgerMemory:
    """The events of one run, in `con`; the views of `apps.queries` over them.

    facts:  every event but marks.
    marks:  every valuation of a desk, its opening cash the first one.
    whole:  the schema in which the views have all marks; those in `main` have what a leaderboard needs of them.
    curves: their lowest, highest and last equity in each stretch of time, perhaps in several rows.
    """

    def __init__(self, con: Connection) -> None:
        self._con = con
        self._segments: set[str] = set()
        self._tail = ""
        self._end = 0
        self._width = 1
        self._pieces = 0
        self.torn_bytes = 0
        with _arriving(con, ()):
            done(con, _TABLES)
        create_ledger_views(con)
        done(con, _WHOLE)
        create_ledger_views(con)
        done(con, "SET schema = 'main'")

    def take(self, run: Path, manifest: Manifest) -> bool:
        """Whatever is new; whether anything was. Raises FileNotFoundError where a file was sealed meanwhile."""
        is_new = False
        for path in segment_paths(run, manifest):
            if path.name not in self._segments:
                is_new |= self._insert(f"read_parquet({files_in_sql([path])})", path)
                self._segments.add(path.name)
        return self._take_tail(tail_path(run, manifest)) or is_new

    def _take_tail(self, path: Path | None) -> bool:
        if path is None:
            self._tail, self._end, self.torn_bytes = "", 0, 0
            return False
        if path.name != self._tail:
            self._tail, self._end = path.name, 0
        read = read_tail(path, self._end)
        self._end, self.torn_bytes = read.end, read.torn_bytes
        if not read.events:
            return False
        with _arriving(self._con, read.events):
            return self._insert("arriving")

    def _insert(self, source: str, file: Path | None = None) -> bool:
        """Events are known by desk and seq, so what was in the tail and is now in a segment is taken once."""
        done(self._con, _TAKE.format(source=source), reads=file)
        [found] = done(self._con, "SELECT (SELECT count(*) FROM new_marks) + (SELECT count(*) FROM new_facts)")
        if not found[0]:
            return False
        with _all_at_once(self._con):
            done(self._con, _KEEP)
            done(self._con, _TELLING)
            self._sum_up()
        return True

    def _sum_up(self) -> None:
        """The new marks into the curves."""
        [(first, last)] = done(
            self._con, "SELECT min(ts), max(ts) FROM (SELECT ts FROM new_marks UNION ALL SELECT low_ts FROM curves)"
        )
        if first is None:
            return
        width = self._width
        while (last - first) // width > 2 * CURVE_STRETCHES:
            width *= 2
        self._pieces += 1
        if width != self._width or self._pieces >= CURVE_PIECES:
            done(self._con, _TIDY_CURVES.format(merged=width // self._width))
            self._width, self._pieces = width, 0
        done(self._con, _CURVES.format(width=width))


@contextmanager
def _arriving(con: Connection, events: Sequence[Event]) -> Iterator[None]:
    """Events as the relation `arriving`."""
    con.register("arriving", rows_of(events))
    try:
        yield
    finally:
        con.unregister("arriving")


@contextmanager
def _all_at_once(con: Connection) -> Iterator[None]:
    """Who asks meanwhile sees all of it or nothing."""
    con.begin()
    try:
        yield
    except BaseException:
        con.rollback()
        raise
    con.commit()
