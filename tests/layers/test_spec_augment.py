"""SpecAugment: the drawing against transformers bit for bit, the hiding against a loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import assert_good_manners, few
from sewnp.errors import InputError
from sewnp.layers import draw_spans, mask_frames


class Dice:
    """A generator that answers what it was told to, and nothing but the two questions that may be asked."""

    def __init__(self, number, starts):
        self.number, self.starts, self.asked = number, iter(starts), []

    def random(self):
        self.asked.append("random")
        return self.number

    def choice(self, candidates, size, replace):
        assert replace is False
        self.asked.append((len(candidates), size))
        assert candidates.tolist() == list(range(len(candidates)))
        return np.array(next(self.starts)[:size])


def theirs(shape, seed, **options):
    """What transformers draws from NumPy's global generator, and the generator's state behind it."""
    from transformers.models.sew.modeling_sew import _compute_mask_indices

    state = np.random.get_state()  # noqa: NPY002  (the original draws from the global generator)
    try:
        np.random.seed(seed)  # noqa: NPY002
        mask = _compute_mask_indices(shape, **options)
        return mask, np.random.get_state()[1:3]  # noqa: NPY002
    finally:
        np.random.set_state(state)  # noqa: NPY002


def test_equals_transformers_bit_for_bit():
    """Five hundred random cases: the mask, the errors, and the state in which the generator is left."""
    cases = np.random.default_rng(0)
    outcomes = set()
    for seed in range(500):
        shape = int(cases.integers(1, 5)), int(cases.integers(1, 60))
        probability, length = float(cases.choice([0.0, 0.05, 0.3, 0.65, 1.0, cases.random()])), int(cases.integers(0, 14))
        min_masks = int(cases.choice([0, 0, 1, 2, 5]))
        rng = np.random.RandomState(seed)
        ours = {"probability": probability, "length": length, "min_masks": min_masks, "rng": rng}
        try:
            mask, state = theirs(shape, seed, mask_prob=probability, mask_length=length, min_masks=min_masks)
        except ValueError:
            with pytest.raises(InputError, match=r"length: "):
                draw_spans(shape, **ours)
            outcomes.add("error")
            continue
        drawn = draw_spans(shape, **ours)
        assert drawn.dtype == np.bool_
        np.testing.assert_array_equal(drawn, mask)
        assert rng.get_state()[1:3][1] == state[1]
        np.testing.assert_array_equal(rng.get_state()[1:3][0], state[0])
        outcomes.add("nothing" if not mask.any() else "everything" if mask.all() else "some")
    assert outcomes == {"error", "nothing", "everything", "some"}


@few
@given(
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.integers(1, 25),
    st.integers(1, 8),
    st.floats(0, 1),
    st.integers(0, 3),
    st.floats(0, 0.999),
)
def test_equals_a_loop_over_what_the_dice_say(seed, batch, steps, length, probability, min_masks, number):
    length = min(length, steps)
    places = steps - length + 1
    starts = [np.random.default_rng(seed + row).permutation(places).tolist() for row in range(batch)]
    dice = Dice(number, starts)
    mask = draw_spans((batch, steps), probability=probability, length=length, min_masks=min_masks, rng=dice)
    count = min(max(int(probability * steps / length + number), min_masks), steps // length, places)
    expected = [[any(start <= t < start + length for start in row[:count]) for t in range(steps)] for row in starts]
    assert mask.tolist() == expected
    assert dice.asked == ["random", *[(places, count)] * (batch if count else 0)]


def test_draws_with_a_generator_too():
    """About probability * T / length spans a row; each is as long as it should be, or longer where two overlap."""
    rng = np.random.default_rng(0)
    mask = draw_spans((200, 1000), probability=0.3, length=10, rng=rng)
    edges = np.diff(mask.astype(int), axis=1, prepend=0, append=0)
    begins, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    assert ((ends - begins)[:, 1] >= 10).all()
    # 30 spans of 10 in 1000 steps leave a step uncovered with probability exp(-0.3); 200 rows of 1000 steps narrow that down well
    assert abs(mask.mean() - (1 - np.exp(-0.3))) < 0.01
    assert len({row.tobytes() for row in mask}) == 200
    np.testing.assert_array_equal(draw_spans((200, 1000), probability=0.3, length=10, rng=np.random.default_rng(0)), mask)


def test_one_number_rounds_the_spans_of_the_whole_batch():
    """7.5 spans become 7 or 8, and the same in all rows: the spans of length 1 count themselves."""
    counts = set()
    for seed in range(20):
        rows = draw_spans((5, 50), probability=0.15, length=1, rng=np.random.default_rng(seed)).sum(axis=1)
        assert len(set(rows.tolist())) == 1
        counts.add(int(rows[0]))
    assert counts == {7, 8}


def test_without_spans_nothing_but_the_rounding_is_drawn():
    dice = Dice(0.0, [])
    assert not draw_spans((3, 20), probability=0.0, length=5, rng=dice).any()
    assert dice.asked == ["random"]


def test_default_spec_augment_raises_for_clips_shorter_than_a_span():
    """A quirk of the original: ten frames are the least that training with its default span takes."""
    assert draw_spans((1, 10), probability=0.05, length=10, min_masks=2, rng=np.random.default_rng(0)).all()
    with pytest.raises(InputError, match="length: a span of 10 steps does not fit into 9"):
        draw_spans((1, 9), probability=0.05, length=10, min_masks=2, rng=np.random.default_rng(0))
    for length in (0, -3):
        with pytest.raises(InputError, match=f"length: expected at least 1 step a span, found {length}"):
            draw_spans((1, 9), probability=0.05, length=length, rng=np.random.default_rng(0))


@few
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(0, 6), st.integers(1, 4))
def test_mask_frames_equals_a_loop(seed, batch, frames, channels):
    rng = np.random.default_rng(seed)
    x, vector, mask = rng.normal(size=(batch, frames, channels)), rng.normal(size=channels), rng.random((batch, frames)) < 0.5
    y = mask_frames(x, mask, vector)
    for b, t, c in np.ndindex(x.shape):
        assert y[b, t, c] == (vector[c] if mask[b, t] else x[b, t, c])


def test_mask_frames_equals_transformers():
    """Time masks given by hand hide frames in inference too."""
    import torch
    from transformers import SEWConfig, SEWModel

    theirs = SEWModel(SEWConfig(hidden_size=4, num_hidden_layers=0, num_attention_heads=1, num_conv_pos_embedding_groups=1)).eval()
    rng = np.random.default_rng(1)
    x, mask = rng.normal(size=(2, 7, 4)).astype(np.float32), rng.random((2, 7)) < 0.5
    hidden = theirs._mask_hidden_states(torch.tensor(x), mask_time_indices=torch.tensor(mask)).detach().numpy()
    assert (hidden != x).any()
    np.testing.assert_array_equal(mask_frames(x, mask, theirs.masked_spec_embed.detach().numpy()), hidden)


def test_good_manners():
    rng = np.random.default_rng(2)
    assert_good_manners(mask_frames, rng.normal(size=(2, 5, 3)), rng.random((2, 5)) < 0.5, rng.normal(size=3))


@pytest.mark.parametrize(
    ("mask", "vector", "message"),
    [
        (np.ones((2, 4), bool), np.ones(3), r"time_mask: expected shape \(2, 5\), found \(2, 4\)"),
        (np.ones((5,), bool), np.ones(3), r"time_mask: expected shape \(2, 5\), found \(5,\)"),
        (np.ones((2, 5), int), np.ones(3), "time_mask: expected dtype bool, found int64"),
        (np.ones((2, 5), bool), np.ones(1), r"masked_spec_embed: expected shape \(3,\), found \(1,\)"),
    ],
)
def test_mask_frames_refuses_what_does_not_fit(mask, vector, message):
    with pytest.raises(InputError, match=message):
        mask_frames(np.zeros((2, 5, 3)), mask, vector)
