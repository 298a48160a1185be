"""Records of a feed to the rows of a tape: the one way there, for a live session, for sealing and for recovery."""

from collections.abc import Sequence

import msgspec

from engine.ticks import FEED_LOST, Kind, Tick
from recorder.frame_log import Record, RecordKind
from recorder.problems import Problem
from recorder.venues import Decoder, Frame, Quality
from recorder.venues.binance import BinanceDecoder
from recorder.venues.kraken import KrakenDecoder

VENUES = ("kraken", "binance")

# Plain numbers: to look up a member of an enum takes as long as to make a frame.
_FRAME, _REST = int(RecordKind.FRAME), int(RecordKind.REST)
_CLOCK_NOTE = '{"event":"clock"}'


class AssemblyProblem(Problem):
    """A recording that nobody here can decode, in one sentence for the user."""


class Assembled(msgspec.Struct, frozen=True, gc=False):
    """The rows of one record.

    ts_recv:  ns UTC: the wall clock of the record, or the latest before it where that clock ran backwards.
    payload:  the frame's bytes, or None where no frame brought the rows.
    url:      where a REST answer came from, else None.
    ticks:    at least one.
    """

    ts_recv: int
    conn: int
    payload: bytes | None
    url: str | None
    ticks: Sequence[Tick]


def decoder_for(venue: str, symbols: Sequence[str] | None = None) -> Decoder:
    """A decoder for one recording of `venue`, which may name the canonical symbols that were asked for.

    Raises AssemblyProblem for a venue that has no decoder.
    """
    match venue:
        case "kraken":
            return KrakenDecoder(symbols or None)
        case "binance":
            return BinanceDecoder({symbol.replace("/", ""): symbol for symbol in symbols or ()})
    raise AssemblyProblem(f"venue {venue}: expected one of {', '.join(VENUES)}")


