"""What a strategy does to the process it runs in is not left behind: its prints are no results, its folder not ours."""

import os
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout


@contextmanager
def contained() -> Iterator[None]:
    """While strategies are asked, or loaded: what they print is for a person to see, as our own stdout may be a
    machine's; where they go, nobody follows, as a run's files are named from where the command was given.
    """
    with redirect_stdout(sys.stderr), chdir("."):
        yield


def back_to(folder: str) -> None:
    """Undo a strategy's change of the current folder: the same for those who ask a thousand times a second."""
    if os.getcwd() != folder:  # noqa: PTH109  # a Path of it would cost more than the look
        os.chdir(folder)
