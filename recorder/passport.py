"""The quality passport: what a tape holds and how well it was recorded, counted while it is written."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from engine.ticks import KIND_NAMES, Kind
from recorder.venues import Quality

BUCKET_BITS = 6
"""Leading bits of the mantissa that tell two skews apart: 64 buckets an octave, at most 0.8 % from the truth."""

RECEIVED = "received"
"""`Passport.time_source` where `ts_recv` is what the recorder's clock said."""

_ZERO_NS = 10_000
"""Skews smaller than this share one bucket; clocks over a network do not agree to 10 us."""

_SHIFT = 52 - BUCKET_BITS
_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000


class Skew(msgspec.Struct, frozen=True, kw_only=True):
    """How long after the venue's own time a row was received, over the rows that have both times.

    p50, p99:  ms, from the buckets: within 0.8 % or 0.01 ms. Negative where our clock was behind the venue's.
    max:       ms, exact.
    buckets:   bucket number to rows, rising. Buckets are exact counts, so passports of parts add up to the
               passport of the whole, whatever the cut.
    """

    p50: float
    p99: float
    max: float
    buckets: dict[int, int]


class Passport(msgspec.Struct, frozen=True, kw_only=True):
    """What is on a tape and what went wrong on the way to it.

    kinds:            rows by name of their kind; every kind has an entry.
    symbols:          in the order of their first row.
    start, end:       `ts_recv` of the first and the last row, ns; None on an empty tape.
    feed_events:      feed rows by their event, in alphabetical order.
    gaps ... rejected: the decoder's counts, see `Quality`.
    connects:         connections that replaced none.
    reconnects:       connections that followed the loss of another.
    disconnects:      connections that ended and were not replaced.
    clock_reversals:  times that the clock of receipt stepped back; such rows carry the latest time before them.
    time_source:      `received`, or where else `ts_recv` was taken from.
    longest_silence_s: longest time between two rows that the venue sent; our own clock and connection rows do
                      not break a silence.
    first_heard, last_heard: `ts_recv` of the first and the last row that the venue sent, ns.
    """

    rows: int = 0
    frames: int = 0
    kinds: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(KIND_NAMES, 0))
    symbols: list[str] = []
    start: int | None = None
    end: int | None = None
    feed_events: dict[str, int] = {}
    gaps: int = 0
    checksum_ok: int = 0
    checksum_failed: int = 0
    crossed: int = 0
    duplicates: int = 0
    rejected: int = 0
    unparsed: int = 0
    connects: int = 0
    reconnects: int = 0
    disconnects: int = 0
    clock_reversals: int = 0
    time_source: str = RECEIVED
    skew_ms: Skew | None = None
    longest_silence_s: float = 0.0
    first_heard: int | None = None
    last_heard: int | None = None


class PassportCollector:
    """Counts the rows of one tape, a group of columns at a time."""

    def __init__(self) -> None:
        self._kinds = np.zeros(len(KIND_NAMES), dtype=np.int64)
        self._frames = 0
        self._symbols: dict[str, None] = {}
        self._start: int | None = None
        self._end: int | None = None
        self._events: Counter[str] = Counter()
        self._connects = self._reconnects = self._lost = 0
        self._skews: Counter[int] = Counter()
        self._skew_max_ns: int | None = None
        self._silence_ns = 0
        self._first_heard: int | None = None
        self._last_heard: int | None = None

    def see(
        self,
        *,
        ts_recv: npt.NDArray[np.int64],
        skew_ns: npt.NDArray[np.int64],
        kind: npt.NDArray[np.int8],
        framed: npt.NDArray[np.bool_],
        symbols: Sequence[str],
        notes: Sequence[str],
    ) -> None:
        """Count the next rows, at least one, in their order.

        skew_ns:  `ts_recv - ts_event` of the rows that have both.
        framed:   true on the first row of each frame.
        symbols:  the names that occur, in the order of their first row.
        notes:    the notes of the feed rows, in the order of the rows.
        """
        self._start = int(ts_recv[0]) if self._start is None else self._start
        self._end = int(ts_recv[-1])
        self._kinds += np.bincount(kind, minlength=len(KIND_NAMES))
        self._frames += int(np.count_nonzero(framed))
        self._symbols.update(dict.fromkeys(symbols))
        for note in notes:
            self._see_event(_event_of(note))
        if len(skew_ns):
            self._see_skew(skew_ns)
        heard = ts_recv[framed | (kind != Kind.FEED)]
        if len(heard):
            self._see_silence(heard)

    def passport(self, quality: Quality, *, clock_reversals: int, time_source: str) -> Passport:
        """The passport of all rows seen, with what the decoder counted."""
        return Passport(
            rows=int(self._kinds.sum()),
            frames=self._frames,
            kinds=dict(zip(KIND_NAMES, self._kinds.tolist(), strict=True)),
            symbols=list(self._symbols),
            start=self._start,
            end=self._end,
            feed_events=dict(sorted(self._events.items())),
            connects=self._connects,
            reconnects=self._reconnects,
            disconnects=self._lost,
            clock_reversals=clock_reversals,
            time_source=time_source,
            skew_ms=_skew(self._skews, self._skew_max_ns),
            longest_silence_s=self._silence_ns / _NS_PER_S,
            first_heard=self._first_heard,
            last_heard=self._last_heard,
            **msgspec.structs.asdict(quality),
        )

    def _see_event(self, event: str) -> None:
        self._events[event] += 1
        if event == "disconnected":
            self._lost += 1
        elif event == "connected" and self._lost:
            self._lost -= 1
            self._reconnects += 1
        elif event == "connected":
            self._connects += 1

    def _see_skew(self, skew_ns: npt.NDArray[np.int64]) -> None:
        latest = int(skew_ns.max())
        self._skew_max_ns = latest if self._skew_max_ns is None else max(latest, self._skew_max_ns)
        buckets, rows = np.unique(_buckets(skew_ns), return_counts=True)
        self._skews.update(dict(zip(buckets.tolist(), rows.tolist(), strict=True)))

    def _see_silence(self, heard: npt.NDArray[np.int64]) -> None:
        first = int(heard[0])
        self._first_heard = first if self._first_heard is None else self._first_heard
        since_last = 0 if self._last_heard is None else first - self._last_heard
        within = int(np.diff(heard).max(initial=0))
        self._silence_ns = max(self._silence_ns, since_last, within)
        self._last_heard = int(heard[-1])


