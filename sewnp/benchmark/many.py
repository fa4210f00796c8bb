"""How many short clips a second: ours with shared products, each peer in every way that it can be asked."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sewnp.benchmark import measure
from sewnp.benchmark.peers import PEERS, TAKE_ANY, Runner, check_peers, ours
from sewnp.errors import InputError, check_whole
from sewnp.fast import default_threads
from sewnp.model import Model
from sewnp.types import Array

LENGTHS = (1, 2, 3, 4)
"""Seconds of the clips.  As few as this, since a graph of onnxruntime is made for one length."""

Setup = Callable[[], list[Array]]
"""-> the answer to each clip."""


@dataclass(frozen=True)
class Throughput:
    """One candidate in one way of working."""

    name: str
    way: str
    audio: float
    """Seconds of sound in all."""
    times: tuple[float, ...]
    """Seconds that each run took."""
    difference: float
    """From our answers, as a fraction of their scale."""

    @property
    def real_time(self) -> float:
        """Seconds of sound a second, median."""
        return self.audio / statistics.median(self.times)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self) | {"real_time": self.real_time}


def throughput(
    model: Model,
    *,
    count: int = 64,
    against: Sequence[str] = (),
    runs: int = 3,
    progress: Callable[[str], None] = lambda step: None,
) -> tuple[Throughput, ...]:
    """``count`` clips of noise of 1 to 4 seconds, all at hand; peers as for :func:`benchmark`, each of whose ways takes turns with ours.

    Raises InputError as ``benchmark``.
    """
    check_peers(against)
    check_whole("count", count, 1)
    check_whole("runs", runs, 2)
    threads, rate = model.threads or default_threads(), model.feature_extractor.sampling_rate
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=(1, LENGTHS[i % len(LENGTHS)] * rate)).astype(np.float32) for i in range(count)]
    rng.shuffle(clips)
    audio = sum(x.shape[1] for x in clips) / rate
    own = _ours(model, threads, clips)
    answers, own_times, rows = own(), [], []
    for name in against:
        for way, run in _ways(name, model, threads, clips):
            progress(f"{count} clips: {name}, {way}")
            off = max(measure.difference(a, b) for a, b in zip(answers, run(), strict=True))
            if not off <= measure.AGREEMENT:
                raise InputError(f"{name}: does not compute the same {way}: it differs by {off:.2g} of the scale")
            times = []
            for _ in range(runs):
                own_times.append(_seconds(own))
                times.append(_seconds(run))
            rows.append(Throughput(name, way, audio, tuple(times), off))
    if not own_times:
        progress(f"{count} clips")
        own_times = [_seconds(own) for _ in range(runs)]
    way = "sharing products" if model.engine == "fast" else "one by one"
    return (Throughput("sewnp", way, audio, tuple(own_times), 0.0), *rows)


def _seconds(run: Setup) -> float:
    time.sleep(measure.PAUSE)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _ours(model: Model, threads: int, clips: list[Array]) -> Setup:
    if model.engine == "fast" and model.head == "ctc":
        return lambda: [logits[None] for logits in model._logits_together(clips)]
    run = ours(model, threads, 0)
    return lambda: [run(x) for x in clips]


def _ways(name: str, model: Model, threads: int, clips: list[Array]) -> Iterator[tuple[str, Setup]]:
    """One after the other: what one has made is gone before the next is made."""

    def runners(each: int) -> dict[int, Runner]:
        lengths = sorted({x.shape[1] for x in clips})
        if name in TAKE_ANY:
            return dict.fromkeys(lengths, PEERS[name](model, each, 0))
        return {length: PEERS[name](model, each, length) for length in lengths}

    yield "one by one", _one_by_one(runners(threads), clips)
    if threads > 1:
        yield f"{threads} at a time", _at_a_time(runners(1), clips, threads)
    if name in TAKE_ANY:
        yield "equal lengths as a batch", _batches(runners(threads), clips)


def _one_by_one(runners: dict[int, Runner], clips: list[Array]) -> Setup:
    return lambda: [runners[x.shape[1]](x) for x in clips]


def _at_a_time(runners: dict[int, Runner], clips: list[Array], threads: int) -> Setup:
    def run() -> list[Array]:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda x: runners[x.shape[1]](x), clips))

    return run


def _batches(runners: dict[int, Runner], clips: list[Array]) -> Setup:
    def run() -> list[Array]:
        answers: dict[int, Array] = {}
        for length, runner in runners.items():
            alike = [i for i, x in enumerate(clips) if x.shape[1] == length]
            answers |= zip(alike, runner(np.concatenate([clips[i] for i in alike]))[:, None], strict=True)
        return [answers[i] for i in range(len(clips))]

    return run
