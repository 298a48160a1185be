"""Costs, delays and limits of a desk: defaults, what its venue publishes, and what wspt.toml and its strategy say."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from apps.config_file import ExecutionFile, InstrumentFile
from apps.problems import UserProblem, nearest
from engine.execution import (
    FEES_IN,
    FILL_MODELS,
    JITTERS,
    QUEUE_MODELS,
    STOP_TRIGGERS,
    ExecutionConfig,
    Instrument,
)
from engine.money import ZERO, money
from engine.risk import RiskLimits

VENUE_FEES_BPS: Mapping[str, tuple[str, str]] = {
    # Maker and taker of the lowest volume tier, as published in 2026.
    "kraken": ("25", "40"),  # kraken.com/features/fee-schedule, Kraken Pro spot, 30-day volume below $10,000
    "binance": ("10", "10"),  # binance.com/en/fee/schedule, spot, regular user without BNB discount
}
VENUE_FEES_IN: Mapping[str, str] = {
    # Kraken's are "a percentage of the trade's quote currency volume (by default)": kraken.com/features/fee-schedule.
    # "Trading fees are always charged in the asset you receive": binance.com/en/support/faq, "What Is Binance Spot
    # Trading Fee and How to Calculate", of 2022-03-24, read 2026-11-26. With BNB to pay them in it would be BNB.
    "binance": "received",
}
OTHER_VENUE_FEES_BPS = ("10", "10")
"""A venue we do not know is not free of charge either."""

_WORDS = {
    "fee_in": FEES_IN,
    "fill_model": FILL_MODELS,
    "queue_model": QUEUE_MODELS,
    "stop_trigger": STOP_TRIGGERS,
    "jitter": JITTERS,
}
_COUNTS = ("max_open_orders", "max_orders_per_minute", "max_loss_streak")
_LONGEST_MS = 1e9
_LARGEST = 1e15


def execution_of(venue: str, parts: Mapping[str, ExecutionFile | None]) -> ExecutionConfig:
    """The venue's published fees, overridden by each of `parts` that says something.

    parts:  by where they stand, which a UserProblem about a value begins with.
    """
    maker, taker = VENUE_FEES_BPS.get(venue, OTHER_VENUE_FEES_BPS)
    values: dict[str, Any] = {"maker_bps": money(maker), "taker_bps": money(taker)}
    values["fee_in"] = VENUE_FEES_IN.get(venue, "quote")
    for place, part in parts.items():
        given = {} if part is None else msgspec.structs.asdict(part)
        for name, value in given.items():
            where = f"{place}.{name}"
            if name == "instruments":
                rules = {symbol: _instrument(f"{where}.{symbol}", rules) for symbol, rules in value.items()}
                values[name] = {**values.get(name, {}), **rules}
            elif value is not None:
                values[f"{name[:-3]}_ns" if name.endswith("_ms") else name] = _setting(where, name, value)
    return ExecutionConfig(**values)


def limits_of(parts: Mapping[str, Mapping[str, Any]]) -> RiskLimits:
    """The limits that `parts` set, each overriding those before it where it says something.

    parts:  by where they stand, as for `execution_of`.
    """
    values: dict[str, Any] = {}
    for place, given in parts.items():
        for name, value in given.items():
            if value is not None:
                values["cooldown_ns" if name == "cooldown_s" else name] = _limit(f"{place}.{name}", name, value)
    return RiskLimits(**values)


def _setting(where: str, name: str, value: Any) -> Any:
    """A value of wspt.toml as the engine has it."""
    if name in _WORDS:
        if value not in _WORDS[name]:
            known = _WORDS[name]
            raise UserProblem(f"{where}: expected one of {', '.join(known)}, found {value!r}{nearest(value, known)}")
        return value
    if name == "slippage_bps" and not 0 <= value < 10_000:  # with 10,000 a sale would be for nothing
        raise UserProblem(f"{where}: expected basis points from 0 to below 10000, found {value}")
    if name.endswith("_bps"):
        if not abs(value) <= 10_000:
            raise UserProblem(f"{where}: expected basis points between -10000 and 10000, found {value}")
        return money(float(value))
    if name.endswith("_ms"):
        if not 0 <= value < _LONGEST_MS:
            raise UserProblem(f"{where}: expected 0 or more and less than {_LONGEST_MS:g}, found {value}")
        return round(value * 1_000_000)
    if not 0 <= value < _LONGEST_MS:
        raise UserProblem(f"{where}: expected 0 or more and less than {_LONGEST_MS:g}, found {value}")
    return value if name in ("queue_power", "jitter_seed") else money(float(value))


def _limit(where: str, name: str, value: float) -> Decimal | int:
    if not 0 < value < _LARGEST:
        raise UserProblem(f"{where}: expected more than 0 and less than {_LARGEST:g}, found {value}")
    if name == "cooldown_s":
        return round(value * 1_000_000_000)
    return int(value) if name in _COUNTS else money(float(value))


def _instrument(place: str, rules: InstrumentFile) -> Instrument:
    given = msgspec.structs.asdict(rules).items()
    return Instrument(**{name: _positive(f"{place}.{name}", value) for name, value in given if value is not None})


def _positive(place: str, value: float | str) -> Decimal:
    try:
        amount = money(value if isinstance(value, str) else float(value))
    except ValueError as error:
        raise UserProblem(f"{place}: expected an amount such as 0.01, found {value!r}") from error
    if amount <= ZERO:
        raise UserProblem(f"{place}: expected more than nothing, found {value!r}")
    return amount
