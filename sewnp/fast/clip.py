"""One clip through the packed model: the program that every thread of a crew runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate

from sewnp.config import Config
from sewnp.errors import InputError
from sewnp.fast.convolutions import ConvLayer, first_moments, pack_convolution, run_tiles, tiles
from sewnp.fast.crew import Crew
from sewnp.fast.elementwise import activate, layer_norm
from sewnp.fast.positions import PositionConvolution, pack_positions, squeeze_with_positions
from sewnp.fast.products import Layout, Matrix, lay_out
from sewnp.fast.transformer import Layer, pack_layers, run_layers
from sewnp.fast.workspace import Workspace
from sewnp.networks.moments import fold_norm
from sewnp.types import Array, Weights


@dataclass(frozen=True)
class Packed:
    """A base model's weights, made ready once."""

    config: Config
    p: Weights
    """As they were given, without the family's prefix."""
    layout: Layout
    convolutions: list[ConvLayer]
    positions: PositionConvolution
    layers: list[Layer]
    upsampling: Matrix
    projection: Matrix | None
    """Behind the convolutions, where there is one."""

    @classmethod
    def from_weights(cls, config: Config, p: Weights, layout: Layout, *, hand_over: bool = False) -> "Packed":
        """p: the base model's weights, without the family's prefix.  hand_over: see ``pack_layers``."""
        convolutions = [
            pack_convolution(layer, stride, layout)
            for layer, stride in zip(p["feature_extractor"]["conv_layers"], config.conv_stride, strict=True)
        ]
        positions = pack_positions(p["encoder"]["pos_conv_embed"], config)
        layers = pack_layers(p["encoder"], config, layout, hand_over=hand_over)
        upsampling = lay_out(p["encoder"]["upsample"]["projection"]["weight"], layout)
        projection = lay_out(p["feature_projection"]["weight"], layout) if "feature_projection" in p else None
        return cls(config, p, layout, convolutions, positions, layers, upsampling, projection)

    def with_first(self, layer: Weights) -> "Packed":
        """The same model with another first convolution."""
        first = pack_convolution(layer, self.config.conv_stride[0], self.layout)
        return replace(self, convolutions=[first, *self.convolutions[1:]])


