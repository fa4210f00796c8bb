"""Known mistakes: each is planted into a run and has to be named, and nothing else may be."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numerics.cases import CASES, allowed, case, diagnosed, origins, planted
from scipy.special import erf

from sewnp.mistakes import StageRun, mistakes_of
from sewnp.mistakes.naming import in_words
from sewnp.mistakes.table import MISTAKES
from sewnp.networks.stages import STAGES, stage_of
from sewnp.numerics import Precision, run_in
from sewnp.numerics.measure import largest_error
from sewnp.numerics.precision import in_precision
from sewnp.types import Array

SWEEPS: list[tuple[str, Precision]] = [(name, "float32") for name in CASES] + [
    ("sew-d, exact powers", "float64"),
    ("sew, layer norm", "float64"),
]


@cache
def everything_planted(name: str, precision: Precision) -> dict[tuple[str, str], str]:
    """(stage, mistake) -> what the oracle says when the stage of an honest run is replaced by what the mistake makes of it, and nothing else."""
    model, inputs = case(name)
    honest = run_in(model, inputs, precision)
    exact = in_precision(model, "float64")
    wide = {stage: x.astype(np.float64) if x.dtype.kind == "f" else x for stage, x in honest.items()}
    said = {}
    for stage in honest:
        if ".1." in stage:
            continue  # one layer is enough
        for mistake, value in quietly(StageRun(stage, exact, wide, inputs, wide[stage])):
            theirs = honest | {stage: value.astype(honest[stage].dtype) if value.dtype.kind == "f" else value}
            (row,) = diagnosed(name, theirs, precision, names=[stage]).rows
            if row.origin:
                said[stage, mistake] = row.cause
            else:  # not to be seen on this run: then it has to be as good as the truth
                assert value.shape == honest[stage].shape
                assert largest_error(wide[stage], value) <= 2 * allowed(name, precision)[1][stage], (stage, mistake)
    return said


def says(cause: str, mistake: str) -> bool:
    """Whether a cause, of several alternatives maybe, tells of the mistake."""
    return mistake in cause.split(" or ") or set(mistake.split()) <= set(cause.split())


def quietly(run: StageRun) -> list[tuple[str, Array]]:
    with np.errstate(all="ignore"):
        return list(mistakes_of(run))


@pytest.mark.parametrize(("name", "precision"), SWEEPS)
def test_every_mistake_is_named(name: str, precision: Precision) -> None:
    for (stage, mistake), cause in everything_planted(name, precision).items():
        assert says(cause, mistake), f"{stage}: {mistake} was called {cause or 'nothing'}"


def test_no_mistake_is_dead() -> None:
    """Every mistake of every kind of stage can be seen in some run."""
    known, seen = set(), set()
    for name, precision in SWEEPS:
        model, inputs = case(name)
        values = run_in(model, inputs, "float64")
        for stage in values:
            kind = stage_of(stage).name
            known |= {(kind, mistake) for mistake, _ in quietly(StageRun(stage, model, values, inputs, values[stage]))}
        seen |= {(stage_of(stage).name, mistake) for stage, mistake in everything_planted(name, precision)}
    assert sorted({mistake for _, mistake in known} - {mistake for _, mistake in seen}) == []
    assert {kind for kind, _ in seen} == {stage.name for stage in STAGES}


def test_every_kind_of_stage_has_its_mistakes() -> None:
    assert set(MISTAKES) == {stage.name for stage in STAGES}


# -- the same again, but with values that are computed here, by other hands ------------------------------------------------------------


def w(name: str, path: str) -> Any:
    """A weight of a case's model, by its path in the base model or the head."""
    model, _ = case(name)
    level: Any = model.weights if path.split(".")[0] in model.weights else model.weights[model.config.prefix]
    for part in path.split("."):
        level = level[int(part)] if isinstance(level, list) else level[part]
    return level


def normed(x: Array, weight: Array, bias: Array, eps: float, ddof: int = 0) -> Array:
    x = x.astype(np.float64)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, ddof=ddof, keepdims=True) + eps) * weight + bias


def softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def by_head(x: Array, heads: int = 2) -> Array:
    return np.stack(np.split(x, heads, axis=-1), axis=1)


