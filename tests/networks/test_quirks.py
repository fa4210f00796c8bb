"""What a reader of the paper would not expect and transformers 5.23 does all the same, one test each.

Each test shows the quirk in our numbers and, where it can be seen from outside, that transformers has it.
"""

import numpy as np
import pytest
import torch

from judging import assert_close64, recorder, scale_error
from originals import clips, mask_of, original, run_original, samples_for, twin
from sewnp.errors import InputError
from sewnp.layers import log_buckets, weight_norm

families = pytest.mark.parametrize("family", ["sew", "sew-d"])


def pair(family="sew", head="ctc", **values):
    theirs = original(family, head, **values)
    return theirs, twin(theirs)


def assert_same_logits(theirs, ours, x, **arguments):
    out = ours(x, **arguments)
    assert_close64(out.logits, run_original(theirs, x, **arguments)["logits"])
    return out


@families
@pytest.mark.parametrize(("factor", "frames", "tail"), [(2, 9, 1), (3, 11, 2), (4, 11, 3), (2, 8, 0)])
def test_odd_tail_frames_equal_the_head_bias(family, factor, frames, tail):
    """Frames that do not fill a group are dropped by the squeeze and come back as zeros, whatever was said in them."""
    theirs, ours = pair(family, squeeze_factor=factor)
    out = assert_same_logits(theirs, ours, clips(ours, frames=frames))
    zero = ~out.last_hidden_state.any(axis=(0, 2))
    assert zero.tolist() == [False] * (frames - tail) + [True] * tail
    bias = ours.weights["lm_head"]["bias"]
    np.testing.assert_array_equal(out.logits[:, zero], np.broadcast_to(bias, (3, tail, len(bias))))


def test_zero_tail_enters_the_unmasked_mean():
    theirs, ours = pair(head="classification")
    trace, see = recorder()
    x = clips(ours, frames=9)
    ours(x, see=see)
    z = trace["projector"]
    np.testing.assert_array_equal(z[:, -1], np.broadcast_to(ours.weights["projector"]["bias"], z[:, -1].shape))
    assert_close64(trace["pooled"], z.mean(axis=1))
    assert scale_error(trace["pooled"], z[:, :-1].mean(axis=1)) > 1e-3
    assert_same_logits(theirs, ours, x)


@families
def test_pooled_mask_is_any(family):
    """A squeezed frame of which half is padding is attended like a whole one."""
    theirs, ours = pair(family)
    x = clips(ours, batch=2, frames=12)
    mask = mask_of(ours, [12, 7], x.shape[1])
    out = ours(x, mask, output_attentions=True)
    looked_at = out.attentions[0][1].any(axis=(0, 1))
    assert looked_at.tolist() == [True] * 4 + [False] * 2  # ceil(7 / 2), not floor
    for mine, other in zip(out.attentions, run_original(theirs, x, attention_mask=mask)["attentions"], strict=True):
        assert_close64(mine, other)


@families
@pytest.mark.parametrize(("length", "same"), [(6, True), (7, False)])
def test_odd_valid_lengths_differ_from_the_clip_alone(family, length, same):
    """With layer norm, padding behind an even length changes nothing; behind an odd one, the half-filled squeezed frame is new."""
    _, ours = pair(family, feat_extract_norm="layer")
    x = clips(ours, batch=2, frames=12)
    padded = ours(x, mask_of(ours, [12, length], x.shape[1])).logits[1, :length]
    alone = ours(x[1:, : samples_for(ours, length)]).logits[0]
    assert (scale_error(padded, alone) < 1e-12) == same


def test_padded_queries_still_attend_to_real_keys():
    for family in ("sew", "sew-d"):
        _, ours = pair(family)
        x = clips(ours, frames=8)
        probabilities = ours(x, mask_of(ours, [8, 4, 2], x.shape[1]), output_attentions=True).attentions[0]
        np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-14)


@families
def test_padded_frames_get_logits_too(family):
    """Padding is zeroed before the squeeze, never behind it."""
    theirs, ours = pair(family)
    x = clips(ours, frames=8)
    out = assert_same_logits(theirs, ours, x, attention_mask=mask_of(ours, [8, 4, 4], x.shape[1]))
    assert np.abs(out.last_hidden_state[1, 4:]).max() > 0.01


