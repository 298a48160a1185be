"""Order book imbalance, long and short, with a cooldown. Written in the dialect of the predecessor."""
# ruff: noqa: UP006, UP035, UP045

import sys
from pathlib import Path
from typing import Any, Dict, Optional

sys.path.insert(0, str(Path(__file__).parent.parent))
from ws_tester.types import DataSnapshot, Signal

STRATEGY_NAME = "book_imbalance"
STRATEGY_VERSION = "1.2.0"
SYMBOLS = ["XRP/USD", "BTC/USD"]
CONFIG = {
    "position_size_usd": 15.0,
    "max_position_usd": 30.0,
    "imbalance_threshold": 0.30,
    "max_spread_pct": 0.2,
    "cooldown_seconds": 20.0,
}


def on_start(config: Dict[str, Any], state: Dict[str, Any]) -> None:
    """Start flat."""
    state["position"] = dict.fromkeys(SYMBOLS, 0.0)
    state["last_signal"] = {}
    state["fills"] = []
    state["pnl"] = 0.0


def generate_signal(data: DataSnapshot, config: Dict[str, Any], state: Dict[str, Any]) -> Optional[Signal]:
    """Lean with the heavier side of the book."""
    for symbol in SYMBOLS:
        signal = _for_symbol(data, config, state, symbol)
        if signal is not None:
            state["last_signal"][symbol] = data.timestamp
            return signal
    return None


def _for_symbol(data: DataSnapshot, config: Dict[str, Any], state: Dict[str, Any], symbol: str) -> Optional[Signal]:
    ob = data.orderbooks.get(symbol)
    price = data.prices.get(symbol)
    if not ob or not price or not ob.bids or not ob.asks:
        return None
    last = state["last_signal"].get(symbol)
    if last is not None and (data.timestamp - last).total_seconds() < config["cooldown_seconds"]:
        return None
    if ob.spread_pct > config["max_spread_pct"] or not ob.best_bid < ob.mid < ob.best_ask:
        return None

    imbalance = ob.imbalance
    state["indicators"] = {
        "symbol": symbol,
        "imbalance": imbalance,
        "spread": ob.spread,
        "bid_depth": ob.bid_depth,
        "ask_depth": ob.ask_depth,
        "position": state["position"][symbol],
    }
    position = state["position"][symbol]
    size, limit = config["position_size_usd"], config["max_position_usd"]
    threshold = config["imbalance_threshold"]
    if imbalance > threshold:
        if position < 0:
            return Signal("cover", symbol, abs(position), price, f"cover: imbalance {imbalance:.2f}")
        if position + size <= limit:
            return Signal("buy", symbol, size, price, f"buy: imbalance {imbalance:.2f}", metadata={"kind": "entry"})
    if imbalance < -threshold:
        if position > 0:
            return Signal("sell", symbol, position, price, f"sell: imbalance {imbalance:.2f}")
        if abs(position) + size <= limit:
            return Signal("short", symbol, size, price, f"short: imbalance {imbalance:.2f}", metadata={"kind": "entry"})
    return None


def on_fill(fill: Dict[str, Any], state: Dict[str, Any]) -> None:
    """Keep the position in dollars."""
    symbol, side, value = fill["symbol"], fill["side"], fill["value"]
    if side == "buy":
        state["position"][symbol] += value
    elif side == "short":
        state["position"][symbol] -= value
    elif side == "sell":
        state["position"][symbol] = max(0.0, state["position"][symbol] - value)
    else:
        state["position"][symbol] = min(0.0, state["position"][symbol] + value)
    state["pnl"] += fill.get("pnl") or 0.0
    state["fills"].append((side, fill["size"], fill["price"]))


def on_stop(state: Dict[str, Any]) -> None:
    """Sum up."""
    state["summary"] = f"{len(state['fills'])} fills, P&L {state['pnl']:+.4f}"
