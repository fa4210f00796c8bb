"""What holds for every model: inputs and weights stay as they were, dtypes are kept, stages can be seen and replaced, nonsense is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sewnp
from judging import assert_close64, leaves, recorder
from originals import CLASSES, clips, mask_of, original, twin
from sewnp.config import SEWConfig, SEWDConfig
from sewnp.errors import ConfigError, InputError, SewError

KINDS = list(CLASSES)
kinds = pytest.mark.parametrize(("family", "head"), KINDS, ids=[f"{family}-{head}" for family, head in KINDS])
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])

NOT_FLOATS = {"frame_mask": np.bool_, "encoder.squeezed_mask": np.bool_, "encoder.encoder.relative_positions": np.int64}
"""Stages that are no floats, by name."""


def everything(family, head, dtype=np.float64):
    """A model and arguments that take it through all it can do."""
    weighted = {"use_weighted_layer_sum": True} if head == "classification" else {}
    model = twin(original(family, head, **weighted), dtype=dtype)
    x = clips(model)
    time_mask = np.zeros((3, 9), bool)
    time_mask[0, 2:4] = True
    arguments = {"input_values": x, "attention_mask": mask_of(model, [9, 6, 3], x.shape[1]), "mask_time_indices": time_mask}
    labels = {"ctc": np.array([[1, 2, -100], [3, 0, 4], [5, -100, -100]]), "classification": np.array([0, 2, -100])}
    return model, arguments | ({"labels": labels[head]} if head else {})


def results(out):
    """All of an output's arrays."""
    return [
        x
        for x in (out.last_hidden_state, out.logits, out.loss, *(out.hidden_states or ()), *(out.attentions or ()))
        if x is not None
    ]


@kinds
@dtypes
def test_no_argument_and_no_weight_is_changed(family, head, dtype):
    model, arguments = everything(family, head, dtype)
    arrays = [*arguments.values(), *leaves(model.weights)]
    assert len(arrays) > 40
    before = [x.tobytes() for x in arrays]
    first = results(model(**arguments, output_hidden_states=True, output_attentions=True))
    assert [x.tobytes() for x in arrays] == before
    for x in arrays:
        x.setflags(write=False)  # not even for a moment
    again = results(model(**arguments, output_hidden_states=True, output_attentions=True))
    assert [x.tobytes() for x in first] == [x.tobytes() for x in again]


@kinds
def test_no_stage_is_changed_after_it_was_seen(family, head):
    model, arguments = everything(family, head)

    def freeze(name, x):
        x.setflags(write=False)
        return x

    model(**arguments, see=freeze)


@kinds
@dtypes
def test_every_stage_keeps_the_dtype_and_is_seen_once(family, head, dtype):
    model, arguments = everything(family, head, dtype)
    trace, see = recorder()  # refuses a name that it has seen
    out = model(**arguments, see=see)
    assert len(trace) > 50
    for name, x in trace.items():
        assert x.dtype == NOT_FLOATS.get(name, dtype), f"{name} is {x.dtype}"
    for x in results(out):
        assert x.dtype == dtype


@kinds
def test_looking_changes_nothing(family, head):
    model, arguments = everything(family, head)
    _, see = recorder()
    ask = {"output_hidden_states": True, "output_attentions": True}
    seen, unseen, plain = model(**arguments, **ask, see=see), model(**arguments, **ask), model(**arguments)
    assert [x.tobytes() for x in results(seen)] == [x.tobytes() for x in results(unseen)]
    assert (plain.hidden_states, plain.attentions) == (None, None)
    np.testing.assert_array_equal(plain.last_hidden_state, seen.last_hidden_state)


@kinds
def test_replaying_recorded_stages_gives_the_same_and_zeroing_any_another(family, head):
    """Whatever ``see`` returns is what the network goes on with, at every single stage."""
    model, arguments = everything(family, head)
    trace, see = recorder()
    truth = [x.tobytes() for x in results(model(**arguments, see=see))]
    # on other sound with other weights than those recorded, the recordings alone decide
    replayed = model(**arguments | {"input_values": arguments["input_values"] + 1}, see=lambda name, x: trace[name])
    assert [x.tobytes() for x in results(replayed)] == truth
    for stage in trace:
        zeroed = model(**arguments, see=lambda name, x, stage=stage: np.zeros_like(x) if name == stage else x)
        assert [x.tobytes() for x in results(zeroed)] != truth, f"{stage} can be zeroed and nothing changes"


