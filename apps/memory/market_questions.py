"""What the pages ask of a run's tape, by name. Times are int64 ns UTC, prices quote currency per base unit."""

from apps.memory.questions import POINTS
from apps.memory.run_memory import Row, RunMemory

TROUBLE = frozenset({"disconnected", "gap", "checksum", "stale", "crossed", "trade_gap", "rejected"})
"""Events of the feed which mean that something went wrong."""


def symbols(run: RunMemory) -> list[str]:
    """Every symbol that was heard of, by name."""
    return [row["symbol"] for row in run.ask("SELECT DISTINCT symbol FROM price_bars ORDER BY symbol", of="tape")]


def prices(run: RunMemory) -> list[Row]:
    """A row a symbol: latest trade, touch, spread, and the change since the tape began."""
    return run.ask(_PRICES, of="tape")


def price_sparks(run: RunMemory, points: int) -> list[Row]:
    """For each symbol (name) a few of its prices over time, as (ts, value)."""
    return run.ask(_SPARKS, {"width": run.tape.width_ns, "points": points}, of="tape", for_s=2.0)


def last_heard(run: RunMemory) -> int | None:
    """Time of the latest tick."""
    [row] = run.ask("SELECT max(last_ts) AS ts FROM price_bars", of="tape")
    last: int | None = row["ts"]
    return last


def heard(run: RunMemory) -> tuple[int, int]:
    """Time of the first bar and of the latest tick; (0, 0) where there is none."""
    [row] = run.ask(
        "SELECT coalesce(min(bucket) * $width, 0)::BIGINT AS first, coalesce(max(last_ts), 0) AS last FROM price_bars",
        {"width": run.tape.width_ns},
    )
    return int(row["first"]), int(row["last"])


def feed_health(run: RunMemory) -> list[Row]:
    """A row a symbol: time of its latest tick, and how often what went wrong."""
    return run.ask(_HEALTH, of="tape")


def ticks_known(run: RunMemory) -> int:
    """How many rows the tape has, as far as its markets have spoken."""
    [row] = run.ask("SELECT coalesce(max(last_seq) - min(first_seq) + 1, 0) AS rows FROM price_bars", of="tape")
    return int(row["rows"])


def connections(run: RunMemory) -> Row:
    """How often the feed connected and lost its connection, and whether it has one now."""
    [row] = run.ask(_CONNECTIONS, of="tape")
    return row


