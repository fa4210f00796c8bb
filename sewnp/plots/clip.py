"""A clip as a model hears it, from its sound to its words."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import Any

from sewnp.errors import AudioError, InputError, check_whole
from sewnp.inputs import about, calmly
from sewnp.layers.softmax import softmax
from sewnp.long import window_frames
from sewnp.model import Model
from sewnp.networks import FAMILIES
from sewnp.plots.transcript import plot_transcript, pool, seconds_drawn
from sewnp.speech.audio import AudioFile
from sewnp.speech.stream import open_recording
from sewnp.speech.transcript import transcript_from_logits
from sewnp.types import Array

HEADS = 4
"""So many are drawn unless the caller says otherwise."""


@calmly
def plot_clip(
    model: Model,
    audio: AudioFile,
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    allow_truncated: bool = False,
) -> Any:
    """Run a model on a recording, and draw :func:`plot_transcript` of it with the attention of some layers and heads -> Figure.

    The words are those of ``Model.transcribe``, found as the model's folder asks for it, and in windows where a piece is
    long; of a long recording the attention over its first window is drawn, as of a clip by itself.  layers, heads: counted from 0; by
    default the first layer, a middle one and the last, and the first :data:`HEADS` heads.  No layers, no attention.  Memory does not grow
    with the recording, the logits excepted.  allow_truncated: as for ``Model.transcribe``.

    Raises InputError for layers and heads that the model does not have, for a model without a CTC head or a vocabulary, and for
    attention that does not fit into this machine's memory; AudioError for audio that cannot be used or is too short.
    """
    tokenizer, config, rate = model.tokenizer, model.config, model.feature_extractor.sampling_rate
    if model.head != "ctc" or tokenizer is None:
        raise InputError(f"{model.name}: drawing needs a CTC head and a vocab.json, as transcribing does")
    depth = config.num_hidden_layers
    layers = _chosen("layers", layers, depth, [0, depth // 2, depth - 1])
    heads = _chosen("heads", heads, config.num_attention_heads, range(min(HEADS, config.num_attention_heads)))
    frame = Fraction(config.hop, rate)
    with open_recording(audio, target=rate, allow_truncated=allow_truncated) as recording:
        whole = window_frames(config, rate, None, None)[0] * config.hop  # samples of one piece
        beginning = recording.beginning(whole)
        if len(beginning) < config.minimum_samples:
            raise AudioError(f"{recording.name}: expected at least {config.minimum_samples} samples, found {len(beginning)}")
        attentions, step = _attentions(model, beginning, layers, heads) if layers else ({}, 1)
        logits, samples = model.recording_logits(recording, segment=None)
        with about(recording.name):
            told: dict[str, Any] = {"seconds_per_frame": frame, "duration": samples / rate}
            transcript = transcript_from_logits(logits, tokenizer, **told, decoder=model.feature_extractor.decoder)
        waveform = recording.beginning(ceil(seconds_drawn(transcript) * rate))
    return plot_transcript(
        waveform,
        rate,
        transcript,
        softmax(logits[: ceil(seconds_drawn(transcript) / frame)]),
        [tokenizer.token_of(i) for i in range(config.vocab_size)],
        seconds_per_frame=float(frame),
        blank=tokenizer.token_of(tokenizer.pad_token_id),
        attentions=attentions,
        seconds_per_attention=float(frame * config.squeeze_factor * step),
    )


def _attentions(model: Model, waveform: Array, layers: Sequence[int], heads: Sequence[int]) -> tuple[dict[str, Array], int]:
    """The attention of the chosen layers and heads over a waveform (n,), as it can be drawn, and how many frames a cell of it stands for."""
    stages = FAMILIES[model.config.model_type].attentions(model.config)
    wanted = {stages[layer]: layer for layer in layers}
    kept: dict[tuple[int, int], tuple[Array, int]] = {}

    def see(name: str, x: Array) -> Array:
        if name in wanted:
            kept.update({(wanted[name], head): pool(x[0, head]) for head in heads})
        return x

    model(model.features(waveform, attention_mask=False).input_values, see=see)
    maps = {f"Layer {layer}, head {head}": kept[layer, head][0] for layer in layers for head in heads}
    return maps, next(iter(kept.values()))[1]


def _chosen(name: str, given: Sequence[int] | None, count: int, default: Sequence[int]) -> list[int]:
    """Layers or heads, once each."""
    return [check_whole(name, number, 0, count - 1) for number in dict.fromkeys(default if given is None else given)]
