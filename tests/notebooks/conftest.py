"""Notebooks import ``checks`` from the folder they stand in; so do their tests (``from checks import waveform``)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "notebooks"))
