"""What the feed must know of each venue: where it is, what to say to it, and what its silence means (no I/O).

Protocol facts are the venues' own: docs.kraken.com ("Spot WebSocket v2", "Spot WebSocket Introduction") and
github.com/binance/binance-spot-api-docs (`web-socket-streams.md`).
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec
from msgspec import Struct

from recorder.problems import Problem
from recorder.venues import binance, kraken
from recorder.venues.binance_wire import Instrument

Topic: TypeAlias = tuple[str, str | None]
"""A channel and a symbol in the venue's spelling, or None where the channel is about all of them."""


class Request(Struct, frozen=True):
    """Something to say to a venue.

    id:      by which the answer is told, where the venue repeats it.
    topics:  what the venue is expected to answer for; empty where no answer is waited for.
    """

    payload: bytes
    id: int
    topics: tuple[Topic, ...] = ()


class Reply(Struct, frozen=True):
    """A venue's answer to a request: to one topic of it, or to all where it names none.

    error:  why it was refused, or None.
    """

    id: int | None
    channel: str | None = None
    symbol: str | None = None
    error: str | None = None


class System(Struct, frozen=True):
    """The state of the venue."""

    is_online: bool


class Listing(Struct, frozen=True):
    """The symbols that the venue trades, canonical."""

    symbols: list[str]


Reading: TypeAlias = Reply | System | Listing


class Profile(Struct, frozen=True, kw_only=True):
    """One venue, as the feed sees it. Times are seconds.

    url:                  where it is, unless told otherwise. Its path completes an address that has none.
    attempts_max:         attempts to connect that it allows within `attempts_window_s`.
    maintenance_pause_s:  shortest pause between attempts while it is under maintenance.
    request_spacing_s:    shortest time between two requests on one connection.
    open_timeout_s:       for the name, TCP, TLS and the handshake together.
    close_timeout_s:      for the closing handshake.
    answer_after_s:       a request that is not answered by then is reported.
    ping_after_s:         of silence, after which it is asked for a sign of life.
    dead_after_s:         of silence, after which the connection is given up.
    stale_after_s:        of silence about a symbol, after which nothing is known of it.
    renew_after_s:        age at which a connection is replaced, ahead of the venue ending it; None where it does not.
    clock_s:              of silence, after which the recording is told that time passes.
    first_pause_s, longest_pause_s:  between attempts to connect.
    rest_spacing_s:       shortest time between two REST requests.
    rest_timeout_s:       for a REST answer.
    lists_symbols:        the stream begins with a list of all symbols.
    hints:                bytes of which every message that `read` understands has at least one.
    spelled:              a canonical symbol in the venue's spelling.
    opening:              the requests for a new connection.
    read:                 what a message says about requests or the venue; None for all others.
    spoken:               the symbols that a message brings news of, in the venue's spelling.
    ping:                 a request that every living connection answers, given an id.
    ask:                  requests for a sign of life about a symbol that leave its book alone, given an id.
    heal:                 requests for a new book of a symbol, given an id; empty where books come by REST.
    listing_url:          the address of the rules of some symbols (of all, where none is named), given the stream's;
                          None where the list comes in the stream.
    snapshot_url:         the address of a symbol's book, given the stream's; None where books come in the stream.
    """

    venue: str
    url: str
    attempts_max: int
    attempts_window_s: float
    maintenance_pause_s: float = 0.0
    request_spacing_s: float = 0.0
    open_timeout_s: float = 10.0
    close_timeout_s: float = 1.0
    answer_after_s: float = 10.0
    ping_after_s: float
    dead_after_s: float
    stale_after_s: float = 60.0
    renew_after_s: float | None = None
    clock_s: float = 1.0
    first_pause_s: float = 0.2
    longest_pause_s: float = 60.0
    rest_spacing_s: float = 0.6
    rest_timeout_s: float = 10.0
    lists_symbols: bool = False
    hints: tuple[bytes, ...]
    spelled: Callable[[str], str]
    opening: Callable[[Sequence[str]], list[Request]]
    read: Callable[[bytes], Reading | None]
    spoken: Callable[[bytes], list[str]]
    ping: Callable[[int], Request]
    ask: Callable[[str, int], list[Request]]
    heal: Callable[[str, int], list[Request]]
    snapshot_url: Callable[[str, str], str] | None = None
    listing_url: Callable[[str, Sequence[str]], str] | None = None

    def address(self, url: str | None) -> str:
        """The address to connect to: the venue's own, or `url` with the venue's path where it has none.

        Raises Problem for what is no WebSocket address.
        """
        if url is None:
            return self.url
        try:
            parts = urlsplit(url)
            is_address = (
                parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0 and not parts.fragment
            )
        except ValueError:
            is_address = False
        if not is_address:
            raise Problem(f"--url: expected an address such as ws://127.0.0.1:9000, found {url!r}")
        path = urlsplit(self.url).path if parts.path in ("", "/") else parts.path
        return urlunsplit(parts._replace(path=path))


