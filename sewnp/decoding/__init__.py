"""From a network's outputs to the best text, with help from outside: beam search, and language models read from files.

What CTC says of texts by itself is in :mod:`sewnp.ctc`, the plain prefix search among it.  Here is the same search on arrays
(:mod:`~sewnp.decoding.search`), word n-grams (:mod:`~sewnp.decoding.language_model`), the file format they come in
(:mod:`~sewnp.decoding.arpa`), lists of words (:mod:`~sewnp.decoding.lexicon`), how their scores join those of the network
(:mod:`~sewnp.decoding.fusion`), all of it as a user has it (:mod:`~sewnp.decoding.beam`), and as transformers' folders have it
(:mod:`~sewnp.decoding.processor`).

>>> import numpy as np
>>> from sewnp.decoding import BeamSearch
>>> log_probs = np.log([[0.6, 0.4], [0.6, 0.4]])  # the blank leads in each frame, but "a" has more paths
>>> best, other = BeamSearch().decode(log_probs, blank=0, n_best=2)
>>> best.tokens, round(float(np.exp(best.score)), 12), other.tokens
((1,), 0.64, ())
"""

from sewnp.ctc.prefix_search import Spelling
from sewnp.decoding.beam import BeamSearch
from sewnp.decoding.fusion import Fusion
from sewnp.decoding.language_model import LanguageModel
from sewnp.decoding.lexicon import read_words
from sewnp.decoding.processor import read_processor
from sewnp.decoding.search import Hypothesis, beam_search

__all__ = ["BeamSearch", "Fusion", "Hypothesis", "LanguageModel", "Spelling", "beam_search", "read_processor", "read_words"]
