"""Which models are here, and what their cards say of them."""

import json
import re
import shutil
from pathlib import Path

import pytest

import sewnp
from sewnp.checkpoints.card import Card, read_card
from sewnp.cli import main
from sewnp.errors import DependencyError
from sewnp.loading import EMBEDDED, embedded


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def fill(cache: Path, name: str, commit: str, *, main: bool = True, **config: object) -> Path:
    """A cached commit of a copy of the embedded digits."""
    repository = cache / f"models--{name.replace('/', '--')}"
    folder = repository / "snapshots" / commit
    shutil.copytree(embedded("digits"), folder)
    values = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(values))
    if main:
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text(commit)
    return folder


def test_the_embedded_models_are_known(cache: Path) -> None:
    found = sewnp.models()
    assert [model.name for model in found] == list(EMBEDDED)
    for model in found:
        assert model.source == "embedded"
        assert model.bytes == (model.folder / "model.safetensors").stat().st_size
        assert model.licence == "cc-by-sa-4.0"
        assert sewnp.load(model.name, head=None).config == sewnp.load(model.folder, head=None).config


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_head_of_a_card_says_what_its_text_says(name: str) -> None:
    text = (embedded(name) / "README.md").read_text(encoding="utf-8").split("\n---\n", 1)[1]
    measures = read_card(embedded(name)).measures
    if name == "digit-words":
        assert re.findall(r"second: (\d+\.\d) % right", text) == [f"{measures['accuracy']:.1f}"]
    else:
        assert re.findall(r"^\| speaker lucas .*?\| (\S+) %.*?\| (\S+) %", text, re.MULTILINE) == [
            (f"{measures['wer']:.1f}", f"{measures['cer']:.1f}")
        ]


def test_cached_models_are_known(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(cache, "anna/one", "a" * 40)
    fill(cache, "anna/one", "b" * 40, main=False)  # an older one
    fill(cache, "anna/two", "c" * 40, main=False)  # fetched by its commit
    fill(cache, "anna/other", "d" * 40, model_type="wav2vec2")
    fill(cache, "anna/half", "e" * 40).joinpath("model.safetensors").unlink()
    (fill(cache, "anna/torch", "f" * 40) / "model.safetensors").rename(
        cache / "models--anna--torch" / "snapshots" / ("f" * 40) / "pytorch_model.bin"
    )
    (folder / "README.md").write_text("---\nlicense: 'apache-2.0'\n---\n")
    found = {model.name: model for model in sewnp.models() if model.source == "cached"}
    assert list(found) == ["anna/one", "anna/torch", f"anna/two@{'c' * 40}"]
    assert found["anna/one"].folder == folder
    assert (found["anna/one"].licence, found["anna/one"].measures) == ("apache-2.0", {})
    assert found["anna/torch"].bytes == (embedded("digits") / "model.safetensors").stat().st_size

    def missing(*_: str) -> None:
        raise DependencyError("no client")

    monkeypatch.setattr("sewnp.checkpoints.hub.need", missing)
    assert [model.name for model in sewnp.models()] == list(EMBEDDED)


@pytest.mark.parametrize(
    ("text", "card"),
    [
        (None, Card()),
        (b"\xff", Card()),
        (b"# no head\nlicense: mit\n", Card()),
        (b"---\nlicense: mit\n", Card()),
        (b"---\nlanguage: en\n---\n", Card()),
        (b"---\nlicense: mit\n  - type: wer\n    value: 3\n  - type: wer\n    value: 4\n---\n", Card("mit", {"wer": 3.0})),
        (b"---\n  - type: wer\n    value: many\n---\ntype: cer\nvalue: 3\n", Card()),
    ],
)
def test_cards(text: bytes | None, card: Card, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "README.md").write_bytes(text)
    assert read_card(tmp_path) == card


def test_the_table(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fill(cache, "anna/o\x1b[2Jne", "a" * 40)
    (folder / "README.md").write_text("---\nlicense: \x1b[2J\n---\n")
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *EMBEDDED, r"$'anna/o\x1b[2Jne'"]
    wrong = read_card(embedded("digits")).measures["wer"]
    assert lines[1].split(maxsplit=2)[1:] == ["embedded", f"4.3 MB  cc-by-sa-4.0  {wrong:.2g} % words wrong"]
    assert lines[-1].split() == [r"$'anna/o\x1b[2Jne'", "cached", "4.3", "MB", r"$'\x1b[2J'", "-"]
