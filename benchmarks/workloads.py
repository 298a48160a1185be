"""The workloads that the speed goals are stated in, as tapes in a folder of their own.

W1: 1,000,000 trades of one symbol, a random walk of 0.1 a step, one EMA 20/50 cross strategy.
W2: W1 with eight such strategies.
W3: W1 with three quotes before each trade, 4,000,000 ticks; the strategy is asked on trades.
W4: a recorded Binance book, 393,176 ticks of 99,574 frames, with the shipped strategies, some of them twice, to make
    eight; orders walk the book and queue in it.
"""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from apps.importing import import_files
from recorder.tape import Tape

TRADES = 1_000_000
ROOT = Path(__file__).resolve().parents[1]
STRATEGY = ROOT / "benchmarks/strategies/ema.py"
FOLDER = Path(tempfile.gettempdir()) / "wspt-benchmarks"
_START_NS = 1_767_225_600_000_000_000
_TRADE_EVERY_NS = 10_000_000


def trades_tape(trades: int = TRADES) -> Tape:
    """The tape of W1 and W2."""
    return _tape(f"trades-{trades}", trades, quotes=0)


def quotes_tape(trades: int = TRADES) -> Tape:
    """The tape of W3."""
    return _tape(f"quotes-{trades}", trades, quotes=3)


def strategies(count: int) -> list[Path]:
    """`count` files of the same strategy under different names."""
    source = STRATEGY.read_text()
    FOLDER.mkdir(exist_ok=True)
    paths = [FOLDER / f"ema_{number}.py" for number in range(count)]
    for path in paths:
        path.write_text(source)
    return paths


def captured_tape() -> Tape | None:
    """The tape of W4, or None where the captures are missing."""
    captures = sorted((ROOT.parent / "shared/captures/binance_spot").glob("btcusdt_2024080*.gz"))
    path = FOLDER / "binance.parquet"
    if not path.exists() and captures:
        FOLDER.mkdir(exist_ok=True)
        import_files("hftbacktest", "binance", captures, path)
    return Tape.open(path) if path.exists() else None


def shipped_strategies() -> list[Path]:
    """Eight files: those of `strategies/`, and copies of the first of them."""
    shipped = sorted((ROOT / "strategies").glob("*.py"))
    copies = [FOLDER / f"again_{path.name}" for path in shipped[: 8 - len(shipped)]]
    for path, copy in zip(shipped, copies, strict=False):
        copy.write_text(path.read_text())
    return [*shipped, *copies]


def _tape(name: str, trades: int, quotes: int) -> Tape:
    path = FOLDER / f"{name}.parquet"
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        table = FOLDER / f"{name}-table.parquet"
        pq.write_table(_table(trades, quotes), table)
        import_files("ticks", None, [table], path)
        table.unlink()
    return Tape.open(path)


def _table(trades: int, quotes: int) -> pa.Table:
    """Quotes stand one tick around the next trade's price; the walk is seeded."""
    walk = np.random.default_rng(7).choice([-1, 1], trades).cumsum()
    price = np.round(50_000 + walk * 0.1, 1)
    each = 1 + quotes
    rows = trades * each
    is_trade = np.arange(rows) % each == quotes
    repeated = np.repeat(price, each)
    side = np.where(np.repeat(np.diff(walk, prepend=0) > 0, each), 1, -1)

    def only(mask: np.ndarray, values: np.ndarray) -> pa.Array:
        return pa.array(values, mask=~mask)

    return pa.table(
        {
            "ts": _START_NS + (np.arange(rows) + 1) * (_TRADE_EVERY_NS // each),
            "symbol": pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), ["BTC/USD"]),
            "price": only(is_trade, repeated),
            "size": only(is_trade, np.full(rows, 0.01)),
            "side": only(is_trade, side),
            "bid": only(~is_trade, np.round(repeated - 0.1, 1)),
            "bid_size": only(~is_trade, np.full(rows, 1.5)),
            "ask": only(~is_trade, np.round(repeated + 0.1, 1)),
            "ask_size": only(~is_trade, np.full(rows, 1.5)),
        }
    )
