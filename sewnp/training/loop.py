"""The loop: steps, validations, savings, and going on where a run was stopped."""

import importlib.util
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sewnp.checkpoints import nest
from sewnp.errors import SewError, TrainingError, brief
from sewnp.evaluation import Utterance
from sewnp.fast import default_threads, one_blas_thread
from sewnp.fast.crew import Stop, undisturbed
from sewnp.files import WRITING, naming, remove_scratch
from sewnp.gradients import ClipGradient, frozen_keys
from sewnp.model import Model
from sewnp.plots import plot_training, save_plot
from sewnp.training.augmentation import Augmentations, recordings
from sewnp.training.batch import batch_gradients, encode_text
from sewnp.training.data import ClipSet, Example, fingerprint, plan_epoch, read_sources
from sewnp.training.log import Log, Record
from sewnp.training.optimizer import adamw, averaged, clip_by_norm
from sewnp.training.recipe import Recipe
from sewnp.training.schedule import learning_rate, warmup_steps
from sewnp.training.start import starting_model
from sewnp.training.state import State, read_state, write_state
from sewnp.training.validation import validate
from sewnp.types import Array

_FREE = ("output", "threads", "save_minutes", "minutes", "steps", "sewnp")
"""What of a recipe may be another when a run goes on: it changes no number, or is settled already."""
_TRIED = 4
"""Batches that are run to learn the pace."""


@dataclass(frozen=True)
class Run:
    """A recipe that has been found in order, and what it needs.  Made by :func:`prepare`."""

    recipe: Recipe
    output: Path
    """The folder that holds ``best`` and ``last``, which are checkpoints, ``state.safetensors``, ``log.jsonl`` and ``curves.png``."""
    model: Model
    """As the run begins."""
    sets: Sequence[ClipSet]
    held: Sequence[Utterance]
    """For validation."""
    augmentations: Augmentations
    """Those of the recipe, their folder found."""

    @property
    def state_file(self) -> Path:
        """All that going on needs."""
        return self.output / "state.safetensors"

    @property
    def threads(self) -> int:
        """How many clips are worked on at a time."""
        return self.recipe.threads or default_threads()

    def engine(self, state: State, *, reuse: ClipGradient | None = None) -> ClipGradient:
        """What gives clips' gradients by the weights of a state.  reuse: that of the state before, whose memory is gone on with."""
        return replace(self.model, weights=nest(state.weights)).clip_gradients(self.recipe.freeze, reuse=reuse)

    def trained(self, state: State) -> Model:
        """The model as it is validated and saved: the weights of a state, or their average, rounded to the precision that is stored."""
        dtype = "float64" if self.recipe.store == "float64" else "float32"
        weights = {key: w.astype(self.recipe.store).astype(dtype) for key, w in state.shown.items()}
        engine: Any = "textbook" if dtype == "float64" else "fast"
        return replace(self.model, weights=nest(weights), engine=engine, threads=self.threads)


class _Stopped(Exception):
    """Somebody has asked the run to stop."""


def prepare(recipe: Recipe, output: Path, *, folder: Path = Path()) -> Run:
    """Read what a recipe names, and check all that can be known to fail before the first step.  folder: of its paths; output: of the run.

    Raises ConfigError, ManifestError, AudioError, TokenizerError and TrainingError, naming what is wrong.
    """
    augmentations = recipe.augment
    if augmentations.noise is not None:
        noise = replace(augmentations.noise, folder=str(folder / augmentations.noise.folder))
        augmentations = replace(augmentations, noise=noise)
        recordings(noise.folder)
    sets, held = read_sources(recipe, folder)
    model = starting_model(recipe, {clip.text for each in sets for clip in each.clips})
    frozen_keys(recipe.freeze, list(model.flat_weights()), model.config)
    places = {clip.text: f"{each.source.path}: {clip.name}" for each in sets for clip in each.clips}
    for text, place in places.items():
        try:
            encode_text(text, model)
        except SewError as error:
            raise type(error)(f"{place}: {error}") from error
    return Run(recipe, output, model, sets, held, augmentations)


