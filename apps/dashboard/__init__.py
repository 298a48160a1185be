"""The dashboard: Streamlit pages over a run, while it is written and after."""
