"""What the shipped strategies do on the sample tape, and the fixture that makes such tests two lines long."""

import subprocess
import sys
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from apps.importing import import_files
from apps.loader import load_strategy
from apps.problems import UserProblem
from apps.testing import FILLS_SHOWN, Replay, Replayed, replay_strategy
from engine.desk import Desk
from engine.events import OrderRejected, SignalRaised, SignalRejected, StrategyFailed
from engine.execution import ExecutionConfig
from engine.money import money
from tests.builders import BTC, ETH_BTC, SECOND, quote, replay, tape_of, trade

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = "data/sample.parquet"
SHIPPED = ("buy_and_hold", "ema_cross", "market_making", "mean_reversion", "order_flow")
TRADERS = tuple(name for name in SHIPPED if name != "buy_and_hold")


# -- a snapshot of each --------------------------------------------------------------------------------------


def test_buy_and_hold_trades_as_it_did(replayed: Replay, snapshot: SnapshotAssertion) -> None:
    assert replayed("strategies/buy_and_hold.py", SAMPLE) == snapshot


def test_ema_cross_trades_as_it_did(replayed: Replay, snapshot: SnapshotAssertion) -> None:
    assert replayed("strategies/ema_cross.py", SAMPLE) == snapshot


def test_market_making_trades_as_it_did(replayed: Replay, snapshot: SnapshotAssertion) -> None:
    assert replayed("strategies/market_making.py", SAMPLE) == snapshot


def test_mean_reversion_trades_as_it_did(replayed: Replay, snapshot: SnapshotAssertion) -> None:
    assert replayed("strategies/mean_reversion.py", SAMPLE) == snapshot


def test_order_flow_trades_as_it_did(replayed: Replay, snapshot: SnapshotAssertion) -> None:
    assert replayed("strategies/order_flow.py", SAMPLE) == snapshot


# -- what holds for all of them ------------------------------------------------------------------------------


def test_every_shipped_strategy_is_tested_here() -> None:
    assert set(SHIPPED) <= {path.stem for path in (ROOT / "strategies").glob("*.py")}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_strategy_asks_for_nothing_that_must_be_refused(name: str, replayed: Replay) -> None:
    did = replayed(f"strategies/{name}.py", SAMPLE)

    refused = [event for event in did.events if isinstance(event, SignalRejected)]
    assert (did.result["status"], refused) == ("ok", [])


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_strategy_says_why_and_shows_its_indicators(name: str, replayed: Replay) -> None:
    raised = [event for event in replayed(f"strategies/{name}.py", SAMPLE).events if isinstance(event, SignalRaised)]

    assert raised
    assert all(any(map(str.isdigit, signal.reason)) and signal.indicators for signal in raised)


def test_buy_and_hold_splits_its_money_over_the_symbols_and_never_trades_again(replayed: Replay) -> None:
    did = replayed("strategies/buy_and_hold.py", SAMPLE)

    assert [fill["symbol"] for fill in did.fills] == ["BTC/USD", "XRP/USD"]
    assert [float(fill["quantity"] * fill["price"]) for fill in did.fills] == pytest.approx([50, 50], abs=0.5)
    assert 0 <= did.balances.get("USD", 0) < 1


def test_buy_and_hold_leaves_what_its_money_cannot_buy() -> None:
    desk = a_shipped_desk("buy_and_hold")
    tape = tape_of(*(quote(second * SECOND, 9, 11, symbol) for second in range(30) for symbol in (BTC, ETH_BTC)))

    replay([desk], tape)

    assert list(desk.portfolio.positions) == [BTC]


def test_market_making_never_takes_liquidity(replayed: Replay) -> None:
    did = replayed("strategies/market_making.py", SAMPLE)

    assert {fill["liquidity"] for fill in did.fills} == {"maker"}
    assert {event.reason for event in did.events if isinstance(event, OrderRejected)} <= {"would take liquidity"}


def test_market_making_never_holds_more_than_its_inventory(replayed: Replay) -> None:
    did = replayed("strategies/market_making.py", SAMPLE, inventory=40.0)

    assert max(abs(fill["cost"]) for fill in did.fills) <= 40


