"""The networks: layers composed along the checkpoint's scopes, and nothing else.

``base_model`` turns waveforms into hidden states, the heads turn those into logits and losses, ``run`` does both.  A recording too long for
that goes through ``windowed_states``, with the statistics that ``WindowMoments`` gathers of the whole.
"""

from sewnp.networks.base import FAMILIES, Family, base_model
from sewnp.networks.heads import classification_logits, cross_entropy, ctc_logits
from sewnp.networks.moments import Moments, WindowMoments, convolution_moments, fold_norm, fold_statistics
from sewnp.networks.outputs import Output
from sewnp.networks.run import Fast, run
from sewnp.networks.stages import STAGE_LIST_VERSION, STAGES, Stage, stage_of
from sewnp.networks.windows import Parts, TextbookParts, Window, plan_windows, windowed_states

__all__ = [
    "FAMILIES",
    "STAGES",
    "STAGE_LIST_VERSION",
    "Family",
    "Fast",
    "Moments",
    "Output",
    "Parts",
    "Stage",
    "TextbookParts",
    "Window",
    "WindowMoments",
    "base_model",
    "classification_logits",
    "convolution_moments",
    "cross_entropy",
    "ctc_logits",
    "fold_norm",
    "fold_statistics",
    "plan_windows",
    "run",
    "stage_of",
    "windowed_states",
]
