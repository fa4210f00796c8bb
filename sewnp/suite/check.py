"""Judging a port's results against a conformance suite: case by case, stage by stage, and where each case went wrong first."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from sewnp.errors import InputError, TraceError, brief, harmless, printable
from sewnp.files import is_folder, naming, path_name, read_json
from sewnp.numerics.compare import Comparison, StageComparison, compare, metadata_problems, of_any_layer
from sewnp.numerics.stage_files import open_stages
from sewnp.numerics.strangers import described_strangers, in_common, strip_prefix
from sewnp.numerics.trace import chosen
from sewnp.suite.causes import cause_of
from sewnp.suite.layout import CASES_FOLDER, EXPECTED, STAGES, read_suite

SUFFIXES = (".safetensors", ".npz", ".json")


@dataclass(frozen=True)
class CaseReport:
    """One case judged."""

    name: str
    title: str
    comparison: Comparison
    """Names that no stage of the case has; then, in the order of computation, the stages that were given, and those that are required and
    were not."""
    not_given: tuple[str, ...] = ()
    """Stages that were left out, as a port may."""
    problem: str = ""
    """What kept the case from being judged: no results, or results that cannot be read."""

    @property
    def passes(self) -> bool:
        """Whether the required stages are there, and all that is there agrees."""
        return not self.problem and self.comparison.agrees

    @property
    def first(self) -> StageComparison | None:
        """A name that no stage has; else the first stage, in the order of computation, that does not agree."""
        return self.comparison.first

    @property
    def before(self) -> str:
        """The last stage before that which was given, and agrees."""
        known = [row for row in self.comparison.rows if row.status != "unknown"]
        names = [row.name for row in takewhile(lambda row: row.status == "agrees", known)]
        return names[-1] if names and self.first in known else ""

    @property
    def verdict(self) -> str:
        """The result in a line."""
        agreeing = sum(row.status == "agrees" for row in self.comparison.rows)
        if self.problem or self.first is None:
            return self.problem or f"{agreeing} stages agree" + (f", {len(self.not_given)} not given" if self.not_given else "")
        if self.comparison.hint:
            return self.comparison.hint
        others = len(self.comparison.rows) - agreeing - 1
        last = f"; {self.before} still agrees" if self.before else ""
        return f"first divergence: {printable(self.first.name)}: {described(self.first)}{last}" + (
            f"; {others} more do not agree" if others else ""
        )


@dataclass(frozen=True)
class Report:
    """A suite judged."""

    cases: tuple[CaseReport, ...]
    strangers: tuple[str, ...] = ()
    """Results that belong to no case: a misspelt name would otherwise go unseen."""

    @property
    def passes(self) -> bool:
        """Whether every case passes, and no result is left over."""
        return bool(self.cases) and not self.strangers and all(case.passes for case in self.cases)

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        failed = sum(not case.passes for case in self.cases)
        left = f"; results of no case: {', '.join(map(printable, self.strangers))}" if self.strangers else ""
        if failed:
            return f"{failed} of {len(self.cases)} cases fail{left}"
        return f"all {len(self.cases)} cases pass{left}"

    @property
    def origins(self) -> dict[str, int]:
        """Where cases went wrong first, and why where that is known -> how many, the commonest first.

        Layers count as one: {i} stands for their numbers.
        """
        return dict(Counter(map(_origin, (case for case in self.cases if not case.passes))).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        cases = [
            {
                "name": case.name,
                "title": case.title,
                "passes": case.passes,
                "verdict": case.verdict,
                "first_divergence": case.first and case.first.name,
                "not_given": list(case.not_given),
                "problem": case.problem,
                "stages": case.comparison.to_dict()["stages"],
            }
            for case in self.cases
        ]
        judged = {"passes": self.passes, "verdict": self.verdict, "first_divergences": self.origins}
        return judged | {"unknown_results": list(self.strangers), "cases": cases}

    def to_junit(self) -> str:
        """As JUnit XML: a test suite a case, a test a stage."""
        root = ET.Element("testsuites", name="sewnp check")
        for case in self.cases:
            suite = ET.SubElement(root, "testsuite", name=case.name)
            if case.problem:
                _test(suite, case.name, "results", failure=case.problem)
            for row in case.comparison.rows:
                _test(suite, case.name, row.name, failure="" if row.status == "agrees" else described(row))
            for name in case.not_given:
                ET.SubElement(_test(suite, case.name, name), "skipped", message="not given")
        if self.strangers:
            suite = ET.SubElement(root, "testsuite", name="results of no case")
            for name in self.strangers:
                _test(suite, "results of no case", name, failure="no case of the suite has this name")
        for element in (*root, root):
            tests = list(element.iter("testcase"))
            element.set("tests", str(len(tests)))
            element.set("failures", str(sum(test.find("failure") is not None for test in tests)))
            element.set("skipped", str(sum(test.find("skipped") is not None for test in tests)))
        ET.indent(root)
        return harmless(ET.tostring(root, encoding="unicode", xml_declaration=True)) + "\n"  # XML has no control characters


def _origin(case: CaseReport) -> str:
    """Where and why a case went wrong first, in words that others of the same mistake share."""
    if case.first is None:
        return "no readable results"
    if case.comparison.hint:
        return re.sub(r"^the \d+ unknown names", "unknown names", case.comparison.hint)
    place = of_any_layer(case.first.name)
    return place + (f": {case.first.cause}" if case.first.cause else "")


def described(row: StageComparison) -> str:
    """What is wrong with a stage, in a few words."""
    m = row.measure
    numbers = ""
    if m is not None and row.status == "diverges" and not row.detail:  # a detail has numbers of its own
        where = f"{list(m.worst)}" if m.worst else "its only value"
        numbers = f"off by {m.max_error:.1e} of its scale (budget {row.budget:.1e}), most at {where}"
    status = f"{row.status}: {row.cause}" if row.cause else row.status
    return "; ".join(part for part in (status, numbers, row.detail) if part)


def check_vectors(folder: str | Path, results: str | Path, cases: Sequence[str] = (), *, strip: str = "") -> Report:
    """Judge the results of a port.

    folder: a suite that ``write_vectors`` wrote.  results: a folder with one entry a case: ``<case>.safetensors``, ``<case>.npz``, a folder
    ``<case>/`` of .npy, or ``<case>.json`` where the case is about text.  cases: names of the cases to judge, with * and ?; all without any.
    strip: a prefix that the names of the port's stages have and ours have not.

    A case without results fails, and so does one whose results cannot be read: each says why.  Raises TraceError for a suite that is missing
    or damaged and for a results folder that is not there, InputError for a name in ``cases`` that no case has.
    """
    folder, results = Path(folder), Path(results)
    if not is_folder(results, TraceError):
        raise TraceError(
            f"{path_name(results)}: expected a folder with results, found {'a file' if results.exists() else 'nothing'}"
        )
    entries = _entries(folder)
    if not entries:
        raise TraceError(f"{path_name(folder)}: the manifest lists no cases")
    wanted = chosen(entries, cases, kind="case", whole="suite")
    found: dict[str, list[Path]] = {}
    strangers = []
    with naming(results, TraceError):
        paths = sorted(results.iterdir())
    for path in paths:
        name = path.name if path.is_dir() else path.stem
        holds_results = any(path.glob("*.npy")) if path.is_dir() else path.suffix in SUFFIXES
        if name.startswith(".") or not holds_results:
            continue  # notes, logs, what a file manager leaves behind
        if name in entries:
            found.setdefault(name, []).append(path)
        else:
            strangers.append(path.name)
    reports = (_judged(folder / CASES_FOLDER / name, entries[name], found.get(name, []), strip) for name in wanted)
    return Report(tuple(reports), tuple(strangers))


def _entries(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> what the manifest says of a case."""
    manifest = read_suite(folder)
    try:
        entries = {entry["name"]: entry for entry in manifest["cases"]}
        for name, entry in entries.items():
            if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):  # it becomes a path
                raise TraceError(f"{path_name(folder)}: manifest.json: {brief(name)} is no name of a case")
            if not {"title", "kind", "required"} <= entry.keys():
                raise TraceError(
                    f"{path_name(folder)}: manifest.json: {name}: expected title, kind and required, found {sorted(entry)}"
                )
    except (KeyError, TypeError, AttributeError) as error:
        raise TraceError(f"{path_name(folder)}: manifest.json: not the manifest of a suite: {error!r}") from error
    return entries


