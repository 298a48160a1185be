"""What is wrong with something the user named, as one sentence: the thing, what was expected, what was found."""


class Problem(ValueError):
    """A mistake the user can mend. The command line prints its text and exits with 2."""
