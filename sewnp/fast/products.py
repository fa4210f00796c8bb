"""Products of frames with weights, ``x @ weight.T``, in two ways.

OpenBLAS copies both operands of a product into an order of its own before it multiplies.  For a second or two of sound, 25 to 50 frames
against a million weights, that takes as long as the product.  Its kernels for AVX-512 leave it out where rows x columns x inputs are a
million at most.  So for these kernels weights are laid out once in blocks of some 32 columns, and one call of ``np.matmul`` multiplies
each chunk of frames with each block: many small products, none of which is copied.  With other kernels small products gain nothing, and
the weights stay as they are stored.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from sewnp.errors import ConfigError, brief
from sewnp.fast.crew import blas
from sewnp.fast.workspace import Workspace
from sewnp.types import Array

Layout: TypeAlias = Literal["blocks", "plain"]
"""How weights lie in memory."""

LAYOUTS: tuple[Layout, ...] = ("blocks", "plain")

WITHOUT_COPIES = ("skylakex", "cooperlake", "sapphirerapids")
"""What OpenBLAS calls its AVX-512 kernels, in lower case."""

_LARGEST = 1_000_000
"""Rows x columns x inputs of a product that these do not copy."""
_INPUTS = 512
"""Inputs of such a product at most, so that some sixty rows fit in."""
_WIDTHS = (32, 40, 48, 24, 16)
"""Columns of a block, the quickest first."""


_ALL = slice(None)


@dataclass(frozen=True)
class Plain:
    """A weight as stored, to be multiplied with frames."""

    stored: Array
    """(N, K)"""
    step: int = 1
    """Columns of the result are asked for from one multiple of it to another."""

    def multiply(self, x: Array, out: Array, scratch: Workspace, rank: int, *, columns: slice = _ALL, inputs: slice = _ALL) -> None:
        """x (M, K), or of some inputs alone, -> out (M, N), or some columns alone."""
        np.matmul(x, self.stored[columns, inputs].T, out=out)

    @property
    def size(self) -> int:
        """N K."""
        return self.stored.size

    def weight(self) -> Array:
        """(N, K), as it was given."""
        return self.stored


@dataclass(frozen=True)
class Blocks:
    """The same in blocks of columns, each (K, step)."""

    blocks: Array
    """(N / step, K, step)"""

    @property
    def step(self) -> int:
        """As :class:`Plain`."""
        return int(self.blocks.shape[2])

    def multiply(self, x: Array, out: Array, scratch: Workspace, rank: int, *, columns: slice = _ALL, inputs: slice = _ALL) -> None:
        """As :class:`Plain`."""
        if not (x.size and out.size):  # a thread that has no part
            out[:] = 0
            return
        step = self.step
        if columns != _ALL:
            columns = slice(columns.start // step, columns.stop // step)
        blocks = self.blocks[columns, inputs]
        parts = -(-x.shape[1] // _INPUTS)
        for part in range(parts):
            some = slice(x.shape[1] * part // parts, x.shape[1] * (part + 1) // parts)
            if part == 0:
                _multiply(x[:, some], blocks[:, some], out)
            else:
                rest = scratch.take("product", out.shape, rank)
                _multiply(x[:, some], blocks[:, some], rest)
                out += rest

    @property
    def size(self) -> int:
        """As :class:`Plain`."""
        return self.blocks.size

    def weight(self) -> Array:
        """As :class:`Plain`."""
        return self.blocks.swapaxes(1, 2).reshape(-1, self.blocks.shape[1])


Matrix: TypeAlias = Plain | Blocks


def _multiply(x: Array, blocks: Array, out: Array) -> None:
    """x (M, K), blocks (n, K, w) -> out (M, n w), in chunks of rows as long as each other and a shorter rest."""
    (rows, inputs), (count, _, width) = x.shape, blocks.shape
    chunks = -(-rows // max(1, _LARGEST // (inputs * width)))
    rows_each = -(-rows // chunks)
    even = rows // rows_each * rows_each
    if even:
        chunked = out[:even].reshape(-1, rows_each, count, width).swapaxes(1, 2)
        np.matmul(x[:even].reshape(-1, 1, rows_each, inputs), blocks, out=chunked)
    if even < rows:
        np.matmul(x[even:], blocks, out=out[even:].reshape(-1, count, width).swapaxes(0, 1))


def lay_out(weight: Array, layout: Layout, *, unit: int | None = None) -> Matrix:
    """A weight (N, K) in a layout.  unit: columns that stay together are a multiple of it.

    Blocks need a width that divides them; where there is none, the weight stays as it is.
    """
    columns, inputs = weight.shape
    width = next((width for width in _WIDTHS if (unit or columns) % width == 0), None)
    if layout == "plain" or width is None:
        return Plain(weight)
    return Blocks(np.ascontiguousarray(weight.reshape(-1, width, inputs).swapaxes(1, 2)))


def chosen_layout() -> Layout:
    """SEWNP_PRODUCTS; or blocks, if all of the process's BLAS is OpenBLAS with kernels that do not copy.  Never by timing: the same machine
    computes the same bits.  Raises ConfigError for another layout than :data:`LAYOUTS`."""
    said = os.environ.get("SEWNP_PRODUCTS")
    if said is not None:
        for layout in LAYOUTS:
            if said == layout:
                return layout
        raise ConfigError(f"SEWNP_PRODUCTS: expected one of {', '.join(LAYOUTS)}, found {brief(said)}")
    return "blocks" if all(kernel.casefold() in WITHOUT_COPIES for kernel in kernels()) else "plain"


def kernels() -> tuple[str, ...]:
    """What the BLAS libraries of this process compute with, as threadpoolctl names it."""
    return tuple(_kernels()) or ("unknown",)


def _kernels() -> Iterator[str]:
    for library in blas().lib_controllers:
        if library.user_api == "blas":
            yield getattr(library, "architecture", None) or library.internal_api
