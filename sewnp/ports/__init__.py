"""Other people's implementations: their names for the stages, the stages of a live model of transformers, and what there is to say of them.

A port's stages in a file are held against a trace of ours by :func:`judge`, as ``sewnp compare`` does; :func:`from_torch` records those of a
model of transformers.
"""

from sewnp.ports.capture import from_torch
from sewnp.ports.judge import judge, traced_config
from sewnp.ports.names import Target, read_map, renamed, transformers_names

__all__ = ["Target", "from_torch", "judge", "read_map", "renamed", "traced_config", "transformers_names"]
