"""Greedy CTC decoding: the likeliest token at each frame, repeats merged, blanks dropped.

The order matters.  Merging first keeps "A _ A" two letters and makes "A A" one; dropping blanks first would merge both.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sewnp.ctc.lattice import check_blank, check_lengths
from sewnp.errors import check_shape
from sewnp.types import Array


class Run(NamedTuple):
    """A token held over the frames ``start`` to ``end``, the end not included."""

    token: int
    start: int
    end: int


def greedy_path(logits: Array) -> Array:
    """The likeliest token at each frame.  (B, T, V) -> (B, T).  Of equals the lowest id; NaN counts as the largest, as in torch."""
    return np.asarray(logits.argmax(axis=-1))


def runs(ids: npt.ArrayLike) -> list[Run]:
    """The maximal runs of equal ids along one path, (T,), in order: they meet end to start, and cover it from 0 to T, blanks too.

    Raises InputError for anything but one dimension.
    """
    path = np.asarray(ids)
    check_shape("ids", path, (None,))
    changes = np.flatnonzero(path[1:] != path[:-1]) + 1
    bounds = [0, *changes.tolist(), len(path)] if len(path) else []
    return [Run(int(path[start]), start, end) for start, end in pairwise(bounds)]


def collapse(ids: npt.ArrayLike, *, blank: int) -> list[int]:
    """What a path, (T,), spells: its repeats merged, then its blanks dropped (the map B of Graves et al. 2006, section 3.1)."""
    return [run.token for run in runs(ids) if run.token != blank]


def greedy_decode(logits: Array, lengths: npt.ArrayLike | None = None, *, blank: int) -> list[list[Run]]:
    """The runs of each sample's greedy path, without the blank's.  (B, T, V) -> B lists; starts and ends count frames.

    ``lengths`` (B,) says how many frames of each sample are read, all of them by default.  Raises InputError for logits that are
    not (B, T, V), a blank that is not one of the V tokens, and lengths that are not B integers from 0 to T.
    """
    check_shape("logits", logits, (None, None, None))
    batch, last_frame, vocab_size = logits.shape
    check_blank(blank, vocab_size)
    frames = check_lengths("lengths", np.full(batch, last_frame) if lengths is None else lengths, batch, last_frame)
    return [
        [run for run in runs(path[:length]) if run.token != blank] for path, length in zip(greedy_path(logits), frames, strict=True)
    ]
