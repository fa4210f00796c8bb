"""The gradients of whole models against torch's autograd in float64: every parameter and the input, over the table that pairs every option
with every other, and random models on top."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks.test_parity import TABLE, arguments, described, lengths_of, models, name_of, undefined

import sewnp
from judging import assert_gradients_close
from originals import original, twin
from sewnp.checkpoints import flatten
from sewnp.checkpoints.names import modern
from sewnp.errors import InputError
from sewnp.layers import draw_spans


def torch_loss(model: Any, out: Any, given: dict[str, Any], ours: Any) -> Any:
    """The loss with torch's own functions, for CTC in float64, where transformers has float32 whatever the model."""
    config = model.config
    if ours.head == "classification":
        return torch.nn.functional.cross_entropy(out.logits, torch.tensor(given["labels"]))
    kept = [[int(label) for label in row if label not in (-100, config.pad_token_id)] for row in given["labels"]]
    log_probs = torch.log_softmax(out.logits, -1).transpose(0, 1)
    flat = torch.tensor([label for row in kept for label in row], dtype=torch.long)
    sizes, lengths = torch.tensor([len(row) for row in kept]), torch.tensor(lengths_of(ours, given))
    options = {"reduction": config.ctc_loss_reduction, "zero_infinity": config.ctc_zero_infinity}
    return torch.nn.functional.ctc_loss(log_probs, flat, lengths, sizes, blank=config.pad_token_id, **options)


def torch_gradients(model: Any, ours: Any, given: dict[str, Any], *, by_input: bool = True) -> tuple[Any, dict[str, Any]]:
    """The loss, and the gradients by parameter and "input_values"; None where autograd has none."""
    model.zero_grad()
    x = torch.tensor(given["input_values"], requires_grad=by_input)  # which transformers refuses in training
    rest = {name: torch.tensor(value) for name, value in given.items() if name not in ("input_values", "labels")}
    loss = torch_loss(model, model(x, **rest), given, ours)
    loss.sum().backward()
    grads = {modern(name): p.grad for name, p in model.named_parameters()} | {"input_values": x.grad}
    return loss.detach().numpy(), {name: None if grad is None else grad.numpy() for name, grad in grads.items()}


def assert_gradients(family: str, row: dict[str, Any], seed: int) -> None:
    row = row | {"head": row["head"] or "ctc", "labels": "plain" if row["labels"] == "none" else row["labels"]}
    if undefined(family, row):
        row = row | {"num_hidden_layers": 1}
    head, values = described(family, row)
    model = original(family, head, seed=seed, **values)
    ours = twin(model)
    given = arguments(row, ours, np.random.default_rng(seed))
    loss, theirs = torch_gradients(model, ours, given)
    result = ours.gradients(**given, input_gradient=True)
    np.testing.assert_array_equal(result.loss, ours(**given).loss)
    np.testing.assert_array_equal(result.output.logits, ours(**given).logits)
    np.testing.assert_allclose(result.loss, loss, rtol=1e-12)
    assert_gradients_close(result.flat() | {"input_values": result.input_values}, theirs)
    assert [key for key, value in flatten(result.weights).items() if value is not None] == list(result.flat())
    assert list(flatten(result.weights)) == list(ours.flat_weights())


@pytest.mark.parametrize(("number", "family", "row"), [(i, *entry) for i, entry in enumerate(TABLE)], ids=name_of)
def test_pairwise_gradients(number, family, row):
    assert_gradients(family, row, number)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(models(), st.integers(0, 1000))
def test_random_gradients(model, seed):
    assert_gradients(*model, seed)


# --- in training: dropout, LayerDrop and SpecAugment, with the masks of transformers ------------------------------------------------


