"""What the pages ask of a run's ledger, by name. Times are int64 ns UTC."""

from collections.abc import Sequence

from apps.memory.run_memory import Row, RunMemory

METRICS_GOOD_S = 10.0
POINTS = 400
"""Most points of a series in a chart: more cannot be told apart, and slow the browser down."""


def leaderboard(run: RunMemory) -> list[Row]:
    """A row a desk, the best first: what `wspt sql` calls `leaderboard`."""
    return run.ask("FROM leaderboard", of="ledger")


def span(run: RunMemory) -> tuple[int, int] | None:
    """First and last moment of the ledger; None while it is empty."""
    [row] = run.ask(
        "SELECT min(ts) AS first, max(ts) AS last FROM (SELECT ts FROM marks UNION ALL SELECT ts FROM facts)",
        of="ledger",
    )
    return None if row["first"] is None else (row["first"], row["last"])


def equity_curves(run: RunMemory, strategies: Sequence[str] = (), points: int = POINTS) -> dict[str, list[Row]]:
    """Each desk's equity over time as (ts, value), with the highs and lows between two points kept."""
    rows = run.ask(_extremes(_CURVES), {"buckets": points // 2}, of="ledger")
    return _by_name(rows, strategies)


def drawdown(run: RunMemory, strategy: str, points: int = POINTS) -> list[Row]:
    """How far below its highest equity so far, in percent, as (ts, value): the deepest in each stretch of time."""
    return run.ask(_DRAWDOWN, {"strategy": strategy, "buckets": points}, of="ledger")


def newest_fills(run: RunMemory, count: int, strategy: str = "") -> list[Row]:
    """The last fills, the newest first."""
    return run.ask(_NEWEST_FILLS, {"count": count, "strategy": strategy}, of="ledger")


def positions(run: RunMemory, strategy: str = "") -> list[Row]:
    """What is held now, with the latest known middle of the market and the unrealized P&L there."""
    return run.ask(_POSITIONS, {"strategy": strategy})


def holdings(run: RunMemory) -> dict[str, str]:
    """Quantity and symbol of each desk's open positions, in a line for a reader, by its name."""
    return {row["strategy"]: row["holds"] for row in run.ask(_HOLDINGS, of="ledger")}


def open_orders(run: RunMemory, strategy: str = "") -> list[Row]:
    """Orders that are on their way or rest, the newest first."""
    return run.ask(_OPEN_ORDERS, {"strategy": strategy}, of="ledger")


def round_trips(run: RunMemory, strategy: str, count: int) -> list[Row]:
    """The last round trips, the newest first."""
    return run.ask(
        "FROM round_trips WHERE strategy = $strategy ORDER BY closed DESC, opened DESC LIMIT $count",
        {"strategy": strategy, "count": count},
        of="ledger",
    )


def rejections(run: RunMemory, strategy: str) -> list[Row]:
    """How often what the desk wanted was refused, by reason, signals and orders alike."""
    return run.ask(_REJECTIONS, {"strategy": strategy}, of="ledger")


def traded(run: RunMemory, strategy: str) -> list[Row]:
    """The symbols of a desk's signals, the most frequent first."""
    return run.ask(
        "SELECT symbol, count(*) AS signals FROM facts WHERE type = 'SignalRaised' AND strategy = $strategy "
        "GROUP BY symbol ORDER BY signals DESC, symbol",
        {"strategy": strategy},
        of="ledger",
    )


def fills_on_chart(run: RunMemory, strategy: str, symbol: str, count: int = POINTS) -> list[Row]:
    """A desk's last fills of a symbol with the life of their orders, oldest first."""
    return run.ask(_FILLS_ON_CHART, {"strategy": strategy, "symbol": symbol, "count": count}, of="ledger")


def stops_on_chart(run: RunMemory, strategy: str, symbol: str, count: int = POINTS) -> list[Row]:
    """When a desk's stops and targets were reached, oldest first."""
    return run.ask(_STOPS_ON_CHART, {"strategy": strategy, "symbol": symbol, "count": count}, of="ledger")


def attribution(run: RunMemory, strategy: str) -> Row | None:
    """What a desk's P&L is made of: the price move and what spread, slippage and fees took of it."""
    sql = "FROM attribution WHERE strategy = $strategy AND pnl IS NOT NULL"
    found = run.ask(sql, {"strategy": strategy}, of="ledger")
    return found[0] if found else None


def metrics(run: RunMemory) -> dict[str, Row]:
    """Ratios of every desk's equity and trades, by its name. They are made of all marks, which takes its time."""
    return {row["strategy"]: row for row in run.ask(_METRICS, of="ledger", for_s=METRICS_GOOD_S)}


def metrics_soon(run: RunMemory) -> dict[str, Row] | None:
    """The same as they were last known, and None before they are: for a page that looks again."""
    found = run.ask_slowly(_METRICS, of="ledger", for_s=METRICS_GOOD_S)
    return None if found is None else {row["strategy"]: row for row in found}


def indicators(run: RunMemory, strategy: str, points: int = POINTS) -> dict[str, list[Row]]:
    """The numbers that a strategy logged with its signals, by name, as (ts, value).

    The signal's symbol is part of the name where there are several.
    """
    return _by_name(run.ask(_INDICATORS, {"strategy": strategy, "buckets": points // 2}, of="ledger"))


def _by_name(rows: Sequence[Row], names: Sequence[str] = ()) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {name: [] for name in names}
    for row in rows:
        if not names or row["name"] in found:
            found.setdefault(row["name"], []).append(row)
    return found


def _extremes(series: str) -> str:
    """Of `series` (name, ts, value) the lowest and the highest in each stretch of time, and the last one.

    Stretches are a power of two long and begin at multiples of it, so that a curve which grows keeps its points.
    """
    return f"""
WITH series AS ({series}), span AS (
    SELECT CAST(pow(2, ceil(log2(greatest((max(ts) - min(ts)) / $buckets, 1)))) AS BIGINT) AS width FROM series
), extreme AS (
    SELECT name, arg_min(ts, value) AS low_ts, min(value) AS low, arg_max(ts, value) AS high_ts, max(value) AS high,
        max(ts) AS last_ts, arg_max(value, ts) AS last
    FROM series, span GROUP BY name, ts // width
)
SELECT name, low_ts AS ts, low AS value FROM extreme
UNION SELECT name, high_ts, high FROM extreme
UNION (SELECT name, max(last_ts), arg_max(last, last_ts) FROM extreme GROUP BY name)
ORDER BY name, ts
"""


_METRICS = "FROM whole.metrics"

_CURVES = """
SELECT strategy AS name, low_ts AS ts, low AS value FROM curves
UNION ALL SELECT strategy, high_ts, high FROM curves UNION ALL SELECT strategy, last_ts, last FROM curves
"""

_WIDTH = "CAST(pow(2, ceil(log2(greatest((max(ts) - min(ts)) / $buckets, 1)))) AS BIGINT)"

_DRAWDOWN = f"""
WITH span AS (SELECT {_WIDTH} AS width FROM marks WHERE strategy = $strategy), fallen AS (
    SELECT ts, equity::DOUBLE / max(equity) OVER (ORDER BY seq)::DOUBLE * 100 - 100 AS value
    FROM marks WHERE strategy = $strategy AND equity IS NOT NULL
)
SELECT arg_min(ts, value) AS ts, min(value) AS value FROM fallen, span GROUP BY ts // width ORDER BY ts
"""

_NEWEST_FILLS = """
SELECT fills.* FROM fills SEMI JOIN (
    SELECT strategy, seq FROM facts WHERE type = 'OrderFilled' AND $strategy IN ('', strategy)
    ORDER BY ts DESC, strategy, seq DESC LIMIT $count
) AS newest USING (strategy, seq)
ORDER BY fills.ts DESC, fills.strategy, fills.seq DESC
"""

_POSITIONS = """
WITH held AS (
    SELECT strategy, symbol, arg_max(position, seq) AS position, arg_max(cost, seq) AS cost, max(ts) AS ts,
        sum(realized) AS realized
    FROM facts WHERE type = 'OrderFilled' AND $strategy IN ('', strategy) GROUP BY strategy, symbol
), touch AS (
    SELECT symbol, arg_max((bid + ask) / 2, last_seq) AS mid FROM price_bars WHERE bid IS NOT NULL GROUP BY symbol
)
SELECT strategy, symbol, if(position > 0, 'long', 'short') AS side, abs(position) AS quantity,
    (cost / position)::DOUBLE AS entry_price, mid, position::DOUBLE * mid AS value,
    position::DOUBLE * mid - cost::DOUBLE AS unrealized, realized, ts
FROM held LEFT JOIN touch USING (symbol) WHERE position <> 0 ORDER BY strategy, symbol
"""

_HOLDINGS = """
SELECT strategy, string_agg(
    rtrim(rtrim(position::VARCHAR, '0'), '.') || ' ' || symbol, ', ' ORDER BY symbol
) AS holds
FROM positions_now WHERE position <> 0 GROUP BY strategy
"""

_OPEN_ORDERS = """
SELECT * FROM orders
WHERE status IN ('submitted', 'resting', 'waiting', 'triggered', 'partially filled') AND $strategy IN ('', strategy)
ORDER BY ts DESC LIMIT 100
"""

_REJECTIONS = """
SELECT if(type = 'SignalRejected', 'signal', 'order') AS what, reason, count(*) AS times, max(ts) AS latest
FROM facts WHERE type IN ('SignalRejected', 'OrderRejected') AND strategy = $strategy
GROUP BY ALL ORDER BY times DESC, reason
"""

_FILLS_ON_CHART = """
WITH fill AS (
    FROM fills WHERE strategy = $strategy AND symbol = $symbol ORDER BY ts DESC, seq DESC LIMIT $count
)
SELECT fill.ts, fill.side, fill.price::DOUBLE AS price, fill.quantity, fill.fee, fill.liquidity, fill.realized,
    fill.reason, fill.order_id, sent.order_type, sent.ts AS sent, sent.arrives_at, sent.purpose, sent.status,
    sent.limit_price
FROM fill LEFT JOIN orders AS sent USING (strategy, order_id) ORDER BY fill.ts, fill.seq
"""

_STOPS_ON_CHART = """
FROM (SELECT ts, seq, kind, level::DOUBLE AS level, price::DOUBLE AS price FROM facts
    WHERE type = 'StopTriggered' AND strategy = $strategy AND symbol = $symbol ORDER BY seq DESC LIMIT $count)
ORDER BY seq
"""

_INDICATORS = _extremes("""
    WITH logged AS (
        SELECT ts, symbol, indicators FROM facts
        WHERE type = 'SignalRaised' AND strategy = $strategy AND indicators IS NOT NULL
    ), named AS (
        SELECT ts, indicators, if((SELECT count(DISTINCT symbol) FROM logged) > 1, ' ' || symbol, '') AS about
        FROM logged
    )
    SELECT unnest(json_keys(indicators)) || about AS name, ts,
        unnest(list_transform(json_keys(indicators), lambda key:
            try_cast(json_extract_string(indicators, '$."' || key || '"') AS DOUBLE))) AS value
    FROM named
""").replace("FROM series, span", "FROM series, span WHERE value IS NOT NULL")
