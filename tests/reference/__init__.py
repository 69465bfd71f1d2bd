"""Slow literal twins of the mathematics; they share no code with the package."""
