"""A venue's live stream as records: connected, subscribed, stamped once, and connected again when it breaks."""

import asyncio
import random
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, ProxyError, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

from recorder.clock import SYSTEM_CLOCK, Clock
from recorder.conversation import Conversation, Findings
from recorder.frame_log import SIMULATED, Record, RecordKind
from recorder.inbox import CONN_MASK, Inbox
from recorder.liveness import SymbolWatch
from recorder.reconnecting import Reconnects
from recorder.venues.profiles import Profile

MESSAGE_MAX = 32 * 2**20
"""Bytes of the longest message that is taken. Books of 5 MB come in one message."""

SIMULATED_HEADER = "Wspt-Simulated"
"""In the answer to the handshake: the market is made up. A tape of it says so, whatever it was told."""

Take = Callable[[list[Record]], None]
"""Gets records that came together, at least one."""

_FRAME = int(RecordKind.FRAME)
_UNDER_MAINTENANCE = (1012, 1013)  # close codes: service restart, try again later
_NS = 1_000_000_000
_BUSY_NS = 10_000_000
"""For a shorter time nobody is held to have been away."""
_DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})

# ValueError: a redirect to what is no address; ImportError: a SOCKS proxy without the package for it.
_UNREACHABLE = (OSError, WebSocketException, ValueError, ImportError, EOFError)


