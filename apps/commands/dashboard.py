"""Runs looked at in a browser, and as one page to send."""

from typing import Annotated

import typer

from apps.commands.options import RUNS


def dashboard(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run to begin with [the newest].")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8501,
    host: Annotated[str, typer.Option(help="Address to listen on; other than loopback lets others in.")] = "127.0.0.1",
) -> None:
    """Look at runs in a browser, also while they are being written; Ctrl+C ends it."""
    from apps.dashboard.serving import serve
    from recorder.runs import find_run

    serve(RUNS, str(find_run(run, RUNS)) if run else "", host=host, port=port)
