"""A venue on loopback: the sockets, the pace and the faults around a served Kraken or Binance."""

import asyncio
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from enum import StrEnum
from http import HTTPStatus

import msgspec
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from apps.faults import FaultPlan, Faults, Then
from apps.problems import UserProblem, nearest
from apps.serving import Listener, Said, Source, Venue
from apps.serving_binance import BinanceVenue
from apps.serving_kraken import KrakenVenue
from recorder.assembly import VENUES
from recorder.feed import SIMULATED_HEADER

LOOPBACK = "127.0.0.1"

_BURST = 64
"""Frames that are handed over, or written, before anybody else gets a turn."""
_QUEUE = 512
"""Frames that wait for one client at full speed before the stream waits for it."""
_QUEUE_MAX = 65_536
"""Frames that wait for one client at a given speed before it is disconnected as too slow."""
_BEAT_S = 1.5
"""Without a heartbeat in the stream for this long, the server sends one of its own."""
_BEAT = b'{"channel":"heartbeat"'
_PONG_S = 60.0
_REQUEST_BYTES_MAX = 1024 * 1024
_TOO_SLOW, _GOING_AWAY = 1008, 1001


class AtEnd(StrEnum):
    """What follows the last frame: all is closed, all stays open and silent, or all begins again."""

    CLOSE = "close"
    STAY = "stay"
    LOOP = "loop"


class Start(StrEnum):
    """When the stream begins: with the first client's subscriptions, or with the server."""

    FIRST_SUBSCRIBER = "first-subscriber"
    AT_ONCE = "at once"


class Served(msgspec.Struct):
    """What a server did.

    connections:  that were opened.
    requests:     messages of clients; rest: GET requests that were answered.
    said:         messages of the stream, whoever listened.
    frames:       frames of the stream that were sent, over all clients.
    rounds:       how often the stream came to its end.
    faults:       how often each kind struck, by its name on the command line.
    """

    connections: int = 0
    requests: int = 0
    rest: int = 0
    said: int = 0
    frames: int = 0
    rounds: int = 0
    faults: Counter[str] = msgspec.field(default_factory=Counter)


