"""SEW and SEW-D (Squeezed and Efficient Wav2Vec) in explicit NumPy: read it, check a port against it, transcribe with it.

>>> import sewnp
>>> model = sewnp.load("digits")
>>> model.transcribe("three_one_four.wav").text  # doctest: +SKIP
'THREE ONE FOUR ONE FIVE NINE'

The layers are in ``sewnp.layers``, the CTC algorithms in ``sewnp.ctc``, beam search in ``sewnp.decoding``, the networks in ``sewnp.networks``.
"""

from sewnp import ctc, layers
from sewnp.batch import classify_many, transcribe_many
from sewnp.config import SEWConfig, SEWDConfig
from sewnp.errors import AudioError, AudioWarning, CheckpointError, ConfigError, InputError, SewError, TokenizerError, WorkerError
from sewnp.loading import convert, from_config, load, transcribe
from sewnp.model import Model
from sewnp.presets import PRESETS, preset
from sewnp.version import __version__

__all__ = [
    "PRESETS",
    "AudioError",
    "AudioWarning",
    "CheckpointError",
    "ConfigError",
    "InputError",
    "Model",
    "SEWConfig",
    "SEWDConfig",
    "SewError",
    "TokenizerError",
    "WorkerError",
    "__version__",
    "classify_many",
    "convert",
    "ctc",
    "from_config",
    "layers",
    "load",
    "preset",
    "transcribe",
    "transcribe_many",
]
