"""A checkpoint folder as ``save_pretrained`` of transformers writes it, read whole and written whole."""

import math
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sewnp.checkpoints.names import modern
from sewnp.checkpoints.stored import TensorFile
from sewnp.checkpoints.tensors import INDEX, SINGLE, TORCH_INDEX, open_tensors
from sewnp.config import Config, config_from_dict
from sewnp.errors import CheckpointError, ConfigError, printable
from sewnp.files import WRITING, AnyPath, is_folder, is_there, naming, path_name, read_json, whole_folder, write_json
from sewnp.initialization import fill
from sewnp.parameters import Head, Shapes, head_shapes, is_optional, parameter_count, parameter_shapes
from sewnp.types import Array, DTypeLike

ARCHITECTURES = {
    ("sew", None): "SEWModel",
    ("sew", "ctc"): "SEWForCTC",
    ("sew", "classification"): "SEWForSequenceClassification",
    ("sew-d", None): "SEWDModel",
    ("sew-d", "ctc"): "SEWDForCTC",
    ("sew-d", "classification"): "SEWDForSequenceClassification",
}


_JSONS = {
    "config.json", "preprocessor_config.json", "processor_config.json", "vocab.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", INDEX, TORCH_INDEX,
}  # fmt: skip

_HEAD_NAMES = {"lm_head", "layer_weights", "projector", "classifier"}

_MORE_LAYERS = 1000
"""So many layers may be missing and are still listed by name.  Each has a dozen tensors, which cost memory to name however small they are."""

_MOST_LINES = 200
"""Of one error."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds.  The parsed JSON files are None where the folder has none."""

    config: Config
    head: Head | None
    weights: dict[str, Array]
    preprocessor: dict[str, Any] | None = None
    vocab: dict[str, Any] | None = None
    tokenizer: dict[str, Any] | None = None
    special_tokens: dict[str, Any] | None = None
    added_tokens: dict[str, Any] | None = None


def read_config(path: AnyPath) -> Config:
    """The configuration in a config.json.  Raises CheckpointError and ConfigError, naming the file."""
    try:
        return config_from_dict(read_json(path))
    except ConfigError as error:
        raise ConfigError(f"{path_name(path)}: {error}") from None


def read_checkpoint(
    folder: Path, *, head: Head | Literal["auto"] | None = "auto", fresh_head_seed: int | None = None, dtype: DTypeLike = np.float32
) -> Checkpoint:
    """Read a folder.  head: which head to load, None for the base model, "auto" for whatever the folder holds.

    Base and head checkpoints load into each other.  A head that the folder does not hold is an error, unless ``fresh_head_seed`` asks
    for one with fresh weights.  ``masked_spec_embed`` alone may be missing, and is not made up: without it the model masks nothing, and is
    written as it was read.  Raises CheckpointError with every missing, unexpected and wrongly shaped tensor at once, before any is read.
    """
    with naming(folder, CheckpointError):  # a folder or a parent of it that may not be looked into
        return _read(folder, head, fresh_head_seed, dtype)


def _read(folder: Path, head: Head | Literal["auto"] | None, fresh_head_seed: int | None, dtype: DTypeLike) -> Checkpoint:
    if not folder.is_dir():
        raise CheckpointError(f"{path_name(folder)}: no such folder")
    config = read_config(folder / "config.json")
    files = open_tensors(folder)
    keys: dict[str, str] = {}
    prefixed = any(key.startswith(f"{config.prefix}.") for key in files)
    for key in files:
        # a file that SEWModel wrote has no family prefix at all
        keys.setdefault(modern(key if prefixed else f"{config.prefix}.{key}"), key)
    chosen = _held_head(keys) if head == "auto" else head
    fresh = head_shapes(config, chosen) if fresh_head_seed is not None else {}
    wanted = {key: shape for key, shape in _wanted(config, chosen, files, folder).items() if key in keys or not is_optional(key)}
    own = {} if fresh else head_shapes(config, chosen)
    foreign = _HEAD_NAMES - {_head_name(key) for key in own}
    if chosen == "classification" and not fresh:
        foreign -= {"layer_weights"}  # of this head, even where the configuration does not use them
    _check(keys, files, {key: shape for key, shape in wanted.items() if key not in fresh}, foreign, folder)
    weights = fill(fresh, config, seed=fresh_head_seed, dtype=dtype) if fresh_head_seed is not None else {}
    stored = [key for key in wanted if key not in fresh]
    with ThreadPoolExecutor() as pool:  # fresh memory is what takes the time, and two processors get it twice as fast
        weights |= zip(stored, pool.map(lambda key: _cast(files[keys[key]], keys[key], dtype), stored), strict=True)
    extractor = (_optional(folder / "processor_config.json") or {}).get("feature_extractor")
    if not isinstance(extractor, dict | None):
        raise CheckpointError(
            f"{path_name(folder / 'processor_config.json')}: feature_extractor: expected an object, found {type(extractor).__name__}"
        )
    return Checkpoint(
        config=config,
        head=chosen,
        weights={key: weights[key] for key in wanted},
        # where both are there, transformers reads the processor's
        preprocessor=extractor or _optional(folder / "preprocessor_config.json"),
        vocab=_optional(folder / "vocab.json"),
        tokenizer=_optional(folder / "tokenizer_config.json"),
        special_tokens=_optional(folder / "special_tokens_map.json"),
        added_tokens=_optional(folder / "added_tokens.json"),
    )


def held_files(folder: AnyPath) -> list[str]:
    """The files of a folder that a checkpoint in it may be read from, tensors and what is beside them; none where it is no folder."""
    with naming(folder, CheckpointError):
        names = sorted(os.listdir(folder)) if is_folder(folder, CheckpointError) else []
    return [os.path.join(folder, name) for name in names if name in _JSONS or name.endswith((".safetensors", ".bin"))]