@families
@pytest.mark.parametrize("head", [None, "ctc", "classification"])
def test_all_ones_mask_equals_no_mask(family, head):
    theirs, ours = pair(family, head)
    x = clips(ours)
    masked = ours(x, np.ones(x.shape))
    np.testing.assert_array_equal(masked.last_hidden_state, ours(x).last_hidden_state)
    if head is not None:
        assert_close64(masked.logits, ours(x).logits)
        assert_close64(masked.logits, run_original(theirs, x, attention_mask=np.ones(x.shape))["logits"])


@families
def test_only_the_number_of_ones_in_a_mask_counts(family):
    """A mask for padding on the left is read as one for padding on the right."""
    theirs, ours = pair(family)
    x = clips(ours)
    mask = mask_of(ours, [9, 5, 3], x.shape[1])
    left = mask[:, ::-1].copy()
    np.testing.assert_array_equal(ours(x, left).logits, ours(x, mask).logits)
    assert_same_logits(theirs, ours, x, attention_mask=left)


def test_group_norm_statistics_include_padding():
    """So a padded clip is not the clip alone, mask or no mask; with layer norm it is."""
    for norm, same in [("group", False), ("layer", True)]:
        theirs, ours = pair(feat_extract_norm=norm)
        x = clips(ours, batch=2, frames=8)
        x[1, samples_for(ours, 4) :] = 0
        mask = mask_of(ours, [8, 4], x.shape[1])
        alone = ours(x[1:, : samples_for(ours, 4)]).logits[0]
        padded = assert_same_logits(theirs, ours, x, attention_mask=mask).logits[1, :4]
        assert (scale_error(padded, alone) < 1e-12) == same


@families
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_conv_stack_norms_ignore_layer_norm_eps(family, norm):
    """Their epsilon is 1e-5 whatever the configuration says."""
    eps = {"layer_norm_eps": 0.5} | ({"feature_layer_norm_eps": 0.5} if family == "sew-d" else {})
    theirs, ours = pair(family, feat_extract_norm=norm, **eps)
    x = 1e-2 * clips(ours)  # quiet beside an epsilon of 0.5, loud beside 1e-5
    trace, see = recorder()
    ours(x, see=see)
    assert trace["feature_extractor.conv_layers.0.layer_norm"].std() > 0.5
    assert_same_logits(theirs, ours, x)


def test_weighted_sum_counts_unsqueezed_lengths_over_squeezed_positions():
    """The mixed layers have one position for two frames, but the mask is made as if for frames: 5 of 10 frames count 5 of 5 positions."""
    for family in ("sew", "sew-d"):
        theirs, ours = pair(family, "classification", use_weighted_layer_sum=True)
        x = clips(ours, frames=10)
        trace, see = recorder()
        mask = mask_of(ours, [10, 5, 3], x.shape[1])
        out = ours(x, mask, see=see)
        z = trace["projector"]
        assert z.shape[1] == 5
        assert_close64(trace["pooled"][1], z[1].mean(axis=0))
        assert_close64(trace["pooled"][2], z[2, :3].mean(axis=0))  # 2 of the 5 positions hold real frames
        assert_close64(out.logits, run_original(theirs, x, attention_mask=mask)["logits"])


def test_classification_of_a_clip_without_frames_is_nan():
    for family in ("sew", "sew-d"):
        theirs, ours = pair(family, "classification")
        x = clips(ours, batch=2)
        out = assert_same_logits(theirs, ours, x, attention_mask=mask_of(ours, [9, 0], x.shape[1]))
        assert np.isnan(out.logits).all(axis=1).tolist() == [False, True]


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_classification_loss_is_cross_entropy_whatever_the_problem_type(problem):
    theirs, ours = pair(head="classification", problem_type=problem)
    x, labels = clips(ours), np.array([2, 0, -100])
    loss = ours(x, labels=labels).loss
    assert_close64(loss, run_original(theirs, x, labels=labels)["loss"])
    log_p = ours(x).logits - np.log(np.exp(ours(x).logits).sum(axis=1, keepdims=True))
    assert_close64(loss, np.asarray(-(log_p[0, 2] + log_p[1, 0]) / 2))


def test_one_label_always_costs_nothing():
    theirs, ours = pair(head="classification", num_labels=1)
    x, labels = clips(ours), np.zeros(3, int)
    assert ours(x, labels=labels).loss == run_original(theirs, x, labels=labels)["loss"] == 0


