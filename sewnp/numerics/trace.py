"""Recording every stage of a forward pass, and keeping it in a file."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from sewnp.checkpoints import write_tensors
from sewnp.errors import InputError, TraceError, printable
from sewnp.files import naming, whole_file
from sewnp.model import Model
from sewnp.networks.stages import STAGE_LIST_VERSION, stage_of
from sewnp.numerics.stage_files import INPUT
from sewnp.types import Array, See
from sewnp.version import __version__


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a forward pass is called with.  See ``Model.__call__``."""

    input_values: Array
    attention_mask: npt.ArrayLike | None = None
    labels: npt.ArrayLike | None = None
    mask_time_indices: npt.ArrayLike | None = None

    def arguments(self) -> dict[str, Any]:
        """As keyword arguments of a model."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def given(self) -> dict[str, Array]:
        """Those that were given, as arrays."""
        return {name: np.asarray(value) for name, value in self.arguments().items() if value is not None}

    def run(self, model: Model, see: See) -> None:
        """Call the model with them and show every stage to the observer: the one way in which traces, budgets and replays run a model."""
        model(**self.arguments(), see=see)

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
) -> Trace:
    """Run the model and record its stages.  Arguments as the model's; stages: names to keep, with * and ?, all by default.

    Raises InputError for a name that no stage has, and what the model raises.
    """
    inputs = Inputs(input_values, attention_mask, labels, mask_time_indices)
    recorder = Recorder(stages)
    inputs.run(model, recorder)
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
    # SafetensorError: a full disk
    with whole_file(Path(path), TraceError) as scratch, naming(path, TraceError, "could not be written", (SafetensorError,)):
        write_tensors(scratch, {**recorded} | given, meta)
