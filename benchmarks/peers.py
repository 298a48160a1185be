"""Do orders fill here as in other engines? The same orders on the same recorded book, one by one, side by side.

The market is a Binance capture reduced to its depth updates and trades: every engine sees the same levels change at
the same moments. Each order stands alone, takes 50 ms to the venue, and pays no fee; what rests is taken back after
8 s. hftbacktest runs with its partial fill exchange and three queue models, beside ours of the same idea, and with
the exchange that fills whole orders; NautilusTrader with an L2 book. A peer that is missing is left out; PEERS_PYTHON
names an interpreter that has them, by default this one.

What differs, and why (hftbacktest 2.4.4, NautilusTrader 1.221.0):
- A market order of 8 BTC: hftbacktest looks at the 100 nearest ticks, here 1 USDT, and lets the rest expire.
- hftbacktest's exchange without partial fills trades everything at the best price, whatever stands there.
- A limit order that takes what there is up to its price, and wants more: hftbacktest fills the rest at the limit at
  once, which its own comments call unreal. Ours rests, as NautilusTrader's does, and trades with what the other side
  shows anew: order 39 gets no more than was there.
- NautilusTrader lets an order meet the market at the first message after its arrival, that message included: up to
  100 ms later here, and so from another book. Small orders trade at the same price, larger ones sometimes not.
- hftbacktest's time of a first fill is looked at in steps of a millisecond.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from apps.desks import Range, batches_of
from apps.importing import import_files
from engine import events
from engine.desk import Desk
from engine.engine import Engine
from engine.execution import ExecutionConfig
from engine.money import ZERO, money
from engine.signals import Signal, Strategy, Trigger
from engine.ticks import LAST_OF_MESSAGE, SNAPSHOT, Kind
from recorder.tape import Tape

ROOT = Path(__file__).resolve().parents[1]
CAPTURES = ROOT.parent / "shared/captures/binance_spot"
SYMBOL = "BTC/USDT"
LATENCY_NS = 50_000_000
RESTS_NS = 8_000_000_000
EVERY_NS = 12_500_000_000
PEERS = {
    "hftbacktest": ("conservative", "power", "log", "whole"),
    "nautilus": ("L2",),
}
"""What is asked of each peer: the queue model, or the exchange."""
OURS = ("conservative", "power", "log")


class Order(msgspec.Struct, frozen=True):
    """An order as every engine is given it.

    ts:     when it is decided, ns: the end of a depth update.
    kind:   market, ioc or gtc.
    price:  of a limit order; 0 for a market order.
    """

    number: int
    ts: int
    side: str
    kind: str
    size: float
    price: float


class Filled(msgspec.Struct, frozen=True):
    """What came of an order: base units, the price of the last of them, and ms from the decision to the first."""

    size: float
    last: float
    after_ms: float


def main() -> None:
    """Print what each engine made of each order, then where they differ."""
    captures = sorted(CAPTURES.glob("btcusdt_2024080*.gz"))
    if not captures:
        print("left out: the captures are not here")
        return
    with tempfile.TemporaryDirectory(prefix="wspt-peers-") as name:
        folder = Path(name)
        tape = _tape(captures, folder)
        orders = _orders(tape)
        _write(tape, orders, folder)
        answers = {f"wspt {model}": _ours(tape, orders, model) for model in OURS}
        python = os.environ.get("PEERS_PYTHON", sys.executable)
        for peer, models in PEERS.items():
            for model in models:
                found = _peer(python, peer, model, folder)
                if found is None:
                    break
                answers[f"{peer} {model}"] = found
    _print(orders, answers)


# -- the market and the orders ---------------------------------------------------------------------------------


def _tape(captures: Sequence[Path], folder: Path) -> Tape:
    """The captures without quotes, which the peers would not see: then all know the same book."""
    lean = []
    for capture in captures:
        lean.append(folder / capture.name)
        with gzip.open(capture, "rt") as read, gzip.open(lean[-1], "wt", compresslevel=1) as written:
            written.writelines(line for line in read if "@bookTicker" not in line)
    return import_files("hftbacktest", "binance", lean, folder / "tape.parquet")


def _orders(tape: Tape) -> list[Order]:
    """One every 12.5 s, of eight kinds in turn, priced by the touch of its moment."""
    kinds = (
        ("buy", "market", 0.05, 0.0),
        ("sell", "market", 0.05, 0.0),
        ("buy", "market", 8.0, 0.0),
        ("sell", "market", 8.0, 0.0),
        ("buy", "gtc", 0.02, 0.0),  # at the touch, behind what is there
        ("sell", "gtc", 0.02, 0.0),
        ("buy", "ioc", 8.0, 3.0),  # into the book, up to a price
        ("sell", "gtc", 8.0, 3.0),  # into the book, and the rest waits
    )
    orders: list[Order] = []
    due = tape.start + 20_000_000_000
    for batch in tape.batches():
        for row in range(len(batch)):
            whole = batch.kind[row] == Kind.BOOK and batch.flags[row] & LAST_OF_MESSAGE
            if not whole or batch.ts[row] < due or batch.ts[row] + RESTS_NS + 2 * EVERY_NS > tape.end:
                continue
            side, kind, size, reach = kinds[len(orders) % len(kinds)]
            near = batch.bid[row] if side == "buy" else batch.ask[row]
            far = batch.ask[row] if side == "buy" else batch.bid[row]
            price = near if not reach else far + reach * (1 if side == "buy" else -1)
            price = 0.0 if kind == "market" else round(price, 2)
            orders.append(Order(len(orders), batch.ts[row], side, kind, size, price))
            due = batch.ts[row] + EVERY_NS
    return orders


def _write(tape: Tape, orders: Sequence[Order], folder: Path) -> None:
    """The market as columns, the orders as JSON: what the peers' scripts read."""
    table = tape.table(["ts_recv", "kind", "flags", "side", "price", "size"])
    columns = {name: np.array(table[name].to_numpy()) for name in table.column_names}
    wanted = (columns["kind"] == Kind.BOOK) | (columns["kind"] == Kind.TRADE)
    columns = {name: values[wanted] for name, values in columns.items()}
    np.savez(
        folder / "market.npz",
        ts=columns["ts_recv"],
        is_trade=columns["kind"] == Kind.TRADE,
        is_snapshot=(columns["flags"] & SNAPSHOT) != 0,
        is_last=(columns["flags"] & LAST_OF_MESSAGE) != 0,
        side=columns["side"],
        price=columns["price"],
        size=columns["size"],
    )
    setup = {"latency_ns": LATENCY_NS, "rests_ns": RESTS_NS, "orders": msgspec.to_builtins(orders)}
    (folder / "orders.json").write_text(json.dumps(setup))


