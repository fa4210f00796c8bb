"""Recordings in blocks: the same sound as read whole, the same errors, as often as wanted, and nothing left behind."""

import bz2
import gzip
import http.client
import io
import lzma
import os
import sys
import tempfile
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from sewnp.errors import AudioError, InputError
from sewnp.speech import as_waveform, mono, open_recording, read_audio, resample, resampled
from sounds import encoded, noise

CLIPS = Path(__file__).parents[1] / "clips"
NAMES = ["three_one_four.wav", "eight_six_seven.flac", "counting.ogg", "two_seven_one.mp3"]
PROPERTY = settings(derandomize=True, deadline=None, max_examples=60)
FORMATS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("WAV", "IMA_ADPCM"), ("WAV", "GSM610"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"),
           ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("CAF", "ALAC_16"), ("AU", "G721_32"), ("VOC", "PCM_16")]  # fmt: skip


# --- resampling -------------------------------------------------------------------------------------------------------------------

rates = st.one_of(
    st.sampled_from([(8000, 16000), (44100, 16000), (48000, 16000), (22050, 16000), (16000, 16000), (11025, 8000), (7, 16000)]),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)


@PROPERTY
@given(st.data(), rates, st.integers(0, 3000), st.sampled_from([np.float32, np.float64]))
def test_resampled_blocks_are_the_resampled_whole_bit_for_bit(data, rate, n, dtype):
    original, target = rate
    n = min(n, 40) if target > 100 * original else n
    x = noise(n).astype(dtype)
    places = sorted(data.draw(st.lists(st.integers(0, n), max_size=20)))
    found = list(resampled(np.split(x, places), original, target))
    expected = resample(x, original, target) if n else x
    joined = np.concatenate([np.zeros(0, dtype), *found])
    assert joined.dtype == dtype
    assert joined.tobytes() == expected.tobytes()


@pytest.mark.parametrize("original", [8000, 11025, 44100, 48000])
def test_one_sample_at_a_time(original):
    x = noise(700)
    found = np.concatenate(list(resampled(x[:, None], original, 16000)))
    assert found.tobytes() == signal.resample_poly(x, 16000, original).tobytes()


def test_a_block_comes_out_as_soon_as_it_can():
    """Nothing waits for the end, and what is held does not grow."""
    out = []
    stream = resampled((noise(44100, seed=i) for i in range(50)), 44100, 16000)
    for i in range(49):
        out.append(len(next(stream)))
        assert 16000 * (i + 1) - sum(out) <= 10 + 1
    assert sum(out) + len(np.concatenate(list(stream))) == 50 * 16000


# --- files ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_a_clip_are_its_channel_mean_resampled_by_scipy(name):
    x, rate = soundfile.read(CLIPS / name, dtype="float32", always_2d=True)
    expected = x.mean(axis=1) if rate == 16000 else signal.resample_poly(x.mean(axis=1), 16000, rate)
    with open_recording(CLIPS / name) as recording:
        assert recording.name == str(CLIPS / name)
        for _ in range(2):  # as often as wanted
            blocks = list(recording.blocks())
            assert len(blocks) >= 3
            assert max(map(len, blocks)) <= 17000
            assert np.concatenate(blocks).tobytes() == expected.tobytes()


@pytest.mark.parametrize(("form", "subtype"), FORMATS, ids=["-".join(form) for form in FORMATS])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_codec_gives_in_blocks_what_it_gives_whole(form, subtype, channels):
    if channels == 2 and subtype in ("GSM610", "G721_32"):
        channels = 1
    data = encoded(noise(100_000, channels), 48000 if subtype == "OPUS" else 16000, format=form, subtype=subtype)
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        x = file.read(-1 if file.seekable() else file.frames, dtype="float32", always_2d=True)
    with open_recording(io.BytesIO(data)) as recording:
        found = recording.read()
    assert found.tobytes() == resample(x.mean(axis=1), 48000 if subtype == "OPUS" else 16000, 16000).tobytes()


@pytest.mark.parametrize("channels", [1, 2, 3, 7, 8, 9, 64])
@pytest.mark.parametrize("n", [1, 2, 300])
def test_channels_are_averaged_alike_in_blocks_of_any_size(n, channels):
    x = noise(n, channels)
    assert np.concatenate([mono(x[i : i + 7]) for i in range(0, n, 7)]).tobytes() == mono(x).tobytes()


def test_a_recording_that_is_left_early_can_be_read_again():
    with open_recording(CLIPS / "two_seven_one.mp3") as recording:
        first = next(recording.blocks())
        whole = recording.read()
        np.testing.assert_array_equal(first, whole[: len(first)])
        np.testing.assert_array_equal(whole, read_audio(CLIPS / "two_seven_one.mp3"))


