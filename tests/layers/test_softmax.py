"""The softmaxes against a plain loop over Python floats, and against torch."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sewnp.errors import InputError
from sewnp.layers.softmax import log_softmax, masked_softmax, softmax

few = settings(max_examples=40, deadline=None, derandomize=True)
dtypes = pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
both = pytest.mark.parametrize(("ours", "theirs"), [(softmax, torch.softmax), (log_softmax, torch.log_softmax)])


def row_oracle(scores, allowed):
    """One row, in Python floats: exp, an exact sum, a division."""
    kept = [math.exp(score) if ok else 0.0 for score, ok in zip(scores, allowed, strict=True)]
    total = math.fsum(kept)
    return [k / total if total else 0.0 for k in kept]


def within(ours, truth, theirs=None):
    """Is ours as good as its dtype allows?  Errors are fractions of the truth's own largest entry."""
    scale = np.abs(truth).max()
    error = np.abs(ours.astype(np.float64) - truth).max() / scale
    if theirs is None:
        return error <= 1e-14  # float64 against float64: a sum of some tens of terms rounds a few times, at 2e-16 each
    # float32: nothing better than float32 arithmetic can be expected, so torch's own error is the yardstick, with room for another
    # order of summation; 4 eps where torch happens to be exact
    return error <= 4 * max(np.abs(theirs.astype(np.float64) - truth).max() / scale, 4 * np.finfo(np.float32).eps)


@few
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 9), st.sampled_from([0.1, 3.0, 50.0]))
def test_each_row_equals_a_loop_over_floats(seed, rows, n, scale):
    rng = np.random.default_rng(seed)
    x = rng.normal(scale=scale, size=(2, rows, n))
    mask = rng.random((2, rows, n)) < 0.6
    everything = np.ones_like(mask)
    for allowed, ours in [(everything, softmax(x)), (everything, masked_softmax(x, None)), (mask, masked_softmax(x, mask))]:
        for i, j in itertools.product(range(2), range(rows)):
            np.testing.assert_allclose(ours[i, j], row_oracle(x[i, j], allowed[i, j]), rtol=1e-13, atol=0)
    logs = log_softmax(x)
    for i, j in itertools.product(range(2), range(rows)):
        # log-probabilities around 100 carry an absolute error of 100 eps, hence the tolerance relative to the scale
        expected = [score - math.log(math.fsum(math.exp(s - 200.0) for s in x[i, j])) - 200.0 for score in x[i, j]]
        np.testing.assert_allclose(logs[i, j], expected, rtol=0, atol=1e-15 * max(200.0, scale))


@both
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_equals_torch(ours, theirs, scale):
    x = np.random.default_rng(0).normal(scale=scale, size=(3, 5, 32))
    assert within(ours(x), theirs(torch.tensor(x), -1).numpy())
    x32 = x.astype(np.float32)
    truth = theirs(torch.tensor(x32.astype(np.float64)), -1).numpy()
    assert within(ours(x32), truth, theirs(torch.tensor(x32), -1).numpy())


def test_masked_softmax_equals_torch_attention_with_an_empty_row():
    """q and k chosen so that the attention's context is the probabilities: v is the identity."""
    rng = np.random.default_rng(1)
    q, k = rng.normal(size=(2, 3, 7, 8)), rng.normal(size=(2, 3, 7, 8))
    mask = np.ones((2, 1, 1, 7), dtype=bool)
    mask[0, ..., 4:] = False
    mask[1] = False
    v = torch.eye(7, dtype=torch.float64).expand(2, 3, 7, 7)
    theirs = torch.nn.functional.scaled_dot_product_attention(
        torch.tensor(q), torch.tensor(k), v, attn_mask=torch.tensor(mask).expand(2, 1, 7, 7), scale=1.0
    ).numpy()
    ours = masked_softmax(q @ np.swapaxes(k, -1, -2), mask)
    assert within(ours, theirs)
    assert not ours[1].any()
    assert not ours[0, ..., 4:].any()
    np.testing.assert_allclose(ours[0].sum(-1), 1, rtol=1e-14)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 1, 5), (5,), (4, 5), (2, 1, 4, 1), (1,), ()])
