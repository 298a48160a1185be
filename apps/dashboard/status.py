"""How a desk is, in a cell: a sign and a word, so that its color is not needed."""

from apps.dashboard.markup import Markup, toned
from recorder.runs import Status


def status_cell(status: str, run: Status | None) -> Markup:
    """A desk's status as the leaderboard has it: ok, or failed or halted with the reason; `run` is its run's."""
    if status.startswith("failed"):
        return toned(f"✕ {status}", "down")
    if status.startswith("halted"):
        return toned(f"‖ {status}", "warn")
    if run == "running":
        return toned("● running", "up")
    return toned("✕ killed", "warn") if run == "crashed" else toned("✓ ended", "quiet")