def test_an_indicator_forgets_what_it_no_longer_needs() -> None:
    desk = a_shipped_desk("ema_cross")
    tape = tape_of(*(trade(second * SECOND, 100 + second % 7) for second in range(2_000)))

    replay([desk], tape)

    assert [len(average) <= 10 * average.period for average in desk.state["averages"][BTC]] == [True, True]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_feed_without_quotes_or_sizes_breaks_no_shipped_strategy(name: str) -> None:
    tape = tape_of(*(trade(second * SECOND, 100 + second % 7, size=0.0) for second in range(200)))

    events = replay([a_shipped_desk(name)], tape)

    assert [event for event in events if isinstance(event, StrategyFailed)] == []


def a_shipped_desk(name: str) -> Desk:
    """A shipped strategy with $100 and the usual costs, for a feed of the test's own."""
    strategy = load_strategy(ROOT / "strategies" / f"{name}.py").strategy
    return Desk(strategy, cash=money("100"), currency="USD", execution=ExecutionConfig())


@pytest.fixture(scope="module")
def binance(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five real minutes of BTC/USDT as a tape."""
    tape = tmp_path_factory.mktemp("binance") / "btc.parquet"
    import_files("hftbacktest", "binance", [captures / "binance_spot" / "btcusdt_20240808.gz"], tape)
    return tape


@pytest.mark.parametrize("name", TRADERS)
def test_a_shipped_strategy_trades_a_real_market_and_keeps_most_of_its_money(name: str, binance: Path) -> None:
    did = replay_strategy(ROOT / "strategies" / f"{name}.py", binance)

    assert did.result["status"] == "ok"
    assert did.result["fills"] >= 2
    assert did.result["equity"] > 95


# -- the fixture ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ema_cross() -> Replayed:
    return replay_strategy(ROOT / "strategies" / "ema_cross.py", ROOT / SAMPLE)


def test_the_same_strategy_on_the_same_tape_gives_the_same_text(ema_cross: Replayed, replayed: Replay) -> None:
    assert repr(replayed("strategies/ema_cross.py", SAMPLE)) == repr(ema_cross)


def test_changing_one_number_of_its_config_changes_the_text(ema_cross: Replayed, replayed: Replay) -> None:
    changed = replayed("strategies/ema_cross.py", SAMPLE, slow=19)

    assert changed.digest != ema_cross.digest
    assert repr(changed) != repr(ema_cross)


def test_a_size_given_as_a_whole_number_means_the_same_as_with_a_point(ema_cross: Replayed, replayed: Replay) -> None:
    assert replayed("strategies/ema_cross.py", SAMPLE, size=20).digest == ema_cross.digest


def test_relative_paths_count_from_the_root_folder_wherever_pytest_was_started(
    replayed: Replay, ema_cross: Replayed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    assert replayed("strategies/ema_cross.py", SAMPLE).digest == ema_cross.digest


def test_a_config_file_in_the_working_folder_does_not_change_what_a_test_sees(
    ema_cross: Replayed, replayed: Replay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wspt.toml").write_text("capital = 5\n")
    monkeypatch.chdir(tmp_path)

    assert replayed("strategies/ema_cross.py", SAMPLE).digest == ema_cross.digest


def test_a_parameter_that_the_strategy_does_not_have_is_refused(replayed: Replay) -> None:
    with pytest.raises(UserProblem, match="did you mean 'slow'"):
        replayed("strategies/ema_cross.py", SAMPLE, slwo=19)


def test_fills_beyond_those_shown_are_counted_and_named_by_a_digest(replayed: Replay) -> None:
    did = replayed("strategies/market_making.py", SAMPLE)

    [*_, last] = repr(did).splitlines()
    assert last.startswith(f"... and {len(did.fills) - FILLS_SHOWN} more fills, together ")


def test_loading_the_plugin_loads_nothing_that_a_run_needs() -> None:
    source = "import sys, apps.testing; print(sorted({'duckdb', 'pyarrow', 'engine', 'recorder'} & set(sys.modules)))"

    answer = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=ROOT)

    assert answer.stdout == "[]\n"


def test_a_strategy_that_never_trades_says_so(tmp_path: Path) -> None:
    quiet = tmp_path / "quiet.py"
    quiet.write_text("def generate_signal(data):\n    return None\n")

    did = replay_strategy(quiet, ROOT / SAMPLE)

    assert repr(did).endswith("\n\nno fills")
    assert (did.result["pnl"], did.fills) == (0, [])


def test_a_strategy_that_fails_says_where(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def generate_signal(data):\n    return 1 / 0\n")

    assert repr(replay_strategy(broken, ROOT / SAMPLE)).startswith("broken: failed: ZeroDivisionError at broken.py:2")
