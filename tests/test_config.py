"""What a run runs with: the strategies' CONFIG, wspt.toml and --set, and what is wrong with them."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from apps.config import RunConfig, as_json, currency_of, from_json, settle
from apps.config_file import ConfigFile, ExecutionFile, InstrumentFile, RiskFile, lines_of, read_config
from apps.loader import StrategyFile
from apps.problems import UserProblem
from engine.execution import Instrument
from engine.money import money
from engine.risk import NO_LIMITS, RiskLimits
from engine.signals import Strategy, Trigger

SYMBOLS = ("BTC/USD", "XRP/USD")

Toml = Callable[[str], ConfigFile]


def a_file(name: str = "dip", risk: dict[str, Any] | None = None, **config: Any) -> StrategyFile:
    """A strategy of this name and CONFIG that does nothing."""
    strategy = Strategy(
        name=name, version="0", symbols=None, config=config, trigger=Trigger("tick"), generate_signal=lambda data: None
    )
    return StrategyFile(strategy=strategy, path=Path(f"{name}.py"), source=b"", risk=risk or {})


def settled(
    file: ConfigFile | None = None, strategies: Sequence[StrategyFile] = (), venue: str = "kraken", **rest: Any
) -> RunConfig:
    return settle(file or ConfigFile(), strategies or [a_file()], venue, SYMBOLS, **rest)


def configured(*overrides: str, **config: Any) -> dict[str, Any]:
    """The CONFIG of a strategy `dip` after these --set."""
    return settled(strategies=[a_file(**config)], overrides=overrides).desks["dip"].config


@pytest.fixture
def toml(tmp_path: Path) -> Toml:
    """Reads a wspt.toml of this text."""

    def read(text: str) -> ConfigFile:
        path = tmp_path / "wspt.toml"
        path.write_text(text, encoding="utf-8")
        return read_config(path)

    return read


# -- without being told anything -----------------------------------------------------------------------------


def test_every_desk_starts_with_a_hundred() -> None:
    assert settled().capital == Decimal(100)


@pytest.mark.parametrize(("venue", "fee_in"), [("kraken", "quote"), ("binance", "received"), ("some_table", "quote")])
def test_fees_are_paid_in_what_the_venue_takes_them_in(venue: str, fee_in: str) -> None:
    assert settled(venue=venue).desks["dip"].execution.fee_in == fee_in


@pytest.mark.parametrize(
    ("venue", "maker", "taker"), [("kraken", "25", "40"), ("binance", "10", "10"), ("some_table", "10", "10")]
)
def test_fees_are_those_the_venue_publishes(venue: str, maker: str, taker: str) -> None:
    execution = settled(venue=venue).desks["dip"].execution

    assert (execution.maker_bps, execution.taker_bps) == (Decimal(maker), Decimal(taker))


@pytest.mark.parametrize(
    ("symbols", "currency"),
    [
        (["BTC/USD", "XRP/BTC"], "USD"),
        (["BTC/USDT"], "USDT"),
        (["BTC/EUR", "BTC/USDC"], "USDC"),
        (["XRP/ETH", "XRP/BTC"], "BTC"),
        ([], "USD"),
    ],
)
def test_the_currency_follows_from_the_symbols_whatever_their_order(symbols: list[str], currency: str) -> None:
    assert currency_of(symbols) == currency_of(symbols[::-1]) == currency


def test_the_config_of_a_strategy_is_not_changed_by_that_of_a_run() -> None:
    file = a_file(size=20.0)

    settled(strategies=[file], overrides=["dip.size=5"])

    assert file.strategy.config == {"size": 20.0}


# -- who overrides whom --------------------------------------------------------------------------------------


def test_set_overrides_the_file_which_overrides_the_module(toml: Toml) -> None:
    file = toml("[strategies.dip.config]\nsize = 10.0\nfast = 10\n")
    strategies = [a_file(size=20.0, fast=20, slow=50)]

    config = settled(file, strategies, overrides=["dip.fast=5"]).desks["dip"].config

    assert config == {"size": 10.0, "fast": 5, "slow": 50}


def test_capital_on_the_command_line_overrides_the_file(toml: Toml) -> None:
    file = toml("capital = 500\n")

    assert settled(file).capital == Decimal(500)
    assert settled(file, capital="0.1").capital == Decimal("0.1")


def test_costs_of_a_strategy_override_those_of_its_venue_and_nothing_else(toml: Toml) -> None:
    file = toml("""
        [execution.kraken]
        taker_bps = 26
        latency_ms = 1.5
        [execution.binance]
        taker_bps = 1
        [strategies.dip.execution]
        taker_bps = 0
        slippage_bps = 2.5
    """)
    desks = settled(file, [a_file("dip"), a_file("other")]).desks

    assert [desks[name].execution.taker_bps for name in ("dip", "other")] == [Decimal(0), Decimal(26)]
    assert [desks[name].execution.slippage_bps for name in ("dip", "other")] == [Decimal("2.5"), Decimal(0)]
    assert {desk.execution.maker_bps for desk in desks.values()} == {Decimal(25)}
    assert {desk.execution.latency_ns for desk in desks.values()} == {1_500_000}


def test_limits_of_the_module_are_overridden_by_those_for_all_and_these_by_the_strategys_own(toml: Toml) -> None:
    file = toml("""
        [risk]
        max_position = 50
        max_loss_streak = 3
        [strategies.dip.risk]
        max_position = 20
        cooldown_s = 1.5
    """)
    own = {"max_position": 99.0, "max_open_orders": 7, "max_loss_streak": 9, "cooldown_s": None}
    desks = settled(file, [a_file("dip", risk=own), a_file("other")]).desks

    assert desks["dip"].risk == RiskLimits(
        max_position=money("20"), max_open_orders=7, max_loss_streak=3, cooldown_ns=1_500_000_000
    )
    assert desks["other"].risk == RiskLimits(max_position=money("50"), max_loss_streak=3)
    assert settled().desks["dip"].risk == NO_LIMITS


def test_every_part_of_execution_can_be_given(toml: Toml) -> None:
    file = toml("""
        [execution.kraken]
        cancel_latency_ms = 20
        jitter_ms = 0.5
        jitter = "exponential"
        jitter_seed = 5
        fill_model = "touch"
        queue_model = "power"
        queue_power = 2
        stop_trigger = "mid"
        max_short_leverage = 2
        maintenance_ratio = 0.25
        [execution.kraken.instruments."BTC/USD"]
        lot_size = "0.00000001"
        tick_size = 0.1
        [strategies.dip.execution.instruments."XRP/USD"]
        min_notional = 5
    """)

    execution = settled(file).desks["dip"].execution

    assert (execution.cancel_latency_ns, execution.jitter_ns) == (20_000_000, 500_000)
    assert (execution.jitter, execution.jitter_seed) == ("exponential", 5)
    assert (execution.fill_model, execution.queue_model, execution.queue_power) == ("touch", "power", 2)
    assert (execution.stop_trigger, execution.max_short_leverage) == ("mid", Decimal(2))
    assert execution.maintenance_ratio == Decimal("0.25")
    assert execution.instruments == {
        "BTC/USD": Instrument(lot_size=Decimal("0.00000001"), tick_size=Decimal("0.1")),
        "XRP/USD": Instrument(min_notional=Decimal(5)),
    }


def test_the_file_may_name_the_currency(toml: Toml) -> None:
    assert settled(toml("currency = 'BTC'\n")).currency == "BTC"


# -- what --set means ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "text", "after"),
    [
        (20.0, "5", 5.0),
        (20.0, "5e-1", 0.5),
        (20, "5", 5),
        (20, "2.5", 2.5),
        (False, "true", True),
        ("touch", "depth", "depth"),
        ("touch", "'depth'", "depth"),
        ("1m", "5", "5"),
        ("a", "b=c", "b=c"),
        ([1, 2], "[3]", [3]),
        ((1, 2), "[3]", (3,)),
        ({"a": 1}, "{b = 2}", {"b": 2}),
        (None, "7", 7),
        (Decimal("1.10"), "3", Decimal(3)),
        (Decimal("1.10"), "0.1", Decimal("0.1")),
    ],
)
def test_a_value_is_read_as_the_kind_of_thing_that_stood_there(before: Any, text: str, after: Any) -> None:
    value = configured(f"dip.x={text}", x=before)["x"]

    assert (value, type(value)) == (after, type(after))


def test_a_strategy_whose_name_has_dots_can_be_set() -> None:
    strategies = [a_file("dip-1.2", size=20.0)]

    assert settled(strategies=strategies, overrides=["dip-1.2.size=5"]).desks["dip-1.2"].config == {"size": 5.0}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("dip.size", r"--set dip\.size: expected name\.key=value"),
        ("size=5", r"--set size=5: expected name\.key=value"),
        ("dip.=5", r"--set dip\.=5: expected name\.key=value"),
        ("dpi.size=5", r"--set dpi\.size=5: expected one of dip, found 'dpi'; did you mean 'dip'\?"),
        ("dip.szie=5", r"dip has no 'szie' in CONFIG, only size, levels, is_on; did you mean 'size'\?"),
        ("dip.size=big", r"dip\.size: expected float as in CONFIG \(20\.0\), found str 'big'"),
        ("dip.size=true", r"dip\.size: expected float as in CONFIG \(20\.0\), found bool True"),
        ("dip.levels=3", r"dip\.levels: expected list as in CONFIG \(\[1\]\), found int 3"),
        ("dip.is_on=1", r"dip\.is_on: expected bool as in CONFIG \(True\), found int 1"),
    ],
)
def test_a_mistake_in_set_is_one_sentence(override: str, sentence: str) -> None:
    with pytest.raises(UserProblem, match=sentence):
        configured(override, size=20.0, levels=[1], is_on=True)


def test_a_strategy_without_config_has_nothing_to_set() -> None:
    with pytest.raises(UserProblem, match=r"dip has no 'size' in CONFIG, only none at all"):
        configured("dip.size=5")


# -- mistakes in wspt.toml -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("capital = \n", r"wspt\.toml: expected TOML, found Invalid value \(at line 1"),
        ("captial = 5\n", r"wspt\.toml:1: expected one of capital, .*, found 'captial'; did you mean 'capital'\?"),
        ("[recording]\n\nsync = 5\n", r"toml:3: expected one of .* in \[recording\], found 'sync'; .* 'sync_s'\?"),
        ("[recording]\nsync_s = 0\n", r"wspt\.toml: .*recording\.sync_s"),
        ("[execution.kraken]\ntakerbps = 5\n", r"found 'takerbps'; did you mean 'taker_bps'\?"),
        ("[strategies.dip.confg]\nx = 5\n", r"found 'confg'; did you mean 'config'\?"),
        ("capital = true\n", r"wspt\.toml: .*\$\.capital"),
        ("[execution.kraken]\ntaker_bps = 'much'\n", r"wspt\.toml: .*taker_bps"),
        ("strategies = 5\n", r"wspt\.toml: .*\$\.strategies"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence_that_names_it(text: str, sentence: str, toml: Toml) -> None:
    with pytest.raises(UserProblem, match=sentence):
        toml(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("capital = 'lots'\n", r"capital: expected an amount such as 100, found 'lots'"),
        ("capital = nan\n", r"capital: expected an amount such as 100, found 'nan'"),
        ("capital = -5\n", r"capital: expected more than nothing, found '-5\.0'"),
        ("currency = 'usd'\n", r"currency: expected one of BTC, USD, XRP, found 'usd'"),
        ("[strategies.dpi]\n", r"strategies\.dpi: expected one of dip; did you mean 'dip'\?"),
        ("[strategies.dip.config]\nszie = 5\n", r"dip has no 'szie' in CONFIG, only size; did you mean 'size'\?"),
        (
            "[strategies.dip.config]\nsize = 'big'\n",
            r"dip\.size: expected float as in CONFIG \(20\.0\), found str 'big'",
        ),
        ("[execution.krakn]\ntaker_bps = 5\n", r"execution\.krakn: expected a venue .*; did you mean 'kraken'\?"),
        (
            "[execution.kraken]\ntaker_bps = nan\n",
            r"taker_bps: expected basis points between -10000 and 10000, found nan",
        ),
        ("[execution.kraken]\nslippage_bps = 10000\n", r"slippage_bps: expected .* below 10000, found 10000"),
        ("[execution.kraken]\nslippage_bps = -5\n", r"slippage_bps: expected basis points from 0 .*, found -5"),
        ("[execution.kraken]\nlatency_ms = -1\n", r"latency_ms: expected 0 or more and less than 1e\+09, found -1"),
        ("[execution.kraken]\nfill_model = 'dept'\n", r"fill_model: expected one of depth, touch, .*mean 'depth'\?"),
        (
            "[execution.kraken]\nmaintenance_ratio = -1\n",
            r"maintenance_ratio: expected 0 or more and less than 1e\+09, found -1",
        ),
        ("[risk]\nmax_position = 0\n", r"^risk\.max_position: expected more than 0 and less than 1e\+15, found 0"),
        ("[strategies.dip.risk]\ncooldown_s = -1\n", r"^strategies\.dip\.risk\.cooldown_s: expected .*, found -1"),
        ("[strategies.dip.execution]\nlatency_ms = -1\n", r"^strategies\.dip\.execution\.latency_ms: expected 0 or"),
        ("[execution.kraken]\njitter = 'x'\n", r"^execution\.kraken\.jitter: expected one of"),
        (
            "[execution.kraken.instruments.'BTC/USD']\nlot_size = 'x'\n",
            r"instruments\.BTC/USD\.lot_size: expected an amount such as 0\.01, found 'x'",
        ),
    ],
)
def test_a_mistake_that_shows_only_against_the_run_is_one_sentence_too(text: str, sentence: str, toml: Toml) -> None:
    with pytest.raises(UserProblem, match=sentence):
        settled(toml(text), [a_file(size=20.0)])


def test_a_limit_that_is_none_names_the_file_that_asks_for_it() -> None:
    with pytest.raises(UserProblem, match=r"dip\.py: RISK\.max_position: expected more than 0 .*, found -5"):
        settled(ConfigFile(), [msgspec.structs.replace(a_file(size=20.0), risk={"max_position": -5})])


def test_the_file_may_speak_of_strategies_that_do_not_run_now(toml: Toml) -> None:
    file = toml("[strategies.other.config]\nsize = 5\n")

    assert list(settled(file, known=["dip", "other"]).desks) == ["dip"]


def test_the_file_may_speak_of_venues_that_are_not_on_this_tape(toml: Toml) -> None:
    file = toml("[execution.binance]\ntaker_bps = 1\n[execution.my_broker]\ntaker_bps = 1\n")

    assert settled(file).desks["dip"].execution.taker_bps == Decimal(40)


def test_a_line_is_found_for_every_key_however_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "wspt.toml"
    path.write_text(
        "# mine\ncapital = 5\n\n[strategies.dip.config]\nlevels = [\n  1,\n  2,\n]\nsize = 1\n"
        "execution = {kraken = {taker_bps = 1}}\n"
        "[execution]\nkraken.taker_bps = 2\n"
    )

    lines = lines_of(path)

    assert lines["capital",] == 2
    assert [lines["strategies", "dip", "config", key] for key in ("levels", "size", "execution")] == [5, 9, 10]
    assert lines["execution", "kraken", "taker_bps"] == 12


def test_without_a_file_there_are_the_defaults() -> None:
    assert read_config(None) == ConfigFile()


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserProblem, match=r"none\.toml: expected a configuration file, found No such file"):
        read_config(tmp_path / "none.toml")


def test_a_file_that_is_not_text_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "wspt.toml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(UserProblem, match=r"wspt\.toml: expected TOML, found "):
        read_config(path)


# -- in the manifest -----------------------------------------------------------------------------------------


def test_a_run_reads_back_the_configuration_that_it_wrote() -> None:
    strategies = [a_file(size=20.0, levels=(1, 2), names=["a"], limit=None, is_on=True, fee=Decimal("1.1"))]
    file = ConfigFile(
        risk=RiskFile(max_position=5, cooldown_s=2),
        execution={"kraken": ExecutionFile(instruments={"BTC/USD": InstrumentFile(tick_size=0.1)}, jitter_ms=1)},
    )
    config = settled(file, strategies, overrides=["dip.levels=[3]", "dip.fee=0.25"], capital="0.1")

    written = msgspec.json.decode(msgspec.json.encode(as_json(config)))

    assert from_json(written, strategies) == config


def test_a_value_that_json_does_not_know_is_taken_from_the_module_again() -> None:
    strategies = [a_file(price=print, size=20.0)]
    config = settled(strategies=strategies, overrides=["dip.size=5"])

    assert from_json(as_json(config), strategies).desks["dip"].config == {"price": print, "size": 5.0}


def test_numbers_of_numpys_are_numbers_in_the_manifest() -> None:
    strategies = [a_file(size=np.float32(0.5), levels=[np.int64(3)], price=np.float64(2.5))]

    written = as_json(settled(strategies=strategies))["desks"]["dip"]["config"]

    assert written == {"size": 0.5, "levels": [3], "price": 2.5}


def test_a_config_that_no_manifest_could_hold_is_refused() -> None:
    with pytest.raises(UserProblem, match=r"dip: expected a CONFIG that JSON can hold"):
        configured(weights={("BTC/USD", "1m"): 1.0})
