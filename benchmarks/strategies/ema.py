"""The workload's strategy: an EMA 20/50 cross in plain Python, with its memory in a dict."""

from engine import Signal

TRIGGER = "trade"
FAST, SLOW, SIZE = 2 / 21, 2 / 51, 1.0


def generate_signal(data, config, state):
    """Long while the fast average is above the slow one."""
    price = data.price
    if not state:
        state["fast"] = state["slow"] = price
        state["long"] = False
        return None
    fast = state["fast"] = state["fast"] + (price - state["fast"]) * FAST
    slow = state["slow"] = state["slow"] + (price - state["slow"]) * SLOW
    if (fast > slow) == state["long"]:
        return None
    state["long"] = fast > slow
    if fast > slow:
        return Signal("buy", data.symbol, SIZE, reason="fast over slow")
    return Signal("close", data.symbol, reason="fast under slow")
