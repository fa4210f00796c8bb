"""Tensors in safetensors files: one file, or shards with an index."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from sewnp.checkpoints.files import read_json
from sewnp.errors import CheckpointError
from sewnp.types import Array

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class TensorFile:
    """An open safetensors file: what it holds is known, nothing is in memory yet."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    """As safetensors spells them: F32, BF16, I64 ..."""
    metadata: Mapping[str, str]

    def read(self, key: str) -> Array:
        """One tensor as it is stored; bfloat16 as float32, which holds it exactly."""
        if self.dtypes[key] == "BF16":
            return self._read_bfloat16(key)
        with safe_open(self.path, framework="numpy") as file:
            return np.asarray(file.get_tensor(key))

    def _read_bfloat16(self, key: str) -> Array:
        # NumPy has no bfloat16, so safetensors cannot hand it over; it is the upper half of a float32, at the place the header names
        with self.path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
            begin, end = json.loads(file.read(header))[key]["data_offsets"]
            file.seek(8 + header + begin)
            upper = np.frombuffer(file.read(end - begin), dtype="<u2")
        return (upper.astype(np.uint32) << 16).view(np.float32).reshape(self.shapes[key])


def open_file(path: Path) -> TensorFile:
    """Open one safetensors file.  Raises CheckpointError, naming it, when it is missing or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (it has no __iter__)
            shapes = {key: tuple(part.get_shape()) for key, part in slices.items()}
            dtypes = {key: part.get_dtype() for key, part in slices.items()}
            return TensorFile(path, shapes, dtypes, file.metadata() or {})
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error


def open_tensors(folder: Path) -> dict[str, TensorFile]:
    """Which file holds which tensor of a checkpoint folder.  Raises CheckpointError for files that are missing, damaged or no floats."""
    found: dict[str, TensorFile] = {}
    for file in [open_file(folder / name) for name in _file_names(folder)]:
        for key, dtype in file.dtypes.items():
            if dtype not in _FLOATS:
                raise CheckpointError(f"{file.path}: {key}: expected a dtype of {', '.join(_FLOATS)}, found {dtype}")
            if key in found:
                raise CheckpointError(f"{file.path}: {key}: also in {found[key].path.name}; expected each tensor in one file")
            found[key] = file
    return found


def _file_names(folder: Path) -> list[str]:
    if (folder / SINGLE).is_file():
        return [SINGLE]
    if (folder / INDEX).is_file():
        index = read_json(folder / INDEX).get("weight_map")
        if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
            raise CheckpointError(f"{folder / INDEX}: expected a weight_map from tensor names to file names")
        names = sorted(set(index.values()))
        for name in names:
            if Path(name).name != name:
                raise CheckpointError(f"{folder / INDEX}: expected plain file names in this folder, found {name!r}")
        return names
    others = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".h5", ".msgpack"))
    found = f"; found {', '.join(others)}, which sewnp does not read: convert the checkpoint to safetensors" if others else ""
    raise CheckpointError(f"{folder}: expected {SINGLE} or {INDEX}{found}")
