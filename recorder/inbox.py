"""What happens beside the messages of a stream, kept until whoever takes the messages is awake to hand it over."""

import asyncio
from collections import deque
from typing import Any

import msgspec

from recorder.clock import Clock
from recorder.frame_log import Record, RecordKind

CONN_MASK = 0xFFFF
"""A record has 16 bits for the number of its connection; after that many it begins again. Order tells them apart."""


class Inbox:
    """Records that wait to be handed over, and the task that waits for the next one.

    That task waits for the end of a connection, or for nothing in particular. When there is something to hand over, its
    wait is canceled, as asyncio's own timeouts do it; `recv` of websockets loses nothing by that. It does:

        inbox.begin()
        try:
            await ...
        except asyncio.CancelledError:
            if not inbox.was_woken():
                raise
        finally:
            inbox.waiting = None

    records:  oldest first.
    waiting:  who waits for the next record, or None while it is busy.
    conn:     number of the latest connection.
    """

    __slots__ = ("_cancels_before", "_clock", "_consumer", "_woken", "conn", "records", "waiting")

    def __init__(self, clock: Clock, conn: int) -> None:
        self.records: deque[Record] = deque()
        self.waiting: asyncio.Task[Any] | None = None
        self.conn = conn
        self._clock = clock
        self._consumer: asyncio.Task[Any] | None = None
        self._woken: asyncio.Task[Any] | None = None
        self._cancels_before = 0

    def open(self) -> None:
        """The current task is the one that will wait. To ask for it each time would cost a system call."""
        self._consumer = asyncio.current_task()

    def put(self, kind: RecordKind, payload: bytes = b"") -> None:
        """Stamp a record, and have it handed over."""
        conn = self.conn & CONN_MASK
        self.records.append(Record(self._clock.wall_ns(), self._clock.mono_ns(), conn, int(kind), payload))
        self.wake()

    def note(self, event: str, **parts: object) -> None:
        """The same with a note of the feed."""
        self.put(RecordKind.NOTE, msgspec.json.encode({"event": event, **parts}))

    def begin(self) -> None:
        """The task waits from here on, to be woken until it sets `waiting` to None."""
        self.waiting = task = self._consumer
        assert task is not None, "open before"
        self._cancels_before = task.cancelling()

    async def wait(self) -> None:
        """Do nothing until woken."""
        self.begin()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if not self.was_woken():
                raise
        finally:
            self.waiting = None

    def wake(self) -> None:
        """End the wait of whoever waits, if anybody does."""
        if self.waiting is not None and self._woken is None:
            self._woken = self.waiting
            self._woken.cancel()

    def was_woken(self) -> bool:
        """The cancellation was ours alone. Where somebody else wants the task to end too, it is theirs."""
        task, self._woken = self._woken, None
        return task is not None and task.uncancel() <= self._cancels_before
