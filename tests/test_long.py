"""Long recordings from file to text: one window or many, in constant memory, and what is refused."""

import argparse
import io
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sewnp
from judging import scale_error
from originals import original, twin
from sewnp import long
from sewnp.cli.long import add_window_options, window_options
from sewnp.errors import AudioError, InputError
from sewnp.speech import FeatureExtractor, open_recording, read_audio

CLIPS = Path(__file__).parent / "clips"
NAMES = ["three_one_four.wav", "eight_six_seven.flac", "counting.ogg", "two_seven_one.mp3"]


@pytest.fixture(scope="module")
def joined():
    """The four clips, 13 seconds."""
    return np.concatenate([read_audio(CLIPS / name) for name in NAMES])


def logits(model, audio, window, overlap, progress=long.quietly):
    with open_recording(audio) as recording:
        return model.recording_logits(recording, window=window, overlap=overlap, progress=progress)[0]


@pytest.mark.parametrize("name", ["digits", "digits-d"])
def test_up_to_one_window_nothing_is_new(name, joined):
    model = sewnp.load(name)
    plain = model(model.features(joined).input_values).logits[0]
    assert logits(model, joined, None, None).tobytes() == plain.tobytes()
    assert logits(model, joined, len(joined) / 16000 + 0.04, 0.0).tobytes() == plain.tobytes()
    shorter = logits(model, joined, 12.0, 1.0)
    assert shorter.shape == plain.shape
    assert shorter.tobytes() != plain.tobytes()


@pytest.mark.parametrize("name", ["digits", "digits-d"])
def test_windows_say_what_the_whole_says(name):
    model = sewnp.load(name)
    whole, parts = (model.transcribe(CLIPS / "three_one_four.wav", **options) for options in ({}, {"window": 2.0, "overlap": 0.4}))
    assert parts.text == whole.text == "THREE ONE FOUR ONE FIVE NINE"
    assert parts.duration == whole.duration
    # a window decides a spike a frame earlier or later, it does not move it
    assert max(abs(a.start - b.start) for a, b in zip(whole.words, parts.words, strict=True)) <= 0.04


def test_files_streams_and_samples_are_one(digits, joined, tmp_path):
    path = tmp_path / "joined.wav"
    soundfile.write(path, joined, 16000, subtype="FLOAT")
    options = {"window": 4.0, "overlap": 0.8}
    expected = digits.transcribe(joined, **options)
    assert digits.transcribe(path, **options) == expected
    assert digits.transcribe(io.BytesIO(path.read_bytes()), **options) == expected


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("offset", [0.0, 0.7])
def test_statistics_are_those_of_the_whole(norm, normalise, offset):
    """Without layers nothing attends, so that float32 rounding is all that may differ; a constant offset included."""
    theirs = original("sew", feat_extract_norm=norm, num_hidden_layers=0, conv_bias=True)
    model = twin(theirs, dtype=np.float32)
    object.__setattr__(model, "feature_extractor", FeatureExtractor(do_normalize=normalise))
    rng = np.random.default_rng(0)
    x = (rng.normal(size=70_001) * np.linspace(0.01, 0.3, 70_001) + offset).astype(
        np.float32
    )  # ever louder: no part is like the whole
    whole = model(model.features(x).input_values).logits[0]
    parts = logits(model, x, 0.5, 0.1)
    # float32 rounds at 6e-8; normalising a deviation of 0.17 around an offset of 0.7 costs a factor of ten in each of two norms
    assert scale_error(parts, whole) < (2e-5 if offset else 5e-6)


def test_progress_counts_to_the_end(digits, joined):
    told = []
    digits.transcribe(joined, window=4.0, overlap=0.5, segment=False, progress=lambda done, total: told.append((done, total)))
    seconds = len(joined) / 16000
    assert told[0] == (0.0, None)
    assert {total for _, total in told[1:]} == {seconds}
    assert told[-1] == (seconds, seconds)
    assert len(told) > 4
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    for compat in (None, "transformers"):
        told.clear()
        digits.transcribe(joined[:20000], compat=compat, segment=False, progress=lambda done, total: told.append((done, total)))
        assert told == [(0.0, None), (1.25, 1.25)]


