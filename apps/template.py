"""What `wspt new` writes."""

TEMPLATE = '''"""Say here in one sentence what this strategy believes."""

from engine import Signal

CONFIG = {"size": 20.0, "stop_pct": 0.5, "target_pct": 1.0}
TRIGGER = "candle:1m"  # or "tick", "trade", "quote", "book", "every:500ms"


def generate_signal(data, config, state, portfolio):
    """Buy after three rising minutes; the stop or the target closes the position."""
    closes = [candle.close for candle in data.candles(data.symbol, "1m", 4)]
    state["indicators"] = {"closes": closes}
    if len(closes) < 4 or portfolio.position(data.symbol) or closes != sorted(set(closes)):
        return None
    return Signal(
        "buy",
        data.symbol,
        config["size"],
        reason="three rising minutes",
        stop_loss=data.price * (1 - config["stop_pct"] / 100),
        take_profit=data.price * (1 + config["target_pct"] / 100),
    )
'''
