"""A Binance to connect to: its spot streams and REST depth over a tape of any venue, without the sockets."""

from collections import Counter, deque
from collections.abc import Iterator
from itertools import chain
from typing import cast
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import UNSET, Struct, UnsetType

from apps.serving import Said, Source, opening
from apps.serving_binance_news import (
    DEPTH_STREAMS,
    DiffNews,
    News,
    SnapshotNews,
    StreamNews,
    said_in,
    told_by,
    venue_spelling,
)
from apps.serving_book import TextBook
from apps.serving_numbers import digits_of
from recorder.venues import binance_frames as print_frame
from recorder.venues.binance import STREAMS_MAX

_KINDS = ("trade", "bookTicker", "depth")
_DIFFS_KEPT = 1_000
_LIMIT, _LIMIT_MAX = 100, 5_000
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_INVALID_SYMBOL = print_frame.refused(-1121, "Invalid symbol.")
_NO_SYMBOL = print_frame.refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
_BAD_SYMBOLS = print_frame.refused(-1100, "Illegal characters found in parameter 'symbols'.")
_BAD_LIMIT = print_frame.refused(-1100, "Illegal characters found in parameter 'limit'.")


class _Market:
    """The book of one symbol, as far as the stream has told it, and the diffs that led to it.

    last:  the update that it holds last; None before any.
    """

    __slots__ = ("book", "diffs", "last")

    def __init__(self) -> None:
        self.book = TextBook()
        self.last: int | None = None
        self.diffs: deque[DiffNews] = deque(maxlen=_DIFFS_KEPT)

    def diff(self, news: DiffNews) -> None:
        """Take in a diff, unless a snapshot that ran ahead of it holds it already."""
        is_whole = not self.diffs or news.first == self.diffs[-1].last + 1
        if not is_whole or (self.last is not None and news.first > self.last + 1):
            # The recording lost something here: what is known starts over with this diff.
            self.book, self.last = TextBook(), None
            self.diffs.clear()
        self.diffs.append(news)
        if self.last is None or news.last > self.last:
            self.book.apply(news.bids, news.asks, is_snapshot=False)
            self.last = news.last

    def snapshot(self, news: SnapshotNews) -> None:
        """Take in a recorded snapshot, and again the diffs that go on from it."""
        newer = [diff for diff in self.diffs if diff.last > news.last]
        if newer and newer[0].first > news.last + 1:
            return  # Too old to go on from: what was told since is worth more.
        if not newer and self.last is not None and self.last > news.last:
            return  # A later snapshot is known.
        self.book.apply(news.bids, news.asks, is_snapshot=True)
        for diff in newer:
            self.book.apply(diff.bids, diff.asks, is_snapshot=False)
        self.last = newer[-1].last if newer else news.last


