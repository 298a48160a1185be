"""Markets by chance, for the property tests of the engine: small numbers that hypothesis can shrink."""

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.builders import (
    BTC,
    ETH,
    ETH_BTC,
    MS,
    SECOND,
    Message,
    Tape,
    book,
    book_snapshot,
    clock,
    feed,
    instrument,
    other,
    quote,
    tape_of,
    trade,
    trades,
)

SYMBOLS = (BTC, ETH, ETH_BTC)
GRID = {BTC: (1_000, 0.1), ETH: (1_000, 0.01), ETH_BTC: (1_000, 0.0001)}
"""Where each symbol begins, in ticks, and how much a tick is."""
GAPS_NS = (0, 0, 1, 1_000, 20 * MS, 20 * MS, 300 * MS, SECOND, 5 * SECOND, 61 * SECOND)
TO_THE_SECOND = len(GAPS_NS)
"""A gap that ends exactly where timers, candles and marks fall due."""

_TALK = ("trade",) * 5 + ("trades", "trades", "quote", "quote", "quote", "quote", "one side", "crossed")
_TALK += ("snapshot", "deep", "deep", "deep", "book", "touched", "touched", "touched", "rows of two symbols")
_TALK += ("loss", "loss of all", "connected", "instrument", "clock", "other", "other of a symbol")
_STEPS = (0, 1, -1, 0, 2, -2, 0, 1, -1, 4, -4, 9, -9)
_BIG = (1.0, 0.02, 0.3, 0.5, 2.0, 5.0, 0.1, 8.0)
"""Base units of trades and levels: some hold less than an order wants."""


class Move(NamedTuple):
    """One message by chance; each number picks from a table."""

    gap: int
    talk: int
    symbol: int
    step: int
    detail: int


def upto(last: int) -> SearchStrategy[int]:
    """A number from 0 to `last`."""
    return st.integers(0, last)


moves: SearchStrategy[list[Move]] = st.lists(
    st.builds(Move, upto(len(GAPS_NS)), upto(len(_TALK) - 1), upto(2), upto(len(_STEPS) - 1), upto(7)),
    min_size=20,
    max_size=60,
)


_OPENING = Move(0, 0, 0, 0, 5)


def market_of(moves: Sequence[Move]) -> Tape:
    """The tape that these moves make. Mostly every symbol has a book to begin with."""
    ts, ticks = 1_000 * SECOND - 30 * MS, {symbol: start for symbol, (start, _) in GRID.items()}
    said = [] if len(moves) % 8 == 7 else [_message(ts, "deep", symbol, ticks[symbol], _OPENING) for symbol in SYMBOLS]
    for move in moves:
        if move.gap == TO_THE_SECOND:
            ts += -ts % SECOND
        else:
            ts += GAPS_NS[move.gap]
        symbol = SYMBOLS[move.symbol]
        ticks[symbol] += _STEPS[move.step]
        said.append(_message(ts, _TALK[move.talk], symbol, ticks[symbol], move))
    return tape_of(*said)


def _message(ts: int, talk: str, symbol: str, at: int, move: Move) -> Message:
    tick = GRID[symbol][1]

    def price(ticks: int) -> float:
        return round(ticks * tick, 6)

    bid, ask, detail = price(at - 1), price(at + 1), move.detail
    match talk:
        case "trade":
            return trade(ts, price(at), symbol, side=1 if detail < 4 else -1, size=_BIG[(detail + move.step) % 8])
        case "trades":
            return trades(ts, price(at), price(at + detail), price(at - 1), symbol=symbol)
        case "quote":
            return quote(ts, bid, ask, symbol, bid_size=_BIG[detail], ask_size=_BIG[-detail])
        case "one side":
            return quote(ts, None if detail % 2 else bid, ask if detail % 2 else None, symbol)
        case "crossed":
            return quote(ts, ask, bid, symbol)
        case "snapshot" | "deep":
            levels = range(1, 2 + (detail % 3 if talk == "snapshot" else detail))
            bids = [(price(at - i), _BIG[(detail + i) % 8]) for i in levels]
            asks = [(price(at + i), _BIG[(detail * i) % 8]) for i in levels]
            return book_snapshot(ts, bids, asks, symbol)
        case "book":
            return book(ts, [(price(at - 2), float(detail))], [(price(at + 2), float(detail % 3))], symbol)
        case "touched":
            gone_bids, gone_asks = [(price(at + i), 0.0) for i in range(5)], [(price(at - i), 0.0) for i in range(5)]
            return book(ts, [*gone_bids, (bid, _BIG[detail])], [*gone_asks, (ask, _BIG[-detail])], symbol)
        case "rows of two symbols":
            return _rows_of_two(ts, symbol, SYMBOLS[(move.symbol + 1) % 3], (price(at), price(at + 1)), detail)
        case "instrument":
            lot, least = ("0.001", "0.1", "1")[detail % 3], str(detail)
            return instrument(ts, symbol, lot_size=lot, min_notional=least, tick_size=str(tick * (1 + detail % 2)))
        case "loss":
            return feed(ts, ("gap", "checksum", "stale")[detail % 3], symbol)
        case "loss of all":
            return feed(ts, "disconnected")
        case "connected":
            return feed(ts, "connected")
        case "clock":
            return clock(ts)
        case _:
            return other(ts, symbol if talk == "other of a symbol" else None)


def _rows_of_two(ts: int, symbol: str, neighbor: str, prices: tuple[float, float], detail: int) -> Message:
    mine, its = trades(ts, *prices, symbol=symbol), quote(ts, None, None, neighbor)
    first = [row for row in mine.rows if not row.flags & 1]
    return Message(ts, (*first, *its.rows) if detail % 2 else (*first, *mine.rows[-1:]))
