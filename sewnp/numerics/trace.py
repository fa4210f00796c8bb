"""Recording every stage of a pass, forwards and on request back, and keeping it in a file."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sewnp.checkpoints import write_tensors
from sewnp.errors import InputError, TraceError, printable
from sewnp.files import naming, whole_file
from sewnp.inputs import as_array, check_attention
from sewnp.model import Model
from sewnp.networks.stages import GRADIENT, STAGE_LIST_VERSION, stage_of
from sewnp.numerics.stage_files import INPUT
from sewnp.types import Array, See, SeeVjp
from sewnp.version import __version__

DROPOUT = "dropout."
"""Prefix of the factors of a stage among the arguments of a run."""


def both_ways(see: See) -> SeeVjp:
    """An observer of a pass forwards and back, which shows each gradient to ``see`` under the name of the stage with ``gradient.`` before it."""

    def seen(name: str, x: Array, /) -> tuple[Array, Callable[[Array], Array]]:
        return see(name, x), lambda dy: see(GRADIENT + name, dy)

    return seen


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a pass is called with.  See ``Model.__call__`` and ``Model.gradients``."""

    input_values: Array
    attention_mask: npt.ArrayLike | None = None
    labels: npt.ArrayLike | None = None
    mask_time_indices: npt.ArrayLike | None = None
    gradients: bool = False
    """Whether it goes back too.  What follows belongs to such a pass."""
    mask_feature_indices: npt.ArrayLike | None = None
    skip_layers: Sequence[int] | None = None
    dropout: Mapping[str, npt.ArrayLike] | None = None
    """Factors by stage: a pass that has to be repeated draws none."""

    @classmethod
    def of(cls, given: Mapping[str, Array], *, gradients: bool = False) -> "Inputs":
        """The inverse of :meth:`given`.  Raises InputError for what is no argument."""
        values: dict[str, Any] = {name: value for name, value in given.items() if not name.startswith(DROPOUT)}
        factors = {name.removeprefix(DROPOUT): value for name, value in given.items() if name.startswith(DROPOUT)}
        for name in values.keys() - {each.name for each in fields(cls)}:
            raise InputError(f"{name}: no argument of a run has this name")
        if "skip_layers" in values:
            values["skip_layers"] = values["skip_layers"].tolist()
        return cls(**values, dropout=factors or None, gradients=gradients)

    def arguments(self) -> dict[str, Any]:
        """Those that were given, as keyword arguments of ``trace``; without ``gradients``, of a model too."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None and value is not False}

    def given(self) -> dict[str, Array]:
        """The same as arrays, a factor each."""
        values = self.arguments()
        values.pop("gradients", None)
        factors = {DROPOUT + name: value for name, value in sorted((values.pop("dropout", None) or {}).items())}
        return {name: np.asarray(value) for name, value in (values | factors).items()}

    def run(self, model: Model, see: See) -> Array | None:
        """Run the model with them, show every stage to the observer -> the loss.  The one way in which traces, budgets and replays run a model.

        With ``gradients`` the stages come first, then their gradients in the order of the pass back, then those of the weights.  What the
        observer returns for a gradient is what the pass goes on with.  Raises InputError for what a pass of the one kind has no use for or
        cannot do without, and what the model raises.
        """
        arguments = self.arguments()
        if not arguments.pop("gradients", False):
            for name in ("mask_feature_indices", "skip_layers", "dropout"):
                if name in arguments:
                    raise InputError(f"{name}: expected only in a pass with gradients")
            return model(**arguments, see=see).loss
        if self.labels is None:
            raise InputError("labels: gradients are those of a loss, which takes labels")
        result = model.gradients(**arguments, input_gradient=True, see=both_ways(see))
        for key, gradient in result.flat().items():
            see(GRADIENT + key, gradient)
        return result.loss

    def digest(self) -> str:
        """A hash of all of them; the same values in another dtype have the same."""
        digest = hashlib.sha256()
        for name, array in self.given().items():
            digest.update(f"{name} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Trace(Mapping[str, Array]):
    """Stages by name, in the order of computation, and what they were computed from."""

    stages: Mapping[str, Array]
    metadata: Mapping[str, str] = field(default_factory=dict)
    inputs: Inputs | None = None

    def __getitem__(self, name: str) -> Array:
        return self.stages[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)


class Recorder:
    """An observer that keeps what it sees.  patterns: which names to keep, with * and ?; all without any.  A name seen twice is an error."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self.values: dict[str, Array] = {}
        self.seen: dict[str, None] = {}
        self._patterns = tuple(patterns)

    def __call__(self, name: str, x: Array, /) -> Array:
        if name in self.seen:
            raise TraceError(f"{name}: this stage was seen twice in one run")
        self.seen[name] = None
        if _matches(name, self._patterns):
            self.values[name] = x
        return x


