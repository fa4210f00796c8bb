"""Multi-head attention against a loop over queries and keys, and against the module of transformers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import affine, assert_close64, assert_equals_torch, assert_good_manners, few, loaded
from sewnp.errors import InputError
from sewnp.layers import key_mask, merge_heads, multi_head_attention, query_key_mask, split_heads

seeds = st.integers(0, 10**6)


def weights(rng, width):
    return {f"{n}_proj": affine(rng, width, width) for n in ("q", "k", "v", "out")}


def dot(a, b):
    return math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def project(frame, layer):
    return [dot(row, frame) + b for row, b in zip(layer["weight"], layer["bias"], strict=True)]


def loop_attention(x, p, *, heads, allowed):
    """One query at a time: scores, their softmax over the allowed keys, the mean of the values under it.  allowed (B, h, N, N) bool."""
    batch, frames, width = x.shape
    size = width // heads
    y = np.empty_like(x)
    for b in range(batch):
        q, k, v = ([project(frame, p[f"{n}_proj"]) for frame in x[b]] for n in "qkv")
        for i in range(frames):
            context = []
            for head in range(heads):
                own = slice(head * size, (head + 1) * size)
                keys = [j for j in range(frames) if allowed[b, head, i, j]]
                weight = [math.exp(dot(q[i][own], k[j][own]) / math.sqrt(size)) for j in keys]
                total = math.fsum(weight)
                context += [
                    math.fsum(w * v[j][c] for w, j in zip(weight, keys, strict=True)) / (total or 1.0) for c in range(width)[own]
                ]
            y[b, i] = project(context, p["out_proj"])
    return y


def problem(seed, batch, frames, heads, size):
    """x, weights, and a mask over frames of which some rows may be empty."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, frames, heads * size)) * 2
    return x, weights(rng, heads * size), rng.random((batch, frames)) < rng.choice([0.3, 0.8, 1.0])


@few
@given(
    seeds,
    st.integers(1, 2),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([None, key_mask, query_key_mask]),
)
def test_equals_a_loop(seed, batch, frames, heads, size, rule):
    x, p, mask = problem(seed, batch, frames, heads, size)
    shape = (batch, heads, frames, frames)
    mask = rule(mask) if rule else None
    allowed = np.ones(shape, dtype=bool) if mask is None else np.broadcast_to(mask, shape)
    assert_close64(multi_head_attention(x, p, heads=heads, mask=mask), loop_attention(x, p, heads=heads, allowed=allowed))


def module(width, heads, implementation):
    from transformers import SEWConfig
    from transformers.models.sew.modeling_sew import SEWAttention

    config = SEWConfig(hidden_size=width, num_attention_heads=heads)
    config._attn_implementation = implementation
    return SEWAttention(width, heads, config=config)


@few
@given(seeds, st.integers(1, 3), st.integers(1, 25), st.integers(1, 6), st.integers(1, 16), st.booleans())
def test_equals_the_module_of_transformers(seed, batch, frames, heads, size, masked):
    """With sdpa, its default; masks of clips that are all padding included."""
    x, p, mask = problem(seed, batch, frames, heads, size)
    mask = np.broadcast_to(key_mask(mask), (batch, 1, frames, frames)).copy() if masked else None
    assert_equals_torch(
        lambda x, p: multi_head_attention(x, p, heads=heads, mask=mask),
        lambda x, p: loaded(module(heads * size, heads, "sdpa"), p)(x, attention_mask=tensor(mask))[0],
        x,
        p,
    )


def tensor(mask):
    import torch

    return None if mask is None else torch.tensor(mask)


def test_probabilities_equal_the_attentions_of_transformers():
    """Only the eager implementation shows them; its mask is additive."""
    import torch

    x, p, _ = problem(0, 2, 7, 3, 4)
    mask = np.array([[True] * 7, [True] * 4 + [False] * 3])

    def ours(x, p):
        seen = {}
        multi_head_attention(x, p, heads=3, mask=key_mask(mask), see=lambda name, y: seen.setdefault(name, y))
        return seen["probabilities"]

    def theirs(x, p):
        additive = torch.zeros(2, 1, 1, 7, dtype=x.dtype).masked_fill(~torch.tensor(key_mask(mask)), torch.finfo(x.dtype).min)
        return loaded(module(12, 3, "eager"), p)(x, attention_mask=additive)[1]

    assert_equals_torch(ours, theirs, x, p)


