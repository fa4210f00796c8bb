"""Print the table of goals of docs/performance.md: ``python tests/goals.py``, five minutes of a quiet machine, with torch and onnxruntime.

All in one process, interleaved, each peer's output compared with ours before it is timed, medians.  The two figures of whole processes
come from processes of their own.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import sewnp
from sewnp.benchmark import PEERS, benchmark, throughput
from sewnp.benchmark.measure import products
from sewnp.machine import describe
from sewnp.presets import preset

OURS = """
import sys, numpy as np, sewnp
sewnp.load(sys.argv[1], threads=2)(np.zeros((1, 160000), np.float32))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
THEIRS = """
import sys, numpy as np, torch, transformers
torch.set_num_threads(2)
model = transformers.SEWForCTC.from_pretrained(sys.argv[1], local_files_only=True).eval()
with torch.inference_mode():
    model(torch.zeros(1, 160000))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""

Row = tuple[str, str, list[float], str]
"""What, against whom, our share, must and aim."""


def fresh(size: str, threads: int = 2) -> sewnp.Model:
    return sewnp.from_config(preset(size), threads=threads)


def ratios(size: str, seconds: tuple[int, ...], peers: list[str], threads: int = 2) -> dict[str, list[float]]:
    found = benchmark(fresh(size, threads), seconds=seconds, against=peers, runs=5, progress=tell)
    return {peer: [row.ratio for row in found.rows if row.name == peer] for peer in peers}


def speed() -> Iterator[Row]:
    found = ratios("sew-tiny", (2, 10, 30), ["torch", "onnx"])
    yield "sew-tiny at 2, 10, 30 s", "onnxruntime", found["onnx"], "1.5, 1.05, 1.05 / 1.0, 0.95, 0.95"
    yield "", "torch", found["torch"], "0.85, 0.92, 0.97 / 0.75, 0.85, 0.92"
    found = ratios("sew-d-tiny", (2, 10, 30), ["torch", "onnx"])
    yield "sew-d-tiny at 2, 10, 30 s", "onnxruntime", found["onnx"], "1.5, 1.0, 0.95 / 1.0, 0.9, 0.9"
    yield "", "torch", found["torch"], "0.6, 0.65, 0.65 / 0.5, 0.55, 0.55"
    found = ratios("sew-tiny", (1, 2, 10), ["onnx"], threads=1)
    yield "one thread each, sew-tiny at 1, 2, 10 s", "onnxruntime", found["onnx"], "1.1, 1.0, 1.0 / 1.0, 0.95, 0.95"


def many() -> Iterator[Row]:
    """Here more is better."""
    mine, *others = throughput(fresh("sew-tiny"), count=64, against=["torch", "onnx"], runs=2, progress=tell)
    for row in (mine, *others):
        tell(f"{row.name}, {row.way}: {row.real_time:.1f} seconds of sound a second")
    best = max(others, key=lambda row: row.real_time)
    yield "64 clips of 1 to 4 s, sound a second", f"{best.name}, {best.way}", [mine.real_time / best.real_time], "0.95 / 1.1"


def processes(folder: Path) -> Iterator[Row]:
    clip = folder / "clip.wav"
    words, rate = soundfile.read(Path(__file__).parent / "clips" / "three_one_four.wav")
    soundfile.write(clip, np.resize(words, 3 * rate), rate)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "sewnp", "transcribe", str(clip)], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    yield "`sewnp transcribe` of a 3 s clip, the whole process, seconds", "", [statistics.median(times)], "0.45 / 0.35"
    fresh("sew-tiny").save(folder / "sew-tiny")
    peaks = [
        int(subprocess.run([sys.executable, "-c", code, str(folder / "sew-tiny")], check=True, capture_output=True).stdout)
        for code in (OURS, THEIRS)
    ]
    tell(f"peaks: {peaks[0] / 1024:.0f} and {peaks[1] / 1024:.0f} MiB")
    yield "peak memory, sew-tiny, 10 s", "torch", [peaks[0] / peaks[1]], "0.55 / 0.48"


def agreement() -> Iterator[Row]:
    x = np.random.default_rng(3).normal(size=(1, 32000)).astype(np.float32)
    found = []
    for size in ("sew-tiny", "sew-d-tiny"):
        model = fresh(size)
        exact = replace(sewnp.from_config(preset(size), dtype="float64"), weights=wide(model.weights))
        truth = exact(x).logits
        assert truth is not None
        ours, theirs = (np.abs(y - truth).max() for y in (np.asarray(model(x).logits), PEERS["torch"](model, 2, x.shape[1])(x)))
        found.append(ours / max(theirs, 4 * np.finfo(np.float32).eps * np.abs(truth).max()))
    yield "distance from float64, sew-tiny, sew-d-tiny, 2 s", "torch", found, "2 / 1.2"


def wide(weights: Any) -> Any:
    if isinstance(weights, dict):
        return {name: wide(x) for name, x in weights.items()}
    return [wide(x) for x in weights] if isinstance(weights, list) else np.asarray(weights, np.float64)


def tell(message: str) -> None:
    print(f"{time.perf_counter() - START:6.0f} s  {message}", file=sys.stderr)


START = time.perf_counter()

if __name__ == "__main__":
    machine = describe()
    with tempfile.TemporaryDirectory() as folder:
        rows = [*speed(), *many(), *processes(Path(folder)), *agreement()]
    tell(f"done; {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, NumPy {machine['numpy']}, products:"
        f" {products(fresh('sew-tiny'))}",
        "",
        "| work | against | ours / theirs | must / aim |",
        "|---|---|---|---|",
        *(f"| {what} | {whom} | {', '.join(f'{x:.2f}' for x in found)} | {goal} |" for what, whom, found, goal in rows),
    ]
    print("\n".join(lines))
