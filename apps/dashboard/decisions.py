"""The page of decisions: what strategies wanted and what became of it; one of them, and what was seen then."""

from typing import Any

import streamlit as st

from apps import figures
from apps.dashboard.explaining import explain, sized
from apps.dashboard.heading import CHARTS_EVERY_S
from apps.dashboard.markup import box, empty, title
from apps.dashboard.moment import whole
from apps.dashboard.picking import ROW_OR_CELL, chosen_row, pick
from apps.memory import decision_questions as asked
from apps.memory import market_questions, questions
from apps.memory.run_memory import Row, RunMemory

SHOWN = 500


def page(run: RunMemory) -> None:
    """A list that does not move under the hand: newer decisions are announced, and shown when asked for."""
    known = questions.span(run)
    names = [row["name"] for row in questions.leaderboard(run)]
    if known is None or not names:
        st.html(box(empty("Nothing has been decided yet.", "Signals appear here as strategies raise them.")))
        return
    strategy = pick("Strategy", ["all", *names], "strategy")
    left, right = st.columns([2, 3], vertical_alignment="center")
    outcome = left.segmented_control("Outcome", asked.OUTCOMES, default="all", label_visibility="collapsed")
    words = right.text_input("Search", placeholder="words of a reason", label_visibility="collapsed")
    upto = st.session_state.setdefault(f"upto {run.path}", known[1])
    found = asked.decisions(
        run,
        strategy="" if strategy == "all" else strategy,
        symbol="",
        outcome=outcome or "all",
        words=words.strip(),
        upto=upto,
        count=SHOWN,
    )
    if run.is_growing:
        _newer(run, upto)
    if (chosen := _table(run, found)) is not None:
        explain(run, *chosen)


def _newer(run: RunMemory, upto: int) -> None:
    @st.fragment(run_every=CHARTS_EVERY_S)
    def announce() -> None:
        run.look()
        more = asked.decided_after(run, upto)
        if st.button(f"Show {figures.several(more, 'newer decision')}", disabled=not more, key="newer"):
            known = questions.span(run)
            st.session_state[f"upto {run.path}"] = known[1] if known else upto
            st.rerun()

    announce()


def _table(run: RunMemory, found: list[Row]) -> tuple[str, int] | None:
    """The rows, and the one that is chosen: by a click, else by the address, else the newest."""
    if not found:
        st.html(box(empty("No decision fits.", "Fewer words, or another strategy or outcome, may find some.")))
        return None
    count = (
        figures.several(len(found), "row") if len(found) < SHOWN else f"the newest {SHOWN} rows, older ones by search"
    )
    st.html(box(title("Decisions", f"{count}, the newest first; click one")))
    places = market_questions.price_places(run)
    event = st.dataframe(
        [_shown(row, places) for row in found],
        hide_index=True,
        on_select="rerun",
        selection_mode=ROW_OR_CELL,
        key=f"decisions {run.path} {len(found)}",
        height=min(36 * len(found) + 38, 330),
        column_config={
            "reason": st.column_config.TextColumn(width="large"),
            "outcome": st.column_config.TextColumn(width="medium"),
            "size": st.column_config.TextColumn(alignment="right"),
            "limit": st.column_config.TextColumn(alignment="right"),
        },
    )
    number = chosen_row(event, len(found))
    if number is not None:
        row = found[number]
        st.query_params["decision"] = f"{row['strategy']}:{row['seq']}"
    return _addressed(st.query_params.get("decision", "")) or (found[0]["strategy"], found[0]["seq"])


def _shown(row: Row, places: dict[str, int]) -> dict[str, Any]:  # a cell is what Streamlit has a column for
    limit = row["limit_price"]
    return {
        "time (UTC)": figures.clock(row["ts"]),
        "strategy": row["strategy"],
        "action": row["action"],
        "symbol": row["symbol"],
        "size": sized(row),
        "type": row["order_type"] if row["action"] != "cancel" else "",
        "limit": "" if limit is None else figures.fixed(limit, places.get(row["symbol"], 2)),
        "outcome": f"✕ {row['rejection']}" if row["rejected"] else "✓ carried out",
        "reason": row["reason"] or "",
    }


def _addressed(text: str) -> tuple[str, int] | None:
    strategy, _, seq = text.rpartition(":")
    number = whole(seq)
    return (strategy, number) if strategy and number is not None else None
