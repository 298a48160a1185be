"""The one clock of a recording: the wall's time and the time that never runs backwards."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Clock(NamedTuple):
    """Where the stamps of a recording come from.

    wall_ns:  ns UTC. It may jump, also backwards, and is recorded as it is.
    mono_ns:  ns since an unknown moment; waiting is measured with it.
    """

    wall_ns: Callable[[], int] = time.time_ns
    mono_ns: Callable[[], int] = time.monotonic_ns


SYSTEM_CLOCK = Clock()
