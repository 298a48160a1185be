"""A Kraken to connect to: its spot WebSocket v2 over a tape of any venue, without the sockets."""

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import assert_never, cast

from apps.serving import Said, Source, opening
from apps.serving_book import TextBook, View
from apps.serving_kraken_client import KrakenListener
from apps.serving_kraken_news import (
    Beat,
    BookNews,
    DepthNews,
    News,
    PairNews,
    QuoteNews,
    Restart,
    StatusNews,
    TradeNews,
    said_in,
    told_by,
)
from apps.serving_numbers import Digits, digits_of
from recorder.venues import kraken_frames as print_frame
from recorder.venues.kraken_wire import DEPTHS

PATHS = ("/", "/v2")

_TRADES_IN_SNAPSHOT = 50


class Market:
    """One symbol, as the stream has told it so far.

    book:        None while no snapshot was told, and after the recording lost it.
    depth:       levels a side of the recorded book, whose frames go out as they are; None where they are built.
    quote:       the last one; trades: the last 50, oldest first; both as JSON objects.
    traded:      number of trades told.
    time:        of the last book message, RFC 3339.
    views:       the book as told to those who asked for another depth, with the update that the last message gave.
    """

    __slots__ = ("book", "depth", "quote", "time", "traded", "trades", "views")

    def __init__(self) -> None:
        self.book: TextBook | None = None
        self.depth: int | None = None
        self.quote: bytes | None = None
        self.trades: deque[bytes] = deque(maxlen=_TRADES_IN_SNAPSHOT)
        self.traded = 0
        self.time = ""
        self.views: dict[int, tuple[View, bytes | None]] = {}


class KrakenVenue:
    """The venue behind every connection; see `apps.serving.Venue`.

    Frames of a Kraken tape go out as they were recorded to whoever subscribed to all that they hold, with the
    recorded book depth. Everything else is built: snapshots for those who come later, books cut to another depth,
    messages about fewer symbols, and all of it where the tape is another venue's.
    """

    path = "/v2"
    ping_interval_s: float | None = None
    idle_s: float | None = 60.0

    def __init__(self, source: Source) -> None:
        self.symbols = dict.fromkeys(source.symbols)
        self.pairs: dict[str, bytes] = {}
        self.markets: dict[str, Market] = {}
        self._source = source
        self._is_recorded = source.has_frames and source.venue == "kraken"
        self._digits: dict[str, Digits] = {}
        self._has_begun = False
        if not self._tells_pairs():
            self._digits = digits_of(chain.from_iterable(rows for _, rows in opening(source.messages())))
            self.pairs = {symbol: _pair(symbol, self._digits.get(symbol, Digits())) for symbol in self.symbols}

    def stream(self) -> Iterator[Said]:
        """See `Venue`. To those who listened before, it is a recorder that lost its connection and has it again."""
        source = self._source
        stream = said_in(source.frames()) if self._is_recorded else told_by(source.messages(), self._digits)
        for said in stream:
            if self._has_begun:
                yield Said(said.ts, None, (Restart(),))
            yield said
            break
        self._has_begun = True
        yield from stream

    def hear(self, said: Said) -> None:
        """See `Venue`."""
        first = said.news[0]
        if isinstance(first, TradeNews) and first.is_snapshot:
            for symbol in {cast(TradeNews, item).symbol for item in said.news}:
                self.market(symbol).trades.clear()
        for item in said.news:
            news = cast(News, item)
            match news:
                case BookNews():
                    self._hear_book(news)
                case QuoteNews():
                    self.market(news.symbol).quote = news.item
                case TradeNews():
                    market = self.market(news.symbol)
                    market.traded += not news.is_snapshot
                    market.trades.append(news.item)
                case PairNews():
                    self.pairs[news.symbol] = news.item
                case DepthNews():
                    self.market(news.symbol).depth = news.depth
                case Restart():
                    for market in self.markets.values():
                        market.book = market.depth = None
                case Beat() | StatusNews():
                    pass
                case _:
                    assert_never(news)

    def listener(self, path: str, conn: int) -> KrakenListener | None:
        """See `Venue`."""
        return KrakenListener(self, conn) if path.partition("?")[0] in PATHS else None

    def http(self, path: str) -> tuple[int, bytes] | None:
        """See `Venue`: everything is on the WebSocket."""
        return None

    def market(self, symbol: str) -> Market:
        """What is known of a symbol."""
        market = self.markets.get(symbol)
        if market is None:
            market = self.markets[symbol] = Market()
        return market

    def _hear_book(self, news: BookNews) -> None:
        market = self.market(news.symbol)
        market.time = news.time
        if news.crc is not None and news.is_snapshot and market.depth is None:
            longest = max(len(news.bids), len(news.asks))
            market.depth = next((depth for depth in DEPTHS if depth >= longest), DEPTHS[-1])
        if market.book is None:
            # Ticks say that a book is whole by their first message; recorded updates need a snapshot before them.
            if news.crc is not None and not news.is_snapshot:
                return
            market.book = TextBook()
        market.book.apply(news.bids, news.asks, is_snapshot=news.is_snapshot, depth=market.depth)
        if news.crc is not None and news.crc != _crc(market.book):
            # The recorder missed something here, and nobody can know what: wait for its next snapshot, as it did.
            market.book = None
            return
        for depth, (view, _) in market.views.items():
            if depth == market.depth and news.crc is not None:
                continue  # The recorded frames say it.
            bids, asks = view.follow(market.book)
            update = None
            if bids or asks:
                crc = print_frame.text_checksum(view.asks, view.bids)
                update = print_frame.text_book(news.symbol, "update", bids, asks, crc, news.time)
            market.views[depth] = (view, update)

    def _tells_pairs(self) -> bool:
        return self._is_recorded and any(
            type(news) is PairNews for said in opening(said_in(self._source.frames())) for news in said.news
        )


def _pair(symbol: str, digits: Digits) -> bytes:
    """A pair as far as the stream tells it: nothing is made up of steps and minimums that are not known."""
    rules = {
        "price_increment": digits.rules.tick_size,
        "qty_increment": digits.rules.lot_size,
        "qty_min": digits.rules.min_quantity,
        "cost_min": digits.rules.min_notional,
    }
    known = {key: text for key, text in rules.items() if text is not None}
    return print_frame.text_pair(symbol, digits.price, digits.size, known)


def _crc(book: TextBook) -> int:
    return print_frame.text_checksum(book.asks.top(10), book.bids.top(10))
