"""Reading sound: every format, every way in, every way to be unusable."""

import io
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from sewnp.errors import AudioError, InputError
from sewnp.speech import as_waveform, mono, open_recording, read_audio, resample
from sounds import encoded, noise

CLIPS = Path(__file__).parents[1] / "clips"
SAMPLES = {"three_one_four.wav": 47600, "eight_six_seven.flac": 54801, "counting.ogg": 60800, "two_seven_one.mp3": 49200}
PROPERTY = settings(derandomize=True, deadline=None, max_examples=40)


def pcm(x=None, rate=16000):
    return encoded(noise(8000) if x is None else x, rate, format="WAV", subtype="PCM_16")


def with_field(data, start, form, value):
    """A copy of ``data`` with one header field overwritten."""
    field = struct.pack(form, value)
    return data[:start] + field + data[start + len(field) :]


def refused(data, why):
    with pytest.raises(AudioError, match=why) as caught:
        read_audio(io.BytesIO(data))
    assert str(caught.value).startswith("audio file object: ")


# --- what is read -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_clips_are_the_channel_mean_resampled_by_scipy(name):
    x, rate = soundfile.read(CLIPS / name, dtype="float32", always_2d=True)
    expected = x.mean(axis=1)
    if rate != 16000:
        expected = signal.resample_poly(expected, 16000, rate)
    found = read_audio(CLIPS / name)
    assert found.dtype == np.float32
    assert found.shape == (SAMPLES[name],)
    np.testing.assert_array_equal(found, expected)


def test_clips_cover_channels_and_rates():
    """The test above proves something only while the clips differ from what is wanted."""
    infos = [soundfile.info(CLIPS / name) for name in SAMPLES]
    assert {info.format for info in infos} == {"WAV", "FLAC", "OGG", "MP3"}
    assert len({info.samplerate for info in infos}) == 4
    assert max(info.channels for info in infos) == 2


@pytest.mark.parametrize("name", SAMPLES)
def test_every_way_in_reads_the_same(name, monkeypatch):
    path, data = CLIPS / name, (CLIPS / name).read_bytes()
    expected = read_audio(path)
    with path.open("rb") as file:
        ways = [read_audio(str(path)), read_audio(file), read_audio(io.BytesIO(data))]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    for found in [*ways, read_audio("-")]:
        np.testing.assert_array_equal(found, expected)


def test_reads_a_pipe():
    read_end, write_end = os.pipe()
    os.write(write_end, pcm(noise(500)))
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        assert read_audio(pipe).shape == (500,)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64", "OGG", "MP3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_formats(format, channels):
    x = noise(6000, channels)
    found = read_audio(io.BytesIO(encoded(x, format=format)))
    if format in ("OGG", "MP3"):  # lossy
        assert abs(len(found) - 6000) <= 1152
    else:  # 16 bits
        np.testing.assert_allclose(found, x.mean(axis=1), rtol=0, atol=2**-15)


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_any_number_of_channels(channels):
    x = noise(300, channels)
    found = read_audio(io.BytesIO(encoded(x, format="WAV", subtype="FLOAT")))
    np.testing.assert_allclose(found, x.astype(np.float64).mean(axis=1), rtol=0, atol=2**-25)


@pytest.mark.parametrize("rate", [7, 8000, 11025, 15999, 16000, 22050, 44100, 48000, 96000, 192000])
def test_any_rate(rate):
    x = noise(min(rate, 3000))
    found = read_audio(io.BytesIO(encoded(x, rate, format="WAV", subtype="FLOAT")))
    assert found.shape == (math.ceil(len(x) * 16000 / rate),)
    np.testing.assert_array_equal(found, x if rate == 16000 else signal.resample_poly(x, 16000, rate))


def test_other_target_rates():
    data = pcm(noise(4000), rate=8000)
    assert read_audio(io.BytesIO(data), sampling_rate=8000).shape == (4000,)
    assert read_audio(io.BytesIO(data), sampling_rate=24000).shape == (12000,)


def test_one_sample_is_sound():
    assert read_audio(io.BytesIO(pcm(noise(1)))).shape == (1,)


def test_the_name_does_not_decide_the_format(tmp_path):
    """soundfile takes *.raw for headerless samples, whatever is in it."""
    path = tmp_path / "clip.raw"
    path.write_bytes(pcm(noise(100)))
    assert read_audio(path).shape == (100,)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_wav_written_into_a_pipe_is_read_to_its_end(size):
    """Their header was written before the length was known: by ffmpeg, arecord, sox."""
    data = with_field(with_field(pcm(), 40, "<I", size), 4, "<I", size)
    np.testing.assert_array_equal(read_audio(io.BytesIO(data)), read_audio(io.BytesIO(pcm())))


