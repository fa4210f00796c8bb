"""The fast backward pass against the plain pullbacks: in training, clip after clip, thread beside thread."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fast.test_engine import CONFIGS, loud

import sewnp
from judging import cast, gradient_errors
from sewnp.errors import InputError
from sewnp.fast import ClipGradients
from sewnp.fast.workspace import Shelf, Workspace

CLOSE = 3e-5
"""Of a gradient's scale, or a hundredth of the largest gradient's: 6e-7 is usual, 1e-5 the worst, where terms cancel."""


def fast(model: Any, given: dict[str, Any], *, freeze: Any = (), **options: Any) -> tuple[float, dict[str, Any]]:
    return ClipGradients(model.config, model.weights, model.head, freeze)(*given.values(), **options)


def plain(model: Any, given: dict[str, Any], *, time_mask: Any = None, feature_mask: Any = None, **options: Any) -> Any:
    return model.gradients(**given, mask_time_indices=time_mask, mask_feature_indices=feature_mask, **options)


def wide(model: sewnp.Model) -> sewnp.Model:
    """The same weights in float64."""
    return replace(model, weights=cast(model.weights, np.float64), engine="textbook")


def assert_agrees(found: tuple[float, dict[str, Any]], exact: Any, truth: Any) -> None:
    """With the plain pullbacks, float32's for what there is at all, float64's for the numbers."""
    loss, grads = found
    assert list(grads) == list(exact.flat())
    for key, gradient in grads.items():
        assert gradient.dtype == np.float32, key
    np.testing.assert_allclose(loss, truth.loss.sum(), rtol=1e-5)
    for key, error in gradient_errors(grads, truth.flat(), floor=1e-2).items():
        assert error < CLOSE, f"{key}: {error:.2g} of its scale"


def clip(model: sewnp.Model, frames: int, seed: int = 0) -> dict[str, Any]:
    x = np.random.default_rng(seed).normal(size=(1, model.config.samples_for(frames))).astype(np.float32)
    return {"input_values": x, "labels": np.array([[3, 1, 1]] if model.head == "ctc" else [1])}


RATES = {
    "hidden_dropout": 0.2, "activation_dropout": 0.3, "attention_dropout": 0.25, "feat_proj_dropout": 0.1, "final_dropout": 0.15,
    "num_hidden_layers": 3,
}  # fmt: skip
TRAINED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sew": ("sew", "ctc", {}),
    "sew by layer": ("sew", "ctc", {"feat_extract_norm": "layer", "conv_bias": True, "squeeze_factor": 3, "final_dropout": 0.0}),
    "sew classifies": ("sew", "classification", {"hidden_size": 36, "num_conv_pos_embeddings": 5}),
    "sew-d": ("sew-d", "ctc", {}),
    "sew-d not shared": ("sew-d", "ctc", {"share_att_key": False, "norm_rel_ebd": "none", "attention_dropout": 0.0}),
    "sew-d without": ("sew-d", "ctc", {"relative_attention": False}),
    "sew-d classifies": ("sew-d", "classification", {"pos_att_type": ("c2p",), "position_buckets": 0}),
}


@pytest.mark.parametrize("freeze", ["nothing", "feature_encoder", "base"])
@pytest.mark.parametrize("name", TRAINED)
def test_training_draws_the_same_numbers(name: str, freeze: str) -> None:
    """SpecAugment, LayerDrop and dropout at once; the generators agree on what comes next, too."""
    family, head, values = TRAINED[name]
    model = loud(replace(CONFIGS[family], **(RATES | values)), head)
    given, rng = clip(model, 31), np.random.default_rng(0)
    options = {
        "time_mask": rng.random((1, 31)) < 0.3,
        "feature_mask": rng.random((1, model.config.hidden_size)) < 0.2,
        "skip_layers": {1},
        "freeze": () if freeze == "nothing" else freeze,
    }
    draws = [np.random.default_rng(7) for _ in range(3)]
    found = fast(model, given, **options, dropout=draws[0])
    assert_agrees(found, plain(model, given, **options, dropout=draws[1]), plain(wide(model), given, **options, dropout=draws[2]))
    assert draws[0].random() == draws[1].random()


@pytest.fixture(params=CONFIGS)
def model(request: Any) -> sewnp.Model:
    return replace(loud(CONFIGS[request.param]), engine="fast")


def assert_same(found: tuple[float, dict[str, Any]], expected: tuple[float, dict[str, Any]]) -> None:
    """To the last bit."""
    assert found[0] == expected[0]
    assert list(found[1]) == list(expected[1])
    for key, gradient in expected[1].items():
        np.testing.assert_array_equal(found[1][key], gradient, err_msg=key)


def test_either_engine_tells_it_in_the_same_way(model: sewnp.Model) -> None:
    given, options = (
        clip(model, 15),
        {"time_mask": np.arange(15)[None] < 3, "feature_mask": np.arange(48)[None] == 5, "skip_layers": {0}},
    )
    quick, slow = (replace(model, engine=engine).clip_gradients("feature_encoder") for engine in ("fast", "textbook"))
    assert isinstance(quick, ClipGradients)
    rngs = np.random.default_rng(0), np.random.default_rng(0)
    loss, grads = slow(*given.values(), **options, dropout=rngs[0])
    exact = plain(model, given, **options, dropout=rngs[1], freeze="feature_encoder")
    assert_same((loss, grads), (float(exact.loss), exact.flat()))
    found, ours = quick(*given.values(), **options, dropout=np.random.default_rng(0))
    assert found == pytest.approx(loss, rel=1e-5)
    assert max(gradient_errors(ours, grads, floor=1e-2).values()) < CLOSE


def test_long_clips_after_short_ones_and_threads_side_by_side(model: sewnp.Model) -> None:
    """What is kept from call to call never shows, and nobody computes in another's memory; arguments and earlier results stay as they are."""
    quick = model.clip_gradients()
    quick(*clip(model, 50).values())
    clips = [clip(model, frames, seed) for seed, frames in enumerate((9, 400, 30, 31, 400, 8))]
    for given in clips:
        given["input_values"].flags.writeable = False
    alone = [model.clip_gradients()(*given.values()) for given in clips]
    for given, expected in zip(clips, alone, strict=True):
        truth = plain(wide(model), given)
        assert_agrees(expected, plain(model, given), truth)
    quick = model.clip_gradients(reuse=quick)  # as the next step does
    with ThreadPoolExecutor(3) as pool:
        for found, expected in zip(pool.map(lambda given: quick(*given.values()), clips * 3), alone * 3, strict=True):
            assert_same(found, expected)


