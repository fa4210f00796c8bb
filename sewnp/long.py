"""Logits of recordings of any length: our way, which keeps the clip's meaning, and that of transformers' pipeline, which does not.

What a model makes of a clip depends on the whole of it in three places: the waveform is normalised by its mean and variance, the first
convolution (``feat_extract_norm = "group"``) by its own, and attention sees every frame.  Our way reads a recording twice: once for
those statistics, once to run the network, with attention alone in windows.  The pipeline takes each chunk for a clip of its own.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeAlias, TypeVar

import numpy as np

from sewnp.config import Config
from sewnp.errors import AudioError, InputError, brief
from sewnp.fast import limited
from sewnp.inputs import check_attention
from sewnp.networks import Moments, Parts, WindowMoments, convolution_moments, ctc_logits, windowed_states
from sewnp.speech.features import VARIANCE_EPS
from sewnp.speech.segmentation import speech_segments
from sewnp.speech.spelling import delimiter_id
from sewnp.speech.stream import Recording
from sewnp.speech.tokenizer import CTCTokenizer
from sewnp.types import Array, Weights

WINDOW = 30.0
"""Seconds that attention sees at once; shorter clips are run in one piece."""
OVERLAP = 3.0
"""Seconds at each side of a window that are seen by it and kept by its neighbour."""

FRAME = 0.02
"""Seconds, about, whose power is measured at once where pauses are sought."""

Progress: TypeAlias = Callable[[float, float | None], None]
"""Called with the seconds done and the seconds in all, None where the length is not known yet."""

_IMPOSSIBLE = -100.0
"""A logit beside 0: its probability is less than float32 can add to 1."""
_ENDLESS = 2.0**32
"""Seconds, more than any recording has: what is longer still is no number of samples."""


T = TypeVar("T")
Steps: TypeAlias = Generator[Array, Array, T]
"""A computation that asks for the logits (T, V) of waveforms (n,), each a clip of its own, run alone or together with what others ask for."""


def alone(steps: Steps[T], run: Callable[[Array], Array]) -> T:
    """What becomes of steps when ``run`` answers them one by one."""
    try:
        waveform = next(steps)
        while True:
            waveform = steps.send(run(waveform))
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()


def quietly(done: float, total: float | None) -> None:
    """The progress that tells nobody."""


@dataclass(frozen=True)
class Survey:
    """What the first pass over a recording finds."""

    name: str
    samples: int
    waveform: Array | None
    """All of it, (n,), where it is short enough to be run in one piece.  It is not measured then."""
    mean: float
    scale: float
    """What is taken from each sample, and what it is divided by then; 0 and 1 for a model that does not normalise."""
    moments: Moments | None
    """Of the first convolution over the normalised waveform; None where nothing is normalised over time."""


def survey(recording: Recording, config: Config, first: Weights, *, longest: float, normalise: bool) -> Survey:
    """Read a recording once.  first: weights of the first convolution; longest: the samples that are run in one piece.

    Raises AudioError for samples so large that float32 cannot hold their variance.
    """
    held, samples = [], 0
    sound, windows = WindowMoments(), WindowMoments(config.conv_kernel[0], config.conv_stride[0])
    grouped = config.feat_extract_norm == "group"
    for block in recording.blocks():
        samples += len(block)
        held.append(block)
        if samples > longest:  # only now: a clip in one piece measures itself where it is run
            for waiting in held:
                sound.add(waiting)
                if grouped:
                    windows.add(waiting)
            held.clear()
    if samples <= longest:
        return Survey(recording.name, samples, np.concatenate(held), 0.0, 1.0, None)
    variance = float(sound.covariance[0, 0])
    mean = float(np.float32(sound.mean[0])) if normalise else 0.0  # rounded here, so that the moments are of what is computed
    scale = float(np.float32(math.sqrt(variance + VARIANCE_EPS))) if normalise else 1.0
    moments = None
    if grouped:
        moments = convolution_moments((windows.mean - mean) / scale, windows.covariance / scale**2, **first)
    return Survey(recording.name, samples, None, mean, scale, moments)


def window_frames(config: Config, rate: int, window: float | None, overlap: float | tuple[float, float] | None) -> tuple[int, int]:
    """Seconds as frames, multiples of the squeeze factor; None for :data:`WINDOW` and :data:`OVERLAP`.  rate: Hz

    An overlap that is not given is at most a sixth of the window.  Raises InputError where a window would have no middle to keep.
    """
    wished = WINDOW if window is None else _seconds("window", window)
    overlap = min(OVERLAP, wished / 6) if overlap is None else _seconds("overlap", overlap)
    factor, step = config.squeeze_factor, config.hop * config.squeeze_factor
    wide, shared = (max(0, round(min(seconds * rate, 2**62) / step)) * factor for seconds in (wished, overlap))
    if window is None:  # a model of very long frames
        wide = max(wide, 2 * shared + factor)
    if wide <= 2 * shared:
        raise InputError(
            f"window: expected more than twice the overlap and at least {step / rate:g} s, found window={wished:g} and"
            f" overlap={overlap:g} seconds"
        )
    return wide, shared


def run_recording(
    recording: Recording,
    config: Config,
    weights: Weights,
    *,
    rate: int,
    normalise: bool,
    window: tuple[int, int],
    parts: Callable[[Moments | None], Parts],
    plain: bool,
    progress: Progress = quietly,
) -> Steps[tuple[Array, int]]:
    """Both passes, or a single step where the recording is short enough.  -> logits (T, V), and the number of samples

    window: see :func:`window_frames`.  parts: from the moments of the first convolution to what runs a long one; plain: whether that
    is the textbook; rate: Hz.
    """
    wide, overlap = window
    first = weights[config.prefix]["feature_extractor"]["conv_layers"][0]["conv"]
    dtype = first["weight"].dtype
    found = survey(recording, config, first, longest=wide * config.hop, normalise=normalise)
    if found.samples < config.minimum_samples:
        return np.zeros((0, config.vocab_size), dtype), found.samples
    if found.waveform is not None:
        return (yield found.waveform), found.samples
    if plain:
        check_attention("window", config, config.samples_for(wide), itemsize=dtype.itemsize)

    def head(states: Array) -> Array:
        return ctc_logits(states, weights) if plain else limited(lambda stop: ctc_logits(states, weights))

    logits = windowed_logits(
        recording,
        found,
        parts(found.moments),
        head,
        config,
        dtype=dtype,
        rate=rate,
        window=wide,
        overlap=overlap,
        progress=progress,
    )
    return logits, found.samples


def windowed_logits(
    recording: Recording,
    found: Survey,
    model: Parts,
    head: Callable[[Array], Array],
    config: Config,
    *,
    dtype: np.dtype[np.floating],
    rate: int,
    window: int,
    overlap: int,
    progress: Progress = quietly,
) -> Array:
    """The second pass.  -> (T, V), in ``dtype``.

    model: one with the statistics of the first pass folded in.  head: states (1, T, H) -> logits (1, T, V); window, overlap: in frames;
    rate: Hz.

    Raises AudioError for a recording that has become shorter since the first.
    """
    total, duration = config.frames(found.samples), found.samples / rate
    logits, done = np.empty((total, config.vocab_size), dtype), 0
    waveform = _normalised(recording.blocks(), found, dtype)
    for states in windowed_states(model, config, waveform, samples=found.samples, window=window, overlap=overlap):
        part = head(states)[0]
        logits[done : done + len(part)] = part
        done += len(part)
        progress(duration * done / total, duration)
    return logits


def _normalised(blocks: Iterable[Array], found: Survey, dtype: np.dtype[np.floating]) -> Iterator[Array]:
    mean, scale, count = np.float32(found.mean), np.float32(found.scale), 0
    for block in blocks:
        count += len(block)
        yield ((block - mean) / scale).astype(dtype, copy=False)
    if count < found.samples:
        raise AudioError(f"{found.name}: changed while it was read: {found.samples} samples at first, then {count}")


def check_compat(compat: str | None, segment: bool | None) -> str | None:
    """``compat`` as it is.  Raises InputError for another than "transformers" and None, and for segments that are none of its."""
    if compat not in ("transformers", None):
        raise InputError(f"compat: expected 'transformers' or None, found {brief(compat)}")
    if not isinstance(segment, bool | None):
        raise InputError(f"segment: expected True, False or None, found {brief(segment)}")
    if segment and compat is not None:
        raise InputError("segment: expected None or False with compat='transformers', whose pipeline does not cut at pauses")
    return compat


def segmented_logits(
    recording: Recording,
    run: Callable[[Recording], Steps[tuple[Array, int]]],
    config: Config,
    tokenizer: CTCTokenizer | None,
    *,
    dtype: np.dtype[np.floating],
    rate: int,
    progress: Progress = quietly,
) -> Steps[tuple[Array, int]]:
    """Logits of a recording whose segments (:mod:`sewnp.speech.segmentation`) are run each for itself.  -> (T, V), and the number of samples

    run: a recording to its logits and its number of samples.  Every frame keeps its place in the whole.  Frames between segments are
    blanks beyond doubt, and the middle one is the delimiter of words, where the vocabulary has one.  A single segment that is the
    whole recording gives what ``run`` gives.
    """
    samples = 0

    def counted() -> Iterator[Array]:
        nonlocal samples
        for block in recording.blocks():
            samples += len(block)
            yield block

    parts: list[tuple[int, Array]] = []
    for start, piece in segment_recordings(recording.name, counted(), config, rate=rate):
        logits, count = yield from run(piece)
        parts.append((start // config.hop, logits))
        progress((start + count) / rate, None)
    whole = np.full((config.frames(samples), config.vocab_size), _IMPOSSIBLE, dtype)
    whole[:, config.pad_token_id or 0] = 0.0
    for start, logits in parts:
        whole[start : start + len(logits)] = logits
    delimiter = None if tokenizer is None else delimiter_id(tokenizer, vocab_size=config.vocab_size)
    for (start, logits), (after, _) in pairwise(parts):
        before = start + len(logits)
        if delimiter is not None and before < after:
            whole[(before + after) // 2] = _IMPOSSIBLE
            whole[(before + after) // 2, delimiter] = 0.0
    return whole, samples


def segment_recordings(name: str, blocks: Iterable[Array], config: Config, *, rate: int) -> Iterator[tuple[int, Recording]]:
    """The segments of a stream of blocks (n,), as they end: where each starts, in samples, and itself as a recording."""
    for segment in speech_segments(blocks, rate=rate, frame=max(1, round(FRAME * rate / config.hop)) * config.hop):
        yield segment.start, Recording(name, partial(_once, segment.waveform))


def _once(waveform: Array) -> Iterator[Array]:
    yield waveform


def pipeline_logits(
    recording: Recording,
    run: Callable[[Array], Array],
    *,
    hop: int,
    rate: int,
    chunk: float | None,
    stride: float | tuple[float, float] | None,
    progress: Progress = quietly,
) -> tuple[Array, int]:
    """The frames that the speech recognition pipeline of transformers 5.23 keeps.  -> (frames, V), and the number of samples

    run: a waveform (n,) -> its logits (T, V), normalised by itself.  chunk, stride: ``chunk_length_s`` and ``stride_length_s`` in
    seconds, the stride on both sides or (left, right), by default a sixth of the chunk; without a chunk all is run in one piece.
    hop: samples a frame; rate: Hz.

    The pipeline expects one frame per hop of a chunk, one more than a chunk of whole hops has, and so a chunk without stride on its
    right loses nothing, but with strides of zero each chunk gives a frame too few and the times drift.  Kept as it is.
    """
    if chunk is None:
        if stride is not None:
            raise InputError("overlap: expected only with a window: the pipeline has no stride without chunks")
        waveform = recording.read()
        return run(waveform), len(waveform)
    left, right = stride if isinstance(stride, tuple) else (stride, stride)
    length = min(_seconds("window", chunk), _ENDLESS)
    size, before, after = (
        round(min(_seconds("overlap", length / 6 if seconds is None else seconds), _ENDLESS) * rate / hop) * hop
        for seconds in (length, left, right)
    )
    if size <= before + after:
        raise InputError(f"window: expected more than its overlaps, found {size} samples with overlaps of {before} and {after}")
    kept, done = [], 0
    for x, is_first, is_last in _chunks(recording.blocks(), size, size - before - after):
        expected = round(len(x) * (1 / hop))
        skipped = 0 if is_first else round(before / len(x) * expected)
        dropped = 0 if is_last else round(after / len(x) * expected)
        kept.append(run(x)[skipped : expected - dropped])
        done += len(x) if is_last else size - before - after
        progress(done / rate, done / rate if is_last else None)
    return np.concatenate(kept), done


def _chunks(blocks: Iterable[Array], size: int, step: int) -> Iterator[tuple[Array, bool, bool]]:
    """Pieces of ``size`` samples every ``step``, up to the first that reaches the end; whether each is the first, and the last."""
    pieces, held, is_first = iter(blocks), np.zeros(0, np.float32), True
    while True:
        waiting = [held]
        while sum(map(len, waiting)) <= size and (block := next(pieces, None)) is not None:
            waiting.append(block)
        held = np.concatenate(waiting)
        yield held[:size], is_first, len(held) <= size
        if len(held) <= size:
            return
        held, is_first = held[step:], False


def _seconds(name: str, value: object) -> float:
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool) or not value >= 0:
        raise InputError(f"{name}: expected seconds, one number of 0 or more, found {brief(value)}")
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf
