"""Arrays as a page carries them: quantised, deflated, in base64, with all that is needed to read them back.

A packed array is an object of JSON: ``dtype``, ``shape``, ``offset``, ``scale``, ``power`` and ``data``, the base64 of the zlib stream of the
codes, little-endian and in C order.  A value is ``(offset + scale * code) ** power``.
"""

import base64
import zlib
from typing import Any, Literal, TypeAlias

import numpy as np

from sewnp.types import Array

Packed: TypeAlias = dict[str, Any]
"""An array as an object of JSON."""

Code: TypeAlias = Literal["uint8", "int8", "int16", "float32"]


def pack(x: Array, code: Code, *, power: int = 1) -> Packed:
    """An array of any shape, finite, as an object of JSON.

    uint8: 256 steps from the least value to the largest, none off by more than half a step; with ``power`` 2 steps of the square root, fine
    where values are small.  int8: 255 steps around 0, which keeps its place.  int16 and float32: the values as they are, where they fit.

    >>> pack(np.array([0.0, 1.0]), "uint8")["scale"] * 255
    1.0
    """
    x = np.asarray(x)
    offset, scale = 0.0, 1.0
    codes = x
    if code in ("uint8", "int8"):
        x = x.astype(np.float64) ** (1 / power)
        if code == "uint8":
            offset = float(x.min(initial=np.inf)) if x.size else 0.0
            scale = (float(x.max(initial=offset)) - offset) / 255 or 1.0
        else:
            scale = float(np.abs(x).max(initial=0.0)) / 127 or 1.0
        codes = np.rint((x - offset) / scale)
    stored = np.ascontiguousarray(codes, dtype=np.dtype(code).newbyteorder("<"))
    data = base64.b64encode(zlib.compress(stored.tobytes(), 9)).decode("ascii")
    return {"dtype": code, "shape": list(x.shape), "offset": offset, "scale": scale, "power": power, "data": data}


def unpack(packed: Packed) -> Array:
    """What :func:`pack` was given, as float64, but for the quantisation.

    >>> unpack(pack(np.array([[1, -2], [300, 4]]), "int16"))
    array([[   1.,   -2.],
           [ 300.,    4.]])
    """
    stored = zlib.decompress(base64.b64decode(packed["data"]))
    codes = np.frombuffer(stored, dtype=np.dtype(packed["dtype"]).newbyteorder("<")).astype(np.float64)
    values: Array = (packed["offset"] + packed["scale"] * codes) ** packed["power"]
    return values.reshape(packed["shape"])


def pool_columns(x: Array, most: int) -> tuple[Array, int]:
    """At most so many columns: of every few the value that is farthest from 0.  (C, T) -> (C, T'), how many columns each stands for.

    >>> pool_columns(np.array([[1.0, -3.0, 2.0]]), 2)
    (array([[-3.,  2.]]), 2)
    """
    step = max(1, -(-x.shape[1] // most))
    if step == 1:
        return x, 1
    starts = np.arange(0, x.shape[1], step)
    high, low = np.maximum.reduceat(x, starts, axis=1), np.minimum.reduceat(x, starts, axis=1)
    return np.where(high >= -low, high, low), step


def pool_square(x: Array, most: int, *, keys: Literal["sum", "mean"]) -> tuple[Array, int]:
    """At most so many queries and keys: queries averaged, keys averaged or summed, as shares of attention are.  (..., N, N) -> (..., M, M), step

    >>> pool_square(np.full((3, 3), 1 / 3), 2, keys="sum")[0].round(3)
    array([[0.667, 0.333],
           [0.667, 0.333]])
    """
    step = max(1, -(-x.shape[-1] // most))
    if step == 1:
        return x, 1
    starts = np.arange(0, x.shape[-1], step)
    sizes = np.diff([*starts, x.shape[-1]])
    pooled = np.add.reduceat(x, starts, axis=-1) / (1 if keys == "sum" else sizes)
    return np.add.reduceat(pooled, starts, axis=-2) / sizes[:, None], step
