"""A run in SQL: its ledger and its tape as DuckDB views, to be read and never written."""

import math
import re
from collections.abc import Container, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Self
from weakref import finalize

import duckdb

from apps import metric_views
from apps.problems import UserProblem
from engine.ticks import KIND_NAMES
from recorder.ledger_columns import COLUMNS
from recorder.run_files import Look, RunFiles
from recorder.runs import Manifest, RunProblem

Connection = duckdb.DuckDBPyConnection


_INT64_MAX = 2**63 - 1


_TYPES = {bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE", str: "VARCHAR", Decimal: "DECIMAL(38, 12)"}


class QueryProblem(UserProblem):
    """A query that cannot be answered."""


# Exact where quote and desk currency are the same (no rate), good to 15 digits where they are not: the product of
# two decimals of 38 digits has no type.
_IN_DESK_CURRENCY = """
CREATE MACRO in_desk_currency(amount, rate) AS
    if(rate IS NULL, amount, CAST(amount::DOUBLE * rate::DOUBLE AS DECIMAL(38, 12)))
"""

_SIGNALS = """
SELECT raised.strategy, raised.seq, raised.tick_seq, raised.ts, raised.correlation_id, raised.action, raised.symbol,
    raised.given_size AS size, raised.size_in, raised.order_type, raised.given_price AS price,
    raised.given_limit_price AS limit_price, raised.given_stop_price AS stop_price,
    raised.given_trail_bps AS trail_bps, raised.given_stop_loss AS stop_loss,
    raised.given_take_profit AS take_profit, raised.time_in_force, raised.expires_at, raised.post_only,
    raised.reduce_only, raised.order_id, raised.reason, raised.metadata, raised.indicators,
    refused.correlation_id IS NOT NULL AS rejected, refused.reason AS rejection
FROM events AS raised
LEFT JOIN (FROM events WHERE type = 'SignalRejected') AS refused USING (strategy, correlation_id)
WHERE raised.type = 'SignalRaised'
"""

_ORDERS = """
WITH life AS (
    SELECT strategy, order_id, arg_max(type, seq) AS latest, arg_max(reason, seq) AS reason, max(ts) AS ended,
        arg_max_null("left", seq) FILTER (type = 'OrderFilled') AS "left",
        count(*) FILTER (type = 'StopTriggered') > 0 AS was_triggered,
        arg_max(queue_ahead, seq) AS queue_ahead,
        min(ts) FILTER (type = 'OrderFilled') AS first_fill, count(*) FILTER (type = 'OrderFilled') AS fills,
        sum(quantity) FILTER (type = 'OrderFilled') AS filled, sum(fee) AS fees
    FROM events
    WHERE type IN ('OrderRested', 'OrderFilled', 'OrderCanceled', 'OrderExpired', 'OrderRejected', 'StopTriggered')
    GROUP BY strategy, order_id
)
SELECT sent.strategy, sent.seq, sent.tick_seq, sent.ts, sent.order_id, sent.correlation_id, sent.symbol, sent.side,
    sent.order_type, sent.quantity, sent.notional, sent.limit_price, sent.stop_price, sent.trail_bps, sent.stop_loss,
    sent.take_profit, sent.time_in_force, sent.expires_at, sent.post_only, sent.reduce_only, sent.replaces,
    sent.purpose,
    CASE life.latest
        WHEN 'OrderRested' THEN if(sent.stop_price IS NULL AND sent.trail_bps IS NULL OR was_triggered,
            'resting', 'waiting')
        WHEN 'StopTriggered' THEN 'triggered'
        WHEN 'OrderFilled' THEN if(life."left" IS NULL, 'filled', 'partially filled')
        WHEN 'OrderCanceled' THEN 'canceled'
        WHEN 'OrderExpired' THEN 'expired'
        WHEN 'OrderRejected' THEN 'rejected'
        ELSE 'submitted'
    END AS status,
    life.reason, life.queue_ahead, sent.arrives_at, life.first_fill, life.ended, coalesce(life.fills, 0) AS fills,
    coalesce(life.filled, 0) AS filled, coalesce(life.fees, 0) AS fees
FROM events AS sent LEFT JOIN life USING (strategy, order_id)
WHERE sent.type = 'OrderSubmitted'
"""

_FILLS = """
SELECT fill.strategy, fill.seq, fill.tick_seq, fill.ts, fill.symbol, fill.side, fill.price, fill.quantity, fill.fee,
    fill.liquidity, fill.order_id, fill.correlation_id, fill.realized,
    if(sent.purpose = 'signal', raised.reason, sent.purpose) AS reason,
    fill.position, fill.cost, fill.cash, fill.rate, fill."left" AS remaining, fill.fee_base, fill.mid_at_decision,
    fill.mid_at_arrival, fill.spread_cost, fill.slippage_cost, raised.metadata
FROM events AS fill
LEFT JOIN (FROM events WHERE type = 'OrderSubmitted') AS sent USING (strategy, order_id)
LEFT JOIN (FROM events WHERE type = 'SignalRaised') AS raised
    ON raised.strategy = fill.strategy AND raised.correlation_id = fill.correlation_id
WHERE fill.type = 'OrderFilled'
"""

_POSITIONS = """
SELECT strategy, seq, tick_seq, ts, symbol, position, cost, cost / nullif(position, 0) AS entry_price,
    sum(realized) OVER (PARTITION BY strategy, symbol ORDER BY seq) AS realized
FROM events WHERE type = 'OrderFilled'
"""

_POSITIONS_NOW = """
FROM positions SELECT DISTINCT ON (strategy, symbol) * ORDER BY strategy, symbol, seq DESC
"""

_EQUITY = """
SELECT strategy, seq, tick_seq, ts, cash, if(type = 'PortfolioOpened', cash, equity) AS equity, unknown
FROM events WHERE type IN ('PortfolioOpened', 'PortfolioMarked')
"""

# A fill through zero ends one round trip and begins the next: what it realized, its fee included, belongs to the
# first, the position it left to the second. Hence `trip`, which counts the ends before a fill, and hence a trip's
# first fill of its own finds the position already there, opened at the price of the fill before it (`found`).
_ROUND_TRIPS = """
WITH fill AS (
    SELECT strategy, seq, ts, symbol, price, position,
        in_desk_currency(realized, rate) AS pnl, in_desk_currency(fee, rate) AS fee,
        lag(position, 1, 0) OVER desk AS before, lag(ts, 1, 0) OVER desk AS ts_before,
        lag(price) OVER desk AS price_before
    FROM events WHERE type = 'OrderFilled'
    WINDOW desk AS (PARTITION BY strategy, symbol ORDER BY seq)
), part AS (
    SELECT *, before <> 0 AND sign(position) <> sign(before) AS is_last FROM fill
), numbered AS (
    SELECT *, coalesce(sum(is_last::INTEGER) OVER (
        PARTITION BY strategy, symbol ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), 0) AS trip
    FROM part
), moved AS (
    SELECT *, if(before <> 0 AND seq = min(seq) OVER trip, abs(before), 0)::DOUBLE AS found,
        greatest(if(is_last, 0, abs(position)) - abs(before), 0)::DOUBLE AS entered,
        greatest(abs(before) - if(is_last, 0, abs(position)), 0)::DOUBLE AS exited
    FROM numbered
    WINDOW trip AS (PARTITION BY strategy, symbol, trip)
)
SELECT strategy, symbol, min(if(before = 0, ts, ts_before)) AS opened, max(ts) AS closed,
    if(min(if(before = 0, position, before)) > 0, 'long', 'short') AS side,
    max(greatest(abs(before), if(is_last, 0, abs(position)))) AS quantity,
    sum(found * coalesce(price_before, 0)::DOUBLE + entered * price::DOUBLE) / sum(found + entered) AS entry_price,
    sum(exited * price::DOUBLE) / sum(exited) AS exit_price,
    sum(pnl) AS pnl, sum(fee) AS fees, count(*) AS fills
FROM moved
GROUP BY strategy, symbol, trip
HAVING bool_or(is_last)
"""

# The opening cash is the first mark of every desk, so that a loss from the start is a drawdown too. Without fills
# equity is the opening cash, and pnl exactly zero.
_LEADERBOARD = """
WITH mark AS (
    SELECT strategy, seq, equity, max(equity) OVER (PARTITION BY strategy ORDER BY seq) AS peak FROM equity
), valued AS (
    SELECT strategy, arg_max_null(equity, seq) AS equity, arg_min(equity, seq) AS opening,
        max(if(peak > 0, (peak - equity)::DOUBLE / peak::DOUBLE, 0)) * 100 AS max_drawdown_pct
    FROM mark GROUP BY strategy
), happened AS (
    SELECT strategy,
        count(*) FILTER (type = 'OrderFilled') AS fills,
        coalesce(sum(in_desk_currency(fee, rate)), 0) AS fees,
        count(*) FILTER (type = 'SignalRaised') AS signals,
        count(*) FILTER (type = 'SignalRejected') AS rejected,
        first('failed: ' || exception || ' at ' || parse_filename(file) || ':' || line
            || coalesce(': ' || nullif(detail, ''), '') ORDER BY seq)
            FILTER (type = 'StrategyFailed') AS failed,
        first('halted: ' || reason ORDER BY seq) FILTER (type = 'DeskHalted') AS halted
    FROM events
    WHERE type IN ('OrderFilled', 'SignalRaised', 'SignalRejected', 'StrategyFailed', 'DeskHalted')
    GROUP BY strategy
), trips AS (
    SELECT strategy, count(*) AS round_trips, avg((pnl > 0)::INTEGER) AS win_rate,
        coalesce(sum(pnl) FILTER (pnl > 0), 0)::DOUBLE / -sum(pnl) FILTER (pnl < 0)::DOUBLE AS profit_factor
    FROM round_trips GROUP BY strategy
), held AS (
    SELECT strategy, count(*) FILTER (position <> 0) AS open_positions
    FROM (SELECT strategy, arg_max(position, seq) AS position FROM events WHERE type = 'OrderFilled'
        GROUP BY strategy, symbol)
    GROUP BY strategy
)
SELECT strategy AS name, equity, equity - opening AS pnl, (equity - opening)::DOUBLE / opening::DOUBLE * 100 AS roi_pct,
    coalesce(fees, 0) AS fees, coalesce(fills, 0) AS fills, coalesce(round_trips, 0) AS round_trips, win_rate,
    profit_factor, coalesce(max_drawdown_pct, 0) AS max_drawdown_pct, coalesce(open_positions, 0) AS open_positions,
    coalesce(signals, 0) AS signals, coalesce(rejected, 0) AS rejected, coalesce(failed, halted, 'ok') AS status
FROM valued
LEFT JOIN happened USING (strategy) LEFT JOIN trips USING (strategy) LEFT JOIN held USING (strategy)
ORDER BY equity DESC NULLS LAST, name
"""

_LEDGER_VIEWS = {
    "signals": _SIGNALS,
    "orders": _ORDERS,
    "fills": _FILLS,
    "positions": _POSITIONS,
    "positions_now": _POSITIONS_NOW,
    "equity": _EQUITY,
    "round_trips": _ROUND_TRIPS,
    "leaderboard": _LEADERBOARD,
    **metric_views.LEDGER_VIEWS,
}

_TAPE_VIEWS = {
    "trades": """
SELECT seq, ts_recv, ts_event, venue, symbol, CASE side WHEN 1 THEN 'buy' WHEN -1 THEN 'sell' END AS side, price, size,
    trade_id
FROM ticks WHERE kind = 'trade'
""",
    "quotes": """
SELECT seq, ts_recv, ts_event, venue, symbol, bid, bid_size, ask, ask_size FROM ticks WHERE kind = 'quote'
""",
    "feed": """
SELECT seq, ts_recv, venue, symbol, note->>'event' AS event, note, conn FROM ticks WHERE kind = 'feed'
""",
    **metric_views.TAPE_VIEWS,
}

ALL_VIEWS = frozenset({"ticks", *_LEDGER_VIEWS, *_TAPE_VIEWS})
_WORD = re.compile(r"\w+")


def open_run(
    run: Path,
    manifest: Manifest | None = None,
    *,
    with_log: bool = True,
    memory_most: str | None = None,
    only_for: str | None = None,
) -> Connection:
    """A connection of its own to one run: a view for everything in its ledger and, where it is there, its tape.

    Of a run that is still being written, or was killed, they show what was on disk at this moment.

    events         everything, as wide as the ledger; the others are made of it.
    signals        what strategies wanted, and whether and why it was rejected.
    orders         what was submitted, and what became of it.
    fills          with the reason of their signal, or stop_loss or take_profit, and its metadata.
    positions      each position after each fill; positions_now after the last one.
    equity         the marks of each desk, its opening cash the first one.
    round_trips    from flat to flat, or through zero, in the desk's currency and net of fees; its entry_price and
                   exit_price are averages over what its fills added to the position and took off it.
    leaderboard    a row a desk, the best first.
    equity_curve   the equity at fixed intervals of tape time, and its change over each: of a day, an hour, a minute,
                   10 s or 1 s the longest that leaves 30 of them.
    metrics        a row a desk: Sharpe and Sortino of those changes, annualized by the square root of how many of
                   them a year of 365 days has, without a risk-free rate, and null where there are fewer than 30;
                   drawdown over all marks; the mean round trip's P&L (expectancy) and length; the share of time with
                   anything open; what was traded over the capital.
    attribution    a row a desk: what its P&L is made of. The price move is what there would have been at the mids
                   that its orders met; spread, slippage and fees took the rest. The parts add up to the whole.
    fill_attribution  the same for each fill, held to the tape's last mid, in quote currency; `delay` is the part of
                   the price move that passed while the order was under way.
    symbol_pnl     a row a desk and symbol, in quote currency; what is open is marked at the tape's last mid.
    markouts       of each fill the mid 1, 5 and 30 s after it, and how far it had moved our way, in basis points.
    ticks          the tape's rows that the run was made of, without raw messages.
    trades, quotes, feed    those of one kind.

    Times are int64 ns UTC: `make_timestamp_ns(ts)` shows one as a date. Money is decimal, market data double.
    Nothing but these files can be read through it, and nothing written, installed or configured.

    manifest:  the run's, where it is at hand.
    with_log:  whether to decode what only the open log of a tape holds that is being recorded; without it the
               tape ends with its last sealed part.
    memory_most:  what a question may need, such as "2GB": one that needs more is refused, and nothing is put on disk
               for it. None for most of the machine, and the disk after that.
    only_for:  the one query that will be asked: views that it is not made of are left out, which saves their time.

    Raises RunProblem where the ledger is not what the manifest says, QueryProblem where DuckDB cannot read it.
    """
    files = RunFiles(run)
    try:
        con = _connection(run, files.look(manifest, with_log=with_log), memory_most, only_for)
    except BaseException:
        files.close()
        raise
    finalize(con, files.close)
    return con


class OpenRun:
    """A run for a reader who looks again and again, such as a page that refreshes while the run goes on.

    `look` costs what was written since the look before, not what was written at all: sealed segments and parts stay
    where they are, the ledger's open tail is read from where the reading ended. Use it from one thread at a time, and
    as a context manager, or `close` it.

        with OpenRun(run) as source:
            while True:
                con = source.look()             # views as of now
                show(rows(con, "FROM leaderboard"), source.manifest.status)
                con.close()

    manifest:  what the run said of itself at the latest look.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.manifest: Manifest | None = None
        self._files = RunFiles(run)

    def look(self, *, with_log: bool = True) -> Connection:
        """A new connection, as `open_run` makes it, to the run as it is now; those of earlier looks are outdated."""
        look = self._files.look(with_log=with_log)
        self.manifest = look.manifest
        return _connection(self.run, look)

    def close(self) -> None:
        """Remove what was kept of open files; no connection can be used any more."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def names_ticks(sql: str) -> bool:
    """Whether a query may be about the tape, whose open log takes its time to decode."""
    return any(re.search(rf"\b{view}\b", sql, re.IGNORECASE) for view in ("ticks", *_TAPE_VIEWS))


def table(con: Connection, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The names of the columns and the rows that a SELECT gives, as DuckDB's Python values.

    Raises QueryProblem in DuckDB's words, or where the query is anything but one SELECT.
    """
    try:
        _check_only_reads(con, sql)
        answer = con.execute(sql)
        return [column[0] for column in answer.description or ()], answer.fetchall()
    except duckdb.Error as error:
        raise QueryProblem(_sentence(error)) from error


def some(con: Connection, sql: str, most: int) -> tuple[Any, bool]:
    """At most so many rows of what a SELECT gives, as a pyarrow Table, and whether there are more.

    Raises QueryProblem like `table`.
    """
    try:
        _check_only_reads(con, sql)
        found = con.sql(sql).limit(most + 1).to_arrow_table()
    except duckdb.Error as error:
        raise QueryProblem(_sentence(error)) from error
    return found.slice(0, most), found.num_rows > most


def rows(con: Connection, sql: str) -> list[dict[str, Any]]:
    """The rows that a SELECT gives, as JSON has them.

    Decimals are text without exponent and without trailing zeros, numbers that are not finite are null, and what
    JSON does not know, such as a date, is text. Of two columns with one name the second is `name_2`. Raises
    QueryProblem like `table`.
    """
    names, found = table(con, sql)
    own = _unlike(names)
    return [dict(zip(own, map(_plain, row), strict=True)) for row in found]


def _unlike(names: Sequence[str]) -> list[str]:
    """The names of columns, no two alike: an object has one value of a name."""
    own: list[str] = []
    for name in names:
        number, unlike = 1, name
        while unlike in own or (number > 1 and unlike in names):
            number += 1
            unlike = f"{name}_{number}"
        own.append(unlike)
    return own


def in_memory(threads: int | None = None) -> Connection:
    """A database with nothing in it, for a reader who keeps a run in memory; nothing outside of it shall be named.

    threads:  that may answer a query; None for one a core.
    """
    config: dict[str, Any] = {"python_enable_replacements": False}
    return duckdb.connect(config=config | ({} if threads is None else {"threads": threads}))


def done(con: Connection, sql: str, *, reads: Path | None = None) -> list[tuple[Any, ...]]:
    """Run statements of our own to their end: a connection with half an answer takes nothing else in.

    reads:  the file that they read: what they fail on is damage in it, and a QueryProblem.
    """
    try:
        return con.execute(sql).fetchall()
    except duckdb.Error as error:
        if reads is None:
            raise
        raise QueryProblem(f"{reads}: expected Parquet that can be read, found: {_sentence(error)}") from error


def create_ledger_views(con: Connection, wanted: Container[str] = ALL_VIEWS) -> None:
    """The views that `open_run` has of a ledger, over whatever is called `events` there."""
    con.execute(_IN_DESK_CURRENCY)
    _create(con, _LEDGER_VIEWS, wanted)


def create_tape_views(con: Connection, ticks: str, wanted: Container[str] = ALL_VIEWS) -> None:
    """The views that `open_run` has of a tape, `ticks` made of a relation with the columns of a tape."""
    con.execute(f"""
        CREATE OR REPLACE VIEW ticks AS
        SELECT * EXCLUDE (frame, url) REPLACE (CASE kind {_when_kinds()} END AS kind) FROM {ticks}
    """)
    _create(con, _TAPE_VIEWS, wanted)


def _connection(run: Path, look: Look, memory_most: str | None = None, only_for: str | None = None) -> Connection:
    if not look.ledger:
        raise RunProblem(f"{run}: expected a ledger, found none yet")
    try:
        return _views(look.ledger, look.tape, look.manifest, memory_most, only_for)
    except duckdb.Error as error:
        raise QueryProblem(f"{run}: {_sentence(error)}") from error


def _views(
    ledger: Sequence[Path],
    tape: Sequence[Path],
    manifest: Manifest,
    memory_most: str | None,
    only_for: str | None,
) -> Connection:
    config: dict[str, Any] = {"python_enable_replacements": False}
    if memory_most is not None:
        config |= {"memory_limit": memory_most, "temp_directory": ""}
    con = duckdb.connect(config=config)
    # Each view reads the files' footers anew otherwise: half of what a leaderboard costs.
    con.execute("SET parquet_metadata_cache = true")
    _lock(con, [*ledger, *tape])
    # A ledger has the columns that there were when it was written; what came later is null in it.
    con.execute(f"CREATE VIEW events AS {_no_events()} UNION ALL BY NAME FROM read_parquet({files_in_sql(ledger)})")
    wanted = ALL_VIEWS if only_for is None else _views_in(only_for)
    create_ledger_views(con, wanted)
    stop_seq = manifest.tape.stop_seq if manifest.status != "running" else _INT64_MAX
    if tape and wanted & {"ticks", *_TAPE_VIEWS}:
        rows = f"read_parquet({files_in_sql(tape)}) WHERE seq >= {manifest.tape.first_seq} AND seq < {stop_seq}"
        create_tape_views(con, rows, wanted)
    return con


def _views_in(sql: str) -> frozenset[str]:
    """The views that a query names, and those that they are made of."""
    texts, found, new = {"ticks": "", **_LEDGER_VIEWS, **_TAPE_VIEWS}, set[str](), {sql}
    while new:
        names = {name for text in new for name in _WORD.findall(text.lower()) if name in texts}
        new = {texts[name] for name in names - found}
        found |= names
    return frozenset(found)


def _no_events() -> str:
    """A relation without rows, of all columns that events have."""
    columns = {column.name: _TYPES[column.kind] for columns in COLUMNS.values() for column in columns}
    nulls = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in {"type": "VARCHAR", **columns}.items())
    return f"(SELECT {nulls} LIMIT 0)"


def _lock(con: Connection, files: Iterable[Path]) -> None:
    """From here on the connection reaches these files, no others, and no setting."""
    con.execute(f"SET allowed_paths = {files_in_sql(files)}")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")


def _create(con: Connection, views: dict[str, str], wanted: Container[str]) -> None:
    for name, sql in views.items():
        if name in wanted:
            con.execute(f"CREATE OR REPLACE VIEW {name} AS {sql}")


def _when_kinds() -> str:
    return " ".join(f"WHEN {kind} THEN '{name}'" for kind, name in enumerate(KIND_NAMES))


def files_in_sql(paths: Iterable[Path]) -> str:
    """The paths as a list in SQL."""
    return "[" + ", ".join("'" + str(path.resolve()).replace("'", "''") + "'" for path in paths) + "]"


def _check_only_reads(con: Connection, sql: str) -> None:
    # The lock alone would let `COPY ... TO` overwrite the very files that may be read.
    statements = con.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryProblem("expected one SELECT (or FROM, SHOW, DESCRIBE, SUMMARIZE), found something else")


def _sentence(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]


def _plain(value: Any) -> Any:  # whatever DuckDB has a type for
    match value:
        case Decimal():
            text = f"{value:f}"
            return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int() | str():
            return value
        case list() | tuple():
            return [_plain(part) for part in value]
        case dict():
            return {str(key): _plain(part) for key, part in value.items()}
        case _:
            return str(value)
