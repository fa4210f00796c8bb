"""Plots draw without warnings, say what their axes are in, and refuse arrays that do not fit."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import sewnp
from sewnp import SEWConfig, plots
from sewnp.errors import DependencyError, InputError, SewError
from sewnp.extras import need
from sewnp.plots import architecture
from sewnp.speech import Word

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pyplot: Any = pytest.importorskip("matplotlib.pyplot")

RNG = np.random.default_rng(0)
PROBABILITIES = RNG.dirichlet(np.ones(5), size=12)
TOKENS = ["<pad>", "|", "A", "B", "C"]
ATTENTION = RNG.dirichlet(np.ones(7), size=7)


@pytest.fixture(autouse=True)
def _house_style() -> Iterator[None]:
    with pyplot.rc_context(plots.style()):
        yield
    pyplot.close("all")


def drawn(ax: Any) -> Any:
    """The axes after a full rendering, in which warnings are errors."""
    ax.figure.canvas.draw()
    return ax


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_waveform_is_in_seconds_and_marks_words() -> None:
    ax = drawn(plots.plot_waveform(np.sin(np.arange(800.0)), 400, words=[Word("ONE", 0.5, 1.0, 0.9)]))
    assert ax.get_xlabel() == "time (s)"
    assert ax.get_ylabel() == "amplitude"
    assert ax.get_xlim() == (0, 2)
    assert texts(ax) == ["ONE"]
    assert ax.lines[0].get_xdata()[1] == 1 / 400


def test_frames_stand_at_their_seconds() -> None:
    ax = drawn(plots.plot_frames(RNG.random((10, 3)), seconds_per_frame=0.02, label="filter"))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "filter")
    assert ax.images[0].get_extent() == pytest.approx([0, 0.2, -0.5, 2.5])


def test_frames_of_one_sign_and_of_both() -> None:
    amounts = plots.plot_frames(np.ones((4, 2)), seconds_per_frame=1).images[0]
    signed = plots.plot_frames(np.array([[-1.0, 3.0]]), seconds_per_frame=1).images[0]
    assert amounts.get_cmap().name == "viridis"
    assert signed.get_cmap().name == "PuOr"
    assert signed.get_clim() == (-3, 3)  # white is zero


def test_colour_bar_can_be_left_out() -> None:
    assert len(plots.plot_frames(np.ones((4, 2)), seconds_per_frame=1).figure.axes) == 2
    assert len(plots.plot_frames(np.ones((4, 2)), seconds_per_frame=1, bar=False).figure.axes) == 1


def test_posteriors_draw_the_likeliest_and_a_grey_blank() -> None:
    ax = drawn(plots.plot_posteriors(PROBABILITIES, TOKENS, seconds_per_frame=0.02, top=2))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "probability")
    likeliest = sorted(range(1, 5), key=lambda i: -PROBABILITIES[:, i].sum())[:2]
    assert [line.get_label() for line in ax.lines] == ["blank <pad>", *(TOKENS[i] for i in likeliest)]
    assert ax.lines[0].get_color() == plots.GREY
    assert ax.lines[0].get_xdata()[0] == pytest.approx(0.01)  # the middle of the first frame
    winners = PROBABILITIES.argmax(axis=1)
    assert set(texts(ax)) == {TOKENS[i] for i in winners} & {TOKENS[i] for i in likeliest}


def test_nothing_to_draw_is_an_empty_picture() -> None:
    assert texts(drawn(plots.plot_posteriors(np.zeros((0, 5)), TOKENS, seconds_per_frame=0.02))) == []
    assert texts(drawn(plots.plot_waveform(np.zeros(0), 8))) == []


def test_attention_has_the_first_query_on_top() -> None:
    ax = drawn(plots.plot_attention(ATTENTION, seconds_per_frame=0.04))
    assert ax.get_xlabel().startswith("key")
    assert ax.get_ylabel().startswith("query")
    assert ax.images[0].get_extent() == pytest.approx([0, 0.28, 0.28, 0])
    np.testing.assert_array_equal(ax.images[0].get_array(), ATTENTION)


def test_lattice_leaves_the_impossible_empty() -> None:
    values = np.log(RNG.random((6, 3)))
    values[0, 2] = -np.inf
    ax = drawn(plots.plot_lattice(values, ["_", "A", "_"]))
    shown = ax.images[0].get_array()
    assert shown.shape == (3, 6)
    assert np.argwhere(np.ma.getmaskarray(shown)).tolist() == [[2, 0]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["_", "A", "_"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("frame", "state")


def test_architecture_says_shapes_and_rates(digits: sewnp.Model) -> None:
    said = texts(drawn(plots.plot_architecture(digits.config, head="ctc")))
    assert {"16,000 × 1", "3,199 × 32", "49 × 128", "49 × 160", "24 × 160", f"49 × {digits.config.vocab_size}"} <= set(said)
    assert [said.count(rate) for rate in ("16,000", "3,200", "1,600", "50", "25")] == [1, 1, 1, 4, 2]
    assert {"convolution 0", "convolutions 1–2", "convolutions 11–12", "transformer × 6", "attention, 4 heads"} <= set(said)


@pytest.mark.parametrize(
    ("config", "head"),
    [
        *((config, "ctc") for config in sewnp.PRESETS.values()),
        (sewnp.load("digit-words").config, "classification"),
        (SEWConfig(conv_dim=(8,), conv_stride=(1,), conv_kernel=(1,), squeeze_factor=1), None),
        (SEWConfig(num_hidden_layers=0, conv_stride=(5, 2, 3, 7, 2, 2, 5, 2, 3, 2, 1, 2, 1)), None),
    ],
)
def test_architecture_of_any_model(config: sewnp.SEWConfig | sewnp.SEWDConfig, head: Any) -> None:
    ax = drawn(plots.plot_architecture(config, head=head))
    assert any("transformer" in said for said in texts(ax))


def test_architecture_without_projection_shows_its_norm() -> None:
    config = replace(sewnp.preset("sew-tiny"), hidden_size=512)
    said = texts(plots.plot_architecture(config))
    assert "layer norm" in said
    assert "projection" not in said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "–"), (7, "7"), (999, "999"), (1000, "1.00 k"), (384_000, "384 k"), (999_999, "1.00 M"), (2_170_000, "2.17 M")],
)
def test_counts_have_three_digits(count: int, said: str) -> None:
    assert architecture._short(count) == said


def test_figures_are_drawn_into_given_axes() -> None:
    _, (left, right) = pyplot.subplots(1, 2)
    assert plots.plot_waveform(np.zeros(9), 8, ax=left) is left
    assert plots.plot_attention(ATTENTION, seconds_per_frame=1, ax=right, bar=False) is right


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.plot_waveform(np.zeros((2, 9)), 8), r"waveform: expected shape \(\*,\), found \(2, 9\)"),
        (lambda: plots.plot_frames(np.zeros(9), seconds_per_frame=1), r"x: expected shape \(\*, \*\), found \(9,\)"),
        (
            lambda: plots.plot_posteriors(PROBABILITIES, TOKENS[1:], seconds_per_frame=1),
            r"probabilities: expected shape \(\*, 4\), found \(12, 5\)",
        ),
        (lambda: plots.plot_attention(ATTENTION[None], seconds_per_frame=1), r"expected shape \(\*, \*\), found \(1, 7, 7\)"),
        (lambda: plots.plot_attention(ATTENTION[:3], seconds_per_frame=1), r"expected shape \(3, 3\), found \(3, 7\)"),
        (lambda: plots.plot_lattice(np.zeros((6, 3)), ["_"]), r"values: expected shape \(\*, 1\), found \(6, 3\)"),
    ],
)
def test_wrong_shapes_are_input_errors(draw: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw()
    assert pyplot.get_fignums() == []  # nothing was opened for it


def test_style_is_opaque_white_whatever_came_before() -> None:
    with pyplot.style.context("dark_background"):
        pyplot.rcParams.update(plots.style())
        ax = plots.plot_waveform(np.zeros(9), 8)
        assert ax.figure.get_facecolor() == ax.get_facecolor() == (1, 1, 1, 1)
        assert matplotlib.colors.to_hex(ax.xaxis.label.get_color()) == "#222222"


@pytest.mark.parametrize(
    "draw",
    [
        plots.style,
        lambda: plots.plot_waveform(np.zeros(9), 8),
        lambda: plots.plot_architecture(sewnp.preset("sew-tiny")),
    ],
)
def test_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch, draw: Any) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DependencyError, match=r"needs matplotlib: python -m pip install 'sewnp\[plots\]'") as raised:
        draw()
    assert isinstance(raised.value, SewError | ImportError)
    assert raised.value.name == "matplotlib"


def test_a_broken_package_is_not_called_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "broken_package.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_package_that_nobody_has"):
        need("broken_package", "plots")


def test_curves_of_a_run() -> None:
    steps: list[Any] = [{"step": i + 1, "loss": None if i == 7 else 2.0 / (i + 1)} for i in range(500)]
    ax = plots.plot_training([*steps, {"step": 250, "wer": 0.5}, {"step": 500, "wer": 0.25}])
    assert ax.get_yscale() == "log"
    every, mean = ax.lines[:2]
    assert (len(every.get_xdata()), len(mean.get_xdata())) == (499, 100)
    (right,) = [other for other in ax.figure.axes if other is not ax]
    assert list(zip(*right.lines[0].get_data(), strict=True)) == [(250, 0.5), (500, 0.25)]
    labels = plots.plot_training([{"step": 1, "loss": 1.0}, {"step": 1, "accuracy": 0.75}]).figure.axes[1]
    assert labels.lines[0].get_ydata()[0] == 0.25
    assert len(plots.plot_training([]).figure.axes) == 1
