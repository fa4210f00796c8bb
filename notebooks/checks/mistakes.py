"""Naming a mistake: a wrong result is compared with what typical slips would have given."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from checks import close


def call(function: Callable[..., Any], *arguments: Any, on: str) -> Any:
    """The function's result, with copies of the arguments; complains of an error, and of a changed argument.  on: what it is called with."""
    copies = [argument.copy() if isinstance(argument, np.ndarray) else argument for argument in arguments]
    try:
        found = function(*copies)
    except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
        raise AssertionError(f"with {on} it stops with {type(error).__name__}: {error}") from error
    for before, after in zip(arguments, copies, strict=True):
        if isinstance(before, np.ndarray):
            assert np.array_equal(before, after), f"with {on} it changes its argument: return a new array instead"
    return found


def agree(
    found: Any, expected: np.ndarray, mistakes: Mapping[str, Any], *, on: str, reason: Callable[..., str] = lambda *place: ""
) -> None:
    """Pass when ``found`` is the expected array; else say which mistake it looks like, by its result, or how far off it is.

    reason: why the value at a place is what it is.
    """
    assert found is not None, f"with {on} the result is None: is a return missing?"
    try:
        array = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        raise AssertionError(f"with {on} the result should be an array of numbers, found {type(found).__name__}") from None
    if close(array, expected):
        return
    for message, wrong in mistakes.items():
        assert not close(array, wrong), f"with {on}: {message}"
    assert array.shape == expected.shape, f"with {on} the shape is {array.shape}, expected {expected.shape}"
    assert np.isfinite(array).all(), f"with {on} the result holds NaN or infinities"
    place = tuple(int(i) for i in np.argwhere(~np.isclose(array, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()))[0])
    raise AssertionError(
        f"with {on} the shape is right and the values are not: at {place} found {array[place]:.5g}, expected {expected[place]:.5g}"
        + reason(*place)
    )