def _judged(folder: Path, entry: Mapping[str, Any], paths: Sequence[Path], strip: str) -> CaseReport:
    text = entry["kind"] == "tokenizer"
    stages, scales = _stages(folder)
    truth: Any = read_json(folder / f"{EXPECTED}.json", TraceError) if text else open_stages(folder / f"{EXPECTED}.safetensors")
    if list(truth) != list(stages):
        raise TraceError(f"{path_name(folder)}: {STAGES} and the expected values name different stages")
    if len(paths) != 1:
        several = f"several results: {', '.join(path.name for path in paths)}"
        return CaseReport(entry["name"], entry["title"], Comparison(()), tuple(stages), several if paths else "no results")
    try:
        theirs = _opened(paths[0], text=text)
        if not text and (problems := metadata_problems(truth.metadata, getattr(theirs, "metadata", {}))):
            raise TraceError(f"{paths[0]}: not results of this case: {'; '.join(problems)}")
        theirs = strip_prefix(theirs, strip, stages) if strip else theirs
        names = [name for name in stages if name in frozenset(theirs) or name in entry["required"]]
        comparison = _text_compared(truth, theirs, names) if text else compare(truth, theirs, stages, names=names, scales=scales)
    except (TraceError, InputError) as error:
        return CaseReport(entry["name"], entry["title"], Comparison(()), tuple(stages), str(error))
    if comparison.first is not None and comparison.first.name in frozenset(theirs) & stages.keys():
        found = theirs[comparison.first.name]
        row = replace(comparison.first, cause=cause_of(folder, entry, truth, comparison.first, found))
        comparison = replace(comparison, rows=tuple(row if each is comparison.first else each for each in comparison.rows))
    return CaseReport(entry["name"], entry["title"], comparison, tuple(name for name in stages if name not in names))


