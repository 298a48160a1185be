"""Bet on the way back: buy what has fallen far below its own average, short what has risen far above it.

Far is measured in standard deviations (Bollinger bands), so a calm market needs a smaller move than a wild one. The
belief is that such moves are mostly noise and die down. It loses when one of them is news: the price leaves the band
and keeps going, which is what the stop is for. And it loses slowly in a calm market, where the way back to the average
is shorter than the fees for going there.
"""

from statistics import fmean, pstdev  # they round the same on every Python, which the sum() of floats does not

from engine import Signal

INTERVAL = "5s"
TRIGGER = f"candle:{INTERVAL}"
CONFIG = {
    "period": 20,  # candles in the average
    "deviations": 2.0,  # standard deviations from the average to the bands
    "stop_bps": 30.0,  # loss at which the bet is called off
    "size": 20.0,  # quote currency
}


def generate_signal(data, config, state, portfolio):
    """Enter outside the bands, leave at the average; the stop is watched by the desk."""
    closes = [candle.close for candle in data.candles(data.symbol, INTERVAL, config["period"])]
    if len(closes) < config["period"]:
        return None
    price, average = closes[-1], fmean(closes)
    reach = config["deviations"] * pstdev(closes, average)
    lower, upper = average - reach, average + reach

    state["indicators"] = {"lower": lower, "average": average, "upper": upper, "price": price}
    held = portfolio.position(data.symbol)
    if (held > 0 and price >= average) or (held < 0 and price <= average):
        return Signal("close", data.symbol, reason=f"{price:g} is back at its average {average:g}")
    if held:
        return None
    distance = config["stop_bps"] / 10_000
    if price < lower:
        reason = f"{price:g} below the lower band {lower:g}"
        return Signal("buy", data.symbol, config["size"], reason=reason, stop_loss=price * (1 - distance))
    if price > upper:
        reason = f"{price:g} above the upper band {upper:g}"
        return Signal("short", data.symbol, config["size"], reason=reason, stop_loss=price * (1 + distance))
    return None
