"""What hftbacktest makes of the orders in a folder; run by benchmarks/peers.py.

The exchange that fills partially walks the book and fills what rests by the size of trades; `whole` is the one that
fills an order whole or not at all. Of several fills the order remembers the last: that price is told, and the size from
what is left of it. It is looked at every millisecond.
"""

import json
import sys
from pathlib import Path

import numpy as np

try:
    from hftbacktest import (
        BUY_EVENT,
        DEPTH_CLEAR_EVENT,
        DEPTH_EVENT,
        DEPTH_SNAPSHOT_EVENT,
        EXCH_EVENT,
        GTC,
        LIMIT,
        LOCAL_EVENT,
        MARKET,
        SELL_EVENT,
        TRADE_EVENT,
        BacktestAsset,
        HashMapMarketDepthBacktest,
    )
    from hftbacktest.order import IOC, NEW, PARTIALLY_FILLED
    from hftbacktest.types import event_dtype
except ImportError:
    sys.exit(3)

STEP_NS = 1_000_000
LOT = 0.00001


def main(folder: Path, model: str) -> None:
    """Write `hftbacktest-MODEL.json`: size, last price and ms to the first fill, an order each."""
    setup = json.loads((folder / "orders.json").read_text())
    events = market(folder)  # which hftbacktest reads where they lie
    asset = (
        BacktestAsset()
        .data(events)
        .linear_asset(1.0)
        .constant_order_latency(setup["latency_ns"], 0)
        .trading_value_fee_model(0.0, 0.0)
        .tick_size(0.01)
        .lot_size(LOT)
        .last_trades_capacity(0)
    )
    asset = asset.no_partial_fill_exchange() if model == "whole" else asset.partial_fill_exchange()
    if model == "power":
        asset = asset.power_prob_queue_model(3.0)
    elif model == "log":
        asset = asset.log_prob_queue_model()
    else:
        asset = asset.risk_adverse_queue_model()
    hbt = HashMapMarketDepthBacktest([asset])
    hbt.elapse(1)
    found = [filled(hbt, order, setup) for order in setup["orders"]]
    hbt.close()
    (folder / f"hftbacktest-{model}.json").write_text(json.dumps(found))


def market(folder: Path) -> np.ndarray:
    """The market as hftbacktest's events, the venue's time and ours being the same."""
    columns = np.load(folder / "market.npz")
    first = np.flatnonzero(columns["is_snapshot"])[:1]
    events = np.zeros(len(columns["ts"]) + 2 * len(first), dtype=event_dtype)
    rows = events[2 * len(first) :]
    rows["exch_ts"] = rows["local_ts"] = columns["ts"]
    rows["px"], rows["qty"] = columns["price"], columns["size"]
    kinds = np.where(columns["is_snapshot"], DEPTH_SNAPSHOT_EVENT, DEPTH_EVENT)
    kinds = np.where(columns["is_trade"], TRADE_EVENT, kinds)
    sides = np.where(columns["side"] > 0, BUY_EVENT, SELL_EVENT)
    rows["ev"] = kinds | sides | EXCH_EVENT | LOCAL_EVENT
    for number, side in enumerate((BUY_EVENT, SELL_EVENT)[: 2 * len(first)]):
        clear = events[number]
        clear["ev"] = DEPTH_CLEAR_EVENT | side | EXCH_EVENT | LOCAL_EVENT
        clear["exch_ts"] = clear["local_ts"] = columns["ts"][0]
    return events


def filled(hbt: object, order: dict, setup: dict) -> dict:
    """Send one order at its moment, watch it until it is taken back."""
    hbt.elapse(order["ts"] - hbt.current_timestamp)
    submit = hbt.submit_buy_order if order["side"] == "buy" else hbt.submit_sell_order
    force = IOC if order["kind"] != "gtc" else GTC
    kind = MARKET if order["kind"] == "market" else LIMIT
    submit(0, order["number"], order["price"], order["size"], force, kind, False)
    first, deadline = None, order["ts"] + setup["rests_ns"]
    while hbt.current_timestamp < deadline:
        hbt.elapse(STEP_NS)
        if first is None and hbt.orders(0).get(order["number"]).leaves_qty < order["size"] - LOT / 2:
            first = hbt.current_timestamp
    # To take back what is over already would count its last fill a second time.
    if hbt.orders(0).get(order["number"]).status in (NEW, PARTIALLY_FILLED):
        hbt.cancel(0, order["number"], False)
    hbt.elapse(2 * setup["latency_ns"])
    done = hbt.orders(0).get(order["number"])
    size, last = order["size"] - done.leaves_qty, done.exec_price
    hbt.clear_inactive_orders(0)
    if first is None:
        return {"size": 0.0, "last": 0.0, "after_ms": 0.0}
    return {"size": round(size, 8), "last": round(last, 2), "after_ms": (first - order["ts"]) / 1e6}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
