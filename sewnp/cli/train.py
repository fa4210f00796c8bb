"""``sewnp train``: weights that learn from clips and their texts or labels."""

import argparse
import json
import os
import sys
import time
from collections import deque
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from sewnp.cli.clips import add_threads
from sewnp.cli.output import tell
from sewnp.errors import InputError, TrainingError
from sewnp.evaluation import NORMALIZATIONS
from sewnp.extras import need
from sewnp.files import WRITING, naming, path_name, read_json, write_text
from sewnp.loading import EMBEDDED, embedded
from sewnp.training import SCHEDULES, Recipe, Record, prepare, read_recipe, recipe_from_dict, train

DESCRIPTION = """\
Fine-tune a checkpoint on clips and what is said in them, or train a small model from
scratch, on this machine's processor.

DATA are manifests or LibriSpeech folders, as sewnp evaluate reads them. A recipe, a TOML
file, can say all that the options say, and more: several sources of data, augmentation,
what the configuration shall have otherwise. Options override it.

The output folder gets best and last, checkpoint folders that transformers loads; log.jsonl,
a line a step; curves.png (extra: plots); and state.safetensors, from which --resume goes on
bit for bit, whatever stopped the run. Ctrl-C and SIGTERM save before they stop it."""
EXAMPLES = """\
examples:
  sewnp train train.tsv --model digits --eval dev.tsv -o runs/mine
  sewnp train train.tsv --model path/to/sew-tiny --freeze feature_encoder -o runs/mine
  sewnp train words.tsv --task classification --labels yes,no --model digits -o runs/words
  sewnp train --recipe recipe.toml --data recordings -o runs/mine
  sewnp train -o runs/mine --resume
  sewnp train --recipe digits-d/start --data digits-train -o runs/digits-d-start    the embedded models'
  sewnp train --recipe digits-d/head --data digits-train -o runs/digits-d-head      own recipes, each
  sewnp train --recipe digits-d/main --data digits-train -o runs/digits-d-main      from what the one
  sewnp train --recipe digits-d --data digits-train -o runs/digits-d                before it made"""

