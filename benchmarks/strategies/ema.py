"""The workload's strategy: an EMA 20/50 cross in plain Python, with its memory in a dict."""

from engine import Signal

TRIGGER = "trade"
CONFIG = {"fast": 2 / 21, "slow": 2 / 51, "size": 1.0}


def generate_signal(data, config, state):
    """Long while the fast average is above the slow one."""
    price = data.price
    fast = state["fast"] = state.get("fast", price) * (1 - config["fast"]) + price * config["fast"]
    slow = state["slow"] = state.get("slow", price) * (1 - config["slow"]) + price * config["slow"]
    if fast > slow:
        if not state.get("long"):
            state["long"] = True
            return Signal("buy", data.symbol, config["size"], reason="fast over slow")
    elif state.get("long"):
        state["long"] = False
        return Signal("close", data.symbol, reason="fast under slow")
    return None
