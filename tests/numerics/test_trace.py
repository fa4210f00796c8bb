"""Traces: which stages there are, what they are called, and that a recording is whole."""

import json
import re

import numpy as np
import pytest
from numerics.cases import CASES, case, truth

import sewnp
from sewnp.errors import InputError
from sewnp.layers import frame_count, unseen, within
from sewnp.networks.stages import STAGES, stage_of
from sewnp.numerics import Inputs, Recorder, Trace, run_in, trace
from sewnp.numerics.precision import in_precision, with_weights


@pytest.mark.parametrize("name", CASES)
def test_every_stage_has_a_meaning_and_the_axes_that_it_is_said_to_have(name: str) -> None:
    model, inputs = case(name)
    config, recorded = model.config, truth(name)
    batch, samples = inputs.input_values.shape
    frames, factor = config.frames(samples), config.squeeze_factor
    n, heads, hidden = frames // factor, config.num_attention_heads, config.hidden_size
    kernel = config.num_conv_pos_embeddings
    sizes = {
        "B": {batch},
        "n": {samples},
        "T": {frames, n} if config.use_weighted_layer_sum else {frames},
        "N": {n},
        "N*": {n, n + 1, -(-frames // factor)} if kernel % 2 == 0 else {-(-frames // factor)},
        "H": {hidden},
        "H/G": {hidden // config.num_conv_pos_embedding_groups},
        "K": {kernel},
        "I": {config.intermediate_size},
        "h": {heads},
        "d": {hidden // heads},
        "sH": {factor * hidden},
        "R": {2 * getattr(config, "span", 0)},
        "V": {config.vocab_size},
        "S": {7},  # the longest target has three tokens
        "P": {config.classifier_proj_size},
        "L": {3},
        "1": {1},
    }
    for name, value in recorded.items():
        stage = stage_of(name)
        here = {"C": {config.conv_dim[-1]}}
        if name.startswith("feature_extractor"):
            layer = int(name.split(".")[2])
            stack = {"kernels": config.conv_kernel[: layer + 1], "strides": config.conv_stride[: layer + 1]}
            here = {"C": {config.conv_dim[layer]}, "T": {frame_count(samples, **stack)}}
        of_tokens, _, of_labels = stage.axes.partition(" | ")
        stage_axes = (of_labels if of_labels and model.head == "classification" else of_tokens).split()
        if stage.name == "loss" and getattr(config, "ctc_loss_reduction", "") == "none":
            stage_axes = ["B"]
        assert value.ndim == len(stage_axes), name
        for size, axis in zip(value.shape, stage_axes, strict=True):
            assert size in (sizes | here)[axis], name
        assert value.dtype.kind == {"float": "f", "integer": "i", "boolean": "b"}[stage.kind]
        assert stage.meaning


def test_every_kind_of_stage_occurs_in_some_run() -> None:
    seen = {stage_of(stage).name for name in CASES for stage in truth(name)}
    assert seen == {stage.name for stage in STAGES}
    assert len({stage.name for stage in STAGES}) == len(STAGES)


def test_every_axis_is_explained() -> None:
    explained = set("BnTNCHIhdKGsRVSPL1")
    letters = {
        letter for stage in STAGES for axis in stage.axes.replace("|", " ").split() for letter in re.findall(r"[A-Za-z1]", axis)
    }
    assert letters <= explained


@pytest.mark.parametrize(
    "name", ["", "encoder", "encoder.layers.0", "encoder.layers.{i}.residual", "encoder.layers.0.attention.q.1", "logits2"]
)
def test_a_name_that_is_no_stage(name: str) -> None:
    with pytest.raises(InputError, match="no stage of stage list 2 has this name"):
        stage_of(name)


def test_a_name_seen_twice_is_an_error() -> None:
    see, x = Recorder(), np.zeros(2)
    assert see("pooled", x) is x
    with pytest.raises(sewnp.errors.TraceError, match="pooled: this stage was seen twice in one run"):
        see("pooled", x)
    # also where it is not kept, and through scopes
    some = within(Recorder(["logits"]), "encoder")
    some("pool", x)
    with pytest.raises(sewnp.errors.TraceError, match=r"encoder\.pool: this stage was seen twice"):
        some("pool", x)
    assert within(unseen, "encoder") is unseen


@pytest.mark.parametrize("name", CASES)
def test_looking_changes_nothing(name: str) -> None:
    model, inputs = case(name)
    recorded = trace(model, **inputs.arguments())
    out = model(**inputs.arguments())
    np.testing.assert_array_equal(recorded["encoder.last_hidden_state"], out.last_hidden_state)
    if out.logits is not None:
        np.testing.assert_array_equal(recorded["logits"], out.logits)
    if out.loss is not None:
        np.testing.assert_array_equal(recorded["loss"], out.loss)
    assert len(recorded) == len(list(recorded)) == len(recorded.stages)


def test_the_order_is_that_of_computation() -> None:
    names = list(truth("sew"))
    assert names[:4] == ["frame_mask", "encoder.squeezed_mask", "input_values", "feature_extractor.conv_layers.0.conv"]
    assert names[-3:] == ["ctc.alpha", "ctc.losses", "loss"]


def test_patterns_choose_stages() -> None:
    model, inputs = case("sew")
    assert list(trace(model, **inputs.arguments(), stages=["logits", "encoder.layers.?.attention.[qk]"])) == [
        "encoder.layers.0.attention.q",
        "encoder.layers.0.attention.k",
        "encoder.layers.1.attention.q",
        "encoder.layers.1.attention.k",
        "logits",
    ]
    with pytest.raises(InputError, match=r"encoder\.layers\.9\.\*: no stage of this run has such a name; stages are frame_mask, "):
        trace(model, **inputs.arguments(), stages=["logits", "encoder.layers.9.*"])


def test_the_metadata_tells_what_was_run() -> None:
    model, inputs = case("sew-d, raw distances")
    said = trace(model, **inputs.arguments()).metadata
    assert {key: said[key] for key in ("sewnp", "stage_list", "model", "dtype", "masking")} == {
        "sewnp": sewnp.__version__,
        "stage_list": "2",
        "model": "model",
        "dtype": "float32",
        "masking": "floor",
    }
    assert sewnp.config.config_from_dict(json.loads(said["config"])).to_dict() == model.config.to_dict()
    assert said["fingerprint"] == model.fingerprint() == in_precision(model, "float64").fingerprint()
    assert said["inputs"] == inputs.digest()


def test_a_fingerprint_sees_a_single_bit() -> None:
    model, _ = case("sew")
    first = model.fingerprint()
    changed = with_weights(model, np.copy)
    assert changed.fingerprint() == first
    bias = changed.weights["lm_head"]["bias"]
    bias[3] = np.nextafter(bias[3], np.float32(9))
    assert changed.fingerprint() != first
    other, _ = case("sew, square")
    assert other.fingerprint() != first


def test_a_digest_of_inputs_sees_values_and_shapes_but_not_dtypes() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    first = Inputs(x).digest()
    assert Inputs(x.astype(np.float64)).digest() == first
    assert Inputs(x.T.copy().T).digest() == first
    assert Inputs(x, np.ones((2, 3))).digest() == Inputs(x, np.ones((2, 3), dtype=bool)).digest() != first
    assert len({first, Inputs(x.reshape(3, 2)).digest(), Inputs(x + 1).digest(), Inputs(x, labels=x).digest()}) == 4


def test_a_trace_is_a_mapping() -> None:
    x = np.zeros(2)
    recorded = Trace({"pooled": x})
    assert dict(recorded) == {"pooled": x}
    assert recorded.metadata == {}
    with pytest.raises(KeyError):
        recorded["logits"]


def test_every_stage_keeps_the_dtype() -> None:
    for name in CASES:
        for stage, x in run_in(*case(name), "float32").items():
            assert x.dtype == np.float32 or stage_of(stage).kind != "float", stage
