"""Portfolio events pushed over WebSocket to whoever listens, by a thread of its own."""

import asyncio
import ipaddress
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from websockets.asyncio.server import ServerConnection, broadcast, serve

from apps.problems import UserProblem
from apps.recording import Recording
from apps.trading import Trading

BUFFER_MAX = 1024 * 1024
"""Bytes that may wait for one client; one that does not take them is dropped."""
BEHIND_MAX = 10_000
"""Groups of events that may wait for the thread. Where it does not come to send them, everybody is dropped."""

_TRY_LATER = 1013
_OWN_PAGES = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
_REQUEST_BYTES_MAX = 4096
_encode = msgspec.json.Encoder(decimal_format="string").encode


class Place(Struct, frozen=True):
    """Where to listen."""

    host: str
    port: int


def place_of(url: str, *, lets_others_in: bool = False) -> Place:
    """The place that `ws://127.0.0.1:9100` names; port 0 is a free one.

    Raises UserProblem for what is none, and for an address that others can reach unless they are let in.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not re.fullmatch(r"ws://[^/?#@]+/?", url) or host is None or port is None:
        raise UserProblem(f"--publish {url}: expected an address such as ws://127.0.0.1:9100")
    if not lets_others_in and not _is_loopback(host):
        raise UserProblem(f"--publish {url}: expected an address of this machine alone; --publish-to-others allows it")
    return Place(host, port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


class Publisher:
    """Sends every listener the state as it stands, then each portfolio event as it is asserted.

    A message is one JSON object: first `{"type":"State",...}`, then events as they are in the ledger. Whoever trades
    hands over lines and goes on; sockets are the thread's business. The connection of a client that does not read is
    cut. Pages of other sites may not connect: a browser would do it for them.

    Raises UserProblem where it cannot listen.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._clients: set[ServerConnection] = set()
        self._listeners = 0  # known where trading is done
        self._sent = self._done = 0
        self._state: Callable[[], bytes] | None = None
        self._trading_loop: asyncio.AbstractEventLoop | None = None
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._has_begun = threading.Event()
        self._problems: list[OSError] = []
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()
        self._has_begun.wait()
        for problem in self._problems:
            reason = problem.strerror or problem
            raise UserProblem(f"--publish {self.url}: expected an address to listen on, found {reason}")

    @property
    def url(self) -> str:
        """Where to listen."""
        host = f"[{self.place.host}]" if ":" in self.place.host else self.place.host
        return f"ws://{host}:{self.place.port}"

    def attend(self, state: Callable[[], bytes]) -> None:
        """Trading begins, in the current loop. `state` is asked there, between one event and the next."""
        self._state, self._trading_loop = state, asyncio.get_running_loop()

    def send(self, lines: bytes) -> None:
        """Events, a line of JSON each. Called where trading is done; returns at once."""
        if self._listeners:
            self._sent += 1
            self._loop.call_soon_threadsafe(self._pass_on, lines)

    def close(self) -> None:
        """Say goodbye to everybody."""
        if self._thread.is_alive():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(timeout=5.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- in the loop of trading

    def _join(self, client: ServerConnection) -> None:
        """A listener has come: what has happened so far, and from here on everything."""
        assert self._state is not None, "attended"
        self._listeners += 1
        self._loop.call_soon_threadsafe(self._admit, client, self._state())

    def _leave(self) -> None:
        self._listeners -= 1

    # -- in the thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as problem:
            self._problems.append(problem)
        finally:
            self._has_begun.set()
            self._loop.close()

    async def _serve(self) -> None:
        async with serve(
            self._handle,
            self.place.host,
            self.place.port,
            origins=[None, _OWN_PAGES],
            compression=None,
            max_size=_REQUEST_BYTES_MAX,
            close_timeout=1,
            server_header=None,
        ) as server:
            self.place = Place(self.place.host, next(iter(server.sockets)).getsockname()[1])
            self._has_begun.set()
            await self._over.wait()

    async def _handle(self, client: ServerConnection) -> None:
        trading = self._trading_loop
        if trading is None:
            await client.close(_TRY_LATER, "trading has not begun")
            return
        with suppress(RuntimeError):  # trading is over, and its loop closed
            trading.call_soon_threadsafe(self._join, client)
            try:
                await client.wait_closed()
            finally:
                self._clients.discard(client)
                trading.call_soon_threadsafe(self._leave)

    def _admit(self, client: ServerConnection, state: bytes) -> None:
        broadcast([client], state.decode())
        self._clients.add(client)

    def _pass_on(self, lines: bytes) -> None:
        self._done += 1
        for line in lines.decode().splitlines():
            broadcast(self._clients, line)
        is_behind = self._sent - self._done > BEHIND_MAX
        for client in list(self._clients):
            if is_behind or client.transport.get_write_buffer_size() > BUFFER_MAX:
                self._drop(client)

    def _drop(self, client: ServerConnection) -> None:
        """Without a goodbye: it would wait behind all that the client does not read."""
        self._clients.discard(client)
        client.transport.abort()


def state_of(recording: Recording, trading: Trading) -> bytes:
    """How things stand, as JSON; money is text. `next_seq` is the seq of the desk's next event."""
    desks = []
    for desk in trading.engine.desks:
        portfolio = desk.portfolio
        orders = [*portfolio.in_flight.values(), *portfolio.resting.values(), *portfolio.waiting.values()]
        desks.append(
            {
                "strategy": desk.name,
                "next_seq": portfolio.next_seq,
                "status": "failed" if portfolio.is_failed else "halted" if portfolio.is_halted else "ok",
                "currency": portfolio.currency,
                "equity": portfolio.equity,
                "balances": portfolio.balances,
                "positions": portfolio.positions,
                "orders": orders,
                "fills": trading.filled[desk.name],
            }
        )
    standing = {
        "type": "State",
        "venue": recording.feed.profile.venue,
        "symbols": recording.feed.symbols,
        "simulated": recording.is_simulated,
        "ticks": recording.ticks,
        "desks": desks,
        "fills": list(trading.fills),
    }
    return _encode(standing)
