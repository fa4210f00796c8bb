"""Tensors in the files that ``torch.save`` writes (``pytorch_model.bin``), read without torch and without running anything.

Such a file is a zip archive: ``data.pkl`` says, as a pickle, which tensor is a view of which storage, and ``data/0``, ``data/1`` ... are
the storages' numbers.  The pickle is interpreted by :mod:`~sewnp.checkpoints.unpickler`; here are the few names that it may use, and what
the views have to satisfy before any memory is taken for them.
"""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sewnp.checkpoints.stored import DTYPES, MOST_DIMENSIONS, TensorFile
from sewnp.checkpoints.torch_zip import Archive, open_archive
from sewnp.checkpoints.unpickler import Malformed, Name, kind_of, ordered, unpickle
from sewnp.errors import CheckpointError, printable
from sewnp.files import check_regular, path_name
from sewnp.types import Array

LARGEST_PICKLE = 2**23
"""Bytes of data.pkl.  That of a published SEW has less than 200 kB; a pickle grows in memory, by 10 and more."""

_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
_TORCH_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")

_LONGEST_KEY = 100
"""torch counts its storages; a key of megabytes, used thousands of times, would be copied as often."""

_LARGEST_EXPANSION = 32
_SMALL = 2**26
"""Views may share numbers, so that all tensors together are larger than the file: a layer used 24 times, a row repeated.  So many times
the file, beyond the first 64 MiB, is plenty for that and not enough to fill a machine from a file that is small."""


@dataclass(frozen=True, eq=False, slots=True)
class Storage:
    """A run of numbers in the archive, as the pickle describes it."""

    record: str
    dtype: str
    count: int


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """A tensor: a window on a storage.  Offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def span(self) -> int:
        """How many numbers lie between its first and its last, both included."""
        return 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True)) if self.size else 0


def open_pickle(path: Path) -> TensorFile:
    """Open a file that holds a state dict and nothing else, without torch and without running anything of it.

    Raises CheckpointError, naming the file and what is wrong, when it is missing or damaged, asks for anything but tensors and plain
    containers, or holds anything but tensors.
    """
    content, archive = read_pickle(path)
    return tensors_of(path, archive, content)


def read_pickle(path: Path, *, placeholders: bool = False) -> tuple[Any, Archive]:
    """What data.pkl describes, Views in place of tensors, and the archive with their numbers.

    placeholders: keep what is foreign as Placeholders, which are never called.  Raises CheckpointError.
    """
    check_regular(path, CheckpointError)
    try:
        archive = open_archive(path)
        size = archive.records["data.pkl"].size
        if size > LARGEST_PICKLE:
            raise Malformed(f"its data.pkl has {size:,} bytes; expected at most {LARGEST_PICKLE:,}, forty times what weights need")
        order = (
            archive.read("byteorder", 0, min(16, archive.records["byteorder"].size))
            if "byteorder" in archive.records
            else b"little"
        )
        if order != b"little":
            raise Malformed(f"byteorder: expected little, found {printable(order.decode('latin-1'))}")
        return unpickle(archive.read("data.pkl"), _KNOWN, _storage, placeholders=placeholders), archive
    except (Malformed, OSError) as error:
        raise CheckpointError(f"{path_name(path)}: {error}") from error


def tensors_of(path: Path, archive: Archive, state: Any) -> TensorFile:
    """A state dict's tensors, every one of them checked against the archive.  Raises CheckpointError, naming the tensor."""
    if not isinstance(state, dict):
        raise CheckpointError(f"{path_name(path)}: expected a dict of tensors, found {kind_of(state)}")
    kinds: dict[str, tuple[str, int]] = {}
    held = sum(record.size for record in archive.records.values())
    total = 0
    for key, view in state.items():
        if not isinstance(key, str) or not isinstance(view, View):
            raise CheckpointError(
                f"{path_name(path)}: {printable(key) if isinstance(key, str) else kind_of(key)}: expected a tensor, found {kind_of(view)}"
            )
        try:
            _check_storage(view.storage, archive, kinds)
            _check_window(view)
            total += math.prod(max(n, 1) for n in view.shape) * DTYPES[view.storage.dtype].itemsize
            if total > _LARGEST_EXPANSION * held + _SMALL:
                raise Malformed(f"with it, tensors take {total:,} bytes, out of {held:,} in the file")
        except Malformed as error:
            raise CheckpointError(f"{path_name(path)}: {printable(key)}: {error}") from None
    shapes = {key: view.shape for key, view in state.items()}
    dtypes = {key: view.storage.dtype for key, view in state.items()}
    return TensorFile(path, shapes, dtypes, {}, partial(_read, path, archive, state))


