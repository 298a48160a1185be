"""Decimal rules: how prices, quantities and cash are made from market data, and rounded where they are born.

Every number of money has exactly twelve decimals, so that its text in a digest, its decimal128(38, 12) in
Parquet and its value in memory are the same thing; none is a negative zero (`or ZERO`), which Parquet does
not know. Arithmetic goes through one private context: operators
such as `a * b` would use the thread's, which a strategy is free to change.
"""

import math
from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
)
from functools import lru_cache

_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])

QUANTUM = Decimal("0.000000000001")
"""The smallest amount of anything: twelve decimals."""
ZERO = Decimal("0.000000000000")
ONE = Decimal("1.000000000000")
BPS = Decimal("0.0001")
DEFAULT_LOT = Decimal("0.000000010000")
"""Quantity step where the tape does not know the instrument: eight decimals, as BTC has."""

add = _CONTEXT.add
subtract = _CONTEXT.subtract
_quantize = _CONTEXT.quantize
_multiply = _CONTEXT.multiply
_divide = _CONTEXT.divide
_whole = _CONTEXT.divide_int  # exact: the whole number of times that one positive amount holds another


def money(number: float | str | Decimal) -> Decimal:
    """`number` as money. A float is taken at its shortest text, which is what the venue printed.

    Raises ValueError where it is not finite or does not fit into 38 digits.
    """
    return of_float(float(number)) if isinstance(number, float) else _made(number)


@lru_cache(maxsize=4_096)  # prices come back: every desk asks for the same ones, and they move by ticks
def of_float(number: float) -> Decimal:
    """`number`, which is a plain float, as money: the short way for market data."""
    return _made(repr(number))


def _made(number: str | Decimal) -> Decimal:
    try:
        made = _quantize(Decimal(number), QUANTUM)
    except InvalidOperation as error:
        raise ValueError(f"not an amount of money: {number!r}") from error
    if not made.is_finite() or made.adjusted() > 25:
        raise ValueError(f"not an amount of money: {number!r}")
    return made or ZERO  # never a negative zero, which Parquet could not keep


def multiply(a: Decimal, b: Decimal) -> Decimal:
    """The product, rounded half to even at twelve decimals."""
    return _quantize(_multiply(a, b), QUANTUM) or ZERO


def divide(a: Decimal, b: Decimal) -> Decimal:
    """The quotient, rounded half to even at twelve decimals."""
    return _quantize(_divide(a, b), QUANTUM) or ZERO


def share(whole: Decimal, part: Decimal, of: Decimal) -> Decimal:
    """`whole * part / of`, rounded once; exactly `whole` where part equals `of`."""
    if part == of:
        return whole
    return _quantize(_divide(_multiply(whole, part), of), QUANTUM) or ZERO


def negate(a: Decimal) -> Decimal:
    """Minus `a`, never a negative zero."""
    return a.copy_negate() or ZERO


def floor_to(amount: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that does not exceed `amount` (both positive)."""
    return _multiply(_whole(amount, step), step)


def ceil_to(amount: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of `step` that is not below `amount` (both positive)."""
    floor = floor_to(amount, step)
    return floor if floor == amount else add(floor, step)


def floor_divide(a: Decimal, b: Decimal, step: Decimal) -> Decimal:
    """`a / b`, cut down to a multiple of `step`: how much of something at price `b` an amount `a` buys."""
    return _multiply(_whole(a, _multiply(b, step)), step)


def bps_of(amount: Decimal, bps: Decimal) -> Decimal:
    """`bps` basis points of `amount` (1 bps = 0.01 %), rounded once."""
    if not bps:
        return ZERO
    return _quantize(_multiply(_multiply(amount, bps), BPS), QUANTUM) or ZERO


def is_number(value: object) -> bool:
    """Whether `value` is a finite real number a strategy may hand us (not a bool)."""
    if type(value) is float:
        return math.isfinite(value)
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except (OverflowError, ValueError):  # a whole number beyond all floats, a signaling NaN
        return False
