"""Observation: off, scoped, recording, replaying and replacing, for every composite layer."""

import numpy as np
import pytest

from judging import affine, recorder
from sewnp.layers import (
    activation,
    convolutional_position_embedding,
    disentangled_attention,
    feed_forward,
    key_mask,
    multi_head_attention,
    relative_positions,
    unseen,
    unseen_vjp,
    upsample,
    values_only,
    within,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 4))
MASK = key_mask(np.array([[True] * 5, [True] * 3 + [False] * 2]))
CONV = {"conv": {"weight_g": np.ones((1, 1, 4)), "weight_v": RNG.normal(size=(4, 2, 4)), "bias": RNG.normal(size=4)}}
PROJECTIONS = {
    f"{name}_proj": affine(RNG, 4, 4) for name in ("q", "k", "v", "out", "query", "key", "value", "pos_key", "pos_query")
}
FFN = {"intermediate_dense": affine(RNG, 4, 6), "output_dense": affine(RNG, 6, 4)}
UPSAMPLING = {"projection": affine(RNG, 4, 8)}
TABLE, RELATIVE = RNG.normal(size=(8, 4)), relative_positions(5, buckets=4, max_distance=8)

COMPOSITES = {
    "multi_head_attention": lambda see: multi_head_attention(X, PROJECTIONS, heads=2, mask=MASK, see=see),
    "disentangled_attention": lambda see: disentangled_attention(
        X,
        PROJECTIONS,
        heads=2,
        pos_att_type=("c2p", "p2c"),
        share_att_key=False,
        table=TABLE,
        relative=RELATIVE,
        mask=MASK,
        see=see,
    ),
    "feed_forward": lambda see: feed_forward(X, FFN, activation=activation("gelu"), see=see),
    "convolutional_position_embedding": lambda see: convolutional_position_embedding(
        X, CONV, groups=2, stride=2, activation=activation("gelu"), see=see
    ),
    "upsample": lambda see: upsample(X, UPSAMPLING, factor=2, frames=11, activation=activation("gelu"), see=see),
}
composites = pytest.mark.parametrize("run", COMPOSITES.values(), ids=COMPOSITES)


def test_unseen_hands_the_same_array_back():
    x = np.zeros(3)
    assert unseen("anything", x) is x


def test_within_puts_scopes_in_front_and_passes_the_answer_on():
    trace, see = recorder()
    x, other = np.zeros(3), np.ones(3)
    inner = within(within(see, "encoder"), "layers.0")
    assert inner("q", x) is x
    assert trace == {"encoder.layers.0.q": x}
    assert within(lambda name, x: other, "encoder")("q", x) is other


def test_within_unseen_is_unseen_itself():
    """So that looking away costs nothing however deep the scopes are."""
    assert within(unseen, "encoder") is unseen
    assert within(within(unseen, "a"), "b") is unseen
    assert within(unseen_vjp, "encoder") is unseen_vjp
    assert values_only(unseen_vjp) is unseen


def test_values_only_shows_the_value_and_leaves_the_pullback():
    x, other, shown = np.zeros(3), np.ones(3), []
    see = values_only(lambda name, x: shown.append((name, x)) or (other, None))
    assert see("q", x) is other
    assert shown[0][0] == "q"
    assert shown[0][1] is x


@composites
def test_looking_changes_nothing(run):
    trace, see = recorder()
    np.testing.assert_array_equal(run(see), run(unseen))
    assert len(trace) >= 2


@composites
def test_replaying_a_recording_gives_the_recorded_result(run):
    trace, see = recorder()
    y = run(see)
    np.testing.assert_array_equal(run(lambda name, x: trace[name]), y)


@composites
def test_the_answer_of_see_counts_at_every_stage(run):
    """Whatever stage is replaced, the result is another one: no stage is shown and then computed past."""
    trace, see = recorder()
    y = run(see)
    for stage in trace:
        replaced = run(lambda name, x, stage=stage: x + np.random.default_rng(1).normal(size=x.shape) if name == stage else x)
        assert np.abs(replaced - y).max() > 1e-3, stage
