"""A served venue speaks its protocol: to a plain websockets client, checked by our decoders."""

import asyncio
import gzip
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from msgspec import structs
from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus

from apps.faults import FaultPlan, Faults, Then, parse_faults
from apps.importing import import_files
from apps.problems import UserProblem
from apps.serving import Listener, Source, Venue, simulated_source, tape_source
from apps.serving_binance import BinanceVenue
from apps.serving_kraken import KrakenVenue
from apps.venue_server import VenueServer
from engine.ticks import BUY, SNAPSHOT, Kind, Tick
from recorder.feed import SIMULATED_HEADER
from recorder.venues import Frame
from recorder.venues.binance import BinanceDecoder, stream_names
from recorder.venues.binance import subscribe_messages as binance_messages
from recorder.venues.kraken import KrakenDecoder, subscribe_messages

T = TypeVar("T")
TIMEOUT_S = 60.0
NOW_NS = 1_800_000_000_000_000_000
SYMBOLS = ["BTC/USD", "XRP/USD"]
Book = dict[str, dict[int, dict[float, float]]]


# -- sources and clients -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def market() -> Source:
    """Twenty seconds of a simulated Kraken."""
    return made_once(simulated_source(seconds=20.0, seed=3))


@pytest.fixture(scope="module")
def kraken_book(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A real Kraken book of two minutes."""
    capture = captures / "kraken" / "v2_book10_btcusd_20260719T1754Z.jsonl"
    return tape_source(import_files("frames", "kraken", [capture], tmp_path_factory.mktemp("tapes") / "book.parquet"))


@pytest.fixture(scope="module")
def binance(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The first 4,000 lines of a real Binance recording, in which a depth snapshot is the eighth."""
    folder = tmp_path_factory.mktemp("tapes")
    with gzip.open(captures / "binance_spot" / "btcusdt_20240808.gz") as lines:
        (folder / "lines").write_bytes(b"".join(next(lines) for _ in range(4_000)))
    return tape_source(import_files("hftbacktest", "binance", [folder / "lines"], folder / "binance.parquet"))


def made_once(source: Source) -> Source:
    """The same, without being simulated anew each time."""
    frames, messages = list(source.frames()), list(source.messages())
    return structs.replace(source, frames=lambda: iter(frames), messages=lambda: iter(messages))


def run(work: Awaitable[T]) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(work, TIMEOUT_S)

    return asyncio.run(bounded())


async def rest_of(socket: ClientConnection) -> list[bytes]:
    """Everything until the server is gone."""
    got: list[bytes] = []
    try:
        while True:
            got.append(await socket.recv(decode=False))
    except ConnectionClosed:
        return got


async def hear_kraken(server: VenueServer, symbols: Sequence[str], depth: int = 10) -> list[bytes]:
    """What a client hears that subscribes to everything."""
    async with connect(server.url, compression=None, max_size=None) as socket:
        for message in subscribe_messages(symbols, depth):
            await socket.send(message, text=True)
        return await rest_of(socket)


async def hear_binance(server: VenueServer, symbols: Sequence[str]) -> list[bytes | Frame]:
    """What a client hears that names its streams in the address, with its REST snapshots in front."""
    url = f"{server.url}?streams={'/'.join(stream_names(symbols))}"
    async with connect(url, compression=None, max_size=None) as socket:
        snapshots: list[bytes | Frame] = []
        for symbol in symbols:
            path = f"/api/v3/depth?symbol={symbol.replace('/', '')}&limit=5000"
            _, body = await get(server, path)
            snapshots.append(Frame(ts_recv=0, payload=body, url=path))
        return [*snapshots, *await rest_of(socket)]


async def get(server: VenueServer, path: str) -> tuple[int, bytes]:
    def fetch() -> tuple[int, bytes]:
        address = urlsplit(server.url)
        client = HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_S)
        client.request("GET", path)
        answer = client.getresponse()
        body = answer.read()
        client.close()
        return answer.status, body

    return await asyncio.to_thread(fetch)


async def asked(socket: ClientConnection, request: object) -> dict[str, Any]:
    """The next thing heard after a request."""
    await socket.send(request if isinstance(request, str) else json.dumps(request))
    answer: dict[str, Any] = json.loads(await socket.recv())
    return answer


def decoded(decoder: KrakenDecoder | BinanceDecoder, payloads: Sequence[bytes | Frame]) -> list[Tick]:
    frames = [item if isinstance(item, Frame) else Frame(ts_recv=0, payload=item) for item in payloads]
    return [row for frame in frames for row in decoder.decode(frame)]


