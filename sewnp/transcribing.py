"""From a clip to its words, as steps: what is asked of the network is asked for, so that whoever answers may answer several clips at once."""

from fractions import Fraction
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from sewnp.config import Config
from sewnp.decoding import BeamSearch
from sewnp.fast import Engine
from sewnp.inputs import about
from sewnp.long import Progress, Steps, check_compat, pipeline_logits, quietly, run_recording, segmented_logits, window_frames
from sewnp.networks import Moments, Parts
from sewnp.speech import FeatureExtractor, Recording, open_recording
from sewnp.speech.audio import Audio
from sewnp.speech.tokenizer import Speaker, ctc_tokenizer
from sewnp.speech.transcript import Transcript, transcript_from_logits
from sewnp.types import Array, Weights


class Hearer(Speaker, Protocol):
    """A model: see :class:`sewnp.Model`."""

    @property
    def config(self) -> Config: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def feature_extractor(self) -> FeatureExtractor: ...
    @property
    def _held(self) -> Weights: ...

    def _parts(self, moments: Moments | None) -> Parts: ...
    def _logits(self, audio: object, waveform: Array) -> Array: ...


def transcription(
    model: Hearer,
    audio: Audio,
    *,
    sampling_rate: int | None = None,
    window: float | None = None,
    overlap: float | tuple[float, float] | None = None,
    compat: str | None = None,
    decoder: BeamSearch | Literal["greedy"] | None = None,
    segment: bool | None = None,
    progress: Progress | None = None,
    allow_truncated: bool = False,
) -> Steps[Transcript]:
    """The steps of ``Model.transcribe``, which has the same arguments.  The pipeline's chunks are run here, one by one."""
    tokenizer, rate, tell = ctc_tokenizer(model, "transcribing"), model.feature_extractor.sampling_rate, progress or quietly
    with open_recording(audio, target=rate, sampling_rate=sampling_rate, allow_truncated=allow_truncated) as recording:
        tell(0.0, None)
        decoder = model.feature_extractor.decoder if decoder is None and compat is None else decoder
        if check_compat(compat, segment) == "transformers":
            run, hop = partial(model._logits, recording.name), model.config.hop
            logits, samples = pipeline_logits(recording, run, hop=hop, rate=rate, chunk=window, stride=overlap, progress=tell)
        else:
            logits, samples = yield from recording_steps(
                model, recording, window=window, overlap=overlap, segment=segment, progress=tell
            )
    tell(samples / rate, samples / rate)
    frame, duration = Fraction(model.config.hop, rate), samples / rate
    with about(recording.name):
        return transcript_from_logits(logits, tokenizer, seconds_per_frame=frame, duration=duration, decoder=decoder)


def recording_steps(
    model: Hearer,
    recording: Recording,
    *,
    window: float | None = None,
    overlap: float | tuple[float, float] | None = None,
    segment: bool | None = False,
    progress: Progress = quietly,
) -> Steps[tuple[Array, int]]:
    """The steps of ``Model.recording_logits``, which has the same arguments."""
    rate = model.feature_extractor.sampling_rate
    frames = window_frames(model.config, rate, window, overlap)
    if model.feature_extractor.segment if segment is None else segment:
        run = partial(recording_steps, model, window=window, overlap=overlap)
        return (
            yield from segmented_logits(
                recording, run, model.config, model.tokenizer, dtype=model.dtype, rate=rate, progress=progress
            )
        )
    return (
        yield from run_recording(
            recording,
            model.config,
            model._held,
            rate=rate,
            normalise=model.feature_extractor.do_normalize,
            window=frames,
            parts=model._parts,
            plain=model.engine == "textbook",
            progress=progress,
        )
    )
