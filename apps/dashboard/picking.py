"""One of several, chosen on the page: a name, remembered in its address, or a row of a table."""

from collections.abc import Sequence
from typing import Any, Literal

import streamlit as st


def pick(label: str, names: Sequence[str], key: str) -> str:
    """The name chosen by hand, else by the address, else the first; the address then says which, so it can be sent.

    Few names stand beside one another, many are a list. What was chosen is kept while another page is looked at.
    """
    kept = f"kept {key}"
    wanted = (st.session_state.get(key), st.query_params.get(key), st.session_state.get(kept), names[0])
    # Said anew each time: where the names are others than before, as on another page, Streamlit forgets the choice.
    st.session_state[key] = next(name for name in wanted if name in names)
    if len(names) <= 8:
        chosen = st.segmented_control(label, names, key=key, label_visibility="collapsed", required=True)
    else:
        chosen = st.selectbox(label, names, key=key, label_visibility="collapsed")
    name = st.session_state[kept] = str(chosen or st.session_state[key])
    st.query_params[key] = name
    return name


ROW_OR_CELL: tuple[Literal["single-row"], Literal["single-cell"]] = ("single-row", "single-cell")
"""What can be selected in a table of which one row is chosen: a click on any of its cells is meant for the row."""


def chosen_row(event: Any, count: int) -> int | None:
    """The row that was clicked on, or whose box was ticked, in a table of so many; event is what it gave."""
    selection = event["selection"]
    rows = [*(row for row, _ in selection["cells"]), *selection["rows"]]
    return rows[0] if rows and rows[0] < count else None
