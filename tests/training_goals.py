"""Print what a whole training step costs, ours and torch's: ``python tests/training_goals.py``, some minutes of a quiet machine, with torch.

Forward, backward, clipping and AdamW; ours reads its clips from files too.  Two threads.  Times are medians of steps in turns, in one process;
peaks of memory come from processes of their own, of which ours never loads torch.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sewnp.fast import one_blas_thread
from sewnp.machine import describe
from sewnp.speech import read_audio
from sewnp.training import Example, Run, State, encode_text, plan_epoch, prepare, recipe_from_dict, training_step

Step = Callable[[], Any]
RATE, DECAY, MOST = 1e-5, 0.01, 1.0
WORK: dict[str, tuple[dict[str, Any], list[float]]] = {
    "digits, 16 clips of 1 to 5 s": ({"model": "digits"}, np.linspace(1.0, 5.0, 16).tolist()),
    "sew-tiny, feature encoder frozen, 8 clips of 5 s": ({"model": "sew-tiny", "freeze": ["feature_encoder"]}, [5.0] * 8),
}
"""Recipes, and the lengths of the clips in seconds."""


def prepared(what: str, folder: Path) -> tuple[Run, list[Example]]:
    """A run, and the batch that every step of it takes."""
    values, lengths = WORK[what]
    rng, rows = np.random.default_rng(0), ["audio\ttext"]
    for i, seconds in enumerate(lengths):
        soundfile.write(folder / f"{i}.wav", 0.1 * rng.standard_normal(int(16000 * seconds)), 16000)
        rows.append(f"{i}.wav\tTHREE ONE FOUR SEVEN")
    (folder / "clips.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    fixed = {"data": [{"path": "clips.tsv"}], "batch_seconds": 1e4, "config": {"layerdrop": 0.0}, "threads": 2, "normalize": "none"}
    rates = {"lr": RATE, "schedule": "constant", "warmup": 0, "weight_decay": DECAY, "max_norm": MOST}
    run = prepare(recipe_from_dict(values | fixed | rates), folder / "run", folder=folder)
    (batch,) = plan_epoch(run.sets, run.recipe, epoch=0, done=0.0)
    return run, list(batch)


def ours(run: Run, batch: list[Example], pool: ThreadPoolExecutor) -> Step:
    state, engine = State({key: np.array(w, order="C") for key, w in run.model.flat_weights().items()}), None

    def step() -> None:
        nonlocal state, engine
        with one_blas_thread():
            engine = run.engine(state, reuse=engine)
            state, _ = training_step(run, state, batch, steps=1000, engine=engine, pool=pool)

    return step


def theirs(run: Run, batch: list[Example], folder: Path) -> Step:
    """The same clips as one padded batch, with an attention mask where their lengths differ."""
    import torch
    import transformers

    torch.set_num_threads(2)
    run.model.save(folder / "model")
    model = transformers.AutoModelForCTC.from_pretrained(folder / "model", local_files_only=True).train()
    if run.recipe.freeze:
        model.freeze_feature_encoder()
    learning = [w for w in model.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=RATE, weight_decay=DECAY)
    found = run.model.features([read_audio(example.clips[0].audio) for example in batch], attention_mask=True)
    assert found.attention_mask is not None
    x, mask = torch.tensor(found.input_values), torch.tensor(found.attention_mask)
    labels = torch.tensor(np.concatenate([encode_text(example.text, run.model) for example in batch]))

    def step() -> None:
        optimizer.zero_grad()
        model(x, attention_mask=None if mask.all() else mask, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, MOST)
        optimizer.step()

    return step


def seconds(step: Step) -> float:
    time.sleep(0.3)  # threads of the other's that still spin
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def timed(what: str, rounds: int = 9) -> tuple[float, float]:
    """Medians of ours and theirs, in seconds."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as pool:
        run, batch = prepared(what, Path(name))
        steps = ours(run, batch, pool), theirs(run, batch, Path(name))
        for step in steps * 2:
            step()
        mine, others = zip(*([seconds(step) for step in steps] for _ in range(rounds)), strict=True)
    return statistics.median(mine), statistics.median(others)


def held() -> float:
    """The peak of this process so far, in MiB; getrusage would count what its parent had."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024


def peak(who: str, what: str) -> None:
    """Print the peak of memory of this process after some steps, in MiB, and what it had before the model."""
    if who == "theirs":
        import torch  # noqa: F401
        import transformers  # noqa: F401
    before = held()
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as pool:
        run, batch = prepared(what, Path(name))
        step = ours(run, batch, pool) if who == "ours" else theirs(run, batch, Path(name))
        for _ in range(4):
            step()
    assert who == "theirs" or "torch" not in sys.modules
    print(f"{held():.0f} {before:.0f}")


def peaks(what: str) -> list[list[int]]:
    """Of ours and theirs: the peak, and what the process had before."""
    command = [sys.executable, __file__]
    runs = (subprocess.run([*command, who, what], check=True, capture_output=True) for who in ("ours", "theirs"))
    return [[int(word) for word in run.stdout.split()] for run in runs]


if __name__ == "__main__":
    if sys.argv[1:]:
        peak(*sys.argv[1:])
        sys.exit()
    machine = describe()
    print(f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, NumPy {machine['numpy']}\n")
    print("| a whole step | ours, s | torch, s | ratio | peaks, MiB | of which before the model |\n|---|---|---|---|---|---|")
    for what in WORK:
        (mine, mine_before), (others, before) = peaks(what)
        a, b = timed(what)
        print(f"| {what} | {a:.2f} | {b:.2f} | {a / b:.2f} | {mine}, {others} | {mine_before}, {before} |", flush=True)
