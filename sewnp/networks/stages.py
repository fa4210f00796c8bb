"""The stages: every value that a forward pass shows its observer, one row a stage, and all that is known of it.

Names follow the checkpoint's scopes; ``{i}`` stands for a layer's number.  Pages, captures from other frameworks, known mistakes and
dropout are derived from these rows, and so are the names of gradients: ``gradient.`` before a stage's name, or before a weight's key.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from sewnp.errors import InputError

STAGE_LIST_VERSION = 2
"""Counts up whenever a name changes its meaning, its axes or its place."""

Kind = Literal["float", "integer", "boolean"]
Form = Literal["same", "channels first", "heads", "stacked heads", "first", "first channel"]


@dataclass(frozen=True)
class Stage:
    """What all stages of one name have in common."""

    name: str
    """``{i}`` stands for a layer's number."""
    axes: str
    """Names of the axes.  B batch, n samples, T frames (in the convolution stack, of the convolution at hand), N squeezed frames, C channels
    of a convolution, H hidden size, I width of the feed-forward, h heads, d = H / h, K taps, G groups, s squeeze factor, R rows of the
    position table, V tokens, S states of the CTC lattice, P projection of the classification head, L labels."""
    meaning: str
    group: str
    """The part of the network that it belongs to: a key of :data:`GROUPS`; "weights" for the gradient by a weight."""
    inputs: tuple[str, ...] = ()
    """The stages that it is computed from, what goes past a block before what comes out of it.  Where one of several precedes it, all are
    there with ``|`` between, of which the first that a run has is the one; ``{h}`` is the number of the layer before, for a stage behind the
    layers that of the last, and ``{each}`` that of every one.  See ``stage_graph``."""
    kind: Kind = "float"
    module: str = ""
    """Where a model of transformers has it, with ``|`` between several places: the module's path, whose output it is, or ``path.input``, what
    the module is given; other marks as in ``sewnp.ports``, which also knows the places that depend on the configuration."""
    form: Form = "same"
    """How it lies there."""
    dropout: str = ""
    """The configuration's key for the rate at which it is dropped in training."""


GROUPS: dict[str, tuple[str, str]] = {
    "frames": (
        "From samples to frames",
        "Both families. `masked_spec_embed` is there where `mask_time_indices` were given, `frame_mask` where an attention mask was.",
    ),
    "squeeze": ("The squeeze, and position", "Both families. N* = (T + 2 (K // 2) - K) // s + 1; `squeezed` takes the first N."),
    "sew": ("Layers of SEW", "SEW alone normalises the squeezed frames before its first layer."),
    "sew-d": (
        "Positions and layers of SEW-D",
        "`pos_k` and `c2p` are there where `pos_att_type` names c2p, `pos_q` and `p2c` where it names p2c, and no position at all without"
        " `relative_attention`.",
    ),
    "upsample": ("Back to the full rate", "Both families."),
    "head": (
        "Heads and losses",
        "A CTC head has `logits`, and with labels `log_probs` and what follows. A classification head has `projector`, `pooled`, `logits`"
        " and with labels the loss.",
    ),
}
"""The parts of the network: a title, and when their stages are there."""

_FRAMES = "encoder.masked_frames|masked_spec_embed|feature_projection|layer_norm"
_CONV = "feature_extractor.conv_layers.{i}"
_POS = "encoder.pos_conv_embed"
_SEW = "encoder.layers.{i}"
_SEW_ATTENTION, _SEW_FEED_FORWARD = f"{_SEW}.attention", f"{_SEW}.feed_forward"
_SEW_INPUT = "encoder.layers.{h}.final_layer_norm|encoder.layer_norm"
_SEW_D = "encoder.encoder.layer.{i}"
_SEW_D_SELF = f"{_SEW_D}.attention.self"
_SEW_D_INPUT = "encoder.encoder.layer.{h}.output.LayerNorm|encoder.squeezed"
_TABLE = "encoder.encoder.LayerNorm|encoder.encoder.rel_embeddings"
_LAST_LAYER = "encoder.layers.{h}.final_layer_norm|encoder.encoder.layer.{h}.output.LayerNorm|encoder.layer_norm|encoder.squeezed"


