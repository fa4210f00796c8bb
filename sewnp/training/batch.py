"""From a batch of examples to the gradients of its loss: every clip run alone, the gradients added in the clips' order.

A padded batch is another problem than its clips: the first group norm counts the padding.  Alone, each clip gives what it gives when it is
transcribed, and the batch's gradient is the sum, or the mean, of the clips'.  Every clip draws from a generator of its own, made of the
seed, the step and its place in the batch, and runs on one thread of BLAS: so the sum is the same to the last bit however many threads work.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from sewnp.config import Config
from sewnp.errors import SewError, TrainingError
from sewnp.files import path_name
from sewnp.gradients import ClipGradient
from sewnp.layers import draw_spans
from sewnp.model import Model
from sewnp.speech import read_audio, text_tokens
from sewnp.speech.labels import label_number
from sewnp.training.augmentation import Augmentations, augment, join
from sewnp.training.data import Example
from sewnp.types import Array

_LEVEL = 0.05
"""The root of the mean power that joined clips are brought to: that of speech recorded with care."""


_NONE = Augmentations()


@dataclass(frozen=True)
class Masks:
    """What is left out of a clip's run at random; dropout comes besides."""

    time: Array | None
    """(1, T) bool, frames to hide."""
    channels: Array | None
    """(1, H) bool, channels to set to 0."""
    skip_layers: frozenset[int]


@dataclass(frozen=True)
class ClipResult:
    """What one clip says."""

    loss: float
    seconds: float
    """Of sound."""
    gradients: dict[str, Array]
    """By the keys that transformers 5 writes, of the weights that took part and are not frozen."""


@dataclass(frozen=True)
class BatchGradients:
    """What a batch says."""

    loss: float
    seconds: float
    count: int
    """Clips."""
    gradients: dict[str, Array]
    wild: tuple[str, ...]
    """The clips whose loss was not finite: then no step shall be taken."""


def encode_text(text: str, model: Model) -> Array:
    """What a clip's loss is asked about.  -> (1, S) token ids of a CTC head, S >= 1, -100 where nothing is said; (1,) a label's number

    Raises TokenizerError for what the vocabulary cannot spell, TrainingError for a label that the model does not have.
    """
    config = model.config
    if model.head == "classification":
        return np.array([label_number("label", text, config.id2label, error=TrainingError)])
    if not text:
        return np.array([[-100]])
    assert model.tokenizer is not None  # whoever starts a run has seen to it
    return np.array([text_tokens(text, model.tokenizer, vocab_size=config.vocab_size)])


def make_waveform(example: Example, augmentations: Augmentations, *, sampling_rate: int, rng: np.random.Generator) -> Array:
    """The sound of an example: read, joined, changed at random.  -> (n,) float32"""
    pieces = [read_audio(clip.audio, sampling_rate=sampling_rate) for clip in example.clips]
    x = pieces[0]
    if example.join is not None:
        if example.join.level is not None:
            decibels = rng.uniform(-example.join.level, example.join.level, len(pieces))
            pieces = [_at_level(piece, float(each)) for piece, each in zip(pieces, decibels, strict=True)]
        x = join(pieces, rng.uniform(*example.join.pause, len(pieces) + 1).tolist(), sampling_rate=sampling_rate)
    return augment(x, augmentations, sampling_rate=sampling_rate, rng=rng)


def _at_level(x: Array, decibels: float) -> Array:
    power = float(np.square(x, dtype=np.float64).mean())
    return x if power == 0.0 else x * (_LEVEL / math.sqrt(power) * 10.0 ** (decibels / 20.0))


