"""Interleaved measurements: in every round each candidate runs once, and so does a large matrix product, the machine's own yardstick."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sewnp.benchmark.peers import PEERS, Runner, check_peers, ours
from sewnp.costs import stages
from sewnp.errors import InputError, check_whole
from sewnp.fast import chosen_layout, default_threads, kernels
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


ON_ONE_THREAD = "1 thread"
"""What ours is called where it computes on one thread, beside those that it was told to use."""


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
    products: str
    """How weights lie in memory (``SEWNP_PRODUCTS``), and the kernels of BLAS that were the reason."""
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
    check_peers(against)
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
        runners = {"sewnp": ours(model, threads, sample_count)}
        if threads > 1 and model.engine == "fast":
            runners[ON_ONE_THREAD] = ours(model, 1, sample_count)
        runners |= {name: PEERS[name](model, threads, sample_count) for name in against}
        outputs = {name: run(x) for name, run in runners.items()}  # the first run of each warms it up
        off = {name: difference(outputs["sewnp"], output) for name, output in outputs.items()}
        for name, far in off.items():
            if not far <= AGREEMENT:
                raise InputError(f"{name}: does not compute the same on {length:g} s: it differs by {far:.2g} of the scale")
        progress(f"{length:g} s: measuring")
        times, peak = _interleaved(runners, x, runs)
        work = sum(stage.multiply_adds for stage in stages(model.config, sample_count, model.head))
        median = statistics.median(times["sewnp"])
        for name, taken in times.items():
            rows.append(Timing(name, float(length), tuple(taken), work, peak, median / statistics.median(taken), off[name]))
    return Benchmark(model.name, model.engine, threads, products(model), describe(), tuple(rows))


def products(model: Model) -> str:
    """Which way a model multiplies: "blocks (SkylakeX)"."""
    layout = chosen_layout() if model.engine == "fast" else "plain"
    return f"{layout} ({', '.join(dict.fromkeys(kernels()))})"


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


def difference(ours: Array, theirs: Array) -> float:
    """The largest, as a fraction of our scale; infinite for another shape."""
    if ours.shape != theirs.shape:
        return float("inf")
    scale = float(np.abs(ours).max())
    return float(np.abs(ours - theirs).max()) / scale if scale else float("nan")
