"""All that a run has to remember, in one file that is replaced whole: who is killed at any moment goes on from the last one, bit for bit."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sewnp.checkpoints import open_file, write_tensors
from sewnp.errors import CheckpointError, TrainingError
from sewnp.files import WRITING, naming, parse_json, whole_file
from sewnp.training.optimizer import Flat, Moments


@dataclass(frozen=True)
class State:
    """A run between two steps."""

    weights: Flat
    moments: Moments = field(default_factory=Moments)
    average: Flat | None = None
    step: int = 0
    """How many steps are done."""
    epoch: int = 0
    epoch_start: int = 0
    """The step that the epoch began with."""
    skipped: int = 0
    """Steps that were not taken because a loss or a gradient was not finite."""
    best: tuple[float, float] | None = None
    """The best validation so far: word and character error rate; or the share of wrong labels, and 0."""
    seconds: float = 0.0
    """Of work so far."""

    @property
    def shown(self) -> Flat:
        """The weights that are validated and saved: the average where there is one."""
        return self.weights if self.average is None else self.average


_COUNTERS = ("step", "epoch", "epoch_start", "skipped", "best", "seconds")


def write_state(path: Path, state: State, about: dict[str, Any]) -> None:
    """Replace the file by this state.  about: what the run is, ready for JSON.  Raises TrainingError, and leaves the file as it was, where it
    cannot be written."""
    groups = {
        "weights": state.weights,
        "first": state.moments.first,
        "second": state.moments.second,
        "average": state.average or {},
    }
    tensors = {f"{group}/{key}": value for group, values in groups.items() for key, value in values.items()}
    tensors |= {f"counts/{key}": np.array(count) for key, count in state.moments.counts.items()}
    counters = {name: getattr(state, name) for name in _COUNTERS}
    metadata = {"state": json.dumps(counters), "about": json.dumps(about)}
    from safetensors import SafetensorError

    with (
        naming(path, TrainingError, WRITING, (OSError, SafetensorError)),
        whole_file(path, TrainingError) as scratch,
    ):
        write_tensors(scratch, tensors, metadata)


def read_state(path: Path) -> tuple[State, dict[str, Any]]:
    """What :func:`write_state` wrote: a state, and what it belongs to.  Raises TrainingError for a file that is none."""
    try:
        file = open_file(path)
        groups: dict[str, dict[str, Any]] = {name: {} for name in ("weights", "first", "second", "average", "counts")}
        for name in file.shapes:
            group, _, key = name.partition("/")
            groups[group][key] = file.read(name)
        counters, about = (parse_json(file.metadata[name]) for name in ("state", "about"))
    except (CheckpointError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: not a state of training: {error}") from error
    counts = {key: int(count) for key, count in groups["counts"].items()}
    state = State(groups["weights"], Moments(groups["first"], groups["second"], counts), groups["average"] or None)
    best = counters.pop("best")
    return replace(state, **counters, best=None if best is None else tuple(best)), about