def book_of(rows: Sequence[Tick]) -> Book:
    """The books that rows leave behind."""
    books: Book = {}
    is_open = False
    for row in rows:
        if row.kind != Kind.BOOK or row.symbol is None:
            continue
        if row.flags & SNAPSHOT and not is_open:
            books[row.symbol] = {BUY: {}, -BUY: {}}
        is_open = bool(row.flags & SNAPSHOT) and not row.flags & 1
        side = books.setdefault(row.symbol, {BUY: {}, -BUY: {}}).get(row.side)
        if side is not None:
            side[row.price] = row.size
            if row.size == 0.0:
                del side[row.price]
    return books


def trades_of(rows: Sequence[Tick]) -> list[tuple[Any, ...]]:
    return [(row.trade_id, row.side, row.price, row.size) for row in rows if row.kind == Kind.TRADE]


def stream_of(source: Source, *, but: Sequence[bytes] = ()) -> list[bytes]:
    """The recorded frames that are not part of a connection's opening."""
    opening = (b'{"channel":"status"', b'{"method"')
    payloads = [frame.payload for frame in source.frames()]
    return [p for p in payloads if not p.startswith((*opening, *but)) and b'"method":"subscribe"' not in p[:400]]


def listened(venue: Venue, requests: dict[int, Sequence[object]], path: str = "/") -> tuple[list[bytes], Listener]:
    """What one client hears without a socket, that makes its requests before the stream's message of that number."""
    listener = venue.listener(path, 0)
    assert listener is not None
    heard = list(listener.greeting())
    for number, said in enumerate(venue.stream()):
        for request in requests.get(number, ()):
            payload = request if isinstance(request, bytes) else json.dumps(request).encode()
            heard += listener.request(payload, NOW_NS)
        venue.hear(said)
        heard += listener.told(said)
    return heard, listener


def subscribe(channel: str, *symbols: str, method: str = "subscribe", **params: object) -> dict[str, object]:
    named = {"symbol": list(symbols)} if symbols else {}
    return {"method": method, "params": {"channel": channel, **named, **params}}


# -- Kraken: the opening -------------------------------------------------------------------------------------


def test_kraken_says_its_status_on_connecting_and_nothing_else(market: Source) -> None:
    async def first() -> bytes:
        async with VenueServer(market) as server, connect(server.url) as socket:
            return await socket.recv(decode=False)

    [status] = json.loads(run(first()))["data"]
    assert (status["system"], status["api_version"]) == ("online", "v2")


def test_kraken_acknowledges_each_channel_and_symbol(market: Source) -> None:
    heard, _ = listened(KrakenVenue(market), {0: subscribe_messages(SYMBOLS)})
    answers = [json.loads(payload) for payload in heard if payload.startswith(b'{"method"')]

    assert [(answer["result"]["channel"], answer["result"].get("symbol")) for answer in answers] == [
        ("instrument", None),
        *((channel, symbol) for channel in ("book", "ticker", "trade") for symbol in SYMBOLS),
    ]
    assert all(answer["success"] and answer["time_in"] < answer["time_out"] for answer in answers)
    assert answers[1]["result"] == {"channel": "book", "depth": 10, "snapshot": True, "symbol": "BTC/USD"}
    assert answers[3]["result"]["event_trigger"] == "bbo"
    assert [answer["req_id"] for answer in answers] == [1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("request_", "error", "symbol"),
    [
        (subscribe("book", "XBT/USDT"), "Currency pair not supported XBT/USDT", "XBT/USDT"),
        (subscribe("trade", "btc/usd"), "Currency pair not supported btc/usd", "btc/usd"),
        (subscribe("book", "BTC/USD", depth=11), "Unsupported depth 11", None),
        (subscribe("level9", "BTC/USD"), "Unsupported channel level9", None),
        (subscribe("trade"), "Symbol(s) not provided", None),
        (subscribe("ticker", "BTC/USD", event_trigger="moon"), "Unsupported event_trigger moon", None),
        (subscribe("book", "BTC/USD", method="unsubscribe"), "Subscription not found", "BTC/USD"),
        ({"method": "shout"}, "Unknown method shout", None),
        ("nonsense", "Malformed request", None),
        ({"method": 5}, "Malformed request", None),
    ],
)
def test_kraken_refuses_what_it_does_not_know(market: Source, request_: object, error: str, symbol: str | None) -> None:
    async def answer() -> dict[str, Any]:
        async with VenueServer(market) as server, connect(server.url) as socket:
            await socket.recv()
            return await asked(socket, request_)

    refused = run(answer())
    assert (refused["success"], refused["error"], refused.get("symbol")) == (False, error, symbol)
    assert "result" not in refused


