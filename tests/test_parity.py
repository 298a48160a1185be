"""What a session saw and did is what its tape gives again: real captures, every fault, every shipped strategy."""

from itertools import islice
from pathlib import Path

import pytest

from apps.importing import write_tape
from apps.ingredients import code_of
from apps.recording import Recording
from apps.serving import Source, simulated_source, tape_source
from apps.session import replay
from apps.verify import verify
from recorder.imports import frames, hftbacktest
from recorder.runs import read_manifest
from recorder.tape import Tape
from tests.commands import EAGER, REPOSITORY
from tests.sessions import a_venue, trade

RAISING = '''"""Fails in the middle of a session, with a position open."""

from engine import Signal

TRIGGER = "tick"


def generate_signal(data, config, state):
    """One order, and then it is over."""
    state["asked"] = state.get("asked", 0) + 1
    if state["asked"] == 250:
        raise ValueError("enough")
    return Signal("buy", data.symbol, 5.0) if state["asked"] == 60 else None
'''
SHIPPED = ("buy_and_hold", "ema_cross", "market_making", "mean_reversion", "order_flow")
SIMULATED = (
    "",
    "drop=0.01",
    "dup=0.01",
    "reorder=0.01",
    "garble=0.01",
    "checksum=0.02",
    "disconnect=400f",
    "stall=200ms",
    "half-open=600f",
    "disconnect=500f,drop=0.01,checksum=0.01,dup=0.01,reorder=0.01,garble=0.005",
)
KRAKEN = ("", "drop=0.02", "checksum=0.05", "disconnect=120f", "disconnect=200f,reorder=0.02,garble=0.01")
BINANCE = ("", "drop=0.003", "dup=0.01", "reorder=0.003", "garble=0.003", "disconnect=1800f", "half-open=3000f")


@pytest.fixture(scope="module")
def strategies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All that are shipped, one that trades whatever happens, and one that fails on the way."""
    folder = tmp_path_factory.mktemp("strategies")
    (folder / "eager.py").write_text(EAGER)
    (folder / "nervous.py").write_text(EAGER.replace('"trade"', '"tick"').replace('"every": 5', '"every": 20'))
    (folder / "raising.py").write_text(RAISING)
    return [REPOSITORY / "strategies" / f"{name}.py" for name in SHIPPED] + [folder]


@pytest.fixture(scope="module")
def kraken(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A book of Kraken's, and trades of another day."""
    names = ("v2_book10_btcusd_20260719T1754Z.jsonl", "v2_trades_btcusd_ethusd_20260926.jsonl")
    path = tmp_path_factory.mktemp("kraken") / "book.parquet"
    return tape_source(
        write_tape(frames([captures / "kraken" / name for name in names]), "kraken", path, source="test")
    )


@pytest.fixture(scope="module")
def binance(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The beginning of a day at Binance."""
    day = hftbacktest([captures / "binance_spot" / "btcusdt_20240809.gz"])
    path = tmp_path_factory.mktemp("binance") / "day.parquet"
    return tape_source(write_tape(islice(day, 6_000), "binance", path, source="test"))


def check(folder: Path, digest: str | None, *, events: int) -> None:
    """The tape of a session gives its digest: replayed as a run of its own, and compared event by event."""
    run, tape = folder / "run", Tape.open(folder / "tape")
    manifest = read_manifest(run)
    again = replay(tape, [str(folder / "tape")], *code_of(run, manifest), folder / "again")
    verdict = verify(run)

    assert verdict.first_difference is None
    assert verdict.digest == digest == again.digest == manifest.digest
    assert verdict.events == again.events >= events
    assert again.ticks == manifest.ticks == tape.rows


def session_of(source: Source, faults: str, folder: Path, strategies: list[Path], *, events: int = 30) -> None:
    with a_venue(source, faults, seed=len(faults)) as server:
        manifest = trade(server, folder, strategies, source.symbols)
    kinds = {part.partition("=")[0] for part in faults.split(",") if part}
    assert kinds <= set(server.served.faults), f"expected {kinds} to strike, found {server.served.faults}"
    check(folder, manifest.digest, events=events)


@pytest.mark.parametrize("faults", SIMULATED)
def test_a_simulated_session_replays_to_the_same_bytes(faults: str, tmp_path: Path, strategies: list[Path]) -> None:
    session_of(simulated_source(11, 60), faults, tmp_path, strategies)


@pytest.mark.parametrize("faults", KRAKEN)
def test_a_session_of_a_kraken_capture_replays_to_the_same_bytes(
    faults: str, kraken: Source, tmp_path: Path, strategies: list[Path]
) -> None:
    session_of(kraken, faults, tmp_path, strategies, events=12)


@pytest.mark.parametrize("faults", BINANCE)
def test_a_session_of_a_binance_capture_replays_to_the_same_bytes(
    faults: str, binance: Source, tmp_path: Path, strategies: list[Path]
) -> None:
    session_of(binance, faults, tmp_path, strategies)


@pytest.mark.parametrize("faults", ["", "disconnect=300f,checksum=0.02"])
def test_a_session_that_was_resumed_replays_to_the_same_bytes(
    faults: str, tmp_path: Path, strategies: list[Path]
) -> None:
    def enough(recording: Recording) -> bool:
        return recording.records > 900

    with a_venue(simulated_source(11, 60), faults) as server:
        trade(server, tmp_path, strategies, ["BTC/USD", "XRP/USD"], until=enough)
    with a_venue(simulated_source(11, 30, after_s=60), faults) as server:
        manifest = trade(server, tmp_path, [], [], resumes=True)

    check(tmp_path, manifest.digest, events=100)