# -- the engines -------------------------------------------------------------------------------------------------


def _ours(tape: Tape, orders: Sequence[Order], model: str) -> list[Filled]:
    execution = ExecutionConfig(latency_ns=LATENCY_NS, queue_model=model)
    desks = [Desk(_strategy(order), cash=money("1000000000"), currency="USDT", execution=execution) for order in orders]
    engine = Engine(desks)
    history: list[events.Event] = []
    for batch in batches_of(tape, Range()):
        history += engine.process(batch)
    return [_made(order, [event for event in history if event.strategy == f"o{order.number}"]) for order in orders]


def _strategy(order: Order) -> Strategy:
    """One that sends the order at its moment and takes it back later."""

    def generate_signal(data: Any, config: Any, state: Any) -> Iterator[Signal] | None:
        if data.ts >= order.ts and "sent" not in state:
            state["sent"] = True
            limit = {} if order.kind == "market" else {"order_type": "limit", "limit_price": order.price}
            force = "ioc" if order.kind == "ioc" else "gtc"
            action = "buy" if order.side == "buy" else "short"
            return iter([Signal(action, SYMBOL, order.size, size_in="base", time_in_force=force, **limit)])
        if data.ts >= order.ts + RESTS_NS and "taken back" not in state:
            state["taken back"] = True
            return iter([Signal("cancel", SYMBOL)])
        return None

    return Strategy(
        name=f"o{order.number}",
        version="0",
        symbols=None,
        config={},
        trigger=Trigger("book"),
        generate_signal=generate_signal,
    )


def _made(order: Order, history: Sequence[events.Event]) -> Filled:
    fills = [event for event in history if isinstance(event, events.OrderFilled)]
    if not fills:
        return Filled(0.0, 0.0, 0.0)
    size = float(sum((fill.quantity for fill in fills), ZERO))
    return Filled(size, float(fills[-1].price), (fills[0].ts - order.ts) / 1e6)


def _peer(python: str, peer: str, model: str, folder: Path) -> list[Filled] | None:
    """What the peer made of the orders; None, and a line that says so, where it is not installed."""
    script = ROOT / "benchmarks/peers" / f"{peer}_fills.py"
    done = subprocess.run([python, str(script), str(folder), model], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        print(f"{peer} is left out: {python} does not have it")
        return None
    if done.returncode:
        raise SystemExit(f"{script}: {done.stderr[-2000:]}")
    return msgspec.json.decode((folder / f"{peer}-{model}.json").read_bytes(), type=list[Filled])


# -- side by side --------------------------------------------------------------------------------------------------


def _print(orders: Sequence[Order], answers: dict[str, list[Filled]]) -> None:
    print("base units, price of the last of them, ms from the decision to the first")
    print(f"{'order':32}" + "".join(f"{name:>30}" for name in answers))
    for order in orders:
        limit = "" if order.kind == "market" else f" {order.price:.2f}"
        cells = [_cell(found[order.number]) for found in answers.values()]
        print(f"{order.number:2} {order.side} {order.size:g} {order.kind}{limit:12}"[:32].ljust(32) + "".join(cells))
    print()
    for theirs, found in answers.items():
        if not theirs.startswith("wspt"):
            model = theirs.split()[1]
            ours = f"wspt {model}" if f"wspt {model}" in answers else "wspt conservative"
            print(_agreement(ours, answers[ours], theirs, found, orders))


def _cell(found: Filled) -> str:
    if not found.size:
        return f"{'-':>30}"
    return f"{found.size:>9.5f} {found.last:>11.2f} {found.after_ms:>8.0f}"


def _agreement(ours: str, mine: Sequence[Filled], theirs: str, found: Sequence[Filled], orders: Sequence[Order]) -> str:
    """In how many orders of each kind the two filled the same size down to the same price."""
    counts: dict[str, list[int]] = {}
    for order in orders:
        a, b = mine[order.number], found[order.number]
        same = abs(a.size - b.size) < 1e-9 and abs(a.last - b.last) < 1e-9
        tally = counts.setdefault(f"{order.kind} {order.size:g}", [0, 0])
        tally[0] += same
        tally[1] += 1
    told = ", ".join(f"{kind} {same} of {all_}" for kind, (same, all_) in counts.items())
    return f"{ours} and {theirs} agree: {told}"


if __name__ == "__main__":
    main()
