"""One clip through the packed model: the program that every thread of a crew runs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sewnp.config import Config, SEWConfig
from sewnp.errors import InputError
from sewnp.fast.convolutions import ConvLayer, folded, pack_convolutions, run_tiles, tiles
from sewnp.fast.crew import Crew
from sewnp.fast.elementwise import activate, layer_norm
from sewnp.fast.positions import PositionConvolution, pack_positions, squeeze_with_positions
from sewnp.fast.transformer import Layer, Shared, pack_layers, run_layers
from sewnp.fast.workspace import Workspace
from sewnp.layers.masking import Masking, squeeze_mask
from sewnp.networks.frontend import Moments, frame_norm_eps
from sewnp.networks.moments import WindowMoments, convolution_moments
from sewnp.networks.run import shown_stages
from sewnp.types import Array, Weights


@dataclass(frozen=True)
class Packed:
    """A base model's weights, made ready once."""

    config: Config
    p: Weights
    masking: Masking
    convolutions: list[ConvLayer]
    positions: PositionConvolution
    layers: list[Layer]

    @classmethod
    def from_weights(cls, config: Config, p: Weights, *, masking: Masking) -> "Packed":
        """p: the base model's weights, without the family's prefix."""
        convolutions = pack_convolutions(p["feature_extractor"], config)
        positions = pack_positions(p["encoder"]["pos_conv_embed"], config)
        return cls(config, p, masking, convolutions, positions, pack_layers(p["encoder"], config))


@dataclass(frozen=True)
class Clip:
    """What one call works with."""

    model: Packed
    crew: Crew
    scratch: Workspace
    real: Array | None = None
    """(T,) bool: frames that are no padding."""
    hidden: Array | None = None
    """(T,) bool: frames to hide."""
    shown: dict[str, Array] | None = None
    """Where hidden states and attentions are put, if they are wanted."""

    def run(self, samples: Array, out: Array) -> None:
        """The whole model.  (n,) -> out (T, H), which holds zeros."""
        padded, middle = self._padded(len(out))
        convolve = self._convolving(samples, middle, None)
        encode = self._encoding(padded, out, before=0)

        def program(rank: int) -> None:
            convolve(rank)
            self.crew.wait(rank)
            encode(rank)

        self.crew.run(program)

    def convolve(self, samples: Array, out: Array, moments: Moments | None) -> None:
        """What the encoder is given.  (n,) -> out (T, H)"""
        self.crew.run(self._convolving(samples, out, moments))

    def encode(self, frames: Array, out: Array, *, before: int) -> None:
        """The encoder over the frames from ``before`` on.  (before + T + after, H) -> out (T, H), which holds zeros."""
        padded, middle = self._padded(len(frames))
        middle[:] = frames
        self.crew.run(self._encoding(padded, out, before=before))

    def _padded(self, frames: int) -> tuple[Array, Array]:
        """Frames between the zeros that the position convolution wants, and the frames alone."""
        margin = self.model.positions.margin
        padded = self.scratch.take("frames", (margin + frames + margin, self.model.config.hidden_size))
        padded[:margin] = 0
        padded[margin + frames :] = 0
        return padded, padded[margin : margin + frames]

    def _convolving(self, samples: Array, out: Array, moments: Moments | None) -> Callable[[int], None]:
        config, p, layers = self.model.config, self.model.p, list(self.model.convolutions)
        if config.feat_extract_norm == "group":
            if moments is None:
                windows = WindowMoments(layers[0].size, layers[0].stride)
                windows.add(samples)
                moments = convolution_moments(windows.mean, windows.covariance, **p["feature_extractor"]["conv_layers"][0]["conv"])
            layers[0] = folded(layers[0], moments)
        eps = frame_norm_eps(config)
        todo = iter(tiles(len(out), layers, self.crew.size))  # the threads take turns

        def done(x: Array, first: int, last: int) -> None:
            part = out[first:last]
            layer_norm(x, **p["layer_norm"], eps=eps)
            if "feature_projection" in p:
                np.matmul(x, p["feature_projection"]["weight"].T, out=part)
                part += p["feature_projection"]["bias"]
            else:
                part[:] = x
            if self.hidden is not None:
                part[self.hidden[first:last]] = p["masked_spec_embed"]
            if self.real is not None:
                part[~self.real[first:last]] = 0

        def program(rank: int) -> None:
            run_tiles(samples, layers, config.feat_extract_activation, todo, done, self.scratch, rank)

        return program

    def _encoding(self, padded: Array, out: Array, *, before: int) -> Callable[[int], None]:
        config, p, crew, scratch = self.model.config, self.model.p["encoder"], self.crew, self.scratch
        factor, width = config.squeeze_factor, config.hidden_size
        frames = len(out) // factor
        if frames < 1:
            raise InputError(f"squeeze: expected at least {factor} frames, found {len(out)}")
        states, attentions = shown_stages(config)
        heads, looking = config.num_attention_heads, self.shown is not None
        shared = Shared(
            hidden=scratch.take("hidden", (frames, width)),
            parts=[scratch.take("part", (frames, width), rank) for rank in range(crew.size)],
            allowed=self._allowed(),
            probabilities=np.empty((heads, frames, frames), np.float32) if looking else None,
        )

        def show(layer: int) -> None:
            assert self.shown is not None
            assert shared.probabilities is not None
            self.shown[attentions[layer]] = shared.probabilities.copy()
            self.shown[states[layer + 1]] = shared.hidden.copy()

        def program(rank: int) -> None:
            rows = crew.share(frames, rank)
            squeeze_with_positions(
                padded, shared.hidden, self.model.positions, rows=rows, before=before, scratch=scratch, rank=rank
            )
            if isinstance(config, SEWConfig):
                layer_norm(shared.hidden[rows], **p["layer_norm"], eps=config.layer_norm_eps)
            crew.wait(rank)
            if rank == 0 and self.shown is not None:
                self.shown[states[0]] = shared.hidden.copy()
            run_layers(shared, self.model.layers, config, crew=crew, scratch=scratch, rank=rank, show=show)
            projection, y = p["upsample"]["projection"], out[: frames * factor].reshape(frames, factor * width)[rows]
            np.matmul(shared.hidden[rows], projection["weight"].T, out=y)
            y += projection["bias"]
            activate(y, config.feat_extract_activation, scratch, rank)

        return program

    def _allowed(self) -> Array | None:
        """Which squeezed frames may be attended to: (1, N), or (N, N) under SEW-D's "floor" rules, or None where all may."""
        if self.real is None:
            return None
        config, masking = self.model.config, self.model.masking
        mask = squeeze_mask(self.real[None], config.squeeze_factor, masking=masking)
        if mask.all():
            return None
        return mask if isinstance(config, SEWConfig) or masking == "any" else mask & mask.T