def test_kraken_refuses_a_second_subscription_and_grants_it_after_unsubscribing(market: Source) -> None:
    book = subscribe("book", "BTC/USD")
    listener = KrakenVenue(market).listener("/v2", 0)
    assert listener is not None

    def ask(request: dict[str, object]) -> dict[str, Any]:
        [answer, *_] = listener.request(json.dumps(request | {"req_id": 9}).encode(), NOW_NS)
        reply: dict[str, Any] = json.loads(answer)
        return reply

    assert ask(book)["success"]
    again = ask(book)
    assert (again["error"], again["symbol"], again["req_id"]) == ("Already subscribed", "BTC/USD", 9)
    assert ask(subscribe("book", "BTC/USD", method="unsubscribe", depth=25))["error"] == "Subscription not found"
    gone = ask(subscribe("book", "BTC/USD", method="unsubscribe", depth=10))
    assert gone["result"] == {"channel": "book", "depth": 10, "symbol": "BTC/USD"}
    assert not listener.is_listening
    assert ask(book)["success"]


def test_kraken_answers_a_ping_with_its_number(market: Source) -> None:
    async def pong() -> dict[str, Any]:
        async with VenueServer(market) as server, connect(server.url) as socket:
            await socket.recv()
            return await asked(socket, {"method": "ping", "req_id": 101})

    answer = run(pong())
    assert (answer["method"], answer["req_id"]) == ("pong", 101)
    assert answer["time_in"] < answer["time_out"]


# -- Kraken: the stream --------------------------------------------------------------------------------------


def test_a_kraken_stream_goes_out_as_it_was_made_to_each_of_two_clients(market: Source) -> None:
    async def both() -> list[list[bytes]]:
        async with VenueServer(market) as server:
            heard = await asyncio.gather(*(hear_kraken(server, SYMBOLS) for _ in range(2)))
            await server.wait()
            return heard

    # Both are there before the stream begins: neither is complete until it has subscribed to everything.
    first, second = run(both())
    told = stream_of(market)
    longest = max(first, second, key=len)
    decoder = KrakenDecoder()
    decoded(decoder, longest)

    assert longest[-len(told) :] == told
    assert (decoder.quality.checksum_failed, decoder.quality.gaps, decoder.quality.rejected) == (0, 0, 0)
    for heard in (first, second):
        other = KrakenDecoder()
        decoded(other, heard)
        assert other.quality.checksum_ok > 100
        assert other.quality.checksum_failed == 0


def test_a_real_kraken_book_goes_out_as_it_was_recorded(kraken_book: Source) -> None:
    async def heard() -> list[bytes]:
        async with VenueServer(kraken_book, settle_s=0.05) as server:
            return await hear_kraken(server, ["BTC/USD"])

    payloads, decoder = run(heard()), KrakenDecoder()
    told = stream_of(kraken_book)
    decoded(decoder, payloads)

    assert len(told) == 1374
    assert payloads[-len(told) :] == told
    assert (decoder.quality.checksum_ok, decoder.quality.checksum_failed) == (1254, 0)


@pytest.mark.parametrize("depth", [10, 25, 100])
@pytest.mark.parametrize("at", [0, 1, 7, 200, 700])
def test_whoever_subscribes_later_has_the_same_book_and_right_checksums(
    kraken_book: Source, at: int, depth: int
) -> None:
    late = KrakenDecoder()
    heard, _ = listened(KrakenVenue(kraken_book), {at: [subscribe("book", "BTC/USD", depth=depth)]})
    rows = decoded(late, heard)
    whole = decoded(KrakenDecoder(), stream_of(kraken_book))

    assert late.quality.checksum_failed == 0
    assert late.quality.checksum_ok >= 1253 - at
    assert book_of(rows) == book_of(whole)


def test_whoever_subscribes_again_gets_a_snapshot_and_right_checksums(market: Source) -> None:
    off = subscribe("book", *SYMBOLS, method="unsubscribe")
    requests: dict[int, Sequence[object]] = {0: subscribe_messages(SYMBOLS)}
    for at in (50, 120, 200):
        requests[at] = [off]
        requests[at + 9] = [subscribe("book", *SYMBOLS)]
    decoder = KrakenDecoder()
    heard, _ = listened(KrakenVenue(market), requests)
    rows = decoded(decoder, heard)
    snapshots = Counter(json.loads(p)["data"][0]["symbol"] for p in heard if b'"book","type":"snapshot"' in p)

    assert snapshots == {"BTC/USD": 4, "XRP/USD": 4}
    assert decoder.quality.checksum_failed == 0
    assert book_of(rows) == book_of(decoded(KrakenDecoder(), stream_of(market)))


