"""Formats that libsndfile does not know, through a ffmpeg of the test's own: what it is asked, what it says, and how it may fail."""

import json
import os
import re
import stat
import struct
import sys

import numpy as np
import pytest
import soundfile

import sewnp
from sewnp.cli import main
from sewnp.errors import AudioError, AudioWarning
from sewnp.speech import ffmpeg, open_recording, read_audio, resample, soundfiles
from sounds import noise

# what it is to do stands in the file that it is given; without that it gives a tenth of a second of zeros
FAKE = """\
import json, os, signal, struct, sys
arguments = sys.argv[1:]
source = arguments[arguments.index("-i") + 1].removeprefix("file:")
content = open(source, "rb").read()
order = json.loads(content[8:]) if content[8:9] == b"{" else {}
with open(os.path.join(os.path.dirname(sys.argv[0]), "calls"), "a") as calls:
    alone = os.getsid(0) == os.getpid()
    calls.write(json.dumps({"pid": os.getpid(), "stdin": sys.stdin.read(), "alone": alone, "arguments": arguments}) + "\\n")
out, err = sys.stdout.buffer, sys.stderr.buffer
if "play" in order:
    out.write(open(order["play"], "rb").read())
elif "write" in order:
    out.write(order["write"].encode())
elif order.get("sound", True):
    rate, channels = order.get("format", [16000, 1])
    out.write(struct.pack(">4s5I4x", b".snd", 28, 0xffffffff, 6, rate, channels))
    out.write(bytes(order.get("bytes", 6400)))
    out.flush()
err.write(order.get("say", "").encode())
err.flush()
while order.get("flood"):
    (out if order["flood"] == "sound" else err).write(b"\\0" * 65536)
if order.get("hang"):
    signal.pause()
if "die" in order:
    os.kill(os.getpid(), order["die"])
sys.exit(order.get("status", 0))
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """A folder with nothing but a ffmpeg on the PATH -> what it was called with so far."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(f"#!{sys.executable} -IS\n{FAKE}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    return lambda: [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def m4a(path, **order):
    body = json.dumps(order).encode()
    path.write_bytes(struct.pack(">I4s", 8 + len(body), b"ftyp") + body)
    return path


def played(folder, x, rate):
    """An M4A file of a sound."""
    soundfile.write(folder / "played.au", x, rate, format="AU", subtype="FLOAT")
    return m4a(folder / "played.m4a", play=str(folder / "played.au"))


def test_sound_is_that_of_the_file_in_blocks_and_again(calls, tmp_path):
    x = noise(100_000, 2)
    with open_recording(played(tmp_path, x, 44100)) as recording:
        first, second = list(recording.blocks()), recording.read()
    assert len(first) > 2
    assert np.array_equal(np.concatenate(first), second)
    assert np.array_equal(second, resample(x.mean(axis=1), 44100, 16000))
    with open(tmp_path / "played.m4a", "rb") as file:  # copied: it might be a pipe
        assert np.array_equal(second, read_audio(file))