# -- Kraken ------------------------------------------------------------------------------------------------


class _Params(Struct):
    channel: str
    symbol: list[str] | None = None


class _Sent(Struct):
    params: _Params
    req_id: int


class _Result(Struct):
    channel: str | None = None
    symbol: str | None = None


class _KrakenMessage(Struct):
    channel: str | None = None
    type: str | None = None
    method: str | None = None
    success: bool | None = None
    symbol: str | None = None
    req_id: int | None = None
    result: _Result | None = None
    error: str | None = None
    complaint: str | None = msgspec.field(default=None, name="Error")
    data: msgspec.Raw = msgspec.Raw()


class _State(Struct):
    system: str


class _Named(Struct):
    symbol: str


class _Pairs(Struct):
    pairs: list[_Named]


class _News(Struct):
    channel: str
    data: list[_Named]


_KRAKEN_MESSAGE = msgspec.json.Decoder(_KrakenMessage)
_KRAKEN_NEWS = msgspec.json.Decoder(_News)
_SENT = msgspec.json.Decoder(_Sent)
_STATES = msgspec.json.Decoder(list[_State])
_PAIRS = msgspec.json.Decoder(_Pairs)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MARKET_CHANNELS = frozenset({"book", "ticker", "trade"})


def _kraken_opening(symbols: Sequence[str]) -> list[Request]:
    return [_kraken_request(payload) for payload in kraken.subscribe_messages(symbols)]


def _kraken_request(payload: bytes) -> Request:
    sent = _SENT.decode(payload)
    names: Sequence[str | None] = [None] if sent.params.symbol is None else sent.params.symbol
    return Request(payload, sent.req_id, tuple((sent.params.channel, name) for name in names))


def _kraken_again(symbol: str, number: int, **params: object) -> list[Request]:
    """Unsubscribe from a channel, with the parameters that were subscribed, and subscribe again: a snapshot follows."""
    same = {"symbol": [symbol], **params}
    stop = {"method": "unsubscribe", "params": same, "req_id": number}
    start = {"method": "subscribe", "params": {**same, "snapshot": True}, "req_id": number + 1}
    return [Request(msgspec.json.encode(stop), number), _kraken_request(msgspec.json.encode(start))]


def _kraken_heal(symbol: str, number: int) -> list[Request]:
    return _kraken_again(symbol, number, channel="book", depth=10)


def _kraken_ask(symbol: str, number: int) -> list[Request]:
    return _kraken_again(symbol, number, channel="ticker", event_trigger="bbo")


def _kraken_ping(number: int) -> Request:
    return Request(msgspec.json.encode({"method": "ping", "req_id": number}), number)


def _kraken_read(payload: bytes) -> Reading | None:
    try:
        message = _KRAKEN_MESSAGE.decode(payload)
        if message.channel == "status":
            return System(all(state.system != "maintenance" for state in _STATES.decode(message.data)))
        if message.channel == "instrument" and message.type == "snapshot":
            return Listing([pair.symbol for pair in _PAIRS.decode(message.data).pairs])
    except _UNREADABLE:
        return None
    if message.method not in ("subscribe", None):
        return None
    error = message.error if message.error is not None else message.complaint
    if error is not None or message.success is False:
        return Reply(message.req_id, None, message.symbol, error or "no reason given")
    return None if message.result is None else Reply(message.req_id, message.result.channel, message.result.symbol)


def _kraken_spoken(payload: bytes) -> list[str]:
    try:
        message = _KRAKEN_NEWS.decode(payload)
    except _UNREADABLE:
        return []
    return [item.symbol for item in message.data] if message.channel in _MARKET_CHANNELS else []


KRAKEN = Profile(
    venue=kraken.VENUE,
    url=kraken.URL,
    # "About 150 per rolling 10 minutes per address", shared by all its hosts; beyond it, banned for 10 minutes.
    attempts_max=150,
    attempts_window_s=600.0,
    maintenance_pause_s=5.0,
    request_spacing_s=0.02,
    # A heartbeat comes about once a second as soon as one subscription stands, and the answer to a ping without any.
    ping_after_s=5.0,
    dead_after_s=10.0,
    lists_symbols=True,
    hints=(b'"method"', b'"status"', b'"instrument"', b'"Error"'),
    spelled=str,
    opening=_kraken_opening,
    read=_kraken_read,
    spoken=_kraken_spoken,
    ping=_kraken_ping,
    ask=_kraken_ask,
    heal=_kraken_heal,
)


