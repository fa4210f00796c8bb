"""``sewnp trace``: every stage of a pass, forwards and on request back, in a file."""

import argparse
import json
from dataclasses import replace

from sewnp.cli.clips import add_model
from sewnp.cli.output import tell
from sewnp.cli.overwriting import check_outputs, model_files
from sewnp.cli.truncated import add_allow_truncated
from sewnp.ctc import frames_needed
from sewnp.errors import InputError, printable
from sewnp.files import path_name
from sewnp.loading import load
from sewnp.model import Model
from sewnp.numerics import Inputs, budgets, honest_runs, trace, write_trace, zero_scales
from sewnp.numerics.trace import chosen
from sewnp.speech import read_audio, text_tokens
from sewnp.speech.labels import label_number

DESCRIPTION = """\
Write every stage of a forward pass, under its public name, to a safetensors file.

A float64 trace (the default) is the truth that ports are held against. It carries each
stage's budget: what honest float32 arithmetic costs there. See sewnp compare.

With --text there is a loss, and with --gradients its derivatives too: gradient.<stage> by
every stage and gradient.<weight> by every weight, as model.gradients has them, undropped."""
EXAMPLES = """\
examples:
  sewnp trace clip.wav -o trace.safetensors
  sewnp trace clip.wav --model path/to/checkpoint -o trace.safetensors
  sewnp trace clip.wav -o layer0.safetensors --stages 'encoder.layers.0.*' logits
  sewnp trace clip.wav --text "THREE ONE FOUR" --gradients -o trace.safetensors
  sewnp trace word.wav --model digit-words --text THREE --gradients -o trace.safetensors"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("audio", metavar="AUDIO", help="an audio file; - reads standard input")
    add_model(parser, default="digits")
    add_allow_truncated(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), default="float64", help="what to compute in (default: %(default)s)"
    )
    parser.add_argument("--text", metavar="TEXT", help="what is said, for the loss; for a classifier its label")
    parser.add_argument("--gradients", action="store_true", help="the gradients of the loss too; needs --text")
    parser.add_argument("--stages", nargs="+", default=[], metavar="NAME", help="only these stages, with * and ? (default: all)")


def run(options: argparse.Namespace) -> int:
    """Trace the clip -> exit status."""
    if options.gradients and options.text is None:
        raise InputError("--gradients: those of a loss, which needs --text")
    check_outputs(options, {"-o": options.output}, {"the recording": [options.audio]} | model_files(options.model))
    model = load(options.model, dtype=options.dtype)
    rate = model.feature_extractor.sampling_rate
    waveform = read_audio(options.audio, sampling_rate=rate, allow_truncated=options.allow_truncated)
    features = model.features(waveform)
    frames = model.config.frames(features.input_values.shape[1])
    labels = None if options.text is None else _labels(model, options.text, frames)
    inputs = Inputs(features.input_values, features.attention_mask, labels, gradients=options.gradients)
    whole = trace(model, **inputs.arguments())
    recorded = replace(whole, stages={name: whole[name] for name in chosen(whole, options.stages)})
    if options.dtype == "float64":
        allowed = budgets(whole, honest_runs(model, inputs))
        kept = {"budgets": {name: allowed[name] for name in recorded}}
        if options.gradients:
            kept["scales"] = {name: scale for name, scale in zero_scales(whole).items() if name in recorded}
        recorded = replace(recorded, metadata={**recorded.metadata, **{key: json.dumps(value) for key, value in kept.items()}})
    write_trace(options.output, recorded)
    tell(f"{len(recorded)} stages in {path_name(options.output)}")
    return 0


def _labels(model: Model, text: str, frames: int) -> list[list[int]] | list[int]:
    """What is said as the loss of the model's head wants it; it has to fit into the frames."""
    if model.head == "classification":
        return [label_number("--text", text, model.config.id2label)]
    if model.head != "ctc" or model.tokenizer is None:
        raise InputError(f"--text: {printable(model.name)} has no {'vocabulary' if model.head else 'head, and so no loss'}")
    tokens = text_tokens(text, model.tokenizer, vocab_size=model.config.vocab_size)
    if frames_needed(tokens) > frames:
        raise InputError(f"--text: needs {frames_needed(tokens)} frames, found {frames} in the clip")
    return [tokens]