def _stages(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Stages of a case with their budgets, in the order of computation, and the scales of those that are zero on paper."""
    path = folder / STAGES
    try:
        rows = read_json(path, TraceError, kind=list)
        budgets = {row["name"]: float(row["budget"]) for row in rows}
        return budgets, {row["name"]: float(row["scale"]) for row in rows if "scale" in row}
    except (ValueError, KeyError, TypeError) as error:
        raise TraceError(f"{path_name(path)}: not a readable list of stages: {error!r}") from error


def _opened(path: Path, *, text: bool) -> Mapping[str, Any]:
    if text and (path.is_dir() or path.suffix != ".json"):
        raise TraceError(f"{path_name(path)}: expected a .json file, for this case is about text")
    return read_json(path, TraceError) if text else open_stages(path)


def _text_compared(truth: Mapping[str, Any], theirs: Mapping[str, Any], names: Iterable[str]) -> Comparison:
    rows = []
    for name in names:
        if name not in theirs:
            rows.append(StageComparison(name, "missing", detail="not in their file"))
            continue
        difference = _difference(truth[name], theirs[name])
        rows.append(StageComparison(name, "diverges" if difference else "agrees", detail=difference))
    strangers = [name for name in theirs if name not in truth]
    unknown = [StageComparison(name, "unknown", detail=said) for name, said in described_strangers(strangers, truth).items()]
    return Comparison((*unknown, *rows), hint=in_common(strangers, truth))


def _difference(truth: Any, found: Any, place: str = "") -> str:
    """Where two parsed JSON values part first, in words; nothing where they are equal.  1 is not true, and not 1.0."""
    at = f"{place}: " if place else ""
    if type(truth) is not type(found) or (not isinstance(truth, (list, dict)) and truth != found):
        return f"{at}expected {brief(truth)}, found {brief(found)}"
    if not isinstance(truth, (list, dict)):
        return ""
    if isinstance(truth, dict) and truth.keys() != found.keys():
        return f"{at}expected the keys {sorted(truth)}, found {sorted(found)}"
    keys = truth if isinstance(truth, dict) else range(min(len(truth), len(found)))
    inner = (_difference(truth[key], found[key], f"{place}[{brief(key)}]") for key in keys)
    counts = f"{at}expected {len(truth)} items, found {len(found)}" if len(truth) != len(found) else ""
    return next(filter(None, inner), counts)


def _test(suite: ET.Element, case: str, stage: str, *, failure: str = "") -> ET.Element:
    test = ET.SubElement(suite, "testcase", classname=case, name=_printable(stage))
    if failure:
        ET.SubElement(test, "failure", message=_printable(failure)).text = _printable(failure)
    return test


def _printable(text: str) -> str:
    """XML has no way to write control characters, and the names are somebody else's."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