def test_a_client_can_heal_its_book_over_a_socket() -> None:
    async def healed() -> tuple[KrakenDecoder, int]:
        decoder, snapshots = KrakenDecoder(), 0
        async with VenueServer(simulated_source(seed=5)) as server, connect(server.url, max_queue=None) as socket:
            for message in subscribe_messages(SYMBOLS):
                await socket.send(message, text=True)
            while decoder.quality.checksum_ok < 600:
                if decoder.quality.checksum_ok in (100, 300):
                    for method in ("unsubscribe", "subscribe"):
                        await socket.send(json.dumps(subscribe("book", "BTC/USD", method=method)))
                payload = await socket.recv(decode=False)
                snapshots += b'"book","type":"snapshot"' in payload
                decoded(decoder, [payload])
        return decoder, snapshots

    decoder, snapshots = run(healed())
    assert decoder.quality.checksum_failed == 0
    assert snapshots >= 4


def test_a_client_hears_only_what_it_subscribed_to(market: Source) -> None:
    heard, _ = listened(KrakenVenue(market), {0: [subscribe("trade", "XRP/USD", snapshot=True)]})
    news = [json.loads(payload) for payload in heard if not payload.startswith(b'{"method"')]
    everything = [row for row in decoded(KrakenDecoder(), stream_of(market)) if row.symbol == "XRP/USD"]

    assert {message["channel"] for message in news} == {"status", "trade", "heartbeat"}
    assert {item["symbol"] for message in news if message["channel"] == "trade" for item in message["data"]} == {
        "XRP/USD"
    }
    assert trades_of(decoded(KrakenDecoder(), heard)) == trades_of(everything)


def test_without_a_snapshot_none_is_sent(market: Source) -> None:
    asked_for = [subscribe(channel, "BTC/USD", snapshot=False) for channel in ("book", "ticker", "trade")]
    heard, _ = listened(KrakenVenue(market), {150: asked_for})

    assert len(heard) > 40
    assert not [payload for payload in heard if b'"type":"snapshot"' in payload]


def test_trades_have_no_snapshot_unless_asked_for(market: Source) -> None:
    def kinds(**params: object) -> Counter[str]:
        heard, _ = listened(KrakenVenue(market), {150: [subscribe("trade", "BTC/USD", **params)]})
        return Counter(json.loads(payload)["type"] for payload in heard if b'"channel":"trade","type"' in payload)

    assert kinds()["snapshot"] == 0
    assert kinds(snapshot=True)["snapshot"] == 1


def test_a_trade_snapshot_holds_the_last_fifty_trades_and_the_next_one_follows(market: Source) -> None:
    heard, _ = listened(KrakenVenue(market), {150: [subscribe("trade", "BTC/USD", snapshot=True)]})
    first, *later = [json.loads(payload)["data"] for payload in heard if b'"channel":"trade","type"' in payload]
    ids = [item["trade_id"] for data in (first, *later) for item in data]

    assert len(first) == 50
    assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_by_default_a_quote_comes_with_trades_only(market: Source) -> None:
    def quotes(trigger: str) -> int:
        request = subscribe("ticker", "BTC/USD", event_trigger=trigger)
        heard, _ = listened(KrakenVenue(market), {0: [request]})
        return sum(b'"channel":"ticker","type":"update"' in payload for payload in heard)

    assert 0 < quotes("trades") < quotes("bbo") / 2


def test_a_kraken_pair_is_listed_without_made_up_rules_where_the_tape_has_none(kraken_book: Source) -> None:
    heard, _ = listened(KrakenVenue(kraken_book), {0: [subscribe("instrument")]})
    [pairs] = [json.loads(p)["data"]["pairs"] for p in heard if b'"channel":"instrument","type"' in p]

    assert pairs == [{"symbol": "BTC/USD", "status": "online", "price_precision": 1, "qty_precision": 8}]


@pytest.mark.parametrize("depth", [10, 100])
def test_kraken_frames_built_of_a_binance_tape_have_right_checksums(binance: Source, depth: int) -> None:
    decoder, heard = KrakenDecoder(), []
    heard, _ = listened(KrakenVenue(binance), {0: subscribe_messages(["BTC/USDT"], depth)})
    rows = decoded(decoder, heard)
    recorded = [row for _, message in binance.messages() for row in message]
    want = book_of(recorded)["BTC/USDT"]
    best = {side: sorted(want[side], reverse=side == BUY)[:depth] for side in want}

    assert (decoder.quality.checksum_failed, decoder.quality.unparsed, decoder.quality.gaps) == (0, 0, 0)
    assert decoder.quality.checksum_ok > 200
    assert trades_of(rows) == trades_of(recorded)
    assert {side: sorted(book, reverse=side == BUY) for side, book in book_of(rows)["BTC/USDT"].items()} == best
    assert sum(payload == b'{"channel":"heartbeat"}' for payload in heard) >= 20


