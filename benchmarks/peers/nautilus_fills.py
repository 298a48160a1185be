"""What NautilusTrader makes of the orders in a folder, on an L2 book; run by benchmarks/peers.py."""

import json
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np

try:
    from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
    from nautilus_trader.backtest.models import LatencyModel
    from nautilus_trader.config import LoggingConfig
    from nautilus_trader.model.currencies import USDT
    from nautilus_trader.model.data import BookOrder, OrderBookDelta, OrderBookDeltas, TradeTick
    from nautilus_trader.model.enums import (
        AccountType,
        AggressorSide,
        BookAction,
        BookType,
        OmsType,
        OrderSide,
        TimeInForce,
    )
    from nautilus_trader.model.identifiers import TradeId, Venue
    from nautilus_trader.model.objects import Money, Price, Quantity
    from nautilus_trader.test_kit.providers import TestInstrumentProvider
    from nautilus_trader.trading.strategy import Strategy
except ImportError:
    sys.exit(3)

LAST = 128
"""The flag of a delta that ends its message."""


class Sender(Strategy):
    """Sends each order at its moment, takes it back later, and keeps what filled."""

    def __init__(self, instrument, setup):
        super().__init__()
        self.instrument, self.setup = instrument, setup
        self.fills = {order["number"]: [] for order in setup["orders"]}
        self.sent, self.numbers = {}, {}

    def on_start(self):
        self.subscribe_order_book_deltas(self.instrument.id, book_type=BookType.L2_MBP)
        self.subscribe_trade_ticks(self.instrument.id)
        for order in self.setup["orders"]:
            name, ts = f"send-{order['number']}", order["ts"]
            self.clock.set_time_alert_ns(name, ts, lambda event, order=order: self.send(order))
            self.clock.set_time_alert_ns(
                f"back-{order['number']}", ts + self.setup["rests_ns"], lambda event, order=order: self.take_back(order)
            )

    def send(self, order):
        side = OrderSide.BUY if order["side"] == "buy" else OrderSide.SELL
        quantity = self.instrument.make_qty(order["size"])
        if order["kind"] == "market":
            made = self.order_factory.market(self.instrument.id, side, quantity)
        else:
            force = TimeInForce.IOC if order["kind"] == "ioc" else TimeInForce.GTC
            price = self.instrument.make_price(order["price"])
            made = self.order_factory.limit(self.instrument.id, side, quantity, price, time_in_force=force)
        self.sent[order["number"]] = made
        self.numbers[made.client_order_id] = order["number"]
        self.submit_order(made)

    def take_back(self, order):
        made = self.sent[order["number"]]
        if made.is_open:
            self.cancel_order(made)

    def on_order_filled(self, event):
        number = self.numbers[event.client_order_id]
        self.fills[number].append((event.ts_event, float(event.last_qty), float(event.last_px)))


def main(folder: Path, model: str) -> None:
    """Write `nautilus-MODEL.json`: size, last price and ms to the first fill, an order each."""
    setup = json.loads((folder / "orders.json").read_text())
    instrument = TestInstrumentProvider.btcusdt_binance()
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        venue=Venue("BINANCE"),
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=USDT,
        starting_balances=[Money(1_000_000_000, USDT)],
        default_leverage=Decimal(10),
        book_type=BookType.L2_MBP,
        latency_model=LatencyModel(base_latency_nanos=setup["latency_ns"]),
        trade_execution=True,
        bar_execution=False,
    )
    engine.add_instrument(instrument)
    for kind in market(folder, instrument):
        engine.add_data(kind)
    sender = Sender(instrument, setup)
    engine.add_strategy(sender)
    engine.run()
    found = [made(sender.fills[order["number"]], order) for order in setup["orders"]]
    engine.dispose()
    (folder / f"nautilus-{model}.json").write_text(json.dumps(found))


def made(fills: list, order: dict) -> dict:
    """What the fills of an order come to."""
    if not fills:
        return {"size": 0.0, "last": 0.0, "after_ms": 0.0}
    size = sum(size for _, size, _ in fills)
    return {"size": round(size, 8), "last": round(fills[-1][2], 2), "after_ms": (fills[0][0] - order["ts"]) / 1e6}


def market(folder: Path, instrument: object) -> tuple[list, list]:
    """The market as deltas, those of a message together, and as trades."""
    columns = {name: values.tolist() for name, values in np.load(folder / "market.npz").items()}
    messages, deltas, trades, was_snapshot = [], [], [], False
    rows = zip(
        *(columns[name] for name in ("ts", "is_trade", "is_snapshot", "is_last", "side", "price", "size")), strict=True
    )
    for number, (ts, is_trade, is_snapshot, is_last, side, price, size) in enumerate(rows):
        if is_trade:
            aggressor = AggressorSide.BUYER if side > 0 else AggressorSide.SELLER
            trades.append(
                TradeTick(instrument.id, Price(price, 2), Quantity(size, 6), aggressor, TradeId(str(number)), ts, ts)
            )
            continue
        if is_snapshot and not was_snapshot:
            deltas.append(OrderBookDelta.clear(instrument.id, number, ts, ts))
        was_snapshot = is_snapshot
        action = BookAction.ADD if is_snapshot else BookAction.UPDATE if size else BookAction.DELETE
        resting = BookOrder(OrderSide.BUY if side > 0 else OrderSide.SELL, Price(price, 2), Quantity(size, 6), 0)
        is_end = is_last or (is_snapshot and not columns["is_snapshot"][number + 1])
        deltas.append(OrderBookDelta(instrument.id, action, resting, LAST if is_end else 0, number, ts, ts))
        if is_end:
            messages.append(OrderBookDeltas(instrument.id, deltas))
            deltas = []
    return messages, trades


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
