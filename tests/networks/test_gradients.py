"""The gradients of whole models against torch's autograd in float64: every parameter and the input, over the table that pairs every option
with every other, and random models on top."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks.test_parity import TABLE, arguments, described, lengths_of, models, name_of, undefined

from originals import original, twin
from sewnp.checkpoints import flatten
from sewnp.checkpoints.names import modern


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


def torch_gradients(model: Any, ours: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The loss, and the gradients by parameter and "input_values"; None where autograd has none."""
    model.zero_grad()
    x = torch.tensor(given["input_values"], requires_grad=True)
    rest = {name: torch.tensor(value) for name, value in given.items() if name not in ("input_values", "labels")}
    loss = torch_loss(model, model(x, **rest), given, ours)
    loss.sum().backward()
    grads = {modern(name): p.grad for name, p in model.named_parameters()} | {"input_values": x.grad}
    return loss.detach().numpy(), {name: None if grad is None else grad.numpy() for name, grad in grads.items()}


def assert_gradients_close(ours: dict[str, Any], theirs: dict[str, Any], tolerance: float = 1e-10) -> None:
    """NaN where theirs is NaN, and within the tolerance of the tensor's scale.

    A gradient that is zero on paper (of the keys' biases, which shift all scores of a row alike) is rounding on both sides and has no scale
    of its own: it is a sum of terms that cancel.  So the scale is at least a thousandth of the largest gradient's.
    """
    assert set(ours) == {name for name, grad in theirs.items() if grad is not None}
    finite = [np.abs(theirs[name][np.isfinite(theirs[name])]) for name in ours]
    largest = max((float(grad.max()) for grad in finite if grad.size), default=0.0)
    for name, grad in ours.items():
        other = theirs[name]
        assert grad.shape == other.shape, name
        np.testing.assert_array_equal(np.isnan(grad), np.isnan(other), err_msg=name)
        calm = np.isfinite(other)
        off, scale = np.abs(grad[calm] - other[calm]), np.abs(other[calm])
        if off.size:
            assert off.max() <= tolerance * max(scale.max(), 1e-3 * largest), (
                f"{name}: {off.max() / max(scale.max(), 1e-300):.2g} of its scale"
            )


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
