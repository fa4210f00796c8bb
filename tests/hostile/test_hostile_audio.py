"""Sound that somebody made to be trouble: headers that lie about sizes, rates and channels, and small files that unfold to large ones."""

import io
import math
import os
import struct
import time

import numpy as np
import pytest
from hostile.limits import check_refused, open_to_all, tried

from sewnp.errors import AudioError
from sewnp.speech import read_audio
from sounds import encoded


def noise(*shape):
    return np.random.default_rng(0).standard_normal(shape) * 0.1


def wav(samples=1000, *, channels=1, rate=16000, align=None, bits=16, kind=1, data_size=None, riff_size=None, data=None):
    """A WAV of which every field of the header can be chosen."""
    content = np.arange(samples * channels, dtype="<i2").tobytes() if data is None else data
    align = channels * bits // 8 % 2**16 if align is None else align
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * align % 2**32, align, bits)
    size = len(content) if data_size is None else data_size
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size) + content
    return b"RIFF" + struct.pack("<I", len(body) if riff_size is None else riff_size) + body


def refused(data, cause="."):
    start = time.process_time()
    with pytest.raises(AudioError, match=cause) as caught:
        read_audio(io.BytesIO(data))
    assert str(caught.value).startswith("audio file object: ")
    assert len(str(caught.value)) < 300
    assert time.process_time() - start < 2


def read_or_refused(data, most):
    """Either is right, as long as it does not take long, and nothing is heard that is not there."""
    start = time.process_time()
    x, message = tried(lambda: read_audio(io.BytesIO(data)))
    assert x is not None or message.startswith("audio file object: ")
    assert x is None or (0 < len(x) <= most and np.isfinite(x).all())
    assert time.process_time() - start < 2


# --- WAV headers ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"channels": 65535, "data": bytes(2 * 65535)}, "not audio that can be decoded"),
        ({"channels": 65535}, "not audio that can be decoded"),
        ({"channels": 1025}, "not audio that can be decoded"),
        ({"rate": 2**31}, "not audio that can be decoded|expected a sampling rate up to"),
        ({"rate": 2**31 - 1}, "expected a sampling rate up to 1000000 Hz"),
        ({"rate": 1_000_001}, "expected a sampling rate up to 1000000 Hz, found 1000001 in the header"),
        ({"bits": 0, "align": 0}, "not audio that can be decoded"),
        ({"kind": 0}, "not audio that can be decoded"),
        ({"kind": 0xFFFF}, "not audio that can be decoded"),
        ({"data": b"\0"}, "no samples|not audio"),
        ({"data_size": 2**30}, r"cut short: the header promises 1073741824 bytes of sound, found 2000"),
        ({"data_size": 2065}, r"cut short: the header promises 2065 bytes of sound, found 2000"),
    ],
    ids=lambda x: ", ".join(f"{k}={v}"[:30] for k, v in x.items()) if isinstance(x, dict) else "",
)
def test_a_header_that_cannot_be_true(fields, cause):
    refused(wav(**fields), cause)


@pytest.mark.parametrize("size", [0, 1, 100, 2**31 - 1, 2**31, 2**32 - 1])
def test_riff_sizes_that_lie_hide_nothing_and_invent_nothing(size):
    """The outer size is wrong in files that were written into a pipe or joined by hand; the sound says itself how long it is."""
    np.testing.assert_array_equal(read_audio(io.BytesIO(wav(riff_size=size))), np.arange(1000, dtype=np.float32) / 2**15)


@pytest.mark.parametrize("size", [2, 500, 1999, 2**31 - 2, 2**31, 2**31 + 2, 2**32 - 2])
def test_data_sizes_that_lie(size):
    read_or_refused(wav(data_size=size), 1000)


@pytest.mark.parametrize("align", [0, 1, 3, 4, 255, 32768, 65535])
def test_absurd_block_aligns(align):
    read_or_refused(wav(align=align), 2000)