TRAINED = [
    ("sew", "ctc", {}),
    ("sew", "ctc", {"conv_dim": [8, 12, 16], "final_dropout": 0.0}),  # no projection
    ("sew", "classification", {"hidden_dropout": 0.0}),
    ("sew-d", "ctc", {}),
    ("sew-d", "ctc", {"share_att_key": False, "attention_dropout": 0.0}),
    ("sew-d", "ctc", {"relative_attention": False}),
    ("sew-d", "classification", {"pos_att_type": ["c2p"], "norm_rel_ebd": "none"}),
]
RATES = {
    "hidden_dropout": 0.2,
    "activation_dropout": 0.3,
    "attention_dropout": 0.25,
    "feat_proj_dropout": 0.1,
    "final_dropout": 0.15,
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Any:
    """transformers' dropout in the order in which it comes, by a generator of NumPy's instead of torch's."""
    from transformers.models.sew_d import modeling_sew_d

    rng = np.random.default_rng(7)

    def dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        if p == 0 or not training:
            return x
        return x * torch.tensor((rng.random(tuple(x.shape)) >= p) / (1 - p))

    monkeypatch.setattr(torch.nn.functional, "dropout", dropout)
    monkeypatch.setattr(
        modeling_sew_d.StableDropout, "forward", lambda self, x: dropout(x, self.drop_prob, self.training) if self.drop_prob else x
    )
    return lambda: np.random.default_rng(7)


@pytest.mark.parametrize(("family", "head", "values"), TRAINED)
def test_training_equals_that_of_transformers_with_the_same_masks(family, head, values, drawn, monkeypatch):
    """Everything at once, in the order in which transformers draws it."""
    spec = {"mask_time_prob": 0.3, "mask_time_length": 2, "mask_feature_prob": 0.2, "mask_feature_length": 3}
    model = original(family, head, num_hidden_layers=4, layerdrop=0.5, **(RATES | spec | values))
    if family == "sew":
        model.set_attn_implementation("eager")  # fused attention drops where nobody can look
    ours = twin(model)
    x = np.random.default_rng(3).normal(size=(2, ours.config.samples_for(15)))
    mask = np.ones(x.shape, int)
    mask[1, ours.config.samples_for(9) :] = 0
    given = {
        "input_values": x,
        "attention_mask": mask,
        "labels": np.array([[3, 3, 1], [2, -100, -100]] if head == "ctc" else [2, 0]),
    }
    draws = iter([0.7, 0.1, 0.6, 0.9]) if family == "sew" else iter([])
    monkeypatch.setattr(torch, "rand", lambda *size: torch.tensor(next(draws)))
    np.random.seed(5)  # noqa: NPY002 (it is what transformers draws from)
    loss, theirs = torch_gradients(model.train(), ours, given, by_input=False)
    state = np.random.RandomState(5)
    frames = draw_spans((2, 15), probability=0.3, length=2, min_masks=2, rng=state)
    channels = draw_spans((2, 16), probability=0.2, length=3, min_masks=0, rng=state)
    assert frames.any()
    assert channels.any()
    skipped = {1} if family == "sew" else set()
    result = ours.gradients(**given, mask_time_indices=frames, mask_feature_indices=channels, skip_layers=skipped, dropout=drawn())
    np.testing.assert_allclose(result.loss, loss, rtol=1e-10)
    theirs.pop("input_values")
    assert_gradients_close(result.flat(), theirs)
    assert (abs(result.loss - ours(**given).loss) > 1e-3) == (head == "ctc" or result.loss != 0)


def test_skipped_layers_of_sew_d(monkeypatch):
    """transformers has no LayerDrop there: the layer is replaced by one that hands its input on."""
    model = original("sew-d", num_hidden_layers=3)
    ours = twin(model)
    given = {"input_values": np.random.default_rng(0).normal(size=(1, 300)), "labels": np.array([[1, 2]])}
    layer = model.sew_d.encoder.encoder.layer[1]
    monkeypatch.setattr(layer, "forward", lambda hidden, *_, **__: hidden)
    loss, theirs = torch_gradients(model, ours, given)
    result = ours.gradients(**given, skip_layers=[1], input_gradient=True)
    np.testing.assert_allclose(result.loss, loss, rtol=1e-12)
    assert_gradients_close(result.flat() | {"input_values": result.input_values}, theirs)


# --- what model.gradients promises -------------------------------------------------------------------------------------------------


@pytest.fixture(params=[("sew", "ctc"), ("sew-d", "ctc"), ("sew", "weighted")], ids=lambda pair: "-".join(pair))
def scene(request: Any) -> tuple[Any, dict[str, Any], Any]:
    """A model, what it is called with, and all its gradients."""
    family, head = request.param
    weighted = head == "weighted"
    ours = twin(original(family, "classification" if weighted else head, use_weighted_layer_sum=weighted))
    x = np.random.default_rng(1).normal(size=(2, ours.config.samples_for(13)))
    given = {"input_values": x, "labels": np.array([2, 0] if weighted else [[3, 1], [1, 1]])}
    return ours, given, ours.gradients(**given, input_gradient=True)


def assert_same(flat: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(flat) == list(expected)
    for key, gradient in expected.items():
        np.testing.assert_array_equal(flat[key], gradient, err_msg=key)


def beginning(prefixes: tuple[str, ...], flat: dict[str, Any], *, keep: bool) -> dict[str, Any]:
    return {key: value for key, value in flat.items() if key.startswith(prefixes) == keep}


def test_frozen_parts_have_no_gradients_and_the_others_are_the_same(scene):
    ours, given, whole = scene
    prefix, head = ours.config.prefix, "lm_head" if ours.head == "ctc" else "classifier"
    for freeze, prefixes in {
        "feature_encoder": (f"{prefix}.feature_extractor.",),
        "base": (f"{prefix}.",),
        prefix: (f"{prefix}.",),
        (f"{prefix}.encoder.pos_conv_embed.conv", f"{head}.bias"): (f"{prefix}.encoder.pos_conv_embed.conv.", f"{head}.bias"),
        ("feature_encoder", head): (f"{prefix}.feature_extractor.", f"{head}."),
        f"{prefix}.encoder.pos_conv_embed.conv.parametrizations.weight.original0": (
            f"{prefix}.encoder.pos_conv_embed.conv.parametrizations.weight.original0",
        ),
    }.items():
        frozen = ours.gradients(**given, freeze=freeze)
        assert_same(frozen.flat(), beginning(prefixes, whole.flat(), keep=False))
        assert frozen.input_values is None
        nested = flatten(frozen.weights)
        assert list(nested) == list(ours.flat_weights())
        assert all(value is None for value in beginning(prefixes, nested, keep=True).values())
        np.testing.assert_array_equal(ours.gradients(**given, freeze=freeze, input_gradient=True).input_values, whole.input_values)


def test_frozen_parts_cost_no_backward_work(scene):
    """Nothing that stands in them is ever given a gradient."""
    ours, given, _ = scene

    def seen_with(freeze: Any) -> set[str]:
        visited = set()

        def see(name: str, x: Any) -> Any:
            return x, lambda dy: visited.add(name) or dy

        ours.gradients(**given, freeze=freeze, see=see)
        return visited

    assert any(name.startswith("feature_extractor") for name in seen_with(()))
    assert not any(name.startswith(("feature_extractor", "input_values")) for name in seen_with("feature_encoder"))
    assert "layer_norm" in seen_with("feature_encoder")
    assert not any(name.startswith(("encoder", "feature", "layer_norm")) for name in seen_with("base"))


def test_layers_left_out_have_no_gradients(scene):
    ours, given, _ = scene
    if ours.head == "classification":
        with pytest.raises(InputError, match="skip_layers: expected none, because the head mixes the hidden states of all layers"):
            ours.gradients(**given, skip_layers={0})
        return
    layers = f"{ours.config.prefix}.encoder." + ("layers." if ours.config.prefix == "sew" else "encoder.layer.")
    for skipped in ({0}, [1], (0, 1)):
        flat = ours.gradients(**given, skip_layers=skipped).flat()
        assert {key.removeprefix(layers)[0] for key in flat if key.startswith(layers)} == {"0", "1"} - {str(i) for i in skipped}
    for wrong in (2, -1, 0.5, "0"):
        with pytest.raises(InputError, match=r"skip_layers: expected numbers from 0 to 1, found "):
            ours.gradients(**given, skip_layers=[wrong])


def test_what_the_observer_does_is_undone_on_the_way_back(scene):
    """A stage scaled by c, forwards and back, gives what torch's chain rule would: checked by finite differences of the scale itself."""
    ours, given, whole = scene
    names: list[str] = []
    kept: dict[str, Any] = {}

    def record(name: str, x: Any) -> Any:
        names.append(name)
        return x, lambda dy: kept.setdefault(name, (x, dy))[1]

    recorded = ours.gradients(**given, see=record)
    assert_same(recorded.flat(), whole.flat())
    forward: list[str] = []
    ours(**given, see=lambda name, x: forward.append(name) or x)
    assert names == forward
    never = {"ctc.alpha", "encoder.encoder.relative_positions"} | (
        set() if ours.head == "ctc" else {"encoder.last_hidden_state", "encoder.upsample.projection", "encoder.upsample.activation"}
    )
    assert set(names) - set(kept) == never & set(names)
    step = 1e-6
    for name, (x, dy) in kept.items():
        losses = [
            float(ours(**given, see=lambda stage, value, c=c, name=name: c * value if stage == name else value).loss)
            for c in (1 + step, 1 - step)
        ]
        by_scale = (losses[0] - losses[1]) / (2 * step)
        assert abs(by_scale - float((x * dy).sum())) <= 1e-6 * max(1.0, float(np.abs(x * dy).sum())), name


def test_factors_by_name_layer_and_pattern(scene):
    ours, given, _ = scene
    rng = np.random.default_rng(4)
    stage = "encoder.layers.{i}.final_layer_norm" if ours.config.prefix == "sew" else "encoder.encoder.layer.{i}.output.LayerNorm"
    by = (rng.random((2, 6, 16)) > 0.3) / 0.7

    def by_hand(name: str, x: Any) -> Any:
        return (x * by, lambda dy: dy * by) if name in (stage.format(i=0), stage.format(i=1)) else (x, lambda dy: dy)

    expected = ours.gradients(**given, see=by_hand).flat()
    for names in ([stage], [stage.format(i="?")], [stage.format(i=0), stage.format(i="?")]):
        assert_same(ours.gradients(**given, dropout=dict.fromkeys(names, by)).flat(), expected)
    for name, factors, message in (
        ("nothing", 1.0, "dropout: nothing: no stage of this run has such a name"),
        (
            stage,
            np.ones(7),
            rf"dropout: {re.escape(stage)}: expected numbers that broadcast to \(2, 6, 16\), found float64 of shape \(7,\)",
        ),
        (stage, "half", "expected numbers that broadcast"),
    ):
        with pytest.raises(InputError, match=message):
            ours.gradients(**given, dropout={name: factors})
    with pytest.raises(InputError, match="dropout: expected a numpy Generator, a dict from stages to factors or None, found float"):
        ours.gradients(**given, dropout=0.1)


def test_the_head_alone_sees_the_last_dropout():
    ours = twin(original("sew"))
    given = {"input_values": np.random.default_rng(1).normal(size=(1, 300)), "labels": [[3, 1]]}
    plain = ours(given["input_values"])
    shown: dict[str, Any] = {}
    dropped = ours.gradients(
        **given, dropout={"encoder.last_hidden_state": 0.0}, see=lambda name, x: (shown.setdefault(name, x), lambda dy: dy)
    )
    np.testing.assert_array_equal(dropped.output.last_hidden_state, plain.last_hidden_state)
    assert not shown["encoder.last_hidden_state"].any()
    assert (dropped.output.logits == ours.weights["lm_head"]["bias"]).all()


def test_a_generator_drops_as_often_as_the_configuration_says():
    ours = twin(original("sew", hidden_dropout=0.0, activation_dropout=0.0, final_dropout=0.0, attention_dropout=0.25))
    given = {"input_values": np.random.default_rng(1).normal(size=(4, 900)), "labels": [[3, 1]] * 4}
    shown: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    ours.gradients(**given, dropout=rng, see=lambda name, x: (shown.setdefault(name, x), lambda dy: dy))
    for name, x in shown.items():
        if name.endswith("probabilities"):
            assert abs((x == 0).mean() - 0.25) < 0.02
    again, other = (ours.gradients(**given, dropout=np.random.default_rng(seed)).loss for seed in (0, 1))
    assert again != other
    assert again == ours.gradients(**given, dropout=np.random.default_rng(0)).loss


@pytest.mark.parametrize("engine", ["textbook", "fast"])
def test_float32_gradients_and_what_is_refused(engine):
    model = sewnp.load("digits", engine=engine)
    x = np.random.default_rng(0).normal(size=(1, 4000)).astype(np.float32)
    before = [w.copy() for w in model.flat_weights().values()]
    result = model.gradients(x, [[5, 6]], input_gradient=True)
    assert {gradient.dtype for gradient in result.flat().values()} == {np.dtype(np.float32)}
    assert result.input_values is not None
    assert result.input_values.dtype == np.float32
    for old, new in zip(before, model.flat_weights().values(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert set(result.flat()) == {key for key in model.flat_weights() if key != "sew.masked_spec_embed"}
    with pytest.raises(InputError, match="a base model has no loss"):
        sewnp.load("digits", head=None).gradients(x, [[5]])
    with pytest.raises(
        InputError, match=r"freeze: expected 'feature_encoder', 'base', or a weight's name or its beginning, found 'sew\.enc'"
    ):
        model.gradients(x, [[5]], freeze="sew.enc")
    with pytest.raises(InputError, match=r"mask_feature_indices: expected shape \(1, 160\), found \(160,\)"):
        model.gradients(x, [[5]], mask_feature_indices=np.zeros(160, bool))
    with pytest.raises(InputError, match="labels: expected integers"):
        model.gradients(x, [["A"]])
