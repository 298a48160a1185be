"""What people do to a run afterwards: call it something, remove it."""

import shutil
from pathlib import Path

from recorder.runs import MANIFEST, RunProblem, read_status

LABEL = "label.txt"
LABEL_MAX = 80
"""Characters of a label: it stands in one line of a table."""


def read_label(run: Path) -> str:
    """What somebody called the run; empty where nobody did."""
    try:
        return (run / LABEL).read_text(encoding="utf-8").strip()[:LABEL_MAX]
    except (OSError, UnicodeDecodeError):
        return ""


def write_label(run: Path, text: str) -> None:
    """Call the run something; an empty text takes its label away. Beside the manifest, which is its session's alone."""
    label = " ".join(text.split())[:LABEL_MAX]
    try:
        if not label:
            (run / LABEL).unlink(missing_ok=True)
            return
        unfinished = run / f"{LABEL}.tmp"
        unfinished.write_text(f"{label}\n", encoding="utf-8")
        unfinished.replace(run / LABEL)
    except OSError as error:
        raise RunProblem(f"{run}: expected a folder that can be written, found: {error.strerror}") from error


def delete_run(run: Path) -> None:
    """Remove a run's folder: its ledger, its strategies, its logs. Its tape stays unless it is in there.

    Raises RunProblem for one that is being written, and for a folder that is no run.
    """
    if not (run / MANIFEST).is_file():
        raise RunProblem(f"{run}: expected a run, found no {MANIFEST}")
    try:
        _, status = read_status(run)
    except RunProblem:
        status = "failed"  # a broken run is the first that one wants to be rid of
    if status == "running":
        raise RunProblem(f"{run}: expected a run that has ended, found one that is being written")
    try:
        # The manifest first: what has none is no run any more, whatever happens to the rest.
        (run / MANIFEST).unlink()
        shutil.rmtree(run)
    except OSError as error:
        raise RunProblem(f"{run}: expected a folder that can be removed, found: {error.strerror}") from error