# -- Binance -----------------------------------------------------------------------------------------------

_REST_HOSTS = {
    "stream.binance.com": "https://api.binance.com",
    "data-stream.binance.vision": "https://data-api.binance.vision",
    "stream.binance.us": "https://api.binance.us",
}
_SNAPSHOT_LEVELS = 1000
"""Levels a side of a snapshot: costs 50 of the 6,000 weights of a minute; 5,000 levels would cost 250."""


class _Refusal(Struct):
    code: int | str | None = None
    msg: str | None = None


class _BinanceMessage(Struct):
    id: int | str | None = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: _Refusal | None = None
    code: int | str | None = None
    msg: str | None = None
    symbols: list[Instrument] | None = None


class _BinanceSymbol(Struct):
    name: str = msgspec.field(default="", name="s")


class _BinanceNews(Struct):
    stream: str | None = None
    data: _BinanceSymbol | None = None
    name: str = msgspec.field(default="", name="s")


_BINANCE_MESSAGE = msgspec.json.Decoder(_BinanceMessage)
_BINANCE_NEWS = msgspec.json.Decoder(_BinanceNews)


def _binance_spelled(symbol: str) -> str:
    return symbol.replace("/", "").upper()


def _binance_opening(symbols: Sequence[str]) -> list[Request]:
    payloads = binance.subscribe_messages(symbols)
    return [
        Request(payload, number, ((f"streams {number}", None),)) for number, payload in enumerate(payloads, start=1)
    ]


def _binance_ping(number: int) -> Request:
    return Request(msgspec.json.encode({"method": "LIST_SUBSCRIPTIONS", "id": number}), number)


def _nothing(symbol: str, number: int) -> list[Request]:
    return []


def _binance_read(payload: bytes) -> Reading | None:
    try:
        message = _BINANCE_MESSAGE.decode(payload)
    except _UNREADABLE:
        return None
    if message.symbols is not None:
        return Listing([f"{listed.base}/{listed.quote}" for listed in message.symbols])
    number = message.id if isinstance(message.id, int) else None
    refusal = message.error or _Refusal(message.code, message.msg)
    if refusal.code is not None:
        return Reply(number, error=refusal.msg or f"code {refusal.code}")
    return None if message.result is msgspec.UNSET else Reply(number)


def _binance_spoken(payload: bytes) -> list[str]:
    try:
        message = _BINANCE_NEWS.decode(payload)
    except _UNREADABLE:
        return []
    if message.stream is not None:
        return [message.stream.partition("@")[0].upper()]
    return [message.name]


def _binance_rest(url: str) -> str:
    """The REST host that belongs to a stream; of an unknown one (a test venue) the same host and port."""
    parts = urlsplit(url)
    secure = "https" if parts.scheme == "wss" else "http"
    return _REST_HOSTS.get(parts.hostname or "") or f"{secure}://{parts.netloc}"


def _binance_snapshot_url(url: str, symbol: str) -> str:
    return f"{_binance_rest(url)}/api/v3/depth?symbol={symbol}&limit={_SNAPSHOT_LEVELS}"


def _binance_listing_url(url: str, symbols: Sequence[str]) -> str:
    named = "?symbols=" + quote(msgspec.json.encode(list(symbols)).decode()) if symbols else ""
    return f"{_binance_rest(url)}/api/v3/exchangeInfo{named}"


BINANCE = Profile(
    venue="binance",
    # The combined form: it says of each message which stream it is from. The streams are named by SUBSCRIBE.
    url="wss://stream.binance.com:9443/stream",
    attempts_max=300,
    attempts_window_s=300.0,
    request_spacing_s=0.25,  # five incoming messages a second, pongs among them
    # Its pings (every 20 s) are answered, and not shown to us; so quiet streams are asked for their list.
    ping_after_s=20.0,
    dead_after_s=40.0,
    renew_after_s=23.5 * 3600.0,
    hints=(b'"id"', b'"code"'),
    spelled=_binance_spelled,
    opening=_binance_opening,
    read=_binance_read,
    spoken=_binance_spoken,
    ping=_binance_ping,
    ask=_nothing,
    heal=_nothing,
    snapshot_url=_binance_snapshot_url,
    listing_url=_binance_listing_url,
)

PROFILES: Mapping[str, Profile] = MappingProxyType({profile.venue: profile for profile in (KRAKEN, BINANCE)})
"""The venues that can be recorded live, by name."""
