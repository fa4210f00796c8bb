"""Whatever can be read, read as what a folder of transformers holds, in the precision in which it is stored."""

import os
from pathlib import Path

import numpy as np

from sewnp.checkpoints.fairseq import read_fairseq
from sewnp.checkpoints.folder import Checkpoint, read_checkpoint, read_config
from sewnp.checkpoints.hub import fetch, split_id
from sewnp.checkpoints.tensors import open_tensors
from sewnp.errors import CheckpointError
from sewnp.files import AnyPath, is_folder, is_there, path_name


def read_any(source: Path, *, dictionary: AnyPath | None = None, config: AnyPath | None = None) -> Checkpoint:
    """A checkpoint folder, a model of the hub, or an original ``.pt`` of fairseq, whose dictionary and configuration may be given.

    The weights are in one dtype, which holds every stored one exactly: float16 where all are, float64 where any is, else float32.
    Raises CheckpointError and ConfigError, naming what is wrong.
    """
    found = None if is_there(source, CheckpointError) else split_id(str(source))
    if found is not None:
        source = fetch(*found)
    if is_folder(source, CheckpointError):
        if dictionary is not None or config is not None:
            raise CheckpointError(
                f"{path_name(source)}: a folder has its own vocabulary and configuration; expected no --dict and no --config"
            )
        stored = {file.dtypes[key] for key, file in open_tensors(source).items()}
        return read_checkpoint(
            source, dtype=_common({{"F16": "float16", "F64": "float64"}.get(kind, "float32") for kind in stored})
        )
    if not os.path.isfile(source):
        raise CheckpointError(f"{path_name(source)}: no such file or folder, and no hub id (name/name)")
    given = None if config is None else read_config(config)
    checkpoint = read_fairseq(source, dictionary=None if dictionary is None else Path(dictionary), config=given)
    dtype = _common({str(x.dtype) for x in checkpoint.weights.values()})
    for key, x in checkpoint.weights.items():
        checkpoint.weights[key] = x.astype(dtype, copy=False)
    return checkpoint


def _common(dtypes: set[str]) -> str:
    """The smallest dtype that holds all of them."""
    return str(np.result_type(*map(np.dtype, dtypes))) if dtypes else "float32"
