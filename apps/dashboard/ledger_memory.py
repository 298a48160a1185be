"""A run's ledger in memory: sealed segments read once, the open tail from where it was left."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from apps.queries import Connection, create_ledger_views, files_in_sql
from engine.events import Event
from recorder.ledger_rows import rows_of
from recorder.ledger_tail import read_tail
from recorder.runs import Manifest, segment_paths, tail_path

# Nine in ten events of a long run are marks, and all that a leaderboard needs of them is a handful: the first, the
# last, and the highs and lows of the deepest fall. So the marks stand apart, and the views of apps.queries see
# only those that make a difference to them: the same definitions, a hundredth of the work.
_TABLES = """
CREATE TABLE facts AS SELECT * REPLACE (type::VARCHAR AS type) FROM arriving LIMIT 0;
CREATE TABLE marks (strategy VARCHAR, seq BIGINT, tick_seq BIGINT, ts BIGINT, cash DECIMAL(38, 12),
    equity DECIMAL(38, 12), unknown VARCHAR);
CREATE TABLE telling AS FROM marks LIMIT 0;
CREATE TABLE known (strategy VARCHAR, seq BIGINT);
CREATE VIEW events AS FROM facts UNION ALL BY NAME
    SELECT 'PortfolioMarked' AS type, * FROM telling;
"""

_NEWS = """
CREATE OR REPLACE TEMP TABLE news AS
SELECT arriving.* REPLACE (arriving.type::VARCHAR AS type) FROM {source} AS arriving
LEFT JOIN known USING (strategy)
WHERE arriving.seq > coalesce(known.seq, -1)
"""

_TAKE = """
INSERT INTO facts BY NAME FROM news WHERE type <> 'PortfolioMarked';
INSERT INTO marks SELECT strategy, seq, tick_seq, ts, cash, if(type = 'PortfolioOpened', cash, equity), unknown
    FROM news WHERE type IN ('PortfolioOpened', 'PortfolioMarked');
CREATE OR REPLACE TABLE known AS
    SELECT strategy, max(seq) AS seq FROM (FROM known UNION ALL SELECT strategy, seq FROM news) GROUP BY strategy;
"""

_TELLING = """
CREATE OR REPLACE TABLE telling AS
WITH candidate AS (
    FROM telling UNION SELECT strategy, seq, tick_seq, ts, cash, equity, unknown FROM news
    WHERE type = 'PortfolioMarked'
), followed AS (
    SELECT strategy, seq, equity FROM candidate
    UNION ALL SELECT strategy, seq, cash FROM facts WHERE type = 'PortfolioOpened'
), fallen AS (
    SELECT *, max(equity) OVER desk AS peak, arg_max(seq, equity) OVER desk AS peak_seq FROM followed
    WINDOW desk AS (PARTITION BY strategy ORDER BY seq)
), worth AS (
    SELECT strategy, arg_max(seq, if(peak > 0, (peak - equity)::DOUBLE / peak::DOUBLE, 0)) AS trough_seq,
        arg_max(peak_seq, if(peak > 0, (peak - equity)::DOUBLE / peak::DOUBLE, 0)) AS before_seq,
        arg_max(seq, equity) AS top_seq, max(seq) AS last_seq
    FROM fallen GROUP BY strategy
)
SELECT candidate.* FROM candidate JOIN worth USING (strategy)
WHERE candidate.seq IN (trough_seq, before_seq, top_seq, last_seq)
"""


class LedgerMemory:
    """The events of one run, in `con`; the views of `apps.queries` over them.

    facts:  every event but marks.
    marks:  every valuation of a desk, its opening cash the first one.
    """

    def __init__(self, con: Connection) -> None:
        self._con = con
        self._segments: set[str] = set()
        self._tail = ""
        self._end = 0
        self.torn_bytes = 0
        with _arriving(con, ()):
            con.execute(_TABLES)
        create_ledger_views(con)

    def take(self, run: Path, manifest: Manifest) -> bool:
        """Whatever is new; whether anything was. Raises FileNotFoundError where a file was sealed meanwhile."""
        is_new = False
        for path in segment_paths(run, manifest):
            if path.name not in self._segments:
                is_new |= self._insert(f"read_parquet({files_in_sql([path])})")
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

    def _insert(self, source: str) -> bool:
        """Events are known by desk and seq, so what was in the tail and is now in a segment is taken once."""
        self._con.execute(_NEWS.format(source=source))
        found = self._con.execute("SELECT count(*) FROM news").fetchone()
        if not found or not found[0]:
            return False
        with _all_at_once(self._con):
            self._con.execute(_TAKE)
            self._con.execute(_TELLING)
        return True


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
