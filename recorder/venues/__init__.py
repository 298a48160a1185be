"""The shape of a venue: what to subscribe to, and a decoder that turns its frames into ticks (no I/O)."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from engine.ticks import Tick


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One raw WebSocket message, or a REST answer that belongs to the stream.

    ts_recv:  receipt by us in ns UTC, or None where a capture did not keep it.
    payload:  the bytes as they arrived.
    conn:     number of the connection within the recording, from 0.
    url:      where a REST answer came from (it may name the symbol that the body leaves out), else None.
    """

    ts_recv: int | None
    payload: bytes
    conn: int = 0
    url: str | None = None


class Quality(msgspec.Struct, kw_only=True):
    """What a decoder counted while it read: the ground of a tape's quality passport."""

    gaps: int = 0
    checksum_ok: int = 0
    checksum_failed: int = 0
    crossed: int = 0
    duplicates: int = 0
    rejected: int = 0
    unparsed: int = 0


class Decoder(Protocol):
    """Turns the frames of one venue into ticks. It keeps state per connection, and touches no socket."""

    quality: Quality

    def decode(self, frame: Frame) -> Sequence[Tick]:
        """The ticks of one frame: at least one row, `kind = other` where it means nothing to the engine.

        Never raises for what a venue sent: a frame that cannot be read is one `other` row, and counted
        in `quality.unparsed`.
        """
        ...

    def connected(self, conn: int) -> Sequence[Tick]:
        """A new connection: forget books and sequence state, keep the ids of trades already seen."""
        ...

    def disconnected(self, conn: int) -> Sequence[Tick]:
        """The connection ended: a feed row `disconnected`."""
        ...

    def memory(self) -> bytes:
        """All that it knows, in a form that `recall` of a decoder for the same symbols understands."""
        ...

    def recall(self, memory: bytes) -> None:
        """Know what another one knew, and nothing else; from here on both give the same rows for the same frames.

        Raises msgspec.DecodeError for what no decoder of this venue has written.
        """
        ...

    def lost(self, symbol: str) -> None:
        """The feed says that nothing is known of this canonical symbol: forget its book, and take the next snapshot."""
        ...
