"""Wiring and showing: the commands, what they wire together, and what people and machines read."""
