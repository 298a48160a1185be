"""The pages by name, and what stands around each: which run it is about, and what is wrong with that one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from apps.dashboard import compare, console, decisions, market, overview, runs, strategy, time_travel
from apps.dashboard.choice import home, path_of
from apps.dashboard.heading import heading
from apps.dashboard.markup import STYLE, banner, box, empty
from apps.dashboard.runs_known import first_choice, memory_of, run_names
from apps.memory.run_memory import RunMemory

LOOK_EVERY_S = 1.0
ICON = Path(__file__).with_name("icon.svg")
"""Of our own: Streamlit would fetch one of its symbols from the network."""

Page = Callable[[RunMemory], None]

PAGES: tuple[tuple[str, str, Page], ...] = (
    ("Overview", "overview", overview.page),
    ("Strategy", "strategy", strategy.page),
    ("Decisions", "decisions", decisions.page),
    ("Market", "market", market.page),
    ("Time travel", "time", time_travel.page),
    ("Compare", "compare", compare.page),
    ("SQL", "sql", console.page),
)
"""Pages of a run: title, path in the address, and what draws it."""


def main() -> None:
    st.set_page_config(page_title="wspt", page_icon=str(ICON), layout="wide")
    st.html(STYLE)
    pages = [
        st.Page(partial(on_run, page), title=title, url_path=path, default=number == 0)
        for number, (title, path, page) in enumerate(PAGES)
    ]
    st.session_state["overview page"] = pages[0]
    st.navigation([*pages, st.Page(runs.page, title="Runs", url_path="runs")], position="top").run()


def draw(path: str) -> None:
    """The page of this path alone, without the way to the others."""
    if path == "runs":
        runs.page()
        return
    [page] = [page for _, known, page in PAGES if known == path]
    on_run(page)


def on_run(page: Page) -> None:
    """A page of the chosen run, below what says which one that is."""
    names = _with_kept(run_names())
    if not names:
        st.html(box(empty(f"There is no run in {home()} yet.", "A replay makes one in a second; a session goes on:")))
        st.code("wspt replay data/sample.parquet\nwspt live --simulated", language="sh")
        _wait(lambda: bool(run_names()))
        return
    left, right = st.columns([3, 1], vertical_alignment="center")
    run = memory_of(str(path_of(_choice(names, right))))
    run.look()
    with left:
        if run.manifest is None:
            st.html(box(empty("This run cannot be read.", f"{run.problem}. Choose another one on the right.")))
            _wait(lambda: run.manifest is not None, run)
            return
        _say_missed(run)
        heading(run)
    page(run)


def _say_missed(run: RunMemory) -> None:
    """An address may name a run that is no more: nobody shall take another one's money for its."""
    asked, shown = st.session_state.get("missed run", ("", ""))
    if shown and path_of(shown) != run.path:
        del st.session_state["missed run"]  # somebody has chosen one since
    elif shown:
        st.html(box(banner(f"There is no run {asked}: this is {shown}. See Runs for all there are.")))


def _with_kept(names: list[str]) -> list[str]:
    """The run that this session looks at stays there to be looked at, whatever became of its folder."""
    kept = st.session_state.get("kept run")
    return names if kept is None or kept in names else [kept, *names]


def _wait(is_there: Callable[[], bool], run: RunMemory | None = None) -> None:
    """Draw the page again as soon as there is something on it."""

    @st.fragment(run_every=LOOK_EVERY_S)
    def look() -> None:
        if run is not None:
            run.look()
        if is_there():
            st.rerun()

    look()


def _choice(names: list[str], place: DeltaGenerator) -> str:
    """The run of this session; its address says so too, so that it can be sent to somebody."""
    wanted = st.session_state.pop("next run", None) or st.session_state.get("run", st.session_state.get("kept run"))
    st.session_state["run"] = wanted if wanted in names else first_choice(names)
    name: str = place.selectbox("Run", names, key="run", label_visibility="collapsed")
    st.query_params["run"] = st.session_state["kept run"] = name
    return name