@pytest.mark.parametrize("att_type", [["c2p", "p2c"], ["c2p"], []])
def test_relative_attention_false_keeps_the_scale_factor(att_type):
    """Without relative positions the scores are still divided as if they had those terms."""
    theirs, ours = pair("sew-d", relative_attention=False, pos_att_type=att_type)
    trace, see = recorder()
    x = clips(ours)
    ours(x, see=see)
    scope = "encoder.encoder.layer.0.attention.self"
    plain = trace[f"{scope}.q"] @ trace[f"{scope}.k"].swapaxes(-1, -2)
    assert scale_error(trace[f"{scope}.scores"], plain / np.sqrt(8 * (1 + len(att_type)))) < 1e-7
    assert_same_logits(theirs, ours, x)


def test_score_scale_is_rounded_to_float32_in_float64():
    """sqrt(24) = 4.898979485566356, but a float64 model of transformers divides by 4.898979663848877."""
    theirs, ours = pair("sew-d", num_attention_heads=2)
    trace, see = recorder()
    x = clips(ours)
    ours(x, see=see)
    scope = "encoder.encoder.layer.0.attention.self"
    plain = trace[f"{scope}.q"] @ trace[f"{scope}.k"].swapaxes(-1, -2)
    assert_close64(trace[f"{scope}.content"] * 4.898979663848877, plain)
    assert scale_error(trace[f"{scope}.content"] * 4.898979485566356, plain) > 1e-8
    assert_same_logits(theirs, ours, x)


def test_buckets_are_float32_in_float64():
    """Distance 32 of 129 in 32 buckets: an exact power, which float64 arithmetic would put one bucket higher."""
    assert log_buckets(np.array([32, -32]), buckets=32, max_distance=129).tolist() == [21, -21]
    theirs, ours = pair("sew-d", position_buckets=32, max_relative_positions=129, num_hidden_layers=1)
    assert_same_logits(theirs, ours, clips(ours, batch=1, frames=80))


def test_the_far_end_of_the_position_table_is_one_sided():
    """2 span rows for distances -span ... span - 1: from span - 1 on, clips to the left share the last row."""
    theirs, ours = pair("sew-d", position_buckets=-1, max_relative_positions=3, num_hidden_layers=1, pos_att_type=["c2p"])
    trace, see = recorder()
    x = clips(ours, frames=20)
    ours(x, see=see)
    c2p = trace["encoder.encoder.layer.0.attention.self.c2p"][:, :, 5]  # query 5 and keys at distances 5, 4, 3, 2, 1, 0, -1 ...
    for key, others, equal in [(3, (0, 1, 2), True), (2, (7,), False), (8, (9,), True), (7, (8,), False)]:
        assert all(np.allclose(c2p[..., key], c2p[..., other], rtol=1e-12) == equal for other in others)
    assert_same_logits(theirs, ours, x)


def test_position_projections_include_their_biases():
    theirs, ours = pair("sew-d", share_att_key=False)
    trace, see = recorder()
    x = clips(ours)
    ours(x, see=see)
    p = ours.weights["sew_d"]["encoder"]["encoder"]
    expected = trace["encoder.encoder.LayerNorm"] @ p["layer"][0]["attention"]["self"]["pos_key_proj"]["weight"].T
    expected = expected + p["layer"][0]["attention"]["self"]["pos_key_proj"]["bias"]
    keys = trace["encoder.encoder.layer.0.attention.self.pos_k"]
    assert_close64(keys.swapaxes(1, 2).reshape(1, *expected.shape), expected[None])
    assert_same_logits(theirs, ours, x)


def test_unknown_position_terms_are_ignored():
    theirs, ours = pair("sew-d", pos_att_type=["c2p", "p2p", "nonsense"])
    plain = twin(original("sew-d", pos_att_type=["c2p"]))
    x = clips(ours)
    np.testing.assert_array_equal(assert_same_logits(theirs, ours, x).logits, plain(x).logits)


def test_the_norm_of_the_position_table_exists_even_without_positions():
    theirs, ours = pair("sew-d", relative_attention=False)
    assert "sew_d.encoder.encoder.LayerNorm.weight" in theirs.state_dict()
    x = clips(ours)
    before = ours(x).logits
    ours.weights["sew_d"]["encoder"]["encoder"]["LayerNorm"]["weight"] *= 2
    np.testing.assert_array_equal(ours(x).logits, before)


@families
def test_last_hidden_state_is_not_the_last_of_hidden_states(family):
    """The one is at the full frame rate, the others are squeezed."""
    theirs, ours = pair(family, None)
    x = clips(ours, frames=9)
    out, original_out = ours(x, output_hidden_states=True), run_original(theirs, x)
    assert out.last_hidden_state.shape == original_out["last_hidden_state"].shape == (3, 9, 16)
    assert [h.shape for h in out.hidden_states] == [h.shape for h in original_out["hidden_states"]] == [(3, 4, 16)] * 3


