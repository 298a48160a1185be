"""One Kraken order book: sorted, cut to its depth, and checked against the venue's CRC32."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from zlib import crc32

import msgspec

from engine.ticks import BUY, NAN, PRICE_MAX, PRICE_MIN, SIZE_MAX

CHECKSUM_LEVELS = 10
"""The checksum covers the best 10 levels a side, however deep the book; a shorter side gives what it has."""

_TEXT_LENGTH_MAX = 64
"""No price or size is longer; a longer text is not worth a place in the cache."""


class Level(msgspec.Struct, gc=False, frozen=True):
    """One price of a book and what it now holds.

    side:    +1 bid, -1 ask.
    size:    base units, absolute; 0 removes the level.
    digits:  what the level adds to the checksum.
    """

    side: int
    price: float
    size: float
    digits: bytes


def level(side: int, price: object, qty: object) -> Level:
    """The level behind two JSON numbers, each as the text on the wire (bytes) or, without a point, as an int.

    Raises ValueError for what is no price or size of a market, and for anything else than a number.
    """
    price_value, price_digits = _number(price if type(price) is bytes else _text(price))
    size, size_digits = _number(qty if type(qty) is bytes else _text(qty))
    if not PRICE_MIN <= price_value <= PRICE_MAX or size > SIZE_MAX:
        raise ValueError(f"expected a price and a size of a market, found {price_value} and {size}")
    return Level(side, price_value, size, price_digits + size_digits)


def checksum(asks: Iterable[bytes], bids: Iterable[bytes]) -> int:
    """Kraken's CRC32 over the digits of the best levels, asks first, each side best first.

    The digits of a level are its price and its size as they stood on the wire, each without point and
    leading zeros (docs.kraken.com, "Spot WebSocket v2: book checksum"). Trailing zeros count.
    """
    return crc32(b"".join((*asks, *bids)))


def _text(number: object) -> bytes:
    if type(number) is not int:
        raise ValueError(f"expected a number, found {type(number).__name__}")
    return b"%d" % number


# Few prices and sizes make most of a stream: the cache takes two thirds off the cost of a level.
@lru_cache(maxsize=16_384)
def _number(text: bytes) -> tuple[float, bytes]:
    """The value of a JSON number, and what its text adds to the checksum."""
    value = float(text)
    digits = text.replace(b".", b"")
    if digits.isdigit() and len(digits) <= _TEXT_LENGTH_MAX:
        return value, digits.lstrip(b"0")
    # The book channel has used no exponent in any capture, but JSON allows it and the instrument channel does.
    if value == 0.0 and len(text) <= _TEXT_LENGTH_MAX:
        return 0.0, b""
    if not 1e-30 < value < 1e30 or len(text) > _TEXT_LENGTH_MAX:
        raise ValueError(f"expected a number that is neither negative nor absurd, found {text[:40]!r}")
    return value, format(Decimal(text.decode()), "f").replace(".", "").lstrip("0").encode()


class Ladder(msgspec.Struct):
    """One side, best level first, in parallel lists.

    keys:  the price times `sign` (-1 for bids), so that both sides ascend.
    """

    sign: int
    keys: list[float] = []
    sizes: list[float] = []
    digits: list[bytes] = []

    def set(self, new: Level) -> None:
        key = new.price * self.sign
        at = bisect_left(self.keys, key)
        is_known = at < len(self.keys) and self.keys[at] == key
        if new.size == 0.0:
            if is_known:
                del self.keys[at], self.sizes[at], self.digits[at]
        elif is_known:
            self.sizes[at] = new.size
            self.digits[at] = new.digits
        else:
            self.keys.insert(at, key)
            self.sizes.insert(at, new.size)
            self.digits.insert(at, new.digits)

    def cut(self, depth: int) -> list[float]:
        """Drop what lies beyond `depth`, and name the prices dropped."""
        dropped = self.keys[depth:]
        if dropped:
            del self.keys[depth:], self.sizes[depth:], self.digits[depth:]
        return [key * self.sign for key in dropped]

    def best(self) -> tuple[float, float]:
        return (self.keys[0] * self.sign, self.sizes[0]) if self.keys else (NAN, NAN)


class Book(msgspec.Struct):
    """Both sides of one symbol.

    depth:  levels a side that the venue keeps up to date; what a message pushes beyond them is gone.
    """

    depth: int
    bids: Ladder = msgspec.field(default_factory=lambda: Ladder(sign=-1))
    asks: Ladder = msgspec.field(default_factory=lambda: Ladder(sign=1))

    def apply(self, levels: Sequence[Level]) -> list[Level]:
        """Set the levels of one whole message in their order, then cut; returns removals for what the cut pushed out.

        The order counts: one message may delete a price and add it again. The venue sends no delete for a
        level that falls out of the depth.
        """
        bids, asks, depth = self.bids, self.asks, self.depth
        for new in levels:
            (bids if new.side == BUY else asks).set(new)
        if len(bids.keys) <= depth and len(asks.keys) <= depth:
            return []
        return [
            Level(side, price, 0.0, b"") for side, ladder in ((BUY, bids), (-BUY, asks)) for price in ladder.cut(depth)
        ]

    def checksum(self) -> int:
        """The CRC32 that the venue should have sent for this book."""
        return checksum(self.asks.digits[:CHECKSUM_LEVELS], self.bids.digits[:CHECKSUM_LEVELS])

    def touch(self) -> tuple[float, float, float, float]:
        """Best bid, its size, best ask, its size; NaN for an empty side."""
        return (*self.bids.best(), *self.asks.best())
