"""Where on the tape something happens."""

import msgspec

NEVER = 1 << 62
"""A time that no tape reaches."""


def is_time(value: object) -> bool:
    """Whether a strategy's `value` is a time in ns that 64 bits can hold."""
    return type(value) is int and -(1 << 63) <= value < 1 << 63


class Moment(msgspec.Struct, gc=False):
    """Where on the tape something happens.

    ts:    tape time in ns.
    seq:   the tick that causes it.
    stop:  the row of the batch in hand before which the market counts.
    """

    ts: int
    seq: int
    stop: int