def test_first_hidden_state_is_normed_in_sew_and_raw_in_sew_d():
    for family, normed in [("sew", True), ("sew-d", False)]:
        theirs, ours = pair(family)
        trace, see = recorder()
        x = clips(ours)
        first = ours(x, output_hidden_states=True, see=see).hidden_states[0]
        assert (first is trace["encoder.squeezed"]) != normed
        assert_close64(first, run_original(theirs, x)["hidden_states"][0])


@families
def test_without_layers_there_are_no_hidden_states(family):
    theirs, ours = pair(family, num_hidden_layers=0)
    x = clips(ours)
    assert ours(x, output_hidden_states=True).hidden_states == run_original(theirs, x)["hidden_states"] == ()


@families
def test_mask_time_indices_are_honoured_in_inference(family):
    for head in (None, "ctc", "classification"):
        theirs, ours = pair(family, head)
        x, hidden = clips(ours), np.zeros((3, 9), bool)
        hidden[1, 2:5] = True
        trace, see = recorder()
        out = ours(x, mask_time_indices=hidden, see=see)
        vector = ours.weights[ours.config.prefix]["masked_spec_embed"]
        np.testing.assert_array_equal(trace["masked_spec_embed"][1, 2:5], np.broadcast_to(vector, (3, 16)))
        assert scale_error(out.last_hidden_state[1], ours(x).last_hidden_state[1]) > 0.01
        theirs_out = run_original(theirs, x, mask_time_indices=hidden)
        assert_close64(out.last_hidden_state, theirs_out["last_hidden_state"])


@families
def test_mask_time_indices_hide_padding_too_which_is_then_zeroed(family):
    theirs, ours = pair(family)
    x, hidden = clips(ours), np.ones((3, 9), bool)
    mask = mask_of(ours, [9, 5, 3], x.shape[1])
    trace, see = recorder()
    ours(x, mask, mask_time_indices=hidden, see=see)
    assert not trace["encoder.masked_frames"][1, 5:].any()
    assert_same_logits(theirs, ours, x, attention_mask=mask, mask_time_indices=hidden)


def test_mask_time_indices_are_ignored_without_spec_augment():
    theirs, ours = pair(apply_spec_augment=False)
    x, hidden = clips(ours), np.ones((3, 9), bool)
    out = assert_same_logits(theirs, ours, x, mask_time_indices=hidden)
    np.testing.assert_array_equal(out.logits, ours(x).logits)


def test_fully_masked_sew_row_gives_zero_context():
    """As sdpa, the default of transformers 5.23, has it; eager attention would look everywhere instead."""
    theirs, ours = pair()
    x = clips(ours, batch=2)
    mask = mask_of(ours, [9, 0], x.shape[1])
    trace, see = recorder()
    ours(x, mask, see=see)
    assert not trace["encoder.layers.0.attention.context"][1].any()
    assert trace["encoder.layers.0.attention.context"][0].any()
    out = assert_same_logits(theirs, ours, x, attention_mask=mask)
    theirs.set_attn_implementation("eager")
    with torch.no_grad():
        eager = theirs(torch.tensor(x), attention_mask=torch.tensor(mask)).logits.numpy()
    assert_close64(out.logits[0], eager[0])
    assert scale_error(out.logits[1], eager[1]) > 1e-3


def test_fully_masked_sew_d_row_gives_zero_context():
    theirs, ours = pair("sew-d")
    x = clips(ours, batch=2)
    mask = mask_of(ours, [9, 0], x.shape[1])
    trace, see = recorder()
    ours(x, mask, see=see)
    dense = ours.weights["sew_d"]["encoder"]["encoder"]["layer"][0]["attention"]["output"]["dense"]
    output = trace["encoder.encoder.layer.0.attention.output.dense"][1]
    np.testing.assert_array_equal(output, np.broadcast_to(dense["bias"], output.shape))
    assert_same_logits(theirs, ours, x, attention_mask=mask)


@families
def test_upsampling_bends_even_without_a_squeeze(family):
    """With factor 1 nothing is upsampled, yet projection and activation are there."""
    theirs, ours = pair(family, squeeze_factor=1, feat_extract_activation="relu")
    out = assert_same_logits(theirs, ours, clips(ours))
    assert (out.last_hidden_state >= 0).all()
    assert (out.last_hidden_state == 0).any()