def _heads(scope: str, names: dict[str, str], given: str, group: str) -> tuple[Stage, ...]:
    """Queries, keys and values.  names: the projection that makes each."""
    said = {"q": "queries", "k": "keys", "v": "values"}
    return tuple(
        Stage(f"{scope}.{n}", "B h N d", said[n], group, (given,), module=f"{scope}.{projection}", form="heads")
        for n, projection in names.items()
    )


STAGES: tuple[Stage, ...] = (
    Stage("frame_mask", "B T", "real frames, from the attention mask", "frames", kind="boolean", module="encoder.attention_mask"),
    Stage(
        "encoder.squeezed_mask", "B N", "real squeezed frames", "squeeze", ("frame_mask",), "boolean", "encoder/max_pool1d", "first channel"
    ),
    Stage("input_values", "B n", "the normalised waveform", "frames"),
    Stage(
        f"{_CONV}.conv", "B T C", "strided convolution", "frames", ("feature_extractor.conv_layers.{h}.activation|input_values",),
        module=f"{_CONV}.conv", form="channels first",
    ),
    Stage(
        f"{_CONV}.layer_norm", "B T C", "group norm over time, or layer norm over channels", "frames", (f"{_CONV}.conv",),
        module=f"{_CONV}.layer_norm", form="channels first",
    ),
    Stage(
        f"{_CONV}.activation", "B T C", "its activation", "frames", (f"{_CONV}.layer_norm|{_CONV}.conv",), module=f"{_CONV}.activation",
        form="channels first",
    ),
    Stage(
        "layer_norm", "B T C", "layer norm over the features", "frames", ("feature_extractor.conv_layers.{h}.activation",),
        module="layer_norm", dropout="feat_proj_dropout",
    ),
    Stage(
        "feature_projection", "B T H", "projection to the hidden size, where the model has one", "frames", ("layer_norm",),
        module="feature_projection", dropout="feat_proj_dropout",
    ),
    Stage("masked_spec_embed", "B T H", "frames with those of mask_time_indices replaced", "frames", ("feature_projection|layer_norm",)),
    Stage(
        "encoder.masked_frames", "B T H", "frames with padding set to zero", "squeeze",
        ("masked_spec_embed|feature_projection|layer_norm", "frame_mask"),
    ),
    Stage(
        f"{_POS}.conv.weight", "H H/G K", "kernel of the position convolution, folded from its weight norm pair", "squeeze",
        module=f"{_POS}.conv.parametrizations.weight.0",
    ),
    Stage(
        f"{_POS}.conv", "B N* H", "position convolution; one frame more than the next where K is even", "squeeze",
        (_FRAMES, f"{_POS}.conv.weight"), module=f"{_POS}.conv", form="channels first",
    ),
    Stage(
        f"{_POS}.activation", "B N* H", "its activation", "squeeze", (f"{_POS}.conv",), module=f"{_POS}.activation", form="channels first"
    ),
    Stage("encoder.pool", "B N H", "mean of every s frames", "squeeze", (_FRAMES,), module="encoder.pool", form="channels first"),
    Stage(
        "encoder.squeezed", "B N H", "pooled frames plus position: what the transformer of SEW-D starts from", "squeeze",
        ("encoder.pool", f"{_POS}.activation"), module="encoder.layer_norm.input|encoder.encoder.input",
    ),
    Stage(
        "encoder.layer_norm", "B N H", "what the transformer of SEW starts from", "sew", ("encoder.squeezed",),
        module="encoder.layer_norm", dropout="hidden_dropout",
    ),
    *_heads(_SEW_ATTENTION, {n: f"{n}_proj" for n in "qkv"}, _SEW_INPUT, "sew"),
    Stage(
        f"{_SEW_ATTENTION}.scores", "B h N N", "scaled products of queries (rows) and keys (columns), before the mask", "sew",
        (f"{_SEW_ATTENTION}.q", f"{_SEW_ATTENTION}.k"), module=f"{_SEW_ATTENTION}/mul",
    ),
    Stage(
        f"{_SEW_ATTENTION}.probabilities", "B h N N", "softmax over the keys that the mask leaves", "sew",
        (f"{_SEW_ATTENTION}.scores",), module=f"{_SEW_ATTENTION}[1]", dropout="attention_dropout",
    ),
    Stage(
        f"{_SEW_ATTENTION}.context", "B N H", "probabilities times values, heads merged", "sew",
        (f"{_SEW_ATTENTION}.probabilities", f"{_SEW_ATTENTION}.v"), module=f"{_SEW_ATTENTION}.out_proj.input",
    ),
    Stage(
        f"{_SEW_ATTENTION}.output", "B N H", "projection of the context", "sew", (f"{_SEW_ATTENTION}.context",),
        module=f"{_SEW_ATTENTION}.out_proj", dropout="hidden_dropout",
    ),
    Stage(
        f"{_SEW}.residual", "B N H", "the layer's input plus its attention", "sew", (_SEW_INPUT, f"{_SEW_ATTENTION}.output"),
        module=f"{_SEW}.layer_norm.input",
    ),
    Stage(f"{_SEW}.layer_norm", "B N H", "layer norm of that", "sew", (f"{_SEW}.residual",), module=f"{_SEW}.layer_norm"),
    Stage(
        f"{_SEW_FEED_FORWARD}.intermediate_dense", "B N I", "feed-forward, widened", "sew", (f"{_SEW}.layer_norm",),
        module=f"{_SEW_FEED_FORWARD}.intermediate_dense",
    ),
    Stage(
        f"{_SEW_FEED_FORWARD}.activation", "B N I", "its activation", "sew", (f"{_SEW_FEED_FORWARD}.intermediate_dense",),
        module=f"{_SEW_FEED_FORWARD}.intermediate_act_fn", dropout="activation_dropout",
    ),
    Stage(
        f"{_SEW_FEED_FORWARD}.output_dense", "B N H", "feed-forward, narrowed", "sew", (f"{_SEW_FEED_FORWARD}.activation",),
        module=f"{_SEW_FEED_FORWARD}.output_dense", dropout="hidden_dropout",
    ),
    Stage(
        f"{_SEW}.final_residual", "B N H", "what went into the feed-forward plus what came out", "sew",
        (f"{_SEW}.layer_norm", f"{_SEW_FEED_FORWARD}.output_dense"), module=f"{_SEW}.final_layer_norm.input",
    ),
    Stage(
        f"{_SEW}.final_layer_norm", "B N H", "the layer's output", "sew", (f"{_SEW}.final_residual",), module=f"{_SEW}.final_layer_norm"
    ),
    Stage(
        "encoder.encoder.rel_embeddings", "R H", "table of relative positions, as stored", "sew-d",
        module="encoder.encoder.rel_embeddings.weight",
    ),
    Stage(
        "encoder.encoder.LayerNorm", "R H", "the table, normalised", "sew-d", ("encoder.encoder.rel_embeddings",),
        module="encoder.encoder.LayerNorm",
    ),
    Stage(
        "encoder.encoder.relative_positions", "N N", "query minus key, in buckets; may lie outside the table, which clips it", "sew-d",
        kind="integer", module="encoder.encoder.layer.0.relative_pos", form="first",
    ),
    *_heads(_SEW_D_SELF, {"q": "query_proj", "k": "key_proj", "v": "value_proj"}, _SEW_D_INPUT, "sew-d"),
    Stage(
        f"{_SEW_D_SELF}.content", "B h N N", "scaled products of queries and keys", "sew-d", (f"{_SEW_D_SELF}.q", f"{_SEW_D_SELF}.k"),
        module=f"{_SEW_D_SELF}/bmm", form="stacked heads",
    ),
    Stage(
        f"{_SEW_D_SELF}.table", "R H", "the table as this layer uses it, before its projections", "sew-d", (_TABLE,),
        module=f"{_SEW_D_SELF}.pos_dropout", dropout="activation_dropout",
    ),
    Stage(f"{_SEW_D_SELF}.pos_k", "1 h R d", "keys of the position table", "sew-d", (f"{_SEW_D_SELF}.table",), form="heads"),
    Stage(
        f"{_SEW_D_SELF}.c2p", "B h N N", "scaled content-to-position term", "sew-d",
        (f"{_SEW_D_SELF}.q", f"{_SEW_D_SELF}.pos_k", "encoder.encoder.relative_positions"), form="stacked heads",
    ),
    Stage(f"{_SEW_D_SELF}.pos_q", "1 h R d", "queries of the position table", "sew-d", (f"{_SEW_D_SELF}.table",), form="heads"),
    Stage(
        f"{_SEW_D_SELF}.p2c", "B h N N", "scaled position-to-content term", "sew-d",
        (f"{_SEW_D_SELF}.k", f"{_SEW_D_SELF}.pos_q", "encoder.encoder.relative_positions"), form="stacked heads",
    ),
    Stage(
        f"{_SEW_D_SELF}.scores", "B h N N", "their sum, before the mask", "sew-d",
        (f"{_SEW_D_SELF}.content", f"{_SEW_D_SELF}.c2p", f"{_SEW_D_SELF}.p2c"), module=f"{_SEW_D_SELF}/masked_fill.input",
    ),
    Stage(
        f"{_SEW_D_SELF}.probabilities", "B h N N", "softmax over the keys that the mask leaves", "sew-d", (f"{_SEW_D_SELF}.scores",),
        module=f"{_SEW_D_SELF}[1]", dropout="attention_dropout",
    ),
    Stage(
        f"{_SEW_D_SELF}.context", "B N H", "probabilities times values, heads merged", "sew-d",
        (f"{_SEW_D_SELF}.probabilities", f"{_SEW_D_SELF}.v"), module=_SEW_D_SELF,
    ),
    Stage(
        f"{_SEW_D}.attention.output.dense", "B N H", "projection of the context", "sew-d", (f"{_SEW_D_SELF}.context",),
        module=f"{_SEW_D}.attention.output.dense", dropout="activation_dropout",
    ),
    Stage(
        f"{_SEW_D}.attention.output.residual", "B N H", "that plus the layer's input", "sew-d",
        (_SEW_D_INPUT, f"{_SEW_D}.attention.output.dense"), module=f"{_SEW_D}.attention.output.LayerNorm.input",
    ),
    Stage(
        f"{_SEW_D}.attention.output.LayerNorm", "B N H", "layer norm of that", "sew-d", (f"{_SEW_D}.attention.output.residual",),
        module=f"{_SEW_D}.attention.output.LayerNorm",
    ),
    Stage(
        f"{_SEW_D}.intermediate.dense", "B N I", "feed-forward, widened", "sew-d", (f"{_SEW_D}.attention.output.LayerNorm",),
        module=f"{_SEW_D}.intermediate.dense",
    ),
    Stage(
        f"{_SEW_D}.intermediate.activation", "B N I", "its activation", "sew-d", (f"{_SEW_D}.intermediate.dense",),
        module=f"{_SEW_D}.intermediate.intermediate_act_fn",
    ),
    Stage(
        f"{_SEW_D}.output.dense", "B N H", "feed-forward, narrowed", "sew-d", (f"{_SEW_D}.intermediate.activation",),
        module=f"{_SEW_D}.output.dense", dropout="activation_dropout",
    ),
    Stage(
        f"{_SEW_D}.output.residual", "B N H", "that plus what went into the feed-forward", "sew-d",
        (f"{_SEW_D}.attention.output.LayerNorm", f"{_SEW_D}.output.dense"), module=f"{_SEW_D}.output.LayerNorm.input",
    ),
    Stage(
        f"{_SEW_D}.output.LayerNorm", "B N H", "the layer's output", "sew-d", (f"{_SEW_D}.output.residual",),
        module=f"{_SEW_D}.output.LayerNorm",
    ),
    Stage(
        "encoder.upsample.projection", "B N sH", "each squeezed frame as s frames, side by side", "upsample", (_LAST_LAYER,),
        module="encoder.upsample.projection",
    ),
    Stage(
        "encoder.upsample.activation", "B N sH", "its activation", "upsample", ("encoder.upsample.projection",),
        module="encoder.upsample.activation",
    ),
    Stage(
        "encoder.last_hidden_state", "B T H", "the s frames one after the other, and zeros for the tail that the squeeze dropped",
        "upsample", ("encoder.upsample.activation",), module="encoder", dropout="final_dropout",
    ),
    Stage(
        "weighted_layers", "B N H", "the hidden states mixed by layer_weights", "head",
        ("encoder.layer_norm|encoder.squeezed", "encoder.layers.{each}.final_layer_norm|encoder.encoder.layer.{each}.output.LayerNorm"),
    ),
    Stage(
        "projector", "B T P", "projection of every frame (squeezed frames behind weighted_layers)", "head",
        ("weighted_layers|encoder.last_hidden_state",), module="projector",
    ),
    Stage("pooled", "B P", "mean over the frames that count", "head", ("projector",), module="classifier.input"),
    Stage(
        "logits", "B T V | B L", "scores of tokens at each frame, or of labels", "head", ("pooled|encoder.last_hidden_state",),
        module="lm_head|classifier",
    ),
    Stage("log_probs", "B T V", "log softmax of the logits", "head", ("logits",), module="/log_softmax"),
    Stage("ctc.alpha", "B T S", "forward lattice of the CTC loss; -inf where no path leads", "head", ("log_probs",)),
    Stage("ctc.losses", "B", "loss of each clip, before the reduction", "head", ("ctc.alpha", "log_probs")),
    Stage("loss", "", "the loss; (B,) without reduction", "head", ("ctc.losses|logits",)),
)  # fmt: skip
"""Every stage, in the order of computation."""


