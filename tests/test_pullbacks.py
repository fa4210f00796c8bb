"""Every pullback, of the layers and of the networks' parts, against torch's autograd, against central differences, and in its manners."""

import pytest
from hypothesis import given
from layers.test_vjp import CASES as LAYERS
from networks.test_parts_vjp import CASES as PARTS

from judging import (
    assert_keeps_no_more,
    assert_pullback_manners,
    assert_pulls_as_autograd,
    assert_pulls_as_differences,
    assert_pulls_honestly,
    few,
    randoms,
)

STAGES = {"scores", "content", "c2p", "p2c", "output_dense", "output", "pool", "last_hidden_state"}
"""What no way back needs."""
cases = pytest.mark.parametrize("case", [*LAYERS, *PARTS], ids=lambda case: case.name)


@cases
@few
@given(randoms)
def test_gradients_equal_autograd(case, random):
    assert_pulls_as_autograd(case, random)


@cases
def test_float32_is_as_good_as_float32_can_be(case):
    assert_pulls_honestly(case)


@cases
def test_gradients_equal_central_differences(case):
    assert_pulls_as_differences(case)


@cases
def test_manners(case):
    assert_pullback_manners(case)


@cases
def test_keeps_no_more_than_it_needs(case):
    softmax = case.name.endswith("softmax")
    needed = {"result"} if softmax else {"more"} if case.name in ("weighted_layers", "heads.cross_entropy") else set()
    unread = {"x"} if softmax or case.name in ("squeeze", "mask_frames", "masked_mean") else set()
    assert_keeps_no_more(case, needed, STAGES | unread)
