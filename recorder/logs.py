"""A run's logs: the ledger told as JSON Lines, for people, grep and whatever reads logs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import msgspec

from engine.events import Event, OrderFilled, SignalRaised

_ENCODER = msgspec.json.Encoder(decimal_format="string")


SIGNALS_KEPT = 4_000
"""Signals that a fill may still come of. One of an older signal is logged without its reason; the ledger has it."""


class _Said(NamedTuple):
    """What a signal said that its fills are logged with."""

    reason: str = ""
    metadata: str | None = None
    indicators: str | None = None


_UNSAID = _Said()


class LogWriter:
    """Appends events to a run's logs, one object a line.

    logs/strategies/NAME.jsonl  every event of that desk.
    logs/trades.jsonl           every fill, with the reason, the metadata and the indicators of its signal.

    Times are ns UTC, money is text with twelve decimals; a field at its default is left out of a strategy's log.
    `tick_seq` and `correlation_id` stand on every line, null where there is none. Strict JSON: a number which is not
    finite becomes null.

    folder:  the run.
    """

    def __init__(self, folder: Path) -> None:
        self._strategies = folder / "logs" / "strategies"
        self._strategies.mkdir(parents=True, exist_ok=True)
        self._trades = (folder / "logs" / "trades.jsonl").open("ab")
        self._desks: dict[str, IO[bytes]] = {}
        self._signals: dict[tuple[str, str], _Said] = {}  # oldest first, and only so many

    def append(self, strategy: str, events: Sequence[Event]) -> None:
        """Further events of one desk, in the order of their `seq`."""
        if not events:
            return
        self._desk(strategy).write(b"".join(map(_line, events)))
        self._trades.write(_ENCODER.encode_lines(list(self._fills(events))))

    def flush(self) -> None:
        """Let whoever reads the logs see what has been appended."""
        for stream in (self._trades, *self._desks.values()):
            stream.flush()

    def close(self) -> None:
        """Finish; without effect the second time."""
        for stream in (self._trades, *self._desks.values()):
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _desk(self, strategy: str) -> IO[bytes]:
        if strategy not in self._desks:
            self._desks[strategy] = (self._strategies / f"{strategy}.jsonl").open("ab")
        return self._desks[strategy]

    def _fills(self, events: Iterable[Event]) -> Iterable[dict[str, Any]]:
        for event in events:
            match event:
                case SignalRaised(action="cancel"):
                    pass  # no fill comes of it
                case SignalRaised():
                    said = _Said(event.reason, event.metadata, event.indicators)
                    self._signals[event.strategy, event.correlation_id] = said
                    if len(self._signals) > SIGNALS_KEPT:
                        del self._signals[next(iter(self._signals))]
                case OrderFilled():
                    yield _trade(event, self._signals.get((event.strategy, event.correlation_id), _UNSAID))
                case _:
                    pass


def write_logs(folder: Path, desks: Mapping[str, Sequence[Event]]) -> None:
    """The logs of a whole run at once, in place of what is there; `desks` holds each desk's events by its name."""
    for stream in [folder / "logs" / "trades.jsonl", *(folder / "logs" / "strategies").glob("*.jsonl")]:
        stream.unlink(missing_ok=True)
    with LogWriter(folder) as logs:
        for strategy in sorted(desks):
            logs.append(strategy, desks[strategy])


def _line(event: Event) -> bytes:
    line = _ENCODER.encode(event)
    if getattr(event, "correlation_id", None) is None:
        return line[:-1] + b',"correlation_id":null}\n'
    return line + b"\n"


def _trade(fill: OrderFilled, signal: _Said) -> dict[str, Any]:
    """A fill as its line; its values are those of JSON."""
    known = msgspec.structs.asdict(fill)
    return known | {
        "reason": signal.reason,
        "metadata": _json(signal.metadata),
        "indicators": _json(signal.indicators),
    }


def _json(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())
