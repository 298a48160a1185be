"""The feed against small venues on loopback, which do everything that venues and networks do."""

import asyncio
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.utils import accept_key

from recorder.clock import Clock
from recorder.feed import MESSAGE_MAX, Feed
from recorder.frame_log import Record, RecordKind
from recorder.problems import Problem
from recorder.venues import Frame
from recorder.venues.binance import BinanceDecoder
from recorder.venues.profiles import BINANCE, KRAKEN, Profile

HEARTBEAT = b'{"channel":"heartbeat"}'
QUICK = {
    "first_pause_s": 0.01,
    "longest_pause_s": 0.05,
    "close_timeout_s": 0.2,
    "request_spacing_s": 0.0,
    "rest_spacing_s": 0.0,
}
Handler = Callable[[ServerConnection], Awaitable[None]]


def quick(profile: Profile, **changes: object) -> Profile:
    """A profile with pauses fit for a test."""
    return msgspec.structs.replace(profile, **{**QUICK, **changes})


def run(test: Coroutine[object, object, None]) -> None:
    """Run a test, and see that it leaves nothing behind."""

    async def whole() -> None:
        async with asyncio.timeout(30):
            await test
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())


@asynccontextmanager
async def a_venue(handler: Handler, **options: object) -> AsyncIterator[str]:
    """The address of a WebSocket server on loopback."""
    async with serve(handler, "127.0.0.1", 0, compression=None, max_size=None, close_timeout=0.2, **options) as server:
        yield f"ws://127.0.0.1:{port_of(server.sockets[0])}"


