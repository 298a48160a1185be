"""What an order would meet: the visible levels, less what its desk has already taken from them.

hftbacktest warns of its own model that "the best price and quantity do not change due to your execution"
(`PartialFillExchange`, read 2026-11-26); here they do, for the desk that traded.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Protocol

import msgspec

from engine.book import Book
from engine.market import Market, Quote
from engine.money import ZERO, add, of_float, subtract
from engine.ticks import NAN, SELL

Level = tuple[float, Decimal | None]
"""A price, and the base units to be had there; None for as many as one likes."""


class FillModel(Protocol):
    """What stands in an order's way when it arrives."""

    def levels(self, side: int, symbol: str, quote: Quote, market: Market) -> Iterable[Level]:
        """What an order that buys (+1) or sells (-1) can take at the touch `quote` and behind it, best first."""
        ...

    def take(self, side: int, symbol: str, price: float, quantity: Decimal, market: Market) -> None:
        """The order took `quantity` from the level at `price`."""
        ...


class TouchModel:
    """The best price alone, and any quantity at it."""

    def levels(self, side: int, symbol: str, quote: Quote, market: Market) -> Iterable[Level]:
        """The touch, where there is one."""
        price = quote.ask if side > 0 else quote.bid
        return ((price, None),) if price > 0.0 else ()

    def take(self, side: int, symbol: str, price: float, quantity: Decimal, market: Market) -> None:
        """The touch has no end."""


_TOUCH = TouchModel()


class DepthModel:
    """The visible levels of the book, one after the other; the touch alone where no book is known.

    What the desk took stays taken until the venue speaks of that level again. Desks are alone in the market: none
    sees what another took.
    """

    def __init__(self) -> None:
        self._taken: dict[tuple[str, int, float], _Taken] = {}
        self._touch = self._quoted = NAN  # of the walk under way: the best price, and what the touch shows there

    def levels(self, side: int, symbol: str, quote: Quote, market: Market) -> Iterable[Level]:
        """The touch as last quoted, then the book behind it: quotes are often ahead of the book."""
        book = market.book(symbol)
        if book is None:
            return _TOUCH.levels(side, symbol, quote, market)
        return self._walk(-side, symbol, quote, book)

    def _walk(self, side: int, symbol: str, quote: Quote, book: Book) -> Iterator[Level]:
        best, quoted = (quote.ask, quote.ask_size) if side == SELL else (quote.bid, quote.bid_size)
        if not best > 0.0:
            return
        self._touch, self._quoted = best, quoted
        yield best, self._left(symbol, side, best, quoted if quoted == quoted else book.size(side, best) or 0.0)
        for price, size in book.levels(side):
            if price > best if side == SELL else price < best:
                yield price, self._left(symbol, side, price, size)

    def _left(self, symbol: str, side: int, price: float, shown: float) -> Decimal:
        taken, size = self._taken.get((symbol, side, price)), of_float(shown)
        if taken is None:
            return size
        if price == self._touch and self._quoted == self._quoted:
            taken.quote(shown)
        return size if taken.is_restated else max(subtract(size, taken.quantity), ZERO)

    def take(self, side: int, symbol: str, price: float, quantity: Decimal, market: Market) -> None:
        """Remember it, until the venue speaks of the level."""
        book = market.book(symbol)
        if book is None:
            return
        key = (symbol, -side, price)
        taken = self._taken.get(key)
        if taken is not None and not taken.is_restated:
            taken.quantity = add(taken.quantity, quantity)
            return
        self._forget(market)
        quoted = self._quoted if price == self._touch else NAN
        taken = self._taken[key] = _Taken(side=-side, price=price, quantity=quantity, quoted=quoted)
        book.watch(taken)

    def _forget(self, market: Market) -> None:
        """Drop what the venue has restated."""
        for key, taken in list(self._taken.items()):
            if taken.is_restated:
                del self._taken[key]
                market.forget(taken)


class _Taken(msgspec.Struct, kw_only=True, eq=False):
    """What the desk took from a level: a watcher of the book.

    quoted:  base units that the touch showed at the level when the desk last looked, NaN where it was not the touch.
    """

    side: int
    price: float
    quantity: Decimal
    quoted: float
    is_restated: bool = False

    def show(self, size: float) -> None:
        self.is_restated = True

    def quote(self, size: float) -> None:
        """The level is the touch, and shows `size` there: another size than before is news of the level too."""
        if self.quoted == self.quoted and self.quoted != size:
            self.is_restated = True
        self.quoted = size


def fill_model(name: str) -> FillModel:
    """The model that an ExecutionConfig names."""
    return DepthModel() if name == "depth" else TouchModel()
