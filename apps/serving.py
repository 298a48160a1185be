"""What a served venue is made of: a source of its stream, and what it must be able to say to a client."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeVar

import msgspec

from apps.simulated_market import PairModel
from apps.simulator import DEFAULT_MARKETS, START_NS, WARM_UP_S, simulate
from engine.ticks import LAST_OF_MESSAGE, NAN, Tick
from recorder.tape import Tape
from recorder.venues import Frame
from recorder.venues.kraken import KrakenDecoder

OPENING = 5_000
"""Frames or messages at the beginning of a stream that are looked at before it starts."""

ENDLESS_S = 10.0 * 365 * 86_400
"""Seconds of a simulation that is to go on for as long as anybody listens."""

_ROWS_AT_ONCE = 8_192
_COLUMNS = ("ts_recv", *Tick.__struct_fields__)
_NUMBERS = ("price", "size", "bid", "bid_size", "ask", "ask_size")

Message = tuple[int, list[Tick]]
"""Time of receipt (ns) and the rows of one message."""
T = TypeVar("T")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, or is made up, and can be told again from its beginning.

    name:        where it comes from, for people.
    venue:       whose frames it holds.
    symbols:     canonical names, in the order of their first row.
    simulated:   true where any of it is made up.
    has_frames:  whether it holds what the venue sent, and not only what was understood of it.
    """

    name: str
    venue: str
    symbols: tuple[str, ...]
    simulated: bool
    has_frames: bool
    frames: Callable[[], Iterator[Frame]]
    messages: Callable[[], Iterator[Message]]


def tape_source(tape: Tape) -> Source:
    """What is on a tape."""
    return Source(
        name=", ".join(str(path) for path in tape.paths),
        venue=tape.venue,
        symbols=tuple(tape.symbols),
        simulated=tape.simulated,
        has_frames=tape.passport.frames > 0,
        frames=lambda: (frame for _, frame in tape.frames()),
        messages=lambda: _messages_of(tape),
    )


def simulated_source(
    seed: int = 7,
    seconds: float = ENDLESS_S,
    markets: Sequence[PairModel] = DEFAULT_MARKETS,
    *,
    after_s: int = 0,
    clock: Callable[[], int] | None = None,
) -> Source:
    """A simulated Kraken, for a length or without an end; from the beginning, or `after_s` seconds into it.

    Whenever it is told, it begins at the time of `clock`, ns UTC; without one, at a time of its own.
    """

    def frames() -> Iterator[Frame]:
        start_ns = clock() if clock else START_NS + after_s * 1_000_000_000
        return simulate(markets, seconds, seed, start_ns, WARM_UP_S + after_s)

    def messages() -> Iterator[Message]:
        decoder = KrakenDecoder()
        for frame in frames():
            assert frame.ts_recv is not None, "a simulated frame has a time"
            yield frame.ts_recv, list(decoder.decode(frame))

    return Source(
        name=f"simulation, seed {seed}",
        venue="kraken",
        symbols=tuple(model.rules.symbol for model in markets),
        simulated=True,
        has_frames=True,
        frames=frames,
        messages=messages,
    )


def opening(items: Iterable[T]) -> Iterator[T]:
    """The first few of a stream; no more is read than is looked at."""
    return islice(items, OPENING)


def _messages_of(tape: Tape) -> Iterator[Message]:
    """The rows of a tape, put together again into the messages that they came in."""
    rows: list[Tick] = []
    start, stop = tape.first_seq, tape.first_seq + tape.rows
    for first in range(start, stop, _ROWS_AT_ONCE):
        table = tape.table(_COLUMNS, start_seq=first, stop_seq=min(first + _ROWS_AT_ONCE, stop))
        columns = [_column(name, table[name].to_pylist()) for name in _COLUMNS]
        for ts, *values in zip(*columns, strict=True):
            row = _tick(*values)
            rows.append(row)
            if row.flags & LAST_OF_MESSAGE:
                yield ts, rows
                rows = []


def _tick(
    kind: int,
    symbol: str | None,
    side: int,
    price: float,
    size: float,
    bid: float,
    bid_size: float,
    ask: float,
    ask_size: float,
    ts_event: int | None,
    flags: int,
    trade_id: str | None,
    note: str | None,
) -> Tick:
    """A tick of its fields in their order: several times as fast as through a dictionary."""
    return Tick(
        kind=kind,
        symbol=symbol,
        side=side,
        price=price,
        size=size,
        bid=bid,
        bid_size=bid_size,
        ask=ask,
        ask_size=ask_size,
        ts_event=ts_event,
        flags=flags,
        trade_id=trade_id,
        note=note,
    )


def _column(name: str, values: list[object]) -> list[object]:
    return [NAN if value is None else value for value in values] if name in _NUMBERS else values


class Said(msgspec.Struct, frozen=True):
    """One message of the venue, before it is known who listens.

    ts:       its place in the stream's time, ns.
    payload:  the recorded bytes, or None where it is built.
    news:     what it says, in the venue's own terms.
    """

    ts: int
    payload: bytes | None
    news: Sequence[object]


class Listener(Protocol):
    """What a venue keeps for one connection: its subscriptions, and what follows from them."""

    @property
    def is_listening(self) -> bool:
        """At least one subscription stands."""
        ...

    @property
    def is_complete(self) -> bool:
        """Nothing is left to ask for before the stream may begin."""
        ...

    def greeting(self) -> list[bytes]:
        """What the venue says unasked on connecting."""
        ...

    def request(self, payload: bytes, now_ns: int) -> list[bytes]:
        """The answers to a message of the client, snapshots included. Never raises for what a client sent."""
        ...

    def told(self, said: Said) -> list[bytes]:
        """The frames that this client gets of a message which the venue has just taken in."""
        ...

    def heartbeat(self) -> bytes | None:
        """What the venue sends when it has nothing else to say, or None."""
        ...


class Venue(Protocol):
    """A venue without its sockets: its protocol, and the market as the stream has told it so far.

    path:             where clients connect, for the printed address.
    ping_interval_s:  time between protocol pings, or None where the venue sends none.
    idle_s:           time after which a connection without subscription and requests is closed, or None.
    """

    path: str
    ping_interval_s: float | None
    idle_s: float | None

    def stream(self) -> Iterator[Said]:
        """Everything that the venue says, from the beginning; `hear` each of it before it is `told`."""
        ...

    def hear(self, said: Said) -> None:
        """Take in what is said: the market as it stands after it."""
        ...

    def listener(self, path: str, conn: int) -> Listener | None:
        """A new connection to `path`, or None where the venue has nothing at that path."""
        ...

    def http(self, path: str) -> tuple[int, bytes] | None:
        """Status and JSON body of a plain GET, or None where the venue has nothing at that path."""
        ...
