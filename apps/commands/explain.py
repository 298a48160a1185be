"""Why something happened in a run, or nothing."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from apps.commands.options import RUNS, AsJson, RunName, moment
from apps.problems import UserProblem


def explain(
    run: RunName,
    fill: Annotated[
        str | None,
        typer.Argument(metavar="[FILL]", help="STRATEGY-SEQ of a fill; else an order's or signal's id, or any event."),
    ] = None,
    at: Annotated[str | None, typer.Option(help="A moment instead of a fill: ISO 8601 in UTC, or ns.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Whose moment.")] = None,
    event: Annotated[bool, typer.Option("--event", help="Take the number for an event's alone.")] = False,
    order: Annotated[bool, typer.Option("--order", help="Take the number for an order's alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show why a fill came about, or why nothing happened.

    Replays the run up to that tick and prints what the strategy saw and answered, the order's life, the arithmetic.
    """
    from apps.explain import explain_event, explain_moment, explanation_json
    from apps.explain_text import print_explanation
    from apps.report import stdout, to_json
    from recorder.runs import find_run

    if (fill is None) == (at is None):
        raise UserProblem("explain: expected a fill such as NAME-12, or --at TIME, found both or neither")
    if event and order:
        raise UserProblem("explain: expected --event or --order, found both")
    folder = find_run(run, RUNS)
    with redirect_stdout(sys.stderr):  # what strategies print is no result
        if fill is not None:
            explanation = explain_event(folder, fill, is_event=event, is_order=order)
        else:
            when = moment(at, "--at")
            assert when is not None
            explanation = explain_moment(folder, _whose(strategy, folder), when)
    if as_json:
        print(to_json(explanation_json(explanation)))
    else:
        print_explanation(stdout(), explanation)


def _whose(strategy: str | None, run: Path) -> str:
    """The strategy that is meant: as named, or the only one there is."""
    from recorder.runs import read_manifest

    names = sorted(read_manifest(run).strategies)
    if strategy is None and len(names) > 1:
        raise UserProblem(f"--at: expected --strategy with one of {', '.join(names)}")
    return strategy or names[0]
