"""How good is a model: test sets read, every clip run, error rates with intervals, reports.

A test set is a list of utterances (:mod:`~sewnp.evaluation.utterances`).  Each is run alone (:mod:`~sewnp.evaluation.run`), and what
was heard can be kept in a file that survives being killed (:mod:`~sewnp.evaluation.results`).  References and hypotheses are made
comparable (:mod:`~sewnp.evaluation.normalization`), their differences counted (:mod:`~sewnp.evaluation.measures`) and told
(:mod:`~sewnp.evaluation.report`).  Counting needs jiwer: ``python -m pip install 'sewnp[evaluate]'``.

>>> from sewnp.evaluation import count_words
>>> count_words("ONE TWO THREE", "ONE TOO THREE FOUR")
Counts(hits=2, substitutions=1, deletions=0, insertions=1)
"""

from sewnp.evaluation.measures import (
    Counts,
    ErrorRate,
    MatchMeasures,
    bootstrap_interval,
    count_characters,
    count_words,
    error_rate,
    match_measures,
    word_differences,
)
from sewnp.evaluation.normalization import NORMALIZATIONS, NORMALIZERS
from sewnp.evaluation.report import classification_report, ctc_report
from sewnp.evaluation.results import Recognition, ResultsFile
from sewnp.evaluation.run import Evaluation, evaluate, recognizer
from sewnp.evaluation.utterances import Task, Utterance, check_columns, read_test_set

__all__ = [
    "NORMALIZATIONS",
    "NORMALIZERS",
    "Counts",
    "ErrorRate",
    "Evaluation",
    "MatchMeasures",
    "Recognition",
    "ResultsFile",
    "Task",
    "Utterance",
    "bootstrap_interval",
    "check_columns",
    "classification_report",
    "count_characters",
    "count_words",
    "ctc_report",
    "error_rate",
    "evaluate",
    "match_measures",
    "read_test_set",
    "recognizer",
    "word_differences",
]
