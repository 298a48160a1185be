"""What trading was worth, in SQL: ratios of the equity curve, exposure, P&L by symbol, mark-outs."""

STEPS_S = (86_400, 3_600, 60, 10, 1)
"""Seconds of tape time between two samples of the equity: the longest of them that leaves enough samples."""
SAMPLES_MIN = 30
"""Returns from which Sharpe and Sortino are made at least; of fewer they would be chance."""
YEAR_S = 365 * 86_400
"""Seconds of a year in markets that never close: what a ratio is annualized by."""
MARKOUTS_S = (1, 5, 30)
"""Seconds after a fill at which its price is held against the mid."""

# Of the marks of one moment the last one counts. A desk whose equity is unknown at a sample has no return there.
_EQUITY_CURVE = f"""
WITH mark AS (
    SELECT strategy, ts, arg_max_null(equity, seq) AS equity FROM equity GROUP BY strategy, ts
), step AS (
    SELECT coalesce(max(step) FILTER (span // step >= {SAMPLES_MIN}), min(step)) AS step
    FROM (SELECT max(ts) - min(ts) AS span FROM mark), (SELECT unnest({[s * 10**9 for s in STEPS_S]}) AS step)
), sample AS (
    SELECT strategy, any_value(step) AS step, unnest(generate_series(min(ts), max(ts), any_value(step))) AS ts
    FROM mark, step GROUP BY strategy
)
SELECT strategy, sample.ts, step / 1e9 AS sample_s, mark.equity, mark.equity::DOUBLE
    / lag(mark.equity::DOUBLE) OVER (PARTITION BY strategy ORDER BY sample.ts) - 1 AS change
FROM sample ASOF JOIN mark USING (strategy, ts)
"""

# A strategy is exposed from a fill that leaves anything open to the next that leaves nothing open in any symbol.
_RATIOS = f"""
WITH ratio AS (
    SELECT strategy, any_value(sample_s) AS sample_s, count(change) AS samples,
        sqrt({YEAR_S} / any_value(sample_s)) AS a,
        a * avg(change) / nullif(stddev_samp(change), 0) AS sharpe,
        a * avg(change) / nullif(sqrt(avg(least(change, 0) ** 2)), 0) AS sortino
    FROM equity_curve WHERE change IS NOT NULL GROUP BY strategy
), span AS (
    SELECT strategy, min(ts) AS began, max(ts) AS ended, arg_min(equity, seq) AS opening FROM equity GROUP BY strategy
), fill AS (
    SELECT strategy, seq, ts, price::DOUBLE * quantity::DOUBLE * coalesce(rate::DOUBLE, 1) AS notional,
        (position <> 0)::INTEGER - coalesce(lag(position <> 0) OVER (
            PARTITION BY strategy, symbol ORDER BY seq
        ), false)::INTEGER AS opened
    FROM events WHERE type = 'OrderFilled'
), stretch AS (
    SELECT strategy, notional, sum(opened) OVER desk AS open, ts,
        coalesce(lead(ts) OVER desk, ended) AS until
    FROM fill JOIN span USING (strategy)
    WINDOW desk AS (PARTITION BY strategy ORDER BY seq)
), used AS (
    SELECT strategy, sum(notional) AS traded, sum(until - ts) FILTER (open > 0) AS exposed
    FROM stretch GROUP BY strategy
), trips AS (
    SELECT strategy, CAST(avg(pnl) AS DECIMAL(38, 12)) AS expectancy, avg(closed - opened) / 1e9 AS holding_s
    FROM round_trips GROUP BY strategy
)
SELECT strategy, if(samples >= {SAMPLES_MIN}, sharpe, NULL) AS sharpe,
    if(samples >= {SAMPLES_MIN}, sortino, NULL) AS sortino, coalesce(samples, 0) AS samples, sample_s, expectancy,
    holding_s, coalesce(exposed, 0) / nullif(ended - began, 0) * 100 AS exposure_pct,
    coalesce(traded, 0) / opening::DOUBLE AS turnover
FROM span LEFT JOIN ratio USING (strategy) LEFT JOIN used USING (strategy) LEFT JOIN trips USING (strategy)
"""

_METRICS = """
SELECT strategy, equity, roi_pct, sharpe, sortino, samples, sample_s, max_drawdown_pct, profit_factor, win_rate,
    expectancy, holding_s, exposure_pct, turnover
FROM leaderboard JOIN ratios ON strategy = name
ORDER BY equity DESC NULLS LAST, strategy
"""

# What is not known, as where one side of the market was missing, is part of the price move.
_COSTS = """
coalesce(spread_cost, 0) AS spread_cost, coalesce(slippage_cost, 0) AS slippage_cost
"""

# The price move is what is left of the whole, so that the parts add up to it to the last digit.
_ATTRIBUTION = f"""
WITH cost AS (
    SELECT strategy, sum(in_desk_currency(spread_cost, rate)) AS spread,
        sum(in_desk_currency(slippage_cost, rate)) AS slippage, sum(in_desk_currency(fee, rate)) AS fees
    FROM (SELECT strategy, rate, fee, {_COSTS} FROM events WHERE type = 'OrderFilled') GROUP BY strategy
), part AS (
    SELECT name AS strategy, pnl, coalesce(spread, 0) AS spread, coalesce(slippage, 0) AS slippage,
        coalesce(cost.fees, 0) AS fees
    FROM leaderboard LEFT JOIN cost ON cost.strategy = leaderboard.name
)
SELECT strategy, pnl, pnl + spread + slippage + fees AS price_move, -spread AS spread, -slippage AS slippage,
    -fees AS fees
FROM part ORDER BY pnl DESC NULLS LAST, strategy
"""

