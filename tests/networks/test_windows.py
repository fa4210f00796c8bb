"""Long clips in parts: the statistics of the whole, the plan of the windows, and logits that are those of the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import assert_close64, few, scale_error
from originals import original, twin
from sewnp.errors import InputError
from sewnp.networks import (
    TextbookParts,
    WindowMoments,
    convolution_moments,
    ctc_logits,
    fold_statistics,
    plan_windows,
    windowed_states,
)


def cut(x, places):
    """x in pieces, some of them empty."""
    return np.split(x, sorted(places))


# --- statistics -------------------------------------------------------------------------------------------------------------------


@few
@given(st.data(), st.integers(1, 10), st.integers(1, 12), st.integers(0, 200), st.sampled_from([0.0, 0.3, 1e6]))
def test_window_moments_are_those_of_all_windows_however_they_are_cut(data, kernel, stride, n, offset):
    x = np.random.default_rng(n).normal(size=n) + offset
    moments = WindowMoments(kernel, stride)
    for piece in cut(x, data.draw(st.lists(st.integers(0, n), max_size=12))):
        moments.add(piece)
    windows = np.array([x[i : i + kernel] for i in range(0, n - kernel + 1, stride)]).reshape(-1, kernel)
    assert moments.count == len(windows)
    if len(windows):
        centred = (windows - offset) - (windows - offset).mean(axis=0)  # the judge is spared the offset, which costs digits
        np.testing.assert_allclose(moments.mean, windows.mean(axis=0), rtol=1e-13, atol=1e-13)
        # 1e-16 of the offset is in every sample already
        np.testing.assert_allclose(moments.covariance, centred.T @ centred / len(windows), rtol=0, atol=1e-12 + 1e-9 * (offset > 1))


def test_an_offset_costs_no_digits():
    """Sums of squares would lose all sixteen: the offset's square is 1e16 times the variance."""
    x = np.random.default_rng(0).normal(size=100_000)
    shifted, plain = WindowMoments(3, 2), WindowMoments(3, 2)
    for i in range(0, len(x), 999):
        plain.add(x[i : i + 999])
        shifted.add(x[i : i + 999] + 1e8)
    np.testing.assert_allclose(shifted.covariance, plain.covariance, rtol=0, atol=1e-6)  # 1e8 * 2**-53 in each sample
    assert np.abs(shifted.mean - 1e8 - plain.mean).max() < 1e-7


@pytest.mark.parametrize("bias", [False, True])
def test_moments_of_a_convolution_follow_from_its_windows(bias):
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=999).cumsum(), rng.normal(size=(6, 1, 10))  # cumsum: neighbours are not independent
    b = rng.normal(size=6) if bias else None
    windows = WindowMoments(10, 5)
    windows.add(x)
    y = np.array([[np.dot(x[i : i + 10], w) for w in weight[:, 0]] for i in range(0, 990, 5)]) + (0 if b is None else b)
    mean, variance = convolution_moments(windows.mean, windows.covariance, weight, b)
    assert_close64(mean, y.mean(axis=0))
    assert_close64(variance, y.var(axis=0))


# --- the plan ---------------------------------------------------------------------------------------------------------------------


@few
@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 5), st.integers(1, 300))
def test_every_frame_is_kept_once_by_a_window_that_knows_its_neighbours(factor, wide, shared, frames):
    window, overlap = (wide + 2 * shared) * factor, shared * factor
    plan = plan_windows(frames, window=window, overlap=overlap, factor=factor)
    assert [frame for item in plan for frame in range(item.first, item.last)] == list(range(frames))
    for item in plan:
        assert item.start % factor == 0
        assert item.start <= item.first < item.last <= item.stop
        assert item.first - item.start >= overlap or item.start == 0
        assert item.stop - item.last >= overlap or item.stop == frames
        assert min(window, frames) <= item.stop - item.start < window + factor
    assert all(item.stop % factor == 0 for item in plan[:-1])
    assert len({item.start for item in plan}) == len(plan)


def test_the_last_window_begins_earlier_instead_of_being_short():
    assert plan_windows(101, window=40, overlap=10, factor=2) == [
        (0, 40, 0, 30), (20, 60, 30, 50), (40, 80, 50, 70), (60, 101, 70, 101),
    ]  # fmt: skip
    assert plan_windows(50, window=40, overlap=10, factor=2) == [(0, 40, 0, 30), (10, 50, 30, 50)]
    assert plan_windows(41, window=40, overlap=10, factor=2) == [(0, 41, 0, 41)]


@pytest.mark.parametrize(("window", "overlap"), [(0, 0), (40, 20), (40, -2), (41, 4), (40, 3)])
def test_plans_that_are_none(window, overlap):
    with pytest.raises(InputError, match=f"window: expected a multiple of 2 frames.*found {window} and {overlap}"):
        plan_windows(100, window=window, overlap=overlap, factor=2)


# --- the network ------------------------------------------------------------------------------------------------------------------


def built(family, norm, squeeze, kernel=5, bias=False, **values):
    return twin(
        original(family, feat_extract_norm=norm, squeeze_factor=squeeze, num_conv_pos_embeddings=kernel, conv_bias=bias, **values)
    )