class VenueServer:
    """Serves a source as a venue, to any number of clients.

    All clients hear one stream, each of it what it subscribed to. At full speed (`speed` None) the stream waits for
    the slowest, loses nothing, and rests while nobody listens. At a given speed it goes on like time
    itself: who is away misses it, who is too slow is disconnected.

    source:    a tape or a simulation; venue: the protocol, by default the source's own.
    speed:     stream seconds per second, or None for as fast as the clients read.
    faults:    what every connection suffers, by `seed` and its number.
    settle_s:  A client's subscriptions are complete when they cover all that there is, or when so long
               nothing was asked for.

    Raises UserProblem for a venue that is not in VENUES, and for checksum faults where there are no checksums.
    """

    def __init__(
        self,
        source: Source,
        venue: str | None = None,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        speed: float | None = None,
        faults: Faults | None = None,
        seed: int = 7,
        start: Start | str = Start.FIRST_SUBSCRIBER,
        at_end: AtEnd | str = AtEnd.CLOSE,
        settle_s: float = 0.5,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.served = Served()
        self.source = source
        self.venue_name = venue or source.venue
        self.host, self.port = host, port
        self.speed, self.seed, self.clock = speed, seed, clock
        self.faults = faults or Faults()
        self.changed = asyncio.Event()
        self.queue_max = _QUEUE if speed is None else _QUEUE_MAX
        self.somebody_left = False
        self._start, self._at_end = Start(start), AtEnd(at_end)
        self._settle_s = settle_s
        self._venue = _venue(self.venue_name, source)
        if self.faults.checksum and self.venue_name != "kraken":
            raise UserProblem(f"--fault checksum: expected --venue kraken, found {self.venue_name}, which sends none")
        self._connections: set[_Connection] = set()
        self._server: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()

    @property
    def url(self) -> str:
        """Where clients connect."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}{self._venue.path}"

    async def start(self) -> int:
        """Listen; the answer is the port. Raises UserProblem where it cannot."""
        try:
            self._server = await serve_websocket(
                self._handle,
                self.host,
                self.port,
                process_request=self._process_request,
                compression=None,
                ping_interval=None,
                close_timeout=2,
                process_response=self._process_response,
                max_size=_REQUEST_BYTES_MAX,
                server_header=None,
            )
        except OSError as error:
            problem = error.strerror or error
            raise UserProblem(f"--port {self.port}: expected a port to listen on, found {problem}") from error
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        self._tasks = [asyncio.create_task(self._stream()), asyncio.create_task(self._every_second())]
        return self.port

    async def wait(self) -> None:
        """Until the stream is over and its clients have all of it; never, where it stays or loops.

        Raises what went wrong with the source while it was read.
        """
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait([over, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in self._tasks:
                if task.done() and not task.cancelled():
                    task.result()
            await over
        finally:
            over.cancel()

    async def close(self) -> None:
        """Stop: no connection and no task is left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._connections:
            connection.abandon_if_frozen()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self._over.set()

    async def __aenter__(self) -> "VenueServer":
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    # Connections

    def _process_request(self, socket: ServerConnection, request: Request) -> Response | None:
        """Plain HTTP is answered here; a WebSocket goes on to its handshake where the venue has something there."""
        if "websocket" in request.headers.get("Upgrade", "").lower():
            is_known = self._venue.listener(request.path, 0) is not None
            return None if is_known else socket.respond(HTTPStatus.NOT_FOUND, "Not Found\n")
        found = self._venue.http(request.path)
        if found is None:
            return socket.respond(HTTPStatus.NOT_FOUND, "Not Found\n")
        self.served.rest += 1
        for connection in self._connections:
            connection.asked_at = asyncio.get_running_loop().time()
        self.changed.set()
        status, body = found
        response = socket.respond(HTTPStatus(status), body.decode())
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json;charset=UTF-8"
        return response

    def _process_response(self, socket: ServerConnection, request: Request, response: Response) -> None:
        """Whatever protocol is spoken: a made-up market says that it is."""
        if self.source.simulated:
            response.headers[SIMULATED_HEADER] = "true"

    async def _handle(self, socket: ServerConnection) -> None:
        assert socket.request is not None, "the handshake is over"
        number, self.served.connections = self.served.connections, self.served.connections + 1
        listener = self._venue.listener(socket.request.path, number)
        assert listener is not None, "checked before the handshake"
        connection = _Connection(self, socket, listener, FaultPlan(self.faults, self.seed, number))
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self.served.faults += connection.plan.counts
            self.changed.set()

    # The stream

    async def _stream(self) -> None:
        if self._start is Start.FIRST_SUBSCRIBER:
            await self._listened_to()
        while True:
            await self._round()
            self.served.rounds += 1
            if self._at_end is not AtEnd.LOOP:
                break
        for connection in list(self._connections):
            await connection.finished()
        if self._at_end is AtEnd.CLOSE:
            for connection in list(self._connections):
                connection.abandon_if_frozen()
            assert self._server is not None, "started before it streams"
            self._server.close(code=_GOING_AWAY)
            await self._server.wait_closed()
            self._over.set()
        await asyncio.Event().wait()

    async def _round(self) -> None:
        """The stream once, from its first to its last message."""
        loop = asyncio.get_running_loop()
        started, first_ns = loop.time(), None
        for number, said in enumerate(self._venue.stream()):
            if self.speed is None:
                if number % _BURST == 0 or self.somebody_left:
                    await self._room()
            else:
                if first_ns is None:
                    started, first_ns = loop.time(), said.ts
                ahead_s = (said.ts - first_ns) / 1e9 / self.speed - (loop.time() - started)
                if ahead_s > 0.0005:
                    await asyncio.sleep(ahead_s)
                elif number % _BURST == 0:
                    await asyncio.sleep(0)
            self._say(said)
        await asyncio.sleep(0)  # A loop over nothing must still let others in.

    def _say(self, said: Said) -> None:
        """Without a pause: no request may come between what is heard and what is told."""
        self.served.said += 1
        self._venue.hear(said)
        for connection in self._connections:
            connection.tell(said)

    async def _room(self) -> None:
        """At full speed, wait until everybody who listens can take more."""
        self.somebody_left = False
        if self._start is Start.FIRST_SUBSCRIBER:
            await self._listened_to()
        await asyncio.sleep(0)
        while any(len(connection.queue) >= self.queue_max for connection in self._connections):
            await self._change(None)

    async def _listened_to(self) -> None:
        """Wait until somebody listens, and everybody who does has asked for all that he wants."""
        while True:
            now = asyncio.get_running_loop().time()
            waits = [connection.settles_in(now, self._settle_s) for connection in self._connections]
            known = [wait for wait in waits if wait is not None]
            if known and max(known) <= 0.0:
                return
            await self._change(max(known) if known else None)

    async def _change(self, at_most_s: float | None) -> None:
        self.changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), at_most_s)

    async def _every_second(self) -> None:
        """Heartbeats, pings and the end of idle connections go by the clock on the wall."""
        while True:
            await asyncio.sleep(1.0)
            now = asyncio.get_running_loop().time()
            for connection in list(self._connections):
                connection.second_passed(now, self._venue)