# -- Binance -------------------------------------------------------------------------------------------------


def test_a_binance_stream_goes_out_as_it_was_recorded_and_splices_with_rest(binance: Source) -> None:
    async def heard() -> list[bytes | Frame]:
        async with VenueServer(binance) as server:
            return await hear_binance(server, ["BTC/USDT"])

    payloads, decoder = run(heard()), BinanceDecoder()
    rows = decoded(decoder, payloads)
    recorded = [row for _, message in binance.messages() for row in message]
    told = [frame.payload for frame in binance.frames() if b'"lastUpdateId"' not in frame.payload[:30]]

    assert payloads[1:] == told
    assert (decoder.quality.gaps, decoder.quality.unparsed) == (0, 0)
    assert book_of(rows) == book_of(recorded)
    assert trades_of(rows) == trades_of(recorded)


@pytest.mark.parametrize("at", [0, 5, 50, 2_000])
def test_a_depth_snapshot_of_any_moment_joins_the_diffs(binance: Source, at: int) -> None:
    venue, decoder = BinanceVenue(binance), BinanceDecoder()
    listener = venue.listener("/stream?streams=btcusdt@depth@100ms", 0)
    assert listener is not None
    rows: list[Tick] = []
    for number, said in enumerate(venue.stream()):
        if number == at:
            status, body = venue.http("/api/v3/depth?symbol=BTCUSDT&limit=5000") or (0, b"")
            assert status == 200
            rows += decoded(decoder, [Frame(ts_recv=0, payload=body, url="/api/v3/depth?symbol=BTCUSDT")])
        venue.hear(said)
        rows += decoded(decoder, listener.told(said))
    recorded = [row for _, message in binance.messages() for row in message]

    assert decoder.quality.gaps == 0
    assert not [row for row in rows if row.kind == Kind.FEED]
    # REST answers with the best 5,000 levels, the recorded book goes on behind them.
    got, want = book_of(rows)["BTC/USDT"], book_of(recorded)["BTC/USDT"]
    for side in (BUY, -BUY):
        best = sorted(want[side], reverse=side == BUY)[:500]
        assert {price: got[side].get(price) for price in best} == {price: want[side][price] for price in best}


def test_a_raw_stream_carries_what_the_combined_one_wraps(binance: Source) -> None:
    raw, _ = listened(BinanceVenue(binance), {}, "/ws/btcusdt@trade")
    combined, _ = listened(BinanceVenue(binance), {}, "/stream?streams=btcusdt@trade/btcusdt@kline_1m")

    assert len(raw) > 500
    assert [b'{"stream":"btcusdt@trade","data":%s}' % payload for payload in raw] == combined


def test_binance_subscribes_lists_and_unsubscribes(binance: Source) -> None:
    async def dialogue() -> list[dict[str, Any]]:
        async with (
            VenueServer(binance, settle_s=3_600.0) as server,
            connect(f"ws://127.0.0.1:{server.port}/ws") as socket,
        ):
            return [
                await asked(socket, {"method": "SUBSCRIBE", "params": ["btcusdt@trade", "no@such"], "id": 1}),
                await asked(socket, {"method": "UNSUBSCRIBE", "params": ["no@such"], "id": 2}),
                await asked(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 3}),
                await asked(socket, {"method": "GET_PROPERTY", "params": ["combined"], "id": 4}),
                await asked(socket, {"method": "SET_PROPERTY", "params": ["combined", True], "id": 5}),
                await asked(socket, {"method": "GET_PROPERTY", "params": ["combined"], "id": 6}),
            ]

    assert run(dialogue()) == [
        {"result": None, "id": 1},
        {"result": None, "id": 2},
        {"result": ["btcusdt@trade"], "id": 3},
        {"result": False, "id": 4},
        {"result": None, "id": 5},
        {"result": True, "id": 6},
    ]


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ("nonsense", 3, "Invalid JSON"),
        ({"method": "SUBSCRIBE", "params": ["btcusdt@trade"]}, 2, "request ID must be an unsigned integer"),
        ({"method": "SHOUT", "id": 1}, 2, "unknown variant `SHOUT`, expected one of `SUBSCRIBE`"),
        ({"id": 1}, 2, "missing field `method`"),
        ({"method": "SUBSCRIBE", "params": "btcusdt@trade", "id": 1}, 2, "Invalid request"),
        ({"method": "SET_PROPERTY", "params": ["combined", "yes"], "id": 1}, 1, "expected Boolean"),
        ({"method": "GET_PROPERTY", "params": ["color"], "id": 1}, 0, "Unknown property"),
        ({"method": "SUBSCRIBE", "params": [f"s{n}@trade" for n in range(1025)], "id": 1}, 2, "too many streams"),
    ],
)
def test_binance_refuses_what_it_does_not_know(binance: Source, request_: object, code: int, message: str) -> None:
    listener = BinanceVenue(binance).listener("/ws", 0)
    assert listener is not None
    payload = request_.encode() if isinstance(request_, str) else json.dumps(request_).encode()
    [answer] = [json.loads(reply) for reply in listener.request(payload, NOW_NS)]

    assert answer["code"] == code
    assert message in answer["msg"]
    assert not listener.is_listening