def test_wav_that_counts_its_header_among_the_data_is_whole():
    data = pcm(noise(1000))
    assert read_audio(io.BytesIO(with_field(data, 40, "<I", 2000 + 44))).shape == (1000,)
    refused(with_field(data, 40, "<I", 2000 + 66), "cut short: the header promises 2066 bytes of sound, found 2000")


@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00" + bytes([0, 0, 40, 0]) + b"Info" + bytes(5116)])
def test_mp3_without_a_frame_count_is_read_to_its_end(tag):
    """libsndfile guesses twice the length here; an Info inside the tag, before the sound, is no frame count."""
    data = tag + (CLIPS / "two_seven_one.mp3").read_bytes()[384:]  # without the Xing frame
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert file.frames > 200_000
    assert len(read_audio(io.BytesIO(data))) == 49920


def test_silence_is_sound():
    assert not read_audio(io.BytesIO(pcm(np.zeros(2000)))).any()


# --- what is refused --------------------------------------------------------------------------------------------------------------


def test_missing_file(tmp_path):
    with pytest.raises(AudioError, match=r"nowhere\.wav: no such file$"):
        read_audio(tmp_path / "nowhere.wav")


def test_folder(tmp_path):
    with pytest.raises(AudioError, match="expected a file, found a folder"):
        read_audio(tmp_path)


def test_unreadable_path():
    with pytest.raises(AudioError, match=r"cannot be read: embedded null"):
        read_audio("a\0b.wav")


def test_forbidden_file(monkeypatch):
    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:  # nothing is forbidden to root
        patch.setattr("builtins.open", forbidden)
        with pytest.raises(AudioError, match=r"clip\.wav: cannot be read: Permission denied"):
            read_audio("clip.wav")


def test_failing_file_object():
    class Broken(io.BytesIO):
        def read(self, *_):
            raise OSError(5, "Input/output error")

    with pytest.raises(AudioError, match=r"audio file object: cannot be read: Input/output error"):
        read_audio(Broken())


def test_closed_file(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(pcm())
    with path.open("rb") as file:
        pass
    with pytest.raises(AudioError, match=r"clip\.wav: cannot be read: read of closed file"):
        read_audio(file)


@pytest.mark.parametrize("data", [b"hello", pcm()])
def test_text_mode_file(tmp_path, data):
    path = tmp_path / "clip.wav"
    path.write_bytes(data)
    with path.open() as file, pytest.raises(AudioError, match=r"clip\.wav: expected a file opened for reading bytes"):
        read_audio(file)

    class Foreign:
        def read(self, size):
            return "hello"

    for source in (io.StringIO("hello"), Foreign()):
        with pytest.raises(AudioError, match="audio file object: expected a file opened for reading bytes"):
            read_audio(source)


@pytest.mark.parametrize("source", [None, 7, b"clip.wav", np.zeros(3)])
def test_audio_of_the_wrong_type(source):
    with pytest.raises(InputError, match=f"audio: expected a path.*found {type(source).__name__}"):
        read_audio(source)


def test_closed_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(AudioError, match="standard input: closed"):
        read_audio("-")


def test_empty_file(tmp_path, monkeypatch):
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match=r"empty\.wav: the file is empty \(0 bytes\)"):
        read_audio(tmp_path / "empty.wav")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(AudioError, match="standard input: the file is empty"):
        read_audio("-")


@pytest.mark.parametrize("content", [b"Three, one, four.\n" * 50, b"RIFF", b"RIFF\x00\x00\x00\x00WAVE", bytes(1000)])
def test_text_named_wav(tmp_path, content):
    path = tmp_path / "notes.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"notes\.wav: not audio that can be decoded, or damaged \(libsndfile: \w.*\)"):
        read_audio(path)


@pytest.mark.parametrize("format", ["WAV", "AIFF", "AU", "OGG"])
def test_no_frames(format):
    refused(encoded(np.zeros(0), format=format), "no samples")


def test_no_channels():
    refused(with_field(pcm(), 22, "<H", 0), "Channel count is zero")


@pytest.mark.parametrize("rate", [0, 2**32 - 1])
def test_no_rate(rate):
    refused(with_field(pcm(), 24, "<I", rate), "not audio that can be decoded")


