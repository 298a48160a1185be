"""Strategy files started."""

from typing import Annotated

import typer

from apps.commands.options import STRATEGIES
from apps.problems import UserProblem
from recorder.problems import Problem


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the strategy, and of its file.")],
) -> None:
    """Start a strategy: a file that runs as it is."""
    from apps.loader import load_strategy
    from apps.template import TEMPLATE

    path = STRATEGIES / f"{name}.py"
    if path.name != f"{name}.py" or not name:
        raise UserProblem(f"new {name!r}: expected a name for a file in {STRATEGIES}, found a path")
    if path.exists():
        raise UserProblem(f"{path}: expected a name that is free, found a file")
    try:
        STRATEGIES.mkdir(exist_ok=True)
        path.write_text(TEMPLATE, encoding="utf-8")
    except OSError as error:
        raise UserProblem(f"{path}: expected a file that can be written, found: {error.strerror}") from error
    try:
        load_strategy(path)
    except Problem:
        path.unlink()
        raise
    print(f"{path} is ready: `wspt replay data/sample.parquet --only {name}` runs it.")