@families
def test_feat_extract_activation_also_bends_position_and_upsampling(family):
    """hidden_act bends the feed-forward layers and nothing else."""
    theirs, ours = pair(family, feat_extract_activation="relu", hidden_act="tanh")
    trace, see = recorder()
    x = clips(ours)
    ours(x, see=see)
    for stage in ("encoder.pos_conv_embed.activation", "encoder.upsample.activation", "feature_extractor.conv_layers.2.activation"):
        assert (trace[stage] >= 0).all()
        assert (trace[stage] == 0).any()
    bent = next(x for name, x in trace.items() if name.endswith(("feed_forward.activation", "intermediate.activation")))
    assert bent.min() < 0
    assert_same_logits(theirs, ours, x)


@pytest.mark.parametrize(("kernel", "frames"), [(5, 9), (5, 8), (4, 9), (4, 8)])
def test_odd_kernels_give_one_position_too_many(kernel, frames):
    """... where frames do not fill the last group; it is dropped.  Even kernels lose their last position always."""
    theirs, ours = pair(num_conv_pos_embeddings=kernel)
    trace, see = recorder()
    x = clips(ours, frames=frames)
    ours(x, see=see)
    expected = -(-frames // 2) if kernel % 2 else frames // 2
    assert trace["encoder.pos_conv_embed.activation"].shape[1] == expected
    assert trace["encoder.squeezed"].shape[1] == frames // 2
    assert_same_logits(theirs, ours, x)


def test_a_position_tap_of_zeros_is_nan():
    """Weight norm has no epsilon."""
    theirs, ours = pair()
    conv = ours.weights["sew"]["encoder"]["pos_conv_embed"]["conv"]
    conv["weight_v"][:, :, 1] = 0
    theirs.load_state_dict({key: torch.tensor(x) for key, x in ours.flat_weights().items()})
    assert np.isnan(weight_norm(conv["weight_g"], conv["weight_v"])).any(axis=(0, 1)).tolist() == [False, True, False, False, False]
    out = assert_same_logits(theirs, ours, clips(ours, frames=8))
    assert np.isnan(out.logits).all()


@families
@pytest.mark.parametrize("blank", [0, 7])
def test_blanks_in_labels_are_dropped(family, blank):
    """With blank 0, a zero inside a label row vanishes."""
    theirs, ours = pair(family, pad_token_id=blank)
    x = clips(ours)
    labels = np.array([[1, blank, 2, 3], [4, 5, -100, 6], [blank, -100, 9, 9]])
    closed_up = np.array([[1, 2, 3], [4, 5, 6], [9, 9, -100]])
    loss = ours(x, labels=labels).loss
    assert loss == ours(x, labels=closed_up).loss
    assert scale_error(loss, run_original(theirs, x, labels=labels)["loss"]) < 1e-6


def test_one_infeasible_row_makes_the_loss_infinite():
    for zero_infinity, reduction in [(False, "mean"), (False, "sum"), (True, "mean"), (True, "sum")]:
        theirs, ours = pair(ctc_zero_infinity=zero_infinity, ctc_loss_reduction=reduction)
        x = clips(ours, batch=2)
        labels = np.array([[1, 2, 3, -100, -100, -100], [5] * 6])  # six equal ones need 11 frames, there are 9
        loss = ours(x, labels=labels).loss
        assert np.isinf(loss) != zero_infinity
        assert scale_error(loss, run_original(theirs, x, labels=labels)["loss"]) < 1e-6


def test_other_negative_labels_are_refused_where_the_original_reads_out_of_range():
    _, ours = pair()
    with pytest.raises(InputError, match=r"labels\[0, 1\]: expected -100 or 0 <= label < 11, found -1"):
        ours(clips(ours, batch=1), labels=np.array([[3, -1]]))


def test_ctc_loss_keeps_float64_where_the_original_falls_to_float32():
    theirs, ours = pair()
    x, labels = clips(ours), np.array([[1, 2], [3, 3], [4, 5]])
    assert ours(x, labels=labels).loss.dtype == np.float64
    assert run_original(theirs, x, labels=labels)["loss"].dtype == np.float32


def test_attentions_are_shown_where_the_default_of_the_original_shows_none():
    _, ours = pair()
    x = clips(ours)
    assert [a.shape for a in ours(x, output_attentions=True).attentions] == [(3, 2, 4, 4)] * 2
