"""A recording of any length is drawn in bounded memory and room: in rows, and what is not drawn is said."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import sewnp
from sewnp import inputs, plots
from sewnp.errors import InputError
from sewnp.fast import FastTrunk
from sewnp.long import WINDOW
from sewnp.networks import run as network_run
from sewnp.plots import clip as drawing
from sewnp.speech import FeatureExtractor, Transcript, Word

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pyplot: Any = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _closed() -> Any:
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def minute(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A minute and a bit, more than two windows."""
    samples, rate = soundfile.read(clips / "three_one_four.wav", dtype="float32")
    path = tmp_path_factory.mktemp("long") / "minute.wav"
    soundfile.write(path, np.resize(samples, 65 * rate), rate)
    return str(path)


def title(ax: Any) -> str:
    return str(ax.get_title(loc="left") or ax.get_title())


def test_a_long_recording_has_the_words_of_transcribe_and_the_attention_of_its_first_window(
    minute: str, digits: sewnp.Model
) -> None:
    figure = plots.plot_clip(digits, minute, layers=[1], heads=[2])
    *rows, attention = figure.axes
    words = digits.transcribe(minute).words
    assert [text.get_text() for ax in rows[::2] for text in ax.texts] == [word.text for word in words if word.text]
    assert len(words) > 50
    assert title(rows[0]).startswith("The sound, and the words")
    assert title(attention).splitlines()[0] == "Where each moment looks, the first 0:30 of 1:05: dark nowhere, bright most"
    beginning = sewnp.speech.read_audio(minute)[: int(WINDOW * 16000)]
    seen = digits(digits.features(beginning).input_values, output_attentions=True).attentions[1][0, 2]
    assert attention.images[0].get_array().max() == pytest.approx(seen.max())
    assert attention.get_xlim() == pytest.approx((0, 0.04 * len(seen)), abs=0.09)


def test_without_layers_no_attention_is_computed_and_the_textbook_does_not_run(
    minute: str, digits: sewnp.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("somebody looked")

    monkeypatch.setattr(drawing, "_attentions", refused)
    monkeypatch.setattr(sewnp.Model, "__call__", refused)
    uncut = replace(digits, feature_extractor=FeatureExtractor())  # in windows alone: what lies between pauses is run as a clip is
    assert isinstance(uncut._fast, FastTrunk)
    assert len(plots.plot_clip(uncut, minute, layers=[]).axes) % 2 == 0


def test_attention_is_never_over_more_than_a_window(minute: str, digits: sewnp.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    called = network_run

    def measured(weights: Any, config: Any, x: Any, **rest: Any) -> Any:
        lengths.append(x.shape[1])
        return called(weights, config, x, **rest)

    monkeypatch.setattr("sewnp.model.run", measured)
    plots.plot_clip(digits, minute, layers=[0], heads=[0])
    assert lengths[0] == max(lengths) == WINDOW * 16000


def test_attention_that_does_not_fit_is_refused_before_anything_is_run(
    minute: str, digits: sewnp.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "memory", lambda: 2**20)
    monkeypatch.setattr(sewnp.Model, "recording_logits", lambda *_, **__: pytest.fail("the words were sought first"))
    with pytest.raises(InputError, match="needs about 0 GiB of memory, more than the"):
        plots.plot_clip(digits, minute, layers=[0], heads=[0])


def test_what_has_no_room_is_not_held_and_the_title_says_so(digits: sewnp.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sewnp.plots.transcript._MOST_ROWS", 2)
    drawn = {}
    monkeypatch.setattr(drawing, "plot_transcript", lambda waveform, rate, transcript, probabilities, *_, **__: drawn.update(
        samples=len(waveform), frames=len(probabilities)))  # fmt: skip
    plots.plot_clip(digits, _silence(120), layers=[])
    # 22.8 inches a row, an inch a second
    assert drawn == {"samples": round(2 * 22.8 * 16000), "frames": round(2 * 22.8 * 50)}


def _silence(seconds: int) -> Any:
    import io

    file = io.BytesIO()
    soundfile.write(file, np.zeros(seconds * 16000, np.float32), 16000, format="WAV")
    file.seek(0)
    return file


def test_a_picture_of_an_hour_is_of_bounded_size_and_says_what_part_it_shows() -> None:
    words = tuple(Word("SEVEN", float(i), i + 0.9, 1.0) for i in range(3600))
    probabilities = np.zeros((180_000, 4), np.float32)
    probabilities[:, 0] = 1
    figure = plots.plot_transcript(
        np.zeros(3600 * 1000), 1000, Transcript("SEVEN", words, 3600.0), probabilities, ["<pad>", "|", "A", "B"], seconds_per_frame=0.02
    )  # fmt: skip
    inches = figure.get_size_inches()
    assert (150 * inches < 2**16 / 3).all()
    seconds = figure.axes[-1].get_xlim()[1]
    assert title(figure.axes[0]) == f"The sound, the first {seconds // 60:.0f}:{seconds % 60:02.0f} of 1:00:00, " + (
        "and the words that were found in it"
    )
    assert sum(len(ax.images[0].get_array().T) for ax in figure.axes[1::2]) < 60_000


def test_a_curve_of_millions_of_samples_is_drawn_by_its_outline() -> None:
    waveform = np.random.default_rng(0).uniform(-1, 1, 3_000_000)
    waveform[1_234_567], waveform[2_345_678] = 7, -5
    tracemalloc.start()
    line = plots.plot_waveform(waveform, 1000).lines[0]
    assert len(line.get_xdata()) <= 2**16
    assert (line.get_ydata().max(), line.get_ydata().min()) == (7, -5)
    assert line.get_xdata()[line.get_ydata().argmax()] == pytest.approx(1234.567, abs=0.2)
    tracemalloc.stop()
    np.testing.assert_array_equal(plots.plot_waveform(waveform[:1000], 1000).lines[0].get_ydata(), waveform[:1000])


@pytest.mark.parametrize("word", ["$", "$x_", "$$", "\\frac{", "_A", "^", "A\nB", "\x1b[31m", "B" * 100_000, ""])
def test_a_word_of_any_characters_can_be_drawn(word: str) -> None:
    """Between dollar signs matplotlib reads formulas, and most words are none."""
    words = tuple(Word(f"{word}{i}$", 0.2 * i, 0.2 * i + 0.1, 1.0) for i in range(4))
    tokens = ["<pad>", "|", word, f"{word}$"]
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), size=40)
    figures = [
        plots.plot_transcript(np.zeros(800), 1000, Transcript("", words, 0.8), probabilities, tokens, seconds_per_frame=0.02),
        plots.plot_waveform(np.zeros(800), 1000, words=words).figure,
        plots.plot_posteriors(probabilities, tokens, seconds_per_frame=0.02).figure,
        plots.plot_lattice(probabilities, tokens).figure,
        plots.plot_confusion(np.eye(4, dtype=int), tokens).figure,
    ]
    for figure in figures:
        figure.canvas.draw()


def test_a_matrix_of_many_labels_is_a_picture_that_can_be_saved() -> None:
    figure = plots.plot_confusion(np.eye(400, dtype=int), [f"word{i}" for i in range(400)]).figure
    assert (150 * figure.get_size_inches() < 2**16).all()
    assert figure.get_figwidth() == 100
