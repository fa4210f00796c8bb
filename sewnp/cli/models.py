"""``sewnp models``: what can be loaded without a download."""

import argparse

from sewnp.catalogue import KnownModel, models
from sewnp.cli.output import show
from sewnp.errors import printable

DESCRIPTION = """\
List the models that are here: those that come with the package, and the SEW and SEW-D models in the
cache of the Hugging Face hub.  Sizes are those of the weights on disk; licences and error rates are
what the models' cards say, each measured on a set of its own."""
EXAMPLES = """\
examples:
  sewnp models
  sewnp transcribe clip.wav --model digits-d"""

_MEASURES = {"wer": "words wrong", "accuracy": "right"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This command has none."""


def run(options: argparse.Namespace) -> int:
    """Print the table -> exit status."""
    rows = [("name", "", "size", "licence", "measured"), *map(_row, models())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    show("\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows))
    return 0


def _row(model: KnownModel) -> tuple[str, ...]:
    measured = ", ".join(f"{model.measures[name]:g} % {what}" for name, what in _MEASURES.items() if name in model.measures)
    licence = printable(model.licence, longest=30) if model.licence else "-"
    return printable(model.name), model.source, f"{model.bytes / 1e6:.1f} MB", licence, measured or "-"