class BinanceVenue:
    """The venue behind every connection; see `apps.serving.Venue`.

    Messages of a Binance tape go out as they were recorded, put into or taken out of the wrapping of a combined stream
    where a client connected the other way. Where the tape holds REST snapshots, the first of a symbol
    is known from the start: a snapshot may run ahead of the diffs, as the venue's does. Where it holds none, REST
    answers with the levels told so far: a book that is right in all that it says, and does not say all.
    """

    path = "/stream"
    ping_interval_s: float | None = 20.0
    idle_s: float | None = None

    def __init__(self, source: Source) -> None:
        self.symbols = {venue_spelling(symbol): symbol for symbol in source.symbols}
        rows = chain.from_iterable(rows for _, rows in opening(source.messages()))
        self._rules = {venue_spelling(symbol): digits.rules for symbol, digits in digits_of(rows).items()}
        self.asked: Counter[str] = Counter()
        self._source = source
        self._markets: dict[str, _Market] = {}
        self._is_recorded = source.has_frames and source.venue == "binance"
        self._snapshots: dict[str, SnapshotNews] = {}
        self._updates_before: dict[str, int] = {}
        if self._is_recorded:
            self._look_ahead()
        self._begin()

    def stream(self) -> Iterator[Said]:
        """See `Venue`. Its update ids begin again, and who listened before sees a gap."""
        self._begin()
        return said_in(self._source.frames()) if self._is_recorded else told_by(self._source.messages())

    def hear(self, said: Said) -> None:
        """See `Venue`."""
        for item in said.news:
            news = cast(News, item)
            if isinstance(news, DiffNews):
                self._market(news.name).diff(news)
            elif isinstance(news, SnapshotNews):
                self._hear_snapshot(news)

    def listener(self, path: str, conn: int) -> "BinanceListener | None":
        """See `Venue`: `/ws/<stream>` is raw, `/stream?streams=<stream>/<stream>` combined; both may name none."""
        parts = urlsplit(path)
        if parts.path == "/stream":
            named = parse_qs(parts.query).get("streams", [""])[-1]
            return BinanceListener(self, named, is_combined=True)
        if parts.path in ("", "/", "/ws") or parts.path.startswith("/ws/"):
            return BinanceListener(self, parts.path.removeprefix("/ws").strip("/"), is_combined=False)
        return None

    def http(self, path: str) -> tuple[int, bytes] | None:
        """See `Venue`: `/api/v3/depth`, `/api/v3/exchangeInfo` and `/api/v3/ping`."""
        parts = urlsplit(path)
        asked = parse_qs(parts.query)
        match parts.path:
            case "/api/v3/depth":
                return self._depth(asked)
            case "/api/v3/exchangeInfo":
                return self._info(asked)
            case "/api/v3/ping":
                return 200, b"{}"
        return None

    def _info(self, asked: dict[str, list[str]]) -> tuple[int, bytes]:
        """The symbols named by `symbol` or `symbols`, or all."""
        names = list(self.symbols)
        if "symbols" in asked or "symbol" in asked:
            try:
                names = (
                    msgspec.json.decode(asked["symbols"][-1], type=list[str]) if "symbols" in asked else asked["symbol"]
                )
            except msgspec.MsgspecError:
                return 400, _BAD_SYMBOLS
        if not self.symbols.keys() >= set(names):
            return 400, _INVALID_SYMBOL
        return 200, print_frame.exchange_info({name: self.symbols[name] for name in names}, self._rules)

    def _depth(self, asked: dict[str, list[str]]) -> tuple[int, bytes]:
        name, limit = asked.get("symbol", [""])[-1], asked.get("limit", [str(_LIMIT)])[-1]
        if not name:
            return 400, _NO_SYMBOL
        if name not in self.symbols:
            return 400, _INVALID_SYMBOL
        if not (limit.isascii() and limit.isdigit() and int(limit) > 0):
            return 400, _BAD_LIMIT
        self.asked[name] += 1
        market, levels = self._market(name), min(int(limit), _LIMIT_MAX)
        book = market.book
        return 200, print_frame.depth(market.last or 0, book.bids.top(levels), book.asks.top(levels))

    def _market(self, name: str) -> _Market:
        market = self._markets.get(name)
        if market is None:
            market = self._markets[name] = _Market()
        return market

    def _begin(self) -> None:
        """The market as it is known before the stream starts."""
        self._markets.clear()
        for name, update in self._updates_before.items():
            self._market(name).last = update
        for name, snapshot in self._snapshots.items():
            self._market(name).last = None
            self._market(name).snapshot(snapshot)

    def _look_ahead(self) -> None:
        """Find the first snapshot of each symbol, and the update before its first diff."""
        diffs: dict[str, list[DiffNews]] = {}
        snapshots = []
        for said in opening(said_in(self._source.frames())):
            for item in said.news:
                if isinstance(item, DiffNews):
                    diffs.setdefault(item.name, []).append(item)
                elif isinstance(item, SnapshotNews):
                    snapshots.append(item)
        self._updates_before = {name: told[0].first - 1 for name, told in diffs.items()}
        for snapshot in snapshots:
            name = snapshot.name or _owner(snapshot, diffs)
            if name is not None:
                self._snapshots.setdefault(name, snapshot)

    def _hear_snapshot(self, news: SnapshotNews) -> None:
        name = news.name or _owner(news, {name: list(market.diffs) for name, market in self._markets.items()})
        if name is not None:
            self._market(name).snapshot(news)


def _owner(snapshot: SnapshotNews, diffs: dict[str, list[DiffNews]]) -> str | None:
    """The symbol of a snapshot that does not tell it: the only one that its last update fits into."""
    if len(diffs) == 1:
        return next(iter(diffs))
    fitting = [name for name, told in diffs.items() if told and told[0].first - 1 <= snapshot.last <= told[-1].last]
    return fitting[0] if len(fitting) == 1 else None


class _Request(Struct):
    method: str | None = None
    params: list[str | bool] = []
    id: int | str | UnsetType | None = UNSET


_REQUEST = msgspec.json.Decoder(_Request)