def candles(run: RunMemory, symbol: str, count: int = POINTS // 2) -> list[Row]:
    """Open, high, low, close and volume over the whole tape, in at most `count` bars; quiet ones are left out."""
    return run.ask(_CANDLES, {"symbol": symbol, "width": run.tape.width_ns, "count": count}, of="tape")


def spreads(run: RunMemory, symbol: str, count: int = POINTS // 2) -> list[Row]:
    """Lowest, mean and highest spread in bps of the middle over the whole tape, in at most `count` stretches."""
    return run.ask(_SPREADS, {"symbol": symbol, "width": run.tape.width_ns, "count": count}, of="tape")


def price_places(run: RunMemory) -> dict[str, int]:
    """Decimals of each symbol's prices: those of the venue's step, or as many as its bars need."""
    return {row["symbol"]: row["places"] for row in run.ask(_PLACES, of="tape", for_s=30.0)}


def feed_rows(run: RunMemory, count: int) -> list[Row]:
    """The feed's latest rows, the newest first."""
    return run.ask("FROM feed_events ORDER BY seq DESC LIMIT $count", {"count": count}, of="tape")


def trades_before(run: RunMemory, symbol: str, ts: int, count: int) -> list[Row]:
    """The last trades at a moment, the newest first."""
    return run.ask(
        "SELECT seq, ts_recv AS ts, side, price, size FROM trades WHERE symbol = $symbol AND ts_recv <= $ts "
        "AND seq > $since ORDER BY seq DESC LIMIT $count",
        {"symbol": symbol, "ts": ts, "count": count, "since": _shortly_before(run, ts)},
        of="tape",
    )


def book_at(run: RunMemory, symbol: str, ts: int, depth: int) -> list[Row]:
    """The best levels as they stood at a moment, as (name: bid or ask, price, size), the best of each first.

    Empty on a feed without a book, and between the loss of a connection and the next snapshot. What cleared the book
    is looked for first: a level after it is what was last said of it.
    """
    [cleared] = run.ask(_CLEARED, {"symbol": symbol, "ts": ts}, of="tape")
    if cleared["seq"] is None:
        return []
    return run.ask(_BOOK, {"symbol": symbol, "ts": ts, "depth": depth, "since": cleared["seq"]}, of="tape")


def touch_at(run: RunMemory, ts: int) -> list[Row]:
    """Each symbol's latest price and touch at a moment, good to the width of a bar."""
    return run.ask(_TOUCH_AT, {"bucket": ts // run.tape.width_ns}, of="tape")


def _shortly_before(run: RunMemory, ts: int) -> int:
    """A seq some thousands of rows before a moment, so that a look around it need not read the tape from its start."""
    [row] = run.ask(
        "SELECT max(first_seq) AS seq FROM price_bars WHERE bucket <= $bucket",
        {"bucket": ts // run.tape.width_ns},
        of="tape",
    )
    return max(0, (row["seq"] or 0) - 50_000)


_PRICES = """
SELECT symbol, arg_max(close, last_seq) FILTER (close IS NOT NULL) AS price,
    arg_min(open, first_seq) FILTER (open IS NOT NULL) AS opening,
    arg_max(bid, last_seq) FILTER (bid IS NOT NULL) AS bid, arg_max(ask, last_seq) FILTER (ask IS NOT NULL) AS ask,
    sum(volume) AS volume, sum(trades)::BIGINT AS trades, max(last_ts) AS last_ts
FROM price_bars GROUP BY symbol ORDER BY symbol
"""

_SPARKS = """
WITH span AS (SELECT greatest((max(bucket) - min(bucket)) // $points, 1) AS wide FROM price_bars)
SELECT symbol AS name, max(bucket) * $width AS ts, arg_max(close, last_seq) AS value
FROM price_bars, span WHERE close IS NOT NULL GROUP BY symbol, bucket // wide ORDER BY symbol, ts
"""

_HEALTH = """
WITH trouble AS (
    SELECT symbol, count(*) FILTER (event IN ('gap', 'trade_gap')) AS gaps,
        count(*) FILTER (event = 'checksum') AS checksums,
        count(*) FILTER (event = 'stale') AS stale, count(*) FILTER (event = 'crossed') AS crossed
    FROM feed_events GROUP BY symbol
), heard AS (SELECT symbol, max(last_ts) AS last_ts FROM price_bars GROUP BY symbol)
SELECT symbol, last_ts, coalesce(gaps, 0) AS gaps, coalesce(checksums, 0) AS checksums, coalesce(stale, 0) AS stale,
    coalesce(crossed, 0) AS crossed
FROM heard LEFT JOIN trouble USING (symbol) ORDER BY symbol
"""

_CONNECTIONS = """
SELECT count(*) FILTER (event = 'connected') AS connects, count(*) FILTER (event = 'disconnected') AS disconnects,
    count(*) FILTER (event IN ('gap', 'trade_gap')) AS gaps, count(*) FILTER (event = 'checksum') AS checksums,
    coalesce(arg_max(event, seq) FILTER (event IN ('connected', 'disconnected')), '') AS latest
FROM feed_events
"""

_CANDLES = """
WITH mine AS (FROM price_bars WHERE symbol = $symbol AND close IS NOT NULL), span AS (
    SELECT CAST(pow(2, ceil(log2(greatest((max(bucket) - min(bucket) + 1) / $count, 1)))) AS BIGINT) AS wide FROM mine
)
SELECT bucket // wide * wide * $width AS ts, wide * $width AS width, arg_min(open, first_seq) AS open,
    max(high) AS high, min(low) AS low, arg_max(close, last_seq) AS close, sum(volume) AS volume, sum(bought) AS bought
FROM mine, span GROUP BY ALL ORDER BY ts
"""

_SPREADS = """
WITH mine AS (FROM price_bars WHERE symbol = $symbol AND bid IS NOT NULL), span AS (
    SELECT CAST(pow(2, ceil(log2(greatest((max(bucket) - min(bucket) + 1) / $count, 1)))) AS BIGINT) AS wide FROM mine
)
SELECT bucket // wide * wide * $width AS ts, min(spread_low / (bid + ask)) * 20000 AS low,
    sum(spread_sum) / sum(quotes) / avg(bid + ask) * 20000 AS mean, max(spread_high / (bid + ask)) * 20000 AS high
FROM mine, span GROUP BY ALL ORDER BY ts
"""

_PLACES = """
WITH step AS (
    SELECT symbol, arg_max(note->>'tick_size', seq) AS text FROM feed_events WHERE event = 'instrument' GROUP BY symbol
), latest AS (
    SELECT symbol, close, try_cast(close AS DECIMAL(38, 12))::VARCHAR AS text FROM price_bars
    WHERE close IS NOT NULL AND bucket > (SELECT max(bucket) FROM price_bars) - 500
), shown AS (
    SELECT symbol, least(max(length(split_part(rtrim(text, '0'), '.', 2))), if(max(close) < 1, 12, 8)) AS places
    FROM latest GROUP BY symbol
), named AS (SELECT DISTINCT symbol FROM price_bars)
SELECT symbol, coalesce(
    length(split_part(rtrim(try_cast(step.text AS DECIMAL(38, 12))::VARCHAR, '0'), '.', 2)), places, 2
)::INTEGER AS places
FROM named LEFT JOIN step USING (symbol) LEFT JOIN shown USING (symbol)
"""

_CLEARED = """
SELECT greatest(
    (SELECT max(seq) FROM book_begins WHERE symbol = $symbol AND ts <= $ts),
    (SELECT max(seq) FROM feed_events WHERE ts <= $ts AND event IN ('disconnected', 'gap', 'stale', 'checksum')
        AND (symbol IS NULL OR symbol = $symbol))
) AS seq
"""

_BOOK = """
WITH level AS (
    SELECT side, price, arg_max(size, seq) AS size FROM ticks
    WHERE symbol = $symbol AND kind = 'book' AND seq >= $since AND ts_recv <= $ts GROUP BY side, price
)
SELECT if(side > 0, 'bid', 'ask') AS name, price, size FROM level WHERE size > 0
QUALIFY row_number() OVER (PARTITION BY side ORDER BY -side * price) <= $depth
ORDER BY side, -side * price
"""

_TOUCH_AT = """
SELECT symbol, arg_max(close, last_seq) FILTER (close IS NOT NULL) AS price,
    arg_max(bid, last_seq) FILTER (bid IS NOT NULL) AS bid, arg_max(ask, last_seq) FILTER (ask IS NOT NULL) AS ask
FROM price_bars WHERE bucket <= $bucket GROUP BY symbol ORDER BY symbol
"""
