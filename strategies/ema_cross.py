"""Follow the trend: long while a fast average of the price is above a slow one, out of the market otherwise.

The belief is that a move which has lasted goes on lasting. It loses in a market that goes nowhere: each false start
costs two taker fees, and the averages notice a turn only after part of it is over. The gap that is asked for between
the averages keeps out the smallest of the false starts.
"""

from collections import defaultdict

from talipp.indicators import EMA

from engine import Signal

INTERVAL = "2s"
TRIGGER = f"candle:{INTERVAL}"
CONFIG = {
    "fast": 6,  # candles
    "slow": 18,  # candles
    "gap_bps": 0.5,  # how far the averages must part before it counts
    "size": 20.0,  # quote currency
}


def on_start(config, state):
    """A pair of averages for each symbol, made when it is first met."""
    state["averages"] = defaultdict(lambda: (EMA(config["fast"]), EMA(config["slow"])))


def generate_signal(data, config, state, portfolio):
    """Buy once the fast average is clearly above the slow one, close once it is clearly below."""
    [candle] = data.candles(data.symbol, INTERVAL, 1)
    averages = state["averages"][data.symbol]
    for average in averages:
        average.add(candle.close)
        if len(average) > 10 * average.period:  # it would remember every candle for good
            average.purge_oldest(5 * average.period)
    fast, slow = averages[0][-1], averages[1][-1]
    if fast is None or slow is None:
        return None

    gap_bps = (fast / slow - 1) * 10_000
    state["indicators"] = {"fast": fast, "slow": slow, "gap_bps": gap_bps}
    is_long = portfolio.position(data.symbol) > 0
    if gap_bps > config["gap_bps"] and not is_long:
        return Signal("buy", data.symbol, config["size"], reason=f"fast {gap_bps:+.1f} bps from slow")
    if gap_bps < -config["gap_bps"] and is_long:
        return Signal("close", data.symbol, reason=f"fast {gap_bps:+.1f} bps from slow")
    return None
