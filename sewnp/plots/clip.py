"""A clip as a model hears it, from its sound to its words."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from sewnp.errors import AudioError, InputError, check_whole
from sewnp.layers.softmax import softmax
from sewnp.model import Model
from sewnp.networks import FAMILIES
from sewnp.plots.transcript import plot_transcript
from sewnp.speech.audio import AudioFile, audio_name
from sewnp.speech.stream import read_audio
from sewnp.speech.transcript import transcript_from_logits
from sewnp.types import Array

HEADS = 4
"""So many are drawn unless the caller says otherwise."""


def plot_clip(
    model: Model,
    audio: AudioFile,
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    allow_truncated: bool = False,
) -> Any:
    """Run a model on a clip, and draw :func:`plot_transcript` of it with the attention of some layers and heads -> Figure.

    layers, heads: counted from 0; by default the first layer, a middle one and the last, and the first :data:`HEADS` heads.  No layers,
    no attention.  allow_truncated: as for ``Model.transcribe``.

    Raises InputError for layers and heads that the model does not have, and for a model without a CTC head or a
    vocabulary; AudioError for audio that cannot be used or is too short.
    """
    tokenizer, config, rate = model.tokenizer, model.config, model.feature_extractor.sampling_rate
    if model.head != "ctc" or tokenizer is None:
        raise InputError(f"{model.name}: drawing needs a CTC head and a vocab.json, as transcribing does")
    depth = config.num_hidden_layers
    layers = _chosen("layers", layers, depth, [0, depth // 2, depth - 1])
    heads = _chosen("heads", heads, config.num_attention_heads, range(min(HEADS, config.num_attention_heads)))
    waveform = read_audio(audio, sampling_rate=rate, allow_truncated=allow_truncated)
    if len(waveform) < config.minimum_samples:
        raise AudioError(f"{audio_name(audio)}: expected at least {config.minimum_samples} samples, found {len(waveform)}")
    logits, attentions = _run(model, waveform, layers, heads)
    frame = Fraction(config.hop, rate)
    return plot_transcript(
        waveform,
        rate,
        transcript_from_logits(logits, tokenizer, seconds_per_frame=frame, duration=len(waveform) / rate),
        softmax(logits),
        [tokenizer.token_of(i) for i in range(config.vocab_size)],
        seconds_per_frame=float(frame),
        blank=tokenizer.token_of(tokenizer.pad_token_id),
        attentions=attentions,
        seconds_per_attention=float(frame * config.squeeze_factor),
    )


def _run(model: Model, waveform: Array, layers: Sequence[int], heads: Sequence[int]) -> tuple[Array, dict[str, Array]]:
    """The logits (T, V), and the attention (N, N) of the chosen layers and heads; of the others nothing is kept."""
    stages = FAMILIES[model.config.model_type].attentions(model.config)
    wanted = {stages[layer]: layer for layer in layers}
    kept: dict[tuple[int, int], Array] = {}

    def see(name: str, x: Array) -> Array:
        if name in wanted:
            kept.update({(wanted[name], head): np.array(x[0, head]) for head in heads})
        return x

    logits = model(model.features(waveform, attention_mask=False).input_values, see=see).logits
    assert logits is not None  # there is a head
    return logits[0], {f"Layer {layer}, head {head}": kept[layer, head] for layer in layers for head in heads}


def _chosen(name: str, given: Sequence[int] | None, count: int, default: Sequence[int]) -> list[int]:
    """Layers or heads, once each."""
    return [check_whole(name, number, 0, count - 1) for number in dict.fromkeys(default if given is None else given)]