L0, D0 = "encoder.layers.0", "encoder.encoder.layer.0"
A0, S0 = f"{L0}.attention", f"{D0}.attention.self"
NORM0 = "feature_extractor.conv_layers.0.layer_norm"

PLANTS: list[tuple[str, str, str, Callable[[dict[str, Array]], Array]]] = [
    (
        "sew",
        f"{L0}.feed_forward.activation",
        "tanh GELU instead of erf GELU",
        lambda v: (
            (x := v[f"{L0}.feed_forward.intermediate_dense"].astype(float))
            * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
            / 2
        ),
    ),
    (
        "sew, layer norm",
        f"{L0}.feed_forward.activation",
        "erf GELU instead of tanh GELU",
        lambda v: (x := v[f"{L0}.feed_forward.intermediate_dense"].astype(float)) * (1 + erf(x / np.sqrt(2))) / 2,
    ),
    ("sew", "encoder.upsample.activation", "activation skipped", lambda v: v["encoder.upsample.projection"]),
    (
        "sew-d",
        f"{D0}.output.LayerNorm",
        "layer norm with eps 1e-05 (expected 1e-07)",
        lambda v: normed(
            v[f"{D0}.output.residual"], w("sew-d", f"{D0}.output.LayerNorm.weight"), w("sew-d", f"{D0}.output.LayerNorm.bias"), 1e-5
        ),
    ),
    (
        "sew",
        "layer_norm",
        "layer norm with unbiased variance",
        lambda v: normed(
            v["feature_extractor.conv_layers.2.activation"],
            w("sew", "layer_norm.weight"),
            w("sew", "layer_norm.bias"),
            1e-5,
            ddof=1,
        ),
    ),
    (
        "sew",
        NORM0,
        "layer norm instead of group norm",
        lambda v: normed(v["feature_extractor.conv_layers.0.conv"], w("sew", f"{NORM0}.weight"), w("sew", f"{NORM0}.bias"), 1e-5),
    ),
    (
        "sew",
        NORM0,
        "statistics over the whole batch",
        lambda v: (
            (x := v["feature_extractor.conv_layers.0.conv"].astype(float)) * 0
            + (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-5) * w("sew", f"{NORM0}.weight")
            + w("sew", f"{NORM0}.bias")
        ),
    ),
    (
        "sew",
        "feature_extractor.conv_layers.2.conv",
        "bias missing",
        lambda v: v["feature_extractor.conv_layers.2.conv"] - w("sew", "feature_extractor.conv_layers.2.conv.bias"),
    ),
    ("sew", f"{A0}.output", "bias missing", lambda v: v[f"{A0}.output"] - w("sew", f"{A0}.out_proj.bias")),
    (
        "sew",
        f"{A0}.output",
        "weight used untransposed",
        lambda v: v[f"{A0}.context"] @ w("sew", f"{A0}.out_proj.weight") + w("sew", f"{A0}.out_proj.bias"),
    ),
    (
        "sew",
        f"{A0}.k",
        "v_proj instead of k_proj",
        lambda v: by_head(v["encoder.layer_norm"] @ w("sew", f"{A0}.v_proj.weight").T + w("sew", f"{A0}.v_proj.bias")),
    ),
    (
        "sew",
        f"{A0}.q",
        "heads interleaved instead of contiguous",
        lambda v: np.stack(
            [
                (v["encoder.layer_norm"] @ w("sew", f"{A0}.q_proj.weight").T + w("sew", f"{A0}.q_proj.bias"))[..., h::2]
                for h in range(2)
            ],
            axis=1,
        ),
    ),
    ("sew", f"{A0}.scores", "scale missing", lambda v: v[f"{A0}.scores"] * np.sqrt(8)),
    ("sew", f"{A0}.scores", "scaled by the hidden size instead of the head's", lambda v: v[f"{A0}.scores"] / np.sqrt(2)),
    (
        "sew",
        f"{A0}.scores",
        "operands swapped: keys are rows",
        lambda v: np.einsum("bhid,bhjd->bhji", v[f"{A0}.q"], v[f"{A0}.k"]) / np.sqrt(8),
    ),
    ("sew", f"{A0}.probabilities", "mask ignored", lambda v: softmax(v[f"{A0}.scores"].astype(float), -1)),
    (
        "sew, square",
        f"{A0}.probabilities",
        "softmax over the queries instead of the keys",
        lambda v: softmax(v[f"{A0}.scores"].astype(float), -2),
    ),
    (
        "sew",
        f"{A0}.context",
        "heads merged without swapping the axes",
        lambda v: np.einsum("bhij,bhjd->bhid", v[f"{A0}.probabilities"], v[f"{A0}.v"]).reshape(v[f"{A0}.context"].shape),
    ),
    ("sew", f"{L0}.residual", "residual missing", lambda v: v[f"{A0}.output"]),
    (
        "sew",
        f"{L0}.final_residual",
        "residual taken before the layer norm",
        lambda v: v[f"{L0}.residual"] + v[f"{L0}.feed_forward.output_dense"],
    ),
    ("sew", "encoder.masked_frames", "padded frames not zeroed", lambda v: v["masked_spec_embed"]),
    (
        "sew, weighted",
        "encoder.squeezed_mask",
        'mask rule "floor" instead of "any"',
        lambda v: np.arange(5) < np.array([[4], [2], [1]]),
    ),
    (
        "sew",
        "encoder.pool",
        "maximum instead of mean",
        lambda v: np.maximum(v["encoder.masked_frames"][:, 0:8:2], v["encoder.masked_frames"][:, 1:8:2]),
    ),
    ("sew", "encoder.pool", "sum instead of mean", lambda v: v["encoder.pool"] * 2),
    (
        "sew",
        "encoder.pool",
        "computed from unmasked frames: padding not set to zero",
        lambda v: (v["masked_spec_embed"][:, 0:8:2] + v["masked_spec_embed"][:, 1:8:2]) / 2,
    ),
    ("sew", "encoder.squeezed", "position missing", lambda v: v["encoder.pool"]),
    ("sew", "encoder.squeezed", "pool missing", lambda v: v["encoder.pos_conv_embed.activation"][:, :4]),
    (
        "sew, layer norm",
        "encoder.pos_conv_embed.activation",
        "first frame dropped instead of the last",
        lambda v: np.maximum(v["encoder.pos_conv_embed.conv"][:, 1:], 0),
    ),
    (
        "sew",
        "encoder.pos_conv_embed.conv.weight",
        "weight norm over axes (1, 2) instead of (0, 1)",
        lambda v: (
            w("sew", "encoder.pos_conv_embed.conv.weight_g")
            * w("sew", "encoder.pos_conv_embed.conv.weight_v")
            / np.linalg.norm(w("sew", "encoder.pos_conv_embed.conv.weight_v").reshape(16, -1), axis=1)[:, None, None]
        ),
    ),
    (
        "sew",
        "encoder.pos_conv_embed.conv.weight",
        "weight_g ignored",
        lambda v: v["encoder.pos_conv_embed.conv.weight"] / w("sew", "encoder.pos_conv_embed.conv.weight_g"),
    ),
    (
        "sew",
        "encoder.last_hidden_state",
        "channels interleaved: the frame counts fastest",
        lambda v: np.concatenate(
            [
                np.stack(
                    [v["encoder.upsample.activation"][..., 0::2], v["encoder.upsample.activation"][..., 1::2]], axis=2
                ).reshape(3, 8, 16),
                np.zeros((3, 1, 16)),
            ],
            axis=1,
        ),
    ),
    (
        "sew",
        "encoder.last_hidden_state",
        "last frame repeated for the tail instead of zeros",
        lambda v: v["encoder.last_hidden_state"][:, [*range(8), 7]],
    ),
    (
        "sew-d",
        f"{S0}.content",
        "scale counts 1 term instead of 3",
        lambda v: np.einsum("bhid,bhjd->bhij", v[f"{S0}.q"], v[f"{S0}.k"]) / np.sqrt(8),
    ),
    ("sew-d", f"{S0}.p2c", "p2c not transposed", lambda v: np.swapaxes(v[f"{S0}.p2c"], 2, 3)),
    (
        "sew-d",
        f"{S0}.c2p",
        "sign of the relative positions flipped",
        lambda v: (
            np.take_along_axis(
                np.einsum("bhid,xhrd->bhir", v[f"{S0}.q"], v[f"{S0}.pos_k"]),
                np.broadcast_to(np.clip(4 - v["encoder.encoder.relative_positions"], 0, 7), v[f"{S0}.c2p"].shape),
                axis=3,
            )
            / np.sqrt(24)
        ),
    ),
    (
        "sew-d, raw distances",
        f"{S0}.c2p",
        "clipped alike on both sides of the table",
        lambda v: (
            np.take_along_axis(
                np.einsum("bhid,xhrd->bhir", v[f"{S0}.q"], v[f"{S0}.pos_k"]),
                np.broadcast_to(np.clip(v["encoder.encoder.relative_positions"] + 6, 1, 11), v[f"{S0}.c2p"].shape),
                axis=3,
            )
            / np.sqrt(24)
        ),
    ),
    ("sew-d", f"{S0}.scores", "c2p missing", lambda v: v[f"{S0}.content"] + v[f"{S0}.p2c"]),
    (
        "sew-d",
        "encoder.encoder.relative_positions",
        "raw distances instead of buckets",
        lambda v: np.subtract.outer(np.arange(11), np.arange(11)),
    ),
    (
        "sew-d, separate keys",
        f"{S0}.pos_k",
        "separate projection ignored: key_proj instead of pos_key_proj",
        lambda v: by_head(
            (
                v["encoder.encoder.LayerNorm"] @ w("sew-d, separate keys", f"{S0}.key_proj.weight").T
                + w("sew-d, separate keys", f"{S0}.key_proj.bias")
            )[None]
        ),
    ),
    (
        "sew-d, separate keys",
        f"{S0}.pos_q",
        "bias missing",
        lambda v: by_head((v["encoder.encoder.LayerNorm"] @ w("sew-d, separate keys", f"{S0}.pos_query_proj.weight").T)[None]),
    ),
    (
        "sew-d",
        f"{S0}.pos_q",
        "table of positions not normalised",
        lambda v: by_head(
            (v["encoder.encoder.rel_embeddings"] @ w("sew-d", f"{S0}.query_proj.weight").T + w("sew-d", f"{S0}.query_proj.bias"))[
                None
            ]
        ),
    ),
    (
        "sew, weighted",
        "weighted_layers",
        "layer_weights without softmax",
        lambda v: sum(
            share * v[stage]
            for share, stage in zip(
                w("sew, weighted", "layer_weights"),
                ("encoder.layer_norm", f"{L0}.final_layer_norm", "encoder.layers.1.final_layer_norm"),
                strict=True,
            )
        ),
    ),
    ("sew, weighted", "pooled", "mean over padding too", lambda v: v["projector"].mean(axis=1)),
    ("sew-d, c2p alone", "pooled", "sum over all frames instead of mean", lambda v: v["projector"].sum(axis=1)),
    ("sew", "logits", "bias missing", lambda v: v["logits"] - w("sew", "lm_head.bias")),
    ("sew", "log_probs", "logarithm to base 2", lambda v: np.log2(softmax(v["logits"].astype(float), -1))),
    ("sew", "log_probs", "softmax without the logarithm", lambda v: softmax(v["logits"].astype(float), -1)),
    ("sew", "loss", "mean not divided by the target lengths", lambda v: v["ctc.losses"].mean()),
    ("sew", "loss", "reduction 'sum' instead of 'mean'", lambda v: v["ctc.losses"].sum()),
    (
        "sew-d, c2p alone",
        "loss",
        "sum instead of mean",
        lambda v: -np.log(softmax(v["logits"].astype(float), -1)[[0, 1], [1, 0]]).sum(),
    ),
]