@pytest.mark.parametrize("name", ["talk.m4a", "-y.m4a", "http:talk.m4a", "a b;c.m4a"])
def test_it_is_asked_without_a_shell_a_name_or_standard_input(calls, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    m4a(tmp_path / name)
    assert len(read_audio(name)) == 1600
    (call,) = calls()
    assert call["stdin"] == ""
    assert call["alone"]
    asked = " ".join(call["arguments"])
    assert re.fullmatch(
        r"-nostdin -hide_banner -loglevel error -protocol_whitelist file,pipe -f mov -i file:/dev/fd/\d+ -map 0:a:0 -vn -sn -dn"
        r" -map_metadata -1 -c:a pcm_f32be -f au pipe:1",
        asked,
    )


ADTS = bytes.fromhex("fff15040 01 1ffc 00")  # 8 bytes of frame


@pytest.mark.parametrize(
    ("begin", "demuxer"),
    [
        (b"\0\0\0\x08wide\0\0\0\x08mdat", "mov"),
        (b"\x1aE\xdf\xa3", "matroska"),
        (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "asf"),
        (ADTS + ADTS, "aac"),
        (b"ID3\x04\0\0\0\0\0\x02xy" + ADTS, "aac"),
        (b"#!AMR-WB\n", "amr"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        ((b"G" + bytes(187)) * 3, "mpegts"),
        (b"\0\0\x01\xba", "mpeg"),
        (b"OggS\0\x02" + bytes(20) + b"\x01\x50Speex   1.2", "ogg"),
        (b"wvpk", "wv"),
    ],
)
def test_formats_are_known_by_their_beginning(calls, tmp_path, begin, demuxer):
    (tmp_path / "clip.wav").write_bytes(begin)
    assert len(read_audio(tmp_path / "clip.wav")) == 1600
    arguments = calls()[0]["arguments"]
    assert arguments[arguments.index("-f") + 1] == demuxer
    assert demuxer in ffmpeg.FORMATS


@pytest.mark.parametrize(
    "content", [b"#EXTM3U\nfile:///etc/passwd\n", b"ffconcat version 1.0\n", ADTS + b"\0" * 8, b"text", b"FLV\x01"]
)
def test_nothing_else_reaches_it(calls, tmp_path, content):
    (tmp_path / "clip.m4a").write_bytes(content)
    with pytest.raises(AudioError, match=r"clip\.m4a: not audio that can be decoded"):
        read_audio(tmp_path / "clip.m4a")
    assert not (tmp_path / "bin" / "calls").exists()


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"sound": False, "say": "[in#0 @ 0x5] moov atom not found\n[x @ 0x6] more\n", "status": 183}, "damaged (ffmpeg: moov atom not found)"),
        ({"sound": False, "say": "Stream map '' matches no streams.\n", "status": 1}, "clip.m4a: no sound in it"),
        ({"sound": False}, "(ffmpeg: no sound)"),
        ({"sound": False, "status": 3}, "(ffmpeg: it ended with status 3)"),
        ({"die": 9}, "damaged or cut short (ffmpeg: it was ended by signal 9)"),
        ({"say": "[aist#0:0/aac @ 0x5] [dec:aac @ 0x6] Error\n"}, "damaged or cut short (ffmpeg: Error)"),
        ({"write": "<html>this is no sound</html>"}, "expected sound from ffmpeg, found b'<html>th'"),
        ({"format": [2_000_000, 1]}, "expected a sampling rate up to 1000000 Hz, found 2000000"),
        ({"format": [16000, 0]}, "expected sound from ffmpeg"),
        ({"bytes": 0}, "clip.m4a: no samples"),
        ({"flood": "sound"}, "too large"),
        ({"flood": "words"}, "ffmpeg gave no sound for 0.5 seconds, and was ended"),
        ({"hang": True}, "ffmpeg gave no sound for 0.5 seconds, and was ended"),
    ],
)  # fmt: skip
def test_whatever_goes_wrong_is_one_error_that_names_the_file(calls, tmp_path, monkeypatch, order, message):
    if order.keys() & {"flood", "hang"}:
        monkeypatch.setattr(ffmpeg, "PATIENCE", 0.5 if order.get("flood") != "sound" else 60)
        monkeypatch.setattr(soundfiles, "_SMALL", 2**22)
    with pytest.raises(AudioError) as problem:
        read_audio(m4a(tmp_path / "clip.m4a", **order))
    assert "clip.m4a: " in str(problem.value)
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)
    for call in calls():
        with pytest.raises(ProcessLookupError):
            os.kill(call["pid"], 0)


def test_what_it_says_of_pictures_and_times_is_no_flaw(calls, tmp_path):
    said = "[h264 @ 0x5] non-existing PPS 0 referenced\n    Last message repeated 1 times\n[au @ 0x6] non monotonically increasing dts\n"
    assert len(read_audio(m4a(tmp_path / "clip.m4a", say=said))) == 1600


def test_what_there_is_may_be_used(calls, tmp_path):
    path = m4a(tmp_path / "clip.m4a", say="[in#0 @ 0x5] partial file\n")
    with pytest.warns(AudioWarning, match=r"ffmpeg: partial file\); the 0.10 seconds that are there were read"):
        assert len(read_audio(path, allow_truncated=True)) == 1600


