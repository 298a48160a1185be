"""What the pages ask of a moment of a run, by name: everything as it was at `ts`, ns UTC, from the ledger."""

from apps.memory.run_memory import Row, RunMemory


def desks_at(run: RunMemory, ts: int) -> list[Row]:
    """Cash, equity and fills of every desk that was open; equity as of its last mark."""
    return run.ask(_DESKS, {"ts": ts}, of="ledger")


def positions_at(run: RunMemory, ts: int) -> list[Row]:
    """What every desk held."""
    return run.ask(_POSITIONS, {"ts": ts}, of="ledger")


def orders_at(run: RunMemory, ts: int) -> list[Row]:
    """Orders that were under way or at rest, with the state they were in."""
    return run.ask(_ORDERS, {"ts": ts}, of="ledger")


def happened_before(run: RunMemory, ts: int, count: int) -> list[Row]:
    """The last events that were no marks, the newest first."""
    return run.ask(_HAPPENED, {"ts": ts, "count": count}, of="ledger")


_DESKS = """
WITH mark AS (
    SELECT strategy, arg_max(cash, seq) AS cash, arg_max(equity, seq) AS equity, arg_min(cash, seq) AS opening,
        max(ts) AS marked
    FROM marks WHERE ts <= $ts GROUP BY strategy
), traded AS (
    SELECT strategy, count(*) AS fills, arg_max(cash, seq) AS cash, max(ts) AS ts FROM facts
    WHERE type = 'OrderFilled' AND ts <= $ts GROUP BY strategy
)
SELECT strategy, if(traded.ts > marked AND traded.cash IS NOT NULL, traded.cash, mark.cash) AS cash, equity,
    equity - opening AS pnl, coalesce(fills, 0) AS fills
FROM mark LEFT JOIN traded USING (strategy) ORDER BY equity DESC NULLS LAST, strategy
"""

_POSITIONS = """
SELECT strategy, symbol, if(position > 0, 'long', 'short') AS side, abs(position) AS quantity,
    (cost / position)::DOUBLE AS entry_price, position::DOUBLE AS position, cost::DOUBLE AS cost
FROM (SELECT strategy, symbol, arg_max(position, seq) AS position, arg_max(cost, seq) AS cost FROM facts
    WHERE type = 'OrderFilled' AND ts <= $ts GROUP BY strategy, symbol)
WHERE position <> 0 ORDER BY strategy, symbol
"""

# An order's state is its latest event by then; what is submitted and no more is still under way.
_ORDERS = """
WITH life AS (
    SELECT strategy, order_id, arg_max(type, seq) AS latest, arg_max_null("left", seq) AS remaining
    FROM facts WHERE ts <= $ts AND order_id IS NOT NULL AND type <> 'CancelSubmitted' GROUP BY strategy, order_id
)
SELECT sent.strategy, sent.ts, sent.order_id, sent.symbol, sent.side, sent.order_type, sent.quantity, sent.notional,
    sent.limit_price, CASE latest WHEN 'OrderSubmitted' THEN 'under way' WHEN 'StopTriggered' THEN 'triggered'
        WHEN 'OrderFilled' THEN 'partially filled' ELSE 'resting' END AS status
FROM facts AS sent JOIN life USING (strategy, order_id)
WHERE sent.type = 'OrderSubmitted' AND sent.ts <= $ts
    AND (latest IN ('OrderSubmitted', 'OrderRested', 'StopTriggered')
        OR latest = 'OrderFilled' AND remaining IS NOT NULL)
ORDER BY sent.ts DESC, sent.strategy LIMIT 100
"""

_HAPPENED = """
SELECT strategy, seq, ts, type, symbol, side, order_id, price, quantity, reason FROM facts
WHERE ts <= $ts ORDER BY ts DESC, strategy, seq DESC LIMIT $count
"""
