"""A TCP proxy that knows, to the byte, what a client has read of what it was sent; Linux, by /proc/net/tcp."""

import select
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

TABLE = Path("/proc/net/tcp")
_ACKNOWLEDGED_S = 0.6
_HEAD_END = b"\r\n\r\n"
_TEXT, _BINARY = 1, 2


class Line(NamedTuple):
    """A connection through the proxy. `sent` is everything that was handed to the client's kernel."""

    client: socket.socket
    sent: bytearray
    port: int


class Proxy:
    """Stands between the clients that connect to `port` and a server on loopback.

    forwarded:  notified when something was handed to a client.
    """

    def __init__(self, server_port: int) -> None:
        self.lines: list[Line] = []
        self._server_port = server_port
        self._may_forward = threading.Lock()
        self.forwarded = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def pause(self) -> None:
        """Forward nothing more to any client until `go_on`."""
        self._may_forward.acquire()

    def go_on(self) -> None:
        self._may_forward.release()

    def read_by_client(self, line: Line) -> bytes:
        """What the client has taken from its socket; ask while paused, and while the client stands still."""
        # What the client's kernel has it acknowledges a little later, and until then it is counted at both ends; what
        # it has no room for it does not acknowledge at all. So the least that is seen within a while is right.
        settled, unread = time.monotonic() + _ACKNOWLEDGED_S, len(line.sent)
        while time.monotonic() < settled:
            on_the_way, arrived = _queues(self.port, line.port)[0], _queues(line.port, self.port)[1]
            unread = min(unread, on_the_way + arrived)
            if not on_the_way:
                break
            time.sleep(0.02)
        return bytes(line.sent[: len(line.sent) - unread])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()
        for line in self.lines:
            line.client.close()

    def _accept(self) -> None:
        while True:
            try:
                client, (_, port) = self._listener.accept()
            except OSError:
                return  # closed
            server = socket.create_connection(("127.0.0.1", self._server_port))
            line = Line(client, bytearray(), port)
            self.lines.append(line)
            for work in (self._to_client, self._to_server):
                threading.Thread(target=work, args=(line, server), daemon=True).start()

    def _to_client(self, line: Line, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                rest = memoryview(data)
                while rest:
                    with self._may_forward:
                        # Not more than fits: a client that stands still must not make us wait with the lock in hand.
                        try:
                            count = line.client.send(rest, socket.MSG_DONTWAIT)
                        except BlockingIOError:
                            count = 0
                        line.sent.extend(rest[:count])
                    rest = rest[count:]
                    if count:
                        with self.forwarded:
                            self.forwarded.notify_all()
                    else:
                        select.select([], [line.client], [], 0.05)  # until there is room
        _hang_up(server, line.client)

    def _to_server(self, line: Line, server: socket.socket) -> None:
        with suppress(OSError):
            while data := line.client.recv(65_536):
                server.sendall(data)
        _hang_up(server, line.client)


def messages(stream: bytes) -> list[bytes]:
    """The messages that are whole in what a WebSocket server sent, from its handshake on."""
    found: list[bytes] = []
    at = stream.find(_HEAD_END) + len(_HEAD_END)
    while len(stream) - at >= 2:
        kind, size, start = stream[at] & 15, stream[at + 1] & 127, at + 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            size, start = int.from_bytes(stream[start : start + wide], "big"), start + wide
        if start + size > len(stream):
            break
        if kind in (_TEXT, _BINARY):
            found.append(stream[start : start + size])
        at = start + size
    return found


def _queues(local_port: int, remote_port: int) -> tuple[int, int]:
    """Bytes that were sent and not acknowledged, and bytes that arrived and were not read, of one socket."""
    for row in TABLE.read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = row.split()
        if (int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16)) == (local_port, remote_port):
            sent, _, arrived = queues.partition(":")
            return int(sent, 16), int(arrived, 16)
    raise LookupError(f"no socket from {local_port} to {remote_port}")


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
