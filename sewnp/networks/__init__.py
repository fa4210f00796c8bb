"""The networks: layers composed along the checkpoint's scopes, and nothing else.

``sew_model`` and ``sew_d_model`` turn waveforms into hidden states, the heads turn those into logits and losses, ``run`` does both behind one seam.
"""

from sewnp.networks.heads import classification_logits, cross_entropy, ctc_logits
from sewnp.networks.outputs import Output
from sewnp.networks.run import Trunk, run, textbook_trunk
from sewnp.networks.sew import sew_model
from sewnp.networks.sew_d import sew_d_model

__all__ = [
    "Output",
    "Trunk",
    "classification_logits",
    "cross_entropy",
    "ctc_logits",
    "run",
    "sew_d_model",
    "sew_model",
    "textbook_trunk",
]