@kinds
def test_hidden_states_and_attentions_are_stages(family, head):
    model, arguments = everything(family, head)
    trace, see = recorder()
    out = model(**arguments, output_hidden_states=True, output_attentions=True, see=see)
    shown = {id(x) for x in trace.values()}
    assert all(id(x) in shown for x in (*out.hidden_states, *out.attentions, out.last_hidden_state))
    assert len(out.hidden_states) == 3
    assert len(out.attentions) == 2


@kinds
def test_the_layout_of_arguments_does_not_matter(family, head):
    model, arguments = everything(family, head)
    truth = results(model(**arguments))
    strided = {name: np.repeat(x, 2, axis=-1)[..., ::2] for name, x in arguments.items()}
    fortran = {name: np.asfortranarray(x) for name, x in arguments.items()}
    lists = {name: x.tolist() for name, x in arguments.items() if name != "input_values"} | {
        "input_values": arguments["input_values"]
    }
    for same in (strided, fortran, lists):
        for x, y in zip(results(model(**same)), truth, strict=True):
            assert_close64(x, y)


def test_input_of_another_float_dtype_is_computed_in_the_models():
    model, _ = everything("sew", "ctc", np.float32)
    x = clips(model)
    for dtype in (np.float16, np.float64, ">f4"):
        assert model(x.astype(dtype)).logits.dtype == np.float32
    np.testing.assert_array_equal(model(x.astype(np.float64)).logits, model(x).logits)


@kinds
def test_clips_of_a_batch_do_not_see_each_other(family, head):
    model, arguments = everything(family, head)
    x, mask = arguments["input_values"], arguments["attention_mask"]
    together = model(x, mask)
    for i in range(3):
        alone = model(x[i : i + 1], mask[i : i + 1])
        assert_close64(together.last_hidden_state[i], alone.last_hidden_state[0])
        if head:
            assert_close64(together.logits[i], alone.logits[0])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 5)), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(0, 40),
    st.sampled_from([SEWConfig, SEWDConfig]),
)
def test_frames_follow_the_length_formula(stack, factor, more, family):
    """Any stack of convolutions: as many logits as the formula says, from the fewest samples that the model takes upwards."""
    kernels, strides = zip(*stack, strict=True)
    config = family(
        conv_dim=[8] * len(stack), conv_kernel=kernels, conv_stride=strides, squeeze_factor=factor, hidden_size=8, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=8, num_conv_pos_embeddings=3, num_conv_pos_embedding_groups=2, feat_extract_norm="layer",
    )  # fmt: skip
    model = sewnp.from_config(config, dtype="float64")
    samples = config.minimum_samples + more
    frames = samples
    for kernel, stride in stack:
        frames = (frames - kernel) // stride + 1
    assert model(np.ones((1, samples))).logits.shape == (1, frames, 32)
    assert config.frames(samples) == frames
    with pytest.raises(InputError, match=f"at least 1 clip and {config.minimum_samples} samples"):
        model(np.ones((1, config.minimum_samples - 1)))


# Refusals


@pytest.fixture
def ctc():
    return twin(original("sew", "ctc"))


BAD_INPUTS = [
    (np.zeros(200), r"input_values: expected floats of shape \(batch, samples\), found float64 of shape \(200,\)"),
    (np.zeros((1, 200, 1)), r"input_values: expected floats of shape \(batch, samples\), found float64 of shape \(1, 200, 1\)"),
    (np.float64(1), r"input_values: expected floats .* of shape \(\)"),
    (np.zeros((1, 200), np.int16), r"input_values: expected floats .*, found int16"),
    (np.zeros((1, 200), complex), r"input_values: expected floats .*, found complex128"),
    (np.zeros((1, 200), bool), r"input_values: expected floats .*, found bool"),
    (np.full((1, 200), "a"), r"input_values: expected floats .*, found <U1"),
    (None, r"input_values: expected floats .*, found object"),
    (np.zeros((0, 200)), r"input_values: expected at least 1 clip and 40 samples, found shape \(0, 200\)"),
    (np.zeros((1, 0)), r"input_values: expected at least 1 clip and 40 samples, found shape \(1, 0\)"),
    (np.zeros((1, 39)), r"input_values: expected at least 1 clip and 40 samples, found shape \(1, 39\)"),
    (np.full((1, 200), np.nan), "input_values: expected finite samples, found 200 NaN or infinite ones"),
    (np.where(np.arange(200) == 7, -np.inf, 0.0)[None], "input_values: expected finite samples, found 1 NaN or infinite ones"),
]


