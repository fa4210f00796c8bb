"""What show_source leaves out on request: types, checks, examples; never arithmetic."""

import ast
import inspect

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
