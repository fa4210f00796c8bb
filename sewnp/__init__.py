"""Speech recognition with SEW and SEW-D (Squeezed and Efficient Wav2Vec), in explicit NumPy: transcribe with it, read it, check a port against it.

>>> import sewnp
>>> model = sewnp.load("digits")
>>> transcript = model.transcribe("three_one_four.wav")  # doctest: +SKIP
>>> print(transcript)  # doctest: +SKIP
THREE ONE FOUR ONE FIVE NINE
>>> transcript.save("three_one_four.srt")  # doctest: +SKIP

``load``             a model by name, folder or hub id; ``models`` says which are here
``transcribe``       one clip in one call; ``model.transcribe`` for more, ``transcribe_many`` for any number, ``classify_many`` for labels
``convert``          any checkpoint to a folder of safetensors; ``from_config`` makes a model with fresh weights
``SewError``         the parent of all errors that bad input causes

A transcript has ``text``, ``words`` with times and probabilities, ``to_dict``, ``to_srt``, ``to_vtt``, ``to_tsv`` and ``save``.

The layers are in ``sewnp.layers``, the CTC algorithms in ``sewnp.ctc``, beam search in ``sewnp.decoding``, the networks in ``sewnp.networks``.
"""

from sewnp import ctc, layers
from sewnp.batch import classify_many, transcribe_many
from sewnp.catalogue import KnownModel, models
from sewnp.config import SEWConfig, SEWDConfig
from sewnp.errors import (
    AudioError,
    AudioWarning,
    CheckpointError,
    ConfigError,
    InputError,
    KindError,
    SewError,
    TokenizerError,
    WorkerError,
)
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
    "KindError",
    "KnownModel",
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
    "models",
    "preset",
    "transcribe",
    "transcribe_many",
]
