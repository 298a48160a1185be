"""What stands above every page: which run this is, how it is doing, and what is wrong with it."""

import time

import streamlit as st

from apps import figures
from apps.dashboard.markup import Markup, Tone, badge, banner, box, html
from apps.memory import market_questions, questions
from apps.memory.run_memory import RunMemory
from recorder.runs import Manifest, Status

CARDS_EVERY_S = 0.5
CHARTS_EVERY_S = 1.0

_STATES: dict[str, tuple[str, Tone]] = {
    "finished": ("✓ finished", "quiet"),
    "interrupted": ("‖ interrupted", "warn"),
    "failed": ("✕ failed", "down"),
    "crashed": ("✕ crashed", "down"),
}


def heading(run: RunMemory) -> None:
    """The run's name and state; while it runs, as they change."""
    is_growing = run.is_growing

    @st.fragment(run_every=CHARTS_EVERY_S if is_growing else None)
    def head() -> None:
        run.look()
        if is_growing != run.is_growing:
            st.rerun()  # it has ended: the page need not look again
        st.html(box(_line(run), _trouble(run)))

    head()


def state_of(manifest: Manifest, status: Status | None) -> tuple[str, Tone]:
    """A run's state in a word: a replay that runs is replaying, a session is live."""
    if status == "running":
        return ("● live" if manifest.kind == "live" else "● replaying", "up")
    return _STATES.get(status or "", ("unknown", "quiet"))


def _line(run: RunMemory) -> Markup:
    manifest = run.manifest
    assert manifest is not None
    parts = [f'<span class="name">{html(run.path.name)}</span>', badge(*state_of(manifest, run.status))]
    if manifest.simulated:
        parts.append(badge("SIMULATED market", "warn"))
    said = [manifest.tape.venue, "live session" if manifest.kind == "live" else "replay"]
    if (known := questions.span(run)) is not None:
        said += [f"{figures.moment(known[0])} UTC", figures.duration(known[1] - known[0])]
    if manifest.digest:
        said.append(f"digest {manifest.digest[:12]}")
    parts.append(f'<span class="w-quiet">{html(" · ".join(said))}</span>')
    return Markup(f'<div class="w-head">{"".join(parts)}</div>')


def _trouble(run: RunMemory) -> Markup:
    """What the reader must know: the folder is gone, the session died, the feed is lost."""
    said = []
    if run.problem:
        said.append(f"{run.problem}. This page shows what was read before.")
    elif run.status == "crashed":
        said.append(f"Nobody writes this run any more, though it never ended: it was killed. {_way_on(run)}")
    if run.is_growing and market_questions.connections(run)["latest"] == "disconnected":
        said.append("The feed has lost its connection and tries again; nothing fills until the venue has spoken.")
    if run.is_growing and run.ledger.torn_bytes and _is_stuck(run):
        said.append(f"{run.ledger.torn_bytes} bytes at the end of the ledger are no whole line yet; they are left out.")
    return Markup("".join(banner(text) for text in said))


def _way_on(run: RunMemory) -> str:
    """What makes a killed run whole again."""
    if run.manifest is not None and run.manifest.kind == "live":
        return f"`wspt recover {run.path}` makes it whole, `wspt live --resume {run.path}` also goes on with it."
    return f"`wspt replay {run.path}` makes it again from its tape."


def _is_stuck(run: RunMemory) -> bool:
    """A half-written line is normal for a moment; one that stays is worth a word."""
    return time.monotonic() - run.news_at > 5.0
