"""Which run a session looks at: as its address says, as the command said, or the newest."""

import os
from pathlib import Path

import streamlit as st

from apps.dashboard.choice import CHOSEN, HOME
from apps.memory.run_memory import RunMemory
from recorder.runs import Run, list_runs


def home() -> Path:
    return Path(os.environ.get(HOME, "data/runs"))


@st.cache_data(ttl=1.0, show_spinner=False)
def known_runs(folder: str) -> list[Run]:
    """Every run in a folder, the newest first, looked at once a second at most."""
    return list_runs(Path(folder))


def run_names() -> list[str]:
    """What can be chosen: the run that was named, wherever it is, and those in the folder of runs."""
    named = _named()
    names = [run.name for run in known_runs(str(home()))]
    return [named, *names] if named and named not in names else names


def path_of(name: str) -> Path:
    """The folder of a run by the name under which it can be chosen."""
    return Path(name) if Path(name).is_absolute() else home() / name


def first_choice(names: list[str]) -> str:
    """Where nobody has chosen yet."""
    asked = st.query_params.get("run", "")
    choice = asked if asked in names else _named() or names[0]
    if asked and asked != choice and "kept run" not in st.session_state:
        st.toast(f"There is no run {asked}: this is {choice}.")
    return choice


def _named() -> str:
    """The run that the command named: by its name if it is, or will be, in the folder of runs, else by its path."""
    named = os.environ.get(CHOSEN, "")
    path = home() / named
    return path.name if named and path.parent.resolve() == home().resolve() else str(path.resolve()) if named else ""


@st.cache_resource(max_entries=6, on_release=RunMemory.close, show_spinner="Reading the run …")
def memory_of(path: str) -> RunMemory:
    """One memory a run, shared by all sessions."""
    run = RunMemory(Path(path))
    run.look()
    return run


def forget(path: Path) -> None:
    """A run that is no more, or not as it was."""
    memory_of.clear(str(path))
    known_runs.clear()
