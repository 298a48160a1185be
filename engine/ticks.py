"""Ticks: the flat rows of a tape, their kinds and flags, and the batch of columns the engine walks."""

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum

import msgspec

NAN = math.nan
NO_SYMBOL = "\0"
"""The character that stands in `TickBatch.symbol` for a row about no symbol."""


class Kind(IntEnum):
    """What a tick is about. The numbers are the tape's, and never change."""

    OTHER = 0
    TRADE = 1
    QUOTE = 2
    BOOK = 3
    FEED = 4


KIND_NAMES: tuple[str, ...] = tuple(kind.name.lower() for kind in Kind)

LAST_OF_MESSAGE = 1
"""Flag: the last row of its message. A book is whole again only after such a row."""
SNAPSHOT = 2
"""Flag: a row of a book snapshot. The first one of a message clears the book."""
RECOVERED = 4
"""Flag: a trade that was missed in a gap and that the venue sent again later."""

BUY, SELL, NO_SIDE = 1, -1, 0

PRICE_MIN, PRICE_MAX, SIZE_MAX = 1e-12, 1e11, 1e18
"""No market has a lower or a higher price, or a larger size: a bitcoin is 3e9 dong. What lies beyond is a mistake, and
would not fit into money either.
"""


class Tick(msgspec.Struct, gc=False, kw_only=True):
    """One normalized market fact, as a decoder makes it; the recorder adds `seq`, `ts_recv` and the frame.

    symbol:    canonical BASE/QUOTE, or None for a row about the connection.
    side:      +1 buy or bid, -1 sell or ask, 0 none; of a trade the aggressor's.
    price:     quote currency per base unit, of the trade or the book level; NaN where there is none.
    size:      base units, of the trade or the book level (0 removes the level); NaN where there is none.
    bid ... ask_size:  the touch as known after this tick; NaN while unknown. Within a book message every
               row but the last carries the touch from before the message: a half-applied book is no market.
    ts_event:  the venue's own time in ns UTC, or None.
    note:      a feed row's JSON object; its `event` says what happened.
    """

    kind: int
    symbol: str | None = None
    side: int = NO_SIDE
    price: float = NAN
    size: float = NAN
    bid: float = NAN
    bid_size: float = NAN
    ask: float = NAN
    ask_size: float = NAN
    ts_event: int | None = None
    flags: int = LAST_OF_MESSAGE
    trade_id: str | None = None
    note: str | None = None


class FeedNote(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The parts of a feed row's note that the engine acts on; venues may add others.

    event:         connected, subscribed, disconnected, gap, stale, checksum, crossed, instrument, clock, ...
    tick_size:     smallest step of price, as decimal text.
    lot_size:      smallest step of quantity in base units, as decimal text.
    min_quantity:  smallest order in base units, as decimal text.
    min_notional:  smallest order in quote currency, as decimal text.
    """

    event: str
    tick_size: str | None = None
    lot_size: str | None = None
    min_quantity: str | None = None
    min_notional: str | None = None


_NO_COLUMNS: tuple[tuple[()], ...] = ((),) * len(Tick.__struct_fields__)
_TRADE = int(Kind.TRADE)  # a plain number: to look up a member of an enum costs as much as to make a row's column

FEED_LOST = frozenset({"disconnected", "gap", "stale", "checksum"})
"""Feed events after which nothing is known of the symbols they name (of all, where they name none)."""


class TickBatch:
    """Consecutive rows of a tape, as columns of equal length.

    Row `i` has the tape's seq `first_seq + i`. Numeric columns are lists, or memoryviews straight onto
    a Parquet page's buffer: what is not read is never converted. Unknown numbers are NaN.

    kind:      bytes, one a row, so that `find` reaches the next row of a kind at memory speed.
    symbol:    str, one character a row: `chr(code)`, where `symbols[code]` is the symbol. Code 0 is no
               symbol. A string, because `rfind` reaches the latest row of a symbol at memory speed.
    traded:    `symbol` on trade rows, NO_SYMBOL on all others.
    symbols:   the names, a list which only grows from one batch of a tape to the next.
    notes:     row to JSON text, for feed rows.
    """

    __slots__ = (
        "ask",
        "ask_size",
        "bid",
        "bid_size",
        "first_seq",
        "flags",
        "kind",
        "notes",
        "price",
        "side",
        "size",
        "symbol",
        "symbols",
        "traded",
        "ts",
    )

    def __init__(
        self,
        *,
        first_seq: int,
        ts: Sequence[int],
        kind: bytes,
        symbol: str,
        traded: str,
        symbols: Sequence[str],
        side: Sequence[int],
        price: Sequence[float],
        size: Sequence[float],
        bid: Sequence[float],
        bid_size: Sequence[float],
        ask: Sequence[float],
        ask_size: Sequence[float],
        flags: Sequence[int],
        notes: Mapping[int, str],
    ) -> None:
        self.first_seq = first_seq
        self.ts = ts
        self.kind = kind
        self.symbol = symbol
        self.traded = traded
        self.symbols = symbols
        self.side = side
        self.price = price
        self.size = size
        self.bid = bid
        self.bid_size = bid_size
        self.ask = ask
        self.ask_size = ask_size
        self.flags = flags
        self.notes = notes

    def __len__(self) -> int:
        return len(self.kind)


class Symbols:
    """Names to codes for the batches of one tape; code 0 is kept for rows about no symbol."""

    def __init__(self) -> None:
        self.names: list[str] = [""]
        self._codes: dict[str | None, int] = {None: 0, "": 0}

    def code(self, name: str | None) -> int:
        """The code of `name`, a new one where the name is new."""
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self.names)
            self.names.append(name or "")
        return code


def batch_of(ticks: Iterable[Tick], ts: Sequence[int], first_seq: int, symbols: Symbols) -> TickBatch:
    """A batch made of single ticks; `ts` holds their times of receipt, in ns and never falling."""
    # In one go through the rows: a live session makes a batch of nearly every message.
    columns = tuple(zip(*map(msgspec.structs.astuple, ticks), strict=True)) or _NO_COLUMNS
    kind, names, side, price, size, bid, bid_size, ask, ask_size, _, flags, _, note = columns
    kinds = bytes(kind)
    symbol = "".join([chr(code) for code in map(symbols.code, names)])
    traded = symbol
    if kinds.count(_TRADE) < len(kinds):
        traded = "".join([char if one == _TRADE else NO_SYMBOL for one, char in zip(kinds, symbol, strict=True)])
    return TickBatch(
        first_seq=first_seq,
        ts=ts,
        kind=kinds,
        symbol=symbol,
        traded=traded,
        symbols=symbols.names,
        side=side,
        price=price,
        size=size,
        bid=bid,
        bid_size=bid_size,
        ask=ask,
        ask_size=ask_size,
        flags=flags,
        notes={row: text for row, text in enumerate(note) if text is not None},
    )
