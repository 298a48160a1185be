"""A venue in a process of its own, which sends as evenly, or as fast, as it is told to."""

import hashlib
import re
import socket
import tempfile
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from apps.simulator import DEFAULT_MARKETS, simulate
from recorder.venues import kraken_frames

SYMBOLS = [model.rules.symbol for model in DEFAULT_MARKETS]
ROUND = 20_000
"""Simulated messages that are sent again and again, their trades under new ids each time."""

CALM = 1_000.0
"""Messages a second up to which they are made while they are sent."""

_AT_ONCE = 64
_TRADE_ID = re.compile(rb'"trade_id":(\d+)')


def messages() -> Iterator[bytes]:
    """Messages without an end: the books, quotes and trades of two simulated symbols."""
    first = _first_round()
    ids = {name: [int(found) for payload in first if name in payload for found in _ids(payload)] for name in _NAMES}
    spans = {name: max(found) - min(found) + 1 for name, found in ids.items() if found}
    number = 0
    while True:
        for payload in first:
            yield _later(payload, spans, number) if number else payload
        number += 1


_NAMES = [f'"{symbol}"'.encode() for symbol in SYMBOLS]


def _first_round() -> list[bytes]:
    kept = Path(tempfile.gettempdir()) / f"wspt-load-{ROUND}.json"
    if not kept.exists():
        made = [frame.payload.decode() for frame in islice(simulate(seconds=1e6), ROUND)]
        wanted = [text for text in made if '"method"' not in text and '"status","type"' not in text]
        unfinished = kept.with_suffix(".tmp")
        unfinished.write_bytes(msgspec.json.encode(wanted))
        unfinished.rename(kept)
    found: list[str] = msgspec.json.decode(kept.read_bytes())
    # The last trades before the beginning are told once: later they would be trades that were missed.
    return [text.encode() for text in found if not text.startswith('{"channel":"trade","type":"snapshot"')]


def _ids(payload: bytes) -> list[bytes]:
    return _TRADE_ID.findall(payload) if payload.startswith(b'{"channel":"trade"') else []


def _later(payload: bytes, spans: dict[bytes, int], number: int) -> bytes:
    if not payload.startswith(b'{"channel":"trade"'):
        return payload
    span = next(span for name, span in spans.items() if name in payload)
    return _TRADE_ID.sub(lambda found: b'"trade_id":%d' % (int(found[1]) + span * number), payload)


def run(port: "Connection", count: int, rate: float | None) -> None:
    """Serve one client: say which port, then send it `count` messages; then tell when each left, and their SHA-256.

    rate:  messages a second, each sent for itself; None sends as fast as the client reads.
    """
    digest = hashlib.sha256()
    packed: Iterable[bytes] = map(_packed, _digested(islice(messages(), count), digest))
    if rate is None or rate > CALM:
        packed = list(packed)  # to make a message takes longer than to send it

    def handle(connection: ServerConnection) -> None:
        _open(connection)
        with suppress(OSError, ConnectionClosed):  # a client that was killed
            sent = _send_all(connection.socket, packed, rate)
            port.send((sent, digest.hexdigest()))
            while True:
                connection.recv()  # until the client goes
        server.shutdown()

    with serve(handle, "127.0.0.1", 0, compression=None) as server:
        port.send(server.socket.getsockname()[1])
        server.serve_forever()


def _digested(payloads: Iterable[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for payload in payloads:
        digest.update(payload)
        yield payload


def _open(connection: ServerConnection) -> None:
    """Accept what Kraken's clients ask for."""
    connection.send(kraken_frames.status(), text=True)
    for _ in range(4):
        request = msgspec.json.decode(connection.recv())
        params = request["params"]
        for symbol in params.get("symbol", [None]):
            connection.send(kraken_frames.subscribed(params["channel"], time.time_ns(), symbol), text=True)


def _send_all(client: socket.socket, packed: Iterable[bytes], rate: float | None) -> bytes:
    """The times (ns, monotonic) at which the messages left, as an array of int64."""
    times = array("q")
    now = time.monotonic_ns
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if rate is None:
        rest = iter(packed)
        while some := list(islice(rest, _AT_ONCE)):
            times.extend([now()] * len(some))
            client.sendall(b"".join(some))
        return times.tobytes()
    started = now()
    for number, message in enumerate(packed):
        ahead_ns = started + int(number * 1e9 / rate) - now()
        if ahead_ns > 0:
            time.sleep(ahead_ns / 1e9)
        times.append(now())
        client.sendall(message)
    return times.tobytes()


def _packed(payload: bytes) -> bytes:
    """A message as a server's WebSocket frame (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes([0x81, size]) + payload
    if size < 65_536:
        return bytes([0x81, 126]) + size.to_bytes(2, "big") + payload
    return bytes([0x81, 127]) + size.to_bytes(8, "big") + payload