def test_a_fully_masked_clip_gives_the_output_bias():
    """As sdpa has it: a query that may look nowhere has a context of zeros.  (The eager implementation would look everywhere.)"""
    x, p, _ = problem(1, 2, 5, 2, 3)
    mask = np.array([[True] * 5, [False] * 5])
    y = multi_head_attention(x, p, heads=2, mask=key_mask(mask))
    np.testing.assert_array_equal(y[1], np.broadcast_to(p["out_proj"]["bias"], (5, 6)))
    assert_close64(y[:1], multi_head_attention(x[:1], p, heads=2))


def test_what_a_masked_frame_holds_reaches_no_other_frame():
    x, p, _ = problem(2, 1, 6, 2, 3)
    mask = np.array([[True, True, False, True, False, True]])
    before = multi_head_attention(x, p, heads=2, mask=key_mask(mask))
    x[:, ~mask[0]] = 1e6
    after = multi_head_attention(x, p, heads=2, mask=key_mask(mask))
    np.testing.assert_array_equal(after[:, mask[0]], before[:, mask[0]])


def test_padded_queries_still_look_at_real_keys():
    """A quirk of transformers: the mask hides keys only, so a padded frame's output is as good as any other's."""
    x, p, _ = problem(3, 1, 4, 1, 3)
    mask = np.array([[True, True, True, False]])
    y = multi_head_attention(x, p, heads=1, mask=key_mask(mask))
    assert np.abs(y[0, 3] - p["out_proj"]["bias"]).max() > 0.1


@pytest.mark.parametrize("shape", [(), (5,), (5, 5), (1, 5, 5), (3, 5, 5), (2, 1, 1, 5), (2, 1, 5, 5), (2, 3, 1, 5), (2, 3, 5, 1)])
def test_a_mask_broadcasts_over_batch_head_query_and_key(shape):
    x, p, _ = problem(4, 2, 5, 3, 2)
    mask = np.asarray(np.random.default_rng(5).random(shape) < 0.6)
    full = np.broadcast_to(mask, (2, 3, 5, 5))
    y = multi_head_attention(x, p, heads=3, mask=mask)
    assert_close64(y, loop_attention(x, p, heads=3, allowed=full))


def test_heads_are_contiguous_blocks_of_channels():
    x = np.arange(2 * 3 * 6).reshape(2, 3, 6)
    heads = split_heads(x, 2)
    assert heads.shape == (2, 2, 3, 3)
    for b, head, n, c in np.ndindex(heads.shape):
        assert heads[b, head, n, c] == x[b, n, head * 3 + c]
    np.testing.assert_array_equal(merge_heads(heads), x)


@few
@given(seeds, st.integers(1, 3), st.integers(0, 4), st.integers(1, 4), st.integers(1, 4))
def test_merge_heads_inverts_split_heads(seed, batch, frames, heads, size):
    x = np.random.default_rng(seed).normal(size=(batch, frames, heads * size))
    np.testing.assert_array_equal(merge_heads(split_heads(x, heads)), x)


def test_good_manners():
    x, p, mask = problem(6, 2, 5, 2, 3)
    for given_mask in (None, key_mask(mask), query_key_mask(mask)):
        assert_good_manners(
            lambda x, p, mask, **see: multi_head_attention(x, p, heads=2, mask=mask, **see),
            x,
            p,
            given_mask,
            stages=["q", "k", "v", "scores", "probabilities", "context", "output"],
        )
    assert_good_manners(lambda x: split_heads(x, 2), x)
    assert_good_manners(merge_heads, x[None])


def test_channels_that_do_not_divide_into_heads_are_refused():
    with pytest.raises(InputError, match="split_heads: 6 channels do not divide into 4 heads"):
        split_heads(np.zeros((1, 2, 6)), 4)
    x, p, _ = problem(7, 1, 3, 2, 3)
    with pytest.raises(InputError, match="6 channels do not divide into 4 heads"):
        multi_head_attention(x, p, heads=4)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((1, 1, 1, 3)), "mask: expected a boolean array"),
        (np.ones((1, 1, 1, 4), dtype=bool), r"mask: expected a shape that broadcasts to that of the scores, \(1, 2, 3, 3\)"),
    ],
)
def test_a_mask_that_is_not_one_is_refused(mask, message):
    x, p, _ = problem(8, 1, 3, 2, 3)
    with pytest.raises(InputError, match=message):
        multi_head_attention(x, p, heads=2, mask=mask)
