"""Environment of the dashboard's process: how the command tells the script which runs there are."""

HOME = "WSPT_DASHBOARD_RUNS"
"""The folder of runs."""
CHOSEN = "WSPT_DASHBOARD_RUN"
"""The run to begin with; empty for the newest."""
