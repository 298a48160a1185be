"""Which run a session looks at: as its address says, as the command said, or the newest."""

from pathlib import Path

import streamlit as st

from apps.dashboard.ahead import memory_ahead
from apps.dashboard.choice import home, named_run
from apps.memory.run_memory import RunMemory
from recorder.runs import Run, list_runs


@st.cache_data(ttl=1.0, show_spinner=False)
def known_runs(folder: str) -> list[Run]:
    """Every run in a folder, the newest first, looked at once a second at most."""
    return list_runs(Path(folder))


def run_names() -> list[str]:
    """What can be chosen: the run that was named, wherever it is, and those in the folder of runs."""
    named = named_run()
    names = [run.name for run in known_runs(str(home()))]
    return [named, *names] if named and named not in names else names


def first_choice(names: list[str]) -> str:
    """Where nobody has chosen yet."""
    asked = st.query_params.get("run", "")
    choice = asked if asked in names else named_run() or names[0]
    if asked and asked != choice and "kept run" not in st.session_state:
        st.session_state["missed run"] = (asked, choice)
    return choice


@st.cache_resource(max_entries=6, on_release=RunMemory.close, show_spinner="Reading the run …")
def memory_of(path: str) -> RunMemory:
    """One memory a run, shared by all sessions."""
    run = memory_ahead(Path(path)) or RunMemory(Path(path))
    run.look()
    return run


def forget(path: Path) -> None:
    """A run that is no more, or not as it was."""
    memory_of.clear(str(path))
    known_runs.clear()