@pytest.mark.parametrize(("x", "message"), BAD_INPUTS)
def test_inputs_that_are_refused(ctc, x, message):
    assert ctc.config.minimum_samples == 40
    with pytest.raises(InputError, match=message) as caught:
        ctc(x)
    assert isinstance(caught.value, SewError)
    assert isinstance(caught.value, ValueError)


def test_one_sample_more_is_accepted(ctc):
    assert ctc(np.zeros((1, 40))).logits.shape == (1, 2, 11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_mask": np.ones((3, 5))}, r"attention_mask: expected shape \(3, \d+\), found \(3, 5\)"),
        ({"attention_mask": np.ones((2, 105))}, r"attention_mask: expected shape \(3, \d+\), found \(2, 105\)"),
        ({"attention_mask": np.ones(105)}, r"attention_mask: expected shape \(3, \d+\), found \(105,\)"),
        ({"attention_mask": lambda x: 2 * np.ones(x.shape)}, "attention_mask: expected only 0 and 1, found other values"),
        ({"attention_mask": lambda x: np.full(x.shape, np.nan)}, "attention_mask: expected only 0 and 1, found other values"),
        ({"attention_mask": lambda x: np.full(x.shape, 0.5)}, "attention_mask: expected only 0 and 1, found other values"),
        ({"labels": np.array([[1, 11]] * 3)}, r"labels\[0, 1\]: expected -100 or 0 <= label < 11, found 11"),
        ({"labels": np.array([[1, 2], [3, -1], [4, 5]])}, r"labels\[1, 1\]: expected -100 or 0 <= label < 11, found -1"),
        ({"labels": np.array([[1, -101]] * 3)}, r"labels\[0, 1\]: expected -100 or 0 <= label < 11, found -101"),
        ({"labels": np.array([[1.5, 2]] * 3)}, r"labels\[0, 0\]: expected an integral value, found 1\.5"),
        ({"labels": np.array([["a"]] * 3)}, "labels: expected integers, found dtype <U1"),
        ({"labels": np.array([[1, 2]] * 2)}, "labels: expected 3 rows, one a clip, found 2"),
        ({"labels": np.ones((3, 2, 1), int)}, r"labels: expected shape \(batch, length\) or \(length,\), found \(3, 2, 1\)"),
        ({"mask_time_indices": np.ones((3, 8), bool)}, r"mask_time_indices: expected shape \(3, 9\), found \(3, 8\)"),
        ({"mask_time_indices": np.ones(9, bool)}, r"mask_time_indices: expected shape \(3, 9\), found \(9,\)"),
    ],
)
def test_other_arguments_that_are_refused(ctc, change, message):
    x = clips(ctc)
    arguments = {name: value(x) if callable(value) else value for name, value in change.items()}
    with pytest.raises(InputError, match=message):
        ctc(x, **arguments)


def test_labels_are_checked_before_anything_is_computed(ctc):
    def fail(name, x):
        pytest.fail(f"{name} was computed")

    with pytest.raises(InputError, match="labels"):
        ctc(clips(ctc), labels=np.array([[11]] * 3), see=fail)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3], "labels: expected 0 to 2 or -100, found 3 for clip 2"),
        ([0, -1, 2], "labels: expected 0 to 2 or -100, found -1 for clip 1"),
        ([0, 1], r"labels: expected 3 integers, one a clip, found int64 of shape \(2,\)"),
        ([[0, 1], [1, 1], [0, 2]], r"labels: expected 3 integers, one a clip, found int64 of shape \(3, 2\)"),
        ([0.0, 1.0, 2.0], "labels: expected 3 integers, one a clip, found float64"),
    ],
)
def test_classes_that_are_refused(labels, message):
    model = twin(original("sew-d", "classification"))
    with pytest.raises(InputError, match=message):
        model(clips(model), labels=np.array(labels))


def test_classes_may_stand_in_a_column():
    model = twin(original("sew", "classification"))
    assert model(clips(model), labels=np.array([[0], [1], [2]])).loss == model(clips(model), labels=np.array([0, 1, 2])).loss


