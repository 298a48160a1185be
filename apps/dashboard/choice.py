"""Which runs the dashboard is about, as the command says in the environment of its process."""

import os
from pathlib import Path

HOME = "WSPT_DASHBOARD_RUNS"
"""The folder of runs."""
CHOSEN = "WSPT_DASHBOARD_RUN"
"""The run to begin with; empty for the newest."""


def home() -> Path:
    return Path(os.environ.get(HOME, "data/runs"))


def named_run() -> str:
    """The run that the command named: by its name if it is, or will be, in the folder of runs, else by its path."""
    named = os.environ.get(CHOSEN, "")
    path = home() / named
    return path.name if named and path.parent.resolve() == home().resolve() else str(path.resolve()) if named else ""


def path_of(name: str) -> Path:
    """The folder of a run by the name under which it can be chosen."""
    return Path(name) if Path(name).is_absolute() else home() / name
