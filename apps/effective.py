"""Where each value of a run's configuration comes from."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from apps.config import RunConfig, as_json
from apps.config_costs import VENUE_FEES_BPS, VENUE_FEES_IN
from apps.config_file import ConfigFile, Place, lines_of
from apps.loader import StrategyFile


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One value that is in force.

    name:    as wspt.toml would spell it, such as `strategies.dip.config.size`.
    value:   as JSON has it.
    source:  default, venue, symbols, file, strategy, or option.
    where:   that in words: a line of wspt.toml, a strategy's file, an option.
    """

    name: str
    value: Any  # JSON
    source: str
    where: str


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration was made of: see `apps.config.settle`.

    file, path:          wspt.toml as it was read, and where; the defaults and None where there is none.
    capital, overrides:  of the command line.
    """

    strategies: Sequence[StrategyFile]
    venue: str
    file: ConfigFile
    path: Path | None = None
    capital: str | None = None
    overrides: Sequence[str] = ()


def settings(config: RunConfig, given: Given) -> list[Setting]:
    """Everything that is in force, and where it comes from."""
    plain, lines = as_json(config), lines_of(given.path)
    found = [_capital(plain, given, lines), _currency(plain, given, lines)]
    for strategy in given.strategies:
        found += _of_desk(strategy, plain["desks"][strategy.strategy.name], given, lines)
    for key, value in msgspec.to_builtins(given.file.recording).items():
        place = ("recording", key)
        found.append(_setting(place, value, *(_in_file(given.path, lines, place) or ("default", "default"))))
    return found


def of_run(configuration: Mapping[str, Any], place: Path) -> list[Setting]:
    """The settings of a run that has been, as its manifest at `place` keeps them."""
    desks = configuration["desks"].items()
    values: list[tuple[Place, Any]] = [
        ((key,), value) for key, value in configuration.items() if key not in ("desks", "recording")
    ]
    for name, desk in desks:
        for section, keys in desk.items():
            values += [(("strategies", name, section, key), value) for key, value in (keys or {}).items()]
    values += [(("recording", key), value) for key, value in (configuration.get("recording") or {}).items()]
    return [_setting(key, value, "run", str(place)) for key, value in values]


def _capital(plain: Mapping[str, Any], given: Given, lines: Mapping[Place, int]) -> Setting:
    source = _in_file(given.path, lines, ("capital",)) or ("default", "default")
    return _setting(("capital",), plain["capital"], *(("option", "--capital") if given.capital is not None else source))


def _currency(plain: Mapping[str, Any], given: Given, lines: Mapping[Place, int]) -> Setting:
    source = _in_file(given.path, lines, ("currency",)) if given.file.currency else None
    return _setting(("currency",), plain["currency"], *(source or ("symbols", "follows from the symbols")))


def _of_desk(
    strategy: StrategyFile, desk: Mapping[str, Any], given: Given, lines: Mapping[Place, int]
) -> Iterator[Setting]:
    name = strategy.strategy.name
    set_by_option = {text.partition("=")[0] for text in given.overrides}
    for section, values in desk.items():
        for key, value in (values or {}).items():
            place = ("strategies", name, section, key)
            if section == "config" and f"{name}.{key}" in set_by_option:
                source = "option", "--set"
            elif section == "config":
                source = _in_file(given.path, lines, place) or ("strategy", f"{strategy.path} CONFIG")
            elif section == "risk" and value is not None and not _in_file(given.path, lines, place, (section, key)):
                source = "strategy", f"{strategy.path} RISK"
            else:
                general = (section, given.venue, key) if section == "execution" else (section, key)
                source = _in_file(given.path, lines, place, general) or _unless_said(section, key, given.venue)
            yield _setting(place, value, *source)


def _unless_said(section: str, key: str, venue: str) -> tuple[str, str]:
    if section == "execution" and key in ("maker_bps", "taker_bps") and venue in VENUE_FEES_BPS:
        return "venue", f"{venue}'s lowest published tier"
    if section == "execution" and key == "fee_in" and venue in VENUE_FEES_IN:
        return "venue", f"how {venue} charges"
    return "default", "default"


def _in_file(path: Path | None, lines: Mapping[Place, int], *places: Place) -> tuple[str, str] | None:
    """The first of these places that the file has, a time in ns there being given in ms or s."""
    for place in places:
        stem, units = place[-1].removesuffix("_ns"), ("_ms", "_s") if place[-1].endswith("_ns") else ()
        for spelled in (place, *((*place[:-1], stem + unit) for unit in units)):
            if spelled in lines:
                section = f" [{'.'.join(spelled[:-1])}]" if spelled[:-1] else ""
                return "file", f"{path}:{lines[spelled]}{section}"
    return None


def _setting(place: Place, value: Any, source: str, where: str) -> Setting:
    if place[2:3] != ("config",):  # a strategy's own values are shown as they are
        if place[-1].endswith("_ns"):
            unit, ns = ("_s", 10**9) if place[2:3] == ("risk",) else ("_ms", 10**6)
            place, value = (*place[:-1], place[-1].removesuffix("_ns") + unit), None if value is None else value / ns
        elif isinstance(value, str):
            value = _without_zeros(value)
    return Setting(name=".".join(place), value=value, source=source, where=where)


def _without_zeros(text: str) -> str:
    """An amount of money as a person writes it; any other text as it is."""
    try:
        amount = f"{Decimal(text):f}"
    except InvalidOperation:
        return text
    return amount.rstrip("0").rstrip(".") if "." in amount else amount