def in_windows(model, x, pieces, *, window, overlap):
    """Logits (T, V) of one clip, (n,), through the windowed code."""
    config, p = model.config, model.weights[model.config.prefix]
    moments = None
    if config.feat_extract_norm == "group":
        windows = WindowMoments(config.conv_kernel[0], config.conv_stride[0])
        for piece in pieces:
            windows.add(piece)
        moments = convolution_moments(windows.mean, windows.covariance, **p["feature_extractor"]["conv_layers"][0]["conv"])
    parts = TextbookParts(config, fold_statistics(p, moments))
    states = windowed_states(parts, config, pieces, samples=len(x), window=window, overlap=overlap)
    return np.concatenate([ctc_logits(part, model.weights)[0] for part in states])


families = pytest.mark.parametrize("family", ["sew", "sew-d"])
norms = pytest.mark.parametrize("norm", ["group", "layer"])
MODELS = {
    (family, norm, squeeze): built(family, norm, squeeze, kernel=4 + squeeze, bias=squeeze == 3)
    for family in ("sew", "sew-d")
    for norm in ("group", "layer")
    for squeeze in (1, 2, 3, 4)
}


@families
@norms
@few
@given(st.data(), st.integers(1, 4), st.integers(0, 40), st.integers(0, 9))
def test_one_window_gives_the_logits_of_the_whole(family, norm, data, squeeze, more, samples):
    """Every length from the shortest clip on, odd tails and left-over samples included."""
    model = MODELS[family, norm, squeeze]
    n = model.config.samples_for(squeeze + more) + samples + (norm == "group")
    x = np.random.default_rng(n).normal(size=n) + 0.5
    pieces = cut(x, data.draw(st.lists(st.integers(0, n), max_size=5)))
    frames = model.config.frames(n)
    found = in_windows(model, x, pieces, window=-(-frames // squeeze) * squeeze, overlap=0)
    assert_close64(found, model(x[None]).logits[0])


@families
@norms
@few
@given(st.data(), st.integers(1, 4), st.integers(1, 12), st.integers(0, 3), st.integers(1, 90), st.integers(1, 13), st.booleans())
def test_without_attention_any_windows_give_the_logits_of_the_whole(family, norm, data, squeeze, wide, shared, more, kernel, bias):
    """All that is cut is attention: a model without layers cannot tell."""
    model = built(family, norm, squeeze, kernel=kernel, bias=bias, num_hidden_layers=0)
    window, overlap = (wide + 2 * shared) * squeeze, shared * squeeze
    n = model.config.samples_for(squeeze + more) + data.draw(st.integers(1, 9))
    x = np.random.default_rng(n).normal(size=n) - 0.5
    pieces = cut(x, data.draw(st.lists(st.integers(0, n), max_size=5)))
    assert_close64(in_windows(model, x, pieces, window=window, overlap=overlap), model(x[None]).logits[0])


@families
def test_attention_sees_its_window_and_no_more(family):
    """What lies outside the window changes nothing, what lies inside changes every frame."""
    model = MODELS[family, "layer", 2]
    n = model.config.samples_for(120)
    x = np.random.default_rng(0).normal(size=n)
    window, overlap = 40, 8
    plan = plan_windows(120, window=window, overlap=overlap, factor=2)
    before = in_windows(model, x, [x], window=window, overlap=overlap)
    first, last = plan[2].start, plan[2].stop  # frames
    far, near = x.copy(), x.copy()
    far[: (first - 8) * model.config.hop] = 0  # the position convolution reaches 4 frames further
    near[(first + 1) * model.config.hop : (first + 2) * model.config.hop] = 0
    kept = slice(plan[2].first, plan[2].last)
    after = in_windows(model, far, [far], window=window, overlap=overlap)
    np.testing.assert_array_equal(after[kept], before[kept])
    assert (in_windows(model, near, [near], window=window, overlap=overlap)[kept] != before[kept]).any(axis=1).all()
    assert last < 120


@families
def test_more_overlap_is_nearer_to_the_whole(family):
    model = MODELS[family, "group", 2]
    n = model.config.samples_for(400)
    x = np.random.default_rng(3).normal(size=n)
    whole = model(x[None]).logits[0]
    off = [np.abs(in_windows(model, x, [x], window=w, overlap=0) - whole).mean() for w in (20, 80, 400)]
    assert off[0] > off[1] > off[2]
    assert scale_error(in_windows(model, x, [x], window=400, overlap=0), whole) < 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@norms
def test_dtype_in_is_dtype_out_and_nothing_is_changed(dtype, norm):
    model = twin(original("sew", feat_extract_norm=norm), dtype=dtype)
    x = np.random.default_rng(0).normal(size=model.config.samples_for(50)).astype(dtype)
    x.setflags(write=False)
    found = in_windows(model, x, [x[:100], x[100:]], window=20, overlap=4)
    assert found.dtype == dtype
    assert found.shape == (50, 11)


def test_blocks_that_end_too_early():
    model = MODELS["sew", "layer", 2]
    x = np.zeros(model.config.samples_for(50) - 1)
    parts = TextbookParts(model.config, model.weights["sew"])
    with pytest.raises(InputError, match=r"blocks: expected at least \d+ samples, found"):
        list(windowed_states(parts, model.config, [x], samples=len(x) + 1, window=20, overlap=0))


def test_strides_longer_than_kernels_leave_samples_out():
    model = twin(original("sew", conv_kernel=[3, 3, 2], conv_stride=[5, 4, 3], feat_extract_norm="group", num_hidden_layers=0))
    x = np.random.default_rng(0).normal(size=model.config.samples_for(31) + 7)
    found = in_windows(model, x, cut(x, range(0, len(x), 11)), window=8, overlap=2)
    assert_close64(found, model(x[None]).logits[0])
