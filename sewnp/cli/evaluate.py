"""``sewnp evaluate``: how many errors a model makes on a test set."""

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sewnp.batch import Result
from sewnp.cli.clips import Bar, add_format, add_jobs, add_model, add_threads, in_processes, until_interrupted
from sewnp.cli.decoding import OPTIONS, add_decoder_options, check_decoder_options, decoder, decoder_files, decoder_name
from sewnp.cli.evaluate_table import classification_table, ctc_table
from sewnp.cli.long import add_segment_option
from sewnp.cli.output import show, show_json, tell
from sewnp.cli.overwriting import check_outputs, model_files
from sewnp.cli.truncated import add_allow_truncated
from sewnp.evaluation import (
    NORMALIZERS,
    Evaluation,
    ResultsFile,
    Utterance,
    check_columns,
    classification_report,
    ctc_report,
    evaluate,
    read_test_set,
    recognizer,
)
from sewnp.extras import need
from sewnp.files import files_in, json_text, write_text
from sewnp.loading import DEFAULTS, embedded, load
from sewnp.manifests import is_list
from sewnp.model import Model
from sewnp.plots import plot_confusion, save_plot
from sewnp.speech import spelling_tokens
from sewnp.version import __version__

DESCRIPTION = """\
Measure a model's errors on a test set: word and character error rate for transcription,
accuracy and the confusion matrix for classification, with 95 % bootstrap intervals.

PATH is a LibriSpeech folder (*.trans.txt beside FLAC files, at any depth), a manifest
(.tsv, .csv, .jsonl or NeMo's .json) with a column audio, audio_filepath, path or file, and
text, sentence, transcript or label, or a folder with a manifest.tsv (.csv ...) in it. A
table without a header has the columns path and text."""
EXAMPLES = """\
examples:
  sewnp evaluate LibriSpeech/test-clean --model path/to/sew-tiny-100k-ft-ls100h -o results
  sewnp evaluate LibriSpeech/test-clean --model path/to/sew-tiny-100k-ft-ls100h -o results --resume
  sewnp evaluate clips.tsv --by speaker --by noise
  sewnp evaluate clips.tsv --lm words.arpa -f json
  sewnp evaluate words.tsv --task classification --plot confusion.png"""

_MODELS = {"ctc": DEFAULTS["transcribe"], "classification": DEFAULTS["classify"]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("path", metavar="PATH", help="a LibriSpeech folder or a manifest")
    parser.add_argument("--task", choices=tuple(_MODELS), default="ctc", help="what the model does (default: %(default)s)")
    add_model(parser, default=None)
    add_jobs(parser, "run the clips")
    add_threads(parser)
    add_allow_truncated(parser)
    parser.add_argument(
        "--normalize",
        "--normalizer",
        choices=tuple(NORMALIZERS),
        default="basic",
        help="basic: upper case, nothing but letters, digits and apostrophes; none: only white space; english: whisper's rules, numbers in"
        " digits (extra: whisper) (default: %(default)s)",
    )
    parser.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="a table by this column of the manifest too; may be repeated"
    )
    parser.add_argument("-o", "--output", metavar="FOLDER", help="keep results.jsonl, a line a clip, and report.json there")
    parser.add_argument("--resume", action="store_true", help="go on with the results that are in the output folder")
    add_format(parser, "table", "json", help="what to print")
    parser.add_argument("--plot", metavar="FILE", help="draw the confusion matrix (classification only; extra: plots)")
    add_decoder_options(parser)
    add_segment_option(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate the set -> exit status."""
    _check(options)
    model = load(options.model or embedded(_MODELS[options.task]), threads=options.threads)
    search = decoder(options, model) or model.feature_extractor.decoder or "greedy"
    utterances = read_test_set(options.path, task=options.task)
    check_columns(utterances, options.by)
    _check_outputs(options, utterances)
    keywords: dict[str, Any] = {"allow_truncated": options.allow_truncated}
    made_by = {"task": options.task, "model": model.fingerprint(), "decoder": decoder_name(search)}
    if options.task == "ctc":
        segment = model.feature_extractor.segment if options.segment is None else options.segment
        keywords |= {"decoder": search, "segment": segment}
        made_by["segment"] = "at pauses" if segment else "no"
    recognize = recognizer(model, options.task, **keywords, **in_processes(options.jobs, len(utterances), ordered=False))
    results = ResultsFile(Path(options.output), made_by, resume=options.resume) if options.output else None
    with Bar(len(utterances) - (len(results.done) if results else 0)) as progress:

        def counted(clips: Iterable[Path]) -> Iterator[Result]:
            for result in until_interrupted(recognize(clips)):
                yield result
                progress.update()

        evaluation = evaluate(utterances, counted, results=results, on_failure=lambda error: tell(f"error: {error}"))
    whole = {"sewnp": __version__, "set": options.path, "name": model.name} | made_by | _report(evaluation, options, model)
    _write(whole, options)
    if evaluation.failed:
        tell(f"{len(evaluation.failed)} of {len(utterances)} clips failed and count nowhere")
    return 1 if evaluation.failed else 0


def _check(options: argparse.Namespace) -> None:
    """What can be known to fail before the first clip is run."""
    if options.resume and not options.output:
        options.refuse("argument --resume: expected with -o FOLDER, which holds the results")
    if options.task == "ctc":
        need("jiwer", "evaluate")
        NORMALIZERS[options.normalize]("")  # which may need a package
        if options.plot:
            options.refuse("argument --plot: expected with --task classification, whose confusion matrix it draws")
        check_decoder_options(options)
    else:
        for name in (*OPTIONS, "segment"):
            if getattr(options, name) is not None:
                options.refuse(f"argument --{name.replace('_', '-')}: expected with --task ctc alone")
        if options.normalize != "basic":
            options.refuse("argument --normalize: expected with --task ctc alone: labels are compared as they stand")
    if options.plot:
        need("matplotlib.pyplot", "plots")


def _check_outputs(options: argparse.Namespace, utterances: Sequence[Utterance]) -> None:
    """Nothing that was named is written over."""
    results, report = (options.output and Path(options.output) / name for name in ("results.jsonl", "report.json"))
    listed = [path for path in files_in(options.path) if is_list(path)] if os.path.isdir(options.path) else [options.path]
    recordings = [utterance.audio for utterance in utterances]
    inputs = model_files(options.model) | {"a recording": recordings, "the test set": listed} | decoder_files(options)
    outputs = {"-o": results, "-o (the report)": report, "--plot": options.plot}
    check_outputs(options, outputs, inputs)


def _report(evaluation: Evaluation, options: argparse.Namespace, model: Model) -> dict[str, Any]:
    if options.task == "classification":
        return classification_report(evaluation, labels=list(model.config.id2label.values()), by=options.by)
    assert model.tokenizer is not None  # the clips were transcribed with it
    spellable = spelling_tokens(model.tokenizer, vocab_size=model.config.vocab_size)
    return ctc_report(evaluation, normalization=options.normalize, spellable=spellable, by=options.by)


def _write(report: dict[str, Any], options: argparse.Namespace) -> None:
    """The report as file, picture and print."""
    as_json = json_text(report, indent=2) + "\n"
    if options.output:
        write_text(Path(options.output) / "report.json", as_json)
    if options.plot:
        confusion = report["confusion"]
        counts = np.array(confusion["counts"])
        save_plot(lambda: plot_confusion(counts, confusion["said"], confusion["heard"]), Path(options.plot))
    if options.output_format == "json":
        show_json(as_json)
    else:
        show(ctc_table(report) if options.task == "ctc" else classification_table(report))