def test_absurd_rate():
    refused(with_field(pcm(), 24, "<I", 2**31 - 1), "expected a sampling rate up to 1000000 Hz, found 2147483647")


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
@pytest.mark.parametrize(
    ("format", "why"),
    [
        ("WAV", r"cut short: the header promises 80000 bytes of sound, found \d+$"),
        ("AIFF", r"cut short: the header promises 80008 bytes of sound, found \d+$"),
        ("AU", r"cut short: the header promises 80000 bytes of sound, found \d+$"),
        ("CAF", "damaged|cut short"),
        ("FLAC", r"damaged .*lost sync|cut short: the header promises 40000 samples, found \d+$"),
    ],
)
def test_truncated(format, why, fraction):
    data = encoded(noise(40000), format=format)
    assert len(read_audio(io.BytesIO(data))) == 40000
    refused(data[: int(len(data) * fraction)], why)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_truncated_ogg(subtype):
    x, rate = soundfile.read(CLIPS / "three_one_four.wav")
    data = encoded(x, rate, format="OGG", subtype=subtype)
    assert len(read_audio(io.BytesIO(data))) == len(x)
    refused(data[: int(len(data) * 0.9)], "cut short: its last page is incomplete")


def test_damaged_ogg():
    data = bytearray((CLIPS / "counting.ogg").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    refused(bytes(data), r"damaged: the page at byte \d+ has another checksum than it says")


@pytest.mark.parametrize("fraction", [0.5, 0.9])
def test_truncated_mp3(fraction):
    data = (CLIPS / "two_seven_one.mp3").read_bytes()
    refused(data[: int(len(data) * fraction)], r"cut short: the header promises 149760 samples, found \d+")
    refused(b"ID3\x04\x00\x00" + bytes([0, 0, 40, 0]) + bytes(5120) + data[: int(len(data) * fraction)], "cut short")


def test_flac_that_promises_more_than_memory_holds():
    data = encoded(noise(4000), format="FLAC")
    promise = int.from_bytes(data[18:26], "big") | (2**36 - 1)  # the count of samples is the last 36 bits
    refused(data[:18] + promise.to_bytes(8, "big") + data[26:], "cut short: the header promises 68719476735 samples, found 4000$")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(value):
    x = noise(1000)
    x[[17, 500]] = value
    refused(encoded(x, format="WAV", subtype="FLOAT"), "2 of 1000 samples are NaN or infinite in float32, the first at sample 17$")


@pytest.mark.parametrize("rate", [0, -16000, 16000.5, float("nan"), float("inf"), 2_000_000, "16000", True, None])
def test_rates_that_are_none(rate):
    with pytest.raises(InputError, match="sampling_rate: expected a whole number from 1 to 1000000, found"):
        read_audio(CLIPS / "three_one_four.wav", sampling_rate=rate)
    with pytest.raises(InputError, match="original: expected a whole number"):
        resample(noise(10), rate, 16000)
    with pytest.raises(InputError, match="target: expected a whole number"):
        resample(noise(10), 16000, rate)


# --- resampling -------------------------------------------------------------------------------------------------------------------


@PROPERTY
@given(st.integers(1, 400), st.integers(1, 200), st.integers(1, 200), st.sampled_from([np.float32, np.float64]))
def test_resample_is_scipys(n, original, target, dtype):
    x = noise(n).astype(dtype)
    before = x.copy()
    found = resample(x, original, target)
    expected = x if original == target else signal.resample_poly(x, target, original)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_a_tone_stays_the_same_tone(rate):
    """The judge that knows nothing of polyphase filters.  The filter's ripple is 40 dB down."""

    def at(r):
        return np.sin(2 * np.pi * 440 * np.arange(r) / r)  # one second

    found = resample(at(rate), rate, 16000)
    np.testing.assert_allclose(found[400:-400], at(16000)[400:-400], rtol=0, atol=0.01)


def test_a_tone_above_half_the_new_rate_is_gone():
    x = np.sin(2 * np.pi * 11000 * np.arange(48000) / 48000)
    assert np.abs(resample(x, 48000, 16000)[200:-200]).max() < 0.01


def test_equal_rates_change_nothing():
    x = noise(100)
    assert resample(x, 16000, 16000.0) is x
    assert resample(x, np.int64(16000), np.float32(16000)) is x
    assert len(resample(np.zeros(0), 8000, 16000)) == 0


def test_resample_takes_one_channel():
    with pytest.raises(InputError, match=r"audio: expected shape \(\*,\), found \(2, 5\)"):
        resample(noise(2, 5), 8000, 16000)


# --- arrays -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subtype", "dtype", "form"),
    [("PCM_S8", np.int8, "AIFF"), ("PCM_U8", np.uint8, "WAV"), ("PCM_16", np.int16, "WAV"), ("PCM_32", np.int32, "WAV")],
)
def test_integers_are_scaled_as_in_files(subtype, dtype, form):
    """Samples taken from a file give what the file gives."""
    limits = np.iinfo(dtype)
    x = np.random.default_rng(0).integers(limits.min, limits.max, 500, dtype=dtype, endpoint=True)
    x[:3] = limits.min, limits.max, limits.min + limits.max
    wide = ((x.astype(np.int64) - (128 if dtype is np.uint8 else 0)) << (32 - limits.bits)).astype(
        np.int32
    )  # libsndfile's own form
    read = read_audio(io.BytesIO(encoded(wide, format=form, subtype=subtype)))
    before = x.copy()
    found = as_waveform(x)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, read)
    np.testing.assert_array_equal(x, before)
    assert found.min() == -1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", np.longdouble])