def test_samples_are_a_recording_too():
    x = noise(40_001)
    with open_recording(x, sampling_rate=8000) as recording:
        assert recording.name == "audio"
        blocks = list(recording.blocks())
        assert {len(block) for block in blocks[:-1]} == {16000}
        np.testing.assert_array_equal(np.concatenate(blocks), resample(x, 8000, 16000))
    with open_recording(np.int16([0, 16384]), sampling_rate=16000) as recording:
        np.testing.assert_array_equal(recording.read(), as_waveform([0, 0.5]))


def test_a_file_says_its_own_rate():
    message = "sampling_rate: expected only with samples; a file says its own rate"
    with pytest.raises(InputError, match=message), open_recording(CLIPS / NAMES[0], sampling_rate=8000):
        pass


# --- what is no file on disk ------------------------------------------------------------------------------------------------------


@contextmanager
def spools(monkeypatch, tmp_path, limit):
    """A temporary folder of our own, to see what is in it."""
    import sewnp.speech.stream as stream

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(stream, "_IN_MEMORY", limit)
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [1000, 2**24])
@pytest.mark.parametrize("name", NAMES)
def test_pipes_and_standard_input_can_be_read_twice(name, limit, monkeypatch, tmp_path):
    data, expected = (CLIPS / name).read_bytes(), read_audio(CLIPS / name)

    def feed(place):
        with open(place, "wb") as pipe:
            pipe.write(data)

    with spools(monkeypatch, tmp_path, limit):
        read_end, write_end = os.pipe()
        fifo = tmp_path.parent / f"{tmp_path.name}-fifo"
        os.mkfifo(fifo)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        writers = [threading.Thread(target=feed, args=(place,)) for place in (write_end, fifo)]
        for writer in writers:
            writer.start()
        with os.fdopen(read_end, "rb") as pipe:
            for source in ("-", pipe, fifo, io.BytesIO(data)):
                with open_recording(source) as recording:
                    for _ in range(2):
                        np.testing.assert_array_equal(recording.read(), expected)
        for writer in writers:
            writer.join()


def test_the_copy_is_gone_when_something_fails(monkeypatch, tmp_path):
    with spools(monkeypatch, tmp_path, 10):
        with pytest.raises(AudioError), open_recording(io.BytesIO(b"not audio, but long enough")) as recording:
            recording.read()
        with open_recording(io.BytesIO((CLIPS / NAMES[0]).read_bytes())) as recording:
            next(recording.blocks())  # and left there, as Ctrl-C would


def test_a_disk_that_is_full(monkeypatch):
    class Full(tempfile.SpooledTemporaryFile):
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Full)
    with pytest.raises(AudioError, match=r"audio file object: cannot be copied to a temporary file: No space left on device"):
        read_audio(io.BytesIO((CLIPS / NAMES[0]).read_bytes()))


def test_a_disk_that_fails_while_libsndfile_reads(monkeypatch, capfd, tmp_path):
    """libsndfile takes it for the end of the file."""
    from sewnp.speech.containers import View

    path = tmp_path / "clip.wav"
    path.write_bytes(encoded(noise(100_000), format="WAV"))
    readinto = View.readinto

    def fails(self, buffer, /):
        if self.tell() > 100_000:
            self._file.close()
        return readinto(self, buffer)

    monkeypatch.setattr(View, "readinto", fails)
    with pytest.raises(AudioError, match=r"clip\.wav: cannot be read: .*closed file"):
        read_audio(path)
    assert capfd.readouterr().err == ""


# --- file objects that fail in the middle -----------------------------------------------------------------------------------------


class Foreign(Exception):
    """An error of a library that knows neither OSError nor us."""


class Failing(io.RawIOBase):
    """A socket, more or less."""

    def __init__(self, error):
        self.error, self.reads = error, 0

    def read(self, size=-1):
        self.reads += 1
        if self.reads > 2:
            raise self.error
        return encoded(noise(100), format="WAV")


def packed(module, data):
    file = io.BytesIO()
    with module.open(file, "wb") as out:
        out.write(data)
    return file.getvalue()