def test_a_frozen_part_costs_no_backward_work() -> None:
    """What is kept for the way back is counted: convolutions so wide have more of it than all else."""
    model, kept = loud(replace(CONFIGS["sew"], conv_dim=(160, 160, 48))), {}
    for freeze in ((), "feature_encoder", "base"):
        shelf = Shelf()
        quick = ClipGradients(model.config, model.weights, model.head, freeze)
        quick._spare.append((shelf, Workspace()))
        quick(*clip(model, 60).values())
        kept[freeze] = shelf._block.size
    assert kept["feature_encoder"] < kept[()] / 2
    assert kept["base"] < kept["feature_encoder"] / 2


def test_what_is_not_finite_shows_in_the_loss(model: sewnp.Model) -> None:
    """And warns nobody."""
    given = clip(model, 6) | {"labels": np.array([[3, 1, 1, 1, 1, 1, 1, 1]])}
    for endless, expected in ((False, np.inf), (True, 0.0)):
        config = replace(model.config, ctc_zero_infinity=endless)
        loss, grads = replace(model, config=config).clip_gradients()(*given.values())
        assert loss == expected
        for gradient in grads.values():
            assert (gradient == 0).all() if endless else np.isnan(gradient).any()
    weights = cast(model.weights, np.float32)
    weights["lm_head"]["bias"][2] = np.nan
    loss, _ = replace(model, weights=weights).clip_gradients()(*clip(model, 6).values())
    assert np.isnan(loss)


def test_refusals(model: sewnp.Model) -> None:
    given, config = clip(model, 9), model.config
    quick = model.clip_gradients()
    two = np.repeat(given["input_values"], 2, axis=0)
    for arguments_, options, said in [
        ((two, [[1], [2]]), {}, "input_values: expected one clip, found 2"),
        ((two[:1, :3], [[1]]), {}, r"input_values: expected at least 1 clip"),
        ((two[:1], [[1], [2]]), {}, "labels: expected 1 rows, one a clip, found 2"),
        ((two[:1], [[32]]), {}, r"labels\[0, 0\]: expected -100 or 0 <= label < 32"),
        ((two[:1], [[1]]), {"time_mask": np.zeros((1, 3), bool)}, r"time_mask: expected shape \(1, 9\), found \(1, 3\)"),
        ((two[:1], [[1]]), {"feature_mask": np.zeros(48, bool)}, r"feature_mask: expected shape \(1, 48\), found \(48,\)"),
        ((two[:1], [[1]]), {"skip_layers": [2]}, "skip_layers: expected numbers from 0 to 1, found 2"),
    ]:
        with pytest.raises(InputError, match=said):
            quick(*arguments_, **options)
    with pytest.raises(InputError, match=r"freeze: expected .* found 'everything'"):
        model.clip_gradients("everything")
    with pytest.raises(InputError, match="labels: a base model has no loss"):
        ClipGradients(config, model.weights, None)
    with pytest.raises(InputError, match=r"lm_head.bias: expected float32, which the fast engine computes in, found float64"):
        ClipGradients(
            config, model.weights | {"lm_head": {"weight": model.weights["lm_head"]["weight"], "bias": np.zeros(32)}}, "ctc"
        )
    grouped = replace(config, feat_extract_norm="group", squeeze_factor=1, conv_kernel=(10,), conv_stride=(5,), conv_dim=(16,))
    if config.model_type == "sew":
        lone = replace(sewnp.from_config(grouped), engine="fast")
        with pytest.raises(InputError, match="group_norm: expected more than 1 value per group"):
            lone.clip_gradients()(np.zeros((1, 10), np.float32), [[1]])
