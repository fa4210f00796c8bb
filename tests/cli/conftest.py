"""What the tests of commands share."""

from pathlib import Path

import pytest
import soundfile


@pytest.fixture(scope="session")
def clip(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A second: THREE ONE FOUR."""
    samples, rate = soundfile.read(clips / "three_one_four.wav", dtype="float32")
    path = tmp_path_factory.mktemp("clip") / "second.wav"
    soundfile.write(path, samples[: int(1.3 * rate)], rate)
    return str(path)
