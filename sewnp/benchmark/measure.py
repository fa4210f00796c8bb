"""Interleaved measurements: in every round each candidate runs once, and so does a large matrix product, the machine's own yardstick."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sewnp.benchmark.peers import PEERS, Runner, ours
from sewnp.costs import stages
from sewnp.errors import InputError, check_whole, few
from sewnp.fast import default_threads
from sewnp.machine import describe
from sewnp.model import Model
from sewnp.types import Array

PAUSE = 0.3
"""Seconds before each run.  The threads of OpenMP and onnxruntime spin for a while after their work, and would slow whoever comes next."""

LONGEST = 3600
"""Seconds of a clip.  It is run in one piece."""

PEAK_SIZE = 2048
"""Rows and columns of the product whose speed stands for the machine's best."""

AGREEMENT = 1e-3
"""How far a peer may be off, of the output's scale, to count as computing the same in float32."""


@dataclass(frozen=True)
class Timing:
    """One candidate on one length of clip."""

    name: str
    audio: float
    """Seconds of sound."""
    times: tuple[float, ...]
    """Seconds that each run took."""
    multiply_adds: int
    peak: float
    """Multiply-adds a second of the large product in the same rounds, median."""
    ratio: float
    """Our median over this candidate's: below 1, we are faster."""
    difference: float
    """From our output, as a fraction of its scale."""

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.times)

    @property
    def spread(self) -> float:
        """Half the range in which the middle half of the runs lies, as a fraction of the median: how noisy the machine was."""
        low, _, high = statistics.quantiles(self.times, n=4, method="inclusive")
        return (high - low) / 2 / self.median

    @property
    def real_time(self) -> float:
        """Seconds of sound a second."""
        return self.audio / self.median

    @property
    def share_of_peak(self) -> float:
        """Of what the machine does in a large matrix product."""
        return self.multiply_adds / self.median / self.peak

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, the derived numbers included."""
        derived = {name: getattr(self, name) for name in ("median", "spread", "real_time", "share_of_peak")}
        return asdict(self) | derived


@dataclass(frozen=True)
class Benchmark:
    """All rows, and what they were measured on."""

    model: str
    engine: str
    threads: int
    machine: dict[str, str]
    rows: tuple[Timing, ...]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "rows": [row.to_dict() for row in self.rows]}


def benchmark(
    model: Model,
    *,
    seconds: Sequence[float] = (2, 10, 30),
    against: Sequence[str] = (),
    runs: int = 9,
    progress: Callable[[str], None] = lambda step: None,
) -> Benchmark:
    """Measure a model on clips of noise of so many seconds, beside the peers named in ``against`` (:data:`PEERS`).

    Each peer's output is compared with ours before it is timed.  ``progress`` is told what begins.  Raises InputError for unknown peers, clips
    that are too short, and a peer that computes something else; DependencyError for a peer that is not installed.
    """
    unknown = [name for name in against if name not in PEERS]
    if unknown:
        raise InputError(f"against: expected some of {', '.join(PEERS)}, found {few(unknown)}")
    check_whole("runs", runs, 2)
    threads = model.threads or default_threads()
    rate = model.feature_extractor.sampling_rate
    rows = []
    for length in seconds:
        if not model.config.minimum_samples <= length * rate <= LONGEST * rate:
            shortest = model.config.minimum_samples / rate
            raise InputError(f"seconds: expected at least {shortest:g} and at most {LONGEST}, found {length:g}")
        sample_count = int(length * rate)
        x = np.random.default_rng(0).normal(size=(1, sample_count)).astype(np.float32)
        progress(f"{length:g} s: preparing")
        named = {"sewnp": ours, **{name: PEERS[name] for name in against}}
        runners = {name: make(model, threads, sample_count) for name, make in named.items()}
        outputs = {name: run(x) for name, run in runners.items()}  # the first run of each warms it up
        off = {name: _difference(outputs["sewnp"], output) for name, output in outputs.items()}
        for name, difference in off.items():
            if not difference <= AGREEMENT:
                raise InputError(f"{name}: does not compute the same on {length:g} s: it differs by {difference:.2g} of the scale")
        progress(f"{length:g} s: measuring")
        times, peak = _interleaved(runners, x, runs)
        work = sum(stage.multiply_adds for stage in stages(model.config, sample_count, model.head))
        median = statistics.median(times["sewnp"])
        for name, taken in times.items():
            rows.append(Timing(name, float(length), tuple(taken), work, peak, median / statistics.median(taken), off[name]))
    return Benchmark(model.name, model.engine, threads, describe(), tuple(rows))


def _interleaved(runners: dict[str, Runner], x: Array, runs: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of every run, and the large product's multiply-adds a second."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    a = np.random.default_rng(1).normal(size=(PEAK_SIZE, PEAK_SIZE)).astype(np.float32)
    out = np.empty_like(a)
    products = []
    for number in range(runs + 1):
        time.sleep(PAUSE)
        start = time.perf_counter()
        np.matmul(a, a, out=out)  # with as many threads as BLAS likes
        products.append(time.perf_counter() - start)
        for name, run in runners.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            run(x)
            if number:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    return times, PEAK_SIZE**3 / statistics.median(products[1:])


def _difference(ours: Array, theirs: Array) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    scale = float(np.abs(ours).max())
    return float(np.abs(ours - theirs).max()) / scale if scale else float("nan")