class Assembler:
    """Turns records into rows, in the order in which they were logged; its state runs on from part to part.

    A pure function of the records it has taken: where the same go in, the same rows come out, whether the socket
    is open or the log is read a year later. It adds to the venue's decoder what no frame says: the connection, the
    clock, the notes of the feed.

    symbols:          the canonical symbols that were asked for, where they are known.
    decoder:          the venue's, unless another is given.
    latest:           the latest row of each symbol of which something is known.
    clock_reversals:  records whose wall clock read less than that of the record before.
    """

    def __init__(self, venue: str, symbols: Sequence[str] | None = None, *, decoder: Decoder | None = None) -> None:
        self.venue = venue
        self.clock_reversals = 0
        self._decoder = decoder or decoder_for(venue, symbols)
        self._ts_recv: int | None = None
        self._wall_ns = 0
        self._is_connected = False
        self.latest: dict[str, Tick] = {}

    @property
    def quality(self) -> Quality:
        """What the decoder has counted since the beginning of the recording."""
        return self._decoder.quality

    @property
    def ts_recv(self) -> int | None:
        """Time of the latest row, ns; None before the first."""
        return self._ts_recv

    def memory(self) -> bytes:
        """All that it knows now, in a form that `recall` understands."""
        return msgspec.msgpack.encode(
            _Memory(
                ts_recv=self._ts_recv,
                wall_ns=self._wall_ns,
                clock_reversals=self.clock_reversals,
                is_connected=self._is_connected,
                latest=self.latest,
                decoder=self._decoder.memory(),
            )
        )

    def recall(self, memory: bytes) -> None:
        """Know what another one for the same venue and symbols knew, and go on from there.

        Raises msgspec.DecodeError for what no such one has written.
        """
        found = msgspec.msgpack.decode(memory, type=_Memory)
        self._decoder.recall(found.decoder)
        self._ts_recv, self._wall_ns, self.clock_reversals = found.ts_recv, found.wall_ns, found.clock_reversals
        self._is_connected, self.latest = found.is_connected, found.latest

    def take(self, record: Record) -> Assembled:
        """The rows of the next record. Never raises for what a venue sent."""
        ts_recv = self._clock(record.wall_ns)
        if record.kind == _FRAME:
            ticks = self._decoded(Frame(ts_recv, record.payload, record.conn))
            return Assembled(ts_recv, record.conn, record.payload, None, ticks)
        if record.kind == _REST:
            address, _, body = record.payload.partition(b"\n")
            url = address.decode(errors="replace")
            return Assembled(ts_recv, record.conn, body, url, self._decoded(Frame(ts_recv, body, record.conn, url)))
        return Assembled(ts_recv, record.conn, None, None, self._frameless(record))

    def _clock(self, wall_ns: int) -> int:
        latest = self._ts_recv
        if latest is None:
            self._ts_recv = self._wall_ns = wall_ns
            return wall_ns
        if wall_ns < self._wall_ns:
            self.clock_reversals += 1
        self._wall_ns = wall_ns
        if wall_ns > latest:
            self._ts_recv = latest = wall_ns
        return latest

    def _decoded(self, frame: Frame) -> Sequence[Tick]:
        try:
            ticks = self._decoder.decode(frame)
        except Exception as error:
            # A decoder that raises is a mistake of ours. The frame is on disk, and no frame may stop what comes after
            # it from getting there; what the decoder knew is in doubt, so it starts again as on a new connection.
            ticks = self._lost(frame.conn, error)
        latest = self.latest
        for tick in ticks:
            symbol = tick.symbol
            if symbol is not None:
                latest[symbol] = tick
        return ticks

    def _lost(self, conn: int, error: Exception) -> list[Tick]:
        self._decoder.connected(conn)
        self.latest.clear()
        self._decoder.quality.unparsed += 1
        return [_feed("gap", reason="decoder failed", error=type(error).__name__)]

    def _frameless(self, record: Record) -> Sequence[Tick]:
        text = record.payload.decode(errors="replace")
        match record.kind:
            case RecordKind.CLOCK:
                return [Tick(kind=Kind.FEED, note=_CLOCK_NOTE)]
            case RecordKind.CONNECTED:
                return self._connected(record.conn, text)
            case RecordKind.DISCONNECTED:
                return self._disconnected(record.conn, text)
            case RecordKind.SUBSCRIBED:
                return [_feed("subscribed", **({"request": text} if text else {}))]
            case RecordKind.NOTE:
                return [self._noted(text)]
        return [Tick(kind=Kind.OTHER)]  # of a later version: its row keeps the clock

    def _connected(self, conn: int, url: str) -> list[Tick]:
        # Where the end of the connection before is not on record - nobody was left to log it - it is over now.
        gone = self._disconnected(conn, "replaced") if self._is_connected else []
        self._is_connected = True
        return [*gone, *_with_parts(self._decoder.connected(conn), url=url)]

    def _disconnected(self, conn: int, reason: str) -> list[Tick]:
        self._is_connected = False
        self.latest.clear()
        return _with_parts(self._decoder.disconnected(conn), reason=reason)

    def _noted(self, text: str) -> Tick:
        """The row of a feed's note: about its symbol, with what is known of that one's touch after it."""
        try:
            note = msgspec.json.decode(text, type=_Note)
        except msgspec.MsgspecError:
            return _feed("note", text=text)
        row = Tick(kind=Kind.FEED, symbol=note.symbol, note=text)
        if note.symbol is None:
            return row
        before = self.latest.get(note.symbol)
        if note.event in FEED_LOST:
            self.latest.pop(note.symbol, None)
            self._decoder.lost(note.symbol)
        elif before is not None:
            row.bid, row.bid_size, row.ask, row.ask_size = before.bid, before.bid_size, before.ask, before.ask_size
        return row


class _Memory(msgspec.Struct, kw_only=True):
    """All that an assembler knows."""

    ts_recv: int | None
    wall_ns: int
    clock_reversals: int
    is_connected: bool
    latest: dict[str, Tick]
    decoder: bytes


class _Note(msgspec.Struct):
    event: str
    symbol: str | None = None


def _feed(event: str, **parts: str) -> Tick:
    return Tick(kind=Kind.FEED, note=msgspec.json.encode({"event": event, **parts}).decode())


def _with_parts(ticks: Sequence[Tick], **parts: str) -> list[Tick]:
    """The decoder's rows about a connection, with what the record adds to their notes."""
    known = {name: part for name, part in parts.items() if part}
    for tick in ticks:
        if known and tick.note is not None:
            tick.note = msgspec.json.encode({**msgspec.json.decode(tick.note), **known}).decode()
    return list(ticks)
