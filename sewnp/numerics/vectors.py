"""Conformance vectors: a suite of cases that any port, in any language, can be held against."""

import tempfile
from pathlib import Path
from typing import Any

from sewnp.checkpoints.files import whole_folder, write_json
from sewnp.errors import CheckpointError, InputError, TraceError
from sewnp.networks.stages import STAGE_LIST_VERSION
from sewnp.numerics.case_files import write_case
from sewnp.numerics.cases import CASES
from sewnp.numerics.suite import (
    CASES_FOLDER,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    README,
    README_FILE,
    SCHEMA,
    SCHEMA_FILE,
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
    if seed < 0:
        raise InputError(f"seed: expected 0 or more, found {seed}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, found a file")
    earlier = folder.is_dir() and is_suite(folder)
    if folder.is_dir() and not earlier and any(folder.iterdir()):
        raise InputError(f"{folder}: expected an empty folder or an earlier suite, found other files")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as aside, whole_folder(folder) as scratch:
            entries = [write_case(case, scratch / CASES_FOLDER / case.name, seed) for case in CASES]
            write_lines(scratch / MANIFEST, _manifest(entries, seed))
            write_json(scratch / SCHEMA_FILE, SCHEMA)
            (scratch / README_FILE).write_text(README, encoding="utf-8")
            if earlier and (folder / CASES_FOLDER).exists():  # a folder cannot be moved onto one that is not empty
                (folder / CASES_FOLDER).rename(Path(aside) / CASES_FOLDER)
    except (OSError, CheckpointError) as error:
        raise TraceError(f"{folder}: could not be written: {error}") from error
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