@pytest.mark.parametrize(("name", "stage", "cause", "bug"), PLANTS, ids=[f"{stage}-{cause}" for _, stage, cause, _ in PLANTS])
def test_a_mistake_made_elsewhere_is_found_and_named(
    name: str, stage: str, cause: str, bug: Callable[[dict[str, Array]], Array]
) -> None:
    """The mistake goes on through the rest of the run; still, one stage alone is wrong in itself."""
    result = diagnosed(name, planted(name, {stage: lambda v: np.asarray(bug(v))}))
    assert not result.agrees
    found = origins(result)
    assert list(found) == [stage], result.verdict
    assert says(found[stage], cause)
    assert f"{stage} ({found[stage]})" in result.verdict


def test_a_tail_that_is_not_padded_is_named_although_the_shapes_differ() -> None:
    name = "sew-d, separate keys"
    result = diagnosed(name, planted(name, {"encoder.last_hidden_state": lambda v: v["encoder.last_hidden_state"][:, :28]}))
    assert origins(result) == {"encoder.last_hidden_state": "tail not padded"}
    rows = {row.name: row for row in result.rows}
    assert (rows["encoder.last_hidden_state"].status, rows["projector"].status) == ("shape", "shape")
    # the right shape, but the mean of other frames: nobody can say whether it is wrong in itself
    assert rows["pooled"].status == "diverges"
    assert rows["pooled"].detail == "not judged: behind encoder.last_hidden_state"


