"""The CTC loss against the enumeration of every path, and against torch."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sewnp.ctc import clean_labels, ctc_alpha, ctc_loss
from sewnp.errors import InputError

few = settings(max_examples=80, deadline=None, derandomize=True)
seeds = st.integers(0, 10**6)


def normalised(scores):
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def batch_of(seed, batch, frames, vocab_size, longest):
    """Log-probs and ragged targets with many repeats; some targets are empty, and some too long for their clip."""
    rng = np.random.default_rng(seed)
    blank = int(rng.integers(vocab_size))
    log_probs = normalised(rng.normal(scale=3, size=(batch, frames, vocab_size)))
    targets = rng.choice([token for token in range(vocab_size) if token != blank], (batch, longest))
    return log_probs, targets, rng.integers(0, frames + 1, batch), rng.integers(0, longest + 1, batch), blank


def torch_loss(log_probs, targets, input_lengths, target_lengths, blank, **options):
    return torch.nn.functional.ctc_loss(
        torch.tensor(log_probs).transpose(0, 1),
        torch.tensor(targets),
        torch.tensor(input_lengths),
        torch.tensor(target_lengths),
        blank=blank,
        **options,
    ).numpy()


@few
@given(seeds, st.integers(1, 3), st.integers(1, 5), st.integers(2, 3), st.integers(0, 4))
def test_equals_the_enumeration_of_all_paths(seed, batch, frames, vocab_size, longest):
    log_probs, targets, input_lengths, target_lengths, blank = batch_of(seed, batch, frames, vocab_size, longest)
    losses = ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=blank, reduction="none")
    for b in range(batch):
        target = targets[b, : target_lengths[b]].tolist()
        total = math.fsum(
            math.exp(math.fsum(log_probs[b, t, token] for t, token in enumerate(path)))
            for path in itertools.product(range(vocab_size), repeat=int(input_lengths[b]))
            if [token for token, _ in itertools.groupby(path) if token != blank] == target
        )
        # at most 3^5 paths, in float64; near certainty -log p is as small as its rounding, hence the absolute part
        np.testing.assert_allclose(losses[b], -math.log(total) if total else math.inf, rtol=1e-12, atol=1e-14)


@settings(few, max_examples=120)
@given(
    seeds,
    st.integers(1, 5),
    st.integers(1, 50),
    st.integers(2, 8),
    st.integers(0, 25),
    st.sampled_from(["mean", "sum", "none"]),
    st.booleans(),
)
def test_equals_torch_in_float64(seed, batch, frames, vocab_size, longest, reduction, zero_infinity):
    *arguments, blank = batch_of(seed, batch, frames, vocab_size, longest)
    options = {"reduction": reduction, "zero_infinity": zero_infinity}
    ours = ctc_loss(*arguments, blank=blank, **options)
    theirs = torch_loss(*arguments, blank, **options)
    assert ours.shape == theirs.shape
    # 1e-12 of the loss: fifty frames of log-probabilities, each rounded at 2e-16
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_the_random_batches_hold_what_they_should():
    """The two tests above draw from batch_of: it must come to speak of everything that can happen."""
    seen = set()
    for seed in range(60):
        log_probs, targets, input_lengths, target_lengths, blank = batch_of(seed, 3, 8, 3, 6)
        losses = ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=blank, reduction="none")
        for loss, target, n, s in zip(losses, targets, input_lengths, target_lengths, strict=True):
            repeats = int((target[1:s] == target[: max(s - 1, 0)]).sum())
            assert np.isinf(loss) == (n < s + repeats)  # a token needs a frame, and a repeat a blank before it
            seen |= {("blank", blank), ("empty", s == 0), ("infeasible", np.isinf(loss)), ("repeats", repeats > 0)}
            seen |= {("only just", n == s + repeats and s > 0), ("no frames", n == 0), ("ragged", n < 8)}
            seen |= {("infeasible only because of repeats", s <= n < s + repeats)}
    words = {"empty", "infeasible", "repeats", "only just", "no frames", "ragged", "infeasible only because of repeats"}
    assert seen == {("blank", b) for b in range(3)} | set(itertools.product(words, [True, False]))


@pytest.mark.parametrize(("frames", "vocab_size", "longest"), [(20, 5, 4), (200, 32, 40), (800, 32, 150)])
def test_float32_is_as_good_as_float32_can_be(frames, vocab_size, longest):
    rng = np.random.default_rng(frames)
    log_probs = normalised(rng.normal(scale=3, size=(6, frames, vocab_size))).astype(np.float32)
    arguments = rng.integers(1, vocab_size, (6, longest)), rng.integers(2 * longest, frames + 1, 6), rng.integers(0, longest + 1, 6)
    for reduction in ("none", "sum", "mean"):
        truth = torch_loss(log_probs.astype(np.float64), *arguments, 0, reduction=reduction)
        assert np.isfinite(truth).all()
        ours = ctc_loss(log_probs, *arguments, blank=0, reduction=reduction)
        theirs = torch_loss(log_probs, *arguments, 0, reduction=reduction)
        assert ours.dtype == theirs.dtype == np.float32
        ours_off, theirs_off = (np.abs(x.astype(np.float64) - truth).max() / np.abs(truth).max() for x in (ours, theirs))
        # every frame rounds a log-probability that has grown to hundreds, so float32 itself loses digits with length: torch's own
        # error is the yardstick, and 4 eps where torch happens to be exact
        assert ours_off <= 4 * max(theirs_off, 4 * np.finfo(np.float32).eps)


def test_reductions_by_hand():
    """Two frames of a fair coin.  "a" is spelled by 3 paths of 4; "aa" by none; the empty text by 1."""
    fair = np.log(np.full((3, 2, 2), 0.5))
    arguments = fair, [[0, 9], [0, 0], [9, 9]], [2, 2, 2], [1, 2, 0]
    losses = [-math.log(0.75), math.inf, -math.log(0.25)]
    np.testing.assert_allclose(ctc_loss(*arguments, blank=1, reduction="none"), losses, rtol=1e-15)
    assert ctc_loss(*arguments, blank=1, reduction="sum") == math.inf
    assert ctc_loss(*arguments, blank=1) == math.inf
    losses[1] = 0
    np.testing.assert_allclose(ctc_loss(*arguments, blank=1, reduction="none", zero_infinity=True), losses, rtol=1e-15)
    np.testing.assert_allclose(ctc_loss(*arguments, blank=1, reduction="sum", zero_infinity=True), sum(losses), rtol=1e-15)
    np.testing.assert_allclose(ctc_loss(*arguments, blank=1, reduction="mean", zero_infinity=True), sum(losses) / 3, rtol=1e-15)


def test_the_mean_divides_each_loss_by_its_length_first():
    even = np.log(np.full((2, 4, 4), 0.25))
    arguments = even, [[1, 2, 3], [1, 9, 9]], [4, 4], [3, 1]
    three, one = ctc_loss(*arguments, blank=0, reduction="none")
    np.testing.assert_allclose(ctc_loss(*arguments, blank=0), (three / 3 + one) / 2, rtol=1e-15)


def test_zero_frames_cost_nothing_for_the_empty_target_and_inf_for_every_other():
    for frames in (0, 3):
        losses = ctc_loss(np.zeros((2, frames, 2)), [[1], [1]], [0, 0], [0, 1], blank=0, reduction="none")
        assert losses.tolist() == [0, math.inf]
        assert not np.signbit(losses[0])  # +0.0, where torch has -0.0
        assert np.signbit(torch_loss(np.zeros((1, 3, 2)), [[1]], [0], [0], 0, reduction="none")).all()


def test_certainty_costs_plus_zero():
    assert not np.signbit(ctc_loss(np.array([[[-np.inf, 0.0]]]), [[1]], [1], [1], blank=0))


def test_the_loss_of_nothing_but_blanks_is_the_sum_of_their_log_probs():
    log_probs = normalised(np.random.default_rng(0).normal(size=(1, 7, 5)))
    np.testing.assert_allclose(
        ctc_loss(log_probs, np.zeros((1, 0), int), [6], [0], blank=3), -log_probs[0, :6, 3].sum(), rtol=1e-14
    )


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_impossible_tokens_are_legal(zero_infinity):
    log_probs = np.log(np.full((2, 3, 3), 1 / 3))
    log_probs[0, :, 2] = -np.inf  # token 2 cannot be said in clip 0, and frame 1 of clip 1 can only be token 2
    log_probs[1, 1, :2] = -np.inf
    arguments = log_probs, np.array([[2], [2]]), np.array([3, 3]), np.array([1, 1])
    options = {"reduction": "none", "zero_infinity": zero_infinity}
    ours = ctc_loss(*arguments, blank=0, **options)
    np.testing.assert_allclose(ours, torch_loss(*arguments, 0, **options), rtol=1e-14)
    assert ours[0] == (0 if zero_infinity else math.inf)
    assert np.isfinite(ours[1])


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_nan_makes_its_own_sample_nan_and_no_other(zero_infinity):
    log_probs = normalised(np.random.default_rng(1).normal(size=(4, 5, 4)))
    arguments = [[1, 2], [1, 2], [1, 1], [1, 2]], [5, 4, 2, 5], [2, 2, 2, 2]
    options = {"blank": 0, "reduction": "none", "zero_infinity": zero_infinity}
    before = ctc_loss(log_probs, *arguments, **options)
    log_probs[0, 3, 3] = np.nan  # a token that the target does not have
    log_probs[1, 4] = np.nan  # behind the clip's length: nobody reads it
    log_probs[2, 1, 0] = np.nan  # a target that is infeasible
    after = ctc_loss(log_probs, *arguments, **options)
    assert np.isnan(after).tolist() == [True, False, True, False]
    np.testing.assert_array_equal(after[[1, 3]], before[[1, 3]])
    assert np.isnan(ctc_loss(log_probs, *arguments, blank=0, zero_infinity=zero_infinity))


def test_behind_its_lengths_a_sample_is_never_read():
    log_probs, targets, input_lengths, target_lengths, blank = batch_of(11, 5, 9, 4, 4)
    expected = ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=blank, reduction="none")
    for b, junk in enumerate([np.nan, np.inf, -np.inf, 1e300, 0]):
        log_probs[b, input_lengths[b] :] = junk
        targets[b, target_lengths[b] :] = [-100, 4, blank, -1, 10**9][b]
    assert (input_lengths < 9).sum() > 2
    assert (target_lengths < 4).sum() > 2
    ours = ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=blank, reduction="none")
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_dtype_is_kept_and_inputs_are_not_changed(dtype, zero_infinity):
    log_probs, targets, input_lengths, target_lengths, blank = batch_of(2, 4, 6, 4, 3)
    arguments = [log_probs.astype(dtype), targets, input_lengths, target_lengths]
    before = [argument.copy() for argument in arguments]
    for argument in arguments:
        argument.flags.writeable = False
    for reduction, shape in [("none", (4,)), ("sum", ()), ("mean", ())]:
        loss = ctc_loss(*arguments, blank=blank, reduction=reduction, zero_infinity=zero_infinity)
        assert isinstance(loss, np.ndarray)
        assert loss.dtype == dtype
        assert loss.shape == shape
    for argument, copy in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(argument, copy)


def test_see_is_shown_the_stages_and_its_answers_count():
    *arguments, blank = batch_of(4, 2, 6, 4, 2)
    trace = {}

    def record(name, x):
        trace[name] = x
        return x

    loss = ctc_loss(*arguments, blank=blank, reduction="sum", zero_infinity=True, see=record)
    assert list(trace) == ["alpha", "losses"]
    np.testing.assert_array_equal(trace["alpha"], ctc_alpha(*arguments, blank=blank))
    none = ctc_loss(*arguments, blank=blank, reduction="none", zero_infinity=True)
    np.testing.assert_array_equal(trace["losses"], none)
    assert loss == none.sum()
    for stage in trace:
        shifted = ctc_loss(*arguments, blank=blank, reduction="sum", see=lambda name, x, at=stage: x + 1 if name == at else x)
        assert shifted != ctc_loss(*arguments, blank=blank, reduction="sum")


def test_ctc_loss_refuses_what_does_not_fit():
    good = {
        "log_probs": np.log(np.full((1, 4, 3), 1 / 3)),
        "targets": [[1]],
        "input_lengths": [4],
        "target_lengths": [1],
        "blank": 0,
    }
    ctc_loss(**good)
    for bad, message in [
        ({"input_lengths": [5]}, r"input_lengths\[0\]: expected 0 <= length <= 4, found 5"),
        ({"input_lengths": [-1]}, r"input_lengths\[0\]: expected 0 <= length <= 4, found -1"),
        ({"targets": [[3]]}, r"targets\[0, 0\]: expected 0 <= token < 3 other than the blank 0, found 3"),
        ({"blank": 1}, r"targets\[0, 0\]: expected .* other than the blank 1, found 1"),
        ({"reduction": "average"}, "reduction: expected mean, sum or none, found 'average'"),
    ]:
        with pytest.raises(InputError, match=message):
            ctc_loss(**(good | bad))


def test_nothing_has_losses_and_a_sum_but_no_mean():
    nothing = np.zeros((0, 4, 3)), np.zeros((0, 2), int), [], []
    assert ctc_loss(*nothing, blank=0, reduction="none").shape == (0,)
    assert ctc_loss(*nothing, blank=0, reduction="sum") == 0
    with pytest.raises(InputError, match="log_probs: expected at least one sample to average over, found none"):
        ctc_loss(*nothing, blank=0)


@few
@given(
    st.lists(st.lists(st.sampled_from([-100, 0, 1, 2, 3, 4]), min_size=4, max_size=4), min_size=1, max_size=4), st.integers(0, 4)
)
def test_clean_labels_equals_a_filter_row_by_row(rows, blank):
    targets, lengths = clean_labels(rows, blank=blank, vocab_size=5)
    expected = [[label for label in row if label not in (-100, blank)] for row in rows]
    assert lengths.tolist() == [len(row) for row in expected]
    assert targets.shape == (len(rows), max(map(len, expected)))
    assert targets.tolist() == [row + [blank] * (targets.shape[1] - len(row)) for row in expected]
    assert targets.dtype == lengths.dtype == np.int64


def test_blank_labels_vanish_wherever_they_stand():
    """A quirk of transformers: with blank 0, the zeros inside the labels are lost, and their neighbours meet."""
    targets, lengths = clean_labels([[3, 0, 3, -100, 0, 2]], blank=0, vocab_size=5)
    assert targets.tolist() == [[3, 3, 2]]
    assert lengths.tolist() == [3]


@pytest.mark.parametrize(
    "labels",
    [
        np.array([[2, 3, -100]], np.int8),
        np.array([[2, 3, -100]], np.int32),
        np.array([[2, 3, 1]], np.uint8),
        np.array([[2, 3, 1]], np.uint64),
        np.array([[2.0, 3.0, -100.0]], np.float32),
        np.array([2, 3, -100]),
        [[2, 3]],
        [2.0, 3.0],
    ],
)
def test_labels_of_any_integral_dtype_and_a_single_row(labels):
    targets, lengths = clean_labels(labels, blank=1, vocab_size=300)  # more tokens than int8 has numbers
    assert targets.tolist() == [[2, 3]]
    assert lengths.tolist() == [2]
    assert targets.dtype == np.int64


@pytest.mark.parametrize("shape", [(0,), (0, 0), (0, 5), (2, 0)])
def test_no_labels_are_empty_targets(shape):
    targets, lengths = clean_labels(np.zeros(shape), blank=0, vocab_size=5)
    batch = 1 if len(shape) == 1 else shape[0]
    assert targets.shape == (batch, 0)
    assert lengths.tolist() == [0] * batch


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[1, 2], [3, 5]], r"labels\[1, 1\]: expected -100 or 0 <= label < 5, found 5"),
        ([[1, -1]], r"labels\[0, 1\]: expected -100 or 0 <= label < 5, found -1"),
        ([[1, 7], [-1, 9]], r"labels\[0, 1\]: expected .*, found 7"),  # the first of several
        ([1, 2, -99], r"labels\[2\]: expected -100 or 0 <= label < 5, found -99"),
        (np.array([2**63], np.uint64), r"labels\[0\]: expected .*, found 9223372036854775808"),
        ([[1.0, 2.5]], r"labels\[0, 1\]: expected an integral value, found 2.5"),
        ([[1.0, np.nan]], r"labels\[0, 1\]: expected an integral value, found nan"),
        ([[1.0, np.inf]], r"labels\[0, 1\]: expected .*, found inf"),
        ([[1.0, -np.inf]], r"labels\[0, 1\]: expected .*, found -inf"),
        ([[True, False]], "labels: expected integers, found dtype bool"),
        ([["a"]], "labels: expected integers, found dtype <U1"),
        (np.int64(3), r"labels: expected shape \(batch, length\) or \(length,\), found \(\)"),
        (np.zeros((1, 1, 1), int), r"labels: expected shape .*, found \(1, 1, 1\)"),
    ],
)
def test_clean_labels_refuses(labels, message):
    with pytest.raises(InputError, match=message):
        clean_labels(labels, blank=0, vocab_size=5)


@pytest.mark.parametrize("blank", [-1, 5])
def test_clean_labels_refuses_a_blank_that_is_no_token(blank):
    with pytest.raises(InputError, match=f"blank: expected 0 <= blank < 5, found {blank}"):
        clean_labels([[1]], blank=blank, vocab_size=5)


def test_clean_labels_does_not_change_its_labels():
    labels = np.array([[3, -100, 0, 2]])
    labels.flags.writeable = False
    clean_labels(labels, blank=0, vocab_size=5)
    assert labels.tolist() == [[3, -100, 0, 2]]


def test_labels_to_loss_equals_a_ctc_head_of_transformers():
    """What the head does with its logits (transformers 5.23): labels filtered, flattened and counted, float32 log-probs, torch's loss."""
    rng = np.random.default_rng(9)
    blank, vocab_size = 4, 6
    logits = rng.normal(size=(3, 12, vocab_size))
    labels = torch.tensor([[1, 2, 2, 4, -100], [0, 0, 3, 5, 1], [-100, -100, -100, -100, -100]])
    mask = (labels != -100) & (labels != blank)
    input_lengths = torch.tensor([12, 7, 5])
    theirs = torch.nn.functional.ctc_loss(
        torch.log_softmax(torch.tensor(logits), -1, dtype=torch.float32).transpose(0, 1),
        labels.masked_select(mask),
        input_lengths,
        mask.sum(-1),
        blank=blank,
        reduction="mean",
    )
    targets, target_lengths = clean_labels(labels.numpy(), blank=blank, vocab_size=vocab_size)
    ours = ctc_loss(normalised(logits), targets, input_lengths.numpy(), target_lengths, blank=blank)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, float(theirs), rtol=1e-6)  # theirs is float32
