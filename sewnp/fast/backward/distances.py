"""SEW-D's table of relative positions, there and back: only the rows that a clip of its length reads are normalised and projected.

Lined up by distance, rows that several distances share stand next to each other, so that what comes back to them is summed run by run.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sewnp.config import SEWDConfig
from sewnp.fast.backward.elementwise import layer_norm_vjp, summed
from sewnp.fast.transformer import table_rows
from sewnp.types import Array, Weights


@dataclass(frozen=True)
class ClipTable:
    """The rows of the table that a clip reads."""

    config: SEWDConfig
    whole: Array
    """The table as stored."""
    part: slice
    """The rows that are read."""
    embeddings: Array
    """(R, H): those rows, normalised if the model does so."""
    lines: tuple[Array, Array]
    """For distances N - 1 down to 1 - N the row of these, (2 N - 1,): as c2p counts them, and as p2c does."""
    pullback: Callable[[Array], dict[str, Array]]
    """dembeddings -> the gradients of the whole table and of its norm, by name in ``encoder.encoder``."""


def clip_table_vjp(p: Weights, config: SEWDConfig, frames: int) -> ClipTable | None:
    """What a clip of so many squeezed frames reads of the table.  p: ``encoder.encoder``.  None where there is no table."""
    if not config.relative_attention:
        return None
    table: Array = p["rel_embeddings"]["weight"]
    lines = table_rows(frames, config) or (np.zeros(0, int), np.zeros(0, int))  # no term that reads it
    first, last = min(np.min(line, initial=len(table)) for line in lines), max(np.max(line, initial=-1) for line in lines)
    part = slice(int(first), int(last) + 1)
    embeddings, norm_back = table[part], None
    if config.normalizes_positions:
        x, embeddings = embeddings, np.empty_like(embeddings)
        norm_back = layer_norm_vjp(x, **p["LayerNorm"], eps=config.layer_norm_eps, normalised=np.empty_like(x), out=embeddings)

    def pullback(dembeddings: Array) -> dict[str, Array]:
        grads, dtable = {}, np.zeros_like(table)
        if norm_back is not None:
            dembeddings, grads["LayerNorm.weight"], grads["LayerNorm.bias"] = norm_back(dembeddings)
        dtable[part] = dembeddings
        return grads | {"rel_embeddings.weight": dtable}

    return ClipTable(config, table, part, embeddings, (lines[0] - first, lines[1] - first), pullback)


def lined_up_vjp(
    embeddings: Array, weight: Array, bias: Array, line: Array, *, scale: float
) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
    """Embeddings (R, H) projected, divided by the scale and lined up by distance, (2 N - 1, H); and the gradients of the first three."""
    factor = np.float32(1 / scale)
    projected = embeddings @ weight.T
    projected += bias
    projected *= factor

    def pullback(dlined: Array) -> tuple[Array, Array, Array]:
        starts = np.flatnonzero(np.diff(line, prepend=-1))
        dprojected = np.zeros_like(projected)
        dprojected[line[starts]] = np.add.reduceat(dlined, starts, axis=0)
        dprojected *= factor
        return dprojected @ weight, dprojected.T @ embeddings, summed(dprojected)

    return projected[line], pullback
