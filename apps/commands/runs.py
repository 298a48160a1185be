"""Runs looked at."""

from typing import Annotated

import typer

from apps.commands.options import RUNS, AsRows
from apps.problems import UserProblem


def sql(
    words: Annotated[list[str], typer.Argument(metavar="[RUN] QUERY", help="A run [latest], and one SELECT.")],
    as_json: AsRows = False,
) -> None:
    """Ask DuckDB about a run.

    Its views: signals, orders, fills, positions, positions_now, equity, equity_curve, round_trips, leaderboard,
    metrics, attribution, symbol_pnl, events; and of its tape markouts, fill_attribution, ticks, trades, quotes, feed.
    Times are ns UTC: make_timestamp_ns(ts) shows one as a date.
    """
    from apps.queries import names_ticks, open_run, rows, table
    from apps.report import print_answer, stdout, to_json
    from recorder.run_files import own_tape
    from recorder.runs import LATEST, find_run, read_manifest

    if len(words) > 2:
        raise UserProblem(f"sql: expected a run and one query in quotes, found {len(words)} words")
    run, query = (LATEST, words[0]) if len(words) == 1 else words
    folder = find_run(run, RUNS)
    manifest, is_about_tape = read_manifest(folder), names_ticks(query)
    if is_about_tape:
        own_tape(folder, manifest)
    con = open_run(folder, manifest, with_log=is_about_tape)
    if as_json:
        print(to_json(rows(con, query)))
        return
    print_answer(stdout(), *table(con, query))


def runs(as_json: AsRows = False) -> None:
    """List the runs in data/runs, newest first."""
    from apps.report import print_runs, runs_json, stdout, to_json
    from recorder.runs import list_runs

    found = list_runs(RUNS)
    if as_json:
        print(to_json(runs_json(found)))
    elif found:
        print_runs(stdout(), found)
    else:
        print(f"No runs in {RUNS} yet: `wspt replay TAPE` makes one.")
