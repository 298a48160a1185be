"""What a strategy does to the process it runs in is not left behind: its prints are no results, its folder not ours."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import TextIO


class Aside(io.StringIO):
    """What is said to a person in passing. Where nobody takes it any more - a pipe that was closed, a disk that is
    full - it is lost: no history may depend on that, and no session end of it.
    """

    def __init__(self, to: TextIO) -> None:
        super().__init__()
        self._to = to

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._to.write(text)
        return len(text)

    def leads_to(self, stream: TextIO) -> bool:
        """Whether that is where it goes."""
        return self._to is stream

    def flush(self) -> None:
        with suppress(OSError):
            self._to.flush()


@contextmanager
def contained() -> Iterator[None]:
    """While strategies are asked, or loaded: what they print is for a person to see, as our own stdout may be a
    machine's; where they go, nobody follows, as a run's files are named from where the command was given; and calls
    may nest as deep afterwards as before, as others need it.
    """
    aside, depth = _aside(sys.stderr), sys.getrecursionlimit()
    try:
        with redirect_stdout(aside), redirect_stderr(aside), chdir("."):
            yield
    finally:
        if sys.getrecursionlimit() < depth:
            sys.setrecursionlimit(depth)


_asides: list[Aside] = []
"""All that there were, none ever freed: `print` in a thread uses a stream without owning it."""


def _aside(to: TextIO) -> Aside:
    if isinstance(to, Aside):
        return to
    if not _asides or not _asides[-1].leads_to(to):
        _asides.append(Aside(to))
    return _asides[-1]


def back_to(folder: str) -> None:
    """Undo a strategy's change of the current folder: the same for those who ask a thousand times a second."""
    if os.getcwd() != folder:  # noqa: PTH109  # a Path of it would cost more than the look
        os.chdir(folder)