@pytest.mark.parametrize("bits", [1, 7, 8, 12, 17, 24, 31, 32, 33, 64, 65535])
@pytest.mark.parametrize("kind", [1, 2, 3, 6, 7, 17, 49, 80, 85, 0xFFFE])
def test_absurd_bits_of_every_codec(bits, kind):
    read_or_refused(wav(bits=bits, kind=kind, align=2), 40_000)


@pytest.mark.parametrize("rate", [1, 2, 7, 192_001])
def test_absurd_rates_that_can_be_resampled(rate):
    found = read_audio(io.BytesIO(wav(rate=rate)))
    assert len(found) == math.ceil(1000 * 16000 / rate)


def test_samples_of_opposite_infinities_are_counted_and_nothing_is_warned_of():
    x = noise(100, 2).astype(np.float32)
    x[7] = np.inf, -np.inf
    refused(encoded(x, format="WAV", subtype="FLOAT"), "1 of 100 samples are NaN or infinite in float32, the first at sample 7$")


def test_samples_that_only_resampling_makes_too_loud():
    x = np.full(2000, 2.0**40, np.float32)  # allowed, and the filter overshoots at its edges
    assert len(read_audio(io.BytesIO(encoded(x, 16_000, format="WAV", subtype="FLOAT")))) == 2000
    refused(encoded(x, 15_999, format="WAV", subtype="FLOAT"), r"samples are beyond all sound \(up to 1.*e\+12, expected -1 to 1\)")


# --- small files that unfold ------------------------------------------------------------------------------------------------------


def flac(samples, channels=1):
    """Silence, a thousand times smaller than its samples."""
    return encoded(np.zeros((samples, channels), np.int16), format="FLAC", subtype="PCM_16")


def promising(data, samples):
    """A FLAC whose header promises so many samples: the last 36 bits of eight bytes."""
    field = int.from_bytes(data[18:26], "big") & ~(2**36 - 1) | samples
    return data[:18] + field.to_bytes(8, "big") + data[26:]


@pytest.fixture
def bombs(tmp_path):
    """Name -> what becomes of it."""
    one_hertz = wav(data=bytes(2 * 500_000), rate=1)
    files = {
        "one hertz.wav": (one_hertz, "500,000 samples at 1 Hz, as the header says, would be 8,000,000,000 at 16000 Hz"),
        "silence.flac": (
            flac(10_000_000, 8),
            "too large to decode in memory, or its header is damaged: 10,000,000 samples in 8 channels",
        ),
        "promise.flac": (
            promising(flac(1000, 8), 2**33),
            "cut short: the header promises 8589934592 samples, found 1000",
        ),
        "no end.flac": (promising(flac(10_000_000, 8), 0), "too large to decode in memory, or its header is damaged"),
        "slow silence.flac": (
            encoded(np.zeros(5_000_000, np.int16), 100, format="FLAC", subtype="PCM_16"),
            "5,000,000 samples at 100 Hz, as the header says, would be 800,000,000 at 16000 Hz",
        ),
        "two hours.flac": (promising(flac(1000), 2**26 - 1), "cut short: the header promises 67108863 samples, found 1000"),
    }
    for name, (data, _) in files.items():
        assert len(data) < 1_100_000
        (tmp_path / name).write_bytes(data)
    return {name: (f"read_audio({str(tmp_path / name)!r})", tmp_path / name, cause) for name, (_, cause) in files.items()}


def test_small_files_that_unfold_to_large_ones(bombs):
    check_refused(bombs)


def test_silence_and_long_recordings_are_no_bombs():
    assert len(read_audio(io.BytesIO(flac(2_000_000)))) == 2_000_000
    x = np.tile(noise(16000), 200).clip(-1, 0.99)
    opus = encoded(x[:960_000], 48000, format="OGG", subtype="OPUS", compression_level=1.0)
    assert len(read_audio(io.BytesIO(opus))) == 320_000


# --- every format, cut and damaged ------------------------------------------------------------------------------------------------

