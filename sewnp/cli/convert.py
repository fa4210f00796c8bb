"""``sewnp convert``: any checkpoint into a folder of safetensors."""

import argparse
import os

from sewnp.cli.output import tell
from sewnp.files import path_name
from sewnp.loading import convert
from sewnp.parameters import parameter_shapes

DESCRIPTION = """\
Turn a checkpoint into a folder that sewnp and transformers load, with its weights in safetensors.

IN is a checkpoint folder (pytorch_model.bin, in one file or in shards), a hub id, or an original
.pt of SEW or SEW-D as fairseq saved it, pre-trained or fine-tuned. Nothing in it is executed:
what is neither tensors nor plain data is kept as data. Weights keep their precision; bfloat16
becomes float32, which holds it exactly."""
EXAMPLES = """\
examples:
  sewnp convert sew-mid-100k-ft-keyword-spotting sew-mid-safe
  sewnp convert sew-d-tiny-100k.pt sew-d-tiny
  sewnp convert checkpoint_best.pt my-model --dict data/dict.ltr.txt"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("source", metavar="IN", help="a checkpoint folder, a hub id, or a fairseq .pt file")
    parser.add_argument("target", metavar="OUT", help="the folder to write; files of the same names in it are replaced")
    parser.add_argument("--dict", metavar="FILE", help="dictionary of a fine-tuned .pt (default: dict.ltr.txt beside it)")
    parser.add_argument("--config", metavar="FILE", help="a config.json to use in place of the arguments that a .pt holds")


def run(options: argparse.Namespace) -> int:
    """Convert -> exit status."""
    if os.path.isdir(options.source) and (options.dict or options.config):
        options.refuse(
            f"arguments --dict and --config: expected with a .pt file; {path_name(options.source)} is a folder and has its own"
        )
    checkpoint = convert(options.source, options.target, dictionary=options.dict, config=options.config)
    parameters = sum(x.size for x in checkpoint.weights.values())
    lacking = [key for key in parameter_shapes(checkpoint.config, checkpoint.head) if key not in checkpoint.weights]
    dtype = next(iter(checkpoint.weights.values())).dtype
    tell(
        f"{checkpoint.config.model_type}, {checkpoint.head or 'no'} head, {parameters:,} parameters in {dtype},"
        f" in {path_name(options.target)}" + "".join(f"; without {key}, as {path_name(options.source)}" for key in lacking)
    )
    return 0