class BinanceListener:
    """One connection to a served Binance: its streams, its answers, and its part of what is said."""

    def __init__(self, venue: BinanceVenue, named: str, *, is_combined: bool) -> None:
        self._venue = venue
        self._is_combined = is_combined
        self._streams: dict[str, tuple[str, str]] = {}
        self._by_key: dict[tuple[str, str], list[str]] = {}
        self._asked_before = Counter(venue.asked)
        for stream in filter(None, named.split("/")):
            self._add(stream)

    @property
    def is_listening(self) -> bool:
        """See `Listener`."""
        return bool(self._streams)

    @property
    def is_complete(self) -> bool:
        """See `Listener`: trades, quotes and diffs of every symbol, and its snapshot was asked for since."""
        names = self._venue.symbols
        return all((name, kind) in self._by_key for name in names for kind in _KINDS) and all(
            self._venue.asked[name] > self._asked_before[name] for name in names
        )

    def greeting(self) -> list[bytes]:
        """See `Listener`: the venue says nothing."""
        return []

    def heartbeat(self) -> bytes | None:
        """See `Listener`: the venue sends protocol pings instead."""
        return None

    def request(self, payload: bytes, now_ns: int) -> list[bytes]:
        """See `Listener`. A stream that does not exist is granted and stays silent."""
        try:
            request = _REQUEST.decode(payload)
        except msgspec.ValidationError as error:
            return [print_frame.refused(2, f"Invalid request: {error}")]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return [print_frame.refused(3, "Invalid JSON: expected value at line 1 column 1")]
        if request.id is UNSET or (isinstance(request.id, int) and request.id < 0):
            return [print_frame.refused(2, "Invalid request: request ID must be an unsigned integer")]
        return [self._answer(request, request.id)]

    def _answer(self, request: _Request, asked: int | str | None) -> bytes:
        names = [name for name in request.params if isinstance(name, str)]
        match request.method:
            case "SUBSCRIBE" if len(names) == len(request.params) and names:
                if len(self._streams.keys() | set(names)) > STREAMS_MAX:
                    return print_frame.refused(2, "Invalid request: too many streams", asked)
                for name in names:
                    self._add(name)
                return print_frame.result(None, asked)
            case "UNSUBSCRIBE" if len(names) == len(request.params) and names:
                for name in names:
                    self._remove(name)
                return print_frame.result(None, asked)
            case "LIST_SUBSCRIPTIONS":
                return print_frame.result(list(self._streams), asked)
            case "GET_PROPERTY" if request.params == ["combined"]:
                return print_frame.result(self._is_combined, asked)
            case "SET_PROPERTY" if len(request.params) == 2 and request.params[0] == "combined":
                if not isinstance(request.params[1], bool):
                    return print_frame.refused(1, "Invalid value type: expected Boolean", asked)
                self._is_combined = request.params[1]
                return print_frame.result(None, asked)
            case "GET_PROPERTY" | "SET_PROPERTY":
                return print_frame.refused(0, "Unknown property", asked)
            case "SUBSCRIBE" | "UNSUBSCRIBE":
                return print_frame.refused(2, "Invalid request: expected a list of stream names", asked)
            case None:
                return print_frame.refused(2, "Invalid request: missing field `method`", asked)
        known = ", ".join(f"`{method}`" for method in _METHODS)
        return print_frame.refused(
            2, f"Invalid request: unknown variant `{request.method}`, expected one of {known}", asked
        )

    def _add(self, stream: str) -> None:
        if stream in self._streams:
            return
        name, _, kind = stream.partition("@")
        # Stream names are lower case; under any other spelling the venue has none, and is silent.
        key = (name.upper() if name.islower() else "", "depth" if kind in DEPTH_STREAMS else kind)
        self._streams[stream] = key
        self._by_key.setdefault(key, []).append(stream)
        self._asked_before = Counter(self._venue.asked)

    def _remove(self, stream: str) -> None:
        key = self._streams.pop(stream, None)
        if key is not None:
            self._by_key[key].remove(stream)
            if not self._by_key[key]:
                del self._by_key[key]

    def told(self, said: Said) -> list[bytes]:
        """See `Listener`."""
        news = said.news[0]
        if not isinstance(news, StreamNews):
            return []
        streams = self._by_key.get((news.name, news.kind))
        if streams is None:
            return []
        if not self._is_combined:
            # Two names of one stream of diffs are two subscriptions.
            return [news.data] * len(streams)
        return [
            said.payload
            if said.payload is not None and stream == news.stream
            else print_frame.combined(stream, news.data)
            for stream in streams
        ]