def test_floats_are_taken_as_they_are(dtype):
    x = (noise(100) * 30).astype(dtype)
    found = as_waveform(x)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, x.astype(np.float32))


def test_lists_and_strides():
    np.testing.assert_array_equal(as_waveform([0, 0.5, -1.5]), np.float32([0, 0.5, -1.5]))
    x = noise(100)
    np.testing.assert_array_equal(as_waveform(x[::-3]), x[::-3])


@pytest.mark.parametrize("dtype", [bool, complex, object, np.int64, np.uint16, np.uint32, np.uint64, "datetime64[s]", "S3"])
def test_dtypes_without_full_scale(dtype):
    with pytest.raises(AudioError, match=r"clip: expected floats in \[-1, 1\) or int8, int16, int32 or uint8, found "):
        as_waveform(np.zeros(5, dtype), name="clip")


@pytest.mark.parametrize("audio", ["clip.wav", None, {"array": [1.0]}])
def test_what_is_no_array(audio):
    with pytest.raises(AudioError, match="audio: expected floats"):
        as_waveform(audio)


def test_ragged_lists():
    with pytest.raises(AudioError, match="audio: expected an array of samples, found list"):
        as_waveform([[0.0, 1.0], [0.0]])


@pytest.mark.parametrize(("shape", "axis"), [((2, 16000), 0), ((16000, 2), 1), ((1, 5), 0)])
def test_two_dimensions_are_refused_with_the_way_out(shape, axis):
    with pytest.raises(AudioError, match=rf"expected one channel \(samples,\), found shape .*audio\.mean\(axis={axis}\)"):
        as_waveform(np.zeros(shape))


@pytest.mark.parametrize("shape", [(), (2, 3, 4)])
def test_other_dimensions(shape):
    with pytest.raises(AudioError, match=r"audio: expected one channel \(samples,\), found shape"):
        as_waveform(np.zeros(shape))


@pytest.mark.parametrize("audio", [[], np.zeros(0, np.float32), np.zeros(0, np.int16)])
def test_no_samples(audio):
    with pytest.raises(AudioError, match="audio: no samples"):
        as_waveform(audio)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_bad_samples_are_counted_and_located(value):
    x = np.zeros(100)
    x[[42, 50, 99]] = value
    with pytest.raises(AudioError, match=r"audio: 3 of 100 samples are NaN or infinite in float32, the first at sample 42"):
        as_waveform(x)


def test_samples_that_are_no_sound_are_said_to_be_none(tmp_path):
    """They cannot be squared in float32, and whoever would find that later knows no file."""
    path = tmp_path / "loud.wav"
    x = noise(1000)
    x[[7, 9]] = 3e38, -1e38
    path.write_bytes(encoded(x, format="WAV", subtype="FLOAT"))
    message = r"2 of 1000 samples are beyond all sound \(up to 3e\+38, expected -1 to 1\), the first at sample 7$"
    with pytest.raises(AudioError, match=rf"loud\.wav: {message}"):
        read_audio(path)
    with pytest.raises(AudioError, match=f"audio: {message}"):
        as_waveform(x)
    np.testing.assert_array_equal(as_waveform(noise(10) * np.float32(2**31)), noise(10) * np.float32(2**31))  # unscaled integers


