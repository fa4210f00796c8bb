"""Where somebody speaks: judged by a naive loop over the whole recording, whatever the blocks it comes in."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sewnp.errors import InputError
from sewnp.speech import speech_segments

PROPERTY = settings(derandomize=True, deadline=None, max_examples=60)
RATE, FRAME = 1000, 20


def naive(
    x,
    *,
    threshold=10.0,
    min_speech_duration=0.1,
    min_silence_duration=0.5,
    edge_silence_duration=1.0,
    speech_pad=0.15,
    max_speech_duration=20.0,
):
    """(start, end) in samples, from all frames at once."""
    knobs = (min_speech_duration, min_silence_duration, edge_silence_duration, speech_pad, max_speech_duration)
    least, silence, edge, pad, longest = (round(seconds * RATE / FRAME) for seconds in knobs)
    least, silence, longest = max(least, 1), max(silence, 1), max(longest, 2)
    edge, pad = max(edge, silence), min(pad, silence // 2)
    count = max(1, len(x) // FRAME) if len(x) else 0
    power = [float(np.var(x[i * FRAME : (i + 1) * FRAME].astype(np.float64))) for i in range(count)]
    near, far = round(0.05 * RATE / FRAME), round(5 * RATE / FRAME)
    level = []
    for i in range(count):
        around = power[max(0, i - near) : i + near + 1]
        level.append(sum(around) / len(around))
    loud = []
    for i in range(count):
        around = level[max(0, i - far) : i + far + 1]
        ever = max(level[: i + far + 1])
        ratio = 10 ** (threshold / 10)
        quiet = min(max(min(around) * ratio, max(around) / 1e4), ever / ratio)
        loud.append(power[i] > (1e-9 if ever < min(around) * 10**3.5 else max(quiet, 1e-9)))

    runs = []
    for i in range(count):
        if loud[i] and (i == 0 or not loud[i - 1]):
            runs.append([i, i])
        if loud[i]:
            runs[-1][1] = i
    spoken = []
    for begin, last in runs:
        if last - begin + 1 < least:
            continue
        if spoken and begin - spoken[-1][1] - 1 < silence:
            spoken[-1][1] = last
        else:
            spoken.append([begin, last])

    found = []
    for i, (begin, last) in enumerate(spoken):
        start = 0 if i == 0 and begin < edge else begin - pad
        while last - start >= longest:
            places = range(start + longest // 2, start + longest + 1)
            quietest = min(level[place] for place in places)
            cut = max(place for place in places if level[place] == quietest)
            found.append((start, cut))
            start = cut
        end = count if i == len(spoken) - 1 and count - 1 - last < edge else last + 1 + pad
        found.append((start, end))
    return [(start * FRAME, len(x) if end == count else end * FRAME) for start, end in found]


def sound(parts, seed=0):
    """Noise of so many frames each and so loud, as float32."""
    rng = np.random.default_rng(seed)
    noises = [np.float32(loud) * rng.standard_normal(samples, np.float32) for samples, loud in parts]
    return np.concatenate([np.zeros(0, np.float32), *noises])


def spans(x, blocks=None, **knobs):
    """(start, end) in samples; the samples themselves are those of the recording."""
    found = []
    for segment in speech_segments([x] if blocks is None else blocks, rate=RATE, frame=FRAME, **knobs):
        end = segment.start + len(segment.waveform)
        assert segment.waveform.tobytes() == x[segment.start : end].tobytes()
        found.append((segment.start, end))
    return found


recordings = st.builds(
    sound,
    st.lists(st.tuples(st.integers(1, 1500), st.sampled_from([0.0, 1e-6, 1e-4, 1e-3, 3e-3, 1e-2, 1e-1, 1.0])), max_size=12),
    st.integers(0, 5),
)
knobs = st.fixed_dictionaries(
    {},
    optional={
        "threshold": st.sampled_from([0.0, 3.0, 20.0]),
        "min_speech_duration": st.sampled_from([0.0, 0.02, 0.15]),
        "min_silence_duration": st.sampled_from([0.3, 0.7, 2.0]),
        "edge_silence_duration": st.sampled_from([0.0, 0.5, 3.0]),
        "speech_pad": st.sampled_from([0.0, 0.02, 0.1]),
        "max_speech_duration": st.sampled_from([0.4, 1.0, 3.0]),
    },
)


@PROPERTY
@given(recordings, knobs, st.data())
def test_segments_are_those_of_a_naive_loop_wherever_blocks_end(x, knobs, data):
    places = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=20)))
    expected = naive(x, **knobs)
    assert spans(x, **knobs) == expected
    assert spans(x, np.split(x, places), **knobs) == expected


@PROPERTY
@given(recordings)
def test_segments_are_in_order_and_not_too_long(x):
    found = spans(x, max_speech_duration=2.0)
    assert all(start % FRAME == 0 and start < end for start, end in found)
    assert all(end <= start for (_, end), (start, _) in pairwise(found))
    assert all(end - start <= 3.0 * RATE + FRAME for start, end in found)


@pytest.mark.parametrize("noise", [0.0, 1e-4, 4e-3])
def test_words_are_cut_at_their_pauses_and_keep_an_edge(noise):
    word, pause = (400, 0.3), (1000, noise)
    x = sound([pause, word, pause, word, (300, noise), word, pause])
    # 0.15 s, which is 8 frames, to either side; 0.3 s are no pause
    assert spans(x) == [(840, 1560), (2240, 3660)]


@pytest.mark.parametrize("edge", [0, 200, 480, 980])
def test_a_recording_without_pauses_is_one_segment_to_its_last_sample(edge):
    x = sound([(edge, 1e-3), (3333, 0.3), (edge, 1e-3)])
    assert spans(x) == [(0, len(x))]


@pytest.mark.parametrize("loud", [1e-4, 0.01, 1.0])
def test_a_steady_sound_is_not_its_own_noise(loud):
    assert spans(sound([(12_000, loud)])) == [(0, 12_000)]  # a vowel, a chord, a hiss: it is not for us to say that it is no speech
    tone = np.float32(loud) * np.sin(np.arange(12_000, dtype=np.float32))
    assert spans(tone) == [(0, 12_000)]


def test_noise_after_speech_is_a_pause_however_long_it_lasts():
    x = sound([(2000, 0.3), (60_000, 0.004), (2000, 0.3)])
    assert spans(x) == [(0, 2160), (61_840, 64_000)]


def test_what_is_said_in_noise_is_one_segment():
    """Each piece alone would be read worse."""
    words = [(400, 0.3), (1000, 0.1)] * 4
    assert spans(sound(words)) == [(0, 5600)]
    assert len(spans(sound(words), max_speech_duration=2.0)) > 2


def test_the_floor_follows_a_noise_that_grows():
    quiet, noisy = [(400, 0.02), (1000, 3e-4)] * 10, [(400, 1.3), (1000, 0.02)] * 10
    found = spans(sound([*quiet, *noisy]))  # the noise of the second half is as loud as the words of the first
    assert found[:9] == [(max(0, 1400 * i - 160), 1400 * i + 560) for i in range(9)]
    assert found[-6:] == [(1400 * i - 160, 1400 * i + 560) for i in range(14, 20)]  # five seconds later it is known


@pytest.mark.parametrize("x", [np.zeros(0), np.zeros(5), np.zeros(30_000), np.full(30_000, 0.7), sound([(30_000, 1e-5)])])
def test_silence_has_no_segments(x):
    assert spans(x.astype(np.float32)) == []  # an offset and the last bit of 16 are silence too


def test_a_click_in_a_pause_is_none():
    x = sound([(1000, 0.1), (1000, 1e-4), (60, 0.5), (1000, 1e-4), (1000, 0.1)])
    assert spans(x) == [(0, 1160), (2900, 4060)]


def test_a_long_piece_is_cut_at_its_quietest_place():
    x = sound([(1700, 0.3), (100, 0.1), (1200, 0.3)])
    assert spans(x, max_speech_duration=2.0) == [(0, 1740), (1740, 3000)]


def test_memory_does_not_grow():
    word, pause = np.ones(8000, np.float32), np.zeros(16_000, np.float32)
    word[::2] = -1

    def blocks(count):
        for _ in range(count):
            yield word.copy()
            yield pause.copy()

    def peak(count):
        tracemalloc.start()
        try:
            found = sum(1 for _ in speech_segments(blocks(count), rate=16_000, frame=320))
            return found, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    (few, small), (many, large) = peak(20), peak(160)
    assert (few, many) == (20, 160)
    assert large < 1.2 * small < 3e6


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ({"rate": 0}, "rate: expected a whole number"),
        ({"frame": 1.5}, "frame: expected a whole number"),
        ({"threshold": -1.0}, "threshold: expected dB from 0 to 40, found -1.0"),
        ({"min_silence_duration": float("nan")}, "min_silence_duration: expected seconds"),
        ({"max_speech_duration": "long"}, "max_speech_duration: expected seconds"),
        ({"edge_silence_duration": -1}, "edge_silence_duration: expected seconds"),
        ({"speech_pad": 0.3}, "speech_pad: expected at most half of min_silence_duration, found 0.3 and 0.5 seconds"),
        (
            {"min_speech_duration": 12.0},
            "min_speech_duration: expected at most half of max_speech_duration, found 12 and 20 seconds",
        ),
    ],
)
def test_knobs_that_make_no_sense_are_refused(knob, message):
    with pytest.raises(InputError, match=message):
        list(speech_segments([np.zeros(100, np.float32)], **{"rate": RATE, "frame": FRAME} | knob))