def train(run: Run, *, resume: bool = False, progress: Callable[[Record], None] = lambda record: None) -> State:
    """Train to the end of the recipe, or go on with what the output folder holds -> the last state.

    progress: called with every line of the log.  Where the caller is interrupted, the state is saved and the interruption raised.  Raises
    TrainingError for a folder that holds another run or, without ``resume``, any; AudioError for a recording that cannot be read; and
    what cannot be written, which leaves the last savings as they were.
    """
    return undisturbed(lambda stop: _train(run, resume, progress, stop))


def training_step(
    run: Run, state: State, batch: Sequence[Example], *, steps: int, engine: ClipGradient | None = None,
    pool: ThreadPoolExecutor | None = None, check: Callable[[], None] = lambda: None,
) -> tuple[State, Record]:  # fmt: skip
    """One step: gradients, clipping, AdamW, average -> the next state, and what is to be said of it.  steps: of the whole run.  engine: see
    :meth:`Run.engine`."""
    start, recipe = time.perf_counter(), run.recipe
    found = batch_gradients(
        run.model,
        batch,
        engine=engine or run.engine(state),
        augmentations=run.augmentations,
        seed=recipe.seed,
        step=state.step,
        pool=pool,
        threads=run.threads,
        check=check,
    )
    rate = learning_rate(
        state.step, peak=recipe.lr, steps=steps, warmup=warmup_steps(recipe.warmup, steps), schedule=recipe.schedule
    )
    gradients, norm = clip_by_norm(found.gradients, recipe.max_norm or math.inf)
    found = replace(found, gradients={})  # the shortened ones are others: as much memory as the weights
    record: dict[str, Any] = {"step": state.step + 1, "loss": found.loss, "lr": rate, "norm": norm}
    if math.isfinite(found.loss) and math.isfinite(norm):
        options = {"rate": rate, "eps": recipe.eps, "decay": recipe.weight_decay}
        weights, moments = adamw(state.weights, gradients, state.moments, betas=recipe.betas, **options)
        average = None
        if recipe.average is not None:
            average = averaged(state.average or state.weights, weights, keep=recipe.average, step=state.step)
        state = replace(state, weights=weights, moments=moments, average=average)
    else:
        state = replace(state, skipped=state.skipped + 1)
        record |= {"loss": None, "norm": None, "skipped": list(found.wild)}
    seconds = time.perf_counter() - start
    record |= {"clips": found.count, "audio_seconds": round(found.seconds, 3), "seconds": round(seconds, 4)}
    return replace(state, step=state.step + 1, seconds=state.seconds + seconds), record


def _train(run: Run, resume: bool, progress: Callable[[Record], None], stop: Stop) -> State:
    def check() -> None:
        if stop.asked:
            raise _Stopped

    # in C's order, in which they are stored and read again: products may round otherwise where the order in memory is another
    recipe, state = run.recipe, State({key: np.array(w, order="C") for key, w in run.model.flat_weights().items()})
    with one_blas_thread(), ThreadPoolExecutor(run.threads) as pool:
        try:
            state, steps = _begin(run, state, resume, pool, check)
            about, saved = _about(run, steps), time.perf_counter()
            log = Log(run.output / "log.jsonl", step=state.step)

            def tell(record: Record) -> None:
                log.append(record)
                progress(record)

            plan = plan_epoch(run.sets, recipe, epoch=state.epoch, done=state.epoch_start / steps)
            engine = None
            while state.step < steps:
                if state.step - state.epoch_start == len(plan):
                    state = replace(state, epoch=state.epoch + 1, epoch_start=state.step)
                    plan = plan_epoch(run.sets, recipe, epoch=state.epoch, done=state.step / steps)
                batch = plan[state.step - state.epoch_start]
                engine = run.engine(state, reuse=engine)
                following, record = training_step(run, state, batch, steps=steps, engine=engine, pool=pool, check=check)
                tell({**record, "steps": steps, "epoch": state.epoch})
                due = following.step % recipe.eval_every == 0 or following.step == steps
                if due:
                    following = _looked_at(run, following, tell, check)
                state = following
                if due or time.perf_counter() - saved >= 60 * recipe.save_minutes:
                    write_state(run.state_file, state, about)
                    saved = time.perf_counter()
                if due:
                    _draw(run, log)
        except _Stopped:
            if run.state_file.exists():  # there is one from the first step on
                write_state(run.state_file, state, about)
                _save(run, state, "last")
    return state


