"""Tensors as they lie in a file, whatever its format."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sewnp.types import Array

FLOATS = ("F64", "F32", "F16", "BF16")

DTYPES = {
    kind: np.dtype(layout)
    for kind, layout in {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
                         "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "u1"}.items()
}  # fmt: skip
"""How each lies in the file, by the names that safetensors has for them.  NumPy has no bfloat16: it is the upper half of a float32."""

MOST_DIMENSIONS = 32
"""What NumPy 1 allows."""


def substitute(begin: bytes) -> str | None:
    """What a file is that stands in the place of tensors, by its first bytes: what a clone or a download leaves that has not gone well."""
    if begin.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer; the file that it stands for has not been downloaded (git lfs pull)"
    if begin.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "is a page of HTML, perhaps a server's answer; the file has not been downloaded"
    return None


@dataclass(frozen=True)
class TensorFile:
    """An open file of tensors: what it holds is known and has been checked, nothing is in memory yet."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    """As safetensors spells them: F32, BF16, I64 ..."""
    metadata: Mapping[str, str]
    reader: Callable[[str], Array]
    """What reads one tensor of this format, as it lies in the file."""

    def read(self, key: str) -> Array:
        """One tensor as it is stored; bfloat16 as float32, which holds it exactly."""
        x = self.reader(key)
        if self.dtypes[key] == "BF16":
            return np.asarray(x.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(x != 0) if self.dtypes[key] == "BOOL" else x.astype(x.dtype.newbyteorder("="), copy=False)
