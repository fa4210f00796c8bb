"""Beam search as a user has it: how wide, and with what help, a language model of words, a list of words, hotwords."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sewnp.ctc.prefix_search import Spelling, check_search
from sewnp.decoding.fusion import Fusion
from sewnp.decoding.language_model import LanguageModel
from sewnp.decoding.lexicon import check_words, spelled
from sewnp.decoding.search import Hypothesis, Search
from sewnp.errors import InputError, brief, check_real, check_whole
from sewnp.types import Array

LARGEST_WEIGHT = 1_000_000
"""Of alpha, beta and the unknown offset: with more, scores would have no digits left for the sound, and in the end be infinite."""


@dataclass(frozen=True, eq=False)
class BeamSearch:
    """How to search.  The defaults are those of pyctcdecode (https://github.com/kensho-technologies/pyctcdecode)."""

    beam_width: int = 100
    """Prefixes that are kept after each frame."""
    min_token_log_prob: float = -5.0
    """Tokens below it are no choice in that frame, the likeliest excepted: log 0.0067.  -inf keeps all."""
    beam_threshold: float = 10.0
    """Prefixes whose score is by more than this below the best are dropped, in nats.  inf drops none."""
    language_model: LanguageModel | None = None
    alpha: float = 0.5
    """The weight of the language model's log-probabilities."""
    beta: float = 1.5
    """What each word adds, in nats, with a language model: its probabilities alone would favour few words."""
    unknown_offset: float = -10.0
    """What a word that the language model lacks costs on top of the model's ``<unk>``, log10."""
    words: Sequence[str] | None = None
    """The only words that a text may have, or those that it may have for nothing; None: any letters are words.  In upper or lower case,
    where the vocabulary has but one.  With a language model and a margin those that the vocabulary cannot spell
    are left out, as they are of the model's words."""
    unknown_margin: float = math.inf
    """What each word that is not in ``words`` costs, in nats: a text with one is best where its log-probability is by so much above that of
    all texts without.  inf: there are none."""
    hotwords: Sequence[str] = ()
    """Words that are to be heard more readily; a phrase is its words.  As pyctcdecode's."""
    hotword_weight: float = 10.0
    """What each hotword adds to a text that has it, in nats, and in part while it is being spelled."""

    def __post_init__(self) -> None:
        """Raises InputError for values that mean nothing."""
        check_whole("beam_width", self.beam_width, 1)
        weight = f"a number from {-LARGEST_WEIGHT:,} to {LARGEST_WEIGHT:,}"
        for name, least, most, expected in (
            ("min_token_log_prob", -math.inf, 0.0, "a log-probability of at most 0"),
            ("beam_threshold", 0.0, math.inf, "at least 0"),
            ("alpha", 0.0, LARGEST_WEIGHT, f"a number from 0 to {LARGEST_WEIGHT:,}"),
            ("beta", -LARGEST_WEIGHT, LARGEST_WEIGHT, weight),
            ("unknown_offset", -LARGEST_WEIGHT, LARGEST_WEIGHT, weight),
            ("unknown_margin", 0.0, math.inf, "at least 0"),
            ("hotword_weight", -LARGEST_WEIGHT, LARGEST_WEIGHT, weight),
        ):
            check_real(name, getattr(self, name), least, most, expected=expected)
        if self.language_model is not None and not isinstance(self.language_model, LanguageModel):
            raise InputError(
                f"language_model: expected what LanguageModel.read makes of a file, found {brief(self.language_model)}"
            )
        if self.words is not None:
            object.__setattr__(self, "words", check_words("words", self.words))
        object.__setattr__(self, "hotwords", check_words("hotwords", self.hotwords, phrases=True))

    def __str__(self) -> str:
        """In words: how wide, and with what help."""
        parts = [f"beam_width {self.beam_width}"]
        if self.language_model is not None:
            parts += ["language model", f"alpha {self.alpha:g}", f"beta {self.beta:g}"]
        if self.words is not None:
            parts += [f"words {len(self.words)}", f"unknown_margin {self.unknown_margin:g}"]
        if self.hotwords:
            parts += [f"hotwords {len(self.hotwords)}", f"hotword_weight {self.hotword_weight:g}"]
        return f"beam search: {', '.join(parts)}"

    def decode(self, log_probs: Array, *, blank: int, spelling: Spelling | None = None, n_best: int = 1) -> list[Hypothesis]:
        """The best texts, best first: ``n_best`` of them, or as many as there are in the beam.  log_probs (T, V), floating.

        ``log_probs`` come from :func:`sewnp.layers.log_softmax`; everything is computed in float64.  ``spelling`` says what the
        tokens spell.  With it a text is its words, as in :func:`prefix_search`; a language model, words and hotwords need it.

        The first one's score is never below what greedy decoding would get: the log-probability of its path, and what a language
        model, a list of words and hotwords add to its text; where the list allows that text at all.  Equal scores are ordered as
        :func:`prefix_search` orders them.

        Where ``words`` are the only ones, ``min_token_log_prob`` drops no token: those that the network likes best in a frame may all
        be letters of no word.

        Raises InputError for what :func:`prefix_search` refuses, ``n_best`` below 1, a language model, ``words`` or ``hotwords`` without
        a ``spelling``, or without a word delimiter in it, and words that it cannot spell; LanguageModelError where it spells no word of
        the model's.
        """
        log_probs = check_search(log_probs, blank, self.beam_width, spelling)
        check_whole("n_best", n_best, 1)
        fusion = self._fusion(spelling)
        least = -math.inf if fusion is not None and fusion.closed else self.min_token_log_prob
        search = Search(log_probs, blank, self.beam_width, least, self.beam_threshold, spelling, fusion)
        return [search.hypothesis(found) for found in search.results()[:n_best]]

    def check_spelling(self, spelling: Spelling) -> None:
        """Raise as :meth:`decode` would for a vocabulary that the language model or the lists of words cannot be used with."""
        self._fusion(spelling)

    def _fusion(self, spelling: Spelling | None) -> Fusion | None:
        if self.language_model is None and self.words is None and not self.hotwords:
            return None
        if spelling is None:
            helper = "a list of words" if self.language_model is None else "a language model"
            raise InputError(f"spelling: {helper} needs the text of each token, found none")
        strict = self.language_model is None or self.unknown_margin == math.inf
        words = None if self.words is None else spelled("words", tuple(self.words), spelling, strict=strict)
        hotwords = spelled("hotwords", tuple(self.hotwords), spelling)
        if words is not None and self.unknown_margin == math.inf and (outside := set(hotwords).difference(words)):
            raise InputError(f"hotwords: expected some of the words, which are the only ones, found {brief(min(outside))}")
        return Fusion(
            self.language_model,
            spelling,
            alpha=self.alpha,
            beta=self.beta,
            unknown_offset=self.unknown_offset,
            words=words,
            unknown_margin=self.unknown_margin,
            hotwords=hotwords,
            hotword_weight=self.hotword_weight,
        )
