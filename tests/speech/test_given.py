"""What people have in their hands: lists of clips, dicts of data sets, bytes, arrays of other libraries; and what they get."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import sewnp
from sewnp.errors import AudioError, AudioWarning, ConfigError, InputError
from sewnp.speech import FeatureExtractor, format_transcript, open_recording

TEXT = "THREE ONE FOUR ONE FIVE NINE"


@pytest.fixture(scope="module")
def path(clips: Path) -> Path:
    return clips / "three_one_four.wav"


@pytest.fixture(scope="module")
def samples(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


class Foreign:
    """An array of a library that knows one protocol."""

    def __init__(self, x: np.ndarray, error: Exception | None = None) -> None:
        self.x, self.error = x, error

    def __dlpack_device__(self) -> Any:
        return self.x.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        if self.error:
            raise self.error
        return self.x.__dlpack__(**options)


class Series(Foreign):
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.x

    __dlpack__ = None


def test_every_kind_of_clip_is_heard(digits: sewnp.Model, path: Path, samples: np.ndarray) -> None:
    expected = digits.transcribe(path)
    data = path.read_bytes()
    dicts = [{name: samples, "sampling_rate": 16000, "path": "elsewhere.wav"} for name in ("array", "raw")]
    clips = [data, bytearray(data), memoryview(data), *dicts, samples.tolist(), Foreign(samples), Series(samples)]
    for clip in clips:
        assert digits.transcribe(clip) == expected
    assert digits.align(dicts[0], TEXT) == digits.align(data, TEXT) == digits.align(path, TEXT)


def test_tensors(digits: sewnp.Model, samples: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(samples)
    assert digits.transcribe(tensor).text == TEXT
    assert digits.transcribe(list(tensor[:16000])) == digits.transcribe(samples[:16000])
    with pytest.raises(AudioError, match="audio: expected an array of samples, found Tensor"):
        digits.transcribe(tensor.requires_grad_())


@pytest.mark.parametrize("error", [BufferError("on a GPU"), RuntimeError("on a GPU"), TypeError("on a GPU")])
def test_arrays_that_do_not_let_go(error: Exception) -> None:
    with (
        pytest.raises(AudioError, match=r"audio: expected an array of samples, found Foreign \(on a GPU\)"),
        sewnp.speech.open_recording(Foreign(np.zeros(3), error)),
    ):
        pass


def test_the_rate_of_a_dict_counts(digits: sewnp.Model, clips: Path) -> None:
    x, rate = soundfile.read(clips / "eight_six_seven.flac", dtype="float32")
    x = x.mean(axis=1)
    assert rate != 16000
    clip = {"array": x, "sampling_rate": np.int64(rate)}
    expected = digits.transcribe(clips / "eight_six_seven.flac").text
    assert digits.transcribe(clip).text == digits.transcribe(clip, sampling_rate=rate).text == expected
    assert digits.transcribe({"array": x}, sampling_rate=rate).text == expected
    with pytest.raises(InputError, match=rf"sampling_rate: expected the dict's, {rate}, or none, found 16000"):
        digits.transcribe(clip, sampling_rate=16000)
    with pytest.raises(InputError, match=r"sampling_rate: expected a whole number .*found '8k'"):
        digits.transcribe({"array": x, "sampling_rate": "8k"})
    with pytest.raises(InputError, match="expected only with samples"):
        digits.transcribe((clips / "eight_six_seven.flac").read_bytes(), sampling_rate=rate)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32])
def test_integers_without_a_rate_warn(digits: sewnp.Model, dtype: Any) -> None:
    x = np.full(8000, 128 if dtype is np.uint8 else 0, dtype)
    for clip in (x, Series(x)):
        if clip is x:
            with pytest.warns(AudioWarning, match=f"audio: {x.dtype} samples without a sampling_rate are taken for 16000 Hz"):
                assert digits.transcribe(clip).duration == 0.5
    assert digits.transcribe(x, sampling_rate=16000).duration == 0.5  # and nothing is said


def test_a_list_of_clips_has_a_list_of_transcripts(digits: sewnp.Model, path: Path, samples: np.ndarray) -> None:
    expected = digits.transcribe(path)
    assert digits.transcribe([path, samples, {"raw": samples, "sampling_rate": 16000}]) == [expected] * 3
    assert digits.transcribe((str(path),), window=30) == [expected]
    assert digits.transcribe([samples[:720].tolist(), [0.0]])[1].text == ""
    assert sewnp.transcribe([path, path], model=digits) == [expected] * 2
    assert sewnp.transcribe(audio=path, model=digits) == expected


def test_an_error_in_a_list_names_its_clip(digits: sewnp.Model, samples: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"^audio\[1\]: no samples$"):
        digits.transcribe([samples, np.zeros(0)])
    with pytest.raises(AudioError, match=r"gone\.wav: no such file$"):
        digits.transcribe([samples, tmp_path / "gone.wav"])
    with pytest.raises(AudioError, match=r"^audio\[0\]: expected one clip, found a list of 1"):
        digits.transcribe([[samples]])
    with pytest.raises(AudioError, match="expected one clip, found a list of 2"), open_recording([samples, samples]):
        pass


def test_the_best_labels(path: Path) -> None:
    model = sewnp.load("digit-words")
    labels = model.classify(path)
    assert len(labels) == 12
    assert model.classify(path, top_k=np.int64(2)) == labels[:2]
    assert model.classify(path, top_k=2).duration == labels.duration
    assert model.classify(path, top_k=99) == labels
    assert model.classify([path, path], top_k=1) == [labels[:1]] * 2
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(InputError, match="top_k: expected a whole number of 1 or more"):
            model.classify(path, top_k=wrong)


def test_a_model_is_a_line(digits: sewnp.Model) -> None:
    assert repr(digits) == "<sewnp.Model digits: SEW, ctc head, 2,164,990 parameters, float32, fast engine>"
    base = sewnp.load("digits-d", head=None, dtype="float64")
    assert repr(base).startswith("<sewnp.Model digits-d: SEW-D, no head, ")
    assert repr(base).endswith(" parameters, float64, textbook engine>")


def test_a_transcript_is_its_text_and_its_files(digits: sewnp.Model, path: Path, tmp_path: Path) -> None:
    transcript = digits.transcribe(path)
    assert str(transcript) == f"{transcript}" == TEXT
    assert transcript.to_srt() == "1\n00:00:00,360 --> 00:00:01,960\nTHREE ONE FOUR ONE FIVE NINE\n\n"
    for form in ("srt", "vtt", "tsv"):
        for shown in ("segment", "word", "char"):
            written = format_transcript(transcript, form, timestamps=shown)
            assert getattr(transcript, f"to_{form}")(timestamps=shown) == written
            transcript.save(tmp_path / f"clip.{form.upper()}", timestamps=shown)
            assert (tmp_path / f"clip.{form.upper()}").read_text() == written
    for form in ("txt", "json"):
        transcript.save(str(tmp_path / f"clip.{form}"))
        assert (tmp_path / f"clip.{form}").read_text() == format_transcript(transcript, form)
    for name in ("clip", "clip.doc", ".srt"):
        with pytest.raises(InputError, match="output_format: expected one of"):
            transcript.save(tmp_path / name)
    with pytest.raises(InputError, match="could not be written"):
        transcript.save(tmp_path / "nowhere" / "clip.txt")


def test_numpys_integers_are_integers(samples: np.ndarray, tmp_path: Path) -> None:
    config = sewnp.SEWConfig(hidden_size=np.int64(768), conv_dim=tuple(np.int32([64] * 13)), layer_norm_eps=np.float32(0.5))
    assert config == sewnp.SEWConfig(conv_dim=(64,) * 13, layer_norm_eps=0.5)
    assert type(config.hidden_size) is type(config.conv_dim[0]) is int
    assert sewnp.SEWConfig.from_dict({"num_labels": np.int64(3)}).num_labels == 3
    extractor = FeatureExtractor(sampling_rate=np.int32(8000), padding_value=np.float32(0.5), feature_size=np.int64(1))
    assert extractor == FeatureExtractor(sampling_rate=8000, padding_value=0.5)
    assert {type(value) for value in extractor.to_dict().values()} <= {int, float, str, bool}
    model = sewnp.load("digits", threads=np.int64(1))
    assert model.transcribe(samples, sampling_rate=np.uint16(16000), window=np.int64(30), overlap=np.int32(1)).text == TEXT
    search = sewnp.decoding.BeamSearch(beam_width=np.int64(4))
    assert model.transcribe(samples, decoder=search).text == TEXT
    ids = model.tokenizer.encode("ONE")
    assert model.tokenizer.decode(np.array(ids)) == model.tokenizer.decode(ids)
    model.transcribe(samples).save(tmp_path / "clip.json")
    with pytest.raises(ConfigError, match="hidden_size: expected an integer"):
        sewnp.SEWConfig(hidden_size=np.float64(768))


def test_a_feature_extractor_comes_back_from_its_dict() -> None:
    for made in (FeatureExtractor(), FeatureExtractor(extra={"feature_extractor_type": "Wav2Vec2FeatureExtractor", "a": 1})):
        assert FeatureExtractor.from_dict(made.to_dict()) == made
    foreign = FeatureExtractor(extra={"feature_extractor_type": "SeamlessM4TFeatureExtractor"})
    assert FeatureExtractor.from_dict(foreign.to_dict()) == foreign
    assert foreign.to_dict()["feature_extractor_type"] == "SeamlessM4TFeatureExtractor"


def test_help_begins_with_what_one_needs() -> None:
    begin = (sewnp.__doc__ or "").split("The layers are")[0]
    for name in ("load", "transcribe", "transcribe_many", "classify_many", "convert", "from_config", "SewError", "save"):
        assert f"``{name}``" in begin, name
