"""Split the money over what the feed offers, and wait: the baseline that every other strategy has to beat.

It pays for one purchase a symbol and never again, so whoever trades more must earn the difference first. It loses
whenever the market falls, and knows no way out. Ten seconds in, every symbol of a live feed has usually spoken; one
that speaks later finds the money spent.
"""

from engine import Signal

TRIGGER = "every:10s"
CONFIG = {
    "invested": 1.0,  # share of the cash to spend
}


def on_start(config, state):
    """Remember which symbols had their turn."""
    state["met"] = set()


def generate_signal(data, config, state, portfolio):
    """Give each symbol, the first time it is met, an equal share of the money that is not spoken for."""
    met = state["met"]
    if data.symbol in met or not data.symbol.endswith(f"/{portfolio.currency}"):
        return None
    waiting = [symbol for symbol in data.prices if symbol not in met and symbol.endswith(f"/{portfolio.currency}")]
    on_its_way = sum(order.notional for order in portfolio.open_orders)
    share = (portfolio.cash * config["invested"] - on_its_way) / len(waiting)
    met.add(data.symbol)
    state["indicators"] = {"waiting": len(waiting), "share": share}
    if share <= 0:
        return None
    return Signal("buy", data.symbol, share, reason=f"{share:.2f} {portfolio.currency} to hold")