@pytest.mark.parametrize(
    ("audio", "cause"),
    [
        (b"RIFF", "audio bytes: not audio that can be decoded"),
        (bytearray(), "audio bytes: the file is empty"),
        ({"array": np.zeros(9)}, r'audio: expected "array" or "raw" and "sampling_rate" in a dict, found \[\'array\'\]'),
        ({"path": "a.wav", "sampling_rate": 16000}, r'expected "array" or "raw" and "sampling_rate" in a dict, found'),
        ({"array": [0.0], "raw": [0.0], "sampling_rate": 16000}, r'expected "array" or "raw" and'),
        ({"array": "a.wav", "sampling_rate": 16000}, "expected samples in a dict, found 'a.wav' as \"array\""),
        (
            ["a.wav", "b.wav"],
            r"audio: expected one clip, found a list of 2 \(str ...\); transcribe and transcribe_many take several",
        ),
        ([np.zeros(900), np.zeros(900)], r"expected one clip, found a list of 2 \(ndarray ...\); transcribe and"),
        ((np.zeros(900), np.zeros(800)), r"expected one clip, found a tuple of 2 \(ndarray ...\)"),
        ([[0.0, 0.1], [0.2, 0.3]], r"expected one clip, found a list of 2 \(list ...\)"),
        ([Path("a.wav")], r"expected one clip, found a list of 1 \(\w*Path ...\)"),
        (np.zeros((2, 900)), r"expected one channel \(samples,\), found shape \(2, 900\)"),
        (None, "audio: expected floats in"),
    ],
)
def test_what_is_given_in_place_of_a_clip(audio, cause):
    with pytest.raises(AudioError, match=cause), open_recording(audio) as recording:
        recording.read()


def test_numbers_of_any_kind_are_samples():
    for audio in ([0.0, 0.5], (0.0, 1), [np.float32(0), np.float32(0.5)], [True, 0.5], np.zeros(2)):
        with open_recording(audio) as recording:
            assert len(recording.read()) == 2


def test_mono():
    x = noise(50, 3)
    np.testing.assert_allclose(mono(x), x.astype(np.float64).mean(axis=1), rtol=0, atol=2**-25)
    np.testing.assert_array_equal(mono(x[:, 0]), x[:, 0])
    np.testing.assert_array_equal(mono(np.int16([[16384, 0], [-32768, -32768]])), np.float32([0.25, -1]))
    assert mono(x.astype(np.float64)).dtype == np.float32
    with pytest.raises(AudioError, match="audio: no channels"):
        mono(np.zeros((5, 0)))
    with pytest.raises(InputError, match="audio: expected shape"):
        mono(np.zeros((5, 2, 2)))


# --- manners ----------------------------------------------------------------------------------------------------------------------


def test_nothing_is_printed(capfd):
    for name in SAMPLES:
        read_audio(CLIPS / name)
    for data in (b"text", b"", pcm()[:100], pcm()[:3000], encoded(noise(4000), format="FLAC")[:2000]):
        with pytest.raises(AudioError):
            read_audio(io.BytesIO(data))
    assert capfd.readouterr() == ("", "")


def test_slow_imports_are_put_off():
    """scipy.signal takes longer to import than a short clip takes to transcribe."""
    code = (
        "import sys, sewnp.speech as s\n"
        "assert not {'scipy', 'soundfile'} & set(sys.modules)\n"
        "s.resample(s.as_waveform([0.0, 1.0]), 16000, 16000)\n"
        f"s.read_audio({str(CLIPS / 'three_one_four.wav')!r})\n"
        "assert 'soundfile' in sys.modules and 'scipy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("form", ["RF64", "W64", "VOC"])
def test_truncated_formats_for_long_recordings(form):
    whole = encoded(np.zeros(8000, np.float32) + 0.1, format=form, subtype="PCM_16")
    assert len(read_audio(io.BytesIO(whole))) == 8000
    with pytest.raises(
        AudioError, match=r"cut short: (its header promises more sound|the header promises 16000 bytes of sound, found 7948$)"
    ):
        read_audio(io.BytesIO(whole[: len(whole) // 2]))


@pytest.mark.parametrize(("form", "subtype"), [("WAV", "GSM610"), ("AU", "G721_32")])
def test_codecs_that_cannot_seek(form, subtype):
    tone = 0.5 * np.sin(np.arange(16000) * 0.1).astype(np.float32)
    found = read_audio(io.BytesIO(encoded(tone, format=form, subtype=subtype)))
    assert np.corrcoef(found[: len(tone)], tone[: len(found)])[0, 1] > 0.9