@asynccontextmanager
async def a_socket(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The address of a TCP server on loopback that knows nothing of WebSockets."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{port_of(server.sockets[0])}"
    finally:
        server.close()


def port_of(socket: object) -> int:
    port: int = socket.getsockname()[1]
    return port


async def collect(feed: Feed, is_enough: Callable[[list[Record]], object]) -> list[Record]:
    """The records up to the one that makes it enough."""
    records: list[Record] = []
    is_over = False

    def take(some: list[Record]) -> None:
        nonlocal is_over
        for record in some:
            if not is_over:
                records.append(record)
                is_over = bool(is_enough(records))
        if is_over:
            feed.stop()

    await feed.run(take)
    return records


def kinds(records: list[Record]) -> list[str]:
    return [RecordKind(record.kind).name for record in records if record.kind != RecordKind.CLOCK]


def of(records: list[Record], kind: RecordKind) -> list[bytes]:
    return [record.payload for record in records if record.kind == kind]


def notes(records: list[Record], event: str) -> list[dict[str, object]]:
    found = [msgspec.json.decode(payload) for payload in of(records, RecordKind.NOTE)]
    return [note for note in found if note["event"] == event]


def has(kind: RecordKind, count: int = 1) -> Callable[[list[Record]], bool]:
    return lambda records: len(of(records, kind)) >= count


def has_note(event: str, count: int = 1) -> Callable[[list[Record]], bool]:
    return lambda records: records[-1].kind == RecordKind.NOTE and len(notes(records, event)) >= count


def acks(request: dict[str, object]) -> list[bytes]:
    """What Kraken answers to a subscription: once for each symbol."""
    params = request["params"]
    assert isinstance(params, dict)
    names = params.get("symbol", [None])
    results = [{"channel": params["channel"], **({} if name is None else {"symbol": name})} for name in names]
    method = request["method"]
    return [msgspec.json.encode({"method": method, "result": result, "success": True}) for result in results]


async def answer(ws: ServerConnection, heard: list[dict[str, object]] | None = None) -> None:
    """Accept all that is asked, as Kraken does, until the client goes."""
    async for text in ws:
        request = msgspec.json.decode(text)
        if heard is not None:
            heard.append(request)
        if request["method"] == "ping":
            await ws.send(b'{"method":"pong"}', text=True)
            continue
        for ack in acks(request):
            await ws.send(ack, text=True)


async def mute(ws: ServerConnection) -> None:
    """Accept the connection, and say nothing."""
    await ws.wait_closed()


# -- what arrives is recorded ----------------------------------------------------------------------------


def test_every_message_is_a_record_with_the_bytes_that_arrived() -> None:
    messages: list[str | bytes] = ['{"channel":"heartbeat"}', b"\x00\xff", "", "x" * 10 * 2**20, "grüß"]

    async def handler(ws: ServerConnection) -> None:
        for message in messages:
            await ws.send(message)
        await ws.send(b'{"torn \xff utf-8', text=True)
        await mute(ws)

    async def test() -> None:
        async with a_venue(handler) as url:
            records = await collect(Feed(quick(KRAKEN), [], url=url), has(RecordKind.FRAME, 6))
        expected = [message.encode() if isinstance(message, str) else message for message in messages]
        assert of(records, RecordKind.FRAME) == [*expected, b'{"torn \xff utf-8']

    run(test())


def test_a_connection_begins_with_its_address_and_ends_with_the_reason() -> None:
    async def handler(ws: ServerConnection) -> None:
        await ws.send(HEARTBEAT, text=True)
        await ws.close(1001, "good night")

    async def test() -> None:
        async with a_venue(handler) as url:
            feed = Feed(quick(KRAKEN), [], url=url)
            records = await collect(feed, has(RecordKind.DISCONNECTED))
        assert of(records, RecordKind.CONNECTED) == [f"{url}/v2".encode()]
        assert of(records, RecordKind.DISCONNECTED) == [b"closed by the venue: 1001 good night"]
        assert kinds(records)[0] == "CONNECTED"
        assert feed.was_connected

    run(test())


def test_a_broken_connection_is_replaced_and_subscribed_again_under_the_next_number() -> None:
    heard: list[dict[str, object]] = []

    async def handler(ws: ServerConnection) -> None:
        async for text in ws:
            heard.append(msgspec.json.decode(text))
            if heard[-1]["params"]["channel"] == "trade":
                await ws.close()

    async def test() -> None:
        async with a_venue(handler) as url:
            feed = Feed(quick(KRAKEN), ["BTC/USD"], url=url, first_conn=7)
            records = await collect(feed, has(RecordKind.DISCONNECTED, 3))
        assert [record.conn for record in records if record.kind == RecordKind.CONNECTED] == [7, 8, 9]
        assert [r["params"]["channel"] for r in heard] == ["instrument", "book", "ticker", "trade"] * 3

    run(test())


def test_stamps_are_those_of_the_clock_even_when_it_jumps_back_an_hour() -> None:
    hour = 3600 * 10**9
    wall = iter([10 * hour, 9 * hour])

    async def handler(ws: ServerConnection) -> None:
        await ws.send(HEARTBEAT, text=True)
        await mute(ws)

    async def test() -> None:
        clock = Clock(wall_ns=lambda: next(wall, 9 * hour + 1))
        async with a_venue(handler) as url:
            records = await collect(Feed(quick(KRAKEN), [], url=url, clock=clock), has(RecordKind.FRAME))
        assert records[0].wall_ns == 10 * hour
        assert records[-1].wall_ns < records[0].wall_ns
        assert [record.mono_ns for record in records] == sorted(record.mono_ns for record in records)

    run(test())


def test_no_message_is_lost_or_changes_places_while_the_feed_wakes_itself() -> None:
    numbers = [b"%d" % number for number in range(3000)]

    async def handler(ws: ServerConnection) -> None:
        for number in numbers:
            await ws.send(number)
            await asyncio.sleep(0)
        await mute(ws)

    async def test() -> None:
        async with a_venue(handler) as url:
            feed = Feed(quick(KRAKEN), [], url=url)
            loop = asyncio.get_running_loop()

            def wake() -> None:
                feed._inbox.note("awake")  # nothing public wakes it thousands of times in a second
                if loop.is_running() and not is_over:
                    loop.call_soon(wake)

            is_over = False
            loop.call_soon(wake)
            records = await collect(feed, lambda records: records[-1].payload == numbers[-1])
            is_over = True
        assert of(records, RecordKind.FRAME) == numbers
        assert len(notes(records, "awake")) > 1000

    run(test())


def test_messages_that_came_together_are_handed_over_together_and_none_waits_for_more() -> None:
    frames = [b"\x81\x01%d" % number for number in range(5)]

    async def handler(ws: ServerConnection) -> None:
        ws.transport.write(b"".join(frames) + b"\x01\x02he")  # and the first fragment of another, which takes long
        await mute(ws)

    async def test() -> None:
        together: list[list[bytes]] = []

        def take(records: list[Record]) -> None:
            if frames := of(records, RecordKind.FRAME):
                together.append(frames)
                feed.stop()

        async with a_venue(handler) as url:
            feed = Feed(quick(KRAKEN), [], url=url)
            await feed.run(take)
        assert together == [[b"0", b"1", b"2", b"3", b"4"]]

    run(test())


def test_a_message_in_fragments_is_one_with_others_around_it_and_a_ping_within() -> None:
    async def handler(ws: ServerConnection) -> None:
        ws.transport.write(b"\x81\x01a" + b"\x01\x02he" + b"\x89\x00" + b"\x00\x00" + b"\x00\x02l" + b"l")
        await asyncio.sleep(0.01)
        ws.transport.write(b"\x80\x01o" + b"\x82\x01b")
        await mute(ws)

    async def test() -> None:
        async with a_venue(handler) as url:
            records = await collect(Feed(quick(KRAKEN), [], url=url), has(RecordKind.FRAME, 3))
        assert of(records, RecordKind.FRAME) == [b"a", b"hello", b"b"]

    run(test())


def test_what_comes_right_behind_the_handshake_stands_behind_the_connection() -> None:
    is_gone = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", asked)
        assert key is not None
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        writer.write(f"{head}{accept_key(key[1].decode())}\r\n\r\n".encode() + b"\x81\x02hi")
        await reader.read()
        is_gone.set()

    async def test() -> None:
        async with a_socket(greet) as host:
            records = await collect(Feed(quick(KRAKEN), [], url=f"ws://{host}"), has(RecordKind.FRAME))
            await is_gone.wait()
        assert kinds(records) == ["CONNECTED", "FRAME"]
        assert records[-1].payload == b"hi"

    run(test())


def test_time_that_passes_without_a_message_is_recorded_connected_or_not() -> None:
    async def test() -> None:
        async with a_venue(mute) as url:
            profile = quick(KRAKEN, clock_s=0.01)
            connected = await collect(Feed(profile, [], url=url), has(RecordKind.CLOCK, 3))
        profile = quick(KRAKEN, clock_s=0.01, first_pause_s=10.0, longest_pause_s=10.0)
        alone = await collect(Feed(profile, [], url=url), has(RecordKind.CLOCK, 3))
        assert RecordKind.CONNECTED in {record.kind for record in connected}
        assert RecordKind.CONNECTED not in {record.kind for record in alone}

    run(test())


# -- what is asked, and what is answered -----------------------------------------------------------------


def test_requests_are_recorded_and_accepted_ones_leave_no_finding() -> None:
    async def test() -> None:
        async with a_venue(answer) as url:
            feed = Feed(quick(KRAKEN), ["BTC/USD", "ETH/USD"], url=url)
            records = await collect(feed, has(RecordKind.FRAME, 7))
        assert len(of(records, RecordKind.SUBSCRIBED)) == 4
        assert not feed.findings.rejected

    run(test())


def test_a_refused_symbol_is_a_finding_with_the_words_of_the_venue() -> None:
    async def handler(ws: ServerConnection) -> None:
        async for text in ws:
            request = msgspec.json.decode(text)
            for name in request["params"].get("symbol", []):
                error = f"Currency pair not supported {name}"
                refusal = {"error": error, "method": "subscribe", "success": False, "symbol": name}
                await ws.send(msgspec.json.encode({**refusal, "req_id": request["req_id"]}), text=True)

    async def test() -> None:
        async with a_venue(handler) as url:
            feed = Feed(quick(KRAKEN), ["XBT/USDT"], url=url)
            await collect(feed, lambda _: len(feed.findings.rejected) == 3)
        assert feed.findings.rejected["book", "XBT/USDT"] == "Currency pair not supported XBT/USDT"

    run(test())


def test_a_symbol_that_is_not_listed_is_noted_with_what_was_perhaps_meant() -> None:
    listing = {"channel": "instrument", "type": "snapshot", "data": {"assets": [], "pairs": [{"symbol": "BTC/USD"}]}}

    async def handler(ws: ServerConnection) -> None:
        await ws.send(msgspec.json.encode(listing), text=True)
        await answer(ws)

    async def test() -> None:
        async with a_venue(handler) as url:
            feed = Feed(quick(KRAKEN), ["BTC/USD", "xbt-usd"], url=url)
            records = await collect(feed, has_note("unknown_symbol"))
        [note] = notes(records, "unknown_symbol")
        assert note == {"event": "unknown_symbol", "symbol": "xbt-usd", "suggestions": ["BTC/USD"]}
        assert feed.findings.unknown == {"xbt-usd": ["BTC/USD"]}

    run(test())


def test_a_request_that_nobody_answers_is_noted() -> None:
    async def handler(ws: ServerConnection) -> None:
        async for text in ws:
            request = msgspec.json.decode(text)
            if request["method"] == "subscribe" and request["params"]["channel"] != "trade":
                for ack in acks(request):
                    await ws.send(ack, text=True)

    async def test() -> None:
        async with a_venue(handler) as url:
            feed = Feed(quick(KRAKEN, clock_s=0.01, answer_after_s=0.1), ["BTC/USD"], url=url)
            records = await collect(feed, has_note("unanswered"))
        assert notes(records, "unanswered") == [{"event": "unanswered", "channel": "trade", "symbol": "BTC/USD"}]
        assert not of(records, RecordKind.DISCONNECTED)

    run(test())


def test_a_venue_that_answers_nothing_at_all_is_left() -> None:
    async def test() -> None:
        async with a_venue(mute) as url:
            feed = Feed(quick(KRAKEN, clock_s=0.01, answer_after_s=0.05), ["BTC/USD"], url=url)
            records = await collect(feed, has(RecordKind.CONNECTED, 2))
        assert of(records, RecordKind.DISCONNECTED) == [b"nothing that was asked was answered"]

    run(test())


def test_healing_a_book_on_kraken_subscribes_to_it_again() -> None:
    heard: list[dict[str, object]] = []

    async def test() -> None:
        async with a_venue(lambda ws: answer(ws, heard)) as url:
            feed = Feed(quick(KRAKEN), ["BTC/USD", "ETH/USD"], url=url)

            def is_enough(records: list[Record]) -> bool:
                if len(of(records, RecordKind.FRAME)) == 7:
                    feed.heal("BTC/USD")
                    feed.heal("BTC/USD")
                    feed.heal("NO/SUCH")
                return len(of(records, RecordKind.FRAME)) == 9

            await collect(feed, is_enough)
        assert [(request["method"], request["params"]) for request in heard[4:]] == [
            ("unsubscribe", {"symbol": ["BTC/USD"], "channel": "book", "depth": 10}),
            ("subscribe", {"symbol": ["BTC/USD"], "channel": "book", "depth": 10, "snapshot": True}),
        ]

    run(test())


# -- silence ---------------------------------------------------------------------------------------------


def test_a_silent_connection_is_asked_for_a_sign_of_life_before_it_is_given_up() -> None:
    heard: list[dict[str, object]] = []

    async def handler(ws: ServerConnection) -> None:
        await ws.send(HEARTBEAT, text=True)
        async for text in ws:
            heard.append(msgspec.json.decode(text))

    async def test() -> None:
        async with a_venue(handler) as url:
            feed = Feed(quick(KRAKEN, clock_s=0.01, ping_after_s=0.1, dead_after_s=0.3), [], url=url)
            records = await collect(feed, has(RecordKind.DISCONNECTED))
        assert of(records, RecordKind.DISCONNECTED) == [b"nothing came for 0.3 s"]
        assert [request["method"] for request in heard].count("ping") == 1

    run(test())


def test_a_connection_whose_pings_are_answered_lives_on() -> None:
    heard: list[dict[str, object]] = []

    async def test() -> None:
        async with a_venue(lambda ws: answer(ws, heard)) as url:
            feed = Feed(quick(KRAKEN, clock_s=0.01, ping_after_s=0.02, dead_after_s=20.0), [], url=url)
            records = await collect(
                feed, lambda records: of(records, RecordKind.FRAME).count(b'{"method":"pong"}') == 5
            )
        assert not of(records, RecordKind.DISCONNECTED)

    run(test())


def test_a_half_open_connection_is_given_up() -> None:
    async def handler(ws: ServerConnection) -> None:
        await ws.send(HEARTBEAT, text=True)
        ws.transport.pause_reading()
        await ws.wait_closed()

    async def test() -> None:
        async with a_venue(handler) as url:
            profile = quick(KRAKEN, clock_s=0.01, ping_after_s=0.05, dead_after_s=0.1, close_timeout_s=0.05)
            records = await collect(Feed(profile, ["BTC/USD"], url=url), has(RecordKind.CONNECTED, 2))
        assert of(records, RecordKind.DISCONNECTED) == [b"nothing came for 0.1 s"]

    run(test())


def test_heartbeats_do_not_prove_that_a_symbol_lives() -> None:
    heard: list[dict[str, object]] = []
    ticker = b'{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD"}]}'

    async def handler(ws: ServerConnection) -> None:
        answering = asyncio.create_task(answer(ws, heard))
        try:
            while not answering.done():
                await ws.send(HEARTBEAT, text=True)
                await ws.send(ticker, text=True)
                await asyncio.wait([answering], timeout=0.005)
        finally:
            answering.cancel()

    async def test() -> None:
        async with a_venue(handler) as url:
            feed = Feed(quick(KRAKEN, clock_s=0.02, stale_after_s=0.4), ["BTC/USD", "ETH/USD"], url=url)

            records = await collect(feed, has_note("stale"))
        assert notes(records, "stale") == [{"event": "stale", "symbol": "ETH/USD", "silent_s": 0.4}]
        asked = [request["params"] for request in heard[4:]]
        assert asked[0] == {"symbol": ["ETH/USD"], "channel": "ticker", "event_trigger": "bbo"}

    run(test())


def test_a_consumer_that_is_busy_is_not_a_silent_venue() -> None:
    reads = 0

    def mono_ns() -> int:
        nonlocal reads
        reads += 1
        return reads * 10**9

    async def handler(ws: ServerConnection) -> None:
        await ws.send(HEARTBEAT, text=True)
        await mute(ws)

    async def test() -> None:
        async with a_venue(handler) as url:
            # Each look at this clock is a second later: to be busy until it was read 2000 times takes half an hour.
            feed = Feed(quick(KRAKEN, clock_s=0.001, dead_after_s=1000.0), [], url=url, clock=Clock(mono_ns=mono_ns))
            clocks = 0

            def is_enough(records: list[Record]) -> bool:
                nonlocal clocks
                assert records[-1].kind != RecordKind.DISCONNECTED
                if records[-1].kind == RecordKind.FRAME:
                    while reads <= 2000:
                        mono_ns()
                clocks += reads > 2000 and records[-1].kind == RecordKind.CLOCK
                return clocks == 100

            await collect(feed, is_enough)

    run(test())


# -- venues that cannot be reached, and broken ones ------------------------------------------------------


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:9000", "ws://", "wss://[", "", "ws://host:99999"])
def test_an_address_that_is_none_is_the_users_mistake(url: str) -> None:
    with pytest.raises(Problem, match=r"expected an address such as ws://127\.0\.0\.1:9000"):
        Feed(KRAKEN, [], url=url)


async def unreachable(url: str, **changes: object) -> dict[str, object]:
    feed = Feed(quick(KRAKEN, **changes), ["BTC/USD"], url=url)
    records = await collect(feed, has_note("unreachable", 2))
    assert not feed.was_connected
    assert set(kinds(records)) == {"NOTE"}
    assert feed.last_problem == notes(records, "unreachable")[-1]["reason"]
    return notes(records, "unreachable")[0]


def test_a_refused_connection_is_noted_and_tried_again() -> None:
    async def test() -> None:
        async with a_socket(lambda *_: asyncio.sleep(0)) as host:
            pass
        note = await unreachable(f"ws://{host}")
        assert note["cause"] == "refused"

    run(test())


def test_a_venue_that_comes_up_later_is_connected_to() -> None:
    async def test() -> None:
        async with a_socket(lambda *_: asyncio.sleep(0)) as host:
            pass
        feed = Feed(quick(KRAKEN), [], url=f"ws://{host}")
        was_refused = asyncio.Event()

        def is_enough(records: list[Record]) -> bool:
            was_refused.set()
            return records[-1].kind == RecordKind.CONNECTED and feed.is_connected

        collecting = asyncio.create_task(collect(feed, is_enough))
        await was_refused.wait()
        async with serve(mute, "127.0.0.1", int(host.rpartition(":")[2])):
            records = await collecting
        assert records[0].kind == RecordKind.NOTE
        assert feed.was_connected

    run(test())


def test_a_path_that_does_not_exist_is_noted() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.NOT_FOUND, "no such path\n")

    async def test() -> None:
        async with a_venue(mute, process_request=refuse) as url:
            note = await unreachable(f"{url}/nowhere")
        assert (note["cause"], note["reason"]) == ("http", "expected a WebSocket, found HTTP status 404")

    run(test())