def test_whoever_stops_listening_ends_it(calls, tmp_path):
    with open_recording(m4a(tmp_path / "clip.m4a", bytes=10**7, hang=True)) as recording:
        assert len(recording.beginning(1000)) == 1000
    with pytest.raises(ProcessLookupError):
        os.kill(calls()[0]["pid"], 0)


@pytest.mark.parametrize(
    ("name", "command"),
    [("a b.m4a", "'a b.m4a' 'a b.wav'"), ("-y.wav", "./-y.wav ./-y.flac"), ("x:y.m4a", "./x:y.m4a ./x:y.wav")],
)
def test_without_it_the_command_that_converts_is_told(tmp_path, monkeypatch, name, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    m4a(tmp_path / name)
    with pytest.raises(AudioError) as problem:
        read_audio(name)
    assert str(problem.value).endswith(
        f"{name}: MP4 is read through ffmpeg, which is not on the PATH; where it is, this converts the file: ffmpeg -i {command}"
    )


def test_one_that_cannot_be_started(calls, tmp_path):
    (tmp_path / "bin" / "ffmpeg").write_bytes(b"\0\1\2")
    with pytest.raises(AudioError, match=r"clip\.m4a: ffmpeg cannot be started \(Exec format error: "):
        read_audio(m4a(tmp_path / "clip.m4a"))


def asf(size, *, flags=2):
    head = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(14)
    properties = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + struct.pack("<Q16sQ40xI", 104, b"", size, flags)
    return (head + properties).ljust(200, b"\0")


def box(kind, size=16):
    return struct.pack(">I4s", size, kind).ljust(16, b"\0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (box(b"ftyp") + box(b"mdat", 1000), "cut short: the header promises 1000 bytes in its box mdat, found 16"),
        (
            box(b"ftyp") + (struct.pack(">I4sQ", 1, b"mdat", 1000)),
            "cut short: the header promises 1000 bytes in its box mdat, found 16",
        ),
        ((box(b"ftyp") + box(b"moov")) * 2, "several recordings in one file"),
        (asf(300), "cut short: the header promises 300 bytes, found 200"),
        (asf(200) * 2, "several recordings in one file"),
        (b"RIFF" + struct.pack("<I", 92) + b"AVI LIST", "cut short: the header promises 100 bytes, found 16"),
        (box(b"ftyp") + box(b"mdat", 0), ""),
        (box(b"ftyp") + box(b"moov") + b"TAG" + bytes(125), ""),
        (asf(300, flags=1), ""),
        (asf(200) + bytes(50), ""),
        (b"RIFF" + bytes([255] * 4) + b"AVI LIST", ""),
    ],
)
def test_sizes_are_held_against_what_is_there(calls, tmp_path, content, message):
    (tmp_path / "clip").write_bytes(content)
    if not message:
        assert len(read_audio(tmp_path / "clip")) == 1600
        return
    with pytest.raises(AudioError, match=re.escape(message)):
        read_audio(tmp_path / "clip")
    assert not (tmp_path / "bin" / "calls").exists()


def test_a_folder_of_them_is_transcribed_and_what_is_no_sound_is_counted(calls, tmp_path, clips, capsys):
    folder = tmp_path / "speech"
    folder.mkdir()
    waveform = read_audio(clips / "three_one_four.wav")
    played(folder, waveform, 16000).rename(folder / "TALK.M4A")
    (folder / "played.au").rename(tmp_path / "played.au")
    m4a(folder / "TALK.M4A", play=str(tmp_path / "played.au"))
    for name in ("notes.txt", "more.txt", "README"):
        (folder / name).write_text("no sound")
    assert main(["transcribe", str(folder)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{folder}/TALK.M4A\t{sewnp.load('digits').transcribe(waveform)}\n"
    assert printed.err == "sewnp: left out 3 files that are no sound by name (2 .txt, 1 without suffix)\n"
    assert main(["transcribe", str(folder), "-q"]) == 0
    assert capsys.readouterr().err == ""