class Feed:
    """One venue's stream. Call `run` once, and the rest from the same loop.

    Whatever the venue or the network does becomes a record, never an exception:

    CONNECTED, DISCONNECTED  a connection stands; it ended, and why. When `stop` ends it, nobody is told: the
                             recording is over, and nothing about the market has changed.
    SUBSCRIBED               a request was sent.
    FRAME                    a message, text or binary, as it arrived.
    REST                     a depth snapshot, after the stream was subscribed and whenever `heal` asks for one.
    CLOCK                    a second passed without a message, connected or not.
    NOTE                     `unreachable` (with `cause` and `reason`), `stale` (of a symbol), `unanswered` (a
                             request), `unknown_symbol` (with `suggestions`), `snapshot_failed`, `listing_failed`,
                             `simulated` (the server says that its market is made up).

    A subscription that the venue refuses is a FRAME, of which the decoder makes a row; `findings` collects them.

    A message is stamped when it has been read, and handed over within that read. While whoever takes it is slow nothing
    is read: the rest waits at the venue, as TCP has it. So memory is bounded, and nothing is dropped.

    url:        another address than the venue's own.
    first_conn: number of the first connection; a recording that goes on continues its count.
    tls:        what to trust, where that is not the system's default.

    was_connected:  a connection stood at least once.
    last_problem:   why the venue could not be reached, or why the last connection ended.

    Raises Problem for an address that is none, and for symbols that the venue's requests cannot hold.
    """

    def __init__(
        self,
        profile: Profile,
        symbols: Sequence[str],
        *,
        url: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
        first_conn: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.profile = profile
        self.url = profile.address(url)
        self.findings = Findings()
        self.was_connected = False
        self.last_problem = ""
        self._names = {profile.spelled(symbol): symbol for symbol in symbols}
        self._clock = clock
        self._tls = tls
        self._inbox = Inbox(clock, first_conn)
        self._reconnects = Reconnects(
            profile.attempts_max,
            profile.attempts_window_s,
            first_s=profile.first_pause_s,
            longest_s=profile.longest_pause_s,
        )
        self._is_stopped = False
        self._bug: BaseException | None = None
        self._last_ns = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: asyncio.Task[None] | None = None
        self._line: _Line | None = None
        self._take: Take = lambda records: None

    @property
    def symbols(self) -> list[str]:
        """What was asked for, canonical."""
        return list(self._names.values())

    @property
    def lists_nothing(self) -> bool:
        """The venue has said what it lists, and none of the symbols is there."""
        return bool(self._names) and self.findings.unknown.keys() >= set(self._names.values())

    @property
    def is_connected(self) -> bool:
        """A connection stands."""
        return self._line is not None

    def stop(self) -> None:
        """End `run` after what has been handed over so far."""
        self._is_stopped = True
        self._inbox.wake()

    def heal(self, symbol: str) -> None:
        """Ask the venue for a new book of `symbol`: after a wrong checksum, a gap, or a snapshot that was too old.

        May be called as often as the decoder complains; requests are paced. Without a connection it does
        nothing, as the next one begins with new books.
        """
        if self._line is not None:
            self._line.talk.heal(symbol)

    async def run(self, take: Take) -> None:
        """Hand over everything that happens, in order, until `stop`.

        Messages are handed over from within the read of the socket that brought them, those of one read together. So
        `take` may not wait; while it works the venue does, as TCP has it. What it raises comes out of here.
        """
        inbox, pending = self._inbox, self._inbox.records
        inbox.open()
        self._take = take
        self._last_ns = self._clock.mono_ns()
        watching = self._start(self._watch())
        try:
            while self._bug is None and (pending or not self._is_stopped):
                if pending:
                    records = list(pending)
                    pending.clear()
                    self._hand_over(records, self._clock.mono_ns())
                elif self._line is None:
                    await self._connecting()
                else:
                    await self._listening(self._line)
            if self._bug is not None:
                raise self._bug
        finally:
            self._is_stopped = True
            await self._shut(watching)

    async def _listening(self, line: "_Line") -> None:
        """Wait until something else happens than that messages arrive."""
        inbox = self._inbox
        inbox.begin()
        try:
            await line.connection.recv()  # no message comes here: it waits for the end of the connection
        except asyncio.CancelledError:
            if not inbox.was_woken():
                raise
        except ConnectionClosed as closed:
            await self._closed(line, closed)
        finally:
            inbox.waiting = None

    def _arrived(self, line: "_Line", payloads: Sequence[bytes]) -> None:
        """The messages of one read. What goes wrong comes out of `run`: asyncio would end the connection over it."""
        if self._is_stopped:
            return
        try:
            records = self._heard(line, payloads)
            self._hand_over(records, self._last_ns)
        except BaseException as error:
            self._bug, self._is_stopped = error, True
            self._inbox.wake()

    def _heard(self, line: "_Line", payloads: Sequence[bytes]) -> list[Record]:
        """Messages with their stamps, each behind what there is to say about it."""
        wall_ns, mono_ns = self._clock
        records: list[Record] = []
        for payload in payloads:
            self._last_ns = now = mono_ns()
            # What is rare costs the hot path one look at a truth value.
            if line.talk.is_open:
                line.talk.hear(payload)
            if line.watch.awaited:
                line.watch.hear(payload, now)
            record = Record(wall_ns(), now, line.conn, _FRAME, payload)
            if self._inbox.records:
                records += self._inbox.records
                self._inbox.records.clear()
            records.append(record)
        return records

    def _hand_over(self, records: list[Record], now: int) -> None:
        """Have records taken, at the monotonic time `now`. To be busy with them is not the venue's silence."""
        self._take(records)
        busy_ns = self._clock.mono_ns() - now
        self._last_ns += busy_ns
        if busy_ns > _BUSY_NS and self._line is not None:
            self._line.watch.excuse(busy_ns)

    async def _connecting(self) -> None:
        """Begin an attempt to connect where none is under way, and wait until something happens."""
        if self._opening is None or self._opening.done():
            self._opening = self._start(self._open())
        await self._inbox.wait()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task that ends with the connection."""
        task = self._start(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[None]") -> None:
        """An exception in a task is a mistake of ours: it comes out of `run`, rather than end in silence."""
        if not task.cancelled() and task.exception() is not None:
            self._bug, self._is_stopped = task.exception(), True
        self._inbox.wake()

    # -- connections ---------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Try to get the next connection, after the pause that is due."""
        now = asyncio.get_running_loop().time
        await asyncio.sleep(self._reconnects.pause_s(now()))
        self._reconnects.attempt(now())
        try:
            connection = await connect(
                self.url,
                ssl=(self._tls or True) if self.url.startswith("wss:") else None,
                create_connection=_Listener,
                compression=None,
                max_size=MESSAGE_MAX,
                open_timeout=self.profile.open_timeout_s,
                close_timeout=self.profile.close_timeout_s,
                ping_interval=None,  # whether it lives is asked in the venue's own words, when it is silent
            )
        except _UNREACHABLE as error:
            cause, self.last_problem = _unreachable(error)
            self._inbox.note("unreachable", cause=cause, reason=self.last_problem)
            return
        self._inbox.conn += self.was_connected
        self.was_connected = True
        self._inbox.put(RecordKind.CONNECTED, self.url.encode())
        if connection.response is not None and SIMULATED_HEADER in connection.response.headers:
            self._inbox.note(SIMULATED)
        self._last_ns = self._clock.mono_ns()
        assert isinstance(connection, _Listener), "see above"
        self._line = line = self._new_line(connection)
        connection.listen(partial(self._arrived, line))

    def _new_line(self, connection: "_Listener") -> "_Line":
        talk = Conversation(
            self.profile,
            self._names,
            self.url,
            findings=self.findings,
            say=lambda payload: _say(connection, payload),
            emit=self._inbox.put,
            note=self._inbox.note,
            spawn=self._spawn,
            settled=self._reconnects.succeeded,
        )
        watch = SymbolWatch(self._names, self.profile.spoken, _ns(self.profile.stale_after_s), self._last_ns)
        renew_ns = None
        if self.profile.renew_after_s is not None:
            # Recorders that were started together do not renew together.
            renew_ns = self._last_ns + _ns(self.profile.renew_after_s * random.uniform(0.98, 1.0))
        return _Line(connection, self._inbox.conn & CONN_MASK, talk, watch, renew_ns)

    async def _closed(self, line: "_Line", closed: ConnectionClosed) -> None:
        """A connection has ended: tell why."""
        self._inbox.waiting = None  # for a message, that is: what is awaited from here on is not to be ended
        self.last_problem = line.reason or _ended(closed)
        if not self.findings.is_online or (closed.rcvd is not None and closed.rcvd.code in _UNDER_MAINTENANCE):
            self._reconnects.wait_at_least(self.profile.maintenance_pause_s)
        self._line = None
        await self._cancel(*self._tasks)
        await _close(line.connection, self.profile.close_timeout_s)
        self._inbox.put(RecordKind.DISCONNECTED, self.last_problem.encode())

    async def _shut(self, watching: "asyncio.Task[None]") -> None:
        """Let everything go."""
        line, self._line = self._line, None
        await self._cancel(watching, *([self._opening] if self._opening else []), *self._tasks)
        if line is not None:
            await _close(line.connection, self.profile.close_timeout_s)

    async def _cancel(self, *tasks: "asyncio.Task[None]") -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _give_up(self, line: "_Line", reason: str) -> None:
        """End a connection ourselves; what has arrived by then is still handed over."""
        if not line.reason:
            line.reason = reason
            self._spawn(_close(line.connection, self.profile.close_timeout_s))

    # -- silence -------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Tell the recording that time passes, and look after the connection, about once in `clock_s`.

        Silence counts only while somebody waits for a message: a consumer that is busy is not a venue that is dead.
        """
        clock_ns = _ns(self.profile.clock_s)
        told_ns = looked_ns = self._clock.mono_ns()
        while True:
            due_ns = max(self._last_ns, told_ns) + clock_ns - self._clock.mono_ns()
            await asyncio.sleep(max(due_ns, clock_ns // 10) / _NS)
            now = self._clock.mono_ns()
            line = self._line
            if self._inbox.waiting is None:
                self._last_ns = told_ns = now
                if line is not None:
                    line.watch.excuse(now - looked_ns)
            elif now - max(self._last_ns, told_ns) >= clock_ns:
                told_ns = now
                self._inbox.put(RecordKind.CLOCK)
            if line is not None and self._inbox.waiting is not None:
                self._look(line, now)
            looked_ns = now

    def _look(self, line: "_Line", now: int) -> None:
        """Whether the connection, and each symbol on it, still lives."""
        profile, silent_ns = self.profile, now - self._last_ns
        if line.talk.has_failed():
            self._give_up(line, "nothing that was asked was answered")
        if silent_ns >= _ns(profile.dead_after_s):
            self._give_up(line, f"nothing came for {profile.dead_after_s:g} s")
        elif silent_ns >= _ns(profile.ping_after_s) and line.pinged_ns < self._last_ns:
            line.pinged_ns = now
            line.talk.ping()
        if line.renew_ns is not None and now >= line.renew_ns:
            self._give_up(line, "renewed before the venue ends it")
        self._look_at_symbols(line, now)

    def _look_at_symbols(self, line: "_Line", now: int) -> None:
        silence = line.watch.silence(now)
        for name in silence.quiet:
            if line.talk.is_rejected(name):
                line.watch.forget(name)
            elif name not in silence.stale:
                line.talk.ask(name)
        for name in silence.stale:
            if not line.talk.is_rejected(name):
                self._inbox.note("stale", symbol=self._names[name], silent_s=self.profile.stale_after_s)
                line.talk.heal(self._names[name])


class _Listener(ClientConnection):
    """A connection that hands its messages over as it reads them.

    To have a task wait for each message, as `recv` does, costs a turn of the loop and as much time as everything else
    that websockets does for it. Here `recv` gets no message, and tells of the end alone.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._arrived: Callable[[list[bytes]], None] | None = None
        self._messages: list[bytes] = []
        self._parts: list[bytes] = []

    def listen(self, arrived: Callable[[list[bytes]], None]) -> None:
        """Hand over from now on, to somebody who never raises; what came behind the handshake at once."""
        self._arrived = arrived
        self._tell()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            self._tell()

    def process_event(self, event: Event) -> None:
        if not isinstance(event, Frame) or event.opcode not in _DATA:
            super().process_event(event)
        elif event.fin and not self._parts:
            self._messages.append(bytes(event.data))
        else:
            self._parts.append(bytes(event.data))
            if event.fin:
                self._messages.append(b"".join(self._parts))
                self._parts.clear()

    def _tell(self) -> None:
        if self._arrived is not None and self._messages:
            messages, self._messages = self._messages, []
            self._arrived(messages)


class _Line:
    """A connection, and what is said and known on it.

    reason:     why we ended it, or empty.
    pinged_ns:  when it was last asked for a sign of life.
    """

    __slots__ = ("conn", "connection", "pinged_ns", "reason", "renew_ns", "talk", "watch")

    def __init__(
        self, connection: "_Listener", conn: int, talk: Conversation, watch: SymbolWatch, renew_ns: int | None
    ) -> None:
        self.connection = connection
        self.conn = conn
        self.talk = talk
        self.watch = watch
        self.renew_ns = renew_ns
        self.reason = ""
        self.pinged_ns = -1


async def _say(connection: ClientConnection, payload: bytes) -> bool:
    """Send a message as text; False where the connection is gone, which whoever receives will tell."""
    try:
        await connection.send(payload, text=True)
    except ConnectionClosed:
        return False
    return True


async def _close(connection: ClientConnection, timeout_s: float) -> None:
    """Say goodbye, but not for long: a dead venue does not answer, and may not even read."""
    try:
        async with asyncio.timeout(2 * timeout_s):
            await connection.close()
    except TimeoutError:
        connection.transport.abort()


def _unreachable(error: Exception) -> tuple[str, str]:
    """Why there is no connection: one word, and a sentence for people."""
    text = str(error) or type(error).__name__
    match error:
        case ssl.SSLError():
            return "tls", f"TLS failed: {text}"
        case ConnectionRefusedError():
            return "refused", f"the connection was refused: {text}"
        case socket.gaierror():
            return "name", f"no such host: {text}"
        case TimeoutError():
            return "timeout", f"no answer in time: {text}"
        case InvalidStatus():
            return "http", f"expected a WebSocket, found HTTP status {error.response.status_code}"
        case ProxyError():
            return "proxy", f"the proxy failed: {text}"
        case OSError():
            return "network", f"the network failed: {text}"
    return "handshake", f"expected a WebSocket, found: {text}"


def _ended(closed: ConnectionClosed) -> str:
    """Why a connection ended, when it was not we who wanted it."""
    if closed.sent is not None and not closed.rcvd_then_sent:
        return f"broken by what the venue sent: {closed.sent.code} {closed.sent.reason}".strip()
    if closed.rcvd is not None:
        return f"closed by the venue: {closed.rcvd.code} {closed.rcvd.reason}".strip()
    return f"connection lost: {closed.__cause__ or 'without a closing handshake'}"


def _ns(seconds: float) -> int:
    return round(seconds * _NS)