def _begin(run: Run, state: State, resume: bool, pool: ThreadPoolExecutor, check: Callable[[], None]) -> tuple[State, int]:
    """The state to go on from, and how many steps there will be."""
    with naming(run.output, TrainingError, WRITING):
        run.output.mkdir(parents=True, exist_ok=True)
    if run.state_file.exists():
        if not resume:
            raise TrainingError(f"{run.output}: holds a run already; go on with --resume, or name another folder")
        remove_scratch(run.output)
        state, about = read_state(run.state_file)
        steps = run.recipe.steps if run.recipe.minutes is None else int(about["steps"])
        _check_about(run, about, _about(run, steps))
        return state, steps
    steps = run.recipe.steps
    if run.recipe.minutes is not None:
        steps = _affordable(run, state, pool, check)
    write_state(run.state_file, state, _about(run, steps))
    return state, steps


def _affordable(run: Run, state: State, pool: ThreadPoolExecutor, check: Callable[[], None]) -> int:
    """How many steps fit into the recipe's minutes, by the pace of the first."""
    plan = plan_epoch(run.sets, run.recipe, epoch=0, done=0.0)[:_TRIED]
    start = time.perf_counter()
    for batch in plan:
        training_step(run, state, batch, steps=len(plan), pool=pool, check=check)
    assert run.recipe.minutes is not None  # or nobody would ask
    return max(1, round(60 * run.recipe.minutes * len(plan) / (time.perf_counter() - start)))


def _about(run: Run, steps: int) -> dict[str, Any]:
    """What has to be the same when a run goes on."""
    recipe = {key: value for key, value in run.recipe.to_dict().items() if key not in _FREE}
    about: dict[str, Any] = json.loads(json.dumps({"steps": steps, "clips": fingerprint(run.sets)} | recipe))
    return about


def _check_about(run: Run, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for key, value in expected.items():
        if found.get(key) != value:
            raise TrainingError(
                f"{run.state_file}: made with other {key}: expected {brief(value)}, found {brief(found.get(key))}; name another folder"
            )


def _looked_at(run: Run, state: State, tell: Callable[[Record], None], check: Callable[[], None]) -> State:
    """Validate, and save the checkpoints that follow from it."""
    start = time.perf_counter()
    if run.held:
        score, figures = validate(run.trained(state), run.held, normalization=run.recipe.normalize, check=check)
        if state.best is None or score < state.best:
            state = replace(state, best=score)
            _save(run, state, "best")
        tell({"step": state.step} | figures)
    _save(run, state, "last")
    return replace(state, seconds=state.seconds + time.perf_counter() - start)


def _save(run: Run, state: State, name: str) -> None:
    """Write a checkpoint in the precision that is stored."""
    weights: dict[str, Array] = {key: w.astype(run.recipe.store) for key, w in state.shown.items()}
    replace(run.model, weights=nest(weights)).save(run.output / name)


def _draw(run: Run, log: Log) -> None:
    """Redraw the curves, where there is matplotlib."""
    if importlib.util.find_spec("matplotlib") is not None:
        save_plot(lambda: plot_training(log.records), run.output / "curves.png")
