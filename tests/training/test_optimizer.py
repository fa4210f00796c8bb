"""AdamW, clipping, schedules and averages, judged by torch and transformers in float64."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from judging import assert_close64
from originals import original, twin
from sewnp.checkpoints import nest
from sewnp.training import Moments, adamw, averaged, clip_by_norm, global_norm, is_decayed, learning_rate, warmup_steps

SHAPES = {"a.weight": (3, 4), "a.bias": (4,), "layer_norm.weight": (5,), "skipped.weight": (2, 2)}
OPTIONS = {"betas": (0.8, 0.95), "eps": 1e-6}
DECAY = 0.1


def drawn(seed: int, dtype: Any = np.float64) -> dict[str, Any]:
    """Weights, or gradients, of very different sizes."""
    rng = np.random.default_rng(seed)
    return {key: (rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 2)).astype(dtype) for key, shape in SHAPES.items()}


def torch_adamw(weights: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The weights as parameters, and torch's AdamW as transformers' Trainer sets it up: no decay for biases and norms."""
    parameters = {key: torch.nn.Parameter(torch.tensor(w)) for key, w in weights.items()}
    groups = [
        {"params": [parameters["a.weight"], parameters["skipped.weight"]], "weight_decay": DECAY},
        {"params": [parameters["a.bias"], parameters["layer_norm.weight"]], "weight_decay": 0.0},
    ]
    return parameters, torch.optim.AdamW(groups, lr=1.0, **OPTIONS)


@pytest.mark.parametrize("steps", [1, 10])
def test_steps_are_those_of_torch(steps: int) -> None:
    weights: Any = drawn(0)
    moments = Moments()
    parameters, optimizer = torch_adamw(weights)
    for step in range(steps):
        gradients, rate = drawn(step + 1), 0.1 / (step + 1)
        if step % 3 == 1:
            del gradients["skipped.weight"]  # as LayerDrop does
        for key, parameter in parameters.items():
            parameter.grad = torch.tensor(gradients[key]) if key in gradients else None
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        weights, moments = adamw(weights, gradients, moments, rate=rate, decay=DECAY, **OPTIONS)
    for key, parameter in parameters.items():
        assert_close64(weights[key], parameter.detach().numpy(), 1e-10)
        theirs = optimizer.state[parameter]
        assert_close64(moments.first[key], theirs["exp_avg"].numpy(), 1e-10)
        assert_close64(moments.second[key], theirs["exp_avg_sq"].numpy(), 1e-10)
        assert moments.counts[key] == int(theirs["step"])


def test_manners() -> None:
    weights, gradients = drawn(0, np.float32), drawn(1, np.float32)
    copies = [{key: x.copy() for key, x in each.items()} for each in (weights, gradients)]
    kept, moments = adamw(weights, gradients, Moments(), rate=0.1)
    again, later = adamw(kept, gradients, moments, rate=0.1)
    assert all(x.dtype == np.float32 for each in (again, later.first, later.second) for x in each.values())
    assert moments.counts == dict.fromkeys(SHAPES, 1)  # what was handed back is not changed by the next step
    for given, copy in zip((weights, gradients), copies, strict=True):
        assert all(np.array_equal(given[key], copy[key]) for key in SHAPES)


@pytest.mark.parametrize(("family", "head"), [("sew", "ctc"), ("sew-d", "ctc"), ("sew", "classification")])
def test_what_decays_is_what_decays_in_the_trainer(family: str, head: str) -> None:
    theirs = original(family, head)
    # Trainer.get_decay_parameter_names, which needs a package more to be called
    forbidden = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
    decayed = set(transformers.trainer_pt_utils.get_parameter_names(theirs, [torch.nn.LayerNorm], forbidden))
    keys = [key for key, _ in theirs.named_parameters()]
    assert {key for key in keys if is_decayed(key)} == decayed
    assert 0 < len(decayed) < len(keys)
    assert set(keys) == set(twin(theirs).flat_weights())


@pytest.mark.parametrize("most", [1e-3, 1.0, 1e6])
def test_clipping_is_that_of_torch(most: float) -> None:
    gradients = drawn(3)
    parameters = [torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in SHAPES.values()]
    for parameter, gradient in zip(parameters, gradients.values(), strict=True):
        parameter.grad = torch.tensor(gradient)
    norm = torch.nn.utils.clip_grad_norm_(parameters, most)
    ours, found = clip_by_norm(gradients, most)
    assert found == pytest.approx(float(norm), rel=1e-12)
    for parameter, gradient in zip(parameters, ours.values(), strict=True):
        assert_close64(gradient, parameter.grad.numpy(), 1e-12)


def test_a_norm_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    gradients = {str(i): rng.normal(size=7).astype(np.float32) * 10.0 ** rng.uniform(-4, 4) for i in range(200)}
    norm = global_norm(gradients)
    for _ in range(20):
        assert global_norm({key: gradients[key] for key in rng.permutation(list(gradients))}) == norm


def test_a_norm_of_what_is_not_finite() -> None:
    assert math.isnan(global_norm({"a": np.array([1.0, math.nan])}))
    assert global_norm({"a": np.array([-math.inf]), "b": np.array([1.0])}) == math.inf


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0, 7, 30])
def test_schedules_are_those_of_transformers(name: str, warmup: int) -> None:
    kind = "constant_with_warmup" if name == "constant" else name
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = transformers.get_scheduler(kind, optimizer, num_warmup_steps=warmup, num_training_steps=30)
    for step in range(30):
        ours = learning_rate(step, peak=0.3, steps=30, warmup=warmup, schedule=name)
        assert ours == pytest.approx(theirs.get_last_lr()[0], rel=1e-12, abs=1e-300)
        optimizer.step()
        theirs.step()


def test_a_warm_up_may_be_a_share() -> None:
    assert [warmup_steps(x, 200) for x in (0, 0.1, 0.999, 1, 30.0)] == [0, 20, 200, 1, 30]


def test_an_average_forgets_what_it_began_with() -> None:
    average: Any = {"w": np.array([100.0])}
    weights = {"w": np.array([1.0])}
    for step in range(60):
        average = averaged(average, weights, keep=0.9, step=step)
    assert abs(average["w"][0] - 1.0) < 0.1
    after = averaged({"w": np.array([0.0])}, weights, keep=0.9, step=10**6)
    assert after["w"][0] == pytest.approx(0.1)  # so long after the beginning, all that is asked for is kept


def test_weights_in_any_nesting() -> None:
    model = twin(original())
    flat = model.flat_weights()
    kept, _ = adamw(flat, {"lm_head.bias": np.ones(11)}, Moments(), rate=0.5, decay=0.0)
    assert_close64(nest(kept)["lm_head"]["bias"], flat["lm_head.bias"] - 0.5, 1e-7)
