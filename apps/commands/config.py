"""The configuration that is in force."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apps.commands.options import (
    CONFIG,
    RUNS,
    STRATEGIES,
    AsJson,
    Capital,
    ConfigPath,
    Only,
    Override,
    Strategies,
    chosen,
    tape_named,
)

if TYPE_CHECKING:
    from apps.effective import Setting


def config(
    words: Annotated[list[str] | None, typer.Argument(metavar="[TAPE|RUN]", help="What to run on, or has run.")] = None,
    strategies: Strategies = None,
    only: Only = None,
    override: Override = None,
    capital: Capital = None,
    config: ConfigPath = None,
    venue: Annotated[str, typer.Option(help="Whose costs to assume where no tape is named.")] = "kraken",
    as_json: AsJson = False,
) -> None:
    """Show the configuration in force, and where each value comes from.

    Of a run, what it ran with; otherwise what would run now.
    """
    from apps.config import settle
    from apps.config_file import read_config
    from apps.effective import Given, settings
    from apps.loader import find_strategies, load_strategies

    found = _of_run(words or [])
    if found is None:
        path = config or (CONFIG if CONFIG.exists() else None)
        file, loaded = read_config(path), load_strategies(find_strategies(strategies or [STRATEGIES]))
        files = chosen(loaded, only or [])
        symbols = [symbol for strategy in files for symbol in strategy.strategy.symbols or ()]
        if words:
            tape, _ = tape_named(words)
            venue, symbols = tape.venue, tape.symbols
        known = [strategy.strategy.name for strategy in loaded]
        settled = settle(file, files, venue, symbols, capital=capital, overrides=override or [], known=known)
        given = Given(strategies=files, venue=venue, file=file, path=path, capital=capital, overrides=override or [])
        found = settings(settled, given)
    _print(found, as_json)


def _of_run(words: list[str]) -> "list[Setting] | None":
    """What ran, where the words are the name of a run."""
    from apps.effective import of_run
    from recorder.runs import LATEST, MANIFEST, find_run, read_manifest

    if len(words) != 1:
        return None
    if words[0] != LATEST and not any((home / words[0] / MANIFEST).is_file() for home in (Path(), RUNS)):
        return None
    run = find_run(words[0], RUNS)
    return of_run(read_manifest(run).configuration, run / MANIFEST)


def _print(settings: "list[Setting]", as_json: bool) -> None:
    import msgspec

    from apps.report import print_table, stdout, to_json

    if as_json:
        print(to_json({"settings": msgspec.to_builtins(settings)}))
        return
    rows = [[setting.name, _shown(setting.value), setting.where] for setting in settings]
    print_table(stdout(), ["setting", "value", "from"], rows, ["left", "left", "left"])


def _shown(value: object) -> str:
    from apps.report import to_json

    return value if isinstance(value, str) else to_json(value)
