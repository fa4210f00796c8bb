"""Clips run one by one, kept, and gone on with after a death; reports of what was heard."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import sewnp
import sewnp.evaluation.report as report_module
from sewnp import plots
from sewnp.batch import Result
from sewnp.errors import AudioError, EvaluationError, InputError, SewError
from sewnp.evaluation import (
    Evaluation,
    Recognition,
    ResultsFile,
    Utterance,
    bootstrap_interval,
    classification_report,
    ctc_report,
    evaluate,
    recognizer,
)
from sewnp.speech import Transcript

MADE_BY = {"task": "ctc", "model": "abc", "decoder": "greedy"}


def utterances(*references, **columns):
    return [
        Utterance(f"u{i}", Path(f"/clips/{i}.wav"), text, {name: values[i] for name, values in columns.items()})
        for i, text in enumerate(references)
    ]


def heard(pairs, **columns):
    """An evaluation of (reference, hypothesis) pairs, two seconds each, heard in half a second."""
    said = utterances(*(reference for reference, _ in pairs), **columns)
    return Evaluation([(u, Recognition(u.id, str(u.audio), text, 2.0, 0.5)) for u, (_, text) in zip(said, pairs, strict=True)], [])


def runner(run):
    """What a recognizer makes of clips, by a function from a path to a text."""

    def recognize(paths):
        for index, path in enumerate(paths):
            try:
                transcript, error = Transcript(run(path), (), 1.5), None
            except SewError as problem:
                transcript, error = None, problem
            yield Result(index, path, transcript, error=error, seconds=0.25)

    return recognize


def test_a_failing_clip_does_not_stop_the_others():
    def run(path):
        if path.name == "1.wav":
            raise AudioError(f"{path}: not audio")
        if path.name == "2.wav":
            raise InputError("something without a name")
        return path.stem

    said = []
    evaluation = evaluate(utterances("A", "B", "C", "D"), runner(run), on_failure=said.append)
    assert [(u.id, r.hypothesis, r.audio_seconds, r.processing_seconds) for u, r in evaluation.heard] == [
        ("u0", "0", 1.5, 0.25),
        ("u3", "3", 1.5, 0.25),
    ]
    assert (
        said == [error for _, error in evaluation.failed] == ["/clips/1.wav: not audio", "/clips/2.wav: something without a name"]
    )
    with pytest.raises(ZeroDivisionError):  # a bug of ours is no bad clip
        evaluate(utterances("A"), runner(lambda path: 1 / 0))


def test_results_in_any_order_are_those_of_their_clips(tmp_path):
    def recognize(paths):
        return reversed(list(runner(lambda path: f"heard {path.stem}")(paths)))

    evaluation = evaluate(utterances("A", "B", "C"), recognize, results=ResultsFile(tmp_path, MADE_BY, resume=False))
    assert [(u.id, r.id, r.hypothesis) for u, r in evaluation.heard] == [(f"u{i}", f"u{i}", f"heard {i}") for i in range(3)]
    lines = (tmp_path / "results.jsonl").read_text().splitlines()[1:]
    assert [json.loads(line)["id"] for line in lines] == ["u2", "u1", "u0"]


def test_results_are_kept_and_gone_on_with(tmp_path):
    ran = []

    def run(path):
        if len(ran) == 2 and not (tmp_path / "again").exists():
            raise KeyboardInterrupt
        ran.append(path.stem)
        return f"heard {path.stem}"

    everything = utterances("A", "B", "C", "D")
    with pytest.raises(KeyboardInterrupt):
        evaluate(everything, runner(run), results=ResultsFile(tmp_path, MADE_BY, resume=False))
    (tmp_path / "again").touch()
    evaluation = evaluate(everything, runner(run), results=ResultsFile(tmp_path, MADE_BY, resume=True))
    assert ran == ["0", "1", "2", "3"]  # each once
    assert [r.hypothesis for _, r in evaluation.heard] == [f"heard {i}" for i in range(4)]
    header, *lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert json.loads(header) == {"made_by": MADE_BY}
    assert [json.loads(line) for line in lines] == [asdict(r) for _, r in evaluation.heard]


def results_of(count):
    return [Recognition(f"u{i}", f"/clips/{i}.wav", "ONE é \u2028", 1.0, 0.25) for i in range(count)]


@pytest.mark.parametrize("resume", [False, True])
def test_killed_at_any_byte(tmp_path, resume):
    """Whatever prefix of the file is left, the whole lines count, the torn one goes, and going on writes a whole file again."""
    first = ResultsFile(tmp_path / "whole", MADE_BY, resume=False)
    for result in results_of(2):
        first.append(result)
    content = first.path.read_bytes()
    (tmp_path / "cut").mkdir()
    for size in range(len(content) + 1):
        (tmp_path / "cut" / "results.jsonl").write_bytes(content[:size])
        whole_lines = content[:size].count(b"\n")
        if whole_lines and not resume:
            with pytest.raises(EvaluationError, match=r"results\.jsonl: holds results already; go on with --resume"):
                ResultsFile(tmp_path / "cut", MADE_BY, resume=False)
            assert (tmp_path / "cut" / "results.jsonl").read_bytes() == content[:size]
            continue
        again = ResultsFile(tmp_path / "cut", MADE_BY, resume=resume)
        assert list(again.done.values()) == results_of(2)[: max(0, whole_lines - 1)]
        for result in results_of(2)[max(0, whole_lines - 1) :]:
            again.append(result)
        assert again.path.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"made_by": {"task": "ctc", "model": "xyz", "decoder": "greedy"}}\n',
            "made with another model: expected abc, found 'xyz'",
        ),
        (
            '{"made_by": {"task": "ctc", "model": "abc", "decoder": "beam"}}\n',
            "made with another decoder: expected greedy, found 'beam'",
        ),
        ('{"made_by": {"model": "abc"}}\n', "made with another task: expected ctc, found None"),
        ('{"id": "u0"}\n', r"results\.jsonl:1: expected what made the results"),
        ("hello\n", r"results\.jsonl:1: expected a result, found b'hello'"),
        (json.dumps({"made_by": MADE_BY}) + '\n{"id": "u0"}\n', r"results\.jsonl:2: expected a result"),
        (json.dumps({"made_by": MADE_BY}) + "\n{torn}\n{}\n", r"results\.jsonl:2: expected a result"),
        (json.dumps({"made_by": MADE_BY}) + "\n[1]\n", r"results\.jsonl:2: expected a result"),
        (json.dumps({"made_by": MADE_BY}) + "\n" + "[" * 100_000 + "\n", r"results\.jsonl:2: expected a result"),
        (
            json.dumps({"made_by": MADE_BY})
            + '\n{"id": "u0", "path": "a", "hypothesis": 3, "audio_seconds": 1.0, "processing_seconds": 1.0}\n',
            r"results\.jsonl:2: expected a result, .*\(hypothesis: expected a ",
        ),
    ],
)
def test_results_of_something_else_are_refused_and_stay(tmp_path, content, message):
    path = tmp_path / "results.jsonl"
    path.write_text(content)
    with pytest.raises(EvaluationError, match=message):
        ResultsFile(tmp_path, MADE_BY, resume=True)
    assert path.read_text() == content


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationError, match=r"results\.jsonl: cannot be written"):
        ResultsFile(tmp_path / "file", MADE_BY, resume=False)


def test_recognizers(digits, clips):
    (heard,) = recognizer(digits, "ctc")([clips / "three_one_four.wav"])
    assert (heard.transcript.text, heard.transcript.duration) == ("THREE ONE FOUR ONE FIVE NINE", 2.975)
    words = sewnp.load("digit-words")
    (named,) = recognizer(words, "classification")([clips / "three_one_four.wav"])
    assert (named.labels, named.labels.duration) == (words.classify(clips / "three_one_four.wav"), 2.975)
    assert named.seconds > 0
    with pytest.raises(InputError, match="digits: expected a model with the head classification, found ctc"):
        recognizer(digits, "classification")


PAIRS = [("one two", "ONE TWO"), ("One, two three!", "ONE TOO THREE FOUR"), ("six", "")]


def test_ctc_report():
    evaluation = heard(PAIRS, speaker=["ann", "bob", "ann"])
    evaluation.failed.append((utterances("A")[0], "bad.wav: not audio"))
    report = ctc_report(evaluation, spellable=set("ENOTWHRFUSIX"), by=["speaker"])
    json.dumps(report)
    assert report["clips"] == 3
    assert report["failed"] == [{"id": "u0", "error": "bad.wav: not audio"}]
    assert report["seconds"] == {"audio": 6.0, "processing": 1.5, "real_time_factor": 0.25}
    assert report["normalization"] == "basic"
    assert {key: report["words"][key] for key in ("errors", "length", "substitutions", "deletions", "insertions")} == {
        "errors": 3,
        "length": 6,
        "substitutions": 1,
        "deletions": 1,
        "insertions": 1,
    }
    assert report["words"]["rate"] == 0.5
    assert [report["words"][name] for name in ("mer", "wil", "wip")] == [3 / 7, 1 - 16 / 36, 16 / 36]
    assert report["confusions"] == [
        {"said": "", "heard": "FOUR", "count": 1},
        {"said": "SIX", "heard": "", "count": 1},
        {"said": "TWO", "heard": "TOO", "count": 1},
    ]
    assert report["characters"]["errors"] == 1 + 5 + 3  # TWO to TOO, " FOUR", SIX
    assert report["outside_vocabulary"] == {"clips": 0, "characters": {}}
    assert [(bad["id"], bad["word_errors"], bad["words"]) for bad in report["worst"]] == [("u1", 2, 3), ("u2", 1, 1)]
    assert report["worst"][0]["reference"] == "ONE TWO THREE"
    groups = report["by"]["speaker"]
    assert [(name, group["clips"], group["words"]["errors"], group["words"]["length"]) for name, group in groups.items()] == [
        ("ann", 2, 1, 3),
        ("bob", 1, 2, 3),
    ]


def test_without_normalisation_case_and_commas_are_errors():
    report = ctc_report(heard([("One, two", "ONE TWO")]), normalization="none", spellable=set("ONETW"))
    assert report["words"]["errors"] == 2
    assert report["outside_vocabulary"] == {"clips": 1, "characters": {"n": 1, "e": 1, ",": 1, "t": 1, "w": 1, "o": 1}}


def test_normalisers_that_write_digits_ask_no_vocabulary(monkeypatch):
    monkeypatch.setitem(report_module.NORMALIZERS, "english", lambda text: text.lower().replace("one", "1"))
    report = ctc_report(heard([("1 two", "ONE TWO")]), normalization="english", spellable=set("ONETW"))
    assert (report["normalization"], report["words"]["errors"]) == ("english", 0)
    assert report["outside_vocabulary"] == {"clips": 0, "characters": {}}


def test_confusions_are_counted_over_the_set_the_most_frequent_first():
    report = ctc_report(heard([("A B", "A C"), ("B", "C"), ("A", "")]), spellable=set("ABC"))
    assert report["confusions"] == [{"said": "B", "heard": "C", "count": 2}, {"said": "A", "heard": "", "count": 1}]


def test_references_outside_the_vocabulary_are_counted():
    report = ctc_report(heard([("A 3 33", "A"), ("A", "A")]), spellable={"A", "a", "|"})
    assert report["outside_vocabulary"] == {"clips": 1, "characters": {"3": 3}}


def test_a_group_in_which_nothing_is_said():
    report = ctc_report(heard([("A", "A"), ("", "A")], kind=["speech", "noise"]), spellable={"A"}, by=["kind"])
    assert report["words"]["insertions"] == 1
    assert report["by"]["kind"]["noise"] == {"clips": 1, "words": None, "characters": None}


@pytest.mark.parametrize(
    ("pairs", "options", "error", "message"),
    [
        ([], {}, EvaluationError, "none of the 0 clips could be run"),
        ([("Привет", "A")], {}, EvaluationError, "not one character of the references, which hold 'П', 'Р'"),
        ([("", "A"), ("?", "")], {}, EvaluationError, "expected references with at least one word, found none"),
        ([("A", "A")], {"by": ["speaker"]}, EvaluationError, "the set has no column 'speaker'; it has none"),
        ([("A", "A")], {"normalization": "mine"}, InputError, "normalization: expected one of basic, none, english, found 'mine'"),
    ],
)
def test_sets_without_a_figure(pairs, options, error, message):
    with pytest.raises(error, match=message):
        ctc_report(heard(pairs), spellable={"A"}, **options)


LABELS = ["zero", "one", "two", "_unknown_"]


def test_classification_report():
    said = [("zero", "zero"), ("one", "two"), ("one", "one"), ("two", "two"), ("cat", "_unknown_")]
    report = classification_report(heard(said, room=["a", "a", "b", "b", "b"]), labels=LABELS, by=["room"])
    json.dumps(report)
    assert report["accuracy"]["right"] == 3
    assert report["accuracy"]["rate"] == 0.6
    low, high = bootstrap_interval([0, 1, 0, 0, 1], [1] * 5)  # of the errors
    assert (report["accuracy"]["low"], report["accuracy"]["high"]) == (1 - high, 1 - low)
    assert low + high != 1
    assert report["confusion"]["said"] == ["zero", "one", "two", "cat"]
    assert report["confusion"]["heard"] == LABELS
    assert report["confusion"]["counts"] == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert report["unknown_labels"] == {"cat": 1}
    assert report["mistakes"] == [
        {"id": "u1", "said": "one", "heard": "two"},
        {"id": "u4", "said": "cat", "heard": "_unknown_"},
    ]
    assert [group["accuracy"]["right"] for group in report["by"]["room"].values()] == [1, 2]


def test_labels_of_another_model_are_one_error():
    with pytest.raises(EvaluationError, match="none of the set's labels is one of the model's: 'ZERO'; expected 'zero', 'one'"):
        classification_report(heard([("ZERO", "zero")]), labels=LABELS)


def test_a_confusion_matrix_drawn():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    counts = np.array([[3, 1, 0], [0, 0, 0]])
    ax = plots.plot_confusion(counts, ["one", "two"], ["one", "two", "six"])
    ax.figure.canvas.draw()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("heard as", "said")
    np.testing.assert_array_equal(ax.images[0].get_array(), [[0.75, 0.25, 0], [0, 0, 0]])
    assert [(text.get_position(), text.get_text()) for text in ax.texts] == [((0, 0), "3"), ((1, 0), "1")]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["one", "two", "six"]
    assert len(plots.plot_confusion(np.eye(30), [str(i) for i in range(30)], bar=False).texts) == 0  # no room for numbers
    with pytest.raises(InputError, match=r"counts: expected shape \(2, 2\), found \(2, 3\)"):
        plots.plot_confusion(counts, ["one", "two"])
    with pytest.raises(InputError, match="negative"):
        plots.plot_confusion(-counts, ["one", "two"], ["one", "two", "six"])
    pyplot.close("all")
