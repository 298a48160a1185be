"""Seeded draws that are the same to the last bit on every machine and every CPython from 3.11.

The only source is `Random.random()`, whose sequence Python guarantees for a seed. Floats are only added,
multiplied and divided, one by one, which IEEE 754 fixes to the last bit. What it leaves to the machine's
C library (`exp`, `log`, and with them `gauss` and `lognormvariate`) is made of these, and `sum` is avoided: it
rounds differently since CPython 3.12. The shapes are near enough to their names for a made-up market.
"""

from random import Random

_LN2 = 0.6931471805599453
_SQUARINGS = 10


class Chance:
    """A stream of draws; equal seeds give equal streams."""

    def __init__(self, seed: str) -> None:
        self.uniform = Random(seed).random

    def normal(self) -> float:
        """Mean 0, standard deviation 1, never beyond 6: the sum of twelve uniforms, less six."""
        total = -6.0
        for _ in range(12):
            total += self.uniform()
        return total

    def exponential(self) -> float:
        """Mean 1.04: a geometric number of halvings, and a uniform rest."""
        halvings = 0
        while self.uniform() < 0.5:
            halvings += 1
        return (halvings + self.uniform()) * _LN2

    def log_normal(self, median: float) -> float:
        """`median` times e to a normal draw."""
        return median * _exp(self.normal())


def _exp(power: float) -> float:
    """e to `power`, within 2 % up to 6 either way: (1 + power / 1024) to the 1024th, by squaring."""
    root = 1.0 + power / (1 << _SQUARINGS)
    for _ in range(_SQUARINGS):
        root *= root
    return root
