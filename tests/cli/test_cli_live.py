"""``sewnp transcribe -`` of a pipe that does not end."""

import io
import struct
import subprocess
import sys
from threading import Timer

import numpy as np
import pytest

from sewnp.cli import main
from sewnp.speech import read_audio

RATE = 16000


def header(rate=RATE):
    """What ffmpeg writes into a pipe: WAV of 16 bits whose sizes are 2**32 - 1."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF\xff\xff\xff\xffWAVE" + fmt + b"LIST\x04\0\0\0INFO" + b"data\xff\xff\xff\xff"


def spoken(clips, *names, pause=7):
    """Clips with seconds of silence behind each, as int16."""
    silence = np.zeros(pause * RATE, np.int16)
    return [np.append((read_audio(clips / name) * 2**15).astype(np.int16), silence) for name in names]


@pytest.fixture
def stdin(monkeypatch):
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_segment_is_printed_before_the_next_is_there(digits, clips):
    first, second = spoken(clips, "three_one_four.wav", "two_seven_one.mp3")
    command = [sys.executable, "-m", "sewnp", "transcribe", "-", "-q"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    watch = Timer(300, process.kill)  # a test that fails ends too
    watch.start()
    process.stdin.write(header() + first.tobytes())
    process.stdin.flush()
    line = process.stdout.readline()  # the pipe is open, and nothing more is in it
    assert line.decode() == f"{digits.transcribe(first, sampling_rate=RATE)}\n" != "\n"
    out, err = process.communicate(second.tobytes())
    watch.cancel()
    assert out.decode() == f"{digits.transcribe(second, sampling_rate=RATE)}\n"
    assert (process.returncode, err) == (0, b"")


def test_the_lines_are_the_segments(digits, clips, stdin, capsys):
    x = np.concatenate(spoken(clips, "three_one_four.wav", "two_seven_one.mp3", pause=1))
    stdin(header() + x.tobytes())
    assert main(["transcribe", "-", "-v"]) == 0
    out, err = capsys.readouterr()
    segments = list(digits.stream([x], sampling_rate=RATE))
    assert len(segments) == 2
    assert out == "".join(f"{segment}\n" for segment in segments)
    assert err == "".join(f"sewnp: standard input: {segment.start:.2f} to {segment.end:.2f} s\n" for segment in segments)


def test_samples_without_a_header(digits, clips, stdin, capsys):
    x = np.concatenate(spoken(clips, "three_one_four.wav", "two_seven_one.mp3", pause=1))
    lines = "".join(f"{segment}\n" for segment in digits.stream([x], sampling_rate=RATE))
    cut = f"sewnp: error: standard input: cut short: expected samples of 2 bytes, found {2 * len(x) + 1} bytes\n"
    for end, arguments, status, problem in ((b"", [], 0, ""), (b"\0", [], 1, cut), (b"\0", ["--allow-truncated"], 0, "")):
        stdin(x.tobytes() + end)
        assert main(["transcribe", "-", "-q", "--raw", str(RATE), *arguments]) == status
        out, err = capsys.readouterr()
        assert lines.startswith(out)
        assert (err, out == lines) == (problem, not problem)


@pytest.mark.parametrize("arguments", [["--no-segment"], ["-f", "tsv"], ["--compat", "transformers"]])
def test_what_has_no_segments_comes_with_the_end(clips, stdin, tmp_path, arguments, capsys):
    data = header() + np.concatenate(spoken(clips, "three_one_four.wav", "two_seven_one.mp3", pause=1)).tobytes()
    (tmp_path / "clip.wav").write_bytes(data)
    assert main(["transcribe", str(tmp_path / "clip.wav"), *arguments]) == 0
    whole = capsys.readouterr()
    stdin(data)
    assert main(["transcribe", "-", *arguments]) == 0
    assert capsys.readouterr() == whole


def test_what_is_doubtful_is_said_at_the_end(digits, clips, stdin, capsys):
    x = np.concatenate(spoken(clips, "three_one_four.wav", "two_seven_one.mp3", pause=1))
    segments = digits.stream([x], sampling_rate=RATE, decoder="greedy")  # confidence is that of the greedy path
    heard = [c.probability for segment in segments for word in segment.words for c in word.characters]
    stdin(header() + x.tobytes())
    assert main(["transcribe", "-", "--min-confidence", "1"]) == 0
    assert f"warning: standard input: low confidence ({sum(heard) / len(heard):.2f}); the model digits" in capsys.readouterr().err


def test_nothing_is_an_error(stdin, monkeypatch, capsys):
    for data, problem in ((header(), "no samples"), (b"", "the file is empty (0 bytes)"), (b"RIFF", "not audio")):
        stdin(data)
        assert main(["transcribe", "-"]) == 1
        assert capsys.readouterr().err.startswith(f"sewnp: error: standard input: {problem}")
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["transcribe", "-"]) == 1
    assert capsys.readouterr().err == "sewnp: error: standard input: closed\n"
