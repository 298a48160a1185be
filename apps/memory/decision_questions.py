"""What the pages ask about decisions, by name: what strategies wanted, what became of it, what they saw."""

from apps.memory.run_memory import Row, RunMemory

OUTCOMES = ("all", "carried out", "refused")


def decisions(
    run: RunMemory, *, strategy: str, symbol: str, outcome: str, words: str, upto: int, count: int
) -> list[Row]:
    """Signals, the newest first; the last ones of those that fit. Empty texts fit everything.

    outcome:  one of OUTCOMES.
    words:    found in the reason, the rejection or the action, whatever their case.
    upto:     time of the latest one that is wanted, ns UTC.
    """
    chosen = {"strategy": strategy, "symbol": symbol, "outcome": outcome, "words": words, "upto": upto, "count": count}
    return run.ask(_DECISIONS, chosen, of="ledger")


def decided_after(run: RunMemory, ts: int) -> int:
    """How many signals came after a moment."""
    [row] = run.ask(
        "SELECT count(*) AS found FROM facts WHERE type = 'SignalRaised' AND ts > $ts", {"ts": ts}, of="ledger"
    )
    return int(row["found"])


def decision(run: RunMemory, strategy: str, seq: int) -> Row | None:
    """One signal, and whether and why it was refused."""
    found = run.ask(
        "FROM signals WHERE strategy = $strategy AND seq = $seq", {"strategy": strategy, "seq": seq}, of="ledger"
    )
    return found[0] if found else None


def what_followed(run: RunMemory, strategy: str, correlation_id: str) -> list[Row]:
    """Every event of a decision in their order: signal, orders, fills, stops."""
    return run.ask(_FOLLOWED, {"strategy": strategy, "id": correlation_id}, of="ledger")


def neighbors(run: RunMemory, strategy: str, seq: int, count: int) -> list[Row]:
    """The desk's decisions before and after one, the newest first."""
    return run.ask(_NEIGHBORS, {"strategy": strategy, "seq": seq, "count": count}, of="ledger")


def touch_before(run: RunMemory, symbol: str, tick_seq: int) -> Row | None:
    """The tick that a decision was made on, with the touch as it was known then."""
    found = run.ask(_TOUCH, {"symbol": symbol, "seq": tick_seq}, of="tape") if run.tape.has_ticks else []
    return found[0] if found else None


def first_difference(ours: RunMemory, theirs: RunMemory, mine: str, yours: str) -> tuple[Row | None, Row | None] | None:
    """The first decisions of two desks that are not the same; None of a desk that has ended; None for no difference."""
    one, other = (
        ours.ask(_SEQUENCE, {"strategy": mine}, of="ledger"),
        theirs.ask(_SEQUENCE, {"strategy": yours}, of="ledger"),
    )
    for left, right in zip(one, other, strict=False):
        if left != right:
            return left, right
    if len(one) == len(other):
        return None
    at = min(len(one), len(other))
    return (one[at] if at < len(one) else None), (other[at] if at < len(other) else None)


_DECISIONS = """
SELECT strategy, seq, ts, action, symbol, size, size_in, order_type, limit_price, reason, rejected, rejection
FROM signals WHERE $strategy IN ('', strategy) AND $symbol IN ('', symbol) AND ts <= $upto
    AND ($outcome = 'all' OR rejected = ($outcome = 'refused'))
    AND ($words = '' OR contains(lower(concat_ws(' ', action, reason, rejection)), lower($words)))
ORDER BY ts DESC, strategy, seq DESC LIMIT $count
"""

_FOLLOWED = """
SELECT seq, ts, type, order_id, side, order_type, quantity, notional, limit_price, price, fee, liquidity, realized,
    position, cash, reason, arrives_at, purpose, kind, level
FROM facts WHERE strategy = $strategy AND correlation_id = $id ORDER BY seq
"""

_NEIGHBORS = """
FROM (
    (SELECT seq, ts, action, symbol, size, size_in, reason, rejection FROM signals
        WHERE strategy = $strategy AND seq > $seq ORDER BY seq LIMIT $count)
    UNION ALL
    (SELECT seq, ts, action, symbol, size, size_in, reason, rejection FROM signals
        WHERE strategy = $strategy AND seq <= $seq ORDER BY seq DESC LIMIT $count + 1)
) ORDER BY seq DESC
"""

_TOUCH = """
SELECT seq, ts_recv AS ts, kind, price, size, bid, bid_size, ask, ask_size FROM ticks
WHERE symbol = $symbol AND seq <= $seq AND seq > $seq - 2000 ORDER BY seq DESC LIMIT 1
"""

_SEQUENCE = """
SELECT ts, action, symbol, size, size_in, order_type, price, limit_price, stop_loss, take_profit, reason, rejection
FROM signals WHERE strategy = $strategy ORDER BY seq
"""
