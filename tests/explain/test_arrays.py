"""Arrays into JSON and back, and what is pooled on the way."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sewnp.explain import pack, unpack
from sewnp.explain.arrays import pool_columns, pool_square


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 1.0, 1e6]), st.sampled_from(["uint8", "int8"]), st.sampled_from([1, 2]))
def test_no_value_is_off_by_more_than_half_a_step(seed: int, scale: float, code: str, power: int) -> None:
    rng = np.random.default_rng(seed)
    x = scale * rng.random((3, 5)) if power == 2 else scale * rng.normal(size=(3, 5))
    packed = json.loads(json.dumps(pack(x, code, power=power), allow_nan=False))
    found = unpack(packed)
    assert found.shape == x.shape
    root = 1 / power
    np.testing.assert_array_less(np.abs(found**root - x**root), packed["scale"] * 0.500001)
    if code == "int8":
        assert unpack(pack(np.where(x > 0, x, 0), "int8"))[x <= 0].tolist() == [0.0] * int((x <= 0).sum())


def test_whole_numbers_and_floats_are_kept() -> None:
    x = np.array([[-32768, 32767, 0]])
    np.testing.assert_array_equal(unpack(pack(x, "int16")), x)
    y = np.array([0.1, -1e30], dtype=np.float32)
    np.testing.assert_array_equal(unpack(pack(y, "float32")), y)


@pytest.mark.parametrize("x", [np.zeros((2, 3)), np.full((4,), 7.0), np.zeros((0, 3))])
def test_what_does_not_vary_comes_back(x: np.ndarray) -> None:
    np.testing.assert_array_equal(unpack(pack(x, "uint8")), x)


def test_columns_keep_what_is_farthest_from_zero() -> None:
    x = np.array([[1.0, -2.0, 0.5, 3.0, -3.5], [0.0, 0.0, -0.1, 0.05, 9.0]])
    pooled, step = pool_columns(x, 3)
    assert step == 2
    np.testing.assert_array_equal(pooled, [[-2.0, 3.0, -3.5], [0.0, -0.1, 9.0]])
    assert pool_columns(x, 5)[0] is x


def test_shares_still_add_up_and_scores_are_means() -> None:
    x = np.random.default_rng(0).random((2, 7, 7))
    x /= x.sum(axis=-1, keepdims=True)
    shares, step = pool_square(x, 3, keys="sum")
    assert (shares.shape, step) == ((2, 3, 3), 3)
    np.testing.assert_allclose(shares.sum(axis=-1), 1)
    np.testing.assert_allclose(shares[1, 0, 1], x[1, 0:3, 3:6].sum(axis=-1).mean())
    means, _ = pool_square(x, 3, keys="mean")
    np.testing.assert_allclose(means[0, 2, 2], x[0, 6, 6])
    np.testing.assert_allclose(means[0, 1, 0], x[0, 3:6, 0:3].mean())
    assert pool_square(x, 7, keys="sum")[0] is x
