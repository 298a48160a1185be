"""Any value of a strategy's as JSON has it, to be looked at and not to be read back."""

import dataclasses
import math
from collections import deque
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

ITEMS_MAX = 200
"""Items of a list that are shown; of a longer one the last, which in a history are the latest."""
_DEPTH_MAX = 6
_TEXT_MAX = 500
_BITS_MAX = 10_000
"""Of a whole number: Python writes out no more than 4,300 digits."""


def plain(value: object, depth: int = 0) -> Any:
    """`value` as text, numbers, lists and dicts; what these cannot hold is told by its type's name.

    An object is told by its attributes. Nothing of the value is called but the `repr` of a type that has its own:
    looking must not change it.
    """
    match value:
        case None | bool():
            return value
        case int():  # and what is made of it, as are numpy's kinds of float and text
            return int(value) if value.bit_length() <= _BITS_MAX else f"<{type(value).__name__}>"
        case str():
            return _text(value)
        case float():
            return float(value) if math.isfinite(value) else None
        case Decimal():
            return amount(value)
        case date():
            return value.isoformat()
    if depth == _DEPTH_MAX:
        return _told(value)
    if isinstance(value, msgspec.Struct):
        return _fields(value, value.__struct_fields__, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value, tuple(field.name for field in dataclasses.fields(value)), depth)
    if isinstance(value, dict):
        return {_text(str(key)): plain(item, depth + 1) for key, item in dict.items(value)}
    if type(value) in (list, tuple, deque):
        return _items(list(value), depth)  # type: ignore[call-overload]  # one of the three
    if type(value) in (set, frozenset):
        return _items(sorted(value, key=repr), depth)  # type: ignore[call-overload]  # one of the two
    if type(value).__repr__ is object.__repr__ and getattr(value, "__dict__", None) and not callable(value):
        return {"type": type(value).__name__, **_fields(value, tuple(vars(value)), depth)}
    return _told(value)


def _text(value: str) -> str:
    """As a file can hold it."""
    return str.__str__(value).encode(errors="backslashreplace").decode()


def amount(value: Decimal) -> str:
    """An amount of money in full, without exponent and trailing zeros."""
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def _fields(value: object, names: tuple[str, ...], depth: int) -> dict[str, Any]:
    return {name: plain(getattr(value, name), depth + 1) for name in names if not name.startswith("_")}


def _items(values: list[Any], depth: int) -> list[Any]:
    return [plain(item, depth + 1) for item in values[-ITEMS_MAX:]]


def _told(value: object) -> str:
    """Its own words, if it has some that say no address in memory, which would differ from run to run."""
    kind = type(value)
    if kind.__repr__ is object.__repr__ or callable(value):
        return f"<{kind.__name__}>"
    try:
        text = repr(value)
    except KeyboardInterrupt:
        raise
    except BaseException:  # it is the strategy's own
        return f"<{kind.__name__}>"
    return f"<{kind.__name__}>" if " at 0x" in text else text[:_TEXT_MAX]