class _Connection:
    """One client: what waits for it, and what becomes of it on the way.

    queue:      what is to be sent, and what is to happen, in its order.
    asked_at:   when it last asked for anything.
    is_new:     it has not been told anything of the stream yet.
    is_lost:    it hears nothing more: it is to be cut, or is to freeze, once its queue is sent.
    is_frozen:  it neither reads nor sends.
    """

    def __init__(self, server: VenueServer, socket: ServerConnection, listener: Listener, plan: FaultPlan) -> None:
        self.listener = listener
        self.plan = plan
        self.queue: deque[bytes | Then] = deque()
        self.asked_at = self._beat_at = self._ping_at = asyncio.get_running_loop().time()
        self.is_new = True
        self.is_lost = self.is_frozen = False
        self._server = server
        self._socket = socket
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._is_gone = False
        self._chores: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until either side is gone."""
        self._queue(self.listener.greeting())
        sender = asyncio.create_task(self._send())
        try:
            async for message in self._socket:
                self._server.served.requests += 1
                self.asked_at = asyncio.get_running_loop().time()
                payload = message.encode() if isinstance(message, str) else message
                self._queue(self.listener.request(payload, self._server.clock()))
                self._server.changed.set()
        except ConnectionClosed:
            pass
        finally:
            sender.cancel()
            with suppress(asyncio.CancelledError):
                await sender
            self._is_gone = True
            self._idle.set()

    def tell(self, said: Said) -> None:
        """Queue what this client gets of a message, and what the faults make of it.

        They strike here, in step with the stream, and not when it is sent: at full speed the stream then
        stops right behind the frame at which a connection is lost, whatever was still on its way.
        """
        frames = () if self.is_lost else self.listener.told(said)
        for frame in frames:
            self.is_new = False
            payloads, then = self.plan.take(said.ts, frame)
            self._server.served.frames += len(payloads)
            self._queue(payloads)
            if then is not Then.GO_ON:
                self._queue([then])
            if then in (Then.CUT, Then.FREEZE):
                self.is_lost = self._server.somebody_left = True
                return
        if len(self.queue) > _QUEUE_MAX:
            self.queue.clear()
            self.is_lost = True
            self._close(_TOO_SLOW, "too slow")

    def settles_in(self, now: float, settle_s: float) -> float | None:
        """Seconds until its subscriptions count as complete; None where it has none."""
        if self.is_lost or not self.listener.is_listening:
            return None
        return 0.0 if not self.is_new or self.listener.is_complete else self.asked_at + settle_s - now

    async def finished(self) -> None:
        """Until all that was queued is sent and a frame that waited for a later one with it, or the client is gone."""
        self._idle.clear()
        self._wake.set()
        self._queue(self.plan.rest())
        if not self.is_frozen and not self._is_gone:
            await self._idle.wait()

    def second_passed(self, now: float, venue: Venue) -> None:
        """What the venue does when nothing else happens."""
        if self.is_frozen:
            return
        beat = self.listener.heartbeat()
        if beat is not None and now - self._beat_at >= _BEAT_S and not self.queue:
            self._queue([beat])
        if venue.idle_s is not None and not self.listener.is_listening and now - self.asked_at >= venue.idle_s:
            self._close(_GOING_AWAY, "idle")
        if venue.ping_interval_s is not None and now - self._ping_at >= venue.ping_interval_s:
            self._ping(now)

    def abandon_if_frozen(self) -> None:
        """Whoever does not read cannot be said goodbye to."""
        if self.is_frozen:
            self._socket.transport.abort()

    def _queue(self, items: Sequence[bytes | Then]) -> None:
        if items and not self.is_frozen:
            self.queue.extend(items)
            self._idle.clear()
            self._wake.set()

    async def _send(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                if self.queue:
                    await self._send_burst()
                    self._server.changed.set()
                    continue
                self._idle.set()
                self._wake.clear()
                self._server.changed.set()
                await self._wake.wait()
        self._idle.set()

    async def _send_burst(self) -> None:
        """Some frames, and a pause until the socket has taken them."""
        payloads: list[bytes] = []
        for _ in range(min(_BURST, len(self.queue))):
            item = self.queue.popleft()
            if isinstance(item, Then):
                await self._write(payloads)
                payloads = []
                await self._suffer(item)
                continue
            if item.startswith(_BEAT):
                self._beat_at = asyncio.get_running_loop().time()
            payloads.append(item)
        await self._write(payloads)

    async def _write(self, payloads: list[bytes]) -> None:
        """Send, and wait until the socket has room again.

        All but the last go to the kernel in one piece: a system call for each would take most of the time.
        """
        if not payloads:
            return
        socket, protocol = self._socket, self._socket.protocol
        if len(payloads) > 1 and protocol.state is State.OPEN:
            for payload in payloads[:-1]:
                protocol.send_text(payload)
            socket.transport.write(b"".join(protocol.data_to_send()))
        await socket.send(payloads[-1], text=True)

    async def _suffer(self, then: Then) -> None:
        match then:
            case Then.STALL:
                await asyncio.sleep(self._server.faults.stall_s)
            case Then.CUT:
                self.queue.clear()
                self._socket.transport.close()
                await self._socket.wait_closed()
            case Then.FREEZE:
                self.is_frozen = True
                self.queue.clear()
                self._socket.transport.pause_reading()
                self._idle.set()
                self._server.changed.set()
                await asyncio.Event().wait()

    def _close(self, code: int, reason: str) -> None:
        self._later(self._socket.close(code, reason))

    def _ping(self, now: float) -> None:
        self._ping_at = now
        self._later(self._ponged())

    async def _ponged(self) -> None:
        with suppress(ConnectionClosed):
            try:
                async with asyncio.timeout(_PONG_S):
                    await (await self._socket.ping())
            except TimeoutError:
                self._socket.transport.abort()

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


def _venue(name: str, source: Source) -> Venue:
    match name:
        case "kraken":
            return KrakenVenue(source)
        case "binance":
            return BinanceVenue(source)
    raise UserProblem(f"--venue {name}: expected one of {', '.join(VENUES)}{nearest(name, VENUES)}")


def serve(
    source: Source,
    venue: str | None = None,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    speed: float | None = None,
    faults: Faults | None = None,
    seed: int = 7,
    start: Start | str = Start.FIRST_SUBSCRIBER,
    at_end: AtEnd | str = AtEnd.CLOSE,
    announce: Callable[[str], None] = print,
) -> Served:
    """Serve until the stream is over, SIGTERM or Ctrl+C; see `VenueServer`. For the main thread.

    announce:  gets the address to connect to, as the first thing, and on a line of its own that the market is
               simulated where it is.

    Raises UserProblem for what cannot be served, TapeProblem for a tape that turns out to be damaged.
    """
    server = VenueServer(
        source, venue, host=host, port=port, speed=speed, faults=faults, seed=seed, start=start, at_end=at_end
    )
    asyncio.run(_serve(server, announce))
    return server.served


async def _serve(server: VenueServer, announce: Callable[[str], None]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with server:
        announce(server.url)
        announce(f"{server.venue_name} from {server.source.name}{_spoken(server.speed)}")
        if server.source.simulated:
            announce("SIMULATED: this market is made up")
        over, asked = asyncio.create_task(server.wait()), asyncio.create_task(stopped.wait())
        await asyncio.wait([over, asked], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if over.done():
            over.result()
        over.cancel()


def _spoken(speed: float | None) -> str:
    return ", as fast as it is read" if speed is None else f", at {speed:g}x"