def test_memory_does_not_grow_with_the_length(digits, tmp_path):
    import tracemalloc

    rng, peaks = np.random.default_rng(0), []
    for seconds in (20, 20, 80):  # the first pays for what is imported and kept
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, rng.normal(size=16000 * seconds) * 0.05, 16000)
        tracemalloc.start()
        logits(digits, path, 2.0, 0.2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    grown = 60 * 50 * 32 * 4  # the logits; the samples would be ten times as much
    assert peaks[2] < peaks[1] + 2 * grown


def test_a_recording_that_shrinks_between_the_passes(digits, joined):
    blocks = iter([[joined], [joined[:100_000]]])
    recording = long.Recording("clip.wav", lambda: iter(next(blocks)))
    with pytest.raises(AudioError, match=f"clip.wav: changed while it was read: {len(joined)} samples at first, then 100000"):
        digits.recording_logits(recording, window=2.0, overlap=0.2)


def test_samples_too_large_for_float32(digits, joined):
    with pytest.raises(AudioError, match=r"audio: \d+ of \d+ samples are beyond all sound \(up to .*, expected -1 to 1\)"):
        digits.transcribe(joined * np.float32(1e30), window=2.0)


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"window": -1.0}, "window: expected seconds, one number of 0 or more, found -1.0"),
        ({"window": math.nan}, "window: expected seconds, one number of 0 or more, found nan"),
        ({"window": "30"}, "window: expected seconds, one number of 0 or more, found '30'"),
        ({"overlap": (1.0, 2.0)}, r"overlap: expected seconds, one number of 0 or more, found \(1.0, 2.0\)"),
        ({"window": 0.0}, "window: expected more than twice the overlap and at least 0.04 s, found window=0 and overlap=0 seconds"),
        ({"window": 10.0, "overlap": 5.0}, "window: expected more than twice the overlap .* found window=10 and overlap=5 seconds"),
        ({"window": 1.0, "overlap": math.inf}, "window: expected more than twice the overlap"),
    ],
)
def test_windows_that_are_none(digits, joined, arguments, cause):
    with pytest.raises(InputError, match=cause):
        digits.transcribe(joined, **arguments)


def test_a_window_beyond_memory(monkeypatch):
    digits = sewnp.load("digits", engine="textbook")
    monkeypatch.setattr("sewnp.inputs.memory", lambda: 2**20)
    with pytest.raises(InputError, match=r"window: attention over 480080 samples at once needs about .* GiB of memory"):
        digits.transcribe(np.zeros(16000 * 31, np.float32), segment=False)


def test_an_endless_window_is_one_piece(digits, joined):
    assert digits.transcribe(joined, window=math.inf) == digits.transcribe(joined)


def test_short_clips_are_empty(digits):
    assert digits.transcribe(np.zeros(719), window=0.04, overlap=0.0).text == ""


@pytest.mark.parametrize(
    ("line", "chosen"),
    [
        ([], {}),
        (["--window", "20"], {"window": 20.0}),
        (["--window", "20", "--overlap", "2.5"], {"window": 20.0, "overlap": 2.5}),
        (["--segment"], {"segment": True}),
        (["--no-segment"], {"segment": False}),
        (["--compat", "transformers", "--window", "10", "--overlap", "4,2"], {"compat": "transformers", "window": 10.0, "overlap": (4.0, 2.0)}),
    ],
)  # fmt: skip
def test_the_command_line_says_the_same(digits, joined, line, chosen):
    parser = argparse.ArgumentParser()
    add_window_options(parser)
    options = window_options(parser.parse_args(line))
    assert options == chosen
    digits.transcribe(joined[:30_000], **options)


@pytest.mark.parametrize(
    "line", [["--window", "ten"], ["--window", "-1"], ["--overlap", "1,2,3"], ["--overlap", "nan"], ["--compat", "x"]]
)
def test_wrong_usage(line, capsys):
    parser = argparse.ArgumentParser()
    add_window_options(parser)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(line)
    assert caught.value.code == 2
    assert line[0] in capsys.readouterr().err
