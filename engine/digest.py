"""The hash that names a history: each desk's events as canonical lines, hashed one after the other."""

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from engine.events import Event

_ENCODER = msgspec.json.Encoder(decimal_format="string")


def canonical_lines(events: Iterable[Event]) -> bytes:
    """The events as JSON Lines: fields in their declared order, decimals as text, defaults left out."""
    return _ENCODER.encode_lines(list(events))


class Chain:
    """The running SHA-256 over one desk's canonical lines: every prefix of a ledger has its own."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, lines: bytes) -> None:
        """Extend the chain; how the lines are grouped into calls makes no difference."""
        self._hash.update(lines)

    def hexdigest(self) -> str:
        """The name of the history so far."""
        return self._hash.hexdigest()


def run_digest(desks: Mapping[str, str]) -> str:
    """One name for the histories of all desks: the SHA-256 over `name digest` lines in name order."""
    text = "".join(f"{name} {desks[name]}\n" for name in sorted(desks))
    return hashlib.sha256(text.encode()).hexdigest()