def replaced_files(folder: AnyPath) -> list[str]:
    """Those of them that :func:`write_checkpoint` replaces or removes."""
    return [path for path in held_files(folder) if os.path.basename(path) in {SINGLE, *_JSONS} - {TORCH_INDEX}]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a folder that ``from_pretrained`` of transformers loads.  Existing files of the same names are replaced; all appear, or none."""
    # a null character, a link to itself
    with naming(folder, CheckpointError, WRITING, (OSError, ValueError, RuntimeError)):
        folder.resolve()
    if is_there(folder, CheckpointError, WRITING) and not folder.is_dir():
        raise CheckpointError(f"{path_name(folder)}: expected a folder, found a file")
    dtype = str(next(iter(checkpoint.weights.values())).dtype)
    config = checkpoint.config.to_dict()
    config |= {"architectures": [ARCHITECTURES[checkpoint.config.model_type, checkpoint.head]], "dtype": dtype}
    config.pop("torch_dtype", None)  # the old name of dtype
    jsons = {
        "config.json": config,
        "preprocessor_config.json": checkpoint.preprocessor,
        "vocab.json": checkpoint.vocab,
        "tokenizer_config.json": checkpoint.tokenizer,
    }
    prefix = f"{checkpoint.config.prefix}." if checkpoint.head is None else None
    tensors = {key.removeprefix(prefix or ""): np.ascontiguousarray(value) for key, value in checkpoint.weights.items()}
    # what an earlier checkpoint left there would no longer be true
    absent = [name for name, values in jsons.items() if values is None]
    gone = (INDEX, "processor_config.json", "special_tokens_map.json", "added_tokens.json", *absent)
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    # SafetensorError: a full disk
    with naming(folder, CheckpointError, WRITING, (OSError, SafetensorError)), whole_folder(folder, gone=gone) as scratch:
        for name, values in jsons.items():
            if values is not None:
                write_json(scratch / name, values)
        save_file(tensors, scratch / SINGLE, metadata={"format": "pt"})
        (scratch / SINGLE).chmod((scratch / "config.json").stat().st_mode)  # safetensors lets nobody but the owner read it


def _cast(file: TensorFile, key: str, dtype: DTypeLike) -> Array:
    """A tensor in the model's dtype.  NaN and infinity are read as they are; a number that would become infinite is refused."""
    x = file.read(key)
    with np.errstate(over="ignore", invalid="ignore"):  # the latter for NaN that signal
        y = x.astype(dtype, copy=False)
    if y.itemsize < x.itemsize and not np.array_equal(np.isfinite(x), np.isfinite(y)):
        raise CheckpointError(
            f"{path_name(file.path)}: {printable(key)}: holds numbers too large for {y.dtype}; load with dtype='{x.dtype}'"
        )
    return y


def _held_head(keys: Iterable[str]) -> Head | None:
    names = {key.split(".")[0] for key in keys}
    return "ctc" if "lm_head" in names else "classification" if names & {"projector", "classifier"} else None


def _wanted(config: Config, head: Head | None, files: Mapping[str, TensorFile], folder: Path) -> Shapes:
    """The shapes the configuration asks for.  An absurd count of parameters is refused before it is spelled out."""
    held = sum(math.prod(file.shapes[key]) for key, file in files.items())
    count = parameter_count(config, head)
    if count > 2 * held + 10**8:  # a fresh head may be larger than what is there, but not by this
        raise CheckpointError(f"{path_name(folder)}: config.json describes {count:,} parameters, the tensor files hold {held:,}")
    if config.num_hidden_layers > len(files) + _MORE_LAYERS:
        raise CheckpointError(
            f"{path_name(folder)}: config.json describes {config.num_hidden_layers:,} layers, the tensor files hold {len(files):,} tensors"
        )
    return parameter_shapes(config, head)


def _check(keys: Mapping[str, str], files: Mapping[str, TensorFile], wanted: Shapes, foreign: set[str], folder: Path) -> None:
    """Every tensor that is missing, unexpected or of the wrong shape, in one error that spells keys as the file does.

    foreign: names of heads that are not being loaded, whose tensors may stay where they are.
    """
    missing = [f"{key}: missing" for key in wanted if key not in keys]
    wrong, unexpected = [], []
    for key, spelled in keys.items():
        file = files[spelled]
        if key not in wanted and _head_name(key) not in foreign:
            unexpected.append(f"{printable(spelled)}: unexpected, in {file.path.name}")
        if key in wanted and file.shapes[spelled] != wanted[key]:
            wrong.append(f"{printable(spelled)}: expected shape {wanted[key]}, found {file.shapes[spelled]} in {file.path.name}")
    for spelled in sorted(files.keys() - set(keys.values())):
        unexpected.append(f"{printable(spelled)}: unexpected beside its other spelling, in {files[spelled].path.name}")
    if missing or wrong or unexpected:
        only_head = not (wrong or unexpected) and all(_head_name(line.removesuffix(": missing")) in _HEAD_NAMES for line in missing)
        hint = "\n  (the head is not in these files; fresh_head_seed=0 starts one with fresh weights)" if only_head else ""
        raise CheckpointError(f"{path_name(folder)}: tensors do not fit config.json:{listed(missing + wrong + unexpected)}{hint}")


def listed(problems: list[str]) -> str:
    """Problems as the lines of one error."""
    more = len(problems) - _MOST_LINES
    return "".join(f"\n  {line}" for line in problems[:_MOST_LINES] + [f"and {more:,} more"] * (more > 0))


def _head_name(key: str) -> str:
    return key.split(".")[0]


def _optional(path: Path) -> dict[str, Any] | None:
    return read_json(path) if is_there(path, CheckpointError) else None