def test_the_scale_of_sew_d_in_float64_shows_in_float64_alone() -> None:
    stage = f"{S0}.content"
    bug = {stage: lambda v: np.einsum("bhid,bhjd->bhij", v[f"{S0}.q"], v[f"{S0}.k"]) / np.sqrt(24)}
    assert origins(diagnosed("sew-d", planted("sew-d", bug, "float64"), "float64")) == {
        stage: "scale in float64 instead of rounded to float32"
    }
    assert diagnosed("sew-d", planted("sew-d", bug)).agrees


def test_scores_behind_the_mask_are_named_and_cut_nothing_off() -> None:
    """Whether hidden keys stand at -inf or at the lowest number there is."""
    theirs = planted("sew", {})
    mask = theirs["encoder.squeezed_mask"][:, None, None]
    for low in (-np.inf, np.finfo(np.float32).min):
        shown = theirs | {f"{A0}.scores": np.where(mask, theirs[f"{A0}.scores"], np.float32(low))}
        found = origins(diagnosed("sew", shown))
        assert found[f"{A0}.scores"] == "shown after the mask: hidden keys are at -inf already"
        if low == -np.inf:
            assert len(found) == 1


@pytest.mark.parametrize(
    ("causes", "said"),
    [
        ([], ""),
        (["bias missing"], "bias missing"),
        (["relu instead of erf GELU", "relu6 instead of erf GELU"], "relu or relu6 instead of erf GELU"),
        (["norm with eps 1 (expected 2)", "norm with eps 3 (expected 2)"], "norm with eps 1 or 3 (expected 2)"),
        (["without weight", "without weight and bias"], "without weight or without weight and bias"),
        (["mask ignored", "residual missing"], "mask ignored or residual missing"),
    ],
)
def test_alternatives_in_words(causes: list[str], said: str) -> None:
    assert in_words(causes) == said


