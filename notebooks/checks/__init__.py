"""What the notebooks share: showing a layer's own source, and trying an exercise without stopping the notebook.

Each notebook has a module here with the checks of its exercises.  ``check_xxx(function)`` prints a line that starts with a tick, or raises
AssertionError with a message that says what is wrong.
"""

import base64
import html
import inspect
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from checks import sources


def show_source(*things: Any, bare: bool = False) -> None:
    """Display the source of functions or classes, highlighted, as it stands in the package; bare: without types and checks."""
    from IPython.display import Markdown, display

    pieces = [sources.bare(inspect.getsource(thing)) if bare else inspect.getsource(thing).rstrip() for thing in things]
    display(Markdown("\n\n".join(f"```python\n{piece}\n```" for piece in pieces)))


def caption(text: str) -> None:
    """Show the figures that were drawn, and under them what there is to see."""
    from IPython.display import Markdown, display
    from matplotlib import pyplot

    pyplot.show()
    display(Markdown(f"*{text}*"))


def play(sounds: Mapping[str, np.ndarray], rate: int = 16_000) -> None:
    """Show a player for each sound under its name: (n,) samples, made equally loud, as MP3 of some 3 kB a second."""
    import soundfile
    from IPython.display import HTML, display

    players = []
    for name, samples in sounds.items():
        file = io.BytesIO()
        loud = 0.7 * np.asarray(samples, dtype=np.float32) / max(float(np.abs(samples).max()), 1e-9)
        soundfile.write(file, loud, rate, format="MP3", compression_level=0.8)
        coded = base64.b64encode(file.getvalue()).decode()
        sound = f'<audio controls preload="none" src="data:audio/mpeg;base64,{coded}"></audio>'
        players.append(f'<figure class="sound">{sound}<figcaption>{html.escape(name)}</figcaption></figure>')
    display(HTML("\n".join(players)))


def attempt(check: Callable[..., None], *functions: Any) -> None:
    """Run a check; where it fails, print why and go on, so that a notebook with open exercises runs to its end."""
    try:
        check(*functions)
    except NotImplementedError:
        print("not yet: the function is still to be written")
    except AssertionError as error:
        print(f"not yet: {error}")


def passed(message: str) -> None:
    """Say that a check is content."""
    print(f"✓ {message}")


def array_of_shape(found: Any, expected: tuple[int, ...], *, what: str = "the result") -> np.ndarray:
    """``found`` as an array of that shape and without NaN; AssertionError says which of these it is not."""
    assert found is not None, f"{what} is None: is a return missing?"
    try:
        array = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        raise AssertionError(f"{what} should be an array of numbers, found {type(found).__name__}") from None
    assert array.shape == expected, f"{what} has shape {array.shape}, expected {expected}"
    assert not np.isnan(array).any(), f"{what} holds NaN (not a number): is something divided by zero?"
    return array


def close(found: Any, expected: Any, *, tolerance: float = 1e-5) -> bool:
    """Whether both have one shape and differ by at most that fraction of the largest expected value."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if found.shape != expected.shape:
        return False
    if not found.size:
        return True
    return bool(np.abs(found - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-30))
