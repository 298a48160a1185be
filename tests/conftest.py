"""What every test may ask for: the captures of real venues, and hypothesis profiles that repeat."""

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

CAPTURES = Path(__file__).resolve().parents[2] / "shared" / "captures"

# `ci` gives the same examples on every machine and every day, so that a red run can be run again.
# `torture` is for a free evening: `just torture`.
settings.register_profile("ci", max_examples=100, derandomize=True, deadline=None, database=None)
settings.register_profile(
    "torture",
    max_examples=20_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci")


def pytest_sessionfinish() -> None:
    """Let go of what runs froze, or DuckDB complains at exit that it has leaked."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of real venue captures, which stands beside the repository and never in it."""
    if not CAPTURES.is_dir():
        pytest.skip(f"needs the real captures in {CAPTURES}, which are not part of the repository")
    return CAPTURES
