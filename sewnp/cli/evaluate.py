"""``sewnp evaluate``: how many errors a model makes on a test set."""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sewnp.cli.clips import add_model, add_threads, report
from sewnp.cli.decoding import add_decoder_options, decoder
from sewnp.cli.evaluate_table import classification_table, ctc_table
from sewnp.cli.output import save_plot, write_text
from sewnp.ctc import BeamSearch
from sewnp.errors import InputError
from sewnp.evaluation import (
    NORMALIZATIONS,
    Evaluation,
    ResultsFile,
    Utterance,
    check_columns,
    classification_report,
    ctc_report,
    evaluate,
    read_manifest,
    recognizer,
)
from sewnp.extras import need
from sewnp.loading import load
from sewnp.model import Model
from sewnp.numerics import fingerprint
from sewnp.plots import plot_confusion
from sewnp.speech import spelling_tokens
from sewnp.version import __version__

DESCRIPTION = """\
Measure a model's errors on a test set: word and character error rate for transcription,
accuracy and the confusion matrix for classification, with 95 % bootstrap intervals.

PATH is a LibriSpeech folder (*.trans.txt beside FLAC files, at any depth), a manifest
(.tsv, or .jsonl with an object a line) with the columns audio or path, and text or label,
or a folder with a manifest.tsv or manifest.jsonl in it. A .tsv without a header has the
columns path and text."""
EXAMPLES = """\
examples:
  sewnp evaluate LibriSpeech/test-clean --model path/to/sew-tiny-100k-ft-ls100h -o results
  sewnp evaluate LibriSpeech/test-clean --model path/to/sew-tiny-100k-ft-ls100h -o results --resume
  sewnp evaluate clips.tsv --by speaker --by noise
  sewnp evaluate clips.tsv --lm words.arpa -f json
  sewnp evaluate words.tsv --task classification --plot confusion.png"""

_MODELS = {"ctc": "digits", "classification": "digit-words"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("path", metavar="PATH", help="a LibriSpeech folder or a manifest")
    parser.add_argument("--task", choices=tuple(_MODELS), default="ctc", help="what the model does (default: %(default)s)")
    add_model(parser, default=None)
    add_threads(parser)
    parser.add_argument(
        "--normalize",
        choices=tuple(NORMALIZATIONS),
        default="basic",
        help="basic: upper case, nothing but letters, digits and apostrophes; none: only white space (default: %(default)s)",
    )
    parser.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="a table by this column of the manifest too; may be repeated"
    )
    parser.add_argument("-o", "--output", metavar="FOLDER", help="keep results.jsonl, a line a clip, and report.json there")
    parser.add_argument("--resume", action="store_true", help="go on with the results that are in the output folder")
    parser.add_argument(
        "-f", "--output_format", "--output-format", choices=("table", "json"), default="table", help="default: %(default)s"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the confusion matrix (classification only; extra: plots)")
    add_decoder_options(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate the set -> exit status."""
    from tqdm import tqdm

    _check(options)
    model = load(options.model or _MODELS[options.task], threads=options.threads)
    search = decoder(options, model)
    recognize = recognizer(model, options.task, **({"decoder": search} if options.task == "ctc" else {}))
    utterances = read_manifest(options.path, task=options.task)
    check_columns(utterances, options.by)
    made_by = {"task": options.task, "model": fingerprint(model), "decoder": _decoder_name(search, options.lm)}
    results = ResultsFile(Path(options.output), made_by, resume=options.resume) if options.output else None
    with tqdm(total=len(utterances), unit="clip", file=sys.stderr, leave=False, disable=None) as bar:
        evaluation = evaluate(_counted(utterances, bar.update), recognize, results=results, on_failure=report)
    told = {"sewnp": __version__, "set": options.path, "name": model.name} | made_by | _report(evaluation, options, model)
    _write(told, options)
    if evaluation.failed:
        print(f"sewnp: {len(evaluation.failed)} of {len(utterances)} clips failed and count nowhere", file=sys.stderr)
    return 1 if evaluation.failed else 0


def _check(options: argparse.Namespace) -> None:
    """What can be known to fail before the first clip is run."""
    if options.resume and not options.output:
        raise InputError("--resume: expected only with -o, the folder that holds the results")
    if options.task == "ctc":
        need("jiwer", "evaluate")
        if options.plot:
            raise InputError("--plot: expected only with --task classification, whose confusion matrix it draws")
    elif options.beam is not None or options.lm is not None:
        raise InputError(f"--{'beam' if options.lm is None else 'lm'}: expected only with --task ctc")
    if options.plot:
        need("matplotlib.pyplot", "plots")


def _report(evaluation: Evaluation, options: argparse.Namespace, model: Model) -> dict[str, Any]:
    if options.task == "classification":
        return classification_report(evaluation, labels=list(model.config.id2label.values()), by=options.by)
    assert model.tokenizer is not None  # the clips were transcribed with it
    spellable = spelling_tokens(model.tokenizer, vocab_size=model.config.vocab_size)
    return ctc_report(evaluation, normalization=options.normalize, spellable=spellable, by=options.by)


def _write(report: dict[str, Any], options: argparse.Namespace) -> None:
    """The report as file, picture and print."""
    as_json = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    if options.output:
        write_text(Path(options.output) / "report.json", as_json)
    if options.plot:
        confusion = report["confusion"]
        counts = np.array(confusion["counts"])
        save_plot(lambda: plot_confusion(counts, confusion["said"], confusion["heard"]), Path(options.plot))
    table = ctc_table if options.task == "ctc" else classification_table
    sys.stdout.write(as_json if options.output_format == "json" else table(report))


def _decoder_name(search: BeamSearch | None, lm: str | None) -> str:
    """The decoder in words that are the same for the same decoder: every setting, and a language model by its content."""
    if search is None:
        return "greedy"
    settings = {name: value for name, value in vars(search).items() if name != "language_model"}
    if lm is None:
        settings = {name: settings[name] for name in ("beam_width", "min_token_log_prob", "beam_threshold")}
    else:
        settings["language_model"] = hashlib.sha256(Path(lm).read_bytes()).hexdigest()[:12]
    return "beam search: " + ", ".join(f"{name} {value}" for name, value in settings.items())


def _counted(utterances: Sequence[Utterance], count: Callable[[], Any]) -> Iterator[Utterance]:
    for utterance in utterances:
        yield utterance
        count()
