"""The user's mistakes: one sentence that names the thing, what was expected and what was found."""

from collections.abc import Iterable
from difflib import get_close_matches

from recorder.problems import Problem


class UserProblem(Problem):
    """Something the user can mend. The command line prints its text and exits with 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that `name` may have been meant for, or an empty text."""
    found = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def in_one_line(text: str) -> str:
    """What somebody else wrote is shown, and never obeyed by the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
