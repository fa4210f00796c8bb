"""Frame counts and masks against counting by hand, and against transformers, both since 5.13 and before."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import few
from sewnp.errors import InputError
from sewnp.layers import frame_count, frame_lengths, frame_mask, key_mask, query_key_mask, squeeze_mask

# the published convolution stack
KERNELS = (10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1)
STRIDES = (5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1)

seeds = st.integers(0, 10**6)
stacks = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=4)


def model(kernels, strides):
    """A model of transformers as small as can be: only its convolution stack matters here."""
    from transformers import SEWConfig, SEWModel

    return SEWModel(
        SEWConfig(
            hidden_size=2,
            num_hidden_layers=0,
            num_attention_heads=1,
            num_conv_pos_embeddings=1,
            num_conv_pos_embedding_groups=1,
            conv_dim=(2,) * len(kernels),
            conv_kernel=kernels,
            conv_stride=strides,
        )
    )


def test_the_published_stack_makes_a_frame_of_400_samples_and_another_every_320():
    for n in range(60001):
        assert frame_count(n, kernels=KERNELS, strides=STRIDES) == (n - 400) // 320 + 1


@few
@given(st.integers(0, 200), stacks)
def test_frame_count_equals_sliding_each_kernel(samples, stack):
    frames = samples
    for kernel, stride in stack:
        frames = len(range(0, frames - kernel + 1, stride))
    kernels, strides = zip(*stack, strict=True)
    assert max(frame_count(samples, kernels=kernels, strides=strides), 0) == frames


@few
@given(seeds, stacks)
def test_lengths_and_masks_equal_transformers(seed, stack):
    """Lengths of 0 and below included: their recursion and ours floor alike."""
    import torch

    kernels, strides = zip(*stack, strict=True)
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 120, 12)
    counts[0] = 0
    attention_mask = np.arange(120) < counts[:, None]
    theirs = model(kernels, strides)
    lengths = frame_lengths(attention_mask, kernels=kernels, strides=strides)
    expected = theirs._get_feat_extract_output_lengths(torch.tensor(counts)).long().numpy()
    np.testing.assert_array_equal(lengths, expected)
    for frames in (1, 7, max(int(lengths.max()), 1)):
        expected = theirs._get_feature_vector_attention_mask(frames, torch.tensor(attention_mask)).numpy()
        np.testing.assert_array_equal(frame_mask(lengths, frames), expected)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float32, np.float64])
def test_an_attention_mask_of_any_dtype(dtype):
    mask = (np.arange(1000) < np.array([1000, 500, 0])[:, None]).astype(dtype)
    before = mask.tobytes()
    lengths = frame_lengths(mask, kernels=KERNELS, strides=STRIDES)
    assert lengths.dtype == np.int64
    assert lengths.tolist() == [2, 1, -1]
    assert mask.tobytes() == before


def test_only_the_number_of_ones_counts_not_where_they_stand():
    """A quirk of transformers: a clip padded on the left is taken for one padded on the right."""
    right = np.arange(1000) < np.array([[600]])
    lengths = frame_lengths(right, kernels=KERNELS, strides=STRIDES)
    np.testing.assert_array_equal(frame_lengths(right[:, ::-1], kernels=KERNELS, strides=STRIDES), lengths)
    np.testing.assert_array_equal(frame_lengths(np.roll(right, 77, axis=1), kernels=KERNELS, strides=STRIDES), lengths)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(5), r"attention_mask: expected shape \(batch, samples\), found \(5,\)"),
        (np.ones((1, 1, 5)), r"attention_mask: expected shape \(batch, samples\), found \(1, 1, 5\)"),
        (np.array([[1, 2]]), "attention_mask: expected only 0 and 1, found other values"),
        (np.array([[0.0, -1.0]]), "attention_mask: expected only 0 and 1"),
        (np.array([[0.0, -np.inf]]), "attention_mask: expected only 0 and 1"),
        (np.array([[1.0, np.nan]]), "attention_mask: expected only 0 and 1"),
    ],
)
def test_an_attention_mask_that_is_not_one_is_refused(mask, message):
    with pytest.raises(InputError, match=message):
        frame_lengths(mask, kernels=KERNELS, strides=STRIDES)


# ------------------------------------------------------------------------------------------------ "any", since transformers 5.13


@pytest.mark.parametrize("frames", range(1, 6))
def test_frame_mask_any_counts_frame_by_frame(frames):
    lengths = np.arange(-4, 9)
    mask = frame_mask(lengths, frames)
    assert mask.dtype == np.bool_
    assert mask.tolist() == [[t < length for t in range(frames)] for length in lengths]


def test_a_clip_without_frames_has_no_real_frame():
    assert not frame_mask(np.array([0, -1, -5]), 4).any()


@few
@given(seeds, st.integers(1, 4), st.integers(1, 12))
def test_squeeze_mask_any_equals_a_loop_and_the_max_pool_of_transformers(seed, factor, frames):
    import torch

    mask = np.random.default_rng(seed).random((3, frames)) < 0.5
    squeezed = squeeze_mask(mask, factor)
    assert squeezed.dtype == np.bool_
    expected = [[any(row[factor * n : factor * (n + 1)]) for n in range(frames // factor)] for row in mask.tolist()]
    assert squeezed.tolist() == expected
    if frames >= factor:
        pooled = torch.nn.functional.max_pool1d(torch.tensor(mask).float().unsqueeze(1), kernel_size=factor, stride=factor).squeeze(
            1
        )
        np.testing.assert_array_equal(squeezed, pooled.bool().numpy())


def test_a_half_valid_squeezed_frame_is_attended():
    mask = frame_mask(np.array([15, 14]), 20)
    assert squeeze_mask(mask, 2).sum(axis=1).tolist() == [8, 7]
    assert squeeze_mask(mask, 2, masking="floor").sum(axis=1).tolist() == [7, 7]


# ----------------------------------------------------------------------------------------------- "floor", before transformers 5.13


def frame_mask_of_4_57(lengths, frames):
    """transformers 4.57.1: a one at the last real frame, then everything up to it.  Its index may count from the end."""
    mask = np.zeros((len(lengths), frames), dtype=np.int64)
    mask[np.arange(len(lengths)), lengths - 1] = 1
    return np.flip(np.cumsum(np.flip(mask, -1), axis=-1), -1).astype(bool)


@few
@given(seeds, st.integers(1, 12))
def test_frame_mask_floor_equals_transformers_4_57(seed, frames):
    """Every length for which their index exists."""
    lengths = np.random.default_rng(seed).integers(1 - frames, frames + 1, 8)
    np.testing.assert_array_equal(frame_mask(lengths, frames, masking="floor"), frame_mask_of_4_57(lengths, frames))


def test_a_clip_without_frames_counts_as_whole_under_the_floor_rules():
    """The quirk that 5.13 mended: index 0 - 1 is the last frame."""
    mask = frame_mask(np.array([0, -1, 2]), 4, masking="floor")
    assert mask.tolist() == [[True] * 4, [True, True, True, False], [True, True, False, False]]


@pytest.mark.parametrize(("length", "real"), [(9, 4), (-4, 0), (-9, 0)])
def test_lengths_for_which_4_57_has_no_index_saturate(length, real):
    assert frame_mask(np.array([length]), 4, masking="floor").sum() == real
    with pytest.raises(IndexError):
        frame_mask_of_4_57(np.array([length]), 4)


@few
@given(seeds, st.integers(1, 4), st.integers(1, 12))
def test_squeeze_mask_floor_equals_transformers_4_57(seed, factor, frames):
    """4.57.1 floors the number of real frames: arange(T // s) < lengths // s."""
    lengths = np.random.default_rng(seed).integers(0, frames + 1, 6)
    mask = np.arange(frames) < lengths[:, None]
    squeezed = squeeze_mask(mask, factor, masking="floor")
    assert squeezed.dtype == np.bool_
    assert squeezed.tolist() == [[n < length // factor for n in range(frames // factor)] for length in lengths]


# ----------------------------------------------------------------------------------------------------------------------- attention


def test_key_mask_hides_keys_and_query_key_mask_queries_too():
    mask = np.array([[True, False, True], [False, False, False]])
    keys = np.broadcast_to(key_mask(mask), (2, 1, 3, 3))
    pairs = query_key_mask(mask)
    assert key_mask(mask).shape == (2, 1, 1, 3)
    assert pairs.shape == (2, 1, 3, 3)
    for b, i, j in itertools.product(range(2), range(3), range(3)):
        assert keys[b, 0, i, j] == mask[b, j]
        assert pairs[b, 0, i, j] == (mask[b, j] and mask[b, i])


def test_masks_are_not_changed():
    mask, lengths = np.array([[True, False, True]]), np.array([0, 2])
    before = mask.tobytes(), lengths.tobytes()
    for masking in ("any", "floor"):
        squeeze_mask(mask, 2, masking=masking)
        frame_mask(lengths, 3, masking=masking)
    key_mask(mask)
    query_key_mask(mask)
    assert (mask.tobytes(), lengths.tobytes()) == before


def test_an_unknown_set_of_rules_is_refused():
    with pytest.raises(InputError, match=r"masking: expected one of \('any', 'floor'\), found 'ceil'"):
        frame_mask(np.array([1]), 2, masking="ceil")
    with pytest.raises(InputError, match="found 'ceil'"):
        squeeze_mask(np.ones((1, 4), dtype=bool), 2, masking="ceil")
