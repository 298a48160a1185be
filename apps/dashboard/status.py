"""How a desk is, in a cell: a sign and a word, so that its color is not needed."""

from apps.dashboard.markup import Markup, toned


def status_cell(status: str, is_growing: bool) -> Markup:
    """`status` as the leaderboard has it: ok, or failed or halted with the reason."""
    if status.startswith("failed"):
        return toned(f"✕ {status}", "down")
    if status.startswith("halted"):
        return toned(f"‖ {status}", "warn")
    return toned("● running", "up") if is_growing else toned("✓ ended", "quiet")