def test_binance_rest_answers_or_says_what_is_wrong(binance: Source) -> None:
    async def answers() -> list[tuple[int, Any]]:
        async with VenueServer(binance) as server:
            paths = (
                "depth?symbol=BTCUSDT&limit=5",
                "depth",
                "depth?symbol=NOPE",
                "depth?symbol=BTCUSDT&limit=x",
                "ping",
            )
            found = [await get(server, f"/api/v3/{path}") for path in paths]
            return [(status, json.loads(body)) for status, body in found]

    depth, *others = run(answers())
    assert depth[0] == 200
    assert depth[1]["lastUpdateId"] > 0
    assert (len(depth[1]["bids"]), len(depth[1]["asks"])) == (5, 5)
    assert [(status, body.get("code")) for status, body in others] == [
        (400, -1102),
        (400, -1121),
        (400, -1100),
        (200, None),
    ]


def test_binance_lists_its_symbols_with_the_rules_that_are_known(market: Source) -> None:
    async def work() -> None:
        async with VenueServer(market, "binance") as server:
            status, body = await get(server, "/api/v3/exchangeInfo?symbols=%5B%22XRPUSD%22%5D")
            [listed] = json.loads(body)["symbols"]
            assert (status, listed["baseAsset"], listed["quoteAsset"]) == (200, "XRP", "USD")
            assert {"filterType": "NOTIONAL", "minNotional": "0.50"} in listed["filters"]
            assert (await get(server, "/api/v3/exchangeInfo?symbols=%5B%22NOSUCH%22%5D"))[0] == 400
            assert (await get(server, "/api/v3/exchangeInfo?symbols=nonsense"))[0] == 400
            everything = json.loads((await get(server, "/api/v3/exchangeInfo"))[1])["symbols"]
            assert sorted(item["symbol"] for item in everything) == ["BTCUSD", "XRPUSD"]

    run(work())


@pytest.mark.parametrize("venue", ["kraken", "binance"])
def test_a_made_up_market_says_so_in_the_handshake_whatever_it_speaks(market: Source, venue: str) -> None:
    async def headers(source: Source) -> Headers:
        async with VenueServer(source, venue) as server, connect(server.url) as socket:
            assert socket.response is not None
            return socket.response.headers

    assert run(headers(market))[SIMULATED_HEADER] == "true"
    assert SIMULATED_HEADER not in run(headers(structs.replace(market, simulated=False)))


def test_an_unknown_path_is_not_found(market: Source, binance: Source) -> None:
    async def statuses() -> list[int]:
        found = []
        for source in (market, binance):
            async with VenueServer(source) as server:
                found.append((await get(server, "/api/v9/nothing"))[0])
                with pytest.raises(InvalidStatus) as caught:
                    await connect(f"ws://127.0.0.1:{server.port}/v1/nothing")
                found.append(caught.value.response.status_code)
        return found

    assert run(statuses()) == [404, 404, 404, 404]


def test_binance_frames_built_of_a_simulation_are_whole(market: Source) -> None:
    async def heard() -> list[bytes | Frame]:
        async with VenueServer(market, "binance") as server:
            return await hear_binance(server, SYMBOLS)

    decoder = BinanceDecoder({"BTCUSD": "BTC/USD", "XRPUSD": "XRP/USD"})
    rows = decoded(decoder, run(heard()))
    made = [row for _, message in market.messages() for row in message]

    assert (decoder.quality.gaps, decoder.quality.unparsed, decoder.quality.crossed) == (0, 0, 0)
    assert book_of(rows) == book_of(made)
    assert Counter(trades_of(rows)) == Counter(trades_of(made))


def test_binance_subscriptions_by_message_hear_the_same_as_by_address(market: Source) -> None:
    by_message, _ = listened(BinanceVenue(market), {0: binance_messages(SYMBOLS)}, "/stream")
    by_address, _ = listened(BinanceVenue(market), {}, "/stream?streams=" + "/".join(stream_names(SYMBOLS)))

    assert by_message[1:] == by_address


# -- pace and end --------------------------------------------------------------------------------------------


