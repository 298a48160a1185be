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


def pick_several(label: str, names: Sequence[str], first: Sequence[str], key: str, most: int) -> list[str]:
    """The names chosen by hand, else by the address, else `first`; as with one, the address and other pages keep them.

    The choice is one of its own for each list of names to choose from.
    """
    held, kept = f"{key} of {names}", f"kept {key}"
    wanted = (st.session_state.get(held), st.query_params.get_all(key), st.session_state.get(kept), first)
    known = ([name for name in several or () if name in names][:most] for several in wanted)
    if held in st.session_state:
        st.session_state[held] = next(known)  # nobody chosen is a choice too
    else:
        st.session_state[held] = next((several for several in known if several), [])
    chosen: list[str] = st.multiselect(label, names, key=held, max_selections=most)
    st.query_params[key] = st.session_state[kept] = chosen
    return chosen


ROW_OR_CELL: tuple[Literal["single-row"], Literal["single-cell"]] = ("single-row", "single-cell")
"""What can be selected in a table of which one row is chosen: a click on any of its cells is meant for the row."""


def chosen_row(event: Any, count: int) -> int | None:
    """The row that was clicked on, or whose box was ticked, in a table of so many; event is what it gave."""
    selection = event["selection"]
    rows = [*(row for row, _ in selection["cells"]), *selection["rows"]]
    return rows[0] if rows and rows[0] < count else None
