"""The pytest fixture that makes a regression test of a strategy two lines long.

Pytest finds it by itself wherever wspt is installed. With syrupy's `snapshot`:

    def test_breakout_trades_as_it_did(replayed, snapshot):
        assert replayed("strategies/breakout.py", "data/sample.parquet") == snapshot

The first `pytest --snapshot-update` writes down what the strategy does; from then on a change of its fills, costs or
reasons fails the test and shows as a diff. Outside of pytest, `replay_strategy` gives the same answer.
"""

import gc
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from engine.events import Event

# Every pytest run in the environment loads this module, so what it drives is imported where it is used.
# ruff: noqa: PLC0415

FILLS_SHOWN = 40
"""Fills that the text lists; of those that follow it gives the number and a digest."""
_SHOWN = Decimal("0.0001")
_COLUMNS = ("time", "symbol", "side", "quantity", "price", "fee", "liquidity", "realized", "reason")
_LEFT = ("time", "symbol", "side", "liquidity", "reason")


class Replayed:
    """What a strategy did on a tape. Its repr is the text to review; equal texts mean equal histories.

    name:      of the strategy.
    digest:    of its whole ledger, the one `wspt replay` and `wspt verify` print for this strategy alone.
    result:    its row of the leaderboard: equity, pnl, fees, fills, round_trips, status and so on.
    fills:     rows of the view `fills`, oldest first, money as Decimal.
    balances:  units by asset at the end, negative where owed.
    events:    the ledger.
    """

    def __init__(
        self,
        *,
        name: str,
        digest: str,
        result: Mapping[str, Any],
        fills: Sequence[Mapping[str, Any]],
        balances: Mapping[str, Decimal],
        events: "Sequence[Event]",
    ) -> None:
        self.name = name
        self.digest = digest
        self.result = result
        self.fills = fills
        self.balances = balances
        self.events = events

    def __repr__(self) -> str:
        return "\n".join((*self._summary(), "", *self._table()))

    def _summary(self) -> Iterable[str]:
        result = self.result
        equity = "unknown" if result["equity"] is None else f"{_rounded(result['equity'])} ({result['pnl']:+.4f})"
        yield f"{self.name}: {result['status']}"
        yield f"equity    {equity}, fees {_rounded(result['fees'])}"
        yield f"balances  {', '.join(f'{_exact(amount)} {asset}' for asset, amount in sorted(self.balances.items()))}"
        yield (
            f"activity  {result['signals']} signals ({result['rejected']} rejected), {result['fills']} fills, "
            f"{result['round_trips']} round trips"
        )
        yield f"digest    {self.digest}"

    def _table(self) -> Iterable[str]:
        if not self.fills:
            yield "no fills"
            return
        yield from _aligned([_COLUMNS, *map(_cells, self.fills[:FILLS_SHOWN])])
        rest = self.fills[FILLS_SHOWN:]
        if rest:
            yield f"... and {len(rest)} more fills, together {_fingerprint(rest)}"


def replay_strategy(strategy: str | Path, tape: str | Path, /, **config: Any) -> Replayed:
    """Replay one strategy file over a tape, with $100, and say what it did.

    strategy, tape:  paths, relative ones to the working directory.
    config:          values in place of those in the strategy's CONFIG.

    The run is a real one, in a folder that is gone afterwards: session, engine, ledger and SQL are those of `wspt
    replay`, but wspt.toml is not read. A test should not depend on it. Raises UserProblem for a strategy, a tape or
    a parameter that `wspt replay` would refuse.
    """
    from apps.config import settle
    from apps.config_file import ConfigFile, StrategyFileConfig
    from apps.loader import load_strategy
    from apps.session import replay
    from recorder.tape import Tape

    file, source = load_strategy(Path(strategy)), Tape.open(tape)
    settings = settle(
        ConfigFile(strategies={file.strategy.name: StrategyFileConfig(config=config)}),
        [file],
        source.venue,
        source.symbols,
    )
    with TemporaryDirectory(prefix="wspt-") as folder:
        run = Path(folder) / "run"
        replay(source, [str(path.resolve()) for path in source.paths], [file], settings, run, jobs=1)
        gc.unfreeze()  # a run looks for no garbage in what was there before it; what goes on after it should
        return _answer(run, file.strategy.name)


class Replay(Protocol):
    """The fixture `replayed`: a strategy file, a tape, and values for its CONFIG."""

    def __call__(self, strategy: str | Path, tape: str | Path, /, **config: Any) -> Replayed: ...


@pytest.fixture
def replayed(pytestconfig: pytest.Config) -> Replay:
    """`replay_strategy`, with relative paths taken from pytest's root folder, wherever pytest was started."""

    def replay(strategy: str | Path, tape: str | Path, /, **config: Any) -> Replayed:
        return replay_strategy(pytestconfig.rootpath / strategy, pytestconfig.rootpath / tape, **config)

    return replay


def _answer(run: Path, name: str) -> Replayed:
    """What the run's ledger says of its only strategy."""
    from apps.queries import open_run, table
    from engine.portfolio import Portfolio
    from recorder.ledger import read_events
    from recorder.runs import read_manifest, segment_paths

    manifest = read_manifest(run)
    events = read_events(segment_paths(run, manifest))[name]
    portfolio = Portfolio()
    for event in events:
        portfolio.apply(event)

    with open_run(run, manifest) as connection:
        [result] = _rows(*table(connection, "FROM leaderboard"))
        fills = _rows(*table(connection, "FROM fills ORDER BY seq"))
    return Replayed(
        name=name,
        digest=manifest.digests[name],
        result=result,
        fills=fills,
        balances={asset: amount for asset, amount in portfolio.balances.items() if amount},
        events=events,
    )


def _rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in rows]


# -- the text ----------------------------------------------------------------------------------------------


def _cells(fill: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        _clock(fill["ts"]),
        fill["symbol"],
        fill["side"],
        _exact(fill["quantity"]),
        _exact(fill["price"]),
        _rounded(fill["fee"]),
        fill["liquidity"],
        _rounded(fill["realized"]),
        fill["reason"] or "",
    )


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.ljust(width) if name in _LEFT else cell.rjust(width)
            for name, cell, width in zip(_COLUMNS, row, widths, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _clock(ts: int) -> str:
    """The time of day in UTC, cut to milliseconds: the date would repeat in every line."""
    seconds, ns = divmod(ts, 1_000_000_000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours % 24:02}:{minute:02}:{second:02}.{ns // 1_000_000:03}"


def _exact(amount: Decimal) -> str:
    """Every decimal that is there, and no zeros behind them."""
    return f"{amount.normalize():f}"


def _rounded(amount: Decimal) -> str:
    return f"{amount.quantize(_SHOWN):f}"


def _fingerprint(fills: Iterable[Mapping[str, Any]]) -> str:
    """A short name for these fills, money to the last digit."""
    text = "\n".join(" ".join(f"{fill[name]}" for name in ("ts", *_COLUMNS[1:])) for fill in fills)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
