"""Conformance vectors: a suite of cases that any port, in any language, can be held against."""

import shutil
from pathlib import Path
from typing import Any

from sewnp.errors import InputError, TraceError, check_whole
from sewnp.files import WRITING, is_folder, is_there, path_name, whole_folder
from sewnp.networks.stages import STAGE_LIST_VERSION
from sewnp.suite.case_files import write_case
from sewnp.suite.cases import CASES, DATA
from sewnp.suite.layout import (
    CASES_FOLDER,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    is_suite,
    write_lines,
)
from sewnp.version import __version__


def write_vectors(folder: str | Path, seed: int = 0) -> list[str]:
    """Write the suite, whole or not at all -> names of its cases.  The same seed on the same machine gives the same bytes.

    An earlier suite in the folder is replaced.  Raises InputError for a folder that holds anything else, and for a negative seed;
    TraceError when the folder cannot be written.
    """
    folder = Path(folder)
    check_whole("seed", seed)
    there = is_folder(folder, TraceError, WRITING)
    if not there and is_there(folder, TraceError, WRITING):
        raise InputError(f"{path_name(folder)}: expected a folder, found a file")
    if there and not is_suite(folder) and any(folder.iterdir()):
        raise InputError(f"{path_name(folder)}: expected an empty folder or an earlier suite, found other files")
    with whole_folder(folder, TraceError) as scratch:
        entries = [write_case(case, scratch / CASES_FOLDER / case.name, seed) for case in CASES]
        write_lines(scratch / MANIFEST, _manifest(entries, seed))
        for name in ("README.md", "manifest.schema.json"):
            shutil.copyfile(DATA / name, scratch / name)
    return [case.name for case in CASES]


def _manifest(entries: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "stage_list": STAGE_LIST_VERSION,
        "sewnp": __version__,
        "seed": seed,
        "expected_dtype": "float64",
        "budgets_for": "float32",
        "cases": entries,
    }