FORMATS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAV", "MS_ADPCM"), ("WAV", "IMA_ADPCM"), ("WAV", "GSM610"), ("WAVEX", "PCM_24"),
           ("RF64", "PCM_16"), ("W64", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
           ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("VOC", "PCM_16"),
           ("NIST", "PCM_16"), ("MAT5", "PCM_16"), ("PAF", "PCM_16"), ("SVX", "PCM_16"), ("IRCAM", "PCM_16")]  # fmt: skip


@pytest.mark.parametrize(("form", "subtype"), FORMATS, ids=["-".join(form) for form in FORMATS])
def test_cut_anywhere_or_zeroed_anywhere(form, subtype):
    """No more is heard than there was."""
    data = encoded(noise(4000), 16000, format=form, subtype=subtype)
    whole = len(read_audio(io.BytesIO(data)))
    for size in (0, 1, 3, 4, 11, 12, 27, 40, 43, 44, 58, 100, *range(150, len(data), max(1, len(data) // 8))):
        read_or_refused(data[:size], whole + 4000)
    for at in range(0, len(data), max(1, len(data) // 16)):
        read_or_refused(data[:at] + bytes(64) + data[at + 64 :], whole + 4000)


def test_flac_with_broken_frames_is_refused():
    data = bytearray(encoded(noise(40_000), format="FLAC"))
    middle = len(data) // 2
    data[middle : middle + 500] = bytes(500)
    refused(bytes(data), "damaged|cut short")


@pytest.mark.parametrize(
    "garbage", [b"\xff\xfb" * 1000, b"\xff\xfb\x90\x00" * 500, b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(1000), b"ID3"]
)
def test_what_only_begins_like_mp3(garbage):
    read_or_refused(garbage, 200_000)


MAGIC = [b"fLaC", b"OggS", b"FORM\0\0\0\0AIFF", b".snd", b"caff", b"RF64\xff\xff\xff\xffWAVE", b"riff", b"Creative Voice File",
         b"NIST_1A\n", b"MATLAB 5.0", b"\x7fELF", b"PK\x03\x04", b"\x1aE\xdf\xa3", b"\0\0\0\x20ftypM4A "]  # fmt: skip


@pytest.mark.parametrize("magic", MAGIC)
def test_what_only_begins_like_a_format(magic):
    for tail in (b"", bytes(4), bytes(5000), b"\xff" * 5000, np.random.default_rng(0).bytes(5000)):
        refused(magic + tail)


# --- files that are none ----------------------------------------------------------------------------------------------------------


def test_what_may_not_be_read_vanishes_or_points_nowhere():
    files = {
        "forbidden.wav": "cannot be read: Permission denied",
        "dangling.wav": "no such file",
        "loop.wav": "cannot be read: Too many levels",
        "folder.wav": "expected a file, found a folder",
        "device.wav": "expected a file or a pipe, found a device",
    }
    with open_to_all() as folder:
        (folder / "device.wav").symlink_to("/dev/zero")
        (folder / "forbidden.wav").write_bytes(wav())
        (folder / "dangling.wav").symlink_to("gone.wav")
        (folder / "loop.wav").symlink_to("loop.wav")
        (folder / "folder.wav").mkdir()
        (folder / "forbidden.wav").chmod(0)
        # as another user, where the tests run as root, to whom nothing is forbidden
        calls = {name: (f"read_audio({str(folder / name)!r})", folder / name, cause) for name, cause in files.items()}
        check_refused(calls, user=65534)


def test_a_file_that_vanishes_while_it_is_read(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(wav())
    with path.open("rb") as file:
        path.unlink()
        assert len(read_audio(file)) == 1000  # it is still open, so it is still there
    with pytest.raises(AudioError, match=r"clip\.wav: no such file"):
        read_audio(path)


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(wav())
    with path.open("rb") as file:
        os.truncate(path, 1044)
        with pytest.raises(AudioError, match="cut short: the header promises 2000 bytes of sound, found 1000"):
            read_audio(file)
