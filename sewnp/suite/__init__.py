"""The conformance suite: cases that any port, in any language, can be held against, and the judgement of its results."""

from sewnp.suite.check import CaseReport, Report, check_vectors
from sewnp.suite.vectors import write_vectors

__all__ = ["CaseReport", "Report", "check_vectors", "write_vectors"]