def test_a_stream_ends_with_closed_connections_and_a_closed_port(market: Source) -> None:
    async def ended() -> None:
        server = VenueServer(market)
        await server.start()
        await asyncio.gather(hear_kraken(server, SYMBOLS), server.wait())
        with pytest.raises(OSError):
            await connect(server.url)
        await server.close()
        assert server.served.rounds == 1

    run(ended())


def test_a_stream_that_stays_is_followed_by_heartbeats(market: Source) -> None:
    async def heard() -> tuple[int, int]:
        async with VenueServer(simulated_source(seconds=2.0), at_end="stay") as server, connect(server.url) as socket:
            await socket.send(json.dumps(subscribe("book", "BTC/USD")))
            beats = 0
            while beats < 3:
                beats += b"heartbeat" in await socket.recv(decode=False)
            return beats, server.served.rounds

    assert run(heard()) == (3, 1)


def test_a_stream_that_loops_begins_again_on_the_same_connection(market: Source) -> None:
    told = stream_of(market)

    async def heard() -> list[bytes]:
        async with VenueServer(market, at_end="loop") as server, connect(server.url, max_queue=None) as socket:
            for message in subscribe_messages(SYMBOLS):
                await socket.send(message, text=True)
            return [await socket.recv(decode=False) for _ in range(8 + 2 * len(told))]

    payloads, decoder = run(heard()), KrakenDecoder()
    decoded(decoder, payloads)

    assert payloads[8:] == told + told
    assert decoder.quality.checksum_failed == 0


def test_a_stream_at_a_given_speed_takes_its_time() -> None:
    async def took() -> float:
        async with VenueServer(simulated_source(seconds=4.0), speed=10.0, settle_s=0.01) as server:
            loop = asyncio.get_running_loop()
            started = loop.time()
            await hear_kraken(server, SYMBOLS)
            return loop.time() - started

    assert 0.35 < run(took()) < 10.0


def test_at_full_speed_nothing_is_missed_while_nobody_listens(market: Source) -> None:
    async def both() -> tuple[int, list[bytes]]:
        async with VenueServer(market, faults=parse_faults("disconnect=100f")) as server:
            first = await hear_kraken(server, SYMBOLS)
            said = server.served.said
            second = await hear_kraken(server, SYMBOLS)
            assert server.served.said > said
            return len(first), second

    first, second = run(both())
    decoder = KrakenDecoder()
    decoded(decoder, second)
    assert first == 8 + 100
    assert decoder.quality.checksum_ok > 10
    assert decoder.quality.checksum_failed == 0


def test_a_client_that_is_cut_again_and_again_hears_everything_once(market: Source) -> None:
    async def heard() -> list[list[bytes]]:
        rounds: list[list[bytes]] = []
        server = VenueServer(market, faults=parse_faults("disconnect=20f"))
        async with server:
            while not server.served.rounds:
                try:
                    rounds.append(await hear_kraken(server, SYMBOLS))
                except (OSError, InvalidStatus):
                    break
        return rounds

    def stream(rounds: list[list[bytes]]) -> list[bytes]:
        return [payload for heard in rounds for payload in heard if not payload.startswith(b'{"method"')]

    first, told, decoder = run(heard()), stream_of(market), KrakenDecoder()
    rows: list[Tick] = []
    for conn, payloads in enumerate(first):
        rows += [*decoder.connected(conn), *decoded(decoder, payloads), *decoder.disconnected(conn)]

    assert len(first) >= len(told) // 20
    assert [payload for payload in stream(first) if b'"update"' in payload and b"status" not in payload] == [
        payload for payload in told if b'"update"' in payload
    ]
    assert (decoder.quality.checksum_failed, decoder.quality.gaps) == (0, 0)
    assert trades_of(rows) == trades_of(decoded(KrakenDecoder(), told))
    assert stream(run(heard())) == stream(first)


# -- faults --------------------------------------------------------------------------------------------------


def with_faults(source: Source, text: str, seed: int = 7) -> tuple[list[bytes], Counter[str]]:
    async def heard() -> tuple[list[bytes], Counter[str]]:
        server = VenueServer(source, faults=parse_faults(text), seed=seed)
        async with server:
            payloads = await hear_kraken(server, SYMBOLS)
        return payloads[8:], server.served.faults

    return run(heard())


@pytest.mark.parametrize("text", ["drop=0.05", "dup=0.05", "reorder=0.05", "garble=0.05", "checksum=0.05"])
def test_a_fault_is_felt_counted_and_the_same_again(market: Source, text: str) -> None:
    told = stream_of(market)
    heard, counts = with_faults(market, text)
    name = text.partition("=")[0]

    assert heard != told
    assert list(counts) == [name]
    assert len(heard) == len(told) + {"drop": -counts[name], "dup": counts[name]}.get(name, 0)
    assert (heard, counts) == with_faults(market, text)
    assert heard != with_faults(market, text, seed=8)[0]


