"""Somebody else's names for the stages, and ours."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sewnp.config import Config, SEWConfig, SEWDConfig
from sewnp.errors import TraceError
from sewnp.layers.attention import split_heads
from sewnp.types import Array

Turn = Callable[[Array], Array]


def as_is(x: Array) -> Array:
    """What needs no turning."""
    return x


@dataclass(frozen=True)
class Target:
    """What one of their names stands for."""

    stage: str | None
    """Our name; None for a value that is no stage of ours and is left out."""
    turn: Turn = as_is
    """From their axes to ours.  May raise ValueError and IndexError for arrays that it does not fit."""


@dataclass(frozen=True, eq=False)
class Renamed(Mapping[str, Array]):
    """Their stages under our names, each read and turned when it is asked for."""

    theirs: Mapping[str, Array]
    source: Mapping[str, tuple[str, Target]]
    """Our name -> their name and what to do with it."""

    def __getitem__(self, name: str) -> Array:
        key, target = self.source[name]
        value = self.theirs[key]
        try:
            return target.turn(value)
        except (ValueError, IndexError) as error:
            raise TraceError(f"{key}: shape {value.shape} is not what the map says of {name}: {error}") from error

    def __contains__(self, name: object) -> bool:
        return name in self.source  # a Mapping's own would read the stage

    def __iter__(self) -> Iterator[str]:
        return iter(self.source)

    def __len__(self) -> int:
        return len(self.source)


def transposed(*axes: int) -> Turn:
    """Axes in another order."""
    return lambda x: x.transpose(axes)


def split(heads: int) -> Turn:
    """Channels into heads.  (B, N, H) -> (B, h, N, d)"""
    return lambda x: split_heads(x, heads)


def unstacked(heads: int) -> Turn:
    """Heads out of the batch axis.  (B h, ...) -> (B, h, ...)"""
    return lambda x: x.reshape(-1, heads, *x.shape[1:])


def read_map(path: str, config: Config | None = None) -> dict[str, Target]:
    """A JSON object from their names to ours: ``{"enc.{i}.attn.q": "encoder.layers.{i}.attention.q"}``, {i} being a layer's number.

    Where their value has another form, the right side is an object: ``{"stage": name, "transpose": [0, 2, 1]}`` for axes in another order,
    ``{"stage": name, "heads": 8}`` for (B, N, H) whose channels are still to be split into heads.  null leaves a value out.
    ``"transformers"`` instead of a path is :func:`transformers_names`, which needs the configuration.  Raises TraceError naming file and key.
    """
    if path == "transformers":
        if config is None:
            raise TraceError("--map transformers: the trace does not tell its configuration; write it with sewnp trace")
        return transformers_names(config)
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TraceError(f"{path}: not a readable JSON file: {error}") from error
    if not isinstance(values, dict):
        raise TraceError(f"{path}: expected an object from their names to ours, found {type(values).__name__}")
    return {key: _target(path, key, value) for key, value in values.items()}


def renamed(theirs: Mapping[str, Array], names: Mapping[str, Target]) -> Renamed:
    """Their stages under our names; names that the map does not know stay what they are.  Raises TraceError when two become the same."""
    source: dict[str, tuple[str, Target]] = {}
    for key in theirs:
        target = _named(key, names)
        if target.stage is None:
            continue
        if target.stage in source:
            raise TraceError(f"{key} and {source[target.stage][0]} are both called {target.stage}")
        source[target.stage] = (key, target)
    return Renamed(theirs, source)


def transformers_names(config: Config) -> dict[str, Target]:
    """From the module paths of transformers' models, as ``named_modules()`` gives them, to ours.

    The value of a path is what the module's forward returns, channels first where torch has them so; the first element where it returns
    several.  ``path.input`` is its first argument, ``path[1]`` the second element of what it returns, ``path@2`` what it returns when it is
    called a second time in the same pass (SEW-D projects queries and positions with one module), ``path/bmm`` the result of a torch function
    called by the module itself, and ``path.argument`` an argument given by name.  Paths may begin with the base model's (``sew.``) or not.
    """
    base = _front_names(config)
    for i in range(config.num_hidden_layers):
        base |= _sew_layer_names(config, i) if isinstance(config, SEWConfig) else _sew_d_layer_names(config, i)
    head = {
        "lm_head": Target("logits"),
        "classifier": Target("logits"),
        "classifier.input": Target("pooled"),
        "projector": Target("projector"),
        "dropout": NO_STAGE,
        "": NO_STAGE,
        config.prefix: NO_STAGE,
        "/log_softmax": Target("log_probs"),
    }
    if config.use_weighted_layer_sum:
        head["projector.input"] = Target("weighted_layers")
    return head | base | {f"{config.prefix}.{path}": target for path, target in base.items()}


NO_STAGE = Target(None)
TURNED = transposed(0, 2, 1)  # from (B, C, T), which torch's convolutions have


def _front_names(config: Config) -> dict[str, Target]:
    """What both families have around their layers."""
    names = {
        "feature_extractor": NO_STAGE,
        "feature_dropout": NO_STAGE,
        "layer_norm": Target("layer_norm"),
        "feature_projection": Target("feature_projection"),
        "encoder": Target("encoder.last_hidden_state"),
        "encoder.attention_mask": Target("frame_mask"),
        "encoder/max_pool1d": Target("encoder.squeezed_mask", lambda x: x[:, 0]),
        "encoder.pos_conv_embed": NO_STAGE,
        "encoder.pos_conv_embed.padding": NO_STAGE,
        "encoder.pos_conv_embed.conv.parametrizations.weight": NO_STAGE,
        "encoder.pos_conv_embed.conv.parametrizations.weight.0": Target("encoder.pos_conv_embed.conv.weight"),
        "encoder.pos_conv_embed.conv": Target("encoder.pos_conv_embed.conv", TURNED),
        "encoder.pos_conv_embed.activation": Target("encoder.pos_conv_embed.activation", TURNED),
        "encoder.pool": Target("encoder.pool", TURNED),
        "encoder.dropout": NO_STAGE,
        "encoder.upsample": NO_STAGE,
        "encoder.upsample.projection": Target("encoder.upsample.projection"),
        "encoder.upsample.activation": Target("encoder.upsample.activation"),
    }
    for i in range(len(config.conv_dim)):
        layer = f"feature_extractor.conv_layers.{i}"
        names[layer] = NO_STAGE
        names[f"{layer}.conv"] = Target(f"{layer}.conv", TURNED)
        # torch's group norm takes channels first, its layer norm last
        names[f"{layer}.layer_norm"] = Target(f"{layer}.layer_norm", TURNED if config.feat_extract_norm == "group" else as_is)
        names[f"{layer}.activation"] = Target(f"{layer}.activation", TURNED)
    if isinstance(config, SEWConfig):
        return names | {"encoder.layer_norm.input": Target("encoder.squeezed"), "encoder.layer_norm": Target("encoder.layer_norm")}
    return names | {
        "encoder.encoder.input": Target("encoder.squeezed"),
        "encoder.encoder": NO_STAGE,
        "encoder.encoder.rel_embeddings.weight": Target("encoder.encoder.rel_embeddings"),
        "encoder.encoder.LayerNorm": Target("encoder.encoder.LayerNorm"),
        "encoder.encoder.layer.0.relative_pos": Target("encoder.encoder.relative_positions", lambda x: x[0]),
    }


def _sew_layer_names(config: SEWConfig, i: int) -> dict[str, Target]:
    layer, heads = f"encoder.layers.{i}", config.num_attention_heads
    attention, feed_forward = f"{layer}.attention", f"{layer}.feed_forward"
    return {
        layer: NO_STAGE,
        f"{layer}.dropout": NO_STAGE,
        **{f"{attention}.{n}_proj": Target(f"{attention}.{n}", split(heads)) for n in "qkv"},
        f"{attention}/mul": Target(f"{attention}.scores"),
        f"{attention}[1]": Target(f"{attention}.probabilities"),
        f"{attention}.out_proj.input": Target(f"{attention}.context"),
        f"{attention}.out_proj": Target(f"{attention}.output"),
        attention: NO_STAGE,
        f"{layer}.layer_norm.input": Target(f"{layer}.residual"),
        f"{layer}.layer_norm": Target(f"{layer}.layer_norm"),
        f"{feed_forward}.intermediate_dense": Target(f"{feed_forward}.intermediate_dense"),
        f"{feed_forward}.intermediate_act_fn": Target(f"{feed_forward}.activation"),
        f"{feed_forward}.intermediate_dropout": NO_STAGE,
        f"{feed_forward}.output_dense": Target(f"{feed_forward}.output_dense"),
        f"{feed_forward}.output_dropout": NO_STAGE,
        feed_forward: NO_STAGE,
        f"{layer}.final_layer_norm.input": Target(f"{layer}.final_residual"),
        f"{layer}.final_layer_norm": Target(f"{layer}.final_layer_norm"),
    }


def _sew_d_layer_names(config: SEWDConfig, i: int) -> dict[str, Target]:
    layer, heads = f"encoder.encoder.layer.{i}", config.num_attention_heads
    attention = f"{layer}.attention.self"
    terms = config.position_terms
    names = {layer: NO_STAGE, f"{layer}.attention": NO_STAGE, f"{layer}.attention.output": NO_STAGE, f"{layer}.output": NO_STAGE}
    names |= {f"{attention}.{n}_proj": Target(f"{attention}.{n[0]}", split(heads)) for n in ("query", "key", "value")}
    names[f"{attention}/bmm"] = Target(f"{attention}.content", unstacked(heads))
    # shared projections run on the positions whether their term is wanted or not
    own = {"c2p": ("pos_k", "key_proj"), "p2c": ("pos_q", "query_proj")}
    for term, (stage, projection) in own.items():
        path = f"{attention}.{projection}@2" if config.share_att_key else f"{attention}.pos_{projection}"
        names[path] = Target(f"{attention}.{stage}", split(heads)) if term in terms else NO_STAGE
    # the first division is that of the keys, before their product with the queries
    names |= {f"{attention}/div@{n}": Target(f"{attention}.{term}", unstacked(heads)) for n, term in enumerate(terms, 2)}
    names |= {
        f"{attention}/masked_fill.input": Target(f"{attention}.scores"),
        f"{attention}[1]": Target(f"{attention}.probabilities"),
        attention: Target(f"{attention}.context"),
        f"{layer}.intermediate": NO_STAGE,
        f"{layer}.intermediate.dense": Target(f"{layer}.intermediate.dense"),
        f"{layer}.intermediate.intermediate_act_fn": Target(f"{layer}.intermediate.activation"),
    }
    for name in ("dropout", "pos_dropout"):
        names[f"{attention}.{name}"] = NO_STAGE
    for part in (f"{layer}.attention.output", f"{layer}.output"):
        names[f"{part}.dense"] = Target(f"{part}.dense")
        names[f"{part}.dropout"] = NO_STAGE
        names[f"{part}.LayerNorm.input"] = Target(f"{part}.residual")
        names[f"{part}.LayerNorm"] = Target(f"{part}.LayerNorm")
    return names


def _named(key: str, names: Mapping[str, Target]) -> Target:
    """What the map says of a name: the name itself, or with a number in it for {i}."""
    if key in names:
        return names[key]
    for number in re.finditer(r"\d+", key):
        pattern = f"{key[: number.start()]}{{i}}{key[number.end() :]}"
        if pattern in names:
            found = names[pattern]
            return Target(found.stage and found.stage.replace("{i}", number[0]), found.turn)
    return Target(key)


def _target(path: str, key: str, value: object) -> Target:
    if value is None or isinstance(value, str):
        return Target(value)
    size = len(value) if isinstance(value, dict) else 0
    match value:
        case {"stage": str(stage), "transpose": [*axes]} if size == 2 and all(type(axis) is int for axis in axes):
            return Target(stage, transposed(*axes))
        case {"stage": str(stage), "heads": heads} if size == 2 and type(heads) is int and heads > 0:
            return Target(stage, split(heads))
        case {"stage": str(stage)} if size == 1:
            return Target(stage)
    raise TraceError(
        f'{path}: {key}: expected a stage name, null, {{"stage": name, "transpose": [axes]}} or {{"stage": name, "heads": number}},'
        f" found {value!r}"
    )
