"""The script that Streamlit runs for every session."""

from apps.dashboard.pages import main

main()
