"""Colors that the color-blind can tell apart, for a light and for a dark page."""

from collections.abc import Iterable

# Okabe and Ito's set without its yellow and black, which vanish on one of the two backgrounds.
SERIES = ("#1c7fc2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7ae6", "#999999")
DASHES = ("solid", "dashed", "dotted")
UP, DOWN = "#1c7fc2", "#d55e00"
"""Gains and losses, bids and asks: blue and vermilion, as red and green are the same to one man in twelve."""
QUIET = "#8a8a8a"


def colors(names: Iterable[str]) -> dict[str, str]:
    """A color for each name, the same as long as the names are the same."""
    return {name: SERIES[number % len(SERIES)] for number, name in enumerate(sorted(names))}


def dashes(names: Iterable[str]) -> dict[str, str]:
    """A kind of line for each name, which tells apart those that share a color."""
    return {name: DASHES[number // len(SERIES) % len(DASHES)] for number, name in enumerate(sorted(names))}
