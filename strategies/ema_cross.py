"""Follow the trend: long while the fast EMA of trade prices is above the slow one."""

from engine import Signal

TRIGGER = "trade"
CONFIG = {"fast": 20, "slow": 50, "size": 20.0}


def generate_signal(data, config, state):
    fast = state["fast"] = state.get("fast", data.price) + (data.price - state.get("fast", data.price)) * 2 / (
        config["fast"] + 1
    )
    slow = state["slow"] = state.get("slow", data.price) + (data.price - state.get("slow", data.price)) * 2 / (
        config["slow"] + 1
    )
    if fast > slow and not state.get("long"):
        state["long"] = True
        return Signal("buy", data.symbol, config["size"], reason="fast over slow")
    if fast < slow and state.get("long"):
        state["long"] = False
        return Signal("close", data.symbol, reason="fast under slow")
