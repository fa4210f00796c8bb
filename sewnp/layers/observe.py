"""Seeing what happens inside: observation is an argument, not a global.

A composite layer takes ``see`` and calls ``x = see("name", x)`` at each of its stages.  Recording is ``trace[name] = x; return x``;
replacing a stage is returning something else.  Off, it costs some tens of nanoseconds.

In a pass that can go back (``f_vjp``) ``see`` returns the value and the pullback of what it did to it, so that one argument records values
and gradients, replaces either, and is dropout: ``return x * keep, lambda dy: dy * keep``.
"""

from collections.abc import Callable
from typing import TypeVar

from sewnp.types import Array, See, SeeVjp


def unseen(name: str, x: Array, /) -> Array:
    """The observer that looks at nothing: hands every value back.

    >>> unseen("scores", 3.0)
    3.0
    """
    return x


def unseen_vjp(name: str, x: Array, /) -> tuple[Array, Callable[[Array], Array]]:
    """The observer that looks at nothing, of a pass that can go back.

    >>> value, pullback = unseen_vjp("scores", 3.0)
    >>> value, pullback(0.5)
    (3.0, 0.5)
    """
    return x, _unchanged


S = TypeVar("S", See, SeeVjp)


def within(see: S, scope: str) -> S:
    """The same observer, of either kind, one scope further in: ``within(see, "attention")("q", x)`` is ``see("attention.q", x)``.

    >>> within(lambda name, x: print(name, x), "attention")("q", 3.0)
    attention.q 3.0
    """
    return see if see is unseen or see is unseen_vjp else lambda name, x: see(f"{scope}.{name}", x)


def values_only(see: SeeVjp) -> See:
    """An observer of passes that can go back, for one that does not: a part of a network that is not trained.

    >>> values_only(lambda name, x: (2 * x, None))("scores", 3.0)
    6.0
    """
    return unseen if see is unseen_vjp else lambda name, x: see(name, x)[0]


def _unchanged(dy: Array) -> Array:
    return dy
