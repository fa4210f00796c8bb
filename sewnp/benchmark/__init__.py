"""How fast a model is on this machine, beside whoever else is installed: interleaved runs, medians, ratios."""

from sewnp.benchmark.measure import Benchmark, Timing, benchmark
from sewnp.benchmark.peers import PEERS

__all__ = ["PEERS", "Benchmark", "Timing", "benchmark"]
