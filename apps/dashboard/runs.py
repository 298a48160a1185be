"""The page of all runs: open, verify, label and delete them."""

from pathlib import Path
from typing import Any

import streamlit as st

from apps import figures
from apps.dashboard.choice import home
from apps.dashboard.heading import state_of
from apps.dashboard.markup import banner, box, empty, title, toned
from apps.dashboard.picking import ROW_OR_CELL, chosen_row
from apps.dashboard.runs_known import forget, known_runs
from apps.dashboard.verifying import Verification
from recorder.problems import Problem
from recorder.run_care import LABEL_MAX, delete_run, read_label, write_label
from recorder.runs import Run


def page() -> None:
    """The list, and what can be done to the run that is chosen in it."""
    found = known_runs(str(home()))
    if not found:
        st.html(box(empty(f"There is no run in {home()} yet.", "A replay makes one in a second; a session goes on:")))
        st.code("wspt replay data/sample.parquet\nwspt live --simulated", language="sh")
        return
    st.html(box(title("Runs", f"{figures.several(len(found), 'run')} in {home()}, the newest first; click one")))
    event = st.dataframe(
        [_shown(run) for run in found],
        hide_index=True,
        on_select="rerun",
        selection_mode=ROW_OR_CELL,
        key="runs",
        height=min(36 * len(found) + 38, 420),
        column_config={"ticks": st.column_config.NumberColumn(format="localized")},
    )
    number = chosen_row(event, len(found))
    if number is None:
        looked_at = st.session_state.get("kept run", st.query_params.get("run"))
        number = next((number for number, run in enumerate(found) if run.name == looked_at), 0)
    _actions(found[number])


def _shown(run: Run) -> dict[str, Any]:  # a cell is what Streamlit has a column for
    manifest = run.manifest
    if manifest is None:
        return {"run": run.name, "label": read_label(run.path), "state": "✕ broken", "tape": run.problem}
    return {
        "run": run.name,
        "label": read_label(run.path),
        "state": state_of(manifest, run.status)[0],
        "created (UTC)": manifest.created[:19].replace("T", " "),
        "venue": f"{manifest.tape.venue}{' (simulated)' if manifest.simulated else ''}",
        "strategies": len(manifest.strategies),
        "ticks": manifest.ticks,
        "tape": ", ".join(path.given for path in manifest.tape.paths),
        "digest": (manifest.digest or "")[:12],
    }


def _actions(run: Run) -> None:
    st.html(box(title(run.name, run.problem or str(run.path))))
    opening, verifying, labeling, deleting = st.columns([1, 1, 3, 1], vertical_alignment="bottom")
    if opening.button("Open", type="primary", width="stretch", disabled=run.manifest is None):
        st.session_state["next run"] = run.name
        st.switch_page(st.session_state["overview page"])
    if verifying.button("Verify", width="stretch", disabled=run.status not in ("finished", "interrupted")):
        _verifications()[str(run.path)] = Verification(run.path)
    before = read_label(run.path)
    label = labeling.text_input("Label", before, max_chars=LABEL_MAX, key=f"label {run.path}")
    if label != before:
        _try(write_label, run.path, label)
        if read_label(run.path) != before:
            st.rerun()  # the table above has been drawn already
    if deleting.button("Delete …", width="stretch", disabled=run.status == "running"):
        _confirm(run)
    _verification(run.path)


def _verification(path: Path) -> None:
    known = _verifications().get(str(path))
    if known is None:
        return

    @st.fragment(run_every=0.5 if not known.result else None)
    def progress() -> None:
        if not known.result:
            st.progress(known.share, f"Replaying and comparing: {known.share * 100:.0f} %")
        else:
            st.html(
                box(
                    toned(
                        f"{'✓' if known.is_identical else '✕'} {known.result}", "up" if known.is_identical else "down"
                    )
                )
            )

    progress()


@st.dialog("Delete this run?")
def _confirm(run: Run) -> None:
    """Says what goes and what stays, and wants its name."""
    tape = ", ".join(path.given for path in run.manifest.tape.paths) if run.manifest is not None else ""
    st.write(f"`{run.path}` goes: its ledger, its strategies, its logs. There is no way back.")
    if tape:
        st.write(f"Its tape stays: `{tape}`; a replay of it makes the same history again.")
    name = st.text_input(f"Type {run.name} to confirm")
    if st.button("Delete", type="primary", disabled=name != run.name):
        _try(delete_run, run.path)
        forget(run.path)
        st.rerun()


def _try(what: Any, *words: Any) -> None:  # a function of recorder.run_care and its arguments
    try:
        what(*words)
    except Problem as problem:
        st.html(box(banner(str(problem))))
        st.stop()
    known_runs.clear()


@st.cache_resource
def _verifications() -> dict[str, Verification]:
    """What is being verified or was, by the run's folder, for all sessions."""
    return {}