def test_a_mask_broadcasts(shape):
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(2, 3, 4, 5))
    mask = np.asarray(rng.random(shape) < 0.5)
    np.testing.assert_array_equal(masked_softmax(scores, mask), masked_softmax(scores, np.broadcast_to(mask, scores.shape).copy()))


@pytest.mark.parametrize("hidden", [np.nan, np.inf, 1e300, -np.inf])
def test_what_the_mask_hides_does_not_matter(hidden):
    mask = np.array([True, False, True])
    scores = np.array([[1.0, 2.0, 3.0]])
    expected = masked_softmax(scores, mask)
    scores[0, 1] = hidden
    np.testing.assert_array_equal(masked_softmax(scores, mask), expected)
    assert expected[0, 1] == 0
    np.testing.assert_allclose(expected[0, [0, 2]], softmax(np.array([1.0, 3.0])), rtol=1e-15)


@dtypes
@pytest.mark.parametrize(
    "function", [softmax, log_softmax, lambda x: masked_softmax(x, None), lambda x: masked_softmax(x, x[:1] > 0)]
)
def test_dtype_is_kept_and_the_input_not_changed(function, dtype):
    x = np.random.default_rng(3).normal(size=(3, 6)).astype(dtype)
    before = x.copy()
    x.flags.writeable = False
    y = function(x)
    assert y.dtype == dtype
    assert y.shape == x.shape
    np.testing.assert_array_equal(x, before)


@dtypes
@pytest.mark.parametrize("shift", [0.0, 60000.0, -60000.0])
def test_large_scores_neither_overflow_nor_vanish(shift, dtype):
    """exp(60000) overflows in every dtype; the largest entry is subtracted first, so a shift changes nothing."""
    x = np.array([[0.0, 32.0, 64.0]], dtype=dtype)
    shifted = x + dtype(shift)  # multiples of 32 are exact in float16 up to 65504
    for function in (softmax, log_softmax, lambda scores: masked_softmax(scores, None)):
        np.testing.assert_array_equal(function(shifted), function(x))
    np.testing.assert_allclose(softmax(shifted), [[0, 0, 1]], atol=1e-13)  # exp(-32) is 1.3e-14
    np.testing.assert_allclose(log_softmax(shifted), [[-64, -32, 0]], atol=1e-13)


@both
def test_inf_and_nan_are_as_in_torch(ours, theirs):
    x = np.array([[-np.inf, 1.0, 2.0], [np.inf, 1.0, 2.0], [np.nan, 1.0, 2.0], [-np.inf] * 3, [0.0, 1.0, 2.0]])
    expected = theirs(torch.tensor(x), -1).numpy()
    np.testing.assert_allclose(ours(x), expected, rtol=1e-15)
    assert np.isnan(expected[1:4]).all()


def test_masked_softmax_takes_minus_inf_for_masked_and_passes_nan_on():
    x = np.array([[-np.inf, 1.0, 2.0], [-np.inf] * 3, [np.nan, 1.0, 2.0], [np.inf, 1.0, 2.0]])
    for mask in (None, np.ones(3, dtype=bool)):
        y = masked_softmax(x, mask)
        np.testing.assert_allclose(y[0], [0, *softmax(np.array([1.0, 2.0]))], rtol=1e-15)
        assert not y[1].any()
        assert np.isnan(y[2]).all()
        assert np.isnan(y[3, 0])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.array([0.0, -np.inf]), r"mask: expected a boolean array \(True may be attended\), found dtype float64"),
        (np.array([1, 0]), "mask: expected a boolean array .*, found dtype int64"),
        (np.ones((3,), bool), r"mask: expected a shape that broadcasts to that of the scores, \(4, 2\), found \(3,\)"),
        (np.ones((5, 4, 2), bool), r"mask: .* \(4, 2\), found \(5, 4, 2\)"),
    ],
)
def test_a_mask_that_is_not_one_is_refused(mask, message):
    with pytest.raises(InputError, match=message):
        masked_softmax(np.zeros((4, 2)), mask)