def merge(passports: Sequence[Passport]) -> Passport:
    """The passport of a tape in parts, from the passports of its parts, at least one, in their order."""
    connects, reconnects, lost = _merged_connections(passports)
    buckets: Counter[int] = Counter()
    for part in passports:
        buckets.update(part.skew_ms.buckets if part.skew_ms else {})
    skew_max_ns = max((round(part.skew_ms.max * _NS_PER_MS) for part in passports if part.skew_ms), default=None)
    return Passport(
        rows=sum(part.rows for part in passports),
        frames=sum(part.frames for part in passports),
        kinds=_added(part.kinds for part in passports),
        symbols=list(dict.fromkeys(name for part in passports for name in part.symbols)),
        start=next((part.start for part in passports if part.start is not None), None),
        end=next((part.end for part in reversed(passports) if part.end is not None), None),
        feed_events=dict(sorted(_added(part.feed_events for part in passports).items())),
        connects=connects,
        reconnects=reconnects,
        disconnects=lost,
        clock_reversals=sum(part.clock_reversals for part in passports),
        time_source="; ".join(dict.fromkeys(part.time_source for part in passports)),
        skew_ms=_skew(buckets, skew_max_ns),
        longest_silence_s=_merged_silence_s(passports),
        first_heard=next((part.first_heard for part in passports if part.first_heard is not None), None),
        last_heard=next((part.last_heard for part in reversed(passports) if part.last_heard is not None), None),
        **{name: sum(getattr(part, name) for part in passports) for name in Quality.__struct_fields__},
    )


def _merged_connections(passports: Sequence[Passport]) -> tuple[int, int, int]:
    """Connects, reconnects and unanswered losses of the whole: a part's first connections answer earlier losses."""
    connects = reconnects = lost = 0
    for part in passports:
        answered = min(lost, part.connects)
        connects += part.connects - answered
        reconnects += part.reconnects + answered
        lost += part.disconnects - answered
    return connects, reconnects, lost


def _merged_silence_s(passports: Sequence[Passport]) -> float:
    longest_s = max(part.longest_silence_s for part in passports)
    last_heard: int | None = None
    for part in passports:
        if part.first_heard is None:
            continue
        if last_heard is not None:
            longest_s = max(longest_s, (part.first_heard - last_heard) / _NS_PER_S)
        last_heard = part.last_heard
    return longest_s


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in counts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


class _Event(msgspec.Struct):
    event: str


def _event_of(note: str) -> str:
    """The event that a feed row's note names; `unnamed` where it names none."""
    try:
        return msgspec.json.decode(note, type=_Event).event
    except msgspec.MsgspecError:
        return "unnamed"


def _buckets(skew_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A bucket number for each skew, growing with it.

    The bits of a positive double rise with its value, so its leading bits are a logarithmic scale.
    """
    magnitude = np.abs(skew_ns).astype(np.float64)
    bucket = magnitude.view(np.int64) >> _SHIFT
    return np.where(magnitude < _ZERO_NS, 0, np.where(skew_ns < 0, -bucket, bucket))


def _bucket_ms(bucket: int) -> float:
    """The middle of a bucket, in ms."""
    if bucket == 0:
        return 0.0
    edges = np.array([abs(bucket) << _SHIFT, (abs(bucket) + 1) << _SHIFT], dtype=np.int64).view(np.float64)
    middle = float(edges.mean()) / _NS_PER_MS
    return middle if bucket > 0 else -middle


def _skew(buckets: Mapping[int, int], max_ns: int | None) -> Skew | None:
    if max_ns is None:
        return None
    rising = dict(sorted(buckets.items()))
    max_ms = max_ns / _NS_PER_MS
    return Skew(
        p50=min(_bucket_ms(_quantile(rising, 50)), max_ms),
        p99=min(_bucket_ms(_quantile(rising, 99)), max_ms),
        max=max_ms,
        buckets=rising,
    )


def _quantile(rising: Mapping[int, int], percent: int) -> int:
    """The bucket below or in which `percent` of the rows are; `rising` has at least one row."""
    below = -(-sum(rising.values()) * percent // 100)
    seen = 0
    for bucket, rows in rising.items():
        seen += rows
        if seen >= below:
            return bucket
    raise AssertionError("the buckets hold all of their rows")
