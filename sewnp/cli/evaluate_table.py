"""The reports of ``sewnp evaluate`` as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from sewnp.errors import brief, printable
from sewnp.files import path_name
from sewnp.speech.formats import one_line

_MOST = 5
_MOST_CONFUSIONS = 10
_NOTHING = "(nothing)"


def ctc_table(report: Mapping[str, Any]) -> str:
    """Rates, groups, the worst utterances, and what has to be said about the set."""
    lines = [*_head(report), f"texts compared after normalisation {brief(report['normalization'])}", ""]
    lines += [f"{'':<22} {'rate':>7}  {'95 % interval':>17} {'errors':>7} {'of':>7} {'subst.':>7} {'delet.':>7} {'insert.':>7}"]
    lines += [_rate(f"{name[:-1]} errors", report[name]) for name in ("words", "characters")]
    words = report["words"]
    lines += [
        f"match errors (MER) {_percent(words['mer'])}, word information lost (WIL) {_percent(words['wil'])},"
        f" preserved (WIP) {_percent(words['wip'])}"
    ]
    lines += _outside(report["outside_vocabulary"])
    for column, groups in report["by"].items():
        lines += [
            "",
            f"{printable(column):<22} {'clips':>7} {'words':>7}  {'word errors, 95 % interval':>27}  {'character errors, 95 % interval':>31}",
        ]
        lines += [_group(value, group) for value, group in groups.items()]
    lines += _confusions(report["confusions"])
    if report["worst"]:
        lines += ["", "worst utterances (word errors of words)"]
    for bad in report["worst"][:_MOST]:
        lines += [f"  {path_name(bad['id'])}  {bad['word_errors']} of {bad['words']}"]
        lines += [f"    said   {one_line(bad['reference'])}", f"    heard  {one_line(bad['hypothesis'])}"]
    return "\n".join(lines) + "\n"


def _confusions(confusions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each a row: what was said, what was heard in its place, how often."""
    if not confusions:
        return []
    rows = [
        (one_line(each["said"]) or _NOTHING, one_line(each["heard"]) or _NOTHING, each["count"])
        for each in confusions[:_MOST_CONFUSIONS]
    ]
    said, heard = (max(len(row[i]) for row in [*rows, ("said", "heard")]) for i in (0, 1))
    lines = ["", "the most frequent confusions of words", f"  {'said':<{said}}  {'heard':<{heard}}  times"]
    return lines + [f"  {row[0]:<{said}}  {row[1]:<{heard}}  {row[2]:>5}" for row in rows]


def classification_table(report: Mapping[str, Any]) -> str:
    """Accuracy, groups, and the confusion matrix."""
    accuracy = report["accuracy"]
    lines = [*_head(report), "", f"accuracy  {_interval(accuracy)}  {accuracy['right']} of {report['clips']} right"]
    for label, clips in report["unknown_labels"].items():
        lines += [f"label {brief(label)} is none of the model's: {clips} clips, all counted as wrong"]
    for column, groups in report["by"].items():
        lines += ["", f"{printable(column):<22} {'clips':>7}  {'accuracy, 95 % interval':>25}"]
        lines += [f"{_value(value):<22} {group['clips']:>7}  {_interval(group['accuracy']):>25}" for value, group in groups.items()]
    confusion = report["confusion"]
    references, labels = (list(map(printable, confusion[side])) for side in ("said", "heard"))
    width = max(map(len, [*references, "said"]))
    cells = [max(len(label), 4) for label in labels]
    lines += ["", "  ".join([f"{'said':<{width}}", *(f"{label:>{cell}}" for label, cell in zip(labels, cells, strict=True))])]
    for label, counts in zip(references, confusion["counts"], strict=True):
        numbers = (f"{count or '·':>{cell}}" for count, cell in zip(counts, cells, strict=True))
        lines += ["  ".join([f"{label:<{width}}", *numbers])]
    return "\n".join(lines) + "\n"


def _head(report: Mapping[str, Any]) -> list[str]:
    seconds, failed = report["seconds"], len(report["failed"])
    missing = f" ({failed} more failed and count nowhere)" if failed else ""
    factor = "" if seconds["real_time_factor"] is None else f": {seconds['real_time_factor']:.3f} of real time"
    bootstrap = report["bootstrap"]
    return [
        f"{path_name(report['set'])}: {report['clips']} clips{missing}",
        f"model {printable(report['name'])}, decoder {report['decoder']}",
        f"{seconds['audio']:.1f} s of audio in {seconds['processing']:.1f} s{factor}",
        f"intervals: percentile bootstrap over clips, {bootstrap['resamples']} draws, seed {bootstrap['seed']}",
    ]


def _rate(name: str, rate: Mapping[str, Any]) -> str:
    counts = " ".join(f"{rate[key]:>7}" for key in ("errors", "length", "substitutions", "deletions", "insertions"))
    return f"{name:<22} {_percent(rate['rate']):>7}  {_percent(rate['low']):>7} – {_percent(rate['high']):>7} {counts}"


def _value(value: str) -> str:
    return printable(value) if value else "(none)"


def _group(value: str, group: Mapping[str, Any]) -> str:
    words, characters = group["words"], group["characters"]
    name = _value(value)
    if words is None:
        return f"{name:<22} {group['clips']:>7} {0:>7}"
    return f"{name:<22} {group['clips']:>7} {words['length']:>7}  {_interval(words):>27}  {_interval(characters):>31}"


def _outside(outside: Mapping[str, Any]) -> list[str]:
    if not outside["clips"]:
        return []
    listed = list(outside["characters"].items())
    first = ", ".join(f"{brief(c)} {count}" for c, count in listed[:_MOST]) + (", ..." if len(listed) > _MOST else "")
    return [f"{outside['clips']} references hold characters that the vocabulary lacks, each a sure error: {first}"]


def _interval(rate: Mapping[str, Any]) -> str:
    return f"{_percent(rate['rate'])} ({_percent(rate['low'])} – {_percent(rate['high'])})"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"
