"""``sewnp inspect``: a model's story in numbers."""

import argparse

from sewnp.cli.output import show
from sewnp.costs import stages
from sewnp.errors import printable
from sewnp.loading import load
from sewnp.model import Model

DESCRIPTION = """\
Tell a model's story: its family, every stage with shape and frame rate for a second of audio,
its receptive field and hop, its parameters and multiply-adds."""
EXAMPLES = """\
examples:
  sewnp inspect digits
  sewnp inspect path/to/checkpoint-folder"""

_FAMILIES = {"sew": "SEW (squeezed wav2vec 2.0)", "sew-d": "SEW-D (SEW with disentangled attention)"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument(
        "model", metavar="MODEL", help="an embedded model's name (digits, digits-d, digit-words), a checkpoint folder or a hub id"
    )


def run(options: argparse.Namespace) -> int:
    """Print the story -> exit status."""
    show(story(load(options.model)))
    return 0


def story(model: Model) -> str:
    """The text that the command prints."""
    config, rate = model.config, model.feature_extractor.sampling_rate
    sample_count = max(rate, config.minimum_samples)
    rows = stages(config, sample_count, model.head)
    parameters, work = sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)
    milliseconds = 1000 / rate
    lines = [
        f"{printable(model.name)}: {_FAMILIES[config.model_type]}, {f'{model.head} head' if model.head else 'base model, no head'}",
        f"  sampling rate    {rate} Hz",
        f"  hop              {config.hop} samples ({config.hop * milliseconds:g} ms): {rate / config.hop:g} frames a second,"
        f" {rate / config.hop / config.squeeze_factor:g} in the transformer (squeeze factor {config.squeeze_factor})",
        f"  receptive field  {config.receptive_field} samples ({config.receptive_field * milliseconds:g} ms)",
        f"  shortest clip    {config.minimum_samples} samples ({config.minimum_samples * milliseconds:g} ms)",
        f"  parameters       {parameters:,}",
        f"  multiply-adds    {work:,} for {sample_count} samples ({sample_count / rate:g} s) of audio",
        "",
        f"{'stage':<26}{'frames x channels':>18}{'frames/s':>10}{'parameters':>13}{'multiply-adds':>15}{'share':>8}",
    ]
    for row in rows:
        shape, per_second = f"{row.frames} x {row.channels}", row.frames * rate / sample_count
        share = f"{row.multiply_adds / work:.1%}"
        lines.append(f"{row.name:<26}{shape:>18}{per_second:>10.1f}{row.parameters:>13,}{row.multiply_adds:>15,}{share:>8}")
    return "\n".join(lines)
