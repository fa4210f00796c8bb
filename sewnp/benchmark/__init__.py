"""How fast a model is on this machine, beside whoever else is installed: interleaved runs, medians, ratios."""

from sewnp.benchmark.many import Throughput, throughput
from sewnp.benchmark.measure import ON_ONE_THREAD, Benchmark, Timing, benchmark
from sewnp.benchmark.peers import PEERS

__all__ = ["ON_ONE_THREAD", "PEERS", "Benchmark", "Throughput", "Timing", "benchmark", "throughput"]