GRADIENT = "gradient."
"""Before the name of a stage or the key of a weight: the derivative of the loss by it."""

NO_GRADIENT = "ctc.alpha"
"""The one stage of floats without a gradient: the losses' pullback goes past it."""

_AFFINE = re.compile(r"(_norm|Norm|_proj|_dense|dense|layers\.\{i\}\.conv|projection|projector|lm_head|classifier)$")
"""Modules that have a weight, and perhaps a bias."""


def _weights() -> dict[str, tuple[str, ...]]:
    """Keys of weights, without the base model's prefix, and the stages that read them."""
    pair = {f"{_POS}.conv.parametrizations.weight.original{i}": (f"{_POS}.conv.weight",) for i in (0, 1)}
    readers = {"masked_spec_embed": ("masked_spec_embed",), "layer_weights": ("weighted_layers",)} | pair
    readers |= {
        f"{_POS}.conv.bias": (f"{_POS}.conv",),
        "encoder.encoder.rel_embeddings.weight": ("encoder.encoder.rel_embeddings",),
    }
    places: dict[str, tuple[str, ...]] = {
        path: (stage.name,) for stage in STAGES for path in stage.module.split("|") if _AFFINE.search(path)
    }
    for own, positions in {"query": "pos_q", "key": "pos_k"}.items():
        places[f"{_SEW_D_SELF}.pos_{own}_proj"] = (f"{_SEW_D_SELF}.{positions}",)
        places[f"{_SEW_D_SELF}.{own}_proj"] += (f"{_SEW_D_SELF}.{positions}",)  # where the projections are shared
    return readers | {f"{path}.{leaf}": stages for path, stages in places.items() for leaf in ("weight", "bias")}


