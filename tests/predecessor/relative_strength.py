"""Hold whichever symbol has been stronger on two-minute candles of its own making. The predecessor's dialect."""
# ruff: noqa: UP006, UP035, UP045

import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

sys.path.insert(0, str(Path(__file__).parent.parent))
from ws_tester.types import Candle, DataSnapshot, Signal

STRATEGY_NAME = "relative_strength"
STRATEGY_VERSION = "0.9"
SYMBOLS = ["XRP/USD", "BTC/USD"]
CONFIG = {"position_size_usd": 30.0, "group": 2, "min_hold_seconds": 60.0, "vwap_trades": 30}


def aggregate(candles: Tuple[Candle, ...], group: int) -> List[Candle]:
    """Longer candles out of one-minute candles."""
    result = []
    for i in range(0, len(candles) - group + 1, group):
        part = candles[i : i + group]
        result.append(
            Candle(
                timestamp=part[0].timestamp,
                open=part[0].open,
                high=max(c.high for c in part),
                low=min(c.low for c in part),
                close=part[-1].close,
                volume=sum(c.volume for c in part),
            )
        )
    return result


def on_start(config: Dict[str, Any], state: Dict[str, Any]) -> None:
    """Start flat."""
    state["holding"] = None
    state["pending"] = False
    state["since"] = None
    state["minute"] = None
    state["fills"] = []


def generate_signal(data: DataSnapshot, config: Dict[str, Any], state: Dict[str, Any]) -> Optional[Signal]:
    """Once a minute, compare all symbols and follow the leader."""
    minute = data.timestamp.replace(second=0, microsecond=0)
    if minute == state["minute"] or state["pending"]:
        return None
    strengths = {}
    for symbol, candles in data.candles_1m.items():
        bars = aggregate(candles, config["group"])
        if len(bars) >= 1 and symbol in data.prices:
            strengths[symbol] = bars[-1].close / bars[-1].open - 1
    if len(strengths) < len(SYMBOLS) or any(s not in data.spreads or s not in data.mids for s in SYMBOLS):
        return None
    state["minute"] = minute

    best = max(strengths, key=lambda s: strengths[s])
    prices = {symbol: float(price) for symbol, price in data.prices.items()}
    vwap = data.get_vwap(best, config["vwap_trades"])
    state["indicators"] = {
        "strengths": strengths,
        "prices": prices,
        "vwap": vwap,
        "flow": data.get_trade_imbalance(best, config["vwap_trades"]),
        "spread": data.spreads[best],
        "mid": data.mids[best],
        "symbols": sorted(s for s in data.orderbooks),
    }
    holding = state["holding"]
    if holding is None and vwap is not None:
        state["pending"] = True
        return Signal("buy", best, config["position_size_usd"], prices[best], f"{best} leads {strengths[best]:+.4%}")
    held_for = (data.timestamp - state["since"]).total_seconds() if state["since"] else 0.0
    if holding is not None and holding != best and held_for >= config["min_hold_seconds"]:
        state["pending"] = True
        return Signal("sell", holding, 1.05 * config["position_size_usd"], prices[holding], f"{best} leads {holding}")
    return None


def on_fill(fill: Dict[str, Any], state: Dict[str, Any]) -> None:
    """What was bought is held, what was sold is not."""
    state["pending"] = False
    state["fills"].append((fill["side"], fill["size"], fill["price"]))
    if fill["side"] == "buy":
        state["holding"], state["since"] = fill["symbol"], state["minute"]
    else:
        state["holding"], state["since"] = None, None


def on_stop(state: Dict[str, Any]) -> None:
    """Sum up."""
    state["summary"] = f"{len(state['fills'])} fills, holding {state['holding']}"
