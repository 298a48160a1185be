"""Strategies over the batches of a tape, and their facts into a ledger: what every way to run them shares."""

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from apps.config import RunConfig
from apps.containment import contained
from apps.loader import StrategyFile
from apps.problems import UserProblem, in_one_line
from engine.desk import Desk
from engine.digest import Chain, canonical_lines
from engine.engine import Engine
from engine.events import Event
from engine.ticks import Symbols, TickBatch
from recorder.ledger import LedgerWriter
from recorder.logs import LogWriter
from recorder.runs import LEDGER
from recorder.tape import ROW_GROUP, Tape

Progress = Callable[[int], None]
"""Told how many ticks have been processed since the last call."""
Stop = Callable[[], bool]
"""Asked between batches whether to end the run here."""
_TOLD_MAX = 500
"""Characters of a strategy's failure that are shown: what it raises may hold anything."""


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a tape that a run covers: half open, by `ts_recv` in ns and by seq; None is the tape's own end."""

    from_ns: int | None = None
    to_ns: int | None = None
    stop_seq: int | None = None


class Outcome(msgspec.Struct, kw_only=True):
    """What came of running some desks over a tape.

    digests:   of each desk's history.
    stop_seq:  the seq after the last tick that was processed.
    seconds:   from the first batch to the sealed ledger.
    """

    digests: dict[str, str]
    segments: list[str]
    ticks: int
    events: int
    first_seq: int
    stop_seq: int
    seconds: float


def run_desks(
    tape: Tape,
    strategies: Sequence[StrategyFile],
    config: RunConfig,
    run: Path,
    *,
    part: Range,
    batches: Iterator[TickBatch] | None = None,
    first_segment: int = 0,
    with_logs: bool = False,
    progress: Progress = lambda ticks: None,
    should_stop: Stop = lambda: False,
) -> Outcome:
    """Source, engine, ledger. Live and replay differ in the source of batches alone."""
    started = time.perf_counter()
    gc.freeze()  # what start-up left behind need not be looked through during the run
    engine = Engine(desks_of(strategies, config), opens_at=part.from_ns)
    history = History([file.strategy.name for file in strategies])
    first_seq: int | None = None
    logs = LogWriter(run) if with_logs else None
    with LedgerWriter(run / LEDGER, first_segment) as ledger:
        for batch in batches or batches_of(tape, part):
            before = engine.ticks
            with contained():
                events = engine.process(batch)
            if first_seq is None and engine.ticks:
                first_seq = batch.first_seq
            _keep(events, history, ledger, logs)
            progress(engine.ticks - before)
            if should_stop():
                break
        with contained():
            events = engine.finish()
        _keep(events, history, ledger, logs)
        segments = ledger.close()
    if logs is not None:
        logs.close()
    if first_seq is None:
        if should_stop():
            raise UserProblem("expected to get to the first tick of the run, found that it was stopped before")
        raise UserProblem("expected ticks between --from and --to, found none")
    return Outcome(
        digests=history.digests(),
        segments=segments,
        ticks=engine.ticks,
        events=history.events,
        first_seq=first_seq,
        stop_seq=first_seq + engine.ticks,
        seconds=time.perf_counter() - started,
    )


class History:
    """The hash chains of the desks of one process."""

    def __init__(self, names: Sequence[str]) -> None:
        self.events = 0
        self._chains = {name: Chain() for name in names}

    def extend(self, name: str, events: Sequence[Event]) -> bytes:
        """Further events of one desk; their canonical lines, which the digest is made of."""
        lines = canonical_lines(events)
        self.events += len(events)
        self._chains[name].update(lines)
        return lines

    def digests(self) -> dict[str, str]:
        """The digest of each desk's history so far, by its name."""
        return {name: chain.hexdigest() for name, chain in self._chains.items()}

    def split(self, events: Sequence[Event]) -> dict[str, list[Event]]:
        """The events by desk, each desk's in order."""
        if len(self._chains) == 1:
            return {name: list(events) for name in self._chains}
        desks: dict[str, list[Event]] = {}
        for event in events:
            desks.setdefault(event.strategy, []).append(event)
        return desks


def _keep(events: Sequence[Event], history: History, ledger: LedgerWriter, logs: LogWriter | None) -> None:
    if not events:
        return
    for name, own in history.split(events).items():
        history.extend(name, own)
        if logs is not None:
            logs.append(name, own)
    ledger.append(events)


def desks_of(strategies: Sequence[StrategyFile], config: RunConfig) -> list[Desk]:
    """A new desk for each strategy, with the run's money and its own settings."""
    return [
        Desk(
            msgspec.structs.replace(file.strategy, config=config.desks[file.strategy.name].config),
            cash=config.capital,
            currency=config.currency,
            execution=config.desks[file.strategy.name].execution,
            risk=config.desks[file.strategy.name].risk,
            on_failure=_tell,
        )
        for file in strategies
    ]


def _tell(failure: str) -> None:
    """Why a strategy failed, on stderr: the ledger keeps where and what kind, but no text that could differ."""
    text = in_one_line(" ".join(failure.split()))
    print(f"strategy failed: {text if len(text) <= _TOLD_MAX else text[:_TOLD_MAX] + ' ...'}", file=sys.stderr)


def batches_of(
    tape: Tape, part: Range, symbols: Symbols | None = None, *, rows: int = ROW_GROUP
) -> Iterator[TickBatch]:
    """The batches of a part of a tape; `rows` and `symbols` as in `Tape.batches`.

    Those from before it come first, for an engine that opens at its beginning: what the market is then - books, lot
    rules, candles - was said before.
    """
    symbols = symbols or Symbols()
    if part.from_ns is not None:
        yield from tape.batches(stop_seq=part.stop_seq, to_ns=part.from_ns, symbols=symbols)
    yield from tape.batches(rows, stop_seq=part.stop_seq, from_ns=part.from_ns, to_ns=part.to_ns, symbols=symbols)
