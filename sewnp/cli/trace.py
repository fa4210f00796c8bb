"""``sewnp trace``: every stage of a forward pass, in a file."""

import argparse
import json
from dataclasses import replace

from sewnp.cli.clips import add_model
from sewnp.cli.output import tell
from sewnp.cli.overwriting import check_outputs, model_files
from sewnp.cli.truncated import add_allow_truncated
from sewnp.files import path_name
from sewnp.loading import load
from sewnp.numerics import Inputs, budgets, honest_runs, trace, write_trace
from sewnp.speech.stream import read_audio

DESCRIPTION = """\
Write every stage of a forward pass, under its public name, to a safetensors file.

A float64 trace (the default) is the truth that ports are held against. It carries each
stage's budget: what honest float32 arithmetic costs there. See sewnp compare."""
EXAMPLES = """\
examples:
  sewnp trace clip.wav -o trace.safetensors
  sewnp trace clip.wav --model path/to/checkpoint -o trace.safetensors
  sewnp trace clip.wav -o layer0.safetensors --stages 'encoder.layers.0.*' logits"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("audio", metavar="AUDIO", help="an audio file; - reads standard input")
    add_model(parser, default="digits")
    add_allow_truncated(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), default="float64", help="what to compute in (default: %(default)s)"
    )
    parser.add_argument("--stages", nargs="+", default=[], metavar="NAME", help="only these stages, with * and ? (default: all)")


def run(options: argparse.Namespace) -> int:
    """Trace the clip -> exit status."""
    check_outputs(options, {"-o": options.output}, {"the recording": [options.audio]} | model_files(options.model))
    model = load(options.model, dtype=options.dtype)
    rate = model.feature_extractor.sampling_rate
    waveform = read_audio(options.audio, sampling_rate=rate, allow_truncated=options.allow_truncated)
    features = model.features(waveform)
    inputs = Inputs(features.input_values, features.attention_mask)
    recorded = trace(model, **inputs.arguments(), stages=options.stages)
    if options.dtype == "float64":
        allowed = budgets(recorded, honest_runs(model, inputs))
        recorded = replace(recorded, metadata={**recorded.metadata, "budgets": json.dumps(allowed)})
    write_trace(options.output, recorded)
    tell(f"{len(recorded)} stages in {path_name(options.output)}")
    return 0
