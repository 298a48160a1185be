"""wspt.toml: what may stand in it, and on which line something stands."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import inspect

from apps.problems import UserProblem, nearest
from recorder.frame_log import PART_AGE_NS, PART_BYTES, SYNC_EVERY_S

CAPITAL = "100"
"""What every strategy starts with, in its run's currency."""

Place = tuple[str, ...]
"""Where something stands in the file: the keys that lead to it."""


class InstrumentFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the venue accepts for a symbol: steps of price and quantity, the smallest order in base and in quote."""

    tick_size: float | str | None = None
    lot_size: float | str | None = None
    min_quantity: float | str | None = None
    min_notional: float | str | None = None


class ExecutionFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Costs and delays as wspt.toml gives them; what is left out falls back to the venue's.

    Fees and slippage in basis points, delays in milliseconds; the rest as in `engine.execution.ExecutionConfig`.

    instruments:  rules by symbol, in place of those that the tape states.
    """

    maker_bps: float | None = None
    taker_bps: float | None = None
    fee_in: str | None = None
    slippage_bps: float | None = None
    latency_ms: float | None = None
    cancel_latency_ms: float | None = None
    jitter_ms: float | None = None
    jitter: str | None = None
    jitter_seed: int | None = None
    fill_model: str | None = None
    queue_model: str | None = None
    queue_power: float | None = None
    stop_trigger: str | None = None
    max_short_leverage: float | None = None
    maintenance_ratio: float | None = None
    instruments: dict[str, InstrumentFile] = {}


class RiskFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Limits as wspt.toml or a strategy's RISK gives them: see `engine.risk.RiskLimits`. Cooldown in seconds."""

    max_position: float | None = None
    max_order_notional: float | None = None
    max_open_orders: int | None = None
    max_orders_per_minute: int | None = None
    max_drawdown_pct: float | None = None
    max_loss_streak: int | None = None
    cooldown_s: float | None = None


class RecordingFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """How what arrives is kept.

    part_mb, part_minutes:  size and age at which a part of a recording ends and the next begins.
    sync_s:                 seconds between two times that the disk is made to take what was written.
    """

    part_mb: Annotated[float, msgspec.Meta(gt=0)] = PART_BYTES / 2**20
    part_minutes: Annotated[float, msgspec.Meta(gt=0)] = PART_AGE_NS / 60e9
    sync_s: Annotated[float, msgspec.Meta(gt=0)] = SYNC_EVERY_S


class StrategyFileConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One strategy's part of wspt.toml: overrides of its CONFIG, its own costs, delays and limits."""

    config: dict[str, Any] = {}
    execution: ExecutionFile = msgspec.field(default_factory=ExecutionFile)
    risk: RiskFile = msgspec.field(default_factory=RiskFile)


class ConfigFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The whole of wspt.toml.

    capital:   what each desk starts with, in `currency`.
    currency:  of all desks; left out, it follows from the symbols.
    execution: costs and delays by venue.
    risk:      limits of every desk.
    recording: of live sessions.
    """

    capital: float | str = CAPITAL
    currency: str = ""
    execution: dict[str, ExecutionFile] = {}
    risk: RiskFile = msgspec.field(default_factory=RiskFile)
    strategies: dict[str, StrategyFileConfig] = {}
    recording: RecordingFile = msgspec.field(default_factory=RecordingFile)


def read_config(path: Path | None) -> ConfigFile:
    """wspt.toml, or the defaults where there is none. Raises UserProblem for what is wrong in it."""
    if path is None:
        return ConfigFile()
    text = _text(path)
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of 4,300 digits, and what nests too deeply, among them
        raise UserProblem(f"{path}: expected TOML, found {error}") from error
    for place, known in _unknown(values, inspect.type_info(ConfigFile), ()):
        where = f"{path}:{_lines(text)[place]}"
        section = f" in [{'.'.join(place[:-1])}]" if place[:-1] else ""
        hint = nearest(place[-1], known)
        raise UserProblem(f"{where}: expected one of {', '.join(known)}{section}, found {place[-1]!r}{hint}")
    try:
        return msgspec.convert(values, ConfigFile)
    except msgspec.ValidationError as error:
        raise UserProblem(f"{path}: {error}") from error


def lines_of(path: Path | None) -> dict[Place, int]:
    """The line of every key and section of a file that can be read."""
    return _lines(_text(path)) if path is not None else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserProblem(f"{path}: expected a configuration file, found {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserProblem(f"{path}: expected TOML, found {error}") from error


def _unknown(values: Mapping[str, Any], kind: inspect.Type, place: Place) -> Iterator[tuple[Place, list[str]]]:
    """Keys that nothing is known by, each with those that could stand there."""
    if isinstance(kind, inspect.StructType):
        kinds = {field.encode_name: field.type for field in kind.fields}
        for key, value in values.items():
            if key not in kinds:
                yield (*place, key), list(kinds)
            elif isinstance(value, dict):
                yield from _unknown(value, kinds[key], (*place, key))
    elif isinstance(kind, inspect.DictType):
        for key, value in values.items():
            if isinstance(value, dict):
                yield from _unknown(value, kind.value_type, (*place, key))


def _lines(text: str) -> dict[Place, int]:
    """The line on which each key first stands.

    The parser does not say where something stood, but it can be asked after each line what is there by now; a value
    of several lines is whole only with its last one, and belongs to its first.
    """
    found: dict[Place, int] = {}
    whole = 0  # lines that can be parsed by themselves
    read = text.splitlines()
    for number in range(1, len(read) + 1):
        try:
            values = tomllib.loads("\n".join(read[:number]))
        except tomllib.TOMLDecodeError:
            continue
        for place in _places(values, ()):
            found.setdefault(place, whole + 1)
        whole = number
    return found


def _places(values: Mapping[str, Any], place: Place) -> Iterator[Place]:
    for key, value in values.items():
        yield (*place, key)
        if isinstance(value, dict):
            yield from _places(value, (*place, key))
