"""``sewnp plot``: a clip from its sound to its words, in a picture."""

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sewnp.cli.clips import add_model
from sewnp.cli.output import save_plot
from sewnp.errors import AudioError, InputError
from sewnp.layers.softmax import softmax
from sewnp.loading import load
from sewnp.model import Model
from sewnp.networks import FAMILIES
from sewnp.plots.transcript import plot_transcript
from sewnp.speech import read_audio, transcript_from_logits
from sewnp.speech.audio import source_name
from sewnp.types import Array

DESCRIPTION = """\
Draw what a model hears: the waveform, the letters' probabilities over time with the words
found, and who attends to whom in chosen layers and heads. Times are in seconds everywhere.
Needs matplotlib: python -m pip install 'sewnp[plots]'"""
EXAMPLES = """\
examples:
  sewnp plot clip.wav -o clip.png
  sewnp plot clip.wav -o clip.svg --layers 0 5 --heads 2
  sewnp plot clip.wav -o clip.pdf --layers         no attention"""

_HEADS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("audio", metavar="AUDIO", help="an audio file, a minute or less to be readable; - reads standard input")
    add_model(parser, default="digits")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the picture: .png, .svg or .pdf")
    parser.add_argument(
        "--layers",
        type=int,
        nargs="*",
        metavar="L",
        help="draw the attention of these layers, counted from 0 (default: the first, a middle one and the last)",
    )
    parser.add_argument("--heads", type=int, nargs="+", metavar="H", help=f"and of these heads (default: the first {_HEADS})")


def run(options: argparse.Namespace) -> int:
    """Draw the clip -> exit status."""
    model = load(options.model)
    tokenizer = model.tokenizer
    if model.head != "ctc" or tokenizer is None:
        raise InputError(f"{model.name}: drawing needs a CTC head and a vocab.json, as transcribing does")
    config, rate = model.config, model.feature_extractor.sampling_rate
    layers = _chosen(
        "--layers", options.layers, config.num_hidden_layers, [0, config.num_hidden_layers // 2, config.num_hidden_layers - 1]
    )
    heads = _chosen("--heads", options.heads, config.num_attention_heads, list(range(config.num_attention_heads))[:_HEADS])
    samples = read_audio(options.audio, sampling_rate=rate)
    if len(samples) < config.minimum_samples:
        raise AudioError(f"{source_name(options.audio)}: expected at least {config.minimum_samples} samples, found {len(samples)}")
    logits, attentions = _heard(model, samples, layers, heads)
    frame = Fraction(config.hop, rate)
    transcript = transcript_from_logits(logits, tokenizer, seconds_per_frame=frame, duration=len(samples) / rate)

    def draw() -> Any:
        figure = plot_transcript(
            samples,
            rate,
            transcript,
            softmax(logits),
            [tokenizer.token_of(i) for i in range(config.vocab_size)],
            seconds_per_frame=float(frame),
            blank=tokenizer.token_of(tokenizer.pad_token_id),
            attentions=attentions,
            seconds_per_attention=float(frame * config.squeeze_factor),
        )
        return figure.axes[0]

    save_plot(draw, Path(options.output))
    return 0


def _heard(model: Model, samples: Array, layers: list[int], heads: list[int]) -> tuple[Array, dict[str, Array]]:
    """The logits (T, V), and the attention (N, N) of the chosen layers and heads; of the others nothing is kept."""
    stages = FAMILIES[model.config.model_type].attentions(model.config)
    wanted = {stages[layer]: layer for layer in layers}
    found: dict[tuple[int, int], Array] = {}

    def see(name: str, x: Array) -> Array:
        if name in wanted:
            found.update({(wanted[name], head): np.array(x[0, head]) for head in heads})
        return x

    logits = model(model.features(samples, attention_mask=False).input_values, see=see).logits
    assert logits is not None  # there is a head
    return logits[0], {f"Layer {layer}, head {head}": found[layer, head] for layer in layers for head in heads}


def _chosen(option: str, given: list[int] | None, count: int, default: list[int]) -> list[int]:
    """Layers or heads, once each."""
    chosen = list(dict.fromkeys(default if given is None else given))
    for number in chosen:
        if not 0 <= number < count:
            raise InputError(f"{option}: expected numbers from 0 to {count - 1}, found {number}")
    return chosen