WEIGHTS = _weights()
"""The weights' keys, without the base model's prefix, and the stages that read them; those of positions where they are not projected apart."""


@cache
def stage_of(name: str) -> Stage:
    """The row of a stage's name; that of a gradient is derived.  Raises InputError for a name that is no stage."""
    of = name.removeprefix(GRADIENT)
    found = _BY_NAME.get(re.sub(r"\.\d+\.", ".{i}.", of))
    if found is not None and of != name:
        has_gradient = found.kind == "float" and found.name != NO_GRADIENT
        found = replace(found, name=f"{GRADIENT}{found.name}", meaning=f"gradient by: {found.meaning}") if has_gradient else None
    elif of != name and weight_of(of) in WEIGHTS:
        found = Stage(f"{GRADIENT}{weight_of(of)}", "as stored", "gradient by this weight", "weights")
    if found is None or "{" in name:
        raise InputError(f"{name}: no stage of stage list {STAGE_LIST_VERSION} has this name")
    return found


def weight_of(key: str) -> str:
    """A weight's key as :data:`WEIGHTS` has it: without the base model's prefix, and ``{i}`` for the layer's number."""
    return re.sub(r"\.\d+\.", ".{i}.", re.sub(r"^sew(_d)?\.", "", key))


def layer_of(name: str) -> int:
    """The number of the layer or convolution in a stage's name, 0 for those outside."""
    number = re.search(r"\.(\d+)\.", name)
    return int(number[1]) if number else 0


_BY_NAME = {stage.name: stage for stage in STAGES}
