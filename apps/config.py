"""What a run runs with: CONFIG of the strategies, wspt.toml and the command line, with everything filled in."""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from operator import index
from typing import Any

import msgspec
from msgspec.structs import asdict

from apps.config_costs import VENUE_FEES_BPS, execution_of, limits_of
from apps.config_file import ConfigFile, RecordingFile, StrategyFileConfig
from apps.loader import StrategyFile
from apps.problems import UserProblem, nearest
from engine.execution import ExecutionConfig, assets
from engine.money import ZERO, money
from engine.risk import NO_LIMITS, RiskLimits

CURRENCIES = ("USD", "USDT", "USDC", "EUR")
"""The run's currency is the first of these that a symbol is quoted in, else the first quote by alphabet."""


class DeskConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What one desk runs with, complete. A run's manifest keeps it, and `verify` uses nothing else."""

    config: dict[str, Any]
    execution: ExecutionConfig
    risk: RiskLimits = NO_LIMITS


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run runs with, complete: money at the start, and each desk's settings by strategy name.

    recording:  how a live session keeps what arrives; None for a replay.
    """

    capital: Decimal
    currency: str
    desks: dict[str, DeskConfig]
    recording: RecordingFile | None = None


def settle(
    file: ConfigFile,
    strategies: Sequence[StrategyFile],
    venue: str,
    symbols: Iterable[str],
    *,
    capital: str | None = None,
    overrides: Sequence[str] = (),
    known: Iterable[str] = (),
) -> RunConfig:
    """Everything a run needs to know, from the strategies' own CONFIG, the file and `--set` in rising order.

    known:  names of strategies that the file may speak of though they do not run. Raises UserProblem for any other.
    """
    names = sorted({*(strategy.strategy.name for strategy in strategies), *known})
    for name in file.strategies:
        if name not in names:
            raise UserProblem(f"strategies.{name}: expected one of {', '.join(names)}{nearest(name, names)}")
    _check_venues(file.execution, venue)
    given = _overrides(overrides, strategies)
    desks = {}
    for strategy in strategies:
        name, own = strategy.strategy.name, dict(strategy.strategy.config)
        part = file.strategies.get(name, StrategyFileConfig())
        for key in part.config:
            _check_known(f"strategies.{name}.config.{key}", name, key, own)
        for key, value in {**part.config, **given.get(name, {})}.items():
            _check_kept(f"{name}.{key}", value)
            own[key] = _fitting(f"{name}.{key}", value, own)
        _check_plain(name, own)
        desks[name] = DeskConfig(
            config=own,
            execution=execution_of(
                venue,
                {f"execution.{venue}": file.execution.get(venue), f"strategies.{name}.execution": part.execution},
            ),
            risk=limits_of(
                {
                    f"{strategy.path}: RISK": strategy.risk,
                    "risk": asdict(file.risk),
                    f"strategies.{name}.risk": asdict(part.risk),
                }
            ),
        )
    amount = _capital(capital if capital is not None else str(file.capital))
    return RunConfig(capital=amount, currency=_currency(file.currency, symbols), desks=desks)


def currency_of(symbols: Iterable[str]) -> str:
    """The currency of a run on these symbols, whatever their order."""
    quotes = sorted({assets(symbol)[1] for symbol in symbols} - {""})
    return next((currency for currency in CURRENCIES if currency in quotes), quotes[0] if quotes else CURRENCIES[0])


def _currency(wanted: str, symbols: Iterable[str]) -> str:
    """The currency that the file asks for, where the feed has it; else the one that follows from the symbols."""
    symbols = list(symbols)
    on_feed = sorted({asset for symbol in symbols for asset in assets(symbol)} - {""})
    if wanted and on_feed and wanted not in on_feed:
        raise UserProblem(f"currency: expected one of {', '.join(on_feed)}, found {wanted!r}{nearest(wanted, on_feed)}")
    return wanted or currency_of(symbols)


def _check_venues(execution: Iterable[str], venue: str) -> None:
    """A plain table may name any venue, so only a name that is nearly another one is taken for a mistake."""
    venues = sorted({*VENUE_FEES_BPS, venue})
    for name in execution:
        hint = nearest(name, venues)
        if name not in venues and hint:
            raise UserProblem(f"execution.{name}: expected a venue such as {', '.join(venues)}, found {name!r}{hint}")


def _check_known(place: str, name: str, key: str, config: Mapping[str, Any]) -> None:
    if key not in config:
        keys = ", ".join(config) or "none at all"
        raise UserProblem(f"{place}: {name} has no {key!r} in CONFIG, only {keys}{nearest(key, config)}")


def _check_plain(name: str, config: Mapping[str, Any]) -> None:
    """The manifest has to hold it."""
    try:
        _PLAIN.encode(config)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserProblem(f"{name}: expected a CONFIG that JSON can hold, found that {error}") from error


def _check_kept(target: str, value: Any) -> None:
    """A value that was given for this run has to be the same when the manifest is read."""
    if msgspec.json.decode(_PLAIN.encode(value)) != value:
        raise UserProblem(f"{target}: expected a value that JSON can hold, found {value!r}")


def _capital(text: str) -> Decimal:
    try:
        amount = money(text)
    except ValueError as error:
        raise UserProblem(f"capital: expected an amount such as 100, found {text!r}") from error
    if amount <= ZERO:
        raise UserProblem(f"capital: expected more than nothing, found {text!r}")
    return amount


def _overrides(texts: Sequence[str], strategies: Sequence[StrategyFile]) -> dict[str, dict[str, Any]]:
    """`name.key=value` by strategy; a value is a TOML value, or else the text itself."""
    known = {strategy.strategy.name: strategy.strategy.config for strategy in strategies}
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        name, dot, key = target.rpartition(".")
        if not equals or not dot or not key:
            raise UserProblem(f"--set {text}: expected name.key=value")
        if name not in known:
            raise UserProblem(f"--set {text}: expected one of {', '.join(known)}, found {name!r}{nearest(name, known)}")
        _check_known(f"--set {text}", name, key, known[name])
        found.setdefault(name, {})[key] = _value(value, known[name][key])
    return found


def _value(text: str, before: object) -> Any:
    """What is meant by `text` in place of `before`: a number typed for a text is a text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError) as error:  # a number of 4,300 digits, or what nests too deeply
        raise UserProblem(f"--set: expected a TOML value, found {error}") from error
    return text if isinstance(before, str) and not isinstance(value, str) else value


