"""Symbols that a venue does not list, and what was perhaps meant."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from recorder.venues.profiles import Listing, Profile

_OTHER_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
"""Kraken's old names of assets, which its first WebSocket and its REST still use."""

_SUGGESTIONS_MAX = 3


def unknown_symbols(profile: Profile, payload: bytes, symbols: Iterable[str]) -> dict[str, list[str]] | None:
    """Those of `symbols` that are not in the venue's list, each with suggestions; None where `payload` is no list."""
    reading = profile.read(payload)
    return unlisted(reading.symbols, symbols) if isinstance(reading, Listing) else None


def unlisted(listed: Sequence[str], symbols: Iterable[str]) -> dict[str, list[str]]:
    """Those of `symbols` that are not `listed`, each with the listed names nearest to it, best first."""
    known = set(listed)
    return {symbol: suggestions(symbol, listed) for symbol in symbols if symbol not in known}


def suggestions(symbol: str, listed: Sequence[str]) -> list[str]:
    """Listed names that `symbol` may stand for: the same name written otherwise, or else names alike."""
    by_letters = {_letters(name): name for name in listed}
    meant = by_letters.get(_letters(symbol))
    if meant is not None:
        return [meant]
    near = get_close_matches(_letters(symbol), by_letters, n=_SUGGESTIONS_MAX, cutoff=0.7)
    return [by_letters[name] for name in near]


def _letters(symbol: str) -> str:
    """A name without what people leave out or write otherwise: `xbt-usd` is BTCUSD."""
    letters = "".join(char for char in symbol.upper() if char.isalnum())
    for old, new in _OTHER_NAMES.items():
        letters = letters.replace(old, new)
    return letters
