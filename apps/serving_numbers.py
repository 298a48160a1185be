"""The texts of a symbol's numbers, as a venue would print them that had said them first."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from engine.ticks import FeedNote, Kind, Tick

_CACHED_MAX = 50_000


class Digits:
    """How many decimals the prices and sizes of one symbol have.

    price, size:  decimals that are always printed; a number that has more is printed in full.
    rules:        its steps and minimums where the stream has told them, else empty.
    """

    def __init__(self) -> None:
        self.price = self.size = 0
        self.rules = FeedNote(event="instrument")
        self._prices: dict[float, str] = {}
        self._sizes: dict[float, str] = {}

    def price_text(self, price: float) -> str:
        """Fixed-point text; 0 where it is not known."""
        return _cached(self._prices, price, self.price)

    def size_text(self, size: float) -> str:
        """Fixed-point text; 0 where it is not known."""
        return _cached(self._sizes, size, self.size)


def digits_of(rows: Iterable[Tick]) -> dict[str, Digits]:
    """What the instrument rows say of each symbol, or else the most decimals of any number seen."""
    found: dict[str, Digits] = {}
    prices: dict[str, set[float]] = {}
    sizes: dict[str, set[float]] = {}
    for row in rows:
        if row.symbol is None:
            continue
        digits = found.setdefault(row.symbol, Digits())
        if row.kind == Kind.FEED and row.note is not None:
            _heed(digits, msgspec.json.decode(row.note, type=FeedNote))
        prices.setdefault(row.symbol, set()).update((row.price, row.bid, row.ask))
        sizes.setdefault(row.symbol, set()).update((row.size, row.bid_size, row.ask_size))
    for symbol, digits in found.items():
        digits.price = max([digits.price, *map(_decimals, map(fixed_text, prices[symbol]))])
        digits.size = max([digits.size, *map(_decimals, map(fixed_text, sizes[symbol]))])
    return found


def _heed(digits: Digits, note: FeedNote) -> None:
    """Take in what an instrument row says of its symbol."""
    if note.event == "instrument":
        digits.rules = note
        digits.price = max(digits.price, _decimals(note.tick_size))
        digits.size = max(digits.size, _decimals(note.lot_size))


def fixed_text(number: float, decimals: int = 0) -> str:
    """The shortest text that gives the double back, in fixed point, with at least so many decimals."""
    if number != number:
        number = 0.0
    text = format(Decimal(repr(number)), "f")
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0").ljust(decimals, "0")
    return f"{whole}.{fraction}" if fraction else whole


def _decimals(text: str | None) -> int:
    return len(text.partition(".")[2]) if text else 0


def _cached(texts: dict[float, str], number: float, decimals: int) -> str:
    text = texts.get(number)
    if text is None:
        if len(texts) >= _CACHED_MAX:
            texts.clear()
        text = texts[number] = fixed_text(number, decimals)
    return text
