"""Stages in files: .safetensors, .npz, or a folder of .npy, read one at a time."""

import json
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sewnp.checkpoints import TensorFile, open_file
from sewnp.errors import CheckpointError, TraceError, printable
from sewnp.files import check_regular, is_folder, open_regular, path_name
from sewnp.types import Array

_SMALL = 2**28
_LARGEST_EXPANSION = 32
"""A stage may have so many bytes, or so many times those of its .npz file.  Numbers that a network has computed hardly pack at all."""

INPUT = "inputs."
"""Prefix of the arguments of the run, which are no stages."""


class Unread(Mapping[str, Array]):
    """Stages by name, each read when it is asked for, and not to learn whether it is there, as a Mapping by itself would."""

    @property
    @abstractmethod
    def known(self) -> Collection[str]:
        """Their names."""

    def __contains__(self, name: object) -> bool:
        return name in self.known

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)


@dataclass(frozen=True, eq=False)
class StageFile(Unread):
    """Stages by name, each read when it is asked for.  Made by :func:`open_stages`."""

    path: Path
    source: TensorFile | Mapping[str, Path] | None
    """The open safetensors file, the files of a folder, or nothing for .npz."""
    names: tuple[str, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Array:
        if name not in self.names:
            raise KeyError(name)
        return self.stored(name)

    @property
    def known(self) -> Collection[str]:
        """Their names."""
        return self.names

    def stored(self, name: str) -> Array:
        """An array by its name in the file, arguments included.  Raises TraceError when it is damaged or holds no numbers."""
        from safetensors import SafetensorError

        try:
            if isinstance(self.source, TensorFile):
                array = self.source.read(name)
            elif isinstance(self.source, Mapping):
                check_regular(self.source[name], TraceError)
                array = np.asarray(np.load(self.source[name], mmap_mode="r", allow_pickle=False))
            else:
                with _archive(self.path) as archive:
                    _check_unfolding(self.path, archive, name)
                    array = np.asarray(archive[name])
        except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError) as error:
            raise TraceError(f"{path_name(self.path)}: {printable(name)}: cannot be read: {error}") from error
        if array.dtype.kind not in "fiub":
            raise TraceError(
                f"{path_name(self.path)}: {printable(name)}: expected floats, integers or booleans, found {array.dtype}"
            )
        return array

    def arguments(self) -> dict[str, Array]:
        """The arguments of the run, where the file keeps them: ``input_values`` and so on."""
        stored = self.source.shapes if isinstance(self.source, TensorFile) else ()
        return {name.removeprefix(INPUT): self.stored(name) for name in stored if name.startswith(INPUT)}


def open_stages(path: str | Path) -> StageFile:
    """Open .safetensors, .npz or a folder of .npy.  Raises TraceError, naming the file, when it is missing, damaged or of another kind."""
    path = Path(path)
    if is_folder(path, TraceError):
        files = {file.stem: file for file in sorted(path.glob("*.npy"))}
        if not files:
            raise TraceError(f"{path_name(path)}: expected .npy files in this folder, found none")
        return StageFile(path, files, tuple(files))
    check_regular(path, TraceError)
    if path.suffix == ".npz":
        try:
            with _archive(path) as archive:
                return StageFile(path, None, tuple(archive.files))
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise TraceError(f"{path_name(path)}: not a readable .npz file: {error}") from error
    if path.suffix != ".safetensors":
        raise TraceError(
            f"{path_name(path)}: expected .safetensors, .npz or a folder of .npy, found {printable(path.suffix) if path.suffix else 'no suffix'}"
        )
    try:
        file = open_file(path)
    except CheckpointError as error:
        raise TraceError(str(error)) from error
    return StageFile(path, file, _order(file), file.metadata)


@contextmanager
def _archive(path: Path) -> Iterator[Any]:
    """An open .npz file.  The handle is ours, because np.load forgets to close that of a damaged one."""
    with open_regular(path, TraceError) as handle:
        loaded = np.load(handle, allow_pickle=False)
        if not hasattr(loaded, "files"):
            raise ValueError("a single array, not an archive of them")
        with loaded:
            yield loaded


def _check_unfolding(path: Path, archive: Any, name: str) -> None:
    """Zeros pack a thousandfold: a small file may be larger than this machine's memory once it is read."""
    size = sum(item.file_size for item in archive.zip.infolist() if item.filename in (name, f"{name}.npy"))
    if size > max(_SMALL, _LARGEST_EXPANSION * path.stat().st_size):
        raise ValueError(f"unfolds to {size:,} bytes, out of {path.stat().st_size:,}")


def _order(file: TensorFile) -> tuple[str, ...]:
    """Names of the stages in the order of computation, where the file tells it."""
    names = [name for name in file.shapes if not name.startswith(INPUT)]
    if "order" not in file.metadata:
        return tuple(names)
    try:
        order = json.loads(file.metadata["order"])
    except ValueError as error:
        raise TraceError(f"{path_name(file.path)}: metadata: order: not JSON: {error}") from error
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(names):
        raise TraceError(f"{path_name(file.path)}: metadata: order: expected the names of the stages in the file")
    return tuple(order)