def chosen(names: Iterable[str], patterns: Sequence[str], *, kind: str = "stage", whole: str = "run") -> list[str]:
    """The names that match a pattern with * and ?, in their order; all without any.  Raises InputError for a pattern that none matches.

    kind and whole: what bears the names and what it is part of, for the message.
    """
    names = list(names)
    for pattern in patterns:
        if not any(_matches(name, [pattern]) for name in names):
            raise InputError(
                f"{printable(pattern)}: no {kind} of this {whole} has such a name; {kind}s are {', '.join(names[:3])} ..."
            )
    return [name for name in names if _matches(name, patterns)]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def trace(
    model: Model,
    input_values: Array,
    attention_mask: npt.ArrayLike | None = None,
    labels: npt.ArrayLike | None = None,
    mask_time_indices: npt.ArrayLike | None = None,
    *,
    stages: Sequence[str] = (),
    gradients: bool = False,
    mask_feature_indices: npt.ArrayLike | None = None,
    skip_layers: Sequence[int] | None = None,
    dropout: Mapping[str, npt.ArrayLike] | None = None,
) -> Trace:
    """Run the model and record its stages.  Arguments as the model's; stages: names to keep, with * and ?, all by default.

    gradients: go back too, as ``Model.gradients``, and record ``gradient.<stage>`` of every stage that has one, then ``gradient.<key>`` of
    every weight; the arguments behind it are for such a pass.  Raises InputError for a name that no stage has, for gradients of a loss that
    is infinite, and what the model raises.
    """
    optional = (gradients, mask_feature_indices, skip_layers, dropout)
    inputs = Inputs(input_values, attention_mask, labels, mask_time_indices, *optional)
    shape = as_array("input_values", input_values).shape
    if not stages and len(shape) == 2:  # the attention of all layers is kept
        batch, samples = shape
        kept = 2 + len(model.config.position_terms)
        check_attention("input_values", model.config, samples, batch=batch, itemsize=model.dtype.itemsize, kept=kept)
    recorder = Recorder(stages)
    loss = inputs.run(model, recorder)
    if gradients and loss is not None and not np.isfinite(loss).all():
        raise InputError(f"labels: expected some that fit into their clips, found a loss of {loss}: its gradients are no numbers")
    chosen(recorder.seen, stages)  # a pattern that matched nothing is a mistake
    for name in recorder.values:
        stage_of(name)
    return Trace(recorder.values, metadata(model, inputs), inputs)


def metadata(model: Model, inputs: Inputs) -> dict[str, str]:
    """What a trace says of its origin."""
    return {
        "sewnp": __version__,
        "stage_list": str(STAGE_LIST_VERSION),
        "model": model.name,
        "fingerprint": model.fingerprint(),
        "config": json.dumps(model.config.to_dict()),
        "dtype": str(model.dtype),
        "masking": model.masking,
        "inputs": inputs.digest(),
    }


def write_trace(path: str | Path, recorded: Trace) -> None:
    """Write a trace as safetensors, whole or not at all.

    The order of the stages stands in the metadata under ``order``; the arguments of the run stand beside them as ``inputs.input_values`` and
    so on, so that whoever has the file and the model can repeat it.  The same trace gives the same bytes.
    """
    given = {} if recorded.inputs is None else {INPUT + name: value for name, value in recorded.inputs.given().items()}
    meta = {**recorded.metadata, "order": json.dumps(list(recorded))}
    from safetensors import SafetensorError

    # SafetensorError: a full disk
    with whole_file(Path(path), TraceError) as scratch, naming(path, TraceError, "could not be written", (SafetensorError,)):
        write_tensors(scratch, {**recorded} | given, meta)
