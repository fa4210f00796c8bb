"""Samples without a header: what the caller says of them is all that is known."""

import io
import pickle

import numpy as np
import pytest

import sewnp
from sewnp.cli import main
from sewnp.errors import AudioError, AudioWarning, InputError
from sewnp.speech import RawAudio, as_waveform, open_recording, resample
from sounds import encoded, noise


def samples(n=20_000):
    return (noise(n) * 2**15).astype("<i2")


@pytest.mark.parametrize("rate", [16000, 8000])
def test_sound_is_that_of_the_samples_in_blocks_and_again(tmp_path, rate):
    (tmp_path / "clip.raw").write_bytes(samples().tobytes())
    expected = resample(as_waveform(samples()), rate, 16000)
    for audio in (str(tmp_path / "clip.raw"), tmp_path / "clip.raw", io.BytesIO(samples().tobytes())):
        with open_recording(RawAudio(audio, rate)) as recording:
            first, second = list(recording.blocks()), recording.read()
        assert len(first) > 1
        assert np.array_equal(np.concatenate(first), expected)
        assert np.array_equal(second, expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"clip\.raw: the file is empty"),
        (b"\0", r"clip\.raw: cut short: expected samples of 2 bytes, found 1 bytes"),
        (samples(5).tobytes() + b"\0", r"clip\.raw: cut short: expected samples of 2 bytes, found 11 bytes"),
        (
            encoded(noise(5), format="WAV"),
            r"clip\.raw: expected samples without a header, found a file that says what it is \(b'RIFF'\)",
        ),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    (tmp_path / "clip.raw").write_bytes(content)
    with open_recording(RawAudio(tmp_path / "clip.raw", 16000)) as recording, pytest.raises(AudioError, match=message):
        recording.read()


def test_a_half_sample_may_be_left_out(tmp_path):
    (tmp_path / "clip.raw").write_bytes(samples(5).tobytes() + b"\0")
    warned = pytest.warns(AudioWarning, match="the whole samples were read")
    with open_recording(RawAudio(tmp_path / "clip.raw", 16000), allow_truncated=True) as recording, warned:
        assert len(recording.read()) == 5


@pytest.mark.parametrize("rate", [0, 2.5, "16000"])
def test_a_rate_that_is_none(rate):
    with pytest.raises(InputError, match="sampling_rate"), open_recording(RawAudio("clip.raw", rate)):
        pass
    with pytest.raises(InputError, match="beside"), open_recording(RawAudio("clip.raw", 16000), sampling_rate=16000):
        pass


def test_it_travels_to_other_processes():
    assert pickle.loads(pickle.dumps(RawAudio("clip.raw", 8000))) == RawAudio("clip.raw", 8000)


def test_the_command_line_takes_them_from_files_folders_and_standard_input(tmp_path, clips, monkeypatch, capsys):
    waveform = sewnp.speech.read_audio(clips / "three_one_four.wav")
    content = np.round(waveform * 2**15).astype("<i2").tobytes()
    text = str(sewnp.load("digits").transcribe(waveform))
    (tmp_path / "clip.pcm").write_bytes(content)
    (tmp_path / "clip.wav").write_bytes(encoded(waveform, format="WAV"))
    for audio, name in ((tmp_path, f"{tmp_path}/clip.pcm\t"), (tmp_path / "clip.pcm", ""), ("-", "")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert main(["transcribe", str(audio), "--raw", "16000"]) == 0
        printed = capsys.readouterr()
        assert printed.out == f"{name}{text}\n"
        assert printed.err == ("sewnp: left out 1 file that is no sound by name (1 .wav)\n" if audio is tmp_path else "")
    with pytest.raises(SystemExit):
        main(["transcribe", "-", "--raw", "0"])
    assert "argument --raw: expected a whole number from 1 to 1000000" in capsys.readouterr().err
