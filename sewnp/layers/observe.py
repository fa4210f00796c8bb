"""Seeing what happens inside: observation is an argument, not a global.

A composite layer takes ``see`` and calls ``x = see("name", x)`` at each of its stages.  Recording is ``trace[name] = x; return x``;
replacing a stage is returning something else.  Off, it costs some tens of nanoseconds.
"""

from sewnp.types import Array, See


def unseen(name: str, x: Array, /) -> Array:
    """The observer that looks at nothing: hands every value back."""
    return x


def within(see: See, scope: str) -> See:
    """The same observer, one scope further in: ``within(see, "attention")("q", x)`` is ``see("attention.q", x)``."""
    return see if see is unseen else lambda name, x: see(f"{scope}.{name}", x)
