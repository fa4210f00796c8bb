"""Both sets of mask rules against what transformers computed under them: ``tests/goldens/``, written by its ``write_goldens.py``.

The release before the rules changed cannot be installed beside the one after; hence files instead of live comparisons.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from judging import assert_close64, recorder, scale_error
from sewnp.checkpoints import nest
from sewnp.config import config_from_dict
from sewnp.model import Model

FOLDER = Path(__file__).parent.parent / "goldens"
RULES = {"floor": "4.57.1", "any": "5.23.0"}
CASES = [f"{family}{head}" for family in ("sew", "sew-d") for head in ("", "-ctc", "-classification", "-weighted")]


@cache
def golden(masking, case):
    """Ours with the golden's weights, its output, its trace, and the golden's arrays by name."""
    with safe_open(FOLDER / f"transformers-{RULES[masking]}.safetensors", "numpy") as file:
        arrays = {key.removeprefix(f"{case}/"): file.get_tensor(key) for key in file.keys() if key.startswith(f"{case}/")}  # noqa: SIM118
        input_values, config = file.get_tensor("input_values"), config_from_dict(json.loads(file.metadata()["about"])[case])
    head = (
        "ctc" if "lm_head.bias" in case_weights(arrays) else "classification" if "classifier.bias" in case_weights(arrays) else None
    )
    prefix = "" if head else f"{config.prefix}."
    weights = nest({prefix + key: x for key, x in case_weights(arrays).items()})
    trace, see = recorder()
    model = Model(config=config, weights=weights, head=head, masking=masking)
    ask = {"output_hidden_states": True, "output_attentions": True, "see": see}
    out = model(input_values, arrays["attention_mask"], arrays.get("labels"), **ask)
    return model, out, trace, arrays


def case_weights(arrays):
    return {key.removeprefix("weights/"): x for key, x in arrays.items() if key.startswith("weights/")}


def heard(masking, case):
    """The rows of a batch that have a squeezed frame to look at."""
    model, _, _, arrays = golden(masking, case)
    lengths = np.array([lengths_of(model, row) for row in arrays["attention_mask"]])
    if masking == "any":
        return lengths > 0
    return np.where(lengths > 0, lengths, 13 + lengths) // model.config.squeeze_factor > 0


def lengths_of(model, row):
    """The length formula of transformers, on its own: 0 or less where there are too few samples."""
    length = int(row.sum())
    for kernel, stride in zip(model.config.conv_kernel, model.config.conv_stride, strict=True):
        length = (length - kernel) // stride + 1
    return length


@pytest.mark.parametrize("masking", RULES)
def test_goldens_say_who_wrote_them(masking):
    with safe_open(FOLDER / f"transformers-{RULES[masking]}.safetensors", "numpy") as file:
        about = json.loads(file.metadata()["about"])
    assert about["transformers"] == RULES[masking]
    assert set(about) == {"transformers", "torch", "numpy", *CASES}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("masking", RULES)
def test_both_rule_sets_equal_their_goldens(masking, case):
    model, out, _, arrays = golden(masking, case)
    rows = np.ones(6, bool)
    if masking == "floor" and model.config.model_type == "sew":
        rows = heard(masking, case)  # 4.57.1 looks everywhere from a clip with nothing to look at; see the next test
        assert rows.sum() == 5
    if model.head is None:
        assert_close64(out.last_hidden_state[rows], arrays["last_hidden_state"][rows])
    else:
        assert_close64(out.logits[rows], arrays["logits"][rows])
    for i, state in enumerate(out.hidden_states):
        assert_close64(state[rows], arrays[f"hidden_states/{i}"][rows])
    shown = heard(masking, case)  # eager attention, which shows attentions, looks everywhere in SEW of 5.23.0 too
    for i, probabilities in enumerate(out.attentions):
        assert_close64(probabilities[shown], arrays[f"attentions/{i}"][shown])
    assert ("loss" in arrays) == (model.head == "ctc")
    if model.head == "ctc":
        assert scale_error(out.loss, arrays["loss"].reshape(())) <= 1e-6  # theirs is float32


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("sew-d")])
def test_fully_masked_sew_row_gives_zero_context_under_both_rule_sets(case):
    """4.57.1 adds the smallest float64 to every score instead, which makes them equal: uniform attention.  5.23.0 gives zeros, as we do."""
    for masking in RULES:
        _, out, trace, arrays = golden(masking, case)
        empty = ~heard(masking, case)
        assert empty.any()
        assert not trace["encoder.layers.0.attention.context"][empty].any()
        same = [
            scale_error(a, b) < 1e-12 for a, b in zip(out.hidden_states[1][empty], arrays["hidden_states/1"][empty], strict=True)
        ]
        assert same == [masking == "any"] * len(same)
        uniform = arrays["attentions/0"][empty]
        np.testing.assert_allclose(uniform, 1 / uniform.shape[-1])


DIFFERENT = {
    "sew": [False, True, True, True, True, True],  # 13, 8, 7, 1, 0, -2 frames in groups of 3
    "sew-ctc": [False, False, True, False, True, True],  # 13, 8, 7, 4, 1, 0 frames in pairs: odd ones, and none at all
    "sew-classification": [False, False, True, False, True, True],
    "sew-weighted": [False, True, False, True, True, True],  # 6, 5, 4, 3, 1, 0
    "sew-d": [False, True, True, True, True, True],
    "sew-d-ctc": [False, True, True, True, True, True],  # wherever there is padding: its queries are masked too
    "sew-d-classification": [False, True, True, True, True, True],
    "sew-d-weighted": [True] * 6,
}


@pytest.mark.parametrize("case", CASES)
def test_the_rule_sets_differ_where_expected_and_nowhere_else(case):
    """In the last layer, over all squeezed frames, padded ones included: theirs from each other, and ours with them."""
    last = golden("any", case)[0].config.num_hidden_layers
    theirs = [golden(masking, case)[3][f"hidden_states/{last}"] for masking in RULES]
    ours = [golden(masking, case)[1].hidden_states[last] for masking in RULES]
    for old, new in (theirs, ours):
        assert [scale_error(a, b) > 1e-6 for a, b in zip(old, new, strict=True)] == DIFFERENT[case]


def test_the_same_weights_and_inputs_lie_under_both():
    for case in CASES:
        old, new = (golden(masking, case)[3] for masking in RULES)
        assert old.keys() == new.keys()
        for key in old:
            if key.startswith("weights/") or key in ("attention_mask", "labels"):
                np.testing.assert_array_equal(old[key], new[key])
