"""The tensors of a checkpoint folder: in safetensors files, or where there are none in torch's; in one file, or in shards with an index."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sewnp.checkpoints.files import read_json
from sewnp.checkpoints.pickles import open_pickle
from sewnp.errors import CheckpointError
from sewnp.types import Array

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
TORCH_SINGLE = "pytorch_model.bin"
TORCH_INDEX = "pytorch_model.bin.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class TensorFile:
    """An open file of tensors: what it holds is known, nothing is in memory yet."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    """As safetensors spells them: F32, BF16, I64 ..."""
    metadata: Mapping[str, str]
    reader: Callable[[str], Array]
    """What reads one tensor of this format."""

    def read(self, key: str) -> Array:
        """One tensor as it is stored; bfloat16 as float32, which holds it exactly."""
        return self.reader(key)


def open_file(path: Path) -> TensorFile:
    """Open one safetensors file.  Raises CheckpointError, naming it, when it is missing or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (it has no __iter__)
            shapes = {key: tuple(part.get_shape()) for key, part in slices.items()}
            dtypes = {key: part.get_dtype() for key, part in slices.items()}
            return TensorFile(path, shapes, dtypes, file.metadata() or {}, partial(_read, path, shapes, dtypes))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error


def open_torch_file(path: Path) -> TensorFile:
    """Open one file that ``torch.save`` wrote, without torch and without running anything of it.  Raises CheckpointError, naming it."""
    held = open_pickle(path)
    return TensorFile(path, held.shapes, held.dtypes, {}, held.read)


def open_tensors(folder: Path) -> dict[str, TensorFile]:
    """Which file holds which tensor of a checkpoint folder.  Raises CheckpointError for files that are missing, damaged or no floats."""
    found: dict[str, TensorFile] = {}
    for file in _open_all(folder):
        for key, dtype in file.dtypes.items():
            if dtype not in FLOATS:
                raise CheckpointError(f"{file.path}: {key}: expected a dtype of {', '.join(FLOATS)}, found {dtype}")
            if key in found:
                raise CheckpointError(f"{file.path}: {key}: also in {found[key].path.name}; expected each tensor in one file")
            found[key] = file
    return found


def _read(path: Path, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str], key: str) -> Array:
    if dtypes[key] != "BF16":
        with safe_open(path, framework="numpy") as file:
            return np.asarray(file.get_tensor(key))
    # NumPy has no bfloat16, so safetensors cannot hand it over; it is the upper half of a float32, at the place the header names
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
        begin, end = json.loads(file.read(header))[key]["data_offsets"]
        file.seek(8 + header + begin)
        upper = np.frombuffer(file.read(end - begin), dtype="<u2")
    return (upper.astype(np.uint32) << 16).view(np.float32).reshape(shapes[key])


def _open_all(folder: Path) -> list[TensorFile]:
    """The folder's files of tensors, safetensors before torch's own, as transformers chooses."""
    for single, index, opened in ((SINGLE, INDEX, open_file), (TORCH_SINGLE, TORCH_INDEX, open_torch_file)):
        if (folder / single).is_file():
            return [opened(folder / single)]
        if (folder / index).is_file():
            return [opened(folder / name) for name in _shards(folder / index)]
    others = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".h5", ".msgpack"))
    found = f"; found {', '.join(others)}, which sewnp does not load" if others else ""
    hint = " (an original checkpoint of fairseq: see sewnp convert)" if any(name.endswith(".pt") for name in others) else ""
    raise CheckpointError(f"{folder}: expected {SINGLE}, {INDEX}, {TORCH_SINGLE} or {TORCH_INDEX}{found}{hint}")


def _shards(index: Path) -> list[str]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(f"{index}: expected a weight_map from tensor names to file names")
    names = sorted(set(weight_map.values()))
    for name in names:
        if Path(name).name != name or "\0" in name:
            raise CheckpointError(f"{index}: expected plain file names in this folder, found {name!r}")
    return names


def write_tensors(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file whose bytes depend on nothing but its content.

    The library writes the metadata in an order that changes from run to run, so the header is put in order behind it.
    """
    save_file({name: np.asarray(x, order="C") for name, x in tensors.items()}, path, metadata=dict(metadata) if metadata else None)
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(size))  # as long as before, because it says the same
