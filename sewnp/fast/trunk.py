"""The packed twin of ``networks``: the same mathematics, fused, blocked and threaded, behind the same seam."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import numpy as np

from sewnp.config import Config
from sewnp.errors import ConfigError, check_whole
from sewnp.fast.clip import ClipRun, Packed
from sewnp.fast.convolutions import check_group_norm
from sewnp.fast.crew import LARGEST_CREW, Crew, Stop, limited
from sewnp.fast.products import Layout, chosen_layout
from sewnp.fast.workspace import Workspace
from sewnp.layers.masking import Masks
from sewnp.networks.moments import Moments, fold_norm
from sewnp.types import Array, Weights

TOGETHER = 800
"""Frames, 16 seconds of sound, of clips that share products: beyond, the products gain nothing, and what they leave no longer fits into a cache."""


ALONE = 50_000_000
"""Multiply-adds of a layer's weights below which a clip has one thread: two would lose more by handing over than they win.  (Measured: the embedded
models break even at some six seconds of sound, sew-tiny below one.)"""


class FastTrunk:
    """A base model of float32 weights, packed once and run by ``threads`` threads.  It computes and shows nothing: a ``Fast`` and a ``Parts``.

    Several threads may call one trunk at once: each call has a workspace of its own.  p: the base model's weights, without the family's
    prefix.  hand_over: let each layer of it give way to what is made of it.
    """

    def __init__(self, config: Config, p: Weights, *, threads: int, hand_over: bool = False) -> None:
        self._threads = check_whole("threads", threads, 1, LARGEST_CREW, error=ConfigError)
        self.layout: Layout = chosen_layout()
        """How its weights lie in memory."""
        self._model = limited(lambda stop: Packed.from_weights(config, p, self.layout, hand_over=hand_over))
        self._spare: deque[Workspace] = deque()

    def with_statistics(self, moments: Moments | None) -> "FastTrunk":
        """The same with a whole clip's statistics folded into the first convolution.  See ``fold_statistics``."""
        twin = copy(self)
        if moments is not None:
            twin._model = self._model.with_first(fold_norm(self._model.p["feature_extractor"]["conv_layers"][0], moments))
        return twin

    def __call__(
        self, waveform: Array, *, masks: Masks | None = None, time_mask: Array | None = None, hidden_states: bool = False
    ) -> tuple[Array, list[Array]]:
        """waveform (B, n), time_mask (B, T) bool -> (B, T, H) and, if asked for, the hidden states (B, N, H).  The clips of a batch run side by
        side, one thread each."""
        config, batch = self._model.config, len(waveform)
        check_group_norm(config, waveform)
        out = np.zeros((batch, config.frames(waveform.shape[1]), config.hidden_size), np.float32)
        states: list[list[Array]] = [[] for _ in range(batch)]
        hidden = time_mask if config.apply_spec_augment else None

        def clip(row: int, crew: Crew) -> None:
            with self._clip(
                crew,
                real=None if masks is None else masks.frames[row],
                attended=None if masks is None else masks.attended[row, 0],
                hidden=None if hidden is None else hidden[row],
                states=states[row] if hidden_states else None,
            ) as run:
                run.run(waveform[row], out[row])

        def compute(stop: Stop) -> None:
            if batch == 1 or self._threads == 1:
                for row in range(batch):
                    clip(row, Crew(self._useful(out.shape[1]), stop))
                return
            rows = iter(range(batch))  # the threads take turns

            def program(rank: int) -> None:
                for row in rows:
                    clip(row, Crew(1, stop))

            Crew(min(self._threads, batch), stop).run(program)

        limited(compute)
        return out, [np.stack(layer) for layer in zip(*states, strict=True)]

    def together(self, waveforms: Sequence[Array]) -> list[Array]:
        """Several clips of any lengths, whose frames share their products.  (n,) each -> (T, H) each.

        Clips that follow each other form groups of at most :data:`TOGETHER` frames, fewer where a thread would have none, or of one clip that is
        longer; a group runs on one thread, and the threads take turns at them.  So which clips share products depends on their order and
        the number of threads alone.
        """
        config = self._model.config
        outs = [np.zeros((config.frames(len(waveform)), config.hidden_size), np.float32) for waveform in waveforms]
        for waveform in waveforms:
            check_group_norm(config, waveform[None])

        def compute(stop: Stop) -> None:
            frames = [len(out) for out in outs]
            todo = iter(_groups(frames, min(TOGETHER, -(-sum(frames) // self._threads))))

            def program(rank: int) -> None:
                for group in todo:
                    with self._clip(Crew(1, stop)) as run:
                        run.run_together(waveforms[group], outs[group])

            Crew(self._threads, stop).run(program)

        limited(compute)
        return outs

    def frames(self, waveform: Array) -> Array:
        """What the encoder is given.  (1, n) -> (1, T, H).  See ``Parts``."""
        config = self._model.config
        out = np.empty((1, config.frames(waveform.shape[1]), config.hidden_size), np.float32)
        self._run(lambda clip: clip.convolve(waveform[0], out[0]))
        return out

    def squeezed(self, frames: Array) -> Array:
        """What the transformer is given.  (1, T, H) -> (1, N, H).  See ``Parts``."""
        out = np.empty((1, frames.shape[1] // self._model.config.squeeze_factor, frames.shape[2]), np.float32)
        self._run(lambda clip: clip.squeeze(frames[0], out[0]))
        return out

    def restored(self, hidden: Array, *, frames: int) -> Array:
        """The transformer, and the full rate again.  (1, N, H) -> (1, frames, H).  See ``Parts``."""
        out = np.zeros((1, frames, hidden.shape[2]), np.float32)
        self._run(lambda clip: clip.restore(hidden[0], out[0]))
        return out

    def _run(self, action: Callable[[ClipRun], None]) -> None:
        """One part of one clip."""

        def compute(stop: Stop) -> None:
            with self._clip(Crew(self._threads, stop)) as clip:
                action(clip)

        limited(compute)

    def _useful(self, frames: int) -> int:
        """Threads that make a clip of so many frames quicker."""
        config = self._model.config
        weights = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
        return self._threads if frames // config.squeeze_factor * weights >= ALONE else 1

    @contextmanager
    def _clip(self, crew: Crew, **particulars: Any) -> Iterator[ClipRun]:
        """A run with a workspace that nobody else uses; after an error nobody uses it again."""
        try:
            scratch = self._spare.pop()
        except IndexError:
            scratch = Workspace()
        yield ClipRun(self._model, crew, scratch, **particulars)
        self._spare.append(scratch)


def _groups(frames: Sequence[int], most: int) -> Iterator[slice]:
    """Neighbours of at most so many frames in all."""
    start = total = 0
    for index, count in enumerate(frames):
        if total and total + count > most:
            yield slice(start, index)
            start, total = index, 0
        total += count
    if total:
        yield slice(start, len(frames))
