"""RSI below its threshold under a simple moving average, with stop and target. The predecessor's dialect."""
# ruff: noqa: UP006, UP035, UP045

import sys
from collections import deque
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

sys.path.insert(0, str(Path(__file__).parent.parent))
from ws_tester.types import Candle, DataSnapshot, Signal, Trade

STRATEGY_NAME = "rsi_dip"
STRATEGY_VERSION = "2.0.1"
SYMBOLS = ["BTC/USD"]
CONFIG = {
    "position_size_usd": 25.0,
    "rsi_period": 3,
    "oversold": 40.0,
    "sma_period": 4,
    "stop_loss_pct": 0.06,
    "take_profit_pct": 0.08,
    "cooldown_seconds": 30.0,
}


def calculate_sma(candles: Sequence[Candle], period: int) -> float:
    """Simple moving average of the closes."""
    closes = [c.close for c in candles[-period:]]
    return sum(closes) / len(closes) if closes else 0.0


def calculate_rsi(candles: Sequence[Candle], period: int) -> float:
    """RSI over the last `period` changes."""
    if len(candles) < period + 1:
        return 50.0
    closes: List[float] = [c.close for c in candles]
    changes = [b - a for a, b in zip(closes[-period - 1 : -1], closes[-period:])]  # noqa: B905
    gains, losses = sum(c for c in changes if c > 0), -sum(c for c in changes if c < 0)
    return 100.0 if losses == 0 else 100 - 100 / (1 + gains / losses)


def volume_of(trades: Sequence[Trade], side: str) -> float:
    """Dollars that takers of one side traded."""
    return sum(t.value for t in trades if t.side == side)


def on_start(config: Dict[str, Any], state: Dict[str, Any]) -> None:
    """Start flat."""
    state.update(in_position=False, last=None, fills=[], exits=[], ranges=deque(maxlen=5))


def generate_signal(data: DataSnapshot, config: Dict[str, Any], state: Dict[str, Any]) -> Optional[Signal]:
    """Buy a dip; the engine's stop and target take it from there."""
    symbol = SYMBOLS[0]
    candles = data.candles_1m.get(symbol, ())
    price = data.prices.get(symbol)
    if price is None or len(candles) < config["rsi_period"] + 1 or state["in_position"]:
        return None
    if state["last"] and (data.timestamp - state["last"]).total_seconds() < config["cooldown_seconds"]:
        return None
    rsi = calculate_rsi(candles, config["rsi_period"])
    sma = calculate_sma(candles, config["sma_period"])
    state["ranges"].append(candles[-1].range)
    recent = data.trades.get(symbol, ())
    state["indicators"] = {
        "rsi": rsi,
        "sma": sma,
        "bullish": candles[-1].is_bullish,
        "body": candles[-1].body_size,
        "bought": volume_of(recent, "buy"),
        "sold": volume_of(recent, "sell"),
        "five_minutes": len(data.candles_5m.get(symbol, ())),
    }
    if rsi >= config["oversold"] or price >= sma:
        return None
    state["last"] = data.timestamp
    state["in_position"] = True
    return Signal(
        action="buy",
        symbol=symbol,
        size=config["position_size_usd"],
        price=price,
        reason=f"RSI {rsi:.1f} under {config['oversold']}, price under SMA {sma:.1f}",
        stop_loss=price * (1 - config["stop_loss_pct"] / 100),
        take_profit=price * (1 + config["take_profit_pct"] / 100),
    )


def on_fill(fill: Dict[str, Any], state: Dict[str, Any]) -> None:
    """Stops and targets arrive here like any other fill."""
    state["fills"].append((fill["side"], fill["size"], fill["price"]))
    if fill["side"] == "sell":
        state["in_position"] = False
        state["exits"].append(fill.get("pnl"))


def on_stop(state: Dict[str, Any]) -> None:
    """Sum up."""
    state["summary"] = f"{len(state['exits'])} exits"
