"""A sound file is read to its end, whatever its header says, or refused with the reason."""

import ctypes
import io
import os
import struct
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sewnp.errors import AudioError, AudioWarning, InputError
from sewnp.speech import open_recording, read_audio, resample
from sewnp.speech.chatter import overheard
from sounds import encoded, noise

CLIPS = Path(__file__).parents[1] / "clips"
LOSSLESS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16"),
            ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("SVX", "PCM_16"), ("NIST", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24")]  # fmt: skip
LOSSY = [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610")]
INFO = 384  # bytes, of the frame that counts the others in the clip of MP3


def of(form, subtype="PCM_16", n=40_000, rate=16000, seed=0):
    return encoded(noise(n, seed=seed), rate, format=form, subtype=subtype)


def read(data, **options):
    return read_audio(io.BytesIO(data), **options)


def refused(data, why):
    with pytest.raises(AudioError, match=f"^audio file object: {why}"):
        read(data)


def spliced(data, start, new):
    return data[:start] + new + data[start + len(new) :]


def mp3():
    return (CLIPS / "two_seven_one.mp3").read_bytes()


ids = "-".join


# --- joined -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSSLESS + LOSSY, ids=ids)
def test_recordings_that_were_joined_are_read_one_after_the_other(kind):
    parts = [of(*kind, n=n, seed=n) for n in (20_000, 12_000, 8000)]
    expected = np.concatenate([read(part) for part in parts])
    np.testing.assert_array_equal(read(b"".join(parts)), expected)


def test_joined_recordings_may_differ_in_all():
    kinds = [
        ("MP3", "MPEG_LAYER_III", 44100),
        ("FLAC", "PCM_16", 16000),
        ("WAV", "PCM_24", 8000),
        ("OGG", "VORBIS", 48000),
        ("AIFF", "PCM_16", 16000),
    ]
    parts = [encoded(noise(30_000), rate, format=form, subtype=subtype) for form, subtype, rate in kinds]
    np.testing.assert_array_equal(read(b"".join(parts)), np.concatenate([read(part) for part in parts]))


def test_mp3_that_changes_its_rate_or_channels_is_read_on():
    rates = [
        encoded(noise(20_000, channels), rate, format="MP3") for rate, channels in ((16000, 1), (22050, 1), (22050, 2), (44100, 2))
    ]
    np.testing.assert_array_equal(read(b"".join(rates)), np.concatenate([read(part) for part in rates]))


def test_tags_between_recordings_are_no_sound():
    tags = [b"ID3\x04\0\0\0\0\0\x0a" + bytes(10), b"TAG" + b"x" * 125, b"APETAGEX" + struct.pack("<IIII8x", 2000, 32, 0, 0)]
    for tag in tags:
        expected = np.concatenate([read(mp3()), read(mp3())])
        np.testing.assert_array_equal(read(tags[0] + mp3() + tag + mp3() + tag), expected)
        np.testing.assert_array_equal(read(of("FLAC") + tag), read(of("FLAC")))


# --- sizes that nobody filled in, or not to the end -------------------------------------------------------------------------------

SIZES = {  # where the size of the sound stands in soundfile's files, in how many bytes, and how much it counts beside the sound
    "WAV": (40, "<I", 0),
    "AIFF": (42, ">I", 8),
    "AU": (8, ">I", 0),
    "W64": (96, "<Q", 24),
    "CAF": (4084, ">Q", 4),
    "RF64": (28, "<Q", 0),
}


def field_of(form):
    """The place of the size, checked, since it depends on what libsndfile writes before it."""
    data, (start, code, beside) = of(form), SIZES[form]
    assert struct.unpack_from(code, data, start)[0] == 80_000 + beside
    return start, code


@pytest.mark.parametrize("size", [0, 8, 2048, 0x7F000000, 0x7F000008, 0x7FFFF000, 2**31 - 1, 2_000_000_000, 2**32 - 1])
@pytest.mark.parametrize("form", SIZES)
def test_a_size_that_was_never_filled_in_is_that_of_all_there_is(form, size):
    """Pipes, and recorders that were killed."""
    start, code = field_of(form)
    if code.endswith("Q") and size > 2048:
        size = 2 ** {0x7F000000: 62, 2**31 - 1: 63}.get(size, 64) - 1 if size != 0x7F000000 else 2**62
    found = read(spliced(of(form), start, struct.pack(code, size)))
    np.testing.assert_array_equal(found[:40_000], read(of(form)))
    assert len(found) <= 40_004


def test_a_stale_riff_size_too():
    data = spliced(spliced(of("WAV"), 40, struct.pack("<I", 2048)), 4, struct.pack("<I", 2048 + 36))
    np.testing.assert_array_equal(read(data), read(of("WAV")))


def test_chunks_behind_the_sound_are_no_sound():
    chunk = b"LIST" + struct.pack("<I", 26) + b"INFOISFT\x0d\0\0\0Lavf59.27.100\0"
    for data in (of("WAV"), of("WAV", "PCM_U8", n=40_001)):
        for tail in (chunk, chunk * 2, chunk[:-7], bytes(1000), b"TAG" + bytes(125), chunk + b"junk"):
            np.testing.assert_array_equal(read(data + tail), read(data))
            np.testing.assert_array_equal(read(data + bytes(len(data) % 2) + tail), read(data))


def test_a_wave_that_lacks_no_more_than_its_header_is_whole():
    data = of("WAV")
    assert len(read(spliced(data, 40, struct.pack("<I", 80_044)))) == 40_000
    refused(spliced(data, 40, struct.pack("<I", 80_066)), "cut short: the header promises 80066 bytes of sound, found 80000$")


def test_rf64_that_knows_neither_size():
    """As ffmpeg writes it into a pipe."""
    form = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
    head = (
        b"RF64\xff\xff\xff\xffWAVEds64"
        + struct.pack("<I28x", 28)
        + b"fmt "
        + struct.pack("<I", 16)
        + form
        + b"data\xff\xff\xff\xff"
    )
    x = (noise(5000) * 2**15).astype("<i2")
    np.testing.assert_array_equal(read(head + x.tobytes()), x / np.float32(2**15))


@pytest.mark.parametrize(("form", "subtype"), [("MAT4", "PCM_16"), ("MAT5", "PCM_16"), ("AVR", "PCM_16"), ("MPC2K", "PCM_16"),
                                               ("WVE", "ALAW"), ("VOC", "PCM_16"), ("NIST", "PCM_16"), ("SVX", "PCM_16")])  # fmt: skip
def test_old_formats_that_were_cut_short_are_refused_too(form, subtype):
    data = of(form, subtype, rate=8000 if form == "WVE" else 16000)
    assert len(read(data)) == (80_000 if form == "WVE" else 40_000)
    refused(data[: len(data) * 6 // 10], "cut short: ")


# --- FLAC -------------------------------------------------------------------------------------------------------------------------


def counting(data, samples):
    """The FLAC with another number of samples in its header."""
    field = int.from_bytes(data[18:26], "big") & ~(2**36 - 1) | samples
    return spliced(data, 18, field.to_bytes(8, "big"))


@pytest.mark.parametrize("kind", [("FLAC", "PCM_16"), ("FLAC", "PCM_24")], ids=ids)
@pytest.mark.parametrize("samples", [0, 5, 39_999])
def test_flac_that_does_not_know_its_length(kind, samples):
    for n in (1, 5000, 40_000, 2_000_000):
        data = of(*kind, n=n)
        np.testing.assert_array_equal(read(counting(data, min(samples, n - 1))), read(data))


def test_flac_that_does_not_know_its_length_and_was_cut_short():
    data = counting(of("FLAC"), 0)
    for size in (len(data) - 1, len(data) - 700, len(data) // 2):
        refused(data[:size], "cut short: its last frame is incomplete$")
        with pytest.warns(AudioWarning, match="cut short: its last frame is incomplete; the .* seconds that are there were read"):
            found = read(data[:size], allow_truncated=True)
        np.testing.assert_array_equal(found, read(data)[: len(found)])
        assert len(found) % 4096 == 0
        assert len(found) > 40_000 * size / len(data) - 2 * 4096


def test_flac_whose_frames_do_not_begin_with_the_first_sample():
    """A part of a longer one."""
    data = of("FLAC")
    begin = [i for i in range(len(data) - 1) if data[i : i + 2] == data[86:88]]
    second = next(i for i in begin[1:] if data[i + 4] == 1)
    np.testing.assert_array_equal(read(counting(data[:86] + data[second:], 0)), read(data)[4096:])


def test_flac_whose_header_promises_more():
    refused(counting(of("FLAC"), 40_001), "cut short: the header promises 40001 samples, found 40000$")


def test_flac_with_junk_behind_it_is_whole():
    np.testing.assert_array_equal(read(of("FLAC") + b"\x05\xf3" * 500), read(of("FLAC")))


# --- Ogg --------------------------------------------------------------------------------------------------------------------------


def pages(data):
    places = [i for i in range(len(data)) if data[i : i + 5] == b"OggS\0"]
    return [data[a:b] for a, b in zip(places, [*places[1:], len(data)], strict=True)]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_that_lacks_pages_or_has_others_is_refused(subtype):
    data = of("OGG", subtype, n=200_000)
    whole = pages(data)
    assert len(whole) > 5
    refused(b"".join(whole[:-1]), "cut short: no page is marked as its last$")
    refused(b"".join(whole[:3] + whole[4:]), r"damaged: before byte \d+ pages are missing$")
    refused(b"".join([*whole[:3], b"junk" * 10, *whole[3:]]), r"damaged: 40 bytes from byte \d+ on are no page of it$")
    refused(spliced(data, len(data) // 2, b"junk"), r"damaged: the page at byte \d+ has another checksum than it says$")
    refused(data[:-1], "cut short: its last page is incomplete$")
    np.testing.assert_array_equal(read(data + bytes(5000)), read(data))


# --- MPEG audio -------------------------------------------------------------------------------------------------------------------


def test_mp3_without_a_count_is_read_to_its_end_where_quiet_follows_loud():
    """The decoder would guess the number of frames from the size of the first."""
    x = np.concatenate([noise(40_000), noise(160_000) * np.float32(1e-4)])
    data = encoded(x, 16000, format="MP3", bitrate_mode="VARIABLE")
    bare = data[data.index(data[:2], 4) :]  # without the frame that counts
    with soundfile.SoundFile(io.BytesIO(bare)) as file:
        assert file.frames < 150_000
    found = read(bare)
    assert 200_000 <= len(found) <= 200_000 + 4 * 576
    np.testing.assert_allclose(found[1105 : 1105 + 190_000], read(data)[:190_000], rtol=0, atol=1e-6)


@pytest.mark.parametrize("counted", [True, False])
def test_mp3_with_junk_inside_is_refused_or_read_around_it(counted):
    data = mp3()[0 if counted else INFO :]
    place = data.index(data[:2], len(data) // 2)
    junk = np.random.default_rng(0).integers(0, 255, 700, dtype=np.uint8).tobytes()  # no 0xFF
    for at in (place, place + 100):
        broken = data[:at] + junk + data[at:]
        refused(
            broken,
            r"damaged: (700 bytes from byte \d+ on are no MPEG audio|the frame at byte \d+ is incomplete|\d+ bytes from byte \d+ on)",
        )
        with pytest.warns(AudioWarning, match="damaged: .*; the 3.* seconds that are there were read"):
            found = read(broken, allow_truncated=True)
        assert abs(len(found) - len(read(data))) <= 2 * 1152


def test_mp3_without_a_count_that_was_cut_short():
    data = mp3()[INFO:]
    refused(mp3()[:-1], r"cut short: the header promises 149760 samples, found 148608$")
    refused(mp3()[:-96], r"cut short: the header promises 149760 samples, found 148608$")
    unsure = mp3().replace(b"LAME", b"some", 1)  # which may have counted one too many
    assert abs(len(read(unsure[:-96])) - len(read(mp3()))) <= 400
    refused(unsure[:-1], "cut short: its last frame is incomplete$")
    refused(data[:-100], "cut short: its last frame is incomplete$")
    refused(data + b"hello, this is no sound", r"damaged: 23 bytes from byte \d+ on are no MPEG audio$")
    assert len(read(data + bytes(4000))) == len(read(data))
    assert len(read(mp3() + b"hello, this is no sound")) == len(read(mp3()))  # all frames are there


@pytest.mark.parametrize(
    "content",
    [
        np.full(20_000, -1, "<i2").tobytes(),
        np.arange(-2, 30_000, dtype="<i2").tobytes(),
        (noise(20_000) * 50).astype("<i2").tobytes(),
        (noise(20_000) * 50 - 3).astype("<i2").tobytes(),
        b"\xff\xfb\x90\x64" * 5000,
        b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + b"hello" * 1000,
    ],
)
def test_samples_without_a_header_are_no_mpeg_audio(content, capfd):
    if content[:3] != b"ID3":
        content = b"\xff\xfe" + content
    refused(content, "not audio that can be decoded: it begins like MPEG audio, but no frames follow$")
    assert capfd.readouterr() == ("", "")


def broken_frames():
    """An MP3 with frames whose first bytes behind the header, which tell how to read them, make no sense."""
    data = mp3()
    place = data.index(data[INFO : INFO + 4], len(data) // 2)
    return data[: place + 4] + b"\xff" * 32 + data[place + 36 :]


def test_frames_that_cannot_be_decoded_are_an_error_and_nothing_reaches_the_terminal(capfd):
    refused(broken_frames(), r"damaged: it holds frames that cannot be decoded \(.+\)$")
    with pytest.warns(AudioWarning, match="damaged: it holds frames that cannot be decoded"):
        assert len(read(broken_frames(), allow_truncated=True)) == len(read(mp3()))
    assert capfd.readouterr() == ("", "")


def test_what_others_write_to_standard_error_meanwhile_is_passed_on(capfd):
    with overheard() as errors:
        os.write(2, b"somebody else\n[src/libmpg123/layer3.c:do_it():1] error: no\nNote: a hint\nthe end")
        os.write(1, b"a result\n")
        ctypes.CDLL(None).puts(b"alac_pakt_read_decode 855 : Ooops! count 3")  # which C keeps for later
    assert sorted(errors) == ["Ooops! count 3", "no"]
    assert capfd.readouterr() == ("a result\n", "somebody else\nthe end")


def test_alac_whose_table_of_packets_makes_no_sense(capfd):
    data = of("CAF", "ALAC_16")
    table = data.index(b"pakt") + 12 + 24
    refused(spliced(data, table, b"\xff" * 8), ".*(damaged|cut short)")
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr() == ("", "")


def test_midi_sample_dumps_are_not_read():
    refused(of("SDS"), "not audio that can be decoded: a MIDI sample dump$")


def test_a_child_that_is_forked_meanwhile_keeps_its_standard_error():
    import threading

    ready, go = threading.Event(), threading.Event()

    def hold():
        with overheard():
            ready.set()
            go.wait(1)

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    before = os.fstat(2).st_ino
    threading.Timer(0.2, go.set).start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:
        os._exit(os.fstat(2).st_ino == before)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert os.fstat(2).st_ino != before


# --- what is allowed --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSSLESS + LOSSY, ids=ids)
def test_what_is_there_of_a_file_that_was_cut_short_can_be_read(kind):
    data = of(*kind, n=60_000)
    whole, cut = read(data), data[: len(data) * 7 // 10]
    with pytest.raises(AudioError, match=r"^audio file object: cut short: "):
        read(cut)
    with pytest.warns(
        AudioWarning, match=r"^audio file object: cut short: .*; the \d\.\d\d seconds that are there were read$"
    ) as caught:
        found = read(cut, allow_truncated=True)
    assert len(caught) == 1
    assert 25_000 < len(found) < 50_000
    if kind in LOSSLESS:
        np.testing.assert_array_equal(found, whole[: len(found)])


@pytest.mark.parametrize("kind", LOSSLESS + LOSSY, ids=ids)
def test_whole_files_are_read_as_ever_where_others_are_allowed(kind):
    np.testing.assert_array_equal(read(of(*kind), allow_truncated=True), read(of(*kind)))


def test_every_way_in_is_treated_alike(tmp_path, monkeypatch):
    cut = of("FLAC")[:40_000]
    path = tmp_path / "cut.flac"
    path.write_bytes(cut)
    (tmp_path / "stale.wav").write_bytes(spliced(of("WAV"), 40, bytes(4)))
    reader, writer = os.pipe()
    os.write(writer, cut)
    os.close(writer)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(cut)))
    with os.fdopen(reader, "rb") as pipe:
        for source, name in ((path, "cut.flac"), ("-", "standard input"), (pipe, "audio file object")):
            with pytest.warns(
                AudioWarning, match=f"{name}: cut short: the header promises 40000 samples, found 20480; the 1.28 seconds"
            ):
                assert len(read_audio(source, allow_truncated=True)) == 20480
    assert len(read_audio(tmp_path / "stale.wav")) == 40_000


def test_one_warning_however_often_it_is_read():
    with open_recording(io.BytesIO(of("WAV")[:40_000]), allow_truncated=True) as recording:
        with pytest.warns(AudioWarning):
            recording.read()
        assert len(recording.read()) == 19_978  # and warnings are errors here


def test_nothing_is_not_allowed():
    for data in (b"", b"hello", of("WAV")[:40], of("WAV")[:44], of("FLAC")[:100], mp3()[:300]):
        with pytest.raises(AudioError):
            read(data, allow_truncated=True)


# --- bounds -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "subtype"), [("CAF", "ALAC_16"), ("WAV", "PCM_16")])
def test_rates_that_need_a_filter_longer_than_the_sound_are_refused_at_once(form, subtype):
    data = encoded(np.zeros(3_000_000, np.int16), 999_983, format=form, subtype=subtype)
    start = time.process_time()
    refused(data, "999983 Hz cannot be resampled to 16000 Hz: the filter would have 19,999,661 taps, expected 4,000,001 at most$")
    assert time.process_time() - start < 0.5
    with pytest.raises(InputError, match="original: 16000 Hz cannot be resampled to 999983 Hz"):
        resample(noise(10), 16000, 999_983)
    assert len(read(encoded(noise(10_000), 960_000, format="WAV"))) == 167


def test_many_recordings_in_one_file_are_bounded():
    small = of("AU", n=1)
    assert len(read(small * 100)) == 100
    refused(small * 10_001, "damaged: more than 10,000 recordings in one file$")


def test_what_looks_like_frames_everywhere_is_given_up():
    start = time.process_time()
    refused(mp3()[INFO:] + b"\xff\xfb\x90\x64" * 2_000_000, "damaged: 100,000 places in it look like MPEG audio and are none$")
    assert time.process_time() - start < 5
