"""Go with those in a hurry: buy while most of what trades was bought by takers, short while most was sold.

Who pays the spread to trade now may know something, or has more to trade than one order: either way the pressure
tends to last for some seconds. It loses where the price has moved by the time the pressure shows, and against a single
large order that comes and is gone. Above all it trades often, so fees are its first opponent; `rest_s` slows it down.
"""

from engine import Signal

TRIGGER = "trade"
CONFIG = {
    "trades": 50,  # length of the memory, in trades
    "entry": 0.5,  # imbalance, from -1 (all sold) to +1 (all bought), at which to go along
    "exit": 0.0,  # imbalance at which the pressure counts as gone
    "rest_s": 30.0,  # seconds between one order and the next
    "size": 20.0,  # quote currency
}


class Flow:
    """What takers did in one symbol: volumes in base units, in which older trades count less and less."""

    def __init__(self):
        self.net = 0.0  # bought minus sold
        self.total = 0.0
        self.seen = 0
        self.rests_until = 0


def on_start(config, state):
    """The share of the memory that each new trade replaces."""
    state["flows"] = {}
    state["weight"] = 2 / (config["trades"] + 1)


def generate_signal(data, config, state, portfolio):
    """Weigh the trade in, then follow the pressure, or leave where it has gone."""
    flow = state["flows"].get(data.symbol) or state["flows"].setdefault(data.symbol, Flow())
    weight, size = state["weight"], data.size
    flow.net += (data.side * size - flow.net) * weight
    flow.total += (size - flow.total) * weight
    flow.seen += 1
    if flow.seen < config["trades"] or data.ts < flow.rests_until or not flow.total:
        return None

    imbalance = flow.net / flow.total
    signal = _signal(imbalance, portfolio.position(data.symbol), data.symbol, config)
    if signal is not None:
        flow.rests_until = data.ts + int(config["rest_s"] * 1_000_000_000)
        state["indicators"] = {"imbalance": imbalance, "volume": flow.total}
    return signal


def _signal(imbalance, held, symbol, config):
    entry, leave, size = config["entry"], config["exit"], config["size"]
    reason = f"imbalance {imbalance:+.2f}"
    if (held > 0 and imbalance < leave) or (held < 0 and imbalance > -leave):
        return Signal("close", symbol, reason=f"{reason}: the pressure is gone")
    if not held and imbalance > entry:
        return Signal("buy", symbol, size, reason=f"{reason}: takers buy")
    if not held and imbalance < -entry:
        return Signal("short", symbol, size, reason=f"{reason}: takers sell")
    return None
