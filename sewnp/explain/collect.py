"""A clip's whole way through a network, as a plain document: what a page shows, ready for JSON.

The keys, and the stages that stand behind them, are told in ``docs/explain.md``.
"""

import base64
import io
import os
import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sewnp.config import Config
from sewnp.ctc import collapse, forced_align, greedy_path
from sewnp.decoding import BeamSearch
from sewnp.errors import AudioError, InputError, check_whole
from sewnp.explain import network, reading
from sewnp.explain.subject import Subject, stages_seen
from sewnp.inputs import about
from sewnp.layers.softmax import log_softmax
from sewnp.speech import CTCTokenizer, Recording, align_logits, open_recording, text_tokens, transcript_from_logits
from sewnp.speech.audio import Audio, audio_name
from sewnp.types import Array
from sewnp.version import __version__

FORMAT = 1
"""The version of the document's format."""
LONGEST = 60.0
"""Seconds."""


def collect(
    subject: Subject,
    audio: Audio,
    *,
    sampling_rate: int | None = None,
    layers: Sequence[int] | None = None,
    text: str | None = None,
    decoder: BeamSearch | None = None,
    allow_truncated: bool = False,
) -> dict[str, Any]:
    """The document of a clip: objects, lists, strings and numbers, arrays as :func:`sewnp.explain.pack` has them.

    Arguments and errors as for :func:`sewnp.explain.explain`.
    """
    tokenizer, config, rate = subject.tokenizer, subject.config, subject.feature_extractor.sampling_rate
    if subject.head != "ctc" or tokenizer is None:
        raise InputError(f"{subject.name}: explaining needs a CTC head and a vocab.json, as transcribing does")
    chosen = None if layers is None else _layers(layers, config)
    if text is not None:
        text_tokens(text, tokenizer, vocab_size=config.vocab_size)  # what cannot be spelled is said before the network runs
    with open_recording(audio, target=rate, sampling_rate=sampling_rate, allow_truncated=allow_truncated) as recording:
        name, waveform = recording.name, _read(recording, rate, config)
    input_values = subject.feature_extractor(waveform, attention_mask=False).input_values
    shown = network.chosen_layers(config, config.frames(len(waveform)) // config.squeeze_factor) if chosen is None else chosen
    base, seconds = subject.weights[config.prefix], len(waveform) / rate
    stages = [*network.conv_stages(config), *network.squeeze_stages(config, base), "encoder.encoder.relative_positions", "logits"]
    stages += [stage for names in network.attention_stages(config, shown) for stage in names]
    with about(name):
        values = stages_seen(subject, input_values, frozenset(stages))
        read = _reading(subject, tokenizer, input_values, values["logits"], text, decoder, seconds)
    return {
        "format": FORMAT,
        "sewnp": __version__,
        "model": {"name": subject.name, "family": config.model_type},
        "clip": {
            "name": _called(audio),
            "rate": rate,
            "samples": len(waveform),
            "seconds": seconds,
            "frame": config.hop / rate,
            "wav": _wav(waveform, rate),
        },
        "funnel": network.funnel(values, config, base),
        "squeeze": network.squeeze(values, config, base),
        "attention": network.attention(values, config, shown),
        **read,
    }


def _reading(
    subject: Subject,
    tokenizer: CTCTokenizer,
    input_values: Array,
    logits: Array,
    text: str | None,
    decoder: BeamSearch | None,
    duration: float,
) -> dict[str, Any]:
    """The keys of the document from the letters on."""
    frame, blank = Fraction(subject.config.hop, subject.feature_extractor.sampling_rate), tokenizer.pad_token_id
    log_probs = log_softmax(logits.astype(np.float64))
    heard = transcript_from_logits(logits, tokenizer, seconds_per_frame=frame, duration=duration, decoder=decoder)
    found = [] if decoder is None else reading.beams(log_probs, tokenizer, decoder)
    placed = None
    if text is not None:
        placed = align_logits(logits, text, tokenizer, seconds_per_frame=frame, duration=duration).words
        targets = text_tokens(text, tokenizer, vocab_size=logits.shape[1])
    else:
        targets = found[0]["tokens"] if found else collapse(greedy_path(logits), blank=blank)
    alignment = forced_align(log_probs, targets, blank=blank)
    shown = reading.letters(log_probs, targets, tokenizer)
    spoken = heard.words if placed is None else placed
    return {
        "text": {"heard": heard.text, "given": None if text is None else " ".join(text.split())},
        "letters": shown,
        "lattice": reading.lattice(log_probs, targets, alignment, blank=blank, rows=shown["ids"]) if targets else None,
        "words": reading.words(spoken),
        "beams": [{key: value for key, value in each.items() if key != "tokens"} for each in found],
        "gradients": reading.gradients(subject, input_values, targets, alignment.tokens, spoken, float(frame)) if spoken else None,
    }


def _read(recording: Recording, rate: int, config: Config) -> Array:
    """All of a recording, of which no more is read than a page can show."""
    blocks: list[Array] = []
    count = 0
    for block in recording.blocks():
        blocks.append(block)
        count += len(block)
        if count > LONGEST * rate:
            raise AudioError(f"{recording.name}: expected at most {LONGEST:.0f} seconds, which a page can show")
    if count < config.minimum_samples:
        raise AudioError(f"{recording.name}: expected at least {config.minimum_samples} samples, found {count}")
    return np.concatenate(blocks)


def _layers(given: Sequence[int], config: Config) -> list[int]:
    return sorted({check_whole("layers", number, 0, config.num_hidden_layers - 1) for number in given})


def _called(audio: Audio) -> str:
    """The clip's name, without the folders it lies in: a page is given to others."""
    return Path(os.fsdecode(audio)).name if isinstance(audio, str | os.PathLike) and audio != "-" else audio_name(audio)


def _wav(waveform: Array, rate: int) -> str:
    """A WAV file of 16 bits a sample, in base64."""
    samples = np.clip(np.rint(waveform.astype(np.float64) * 2**15), -(2**15), 2**15 - 1).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples.tobytes())
    return base64.b64encode(file.getvalue()).decode("ascii")
