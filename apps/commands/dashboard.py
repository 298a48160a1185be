"""Runs looked at in a browser, and as one page to send."""

from pathlib import Path
from typing import Annotated

import typer

from apps.commands.options import RUNS, RunName
from apps.problems import UserProblem

HANDOUT = Path("report.html")


def dashboard(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run to begin with [the newest].")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8501,
    host: Annotated[str, typer.Option(help="Address to listen on; other than loopback lets others in.")] = "127.0.0.1",
) -> None:
    """Look at runs in a browser, also while they are being written; Ctrl+C ends it."""
    from apps.dashboard.serving import serve
    from recorder.runs import find_run

    serve(RUNS, str(find_run(run, RUNS).resolve()) if run else "", host=host, port=port)


def report(
    run: RunName,
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write.")] = HANDOUT,
) -> None:
    """Write a run as one HTML page to send: its main charts and tables, nothing fetched from anywhere."""
    from apps.dashboard.handout import handout
    from recorder.runs import find_run

    page = handout(find_run(run, RUNS))
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserProblem(f"--out {out}: expected a file that can be written, found: {error.strerror}") from error
    print(out)
