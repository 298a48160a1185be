"""The pure core: ticks in, portfolio events out. No I/O, no clock, no chance."""

from engine.signals import Signal

__all__ = ["Signal"]
