"""Sound in pipes: taken as it arrives where nobody knows how long it will be, and left alone where somebody does."""

import io
import struct

import numpy as np
import pytest

from sewnp.errors import AudioError
from sewnp.speech import read_audio
from sewnp.speech.pipes import Pipe, arriving, pcm
from sounds import encoded, noise

X = noise(5000, 2)


class Dripping:
    """A pipe in which a few bytes arrive at a time."""

    def __init__(self, data, most):
        self.file, self.most = io.BytesIO(data), most

    def read1(self, size):
        return self.file.read(min(size, self.most))


def unending(data, size=2**32 - 1):
    """A WAV file as a program writes it into a pipe; libsndfile's own sizes go."""
    place = data.index(b"data") + 4
    return data[:4] + struct.pack("<I", size) + data[8:place] + struct.pack("<I", size) + data[place + 4 :]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize(("form", "channels"), [("WAV", 1), ("WAV", 2), ("WAVEX", 2)])
def test_what_arrives_is_what_a_file_of_it_holds(form, channels, subtype):
    whole = encoded(X[:, :channels], 16000, format=form, subtype=subtype)
    stop = (
        whole.index(b"data")
        + 8
        + 5000 * channels * {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "FLOAT": 4, "DOUBLE": 8}.get(subtype, 4)
    )
    data = unending(whole[:stop])
    for most in (7, 2**20):
        sound = arriving(Pipe("pipe", Dripping(data, most)))
        assert sound.sampling_rate == 16000
        assert np.concatenate(list(sound.blocks)).tobytes() == read_audio(io.BytesIO(data)).tobytes()


@pytest.mark.parametrize("size", [2**32 - 1, 0x7F000000, 0x7FFFFFFF - 36, 2_000_000_000])
def test_sizes_that_programs_leave(size):
    data = unending(encoded(X[:, 0], format="WAV"), size)
    assert sum(map(len, arriving(Pipe("pipe", io.BytesIO(data))).blocks)) == 5000


@pytest.mark.parametrize(
    "data",
    [
        encoded(X, format="WAV"),
        encoded(X[:, 0], format="OGG"),
        encoded(X, format="FLAC"),
        unending(encoded(X, format="WAV", subtype="ULAW")),
        unending(encoded(X, format="WAV"))[:40],
        unending(encoded(X, format="WAV")).replace(b"fmt ", b"fmt!"),
        unending(encoded(X, format="WAV")).replace(b"WAVE", b"AVI "),
        b"RIF",
        b"",
    ],
    ids=["known", "ogg", "flac", "u-law", "cut", "no format", "no WAV", "three", "empty"],
)
def test_all_else_is_left_as_it_was(data):
    pipe = Pipe("pipe", Dripping(data, 100))
    assert arriving(pipe) is None
    assert b"".join(iter(pipe.read, b"")) == data


def test_samples_without_a_header():
    whole = (X * 2**15).astype("<i2")
    found = np.concatenate(list(pcm(Pipe("pipe", Dripping(whole.tobytes() + b"\0", 5)), channels=2)))
    np.testing.assert_array_equal(found, (whole / np.float32(2**15)).mean(axis=1))
    with pytest.raises(AudioError, match="standard input: no samples"):
        list(pcm(Pipe("standard input", io.BytesIO(b"\0"))))
    closed = io.BytesIO()
    closed.close()
    with pytest.raises(AudioError, match="pipe: "):
        arriving(Pipe("pipe", closed))
