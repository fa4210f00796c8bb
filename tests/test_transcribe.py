"""From audio to text: what the embedded models say of the shipped clips, and what odd audio does."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sewnp
from judging import assert_close64
from sewnp.errors import AudioError, CheckpointError, InputError, TokenizerError

# what transformers 5.23.0 (torch 2.13.0, float32) says of each clip, right or wrong
EXPECTED = [
    ("digits", "three_one_four.wav", "THREE ONE FOUR ONE FIVE NINE"),
    ("digits", "eight_six_seven.flac", "EIGHT SIX SEVENFIVE THREE ZERO NINE"),
    ("digits", "counting.ogg", "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE"),
    ("digits", "two_seven_one.mp3", "TWO SEVEN ONE EIGHT TWO EIGHT"),
    ("digits-d", "three_one_four.wav", "THREE ONE FOUR ONE FIVE NINE"),
    ("digits-d", "eight_six_seven.flac", "EIGHT SIX SEVEN FIVE THREE ZERO NINE"),
    ("digits-d", "counting.ogg", "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE"),
    ("digits-d", "two_seven_one.mp3", "TWO SEVEN ONE EIGHT TWO EIGHT"),
]


@pytest.fixture(scope="module")
def models() -> dict[str, sewnp.Model]:
    return {name: sewnp.load(name) for name in ("digits", "digits-d", "digit-words")}


@pytest.mark.parametrize(("name", "clip", "text"), EXPECTED)
def test_the_embedded_models_say_what_transformers_says(
    models: dict[str, sewnp.Model], clips: Path, name: str, clip: str, text: str
) -> None:
    transcript = models[name].transcribe(clips / clip, decoder="greedy")
    assert transcript.text == text
    assert [word.text for word in transcript.words] == text.split()
    ends = [0.0, *(word.end for word in transcript.words)]
    for word, before in zip(transcript.words, ends, strict=False):
        assert before <= word.start < word.end <= transcript.duration
        assert 0.3 < word.probability <= 1.0


def test_one_call_is_enough(clips: Path) -> None:
    assert sewnp.transcribe(clips / "three_one_four.wav").text == "THREE ONE FOUR ONE FIVE NINE"
    assert sewnp.transcribe(clips / "three_one_four.wav", model="digits-d").text == "THREE ONE FOUR ONE FIVE NINE"


def test_a_path_an_open_file_and_samples_give_the_same(digits: sewnp.Model, clips: Path) -> None:
    path = clips / "three_one_four.wav"
    samples, rate = soundfile.read(path, dtype="float32")
    with path.open("rb") as file:
        from_file = digits.transcribe(file)
    assert digits.transcribe(path) == digits.transcribe(str(path)) == from_file == digits.transcribe(samples, sampling_rate=rate)


def test_integer_samples_of_another_rate(digits: sewnp.Model, clips: Path) -> None:
    samples, rate = soundfile.read(clips / "eight_six_seven.flac", dtype="int16")
    samples = samples if samples.ndim == 1 else samples.mean(axis=1).astype(np.int16)
    assert digits.transcribe(samples, sampling_rate=rate).text.startswith("EIGHT SIX SEVEN")


@pytest.mark.parametrize("samples", [1, 399, 400, 719])
def test_less_than_one_squeezed_frame_is_an_empty_text(digits: sewnp.Model, samples: int) -> None:
    assert digits.config.minimum_samples == 720
    transcript = digits.transcribe(np.ones(samples, np.float32), sampling_rate=16000)
    assert (transcript.text, transcript.words, transcript.duration) == ("", (), samples / 16000)
    with pytest.raises(InputError, match=rf"at least 1 clip and 720 samples, found shape \(1, {samples}\)"):
        digits(np.ones((1, samples), np.float32))


def test_the_shortest_clip_runs(digits: sewnp.Model) -> None:
    assert digits(np.ones((1, 720), np.float32)).logits.shape == (1, 2, digits.config.vocab_size)
    assert isinstance(digits.transcribe(np.ones(720, np.float32)).text, str)


def test_no_samples_at_all_is_an_error(digits: sewnp.Model) -> None:
    with pytest.raises(AudioError, match="no samples"):
        digits.transcribe(np.zeros(0, np.float32))


@pytest.mark.parametrize("value", [0.0, 0.25, -1.0])
def test_silence_and_constants_have_no_words(models: dict[str, sewnp.Model], value: float) -> None:
    for name in ("digits", "digits-d"):
        assert models[name].transcribe(np.full(16000, value, np.float32)).words == ()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_named(digits: sewnp.Model, tmp_path: Path, bad: float) -> None:
    samples = np.zeros(2000, np.float32)
    samples[1234] = bad
    with pytest.raises(AudioError, match=r"audio: 1 of 2000 samples .* sample 1234"):
        digits.transcribe(samples)
    soundfile.write(tmp_path / "bad.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"bad\.wav: 1 of 2000 samples"):
        digits.transcribe(tmp_path / "bad.wav")


def test_an_hour_in_one_piece_is_refused_before_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = sewnp.load("digits", engine="textbook")
    hour = np.zeros((1, 3600 * 16000), np.float32)
    monkeypatch.setattr("sewnp.inputs.memory", lambda: 24 * 2**30)
    with pytest.raises(InputError, match=r"attention over 57600000 samples at once needs about 483 GiB .* split the clip"):
        digits(hour)


def test_files_that_are_no_audio(digits: sewnp.Model, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    for name, cause in {
        "text.wav": "not audio",
        "empty.wav": "empty",
        "none.wav": "no samples",
        "gone.wav": "no such file",
    }.items():
        with pytest.raises(AudioError, match=rf"{name}: .*{cause}"):
            digits.transcribe(tmp_path / name)
    with pytest.raises(AudioError, match="found a folder"):
        digits.transcribe(tmp_path)


def test_transcribing_needs_a_ctc_head_and_a_vocabulary(models: dict[str, sewnp.Model]) -> None:
    with pytest.raises(InputError, match="digit-words: transcribing needs a CTC head, found classification"):
        models["digit-words"].transcribe(np.zeros(16000))
    with pytest.raises(InputError, match="digits: classifying needs a classification head, found ctc"):
        models["digits"].classify(np.zeros(16000))
    fresh = sewnp.from_config(models["digits"].config)
    with pytest.raises(TokenizerError, match=r"needs a vocab\.json"):
        fresh.transcribe(np.zeros(16000))


def test_a_rate_belongs_to_samples_only(digits: sewnp.Model, clips: Path) -> None:
    with pytest.raises(InputError, match="only with samples"):
        digits.transcribe(clips / "counting.ogg", sampling_rate=8000)


def test_classify_names_each_digit_cut_out_of_a_clip(models: dict[str, sewnp.Model], digits: sewnp.Model, clips: Path) -> None:
    path = clips / "two_seven_one.mp3"
    samples, rate = soundfile.read(path, dtype="float32")
    for word in digits.transcribe(path).words:
        spoken = samples[int((word.start - 0.2) * rate) : int((word.end + 0.25) * rate)]
        silence = rate - len(spoken)
        second = np.pad(spoken, (silence // 2, silence - silence // 2))
        scores = models["digit-words"].classify(second, sampling_rate=rate)
        assert scores[0][0].upper() == word.text
        assert len(scores) == 12
        assert sum(score for _, score in scores) == pytest.approx(1.0)
        assert [score for _, score in scores] == sorted((score for _, score in scores), reverse=True)


def test_a_clip_too_short_to_classify(models: dict[str, sewnp.Model]) -> None:
    with pytest.raises(AudioError, match="audio: expected at least 720 samples, found 100"):
        models["digit-words"].classify(np.zeros(100))


def test_float64_and_float32_agree(digits: sewnp.Model, clips: Path) -> None:
    exact = sewnp.load("digits", dtype="float64")
    features = digits.features(soundfile.read(clips / "three_one_four.wav", dtype="float32")[0])
    assert exact(features.input_values).logits.dtype == np.float64
    a, b = digits(features.input_values).logits, exact(features.input_values).logits
    assert np.abs(a - b).max() < 1e-4 * np.abs(b).max()
    assert_close64(exact(features.input_values.astype(np.float64)).logits, b)


def test_where_models_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: sewnp.Model) -> None:
    with pytest.raises(CheckpointError, match=r"gigits: no embedded model of that name \(digits, digits-d, digit-words\)"):
        sewnp.load("gigits")
    with pytest.raises(CheckpointError, match=r"\./digits: no such folder|digits: no such folder"):
        sewnp.load("./digits")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert sewnp.load("digits").name == "digits"  # a folder without config.json does not hide the embedded model
    other = sewnp.from_config(sewnp.SEWConfig(**SMALL), seed=3)
    other.save("digits")
    assert sewnp.load("digits").config.hidden_size == 16  # one with config.json does


SMALL = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": (8, 16), "conv_kernel": (10, 3),
    "conv_stride": (5, 2), "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


def test_the_library_prints_nothing(clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sewnp.load("digits").transcribe(clips / "counting.ogg")
    sewnp.load("digit-words").classify(io.BytesIO((clips / "three_one_four.wav").read_bytes()))
    assert capfd.readouterr() == ("", "")
