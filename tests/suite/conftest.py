"""What the tests of the conformance suite share: it is written once, and computed once by the worked port."""

from pathlib import Path

import pytest

from sewnp.suite import write_vectors


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite, to be read and left as it is."""
    folder = tmp_path_factory.mktemp("conformance") / "suite"
    write_vectors(folder)
    return folder


@pytest.fixture(scope="session")
def ported(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the worked port makes of it, to be read and left as it is."""
    from suite.port import port

    folder = tmp_path_factory.mktemp("conformance") / "results"
    port.run(suite, folder)
    return folder