@dataclass(frozen=True)
class ClipRun:
    """What one call works with."""

    model: Packed
    crew: Crew
    scratch: Workspace
    real: Array | None = None
    """(T,) bool: frames that are no padding."""
    attended: Array | None = None
    """(1, N) or (N, N) bool: squeezed frames that may be attended to."""
    hidden: Array | None = None
    """(T,) bool: frames to hide."""
    states: list[Array] | None = None
    """Where hidden states are put, (N, H) each, if they are wanted."""

    def run(self, waveform: Array, out: Array) -> None:
        """The whole model.  (n,) -> out (T, H), which holds zeros."""
        padded, frames = self._padded(len(out))
        hidden = self.scratch.take("hidden", (len(out) // self.model.config.squeeze_factor, out.shape[1]))
        convolve = self._convolving(waveform, frames)
        squeeze = self._squeezing(padded, hidden)
        restore = self._restoring(hidden, out)

        def program(rank: int) -> None:
            convolve(rank)
            self.crew.wait(rank)
            squeeze(rank)
            restore(rank)

        self.crew.run(program)

    def run_together(self, waveforms: Sequence[Array], outs: Sequence[Array]) -> None:
        """Several clips, whose frames stand end to end wherever they are but multiplied.  (n,) each -> outs (T, H) each, which hold zeros.

        Convolutions, positions and attention see one clip at a time, so there is no padding, and what comes out is what each alone gives,
        up to the rounding of products of more rows.
        """
        factor, width = self.model.config.squeeze_factor, self.model.config.hidden_size
        ends = [*accumulate(len(out) // factor for out in outs)]
        clips = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        hidden = self.scratch.take("hidden", (ends[-1], width))
        for waveform, out, rows in zip(waveforms, outs, clips, strict=True):
            padded, frames = self._padded(len(out))
            self.crew.run(self._convolving(waveform, frames))
            self.crew.run(self._squeezing(padded, hidden[rows]))
        restored = self.scratch.take("restored", (ends[-1] * factor, width))
        self.crew.run(self._restoring(hidden, restored, clips))
        for out, rows in zip(outs, clips, strict=True):
            out[: (rows.stop - rows.start) * factor] = restored[rows.start * factor : rows.stop * factor]

    def convolve(self, waveform: Array, out: Array) -> None:
        """What the encoder is given.  (n,) -> out (T, H)"""
        self.crew.run(self._convolving(waveform, out))

    def squeeze(self, frames: Array, out: Array) -> None:
        """What the transformer is given.  (T, H) -> out (N, H)"""
        padded, middle = self._padded(len(frames))
        middle[:] = frames
        self.crew.run(self._squeezing(padded, out))

    def restore(self, hidden: Array, out: Array) -> None:
        """The transformer, and the full rate again.  (N, H) -> out (T, H), which holds zeros."""
        work = self.scratch.take("hidden", hidden.shape)
        work[:] = hidden
        self.crew.run(self._restoring(work, out))

    def _padded(self, frame_count: int) -> tuple[Array, Array]:
        """Frames between the zeros that the position convolution wants, and the frames alone."""
        margin = self.model.positions.margin
        padded = self.scratch.take("frames", (margin + frame_count + margin, self.model.config.hidden_size))
        padded[:margin] = 0
        padded[margin + frame_count :] = 0
        return padded, padded[margin : margin + frame_count]

    def _convolving(self, waveform: Array, out: Array) -> Callable[[int], None]:
        model = self.model
        config, p = model.config, model.p
        if config.feat_extract_norm == "group" and model.convolutions[0].norm is not None:  # not folded yet
            first = p["feature_extractor"]["conv_layers"][0]
            _, moments = first_moments(waveform, first, config.conv_stride[0])
            model = model.with_first(fold_norm(first, moments))
        todo = iter(tiles(len(out), model.convolutions, self.crew.size))  # the threads take turns

        def done(x: Array, first: int, last: int, rank: int) -> None:
            self.crew.go_on()
            part = out[first:last]
            layer_norm(x, **p["layer_norm"], eps=config.frames_eps)
            if model.projection is not None:
                model.projection.multiply(x, part, self.scratch, rank)
                part += p["feature_projection"]["bias"]
            else:
                part[:] = x
            if self.hidden is not None:
                part[self.hidden[first:last]] = p["masked_spec_embed"]
            if self.real is not None:
                part[~self.real[first:last]] = 0

        def program(rank: int) -> None:
            finish = partial(done, rank=rank)
            run_tiles(waveform, model.convolutions, config.feat_extract_activation, todo, finish, self.scratch, rank)

        return program

    def _squeezing(self, padded: Array, hidden: Array) -> Callable[[int], None]:
        if not len(hidden):
            frames = len(padded) - 2 * self.model.positions.margin
            raise InputError(f"squeeze: expected at least {self.model.config.squeeze_factor} frames, found {frames}")

        def program(rank: int) -> None:
            rows = self.crew.share(len(hidden), rank)
            squeeze_with_positions(padded, hidden, self.model.positions, rows=rows, scratch=self.scratch, rank=rank)

        return program

    def _restoring(self, hidden: Array, out: Array, clips: Sequence[slice] | None = None) -> Callable[[int], None]:
        config, p, crew, scratch = self.model.config, self.model.p["encoder"], self.crew, self.scratch
        frames, width = hidden.shape
        parts = [scratch.take("part", hidden.shape, rank) for rank in range(crew.size)]
        attended = None if self.attended is None or self.attended.all() else self.attended

        def keep() -> None:
            if self.states is not None:
                self.states.append(hidden.copy())

        def program(rank: int) -> None:
            rows = crew.share(frames, rank)
            if "layer_norm" in p:  # SEW's; nothing normalises what SEW-D starts from
                layer_norm(hidden[rows], **p["layer_norm"], eps=config.layer_norm_eps)
            crew.wait(rank)
            run_layers(
                hidden, parts, self.model.layers, config, clips=clips or [slice(0, frames)], attended=attended, crew=crew,
                scratch=scratch, rank=rank, keep=None if self.states is None else keep,
            )  # fmt: skip
            factor = config.squeeze_factor
            y = out[: frames * factor].reshape(frames, factor * width)[rows]
            self.model.upsampling.multiply(hidden[rows], y, scratch, rank)
            y += p["upsample"]["projection"]["bias"]
            activate(y, config.feat_extract_activation, scratch, rank)

        return program
