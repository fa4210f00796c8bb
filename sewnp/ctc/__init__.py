"""Connectionist temporal classification (CTC): from a token a frame to a text, and how likely a text is.

A recogniser emits one distribution over V tokens a frame, far more frames than a text has letters, and nobody knows which frame
belongs to which letter.  CTC adds one token, the *blank*, that stands for "nothing new here", and reads a path of frames by merging
repeats and dropping blanks::

    _ s s _ e _ e e     spells  "see"

Decoding runs this forwards: the likeliest path, collapsed (:mod:`~sewnp.ctc.greedy`), or the likeliest text, all its paths summed
(:mod:`~sewnp.ctc.prefix_search`; faster, and with a language model, in :mod:`sewnp.decoding`).  Training asks the opposite question,
how probable all the paths that spell a given text are together (:mod:`~sewnp.ctc.lattice`), and calls minus the log of it the loss
(:mod:`~sewnp.ctc.loss`); the likeliest of those paths says when each token was heard (:mod:`~sewnp.ctc.alignment`; in a recording of
an hour :mod:`~sewnp.ctc.band`).  Which token is the blank is always said by the caller: it is the configuration's ``pad_token_id``.

>>> import numpy as np
>>> from sewnp.ctc import collapse, ctc_loss
>>> collapse([0, 1, 1, 0, 2, 0, 2, 2], blank=0)
[1, 2, 2]
>>> fair = np.log(np.full((1, 2, 2), 0.5))  # two frames, each a coin: "a" or blank
>>> loss = ctc_loss(fair, [[1]], [2], [1], blank=0)  # "aa", "a_" and "_a" spell "a": 3 paths of 4
>>> round(float(np.exp(-loss)), 12)
0.75

Graves, Fernández, Gomez and Schmidhuber (2006), "Connectionist Temporal Classification: Labelling Unsegmented Sequence Data with
Recurrent Neural Networks", ICML.
"""

from sewnp.ctc.alignment import (
    ForcedAlignment,
    TokenSpan,
    forced_align,
    frames_needed,
    merge_tokens,
    span_probability,
    with_wildcard,
)
from sewnp.ctc.band import probabilities_inside
from sewnp.ctc.greedy import Run, collapse, greedy_decode, greedy_path, runs
from sewnp.ctc.lattice import ctc_alpha, ctc_beta, extended_targets, log_likelihood, posteriors
from sewnp.ctc.loss import clean_labels, ctc_loss, ctc_loss_vjp
from sewnp.ctc.prefix_search import ScoredText, prefix_search

__all__ = [
    "ForcedAlignment",
    "Run",
    "ScoredText",
    "TokenSpan",
    "clean_labels",
    "collapse",
    "ctc_alpha",
    "ctc_beta",
    "ctc_loss",
    "ctc_loss_vjp",
    "extended_targets",
    "forced_align",
    "frames_needed",
    "greedy_decode",
    "greedy_path",
    "log_likelihood",
    "merge_tokens",
    "posteriors",
    "prefix_search",
    "probabilities_inside",
    "runs",
    "span_probability",
    "with_wildcard",
]
