"""Checkpoint folders: files on one side, flat weight dicts on the other.  Knows formats and key spellings, and no maths."""

from sewnp.checkpoints.any import read_any
from sewnp.checkpoints.fingerprint import fingerprint
from sewnp.checkpoints.folder import Checkpoint, read_checkpoint, write_checkpoint
from sewnp.checkpoints.names import flatten, nest
from sewnp.checkpoints.stored import TensorFile
from sewnp.checkpoints.tensors import open_file, open_tensors, write_tensors

__all__ = [
    "Checkpoint",
    "TensorFile",
    "fingerprint",
    "flatten",
    "nest",
    "open_file",
    "open_tensors",
    "read_any",
    "read_checkpoint",
    "write_checkpoint",
    "write_tensors",
]
