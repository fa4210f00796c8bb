"""``sewnp plot``: the picture is there, says what it should, and is refused where there is nothing to draw."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import sewnp
from sewnp.cli import main, plot

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pyplot: Any = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are drawn, instead of their files."""
    made: list[Any] = []
    monkeypatch.setattr(plot, "save_plot", lambda draw, path: made.append(draw().figure))
    return made


@pytest.fixture(autouse=True)
def _closed() -> Any:
    yield
    pyplot.close("all")


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures_by_suffix(clip: str, tmp_path: Path, suffix: str, begins: bytes, capsys: Any) -> None:
    path = tmp_path / f"clip.{suffix}"
    open_before = pyplot.get_fignums()
    assert main(["plot", clip, "-o", str(path), "--layers", "0", "--heads", "0"]) == 0
    assert path.read_bytes().startswith(begins)
    assert capsys.readouterr() == ("", "")
    assert pyplot.get_fignums() == open_before


def test_a_picture_that_cannot_be_written(clip: str, tmp_path: Path, capsys: Any) -> None:
    for name, problem in {"gone/clip.png": "could not be written: No such file", "clip.xyz": "could not be drawn: "}.items():
        assert main(["plot", clip, "-o", str(tmp_path / name), "--layers"]) == 1
        assert capsys.readouterr().err.startswith(f"sewnp: error: {tmp_path / name}: {problem}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", ["digits", "digits-d"])
def test_the_picture_shows_words_letters_and_attention(clip: str, model: str, figures: list[Any]) -> None:
    assert main(["plot", clip, "-o", "x.png", "--model", model, "--layers", "5", "1", "5", "--heads", "3", "0"]) == 0
    sound, letters, *maps = figures[0].axes
    transcript = sewnp.load(model).transcribe(clip)
    assert [text.get_text() for text in sound.texts] == [word.text for word in transcript.words] != []
    assert sound.get_xlim() == letters.get_xlim() == pytest.approx((0, transcript.duration))
    assert [label.get_text() for label in letters.get_yticklabels()][:2] == ["blank", "| (space)"]
    heard = sewnp.load(model).transcribe(clip, decoder="greedy").text  # whatever the folder's words make of it
    assert {label.get_text() for label in letters.get_yticklabels()[2:]} == set(heard) - {" "}
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in maps]
    assert [title.splitlines()[-1] for title in titles] == [f"Layer {i}, head {j}" for i in (5, 1) for j in (3, 0)]
    loaded = sewnp.load(model)
    samples = sewnp.speech.read_audio(clip)
    attentions = loaded(loaded.features(samples).input_values, output_attentions=True).attentions
    for ax, (layer, head) in zip(maps, [(5, 3), (5, 0), (1, 3), (1, 0)], strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), attentions[layer][0, head])


def test_by_default_three_layers_and_four_heads(clip: str, figures: list[Any]) -> None:
    assert main(["plot", clip, "-o", "x.png"]) == 0
    assert main(["plot", clip, "-o", "x.png", "--layers"]) == 0
    assert [len(figure.axes) for figure in figures] == [2 + 3 * 4, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "6"], "layers: expected a whole number from 0 to 5, found 6"),
        (["--heads", "-1"], "heads: expected a whole number from 0 to 3, found -1"),
        (["--model", "digit-words"], "digit-words: drawing needs a CTC head"),
    ],
)
def test_what_cannot_be_drawn(clip: str, arguments: list[str], message: str, capsys: Any, figures: list[Any]) -> None:
    assert main(["plot", clip, "-o", "x.png", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert figures == []


def test_a_clip_too_short_to_draw(tmp_path: Path, capsys: Any, figures: list[Any]) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(700), 16000)
    assert main(["plot", str(tmp_path / "short.wav"), "-o", "x.png"]) == 1
    assert capsys.readouterr().err == f"sewnp: error: {tmp_path / 'short.wav'}: expected at least 720 samples, found 700\n"


def picture(**changed: Any) -> Any:
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {
        "waveform": np.zeros(1600), "sampling_rate": 16000, "transcript": sewnp.speech.Transcript("", (), 0.1),
        "probabilities": rng.dirichlet(np.ones(4), size=5), "tokens": ["<pad>", "|", "A", "B"], "seconds_per_frame": 0.02,
    }  # fmt: skip
    return sewnp.plots.plot_transcript(**(given | changed))


def test_a_clip_without_words() -> None:
    figure = picture(probabilities=np.eye(4)[[0, 0, 0]])
    assert "no words were found" in figure.axes[0].get_title(loc="left") + figure.axes[0].get_title()
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["blank"]


def test_a_minute_is_drawn_in_rows_and_its_attention_is_pooled_by_the_largest() -> None:
    words = tuple(sewnp.speech.Word("SEVEN", 0.5 * i, 0.5 * i + 0.1, 1.0) for i in range(120))
    attention = np.zeros((1500, 1500))
    attention[1499, 3] = 0.5
    narrow = picture()
    wide = picture(
        waveform=np.zeros(60 * 16000), transcript=sewnp.speech.Transcript("SEVEN", words, 60.0), attentions={"all": attention},
        seconds_per_attention=0.04,
    )  # fmt: skip
    assert narrow.get_figwidth() == 7.5
    assert 20 < wide.get_figwidth() <= 24
    rows = wide.axes[:-1]
    assert [ax.get_xlim() for ax in rows[::2]] == [ax.get_xlim() for ax in rows[1::2]]
    assert (len(rows), rows[0].get_xlim()[0]) == (6, 0)
    assert rows[-1].get_xlim()[1] >= 60
    assert [text.get_text() for ax in rows for text in ax.texts] == ["SEVEN"] * 120
    cells = wide.axes[-1].images[0].get_array()
    assert cells.shape == (300, 300)
    assert np.argwhere(cells).tolist() == [[299, 0]]
    assert wide.axes[-1].get_xlim() == (0, 60)