def test_several_mistakes_in_one_run_are_all_named() -> None:
    bugs: dict[str, Callable[[dict[str, Array]], Array]] = {
        "encoder.pool": lambda v: v["encoder.pool"] * 2,
        f"{S0}.p2c": lambda v: np.swapaxes(v[f"{S0}.p2c"], 2, 3),
        "encoder.encoder.layer.1.intermediate.activation": lambda v: np.maximum(v["encoder.encoder.layer.1.intermediate.dense"], 0),
    }
    found = origins(diagnosed("sew-d", planted("sew-d", bugs)))
    assert list(found) == list(bugs)
    assert found["encoder.pool"] == "sum instead of mean"
    assert found[f"{S0}.p2c"] == "p2c not transposed"
    assert found["encoder.encoder.layer.1.intermediate.activation"].startswith("relu instead of erf GELU")


@pytest.mark.parametrize("factor", [1.001, -1.0])
@pytest.mark.parametrize("stage", ["encoder.pool", f"{A0}.scores", "logits"])
def test_an_unknown_mistake_is_found_but_not_named(stage: str, factor: float) -> None:
    assert origins(diagnosed("sew", planted("sew", {stage: lambda v: v[stage] * factor}))) == {stage: ""}


def test_a_single_wrong_number_is_found_but_not_named() -> None:
    def bug(v: dict[str, Array]) -> Array:
        x = v[f"{A0}.v"].copy()
        x[1, 0, 2, 3] += 0.01 * np.abs(x).max()
        return x

    result = diagnosed("sew", planted("sew", {f"{A0}.v": bug}))
    assert origins(result) == {f"{A0}.v": ""}
    (row,) = (row for row in result.rows if row.origin)
    assert row.local is not None
    assert row.local.worst == (1, 0, 2, 3)
