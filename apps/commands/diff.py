"""Two runs compared."""

import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from apps.commands.options import RUNS, AsJson


def diff(
    a: Annotated[str, typer.Argument(metavar="RUN_A", help="A run: its folder, its name in data/runs, or latest.")],
    b: Annotated[str, typer.Argument(metavar="RUN_B", help="The run to compare it with.")],
    as_json: AsJson = False,
) -> None:
    """Show in which decision two runs part first, why, and what came of it.

    Exit code 1 where they differ.
    """
    from apps.diff import diff_json, diff_runs
    from apps.diff_text import print_diff
    from apps.report import stdout, to_json
    from recorder.runs import find_run

    with redirect_stdout(sys.stderr):  # what strategies print is no result
        found = diff_runs(find_run(a, RUNS), find_run(b, RUNS))
    if as_json:
        print(to_json(diff_json(found)))
    else:
        print_diff(stdout(), found)
    if not found.is_same:
        raise typer.Exit(1)
