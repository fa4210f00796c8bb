import numpy as np
import pytest
from checks.attention import check_attention, check_masked_softmax, check_split_heads


def softmax(scores, axis=-1):
    weights = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)


def right_attention(q, k, v):
    return softmax(q @ k.T / np.sqrt(q.shape[1])) @ v


def right_masked(scores, mask):
    if not mask.any():
        return np.zeros_like(scores)
    return softmax(np.where(mask, scores, -np.inf))


def right_split(x, heads):
    return x.reshape(len(x), heads, -1).swapaxes(0, 1)


def without_shift(q, k, v):
    weights = np.exp(q @ k.T / np.sqrt(q.shape[1]))
    return weights / weights.sum(axis=-1, keepdims=True) @ v


def very_negative(scores, mask):
    return softmax(np.where(mask, scores, -1e30))


def divides_by_nothing(scores, mask):
    weights = np.where(mask, np.exp(scores), 0.0)
    return weights / weights.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("check", "function"),
    [(check_attention, right_attention), (check_masked_softmax, right_masked), (check_split_heads, right_split)],
)
def test_the_solution_passes(check, function, capsys):
    check(function)
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda q, k, v: softmax(q @ k.T) @ v, "not scaled"),
        (lambda q, k, v: softmax(q @ k.T / q.shape[1]) @ v, "divided by d"),
        (lambda q, k, v: softmax(q @ k.T / np.sqrt(len(q))) @ v, "the number of frames"),
        (lambda q, k, v: softmax(q @ k.T / np.sqrt(q.shape[1]), axis=0) @ v, "runs over the queries"),
        (lambda q, k, v: right_attention(k, q, v), "queries and keys are swapped"),
        (lambda q, k, v: q @ k.T / np.sqrt(q.shape[1]) @ v, "the softmax is missing"),
        (lambda q, k, v: right_attention(q, k, k), "mixes the keys"),
        (lambda q, k, v: softmax(q @ k.T / np.sqrt(q.shape[1])), "these are the probabilities"),
        (without_shift, "overflows"),
    ],
)
def test_check_attention_names_the_mistake(function, message):
    with pytest.raises(AssertionError, match=message):
        check_attention(function)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda scores, mask: np.where(mask, softmax(scores), 0.0), "no longer sum to 1"),
        (lambda scores, mask: softmax(np.where(mask, scores, 0.0)), "still get a share"),
        (lambda scores, mask: right_masked(scores, ~mask), "wrong way round"),
        (lambda scores, mask: softmax(scores), "changes nothing"),
        (very_negative, "rows are uniform"),
        (divides_by_nothing, "rows are NaN"),
    ],
)
def test_check_masked_softmax_names_the_mistake(function, message):
    with pytest.raises(AssertionError, match=message):
        check_masked_softmax(function)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, heads: x.reshape(heads, len(x), -1), "mixes time and channels"),
        (lambda x, heads: x.reshape(len(x), -1, heads).transpose(2, 0, 1), "so-many-th channel"),
        (lambda x, heads: x.reshape(len(x), heads, -1), "wrong way round"),
        (lambda x, heads: right_split(x, heads).swapaxes(1, 2), "channels come before the frames"),
    ],
)
def test_check_split_heads_names_the_mistake(function, message):
    with pytest.raises(AssertionError, match=message):
        check_split_heads(function)
