"""Transcripts of sound that is still arriving: blocks of it go in, and what was said between two pauses comes out when it has ended."""

from collections.abc import Callable, Generator, Iterable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from sewnp.config import Config
from sewnp.decoding import BeamSearch
from sewnp.errors import InputError, KindError, brief
from sewnp.inputs import about, calmly
from sewnp.long import segment_recordings, window_frames
from sewnp.speech import CTCTokenizer, FeatureExtractor, Recording, as_waveform, resampled, transcript_from_logits
from sewnp.speech.audio import HasArray, HasDLPack, Samples, check_rate
from sewnp.speech.given import holds_one, samples
from sewnp.speech.resampling import too_long
from sewnp.speech.tokenizer import Speaker, ctc_tokenizer
from sewnp.speech.transcript import Transcript, check_decoder
from sewnp.types import Array

T = TypeVar("T")


class Listener(Speaker, Protocol):
    """A model: see :class:`sewnp.Model`."""

    @property
    def config(self) -> Config: ...
    @property
    def feature_extractor(self) -> FeatureExtractor: ...
    @property
    def recording_logits(self) -> Callable[..., tuple[Array, int]]: ...


def stream(
    model: Listener,
    blocks: Iterable[Samples | HasArray | HasDLPack],
    *,
    sampling_rate: int | None = None,
    window: float | None = None,
    overlap: float | None = None,
    decoder: BeamSearch | Literal["greedy"] | None = None,
) -> Generator[Transcript]:
    """What is said in sound that is still arriving: a :class:`~sewnp.speech.transcript.Transcript` of each segment in which words are heard,
    as soon as it has ended.

    blocks: arrays (n,) as ``transcribe`` takes them, of any lengths, 0 too; taken as they are needed.  sampling_rate: theirs, in Hz; by
    default the model's.  window, overlap, decoder: as for ``transcribe``.

    The recording is cut at its pauses (:func:`~sewnp.speech.speech_segments`) whatever the model's folder asks for.  A segment ends a second
    after its last word, or where the next begins, and what is loud is decided five seconds later, when the noise around it is known.  Its
    ``start`` and ``end`` and the times of its words are seconds from the first sample of the stream; ``duration`` is the end of its sound.
    What is held in memory does not grow.  Joined by spaces, the texts are that of ``transcribe(..., segment=True)``, and so are the words, to
    the last bit.  But a search begins anew with each segment: a language model has its context from there alone, and a beam has room for the
    segment's texts where that of the whole may have dropped one.  So does a vocabulary that has no token between words.

    Closing it leaves ``blocks`` where they are.  Raises, at once, InputError for a model without a CTC head and arguments that are none;
    then, naming the block, AudioError for one that is no sound.
    """
    tokenizer, rate = ctc_tokenizer(model, "transcribing"), model.feature_extractor.sampling_rate
    if holds_one(blocks) or (isinstance(blocks, np.ndarray) and blocks.ndim < 2) or not isinstance(blocks, Iterable):
        raise KindError(f"blocks: expected an iterable of arrays, found {brief(blocks)}; transcribe takes a recording as a whole")
    original = rate if sampling_rate is None else check_rate("sampling_rate", sampling_rate)
    if problem := too_long(original, rate):
        raise InputError(f"sampling_rate: {problem}")
    window_frames(model.config, rate, window, overlap)
    check_decoder(decoder)
    decoder = model.feature_extractor.decoder if decoder is None else decoder
    sound = resampled(_waveforms(blocks, sampling_rate, original), original, rate)
    run = partial(model.recording_logits, window=window, overlap=overlap)
    return _each(_transcripts(sound, run, model.config, tokenizer, rate=rate, decoder=decoder))


def _waveforms(blocks: Iterable[Any], given: int | None, rate: int) -> Iterator[Array]:
    """The blocks that hold any samples, (n,) float32 each."""
    for number, block in enumerate(blocks):
        held = samples(block, given if number == 0 else rate, rate)  # a warning of integers without a rate is for all of them
        if len(held) if isinstance(held, list | tuple) else getattr(held, "shape", None) != (0,):
            yield as_waveform(held, name=f"blocks[{number}]")


def _transcripts(
    sound: Iterable[Array],
    run: Callable[[Recording], tuple[Array, int]],
    config: Config,
    tokenizer: CTCTokenizer,
    *,
    rate: int,
    decoder: BeamSearch | Literal["greedy"] | None,
) -> Iterator[Transcript]:
    """What is said in each segment of a waveform; those without a text are left out."""
    for start, piece in segment_recordings("stream", sound, config, rate=rate):
        logits, count = run(piece)
        with about("stream"):
            found = transcript_from_logits(
                logits,
                tokenizer,
                seconds_per_frame=Fraction(config.hop, rate),
                duration=(start + count) / rate,
                decoder=decoder,
                first_frame=start // config.hop,
            )
        if found.text:
            yield found


def _each(items: Iterator[T]) -> Generator[T]:
    """The same items, each made calmly; the caller's ``np.seterr`` is back between two."""
    step = calmly(partial(next, items, None))
    while (item := step()) is not None:
        yield item
