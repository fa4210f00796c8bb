"""The tensors of a checkpoint folder: in safetensors files, or where there are none in torch's; in one file, or in shards with an index."""

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from sewnp.checkpoints.pickles import open_pickle
from sewnp.checkpoints.stored import DTYPES, FLOATS, MOST_DIMENSIONS, TensorFile, substitute
from sewnp.errors import CheckpointError, brief, printable
from sewnp.files import check_regular, is_there, open_regular, parse_json, path_name, read_json
from sewnp.types import Array

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
TORCH_SINGLE = "pytorch_model.bin"
TORCH_INDEX = "pytorch_model.bin.index.json"

LARGEST_HEADER = 2**22
"""Bytes of a safetensors header.  That of a published SEW has less than 60 kB; in memory it grows by 10 and more."""

_CHANGES = (KeyError, TypeError, IndexError, AttributeError, RecursionError)
"""What parsing a header ends in that the safetensors library has just found in order: the file is being replaced as we read it."""


def open_file(path: Path) -> TensorFile:
    """Open one safetensors file.  Raises CheckpointError, naming it, when it is missing or damaged."""
    from safetensors import SafetensorError, safe_open  # here and below: `import sewnp` needs NumPy alone

    check_regular(path, CheckpointError)
    try:
        with path.open("rb") as raw:
            begin = raw.read(64)
        if (instead := substitute(begin)) is not None:
            raise CheckpointError(f"{path}: {instead}")
        size = int.from_bytes(begin[:8], "little")
        if size > LARGEST_HEADER:
            raise ValueError(f"its header claims {size:,} bytes; expected at most {LARGEST_HEADER:,}")
        with safe_open(path, framework="numpy") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (it has no __iter__)
            shapes = {key: tuple(part.get_shape()) for key, part in slices.items()}
            dtypes = {key: part.get_dtype() for key, part in slices.items()}
            metadata = file.metadata() or {}
        _check_shapes(shapes)
        return TensorFile(path, shapes, dtypes, metadata, partial(_read, path, shapes, dtypes, _places(path, size)))
    except (SafetensorError, OSError, ValueError, *_CHANGES) as error:
        cause = "\n".join(map(printable, str(error).split("\n")))
        raise CheckpointError(f"{path_name(path)}: not a readable safetensors file: {cause}") from error


def open_tensors(folder: Path) -> dict[str, TensorFile]:
    """Which file holds which tensor of a checkpoint folder.  Raises CheckpointError for files that are missing, damaged or no floats."""
    found: dict[str, TensorFile] = {}
    for file in _open_all(folder):
        for key, dtype in file.dtypes.items():
            if dtype not in FLOATS:
                raise CheckpointError(
                    f"{path_name(file.path)}: {printable(key)}: expected a dtype of {', '.join(FLOATS)}, found {dtype}"
                )
            if key in found:
                raise CheckpointError(
                    f"{path_name(file.path)}: {printable(key)}: also in {found[key].path.name}; expected each tensor in one file"
                )
            found[key] = file
    return found


def _check_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """safetensors has compared shapes and sizes; here is what it admits and NumPy does not."""
    for key, shape in shapes.items():
        if len(shape) > MOST_DIMENSIONS or math.prod(max(n, 1) for n in shape) >= 2**60:  # of 8 bytes each, at most
            raise ValueError(f"{printable(key)}: a shape that no array can have: {brief(shape)}")


def _places(path: Path, size: int) -> dict[str, int]:
    """Where each tensor's bytes begin.  Raises ValueError for a name that is there twice, which the safetensors library lets pass."""
    with path.open("rb") as file:
        file.seek(8)
        header = parse_json(file.read(size).decode("utf-8"))
    return {key: 8 + size + entry["data_offsets"][0] for key, entry in header.items() if key != "__metadata__"}


def _read(
    path: Path, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str], places: Mapping[str, int], key: str
) -> Array:
    """Read and not mapped into memory: a file that is cut meanwhile gives fewer bytes, where a mapped one would end the process."""
    kind, count = dtypes[key], math.prod(shapes[key])
    if kind not in DTYPES:
        raise CheckpointError(f"{path_name(path)}: {printable(key)}: expected a dtype of {', '.join(DTYPES)}, found {kind}")
    with open_regular(path, CheckpointError) as file:
        file.seek(places[key])
        x = np.fromfile(file, DTYPES[kind], count)
    if len(x) != count:
        raise CheckpointError(
            f"{path_name(path)}: {printable(key)}: expected {count:,} numbers, found {len(x):,}: the file is shorter than when it was opened"
        )
    return x.reshape(shapes[key])


def _open_all(folder: Path) -> list[TensorFile]:
    """The folder's files of tensors, safetensors before torch's own, as transformers chooses."""
    for single, index, opened in ((SINGLE, INDEX, open_file), (TORCH_SINGLE, TORCH_INDEX, open_pickle)):
        if is_there(folder / single, CheckpointError):
            return [opened(folder / single)]
        if is_there(folder / index, CheckpointError):
            return [opened(folder / name) for name in shards_of(folder / index)]
    others = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".h5", ".msgpack"))
    found = f"; found {', '.join(map(printable, others))}, which sewnp does not load" if others else ""
    hint = " (an original checkpoint of fairseq: see sewnp convert)" if any(name.endswith(".pt") for name in others) else ""
    raise CheckpointError(f"{path_name(folder)}: expected {SINGLE}, {INDEX}, {TORCH_SINGLE} or {TORCH_INDEX}{found}{hint}")


def shards_of(index: Path) -> list[str]:
    """The files that an index names, all of them beside it.  Raises CheckpointError."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(f"{path_name(index)}: expected a weight_map from tensor names to file names")
    names = sorted(set(weight_map.values()))
    for name in names:
        if Path(name).name != name or name in ("", "..") or len(name) > 255 or not name.isprintable():
            raise CheckpointError(f"{path_name(index)}: expected plain file names in this folder, found {brief(name)}")
    return names


def write_tensors(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file whose bytes depend on nothing but its content.

    The library writes the metadata in an order that changes from run to run, so the header is put in order behind it.
    """
    from safetensors.numpy import save_file

    save_file({name: np.asarray(x, order="C") for name, x in tensors.items()}, path, metadata=dict(metadata) if metadata else None)
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(size))  # as long as before, because it says the same
