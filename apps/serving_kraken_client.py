"""One connection to a served Kraken: its requests and answers, and its part of the stream."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType

from apps.serving import Said
from apps.serving_book import View
from apps.serving_kraken_news import Beat, BookNews, PairNews, QuoteNews, Restart, StatusNews, TradeNews
from recorder.venues import kraken_frames as print_frame
from recorder.venues.kraken_wire import DEPTHS

if TYPE_CHECKING:
    from apps.serving_kraken import KrakenVenue, Market

CHANNELS = ("instrument", "book", "ticker", "trade")

_SYMBOLS_MAX = 10_000


class _Params(Struct):
    channel: str | None = None
    symbol: list[str] | UnsetType = UNSET
    depth: int = DEPTHS[0]
    event_trigger: str = "trades"
    snapshot: bool | UnsetType = UNSET


class _Request(Struct):
    method: str
    params: _Params = msgspec.field(default_factory=_Params)
    req_id: int | None = None


_Act: TypeAlias = Callable[[str | None, _Params], str | None]
"""Does what is asked for a symbol, and tells what is wrong with it, if anything."""

_REQUEST = msgspec.json.Decoder(_Request)


class _BookSubscription(Struct):
    """is_waiting: for a snapshot, before which updates would mean nothing."""

    depth: int
    wants_snapshot: bool
    is_waiting: bool


class _QuoteSubscription(Struct):
    """traded: how many trades there had been when the last quote was sent; None where every quote is."""

    wants_snapshot: bool
    traded: int | None


class KrakenListener:
    """One connection to a served Kraken: its subscriptions, its answers, and its part of the stream."""

    def __init__(self, venue: "KrakenVenue", conn: int) -> None:
        self._venue = venue
        self._conn = conn
        self._books: dict[str, _BookSubscription] = {}
        self._quotes: dict[str, _QuoteSubscription] = {}
        self._trades: dict[str, bool] = {}
        self._pairs: bool | None = None

    @property
    def is_listening(self) -> bool:
        """See `Listener`."""
        return bool(self._books or self._quotes or self._trades or self._pairs is not None)

    @property
    def is_complete(self) -> bool:
        """See `Listener`: every channel, for every symbol."""
        if self._pairs is None:
            return False
        return all(self._venue.symbols.keys() <= subs.keys() for subs in (self._books, self._quotes, self._trades))

    def greeting(self) -> list[bytes]:
        """See `Listener`."""
        return [print_frame.status(connection_id=self._conn + 1)]

    def heartbeat(self) -> bytes | None:
        """See `Listener`."""
        return print_frame.heartbeat() if self.is_listening else None

    # Requests

    def request(self, payload: bytes, now_ns: int) -> list[bytes]:
        """See `Listener`.

        The texts of errors for unknown methods, channels, depths and absent subscriptions are ours: no
        source tells the venue's.
        """
        try:
            request = _REQUEST.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return [print_frame.refused("Malformed request", None, now_ns, None)]
        match request.method:
            case "ping":
                return [print_frame.pong(now_ns, request.req_id)]
            case "subscribe":
                return self._for_each(request, self._subscribe, now_ns)
            case "unsubscribe":
                return self._for_each(request, self._unsubscribe, now_ns)
        return [print_frame.refused(f"Unknown method {request.method}", request.method, now_ns, request.req_id)]

    def _for_each(self, request: _Request, act: _Act, now_ns: int) -> list[bytes]:
        """One answer for each symbol, then the snapshots of those that were granted."""
        params, method, req_id = request.params, request.method, request.req_id
        error = _malformed(params)
        if error is not None:
            return [print_frame.refused(error, method, now_ns, req_id)]
        assert params.channel is not None, "checked above"
        symbols: Sequence[str | None] = [None]
        if params.channel != "instrument":
            assert params.symbol is not UNSET, "checked above"
            symbols = params.symbol
        answers, snapshots = [], []
        for symbol in symbols:
            error = self._unsupported(symbol) or act(symbol, params)
            if error is not None:
                answers.append(print_frame.refused(error, method, now_ns, req_id, symbol))
                continue
            answers.append(print_frame.done(method, now_ns, _granted(method, symbol, params), req_id))
            if method == "subscribe":
                snapshots += self._snapshot(symbol, params)
        return answers + snapshots

    def _unsupported(self, symbol: str | None) -> str | None:
        if symbol is None or symbol in self._venue.symbols:
            return None
        return f"Currency pair not supported {symbol}"

    def _subscribe(self, symbol: str | None, params: _Params) -> str | None:
        wants = _wants_snapshot(params)
        if symbol is None:
            if self._pairs is not None:
                return "Already subscribed"
            self._pairs = wants
            return None
        subscribed = self._subscribed(params.channel)
        if symbol in subscribed:
            return "Already subscribed"
        match params.channel:
            case "book":
                self._books[symbol] = _BookSubscription(params.depth, wants, is_waiting=wants)
                self._view(symbol, params.depth)
            case "ticker":
                traded = self._venue.market(symbol).traded if params.event_trigger == "trades" else None
                self._quotes[symbol] = _QuoteSubscription(wants, traded)
            case _:
                self._trades[symbol] = wants
        return None

    def _unsubscribe(self, symbol: str | None, params: _Params) -> str | None:
        if symbol is None:
            was, self._pairs = self._pairs, None
            return "Subscription not found" if was is None else None
        subscribed = self._subscribed(params.channel)
        found = subscribed.get(symbol)
        is_other = isinstance(found, _BookSubscription) and found.depth != params.depth
        if isinstance(found, _QuoteSubscription):
            is_other = (found.traded is None) != (params.event_trigger == "bbo")
        if found is None or is_other:
            return "Subscription not found"
        del subscribed[symbol]
        return None

    def _subscribed(self, channel: str | None) -> dict[str, object]:
        found = {"book": self._books, "ticker": self._quotes}.get(channel or "", self._trades)
        return cast(dict[str, object], found)

    def _view(self, symbol: str, depth: int) -> None:
        """Have the book followed at this depth from here on."""
        market = self._venue.market(symbol)
        if depth not in market.views:
            view = View(depth)
            if market.book is not None:
                view.follow(market.book)
            market.views[depth] = (view, None)

    def _snapshot(self, symbol: str | None, params: _Params) -> list[bytes]:
        """What is known of the moment, where it was asked for; what is not known comes with the stream."""
        if not _wants_snapshot(params):
            return []
        if symbol is None:
            pairs = self._venue.pairs
            return [print_frame.pairs_message("snapshot", pairs.values())] if pairs else []
        market = self._venue.market(symbol)
        match params.channel:
            case "book":
                return self._book_snapshot(symbol, market)
            case "ticker":
                return [print_frame.message("ticker", "snapshot", [market.quote])] if market.quote else []
        return [print_frame.message("trade", "snapshot", market.trades)] if market.trades else []

    def _book_snapshot(self, symbol: str, market: "Market") -> list[bytes]:
        subscription = self._books[symbol]
        if market.book is None:
            return []
        subscription.is_waiting = False
        bids, asks = market.book.bids.top(subscription.depth), market.book.asks.top(subscription.depth)
        crc = print_frame.text_checksum(asks, bids)
        return [print_frame.text_book(symbol, "snapshot", bids, asks, crc, market.time)]

    # The stream

    def told(self, said: Said) -> list[bytes]:
        """See `Listener`."""
        news = said.news
        match news[0]:
            case BookNews():
                return self._whole_or_parts(said, [self._told_book(cast(BookNews, item), said) for item in news])
            case QuoteNews():
                return self._told_quotes(said, cast(Sequence[QuoteNews], news))
            case TradeNews():
                return self._told_trades(said, cast(Sequence[TradeNews], news))
            case PairNews():
                return [said.payload] if self._pairs and said.payload is not None else []
            case Beat():
                return [said.payload or print_frame.heartbeat()] if self.is_listening else []
            case StatusNews():
                return [said.payload] if said.payload is not None else []
            case Restart():
                for subscription in self._books.values():
                    subscription.is_waiting = subscription.wants_snapshot
        return []

    def _whole_or_parts(self, said: Said, parts: list[tuple[bool, bytes | None]]) -> list[bytes]:
        """The recorded frame where all of it is for this client, else what is built of its parts."""
        if said.payload is not None and all(is_verbatim for is_verbatim, _ in parts):
            return [said.payload]
        return [built for _, built in parts if built is not None]

    def _told_book(self, news: BookNews, said: Said) -> tuple[bool, bytes | None]:
        """Whether the recorded message fits this client as it is, and the same built for it alone."""
        subscription = self._books.get(news.symbol)
        if subscription is None:
            return False, None
        market = self._venue.markets[news.symbol]
        if subscription.depth != market.depth or news.crc is None:
            return False, self._viewed(news.symbol, market, subscription)
        if news.is_snapshot:
            if not subscription.wants_snapshot:
                return False, None
            subscription.is_waiting = False
        elif subscription.is_waiting:
            return False, None
        if said.payload is not None and len(said.news) == 1:
            return True, None
        kind = "snapshot" if news.is_snapshot else "update"
        return True, print_frame.text_book(news.symbol, kind, news.bids, news.asks, news.crc, news.time)

    def _viewed(self, symbol: str, market: "Market", subscription: _BookSubscription) -> bytes | None:
        if market.book is None:
            return None
        if subscription.is_waiting:
            return self._book_snapshot(symbol, market)[0]
        return market.views[subscription.depth][1]

    def _told_quotes(self, said: Said, news: Sequence[QuoteNews]) -> list[bytes]:
        mine = [quote for quote in news if self._wants_quote(quote)]
        if said.payload is not None and len(mine) == len(news):
            return [said.payload]
        return [print_frame.message("ticker", "update", [quote.item for quote in mine])] if mine else []

    def _wants_quote(self, quote: QuoteNews) -> bool:
        subscription = self._quotes.get(quote.symbol)
        if subscription is None or subscription.traded is None:
            return subscription is not None
        traded = self._venue.markets[quote.symbol].traded
        is_due, subscription.traded = traded != subscription.traded, traded
        return is_due

    def _told_trades(self, said: Said, news: Sequence[TradeNews]) -> list[bytes]:
        mine = [trade for trade in news if self._wants_trade(trade)]
        if said.payload is not None and len(mine) == len(news):
            return [said.payload]
        kind = "snapshot" if news[0].is_snapshot else "update"
        return [print_frame.message("trade", kind, [trade.item for trade in mine])] if mine else []

    def _wants_trade(self, trade: TradeNews) -> bool:
        wants_snapshot = self._trades.get(trade.symbol)
        return wants_snapshot is not None and (wants_snapshot or not trade.is_snapshot)


def _malformed(params: _Params) -> str | None:
    """What is wrong with a request before anybody looks at its symbols."""
    if params.channel not in CHANNELS:
        return f"Unsupported channel {params.channel}"
    if params.channel != "instrument" and (params.symbol is UNSET or not 0 < len(params.symbol) <= _SYMBOLS_MAX):
        return "Symbol(s) not provided"
    if params.channel == "book" and params.depth not in DEPTHS:
        return f"Unsupported depth {params.depth}"
    if params.event_trigger not in ("bbo", "trades"):
        return f"Unsupported event_trigger {params.event_trigger}"
    return None


def _wants_snapshot(params: _Params) -> bool:
    """The venue's default is true on every channel but `trade` (docs.kraken.com)."""
    return params.channel != "trade" if params.snapshot is UNSET else params.snapshot


def _granted(method: str, symbol: str | None, params: _Params) -> dict[str, object]:
    """What the answer repeats of a request."""
    result: dict[str, object] = {"channel": params.channel}
    if symbol is not None:
        result["symbol"] = symbol
    if params.channel == "book":
        result["depth"] = params.depth
    if params.channel == "ticker":
        result["event_trigger"] = params.event_trigger
    if method == "subscribe":
        result["snapshot"] = _wants_snapshot(params)
    return result
