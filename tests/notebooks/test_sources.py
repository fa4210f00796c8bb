"""What the notebooks show: sources without types, checks and examples on request, and sounds to play."""

import ast
import base64
import inspect
import io
import re

import IPython.display
import numpy as np
import pytest
import soundfile
from checks import play
from checks.sources import bare

from sewnp import layers

SOURCE = '''def half(
    x: Array,
    *,
    by: float = 2.0,
) -> Array:
    """Halved.

    >>> half(4)
    2

    Raises InputError.
    """
    check_shape("x", x, (None,))
    if by == 0:
        raise InputError("by")
    y: Array = x / by  # type: ignore[operator]
    return y
'''


def test_what_is_left_is_what_is_computed() -> None:
    expected = 'def half(x, *, by=2.0):\n    """Halved."""\n    y = x / by\n    return y'
    assert bare(SOURCE) == expected
    assert bare(expected) == expected


def test_every_layer_stays_a_program() -> None:
    for name in layers.__all__:
        thing = getattr(layers, name)
        if inspect.isfunction(thing):
            tree = ast.parse(bare(inspect.getsource(thing)))
            assert not [node for node in ast.walk(tree) if isinstance(node, ast.arg) and node.annotation], name


def test_every_sound_has_a_player_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(IPython.display, "display", lambda output: shown.append(output.data))
    tone = np.sin(np.arange(16_000) / 5)
    play({"a tone": tone, "quiet & long": 0.001 * np.tile(tone, 2), "silence": np.zeros(8000)})
    assert re.findall("<figcaption>(.*?)</figcaption>", shown[0]) == ["a tone", "quiet &amp; long", "silence"]
    coded = re.findall('base64,([^"]*)', shown[0])
    sounds = [soundfile.read(io.BytesIO(base64.b64decode(each)))[0] for each in coded]
    assert [round(len(sound) / 16_000, 1) for sound in sounds] == [1.0, 2.0, 0.5]
    assert abs(np.abs(sounds[1]).max() - 0.7) < 0.1
    assert not sounds[2].any()
    assert max(map(len, coded)) < 15_000
