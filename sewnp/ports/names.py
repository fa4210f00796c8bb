"""Somebody else's names for the stages, and ours."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sewnp.config import Config, SEWDConfig
from sewnp.errors import TraceError, brief
from sewnp.files import read_json
from sewnp.layers.heads import split_heads
from sewnp.networks.stages import GRADIENT, STAGES, Stage
from sewnp.numerics.stage_files import Unread
from sewnp.parameters import Head, parameter_shapes
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
class Renamed(Unread):
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

    @property
    def known(self) -> Collection[str]:
        """Their names."""
        return self.source


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
    return {key: _target(path, key, value) for key, value in read_json(path, TraceError).items()}


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
    Stages that no module has keep our names.  Whatever else there is (containers, dropouts) is left out.  ``gradient.`` before a path is the
    gradient by its value, before a parameter's name that by the parameter.
    """
    heads: tuple[Head, ...] = ("ctc", "classification")
    weights = [GRADIENT + key for head in heads for key in parameter_shapes(config, head)]
    names = {"*": Target(None)} | {name: Target(name) for name in weights}
    names |= {stage.name: Target(stage.name) for stage in STAGES if not (stage.module or "{i}" in stage.name)}
    for stage in STAGES:
        count = 1
        if "{i}" in stage.name:
            count = len(config.conv_dim) if stage.name.startswith("feature_extractor") else config.num_hidden_layers
        turn = _turn(stage, config)
        for path in filter(None, (_own_module(stage, config) or stage.module).split("|")):
            for i in range(count):
                target = Target(stage.name.format(i=i), turn)
                names[path.format(i=i)] = names[f"{config.prefix}.{path.format(i=i)}"] = target
    return names


def _turn(stage: Stage, config: Config) -> Turn:
    """From the axes of transformers to ours."""
    heads = config.num_attention_heads
    if stage.name.endswith(".layer_norm") and stage.form == "channels first" and config.feat_extract_norm == "layer":
        return as_is  # torch's layer norm takes channels last, its group norm first
    turns: dict[str, Turn] = {
        "same": as_is,
        "channels first": CHANNELS_LAST,
        "heads": split(heads),
        "stacked heads": unstacked(heads),
        "first": lambda x: x[0],
        "first channel": lambda x: x[:, 0],
    }
    return turns[stage.form]


def _own_module(stage: Stage, config: Config) -> str | None:
    """The places that depend on the configuration: those of SEW-D's position terms, and what goes into the classification head."""
    scope, _, last = stage.name.rpartition(".")
    terms = config.position_terms
    if last in ("c2p", "p2c") and last in terms:
        # the first division is that of the keys, before their product with the queries
        return f"{scope}/div@{2 + terms.index(last)}"
    if last in ("pos_k", "pos_q") and {"pos_k": "c2p", "pos_q": "p2c"}[last] in terms and isinstance(config, SEWDConfig):
        projection = {"pos_k": "key_proj", "pos_q": "query_proj"}[last]
        return f"{scope}.{projection}@2" if config.share_att_key else f"{scope}.pos_{projection}"
    return "projector.input" if last == "weighted_layers" and config.use_weighted_layer_sum else None


CHANNELS_LAST = transposed(0, 2, 1)
"""From (B, C, T), which torch's convolutions have."""


def _named(key: str, names: Mapping[str, Target]) -> Target:
    """What the map says of a name: the name itself, or with a number in it for {i}; of a gradient what it says of the value."""
    if key in names:
        return names[key]
    if key.startswith(GRADIENT):
        of = _named(key.removeprefix(GRADIENT), names)
        return Target(of.stage and GRADIENT + of.stage, of.turn)
    for number in re.finditer(r"\d+", key):
        pattern = f"{key[: number.start()]}{{i}}{key[number.end() :]}"
        if pattern in names:
            found = names[pattern]
            return Target(found.stage and found.stage.replace("{i}", number[0]), found.turn)
    return names.get("*", Target(key))


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
        f" found {brief(value)}"
    )