def draw_masks(config: Config, frames: int, rng: np.random.Generator) -> Masks:
    """SpecAugment and LayerDrop at the configuration's rates, in the order in which transformers draws.

    A clip, or a row of channels, that is shorter than a span is not masked: transformers refuses it.
    """
    time = channels = None
    if config.apply_spec_augment and config.mask_time_prob > 0 and frames >= config.mask_time_length:
        time = draw_spans(
            (1, frames),
            probability=config.mask_time_prob,
            length=config.mask_time_length,
            min_masks=config.mask_time_min_masks,
            rng=rng,
        )
    if config.apply_spec_augment and config.mask_feature_prob > 0 and config.hidden_size >= config.mask_feature_length:
        channels = draw_spans(
            (1, config.hidden_size),
            probability=config.mask_feature_prob,
            length=config.mask_feature_length,
            min_masks=config.mask_feature_min_masks,
            rng=rng,
        )
    rate: float = getattr(config, "layerdrop", 0.0)  # SEW-D has none
    skipped = frozenset(i for i in range(config.num_hidden_layers) if rng.random() < rate)
    return Masks(time, channels, skipped)


def clip_gradients(
    model: Model, example: Example, *, engine: ClipGradient, augmentations: Augmentations, rng: np.random.Generator
) -> ClipResult:
    """The loss of one example, and what it says to every weight.  All that is random is drawn from ``rng``."""
    config = model.config
    rate = model.feature_extractor.sampling_rate
    x = make_waveform(example, augmentations, sampling_rate=rate, rng=rng)
    x = np.pad(x, (0, max(0, config.minimum_samples - len(x))))
    values = model.features(x, attention_mask=False).input_values
    masks = draw_masks(config, config.frames(len(x)), rng)
    loss, gradients = engine(
        values,
        encode_text(example.text, model),
        time_mask=masks.time,
        feature_mask=masks.channels,
        skip_layers=masks.skip_layers,
        dropout=rng,
    )
    return ClipResult(loss, len(x) / rate, gradients)


def batch_gradients(
    model: Model,
    batch: Sequence[Example],
    *,
    engine: ClipGradient | None = None,
    augmentations: Augmentations = _NONE,
    seed: int = 0,
    step: int = 0,
    pool: ThreadPoolExecutor | None = None,
    threads: int = 1,
    check: Callable[[], None] = lambda: None,
) -> BatchGradients:
    """Loss and gradients of a batch, reduced as the configuration says: the mean over the clips, or their sum.

    engine: for the model's weights; by default one is made, and nothing is frozen.  pool, threads: who runs the clips; at most ``threads`` + 1
    clips' gradients are held at a time.  check: called after each clip, to raise where the run shall stop.  Raises AudioError for a recording
    that cannot be read, naming it.
    """

    gradients = engine or model.clip_gradients()

    def one(place: int) -> ClipResult:
        rng = np.random.default_rng(np.random.SeedSequence((seed, step, place)))
        with np.errstate(all="ignore"):  # what is not finite shows in the loss
            try:
                return clip_gradients(model, batch[place], engine=gradients, augmentations=augmentations, rng=rng)
            except SewError as error:
                names = [path_name(clip.audio) for clip in batch[place].clips]
                if any(name in str(error) for name in names):
                    raise
                raise type(error)(f"{', '.join(names)}: {error}") from error

    total: dict[str, Array] = {}
    loss = seconds = 0.0
    wild: list[str] = []
    for place, found in enumerate(_in_order(pool, one, len(batch), threads)):
        check()
        loss, seconds = loss + found.loss, seconds + found.seconds
        if not math.isfinite(found.loss):
            wild += [clip.name for clip in batch[place].clips]
        for key, gradient in found.gradients.items():
            if key in total:
                total[key] += gradient
            else:
                total[key] = gradient.copy()  # which may be a part of something else
    if model.head == "classification" or model.config.ctc_loss_reduction == "mean":
        loss /= len(batch)
        for gradient in total.values():
            gradient /= len(batch)
    return BatchGradients(loss, seconds, len(batch), total, tuple(wild))


def _in_order(pool: ThreadPoolExecutor | None, work: Callable[[int], Any], count: int, ahead: int) -> Iterator[Any]:
    """``work`` of 0 to count - 1, in this order, up to ``ahead`` being worked on or waiting beside the one that is given."""
    if pool is None:
        yield from map(work, range(count))
        return
    waiting: deque[Future[Any]] = deque()
    try:
        for number in range(count):
            waiting.append(pool.submit(work, number))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