def _read(path: Path, archive: Archive, views: dict[str, View], key: str) -> Array:
    view = views[key]
    dtype = DTYPES[view.storage.dtype]
    try:
        data = archive.read(view.storage.record, view.offset * dtype.itemsize, view.span * dtype.itemsize)
    except (Malformed, OSError) as error:
        raise CheckpointError(f"{path_name(path)}: {printable(key)}: {error}") from error
    # a stride that is never taken may be any number at all, and NumPy would multiply it
    strides = [stride * dtype.itemsize if n > 1 else 0 for n, stride in zip(view.shape, view.strides, strict=True)]
    x = np.ndarray(view.shape, dtype, data, strides=strides) if view.size else np.empty(view.shape, dtype)
    return np.array(x, order="C")


def _check_storage(storage: Storage, archive: Archive, kinds: dict[str, tuple[str, int]]) -> None:
    record = archive.records.get(storage.record)
    if record is None:
        raise Malformed(f"its numbers, {printable(storage.record)}, are not in the file")
    if storage.count * DTYPES[storage.dtype].itemsize != record.size:
        raise Malformed(f"its storage is said to hold {_huge(storage.count)} {storage.dtype}, and has {record.size:,} bytes")
    if kinds.setdefault(storage.record, (storage.dtype, storage.count)) != (storage.dtype, storage.count):
        raise Malformed(f"its storage is said to be {kinds[storage.record][0]} elsewhere, and {storage.dtype} here")


def _check_window(view: View) -> None:
    """A view has to stay within its storage."""
    for name, numbers in (("offset", (view.offset,)), ("shape", view.shape), ("strides", view.strides)):
        if min(numbers, default=0) < 0 or max(numbers, default=0) >= 2**63:
            raise Malformed(f"its {name} is not of numbers from 0 to 2**63: {', '.join(map(_huge, numbers))}")
    if view.offset + view.span > view.storage.count:
        raise Malformed(
            f"reaches from {view.offset:,} to {_huge(view.offset + view.span)} in a storage of {view.storage.count:,} numbers"
        )


def _huge(number: int) -> str:
    """A number for a message; Python itself refuses to spell very long ones."""
    return f"{number:,}" if abs(number) < 2**64 else f"a number of {number.bit_length()} bits"


def _whole(value: Any) -> bool:
    return type(value) is int  # True is no offset


def _storage(found: Any) -> Storage:
    """What a persistent id stands for: ("storage", torch.FloatStorage, "0", "cpu", count)."""
    if type(found) is tuple and len(found) == 5 and found[0] == "storage":
        _, kind, key, place, count = found
        named = isinstance(kind, Name) and kind.module == "torch" and kind.name in _STORAGES
        fit = isinstance(key, str) and len(key) <= _LONGEST_KEY and isinstance(place, str)
        if named and fit and _whole(count) and count >= 0:
            return Storage(f"data/{key}", _STORAGES[kind.name], count)
    raise Malformed("holds a persistent id that is not that of a storage: refused; nothing was executed")


def _tensor(arguments: tuple[Any, ...]) -> View:
    """torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks[, metadata])."""
    # metadata says that numbers are to be negated or conjugated; weights are neither
    if not 4 <= len(arguments) <= 7 or (len(arguments) == 7 and arguments[6]):
        raise Malformed("holds a tensor of an unknown form")
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage) or not _whole(offset) or type(shape) is not tuple or type(strides) is not tuple:
        raise Malformed("holds a tensor of an unknown form")
    if len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS:
        raise Malformed(f"holds a tensor of {len(shape)} dimensions and {len(strides)} strides; at most {MOST_DIMENSIONS} of each")
    if not all(map(_whole, shape + strides)):
        raise Malformed("holds a tensor of an unknown form")
    return View(storage, offset, shape, strides)


def _parameter(arguments: tuple[Any, ...]) -> View:
    """torch._utils._rebuild_parameter(tensor, requires_grad, hooks)."""
    if len(arguments) != 3 or not isinstance(arguments[0], View):
        raise Malformed("holds a parameter of an unknown form")
    return arguments[0]


def _size(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """torch.Size(numbers)."""
    if len(arguments) != 1 or type(arguments[0]) is not tuple:
        raise Malformed("holds a torch.Size of an unknown form")
    return arguments[0]


_KNOWN = {
    (name.module, name.name): name
    for name in [
        Name("collections", "OrderedDict", ordered),
        Name("torch._utils", "_rebuild_tensor", _tensor),
        Name("torch._utils", "_rebuild_tensor_v2", _tensor),
        Name("torch._utils", "_rebuild_parameter", _parameter),
        Name("torch", "Size", _size),
        *(Name("torch", kind) for kind in _STORAGES),
        *(Name("torch", dtype) for dtype in _TORCH_DTYPES),
    ]
}
