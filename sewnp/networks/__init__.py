"""The networks: layers composed along the checkpoint's scopes, and nothing else.

``sew`` and ``sew_d`` turn waveforms into hidden states, the heads turn those into logits and losses, ``run`` does both behind one seam.
"""

from sewnp.networks.heads import classification_logits, cross_entropy, ctc_logits
from sewnp.networks.outputs import Output
from sewnp.networks.run import Trunk, run, textbook_trunk
from sewnp.networks.sew import sew
from sewnp.networks.sew_d import sew_d

__all__ = ["Output", "Trunk", "classification_logits", "cross_entropy", "ctc_logits", "run", "sew", "sew_d", "textbook_trunk"]