def _fitting(target: str, value: Any, own: Mapping[str, Any]) -> Any:
    """`value` as the kind of thing that CONFIG has there, so that `--set x.size=20` stays a float."""
    before = own.get(target.rpartition(".")[2])
    if before is None or type(value) is type(before):
        return value
    if isinstance(before, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(before, int) and not isinstance(before, bool) and isinstance(value, float):
        return value
    if isinstance(before, Decimal) and isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(str(value))
    if isinstance(before, list | tuple) and isinstance(value, list):
        return type(before)(value)
    raise UserProblem(
        f"{target}: expected {type(before).__name__} as in CONFIG ({before!r}), found {type(value).__name__} {value!r}"
    )


def as_json(config: RunConfig) -> dict[str, Any]:
    """The configuration as plain values for the manifest, decimals as text."""
    plain: dict[str, Any] = msgspec.json.decode(_PLAIN.encode(config))
    return plain


def from_json(values: Mapping[str, Any], strategies: Sequence[StrategyFile]) -> RunConfig:
    """The configuration that `as_json` wrote, for the same strategies.

    JSON has no tuples and no objects: where a strategy's own CONFIG says the same as what was written, its
    own value is taken.
    """
    written = msgspec.convert(values, RunConfig, strict=False)
    desks = {}
    for strategy in strategies:
        name, own = strategy.strategy.name, dict(strategy.strategy.config)
        for key, value in written.desks[name].config.items():
            if key not in own or msgspec.json.decode(_PLAIN.encode(own[key])) != value:
                own[key] = _as_before(value, own.get(key))
        desks[name] = msgspec.structs.replace(written.desks[name], config=own)
    return msgspec.structs.replace(written, desks=desks)


def _as_before(value: Any, before: object) -> Any:
    """A written value as the kind of thing that CONFIG has there, where JSON has no such kind."""
    if isinstance(before, tuple) and isinstance(value, list):
        return tuple(value)
    return Decimal(value) if isinstance(before, Decimal) and isinstance(value, str) else value


def fingerprint(configuration: Mapping[str, Any]) -> str:
    """SHA-256 that names a configuration as `as_json` gives it, whatever the order of its keys."""
    return hashlib.sha256(_PLAIN.encode(configuration)).hexdigest()


def _told(value: object) -> int | float | str:
    """A number of a library's own kind, such as numpy's, as Python's; anything else by the name of its type."""
    for number in (index, float):
        with suppress(Exception):
            return number(value)  # type: ignore[arg-type]  # it is asked, and may refuse
    return type(value).__name__


_PLAIN = msgspec.json.Encoder(decimal_format="string", order="deterministic", enc_hook=_told)
