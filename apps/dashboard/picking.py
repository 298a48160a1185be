"""One of several names, chosen on the page and remembered in its address."""

from collections.abc import Sequence

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