def test_a_server_that_speaks_no_http_is_noted() -> None:
    async def chat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
        await writer.drain()

    async def test() -> None:
        async with a_socket(chat) as host:
            note = await unreachable(f"ws://{host}")
        assert note["cause"] in ("handshake", "network")

    run(test())


def test_a_server_that_never_answers_the_handshake_is_noted() -> None:
    async def stare(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def test() -> None:
        async with a_socket(stare) as host:
            note = await unreachable(f"ws://{host}", open_timeout_s=0.1)
        assert note["cause"] == "timeout"

    run(test())


def test_tls_to_a_server_without_it_is_noted() -> None:
    async def chat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async def test() -> None:
        async with a_socket(chat) as host:
            note = await unreachable(f"wss://{host}")
        assert note["cause"] == "tls"

    run(test())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody vouches for, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    made = (folder / "certificate.pem", folder / "key.pem")
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    alternative = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", str(made[0]), "-keyout", str(made[1])]
    subprocess.run([openssl, *request, *alternative, *files], check=True, capture_output=True)
    return made


def a_tls_venue(certificate: tuple[Path, Path]) -> AbstractAsyncContextManager[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return a_venue(mute, ssl=context)


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: tuple[Path, Path]) -> None:
    async def test() -> None:
        async with a_tls_venue(certificate) as url:
            note = await unreachable(url.replace("ws:", "wss:"))
        assert note["cause"] == "tls"
        assert "self-signed certificate" in str(note["reason"])

    run(test())


def test_a_certificate_that_is_trusted_is_accepted(certificate: tuple[Path, Path]) -> None:
    async def test() -> None:
        tls = ssl.create_default_context(cafile=str(certificate[0]))
        async with a_tls_venue(certificate) as url:
            feed = Feed(quick(KRAKEN), [], url=url.replace("ws:", "wss:"), tls=tls)
            await collect(feed, has(RecordKind.CONNECTED))

    run(test())


def test_a_message_that_is_too_long_ends_the_connection_and_not_the_feed() -> None:
    async def handler(ws: ServerConnection) -> None:
        await ws.send(b"x" * (MESSAGE_MAX + 1))

    async def test() -> None:
        async with a_venue(handler) as url:
            records = await collect(Feed(quick(KRAKEN), [], url=url), has(RecordKind.CONNECTED, 2))
        [reason] = of(records, RecordKind.DISCONNECTED)
        assert reason.startswith(b"broken by what the venue sent: 1009")

    run(test())


def test_a_connection_that_ends_in_the_middle_of_a_message_loses_that_message_alone() -> None:
    async def handler(ws: ServerConnection) -> None:
        await ws.send(HEARTBEAT, text=True)
        ws.transport.write(b"\x81\x7e\x01\x00half of it")
        ws.transport.close()

    async def test() -> None:
        async with a_venue(handler) as url:
            records = await collect(Feed(quick(KRAKEN), [], url=url), has(RecordKind.CONNECTED, 2))
        assert of(records, RecordKind.FRAME) == [HEARTBEAT]
        [reason] = of(records, RecordKind.DISCONNECTED)
        assert reason.startswith(b"connection lost")

    run(test())


def test_bytes_that_are_no_frame_end_the_connection_and_not_the_feed() -> None:
    async def handler(ws: ServerConnection) -> None:
        ws.transport.write(b"\xff\xff\xff\xff")
        await ws.wait_closed()

    async def test() -> None:
        async with a_venue(handler) as url:
            records = await collect(Feed(quick(KRAKEN), [], url=url), has(RecordKind.CONNECTED, 2))
        [reason] = of(records, RecordKind.DISCONNECTED)
        assert reason.startswith(b"broken by what the venue sent: 1002")

    run(test())


def test_a_venue_under_maintenance_is_not_hurried() -> None:
    status = b'{"channel":"status","type":"update","data":[{"system":"maintenance"}]}'

    async def handler(ws: ServerConnection) -> None:
        await ws.send(status, text=True)

    async def test() -> None:
        async with a_venue(handler) as url:
            profile = quick(KRAKEN, maintenance_pause_s=0.3)
            records = await collect(Feed(profile, [], url=url), has(RecordKind.CONNECTED, 2))
        [ended] = [record for record in records if record.kind == RecordKind.DISCONNECTED]
        assert records[-1].mono_ns - ended.mono_ns >= 0.29 * 10**9

    run(test())


# -- Binance ---------------------------------------------------------------------------------------------


def answer_of(status: int, body: bytes) -> Response:
    return Response(status, "", Headers({"Content-Length": str(len(body)), "Connection": "close"}), body)


def depths(records: list[Record]) -> list[bytes]:
    return [payload for payload in of(records, RecordKind.REST) if b"/depth?" in payload]


def has_depth(count: int = 1) -> Callable[[list[Record]], bool]:
    return lambda records: len(depths(records)) >= count


class ABinance:
    """A Binance with one book that does not move: streams, and REST on the same port."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.listed: list[str] = []
        self.asked: list[str] = []
        self.requests: list[dict[str, object]] = []

    async def stream(self, ws: ServerConnection) -> None:
        async for text in ws:
            request = msgspec.json.decode(text)
            self.requests.append(request)
            await ws.send(msgspec.json.encode({"result": None, "id": request["id"]}), text=True)

    def rest(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path.startswith("/api/v3/exchangeInfo"):
            return self.info(unquote(request.path))
        if not request.path.startswith("/api/"):
            return None
        self.asked.append(request.path)
        status = self.statuses.pop(0) if self.statuses else 200
        body = b'{"lastUpdateId":5,"bids":[["1.0","2.0"]],"asks":[["1.5","2.0"]]}'
        if status != 200:
            body = b'{"code":-1121,"msg":"Invalid symbol."}'
        return answer_of(status, body)

    def info(self, path: str) -> Response:
        self.listed.append(path)
        if "NOSUCH" in path:
            return answer_of(400, b'{"code":-1121,"msg":"Invalid symbol."}')
        pairs = [("BTC", "USDT"), ("ETH", "USDT")]
        rules = [{"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "9", "stepSize": "0.00001"}]
        named = [{"symbol": b + q, "baseAsset": b, "quoteAsset": q, "filters": rules} for b, q in pairs]
        wanted = [item for item in named if "symbols" not in path or f'"{item["symbol"]}"' in path]
        return answer_of(200, msgspec.json.encode({"timezone": "UTC", "symbols": wanted}))

    def venue(self) -> AbstractAsyncContextManager[str]:
        return a_venue(self.stream, process_request=self.rest)


def test_a_snapshot_of_each_book_follows_the_subscription_on_binance() -> None:
    async def test() -> None:
        binance = ABinance()
        async with binance.venue() as url:
            records = await collect(Feed(quick(BINANCE), ["BTC/USDT", "ETH/USDT"], url=url), has_depth(2))
        paths = [f"/api/v3/depth?symbol={name}&limit=1000" for name in ("BTCUSDT", "ETHUSDT")]
        assert sorted(binance.asked) == paths
        address, _, body = depths(records)[0].partition(b"\n")
        assert address.decode() in [url.replace("ws:", "http:") + path for path in paths]
        assert msgspec.json.decode(body)["lastUpdateId"] == 5
        assert [kind for kind in kinds(records) if kind != "REST"] == ["CONNECTED", "SUBSCRIBED", "FRAME"]

    run(test())


def test_healing_a_book_on_binance_fetches_it_again() -> None:
    async def test() -> None:
        binance = ABinance()
        async with binance.venue() as url:
            feed = Feed(quick(BINANCE), ["BTC/USDT"], url=url)

            def is_enough(records: list[Record]) -> bool:
                snapshots = len(depths(records))
                if 0 < snapshots < 3:
                    feed.heal("BTC/USDT")  # as long as one is on its way, no other is asked for
                return snapshots == 3

            await collect(feed, is_enough)
        assert len(binance.asked) == 3

    run(test())


def test_a_book_that_breaks_as_soon_as_it_has_come_is_fetched_again() -> None:
    async def test() -> None:
        binance = ABinance()
        async with binance.venue() as url:
            feed = Feed(quick(BINANCE, rest_spacing_s=0.1), ["BTC/USDT"], url=url)

            def is_enough(records: list[Record]) -> bool:
                if b"/depth?" in records[-1].payload:
                    feed.heal("BTC/USDT")
                return has_depth(3)(records)

            await collect(feed, is_enough)

    run(test())


def test_a_symbol_that_binance_does_not_know_is_a_finding_and_is_not_asked_for_again() -> None:
    async def test() -> None:
        binance = ABinance(400)
        async with binance.venue() as url:
            feed = Feed(quick(BINANCE), ["NO/SUCH"], url=url)
            records = await collect(feed, has_depth())
        assert "Invalid symbol" in feed.findings.rejected["depth", "NO/SUCH"]
        assert len(binance.asked) == 1
        decoder = BinanceDecoder()
        [row] = decoder.decode(frame_of(depths(records)[0]))
        assert decoder.quality.rejected == 1
        assert row.note is not None

    run(test())


def test_the_rules_of_the_symbols_are_fetched_once_and_stand_on_the_tape() -> None:
    async def test() -> None:
        binance = ABinance()
        async with binance.venue() as url:
            profile = quick(BINANCE, clock_s=0.01, renew_after_s=0.2)
            feed = Feed(profile, ["BTC/USDT"], url=url)
            records = await collect(feed, has(RecordKind.CONNECTED, 2))
        [listing] = [payload for payload in of(records, RecordKind.REST) if b"exchangeInfo" in payload]
        [row] = BinanceDecoder({"BTCUSDT": "BTC/USDT"}).decode(frame_of(listing))
        note = msgspec.json.decode(row.note)
        assert (row.symbol, note["event"], note["lot_size"]) == ("BTC/USDT", "instrument", "0.00001")
        assert len(binance.listed) == 1

    run(test())


def test_a_symbol_that_binance_does_not_list_is_noted_with_what_was_perhaps_meant() -> None:
    async def test() -> None:
        binance = ABinance()
        binance.info = lambda path, info=binance.info: info(path.replace("BTCUSTD", "NOSUCH"))  # type: ignore[method-assign]
        async with binance.venue() as url:
            feed = Feed(quick(BINANCE), ["BTC/USTD", "ETH/USDT"], url=url)
            records = await collect(feed, lambda _: feed.findings.is_listed and len(binance.listed) == 3)
        [note] = notes(records, "unknown_symbol")
        assert note == {"event": "unknown_symbol", "symbol": "BTC/USTD", "suggestions": ["BTC/USDT"]}
        assert not feed.lists_nothing

    run(test())


def frame_of(payload: bytes) -> Frame:
    """The frame that a REST record becomes."""
    address, _, body = payload.partition(b"\n")
    return Frame(0, body, 0, address.decode())


def test_a_snapshot_that_fails_is_noted_and_fetched_until_it_comes() -> None:
    async def test() -> None:
        binance = ABinance(500, 503)
        async with binance.venue() as url:
            records = await collect(Feed(quick(BINANCE), ["BTC/USDT"], url=url), has_depth())
        assert [note["reason"] for note in notes(records, "snapshot_failed")] == ["HTTP 500", "HTTP 503"]

    run(test())


def test_a_snapshot_that_never_comes_holds_up_neither_the_stream_nor_its_end() -> None:
    async def test() -> None:
        asked, over = asyncio.Event(), asyncio.Event()

        async def hang(connection: ServerConnection, request: Request) -> None:
            if request.path.startswith("/api/"):
                asked.set()
                await over.wait()

        async def stream(ws: ServerConnection) -> None:
            await ws.recv()
            await ws.send('{"result":null,"id":1}')
            await asked.wait()
            await ws.send('{"e":"trade","s":"BTCUSDT"}')
            await mute(ws)

        async with a_venue(stream, process_request=hang) as url:
            await collect(Feed(quick(BINANCE), ["BTC/USDT"], url=url), has(RecordKind.FRAME, 2))
            over.set()

    run(test())


def test_a_connection_is_renewed_before_binance_ends_it() -> None:
    async def test() -> None:
        binance = ABinance()
        async with binance.venue() as url:
            profile = quick(BINANCE, clock_s=0.01, renew_after_s=0.05)
            records = await collect(Feed(profile, ["BTC/USDT"], url=url), has(RecordKind.CONNECTED, 2))
        assert of(records, RecordKind.DISCONNECTED) == [b"renewed before the venue ends it"]

    run(test())


def test_a_quiet_binance_stream_is_asked_for_its_list() -> None:
    async def test() -> None:
        binance = ABinance()
        async with binance.venue() as url:
            profile = quick(BINANCE, clock_s=0.01, ping_after_s=0.02)
            feed = Feed(profile, [], url=url)
            await collect(feed, has(RecordKind.FRAME, 2))
        assert {request["method"] for request in binance.requests} == {"LIST_SUBSCRIPTIONS"}

    run(test())


@pytest.mark.parametrize("part", ["opening", "spoken"])
def test_a_mistake_of_ours_comes_out_of_the_feed(part: str) -> None:
    def broken(given: object) -> list[object]:
        raise ZeroDivisionError

    async def test() -> None:
        async with a_venue(answer) as url:
            feed = Feed(quick(KRAKEN, **{part: broken}), ["BTC/USD"], url=url)
            with pytest.raises(ZeroDivisionError):
                await collect(feed, lambda _: False)

    run(test())


# -- ending ----------------------------------------------------------------------------------------------


def test_a_stopped_feed_ends_without_a_word_about_the_market() -> None:
    async def test() -> None:
        async with a_venue(answer) as url:
            feed = Feed(quick(KRAKEN), ["BTC/USD"], url=url)
            asyncio.get_running_loop().call_later(0.05, feed.stop)
            records: list[Record] = []
            await feed.run(records.extend)
        assert kinds(records)[0] == "CONNECTED"
        assert "DISCONNECTED" not in kinds(records)
        assert not feed.is_connected

    run(test())


def test_a_feed_that_never_connected_can_be_stopped() -> None:
    async def test() -> None:
        async with a_socket(lambda *_: asyncio.sleep(0)) as host:
            pass
        feed = Feed(quick(KRAKEN, first_pause_s=60.0, longest_pause_s=60.0), [], url=f"ws://{host}")
        records = await collect(feed, lambda _: True)
        assert records[0].kind == RecordKind.NOTE

    run(test())


def test_a_consumer_that_is_canceled_is_canceled_even_while_the_feed_wakes_it() -> None:
    async def test() -> None:
        async with a_venue(mute) as url:
            feed = Feed(quick(KRAKEN), [], url=url)
            connected = asyncio.Event()

            consumer = asyncio.create_task(feed.run(lambda _: connected.set()))
            await connected.wait()
            await asyncio.sleep(0)
            feed.stop()  # within one turn of the loop: the feed wakes its consumer, and somebody cancels it
            consumer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await consumer

    run(test())


def test_no_timeout_of_the_consumer_is_mistaken_for_the_feeds_own() -> None:
    async def test() -> None:
        async with a_venue(mute) as url:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(None) as limit:
                    await Feed(quick(KRAKEN), [], url=url).run(lambda _: limit.reschedule(0.0))

    run(test())


@pytest.mark.parametrize("kind", [RecordKind.CONNECTED, RecordKind.FRAME])
def test_what_whoever_takes_the_records_raises_comes_out_of_the_feed(kind: RecordKind) -> None:
    taken: list[Record] = []

    def take(records: list[Record]) -> None:
        assert not of(taken, kind), "nothing is handed over after that"
        taken.extend(records)
        if of(records, kind):
            raise ZeroDivisionError

    async def handler(ws: ServerConnection) -> None:
        while True:
            await ws.send(HEARTBEAT, text=True)
            await asyncio.sleep(0)

    async def test() -> None:
        async with a_venue(handler) as url:
            with pytest.raises(ZeroDivisionError):
                await Feed(quick(KRAKEN), [], url=url).run(take)

    run(test())
