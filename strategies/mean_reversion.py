"""Bet on the way back: buy what has fallen far below its own average, short what has risen far above it.

Far is measured in standard deviations (Bollinger bands), so a calm market needs a smaller move than a wild one. The
belief is that such moves are mostly noise and die down. It loses when one of them is news: the price leaves the band
and keeps going, which is what the stop is for. And it loses slowly in a calm market, where the way back to the average
is shorter than the fees for going there.
"""

from collections import defaultdict

from talipp.indicators import BB

from engine import Signal

INTERVAL = "5s"
TRIGGER = f"candle:{INTERVAL}"
CONFIG = {
    "period": 20,  # candles in the average
    "deviations": 2.0,  # standard deviations from the average to the bands
    "stop_bps": 30.0,  # loss at which the bet is called off
    "size": 20.0,  # quote currency
}


def on_start(config, state):
    """Bands for each symbol, made when it is first met."""
    state["bands"] = defaultdict(lambda: BB(config["period"], config["deviations"]))


def generate_signal(data, config, state, portfolio):
    """Enter outside the bands, leave at the average; the stop is watched by the desk."""
    [candle] = data.candles(data.symbol, INTERVAL, 1)
    bands = state["bands"][data.symbol]
    bands.add(candle.close)
    if len(bands) > 10 * bands.period:  # they would remember every candle for good
        bands.purge_oldest(5 * bands.period)
    band, price = bands[-1], candle.close
    if band is None:
        return None

    state["indicators"] = {"lower": band.lb, "average": band.cb, "upper": band.ub, "price": price}
    held = portfolio.position(data.symbol)
    if (held > 0 and price >= band.cb) or (held < 0 and price <= band.cb):
        return Signal("close", data.symbol, reason=f"{price:g} is back at its average {band.cb:g}")
    if held:
        return None
    distance = config["stop_bps"] / 10_000
    if price < band.lb:
        reason = f"{price:g} below the lower band {band.lb:g}"
        return Signal("buy", data.symbol, config["size"], reason=reason, stop_loss=price * (1 - distance))
    if price > band.ub:
        reason = f"{price:g} above the upper band {band.ub:g}"
        return Signal("short", data.symbol, config["size"], reason=reason, stop_loss=price * (1 + distance))
    return None
