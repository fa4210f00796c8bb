"""Checks for the exercises of 07_disentangled_attention."""

from collections.abc import Callable
from typing import Any

import numpy as np

from checks import array_of_shape, close, passed
from sewnp import layers
from sewnp.types import Array


def check_log_buckets(log_buckets: Callable[..., Any]) -> None:
    """log_buckets(distances, buckets, max_distance): distances (n,) integers -> the bucket of each."""
    buckets, max_distance = 32, 128
    distances = np.arange(-max_distance + 1, max_distance)
    expected = layers.log_buckets(distances, buckets=buckets, max_distance=max_distance)
    found = _integers(log_buckets(distances.copy(), buckets, max_distance), distances.shape)
    if not np.array_equal(found, expected):
        raise AssertionError(_bucket_mistake(distances, found, expected, buckets // 2))

    # where the formula is a whole number on paper, float64 lands past it: which of these shows it depends on the order of its operations
    for buckets, max_distance, distances in ((32, 129, [32, 64]), (8, 20, [19]), (8, 9, [128]), (6, 7, [12, 24, 48])):
        odd = np.array(distances)
        expected = layers.log_buckets(odd, buckets=buckets, max_distance=max_distance)
        found = _integers(log_buckets(odd.copy(), buckets, max_distance), odd.shape)
        assert np.array_equal(found, expected), (
            f"right for 32 buckets and max_distance 128, but with {buckets} and {max_distance} the distances {distances} land in"
            f" {found.tolist()}, expected {expected.tolist()}: did you compute in float64, or in another order? Make the two logarithms"
            " float32, divide one by the other, then multiply, all in float32"
        )
    passed("log_buckets: exact near, logarithmic far, odd in sign, and float32 where it matters")


def check_c2p(c2p: Callable[..., Any]) -> None:
    """c2p(q, position_keys, relative): (N, d), (2 span, d), (N, N) -> (N, N)."""
    for frames in (7, 12):  # in the second clip some relative positions lie past the table
        q, keys, relative = _problem(frames, span=8, seed=1)
        expected = layers.content_to_position(q[None, None], keys[None, None], relative)[0, 0]
        found = array_of_shape(_called("c2p", c2p, q, keys, relative), expected.shape)
        if not close(found, expected):
            raise AssertionError(_c2p_mistake(found, q, keys, relative, expected))
    passed("c2p: every query reads its own row, at the place of the key's relative position")


def check_p2c(p2c: Callable[..., Any]) -> None:
    """p2c(k, position_queries, relative): (N, d), (2 span, d), (N, N) -> (N, N)."""
    for frames in (7, 12):
        k, queries, relative = _problem(frames, span=8, seed=2)
        expected = layers.position_to_content(k[None, None], queries[None, None], relative)[0, 0]
        found = array_of_shape(_called("p2c", p2c, k, queries, relative), expected.shape)
        if not close(found, expected):
            raise AssertionError(_p2c_mistake(found, k, queries, relative, expected))
    passed("p2c: every key reads its own row, and the result stands query first")


def _problem(frames: int, *, span: int, seed: int) -> tuple[Array, Array, Array]:
    """Frames, a table of 2 span positions, and who stands where."""
    rng = np.random.default_rng(seed)
    relative = np.arange(frames)[:, None] - np.arange(frames)
    return rng.standard_normal((frames, 4)), rng.standard_normal((2 * span, 4)), relative


def _called(name: str, function: Callable[..., Any], *arguments: Array) -> Any:
    try:
        return function(*(argument.copy() for argument in arguments))
    except IndexError as error:
        raise AssertionError(
            f"{name} reads past the table ({error}): positions further away than it reaches take its first or last row, so clip the index"
            " to 0 ... 2 span - 1"
        ) from None


def _integers(found: Any, shape: tuple[int, ...]) -> Array:
    array = array_of_shape(found, shape, what="the buckets")
    assert np.array_equal(array, np.round(array)), f"buckets are whole numbers, found {array[array != np.round(array)][0]:.4g}"
    return array.astype(np.int64)


def _bucket_mistake(distances: Array, found: Array, expected: Array, middle: int) -> str:
    wrong = int(distances[found != expected][np.abs(distances[found != expected]).argmin()])  # the nearest distance that is wrong
    where = f"distance {wrong} lands in bucket {found[distances == wrong][0]}, expected {expected[distances == wrong][0]}"
    if np.array_equal(found, np.abs(expected)):
        return f"{where}: the sign is lost; the past and the future have buckets of their own"
    if np.array_equal(found, -expected):
        return f"{where}: the sign is the wrong way round"
    if np.array_equal(found, np.clip(distances, -2 * middle, 2 * middle - 1)) or np.array_equal(
        found, np.clip(distances, -2 * middle, 2 * middle)
    ):
        return f"{where}: it looks as if you clip the distance, without any logarithm"
    near = np.abs(distances) <= middle
    if not np.array_equal(found[near], expected[near]):
        return f"{where}: up to buckets // 2 = {middle} the bucket is the distance itself"
    steps = (
        np.log(np.maximum(np.abs(distances), middle) / middle) / np.log(8) * (middle - 1)
    )  # max_distance is 8 times the middle here
    slips = [np.where(near, distances, np.sign(distances) * (middle + np.ceil(steps - nudge))) for nudge in (0, 1e-6)]
    if any(np.array_equal(found, slip) for slip in slips):
        return f"{where}: divide by the logarithm of (max_distance - 1) / middle; yours has max_distance"
    if np.array_equal(np.abs(found), np.abs(expected) - (~near)) or np.all(np.abs(found) <= np.abs(expected)):
        return f"{where}: too small; the logarithm is rounded up (np.ceil), not down and not to the nearest"
    return f"{where}: right up to {middle}; beyond, sign * (ceil(log(|r| / middle) / log((max_distance - 1) / middle) * (middle - 1)) + middle)"


def _c2p_mistake(found: Array, q: Array, keys: Array, relative: Array, expected: Array) -> str:
    size = len(keys)
    products = q @ keys.T
    if close(found, np.take_along_axis(products, relative % size, axis=1)):
        return (
            "no span added to the index: relative position 0 is row span of the table, not row 0. NumPy did not complain because a"
            " negative index counts from the end"
        )
    if close(found, _read(products, -relative)):
        return "the sign of the relative position is the wrong way round: c2p[i, j] reads relative[i, j], which is i - j"
    if close(found, expected.T):
        return "transposed: c2p[i, j] belongs to query i and key j, so the gather along the query's own row already stands right"
    if close(found, expected / np.sqrt(q.shape[1])) or close(found, expected / np.sqrt(3 * q.shape[1])):
        return "divided by the scale: right but for that, the scale is left to the caller"
    inside = np.abs(relative) < size // 2
    if close(found[inside], expected[inside]):
        return "right inside the table, wrong past it: positions further away take its first or last row (clip, not modulo)"
    return _first_difference("c2p", found, expected)


def _p2c_mistake(found: Array, k: Array, queries: Array, relative: Array, expected: Array) -> str:
    products = k @ queries.T
    if close(found, expected.T):
        return "right but transposed: the gather runs along the key's own row, so its result stands key first; swap the axes"
    if close(found, _read(products, relative)):
        return (
            "this is c2p with other arguments: it reads row i of the products, the query's. In p2c the products belong to the keys:"
            " p2c[i, j] reads row j"
        )
    if close(found, _read(products, relative).T):
        return "the sign of the relative position is the wrong way round: p2c[i, j] = k[j] . queries[relative[i, j] + span], with i - j"
    if close(found, np.take_along_axis(products, relative.T % len(queries), axis=1).T):
        return "no span added to the index: relative position 0 is row span of the table, not row 0"
    inside = np.abs(relative) < len(queries) // 2
    if close(found[inside], expected[inside]):
        return "right inside the table, wrong past it: positions further away take its first or last row (clip, not modulo)"
    return _first_difference("p2c", found, expected)


def _read(products: Array, relative: Array) -> Array:
    size = products.shape[1]
    return np.take_along_axis(products, np.clip(relative + size // 2, 0, size - 1), axis=1)


def _first_difference(name: str, found: Array, expected: Array) -> str:
    i, j = np.argwhere(~np.isclose(found, expected))[0].tolist()
    return f"{name}[{i}, {j}] is {found[i, j]:.4g}, expected {expected[i, j]:.4g}"