_HELD = """
SELECT strategy, symbol, count(*) AS fills, sum(realized) AS realized, sum(fee) AS fees,
    sum(price::DOUBLE * quantity::DOUBLE) AS traded, arg_max(position, seq) AS position, arg_max(cost, seq) AS cost
FROM events WHERE type = 'OrderFilled'
GROUP BY strategy, symbol
"""

# Without the tape nobody knows what is still held is worth, unless nothing is.
_SYMBOL_PNL = f"""
SELECT *, NULL::DOUBLE AS mark, if(position = 0, 0, NULL)::DOUBLE AS unrealized,
    if(position = 0, realized, NULL)::DOUBLE AS pnl
FROM ({_HELD})
ORDER BY strategy, symbol
"""

_MARK = """
SELECT symbol, coalesce(
    (arg_max(bid, seq) FILTER (known) + arg_max(ask, seq) FILTER (known)) / 2,
    arg_max(price, seq) FILTER (kind = 'trade')
) AS mark
FROM (SELECT *, bid IS NOT NULL AND ask IS NOT NULL AS known FROM ticks)
WHERE symbol IS NOT NULL GROUP BY symbol
"""

_SYMBOL_PNL_MARKED = f"""
WITH mark AS ({_MARK})
SELECT *, position::DOUBLE * mark - cost::DOUBLE AS unrealized,
    realized::DOUBLE + if(position = 0, 0, position::DOUBLE * mark - cost::DOUBLE) AS pnl
FROM ({_HELD}) LEFT JOIN mark USING (symbol)
ORDER BY strategy, symbol
"""

# Products of two decimals have no type wide enough: they are made in double and cut to twelve decimals, which is
# where the parts are made to add up.
_FILL_ATTRIBUTION = f"""
WITH mark AS ({_MARK}), fill AS (
    SELECT strategy, seq, tick_seq, ts, symbol, side, liquidity, price, quantity, fee,
        mid_at_arrival - mid_at_decision AS drift,
        if(side IN ('buy', 'cover'), 1, -1) * quantity::DOUBLE AS signed,
        coalesce(fee_base::DOUBLE, 0) AS fee_base, {_COSTS}
    FROM events WHERE type = 'OrderFilled'
), whole AS (
    SELECT *, CAST((signed - fee_base) * (mark - price::DOUBLE) AS DECIMAL(38, 12)) - fee AS pnl
    FROM fill JOIN mark USING (symbol)
)
SELECT strategy, seq, tick_seq, ts, symbol, side, liquidity, price, quantity, pnl,
    pnl + spread_cost + slippage_cost + fee AS price_move, -spread_cost AS spread, -slippage_cost AS slippage,
    -fee AS fees, CAST(-signed * drift AS DECIMAL(38, 12)) AS delay
FROM whole ORDER BY strategy, seq
"""

# Rows of one moment: the last one counts. Where the tape ends before the time is up, nobody knows.
_MARKOUTS = f"""
WITH touch AS (
    SELECT symbol, ts_recv AS at, arg_max((bid + ask) / 2, seq) AS mid
    FROM ticks WHERE bid IS NOT NULL AND ask IS NOT NULL AND symbol IN (SELECT symbol FROM fills)
    GROUP BY symbol, ts_recv
), ended AS (
    SELECT max(ts_recv) AS tape_end FROM ticks
), fill AS (
    SELECT *, if(side IN ('buy', 'cover'), 1, -1) AS direction,
        {", ".join(f"if(ts + {s * 10**9} <= tape_end, ts + {s * 10**9}, NULL) AS at_{s}s" for s in MARKOUTS_S)}
    FROM fills CROSS JOIN ended
)
SELECT fill.strategy, fill.seq, fill.tick_seq, fill.ts, fill.symbol, fill.side, fill.liquidity, fill.price,
    fill.quantity,
    {", ".join(f"m{s}.mid AS mid_{s}s" for s in MARKOUTS_S)},
    {
    ", ".join(
        f"direction * (m{s}.mid - fill.price::DOUBLE) / fill.price::DOUBLE * 10000 AS markout_{s}s_bps"
        for s in MARKOUTS_S
    )
}
FROM fill
{"".join(f"ASOF LEFT JOIN touch AS m{s} ON m{s}.symbol = fill.symbol AND m{s}.at <= fill.at_{s}s " for s in MARKOUTS_S)}
ORDER BY fill.strategy, fill.seq
"""

LEDGER_VIEWS = {
    "equity_curve": _EQUITY_CURVE,
    "ratios": _RATIOS,
    "metrics": _METRICS,
    "attribution": _ATTRIBUTION,
    "symbol_pnl": _SYMBOL_PNL,
}
"""Over the views of a ledger: `equity`, `round_trips`, `leaderboard`, `events`."""
TAPE_VIEWS = {"symbol_pnl": _SYMBOL_PNL_MARKED, "fill_attribution": _FILL_ATTRIBUTION, "markouts": _MARKOUTS}
"""Over `ticks` too, where the tape is there; in place of those of the same name."""