@pytest.mark.parametrize("module", [gzip, lzma, bz2])
def test_compressed_files_that_end_in_the_middle_or_are_damaged(module):
    data = packed(module, encoded(noise(400_000), format="WAV"))
    with module.open(io.BytesIO(data)) as file:
        assert len(read_audio(file)) == 400_000
    broken = [
        data[: len(data) // 2],
        data[:-3],
        data[:1000] + bytes(1000) + data[2000:],
        data[: len(data) // 2] + bytes(100_000),
        b"hello, none",
    ]
    for content in broken:
        with (
            module.open(io.BytesIO(content)) as file,
            pytest.raises(AudioError, match=r"^audio file object: cannot be read: \S|cut short"),
        ):
            read_audio(file)


def test_a_member_of_an_archive_that_is_damaged():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("clip.wav", encoded(noise(400_000), format="WAV"))
    content = bytearray(file.getvalue())
    content[400_000] ^= 1
    archive = zipfile.ZipFile(io.BytesIO(bytes(content)))
    with (
        archive.open("clip.wav") as member,
        pytest.raises(AudioError, match=r"clip\.wav: cannot be read: Bad CRC-32 for file 'clip\.wav'"),
    ):
        read_audio(member)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (TimeoutError(), "TimeoutError"),
        (TimeoutError(110, "Connection timed out"), "Connection timed out"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (http.client.IncompleteRead(b"abc", 10), r"IncompleteRead\(3 bytes read, 10 more expected\)"),
        (EOFError(), "EOFError"),
        (Foreign("no more"), "no more"),
        (RuntimeError("stream closed"), "stream closed"),
    ],
)
def test_what_a_foreign_file_raises_is_an_error_of_ours(error, cause):
    with pytest.raises(AudioError, match=f"^audio file object: cannot be read: {cause}$") as caught:
        read_audio(Failing(error))
    assert error in (caught.value.__cause__, caught.value.__cause__.__cause__)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), AudioError("ours")])
def test_what_is_no_error_of_the_file_goes_through(error):
    with pytest.raises(type(error)) as caught:
        read_audio(Failing(error))
    assert caught.value is error


@pytest.mark.parametrize("data", [None, 7, ["a"]])
def test_what_reads_as_no_bytes(data):
    class Odd:
        def read(self, size):
            return data

    with pytest.raises(AudioError, match=f"bytes .mode 'rb'., found {type(data).__name__} in place of bytes"):
        read_audio(Odd())


def test_other_kinds_of_bytes_are_bytes():
    class Views:
        def __init__(self):
            self.parts = [memoryview(encoded(noise(100), format="WAV")), bytearray()]

        def read(self, size):
            return self.parts.pop(0)

    assert len(read_audio(Views())) == 100


# --- what is wrong is found on the way --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (encoded(noise(100_000), format="WAV")[:-50_000], "cut short: the header promises 200000 bytes of sound, found 150000"),
        (encoded(noise(100_000), format="FLAC")[:-50_000], "cut short: the header promises 100000 samples, found 69632"),
        (encoded(noise(100_000), 22050, format="OGG")[:-500], "cut short: its last page is incomplete"),
        (b"", "the file is empty"),
        (b"hello", "not audio that can be decoded"),
        (encoded(np.zeros(0), format="WAV"), "no samples"),
    ],
)
def test_what_is_damaged_is_said_at_the_end_at_the_latest(data, cause):
    with open_recording(io.BytesIO(data)) as recording:
        for _ in range(2):
            with pytest.raises(AudioError, match=f"audio file object: {cause}"):
                for _ in recording.blocks():
                    pass


@pytest.mark.parametrize("rate", [16000, 44100])
def test_bad_samples_are_counted_over_the_whole_and_nothing_after_them_is_given(rate):
    x = noise(200_000)
    x[[100_007, 150_000, 199_999]] = np.nan, np.inf, -np.inf
    message = r"3 of 200000 samples are NaN or infinite in float32, the first at sample 100007$"
    given_out = []

    def drain(recording):
        for block in recording.blocks():
            given_out.append(block)  # one by one: extend would keep none of them

    with (
        open_recording(io.BytesIO(encoded(x, rate, format="WAV", subtype="FLOAT"))) as recording,
        pytest.raises(AudioError, match=message),
    ):
        drain(recording)
    assert len(given_out) >= 2
    assert np.isfinite(np.concatenate(given_out)).all()
    assert sum(map(len, given_out)) <= 100_007


def test_memory_does_not_grow_with_the_recording(tmp_path):
    """The largest amount that Python and NumPy hold while a recording is read, five seconds or two minutes long."""
    import tracemalloc

    peaks = []
    for seconds in (5, 120):
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, noise(22050 * seconds), 22050)
        tracemalloc.start()
        with open_recording(path) as recording:
            assert sum(map(len, recording.blocks())) == seconds * 16000
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 2**20
