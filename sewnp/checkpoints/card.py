"""A model card's head: licence and error rates, as the Hugging Face hub has its authors write them (https://huggingface.co/docs/hub/model-cards)."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from sewnp.errors import CheckpointError
from sewnp.files import read_text

CARD = "README.md"


@dataclass(frozen=True)
class Card:
    """What is read of one.  Of the YAML at its top no more than lines of these forms: ``license: mit``, ``type: wer`` above ``value: 3.5``."""

    licence: str | None = None
    measures: dict[str, float] = field(default_factory=dict)
    """By the metric's name: "wer" in per cent, "accuracy" in per cent.  The first of each."""


def read_card(folder: Path) -> Card:
    """The card in a model's folder; an empty one where there is none or it cannot be read: nothing hangs on it."""
    try:
        text = read_text(folder / CARD, error=CheckpointError)
    except CheckpointError:
        return Card()
    head = re.match(r"---\n(.*?\n)---\n", text, re.DOTALL)
    if head is None:
        return Card()
    licence = re.search(r"^license: *[\"']?([^\"'\n]+)", head[1], re.MULTILINE)
    found = re.findall(r"^[ -]*type: *(\w+)\n *value: *(\d{1,4}(?:\.\d{1,9})?)$", head[1], re.MULTILINE)
    return Card(licence[1].strip() if licence else None, {name: float(value) for name, value in reversed(found)})