_BEGUN = "run.json"
_QUIET_SECONDS = 60
"""Between lines of progress where no validation gives one."""
_RECENT = 50
"""Steps that figures are the mean of."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("clips", nargs="*", metavar="DATA", help="what to train on; replaces the recipe's data")
    parser.add_argument(
        "--recipe",
        metavar="FILE",
        help=f"a recipe, or the embedded model whose recipe, or name/stage, is meant: {', '.join(EMBEDDED)}",
    )
    parser.add_argument("--data", metavar="FOLDER", help="what the recipe's paths are relative to (default: the recipe's folder)")
    parser.add_argument("-o", "--output", metavar="FOLDER", help="where the run's files go")
    parser.add_argument("--resume", action="store_true", help="go on with the run that is in the output folder")
    parser.add_argument(
        "--model",
        metavar="M",
        help="what to start from: an embedded model's name, a checkpoint folder, a hub id; or a published size (sew-tiny ...) or"
        " a config.json, with fresh weights",
    )
    parser.add_argument("--task", choices=("ctc", "classification"), help="what the model learns (default: ctc)")
    parser.add_argument("--labels", type=_words, metavar="A,B,...", help="the labels of a new classification head")
    parser.add_argument(
        "--new-vocabulary", action="store_true", default=None, help="make the texts' characters the vocabulary of a new CTC head"
    )
    parser.add_argument("--normalize", choices=tuple(NORMALIZATIONS), help="of texts, as in sewnp evaluate (default: basic)")
    parser.add_argument(
        "--freeze",
        type=_words,
        metavar="A,B,...",
        help="what does not learn: feature_encoder, base, or beginnings of weights' names",
    )
    parser.add_argument(
        "--eval", action="append", metavar="PATH", help="clips to validate with, a manifest like DATA; may be repeated"
    )
    parser.add_argument("--eval-every", type=int, metavar="N", help="validate every N steps (default: 200)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, metavar="N", help="train for N steps (default: 1000)")
    length.add_argument("--minutes", type=float, metavar="M", help="train for as many steps as take about M minutes")
    parser.add_argument("--lr", type=float, metavar="R", help="the highest learning rate (default: 3e-4)")
    parser.add_argument("--schedule", choices=tuple(SCHEDULES), help="how it falls after the warm-up (default: cosine)")
    parser.add_argument("--warmup", type=float, metavar="N", help="steps in which it rises, or below 1 a share (default: 0.1)")
    parser.add_argument("--batch-seconds", type=float, metavar="S", help="sound in a batch (default: 40)")
    parser.add_argument("--accumulate", type=int, metavar="N", help="batches that make a step (default: 1)")
    parser.add_argument("--seed", type=int, metavar="N", help="of everything random (default: 0)")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="what is computed in (default: float32)")
    add_threads(parser)


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def run(options: argparse.Namespace) -> int:
    """Train -> exit status."""
    values, folder = _said(options)
    values |= _options(options)
    recipe = recipe_from_dict(values)
    if recipe.output is None:
        raise InputError("-o: expected a folder for the run, found none, in the recipe neither")
    if recipe.task == "ctc" and (recipe.eval or recipe.hold_out):
        need("jiwer", "evaluate")
    begun = prepare(recipe, Path(recipe.output), folder=folder)
    if not begun.state_file.exists():
        said = {"data": os.path.abspath(folder), "recipe": recipe.to_dict()}
        with naming(begun.output, TrainingError, WRITING):
            begun.output.mkdir(parents=True, exist_ok=True)
        write_text(begun.output / _BEGUN, json.dumps(said, indent=2) + "\n", TrainingError)
    clips = sum(len(each.clips) for each in begun.sets)
    tell(f"{clips} clips to train on, {len(begun.held)} to validate with, {begun.threads} threads")
    with _Teller() as teller:
        state = train(begun, resume=options.resume, progress=teller.note)
    skipped = f"; {state.skipped} steps were not taken, see log.jsonl" if state.skipped else ""
    tell(f"{state.step} steps in {_clock(state.seconds)}, in {path_name(recipe.output)}{skipped}")
    return 0


def _said(options: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """What the recipe says, or the run that shall go on, and what its paths are relative to."""
    data = None if options.data is None else Path(options.data)
    if options.recipe is not None:
        path = Path(options.recipe)
        name, _, stage = options.recipe.partition("/")
        if not path.is_file() and name in EMBEDDED:
            path = embedded(name) / f"{stage or 'recipe'}.toml"
            if data is None:
                raise InputError("--data: expected the folder that the recipe's paths are relative to, found none")
        return read_recipe(path), data or path.parent
    begun = Path(options.output or "") / _BEGUN
    if options.resume and options.output is not None and begun.exists():
        said = read_json(begun, TrainingError)
        if not isinstance(said.get("recipe"), dict) or not isinstance(said.get("data"), str):
            raise TrainingError(f"{begun}: expected a recipe and a folder of data")
        return said["recipe"], data or Path(said["data"])
    if not options.clips:
        raise InputError("DATA: expected clips to train on, a --recipe, or a run to --resume in the folder -o")
    return {}, data or Path()


def _options(options: argparse.Namespace) -> dict[str, Any]:
    """What the options say, by the recipe's keys.  Paths are made absolute: the recipe's are relative to its data."""
    said = {f.name: getattr(options, f.name, None) for f in fields(Recipe)} | {"data": None}
    values = {name: value for name, value in said.items() if value is not None}
    if options.clips:
        values["data"] = [{"path": os.path.abspath(path)} for path in options.clips]
    if options.eval:
        values["eval"] = [os.path.abspath(path) for path in options.eval]
    return values | ({"minutes": None} if options.steps is not None else {})


class _Teller:
    """How it goes, on standard error: a bar where somebody watches, a line at each validation, and one a minute where nobody does."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(file=sys.stderr, leave=False, disable=None, unit="step")
        self._recent: deque[Record] = deque(maxlen=_RECENT)
        self._error = ""
        self._told = time.monotonic()

    def __enter__(self) -> "_Teller":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def note(self, record: Record) -> None:
        """A line of the log."""
        if "steps" not in record:
            self._error = f"WER {record['wer']:.1%}" if "wer" in record else f"accuracy {record['accuracy']:.1%}"
            self._line()
            return
        self._recent.append(record)
        if not self._bar.disable:
            self._bar.total, self._bar.initial = record["steps"], self._bar.initial or record["step"] - 1
            self._bar.set_postfix_str(self._figures(), refresh=False)
            self._bar.update(record["step"] - self._bar.n)
        elif time.monotonic() - self._told > _QUIET_SECONDS:
            self._line()

    def _figures(self) -> str:
        """Loss, error and speed of late, and the time that is left."""
        last = self._recent[-1]
        losses = [record["loss"] for record in self._recent if record["loss"] is not None]
        seconds = sum(record["seconds"] for record in self._recent)
        speed = sum(record["audio_seconds"] for record in self._recent) / seconds
        left = (last["steps"] - last["step"]) * seconds / len(self._recent)
        loss = f"loss {sum(losses) / len(losses):.3f}" if losses else "no finite loss"
        return "  ".join(filter(None, (loss, self._error, f"{speed:.0f} s of sound a second", f"{_clock(left)} left")))

    def _line(self) -> None:
        last = self._recent[-1]
        tell(f"step {last['step']} of {last['steps']}  {self._figures()}")
        self._told = time.monotonic()


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