def test_wrong_checksums_are_found_by_the_decoder(market: Source) -> None:
    heard, counts = with_faults(market, "checksum=0.1")
    decoder = KrakenDecoder()
    decoded(decoder, heard)

    assert 1 <= decoder.quality.checksum_failed <= counts["checksum"]


def test_a_dropped_diff_is_a_gap_to_the_decoder(binance: Source) -> None:
    async def heard() -> list[bytes | Frame]:
        async with VenueServer(binance, faults=parse_faults("drop=0.05")) as server:
            return await hear_binance(server, ["BTC/USDT"])

    decoder = BinanceDecoder()
    decoded(decoder, run(heard()))
    assert decoder.quality.gaps > 2


def test_a_cut_connection_ends_without_a_closing_handshake(market: Source) -> None:
    async def cut() -> tuple[int, ConnectionClosed]:
        async with VenueServer(market, faults=parse_faults("disconnect=50f")) as server, connect(server.url) as socket:
            for message in subscribe_messages(SYMBOLS):
                await socket.send(message, text=True)
            heard = 0
            try:
                while True:
                    await socket.recv()
                    heard += 1
            except ConnectionClosed as closed:
                return heard, closed

    heard, closed = run(cut())
    assert heard == 8 + 50
    assert closed.rcvd is None


def test_a_stalled_connection_is_silent_and_then_goes_on(market: Source) -> None:
    faults, told = parse_faults("stall=200ms"), stream_of(market)
    plans = {seed: FaultPlan(faults, seed, conn=0) for seed in range(100)}
    early = next(seed for seed, plan in plans.items() if any(plan.take(0, b"")[1] is Then.STALL for _ in told))

    async def heard() -> tuple[list[bytes], float]:
        async with VenueServer(market, faults=faults, seed=early) as server:
            loop = asyncio.get_running_loop()
            started = loop.time()
            payloads = await hear_kraken(server, SYMBOLS)
            return payloads[8:], loop.time() - started

    payloads, took = run(heard())
    assert payloads == told
    assert took >= 0.2


def test_a_half_open_connection_says_nothing_more_and_does_not_close(market: Source) -> None:
    async def frozen() -> tuple[int, bool]:
        async with VenueServer(market, faults=parse_faults("half-open=50f")) as server, connect(server.url) as socket:
            for message in subscribe_messages(SYMBOLS):
                await socket.send(message, text=True)
            heard = [await socket.recv() for _ in range(8 + 50)]
            await socket.send('{"method":"ping"}')
            waiting = asyncio.create_task(socket.recv())
            # A second client is served meanwhile: a sign that the server has had the time to answer the first.
            await hear_some(server, 20)
            is_silent = not waiting.done()
            waiting.cancel()
            socket.transport.abort()
            return len(heard), is_silent

    assert run(frozen()) == (58, True)


async def hear_some(server: VenueServer, frames: int) -> None:
    async with connect(server.url, max_queue=None) as other:
        for message in subscribe_messages(SYMBOLS):
            await other.send(message, text=True)
        for _ in range(frames):
            await other.recv()
        other.transport.abort()


# -- mistakes and the command --------------------------------------------------------------------------------


def test_mistakes_are_told_in_a_sentence(market: Source) -> None:
    with pytest.raises(UserProblem, match="--venue krakn: expected one of kraken, binance; did you mean 'kraken'"):
        VenueServer(market, "krakn")
    with pytest.raises(UserProblem, match="--fault checksum: expected --venue kraken, found binance"):
        VenueServer(market, "binance", faults=Faults(checksum=0.1))


def test_a_port_that_is_taken_is_a_mistake(market: Source) -> None:
    async def taken() -> None:
        async with VenueServer(market) as server:
            with pytest.raises(UserProblem, match=f"--port {server.port}: expected a port to listen on"):
                await VenueServer(market, port=server.port).start()

    run(taken())


def test_the_command_says_where_it_is_and_that_it_is_simulated_and_stops_when_told() -> None:
    code = (
        "from functools import partial; from apps.serving import simulated_source; from apps.venue_server import serve;"
        "serve(simulated_source(), announce=partial(print, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: Iterator[str] = iter(process.stdout)
        url, what, warning = (next(lines).strip() for _ in range(3))
        process.send_signal(signal.SIGTERM)
        status = process.wait(TIMEOUT_S)

    assert url.startswith("ws://127.0.0.1:")
    assert what == "kraken from simulation, seed 7, as fast as it is read"
    assert warning == "SIMULATED: this market is made up"
    assert status == 0