@pytest.mark.parametrize("family", ["sew", "sew-d"])
def test_a_base_model_takes_no_labels(family):
    model = twin(original(family, None))
    with pytest.raises(InputError, match="labels: a base model has no loss; load with head='ctc' or head='classification'"):
        model(clips(model), labels=np.array([[1], [2], [3]]))


def test_mask_time_indices_need_a_vector_to_hide_behind():
    model = twin(original("sew", "ctc", mask_time_prob=0.0))
    message = "mask_time_indices: this model has no masked_spec_embed: .* or its mask_time_prob and mask_feature_prob are 0"
    with pytest.raises(InputError, match=message):
        model(clips(model), mask_time_indices=np.ones((3, 9), bool))
    silent = twin(original("sew", "ctc", mask_time_prob=0.0, apply_spec_augment=False))
    np.testing.assert_array_equal(
        silent(clips(silent), mask_time_indices=np.ones((3, 9), bool)).logits, silent(clips(silent)).logits
    )


@pytest.mark.filterwarnings("ignore:.*pad_token_id:UserWarning")
@pytest.mark.parametrize("blank", [None, 11, -1])
def test_a_loss_needs_a_blank(ctc, blank):
    from dataclasses import replace

    odd = replace(ctc, config=replace(ctc.config, pad_token_id=blank))
    np.testing.assert_array_equal(odd(clips(ctc)).logits, ctc(clips(ctc)).logits)
    with pytest.raises(InputError, match=f"pad_token_id: the loss needs a blank from 0 to 10, found {blank}"):
        odd(clips(ctc), labels=np.array([[1], [2], [3]]))


def test_a_clip_too_long_for_the_machine_is_refused_before_it_is_computed(ctc, monkeypatch):
    def fail(name, x):
        pytest.fail(f"{name} was computed")

    x = np.zeros((1, 200_000))
    monkeypatch.setattr("sewnp.inputs.memory", lambda: 10**9)
    with pytest.raises(InputError, match=r"attention over 200000 samples at once needs about \d+ GiB of memory, .* split the clip"):
        ctc(x, see=fail)
    assert ctc(x[:, :5000]).logits.shape[0] == 1
    monkeypatch.undo()
    hour = np.broadcast_to(np.float32(0), (1, 16000 * 3600))  # in a few bytes
    with pytest.raises(InputError, match="split the clip"):
        sewnp.from_config(SEWConfig(num_hidden_layers=1, hidden_size=96), engine="textbook")(hour, see=fail)


def test_a_single_value_cannot_be_normalised_over_time():
    """One clip and one frame behind the first convolution: torch refuses it too, in inference as well."""
    stack = {"conv_dim": [16], "conv_kernel": [10], "conv_stride": [5], "squeeze_factor": 1}
    theirs = original("sew", "ctc", **stack)
    model = twin(theirs)
    with pytest.raises(InputError, match="group_norm: expected more than 1 value per group"):
        model(np.zeros((1, 10)))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        theirs(torch.zeros((1, 10), dtype=torch.float64))
    assert model(np.zeros((2, 10))).logits.shape == (2, 1, 11)


def test_silence_and_constants_are_finite(ctc):
    for level in (0.0, 1.0, 1e30):
        assert np.isfinite(ctc(np.full((1, 200), level)).logits).all()


@pytest.mark.parametrize("argument", ["input_values", "attention_mask", "labels", "mask_time_indices"])
def test_ragged_lists_are_refused_by_name(argument):
    model = sewnp.load("digits")
    arguments = {"input_values": np.zeros((2, 800), np.float32), argument: [[1.0, 0.0], [1.0]]}
    with pytest.raises(InputError, match=f"{argument}: expected an array, found list"):
        model(**arguments)


def test_samples_too_large_for_float32_are_refused():
    with pytest.raises(InputError, match="found 1 NaN or infinite ones in float32"):
        sewnp.load("digits")(np.array([[*np.ones(800), 1e300]]))


def test_from_config_refuses_what_is_no_configuration_head_or_seed():
    config = sewnp.SEWConfig(hidden_size=16, num_attention_heads=2)
    for wrong, arguments in (
        (config, {"head": "auto"}),
        ({}, {}),
        (config, {"seed": -1}),
        (config, {"seed": 1.5}),
        (config, {"dtype": None}),
    ):
        with pytest.raises(ConfigError):
            sewnp.from_config(wrong, **arguments)
