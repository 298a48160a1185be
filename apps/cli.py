"""The console script: the commands by name, and what their mistakes look like."""

import sys
from typing import NoReturn

import typer

from apps.commands import config, dashboard, diff, explain, live, replay, runs, strategies, tapes
from recorder.problems import Problem

app = typer.Typer(
    name="wspt",
    help="Record and replay market data, and paper-trade on it: same tape in, same history out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# In the order of `--help`. The modules import what a command needs when it runs, so that help answers at once.
app.command()(replay.replay)
app.command()(replay.verify)
app.command()(explain.explain)
app.command()(diff.diff)
app.command()(runs.sql)
app.command()(tapes.inspect)
app.command("import")(tapes.import_)
app.command()(tapes.simulate)
app.command()(runs.runs)
app.command()(dashboard.dashboard)
app.command()(dashboard.report)
app.command()(strategies.new)
app.command()(config.config)
app.command()(live.live)
app.command()(live.record)
app.command()(tapes.recover)
app.command()(live.serve)


def main() -> NoReturn:
    """The console script: a mistake of the user's is one sentence and exit code 2, Ctrl+C is 130."""
    try:
        app(standalone_mode=True)
    except Problem as problem:
        print(f"wspt: {problem}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)
