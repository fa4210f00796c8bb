"""Sound that is still arriving: what is said of it, piece by piece, is what is said of it as a whole."""

import re
import tracemalloc
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sewnp
from sewnp.config import SEWConfig
from sewnp.decoding import BeamSearch
from sewnp.errors import AudioError, AudioWarning, InputError
from sewnp.speech import CTCTokenizer, FeatureExtractor, read_audio
from sewnp.streaming import stream
from sounds import noise

CLIPS = Path(__file__).parent / "clips"
RATE = 16000
PROPERTY = settings(derandomize=True, deadline=None, max_examples=25)


class Remembering:
    """A model that runs each piece of sound once."""

    def __init__(self, model):
        self.model, self.config, self.feature_extractor, self.known = model, model.config, model.feature_extractor, {}
        self.name, self.head, self.tokenizer = model.name, model.head, model.tokenizer

    def recording_logits(self, recording, **options):
        key = recording.read().tobytes()
        if key not in self.known:
            self.known[key] = self.model.recording_logits(recording, **options)
        return self.known[key]


@pytest.fixture(scope="module")
def remembering():
    return Remembering(sewnp.load("digits"))


@pytest.fixture(scope="module")
def paused():
    """Three clips with pauses, then half a minute without any, which is cut at a quiet place."""
    clips = [read_audio(CLIPS / name) for name in ("three_one_four.wav", "eight_six_seven.flac", "two_seven_one.mp3")]
    pause = np.zeros(RATE, np.float32)
    return np.concatenate([pause, *(part for clip in clips for part in (clip, pause)), *clips, *clips, *clips])


@pytest.fixture(scope="module")
def given_as(paused, remembering):
    """Sounds as they may be given, with their rates, and what is said of each as a whole."""
    whole = (paused * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
    sounds = [(paused, None), (whole, RATE), (whole[::2].copy(), RATE // 2), (paused[: 9 * RATE].astype(np.float64), 22050)]
    return [(x, rate, remembering.model.transcribe(x, sampling_rate=rate, segment=True, decoder="greedy")) for x, rate in sounds]


def cut(x, sizes):
    """The sound in blocks of these sizes, again and again."""
    done = 0
    for size in cycle(sizes):
        yield x[done : done + size]
        done += size
        if done >= len(x):
            return


@PROPERTY
@given(st.integers(0, 3), st.lists(st.integers(0, 2**16), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 300))
def test_joined_the_segments_are_the_transcript(remembering, given_as, which, sizes):
    x, rate, whole = given_as[which]
    before = x.tobytes()
    segments = list(stream(remembering, cut(x, sizes), sampling_rate=rate, decoder="greedy"))
    assert len(segments) > 1
    assert " ".join(map(str, segments)) == whole.text
    assert tuple(word for segment in segments for word in segment.words) == whole.words  # with times, probabilities and characters
    assert x.tobytes() == before
    ends = [0.0, *(segment.duration for segment in segments)]
    for end, segment in zip(ends, segments, strict=False):
        assert end <= segment.start == segment.words[0].start < segment.words[-1].end == segment.end <= segment.duration
        assert 0 < segment.confidence <= 1
    assert segments[-1].duration <= whole.duration


def test_times_are_those_of_the_stream():
    """A model that hears A in every frame."""
    config, tokenizer = SEWConfig(vocab_size=3), CTCTokenizer.from_files({"<pad>": 0, "|": 1, "A": 2})

    def logits(recording, **_):
        samples = len(recording.read())
        return np.tile(np.float32([1, 2, 3]), (config.frames(samples), 1)), samples

    kept = {"name": "A", "head": "ctc", "tokenizer": tokenizer, "feature_extractor": FeatureExtractor()}
    model = SimpleNamespace(config=config, recording_logits=logits, **kept)
    loud, silence = noise(RATE), np.zeros(RATE, np.float32)
    found = list(stream(model, cut(np.concatenate([silence, loud, silence, silence, loud]), [777])))
    assert [(segment.text, segment.start, segment.end, segment.duration) for segment in found] == [
        ("A", 0.84, 2.14, 2.16),  # 0.15 s, in frames of 20 ms, to either side; the last would need what follows
        ("A", 3.84, 4.98, 5.0),
    ]


def test_a_model_streams_with_its_own_options(digits, paused):
    x = paused[: 9 * RATE]
    options = {"window": 1.5, "overlap": 0.2}
    assert " ".join(map(str, digits.stream([x], **options))) == digits.transcribe(x, segment=True, **options).text
    spelled = [segment.decoder for segment in digits.stream([x], decoder=BeamSearch(beam_width=2))]
    assert spelled == [str(BeamSearch(beam_width=2))] * len(spelled) != []
    whole, segments = digits.transcribe(x, segment=True), list(digits.stream([x]))
    assert [segment.decoder for segment in segments] == [whole.decoder] * len(segments) != []
    assert tuple(word for segment in segments for word in segment.words) == whole.words
    with np.errstate(all="raise"):
        assert [str(segment) for segment in digits.stream([x])] == [str(segment) for segment in digits.stream(cut(x, [999]))]
        assert np.geterr() == dict.fromkeys(np.geterr(), "raise")


def test_a_segment_comes_as_soon_as_it_has_ended(remembering, paused):
    """A second of silence behind it, and five more of the noise around its last frame."""
    taken = 0

    def blocks():
        nonlocal taken
        for block in cut(np.concatenate([paused[: 5 * RATE], np.zeros(60 * RATE, np.float32)]), [RATE // 10]):
            taken += len(block)
            yield block

    first = next(stream(remembering, blocks()))
    last = first.duration - 0.15  # the pause that stays with it
    assert 6 < taken / RATE - last < 6.5


def test_what_is_held_does_not_grow(remembering):
    """Ten minutes of noise that comes and goes, in blocks of which nobody keeps one."""
    nothing = (np.zeros((0, 32), np.float32), 0)
    still = Remembering(remembering.model)
    still.recording_logits = lambda recording, **_: nothing
    burst = np.concatenate([noise(RATE), np.zeros(2 * RATE, np.float32)])

    def most(seconds):
        tracemalloc.start()
        assert list(stream(still, islice(cycle([burst]), seconds // 3))) == []
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    most(30)
    assert most(600) < 1.2 * most(60)


def test_closing_leaves_the_blocks_where_they_are(remembering, paused):
    blocks = cut(paused, [RATE])
    segments = stream(remembering, blocks)
    assert next(segments).words
    segments.close()
    assert list(segments) == []
    assert len(next(blocks)) == RATE  # not closed with it: the caller's
    assert list(stream(remembering, [])) == list(stream(remembering, [[], np.zeros(0)])) == []


NAN = np.array([0.0, np.nan, np.inf], np.float32)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.zeros((100, 2), np.float32), r"blocks\[1\]: expected one channel \(samples,\), found shape \(100, 2\)"),
        (np.zeros((0, 2), np.float32), r"blocks\[1\]: expected one channel"),
        (0.5, r"blocks\[1\]: expected one channel \(samples,\), found shape \(\)"),
        (NAN, r"blocks\[1\]: 2 of 3 samples are NaN or infinite in float32, the first at sample 1"),
        (np.zeros(3, np.int64), r"blocks\[1\]: expected floats .* found int64"),
        ("words", r"blocks\[1\]: expected floats"),
        ([[0.0], [0.0, 1.0]], r"blocks\[1\]: expected an array of samples"),
    ],
)
def test_a_block_that_is_none(remembering, block, message):
    segments = stream(remembering, iter([np.zeros(RATE), block]))
    with pytest.raises(AudioError, match=message):
        next(segments)
    assert list(segments) == []


@pytest.mark.parametrize(
    ("blocks", "options", "message"),
    [
        ("clip.wav", {}, "blocks: expected an iterable of arrays, found 'clip.wav'; transcribe takes"),
        (np.zeros(3), {}, "blocks: expected an iterable of arrays"),
        (None, {}, "blocks: expected an iterable of arrays, found None"),
        ([], {"sampling_rate": 0}, "sampling_rate: expected"),
        ([], {"sampling_rate": 999_983}, "sampling_rate: 999983 Hz cannot be resampled"),
        ([], {"window": 1.0, "overlap": 1.0}, "window: expected more than twice the overlap"),
        ([], {"decoder": "beam"}, "decoder: expected a BeamSearch, 'greedy' or None, found 'beam'"),
    ],
)
def test_what_is_wrong_with_the_arguments_is_said_at_once(digits, blocks, options, message):
    with pytest.raises(InputError, match=message):
        digits.stream(blocks, **options)


def test_a_model_without_a_ctc_head():
    with pytest.raises(InputError, match="transcribing needs a CTC head"):
        sewnp.load("digit-words").stream([])


def test_integers_without_a_rate_are_warned_of_once(remembering):
    with pytest.warns(AudioWarning, match="int16 samples without a sampling_rate are taken for 16000 Hz") as told:
        assert list(stream(remembering, [np.zeros(RATE, np.int16)] * 3)) == []
    assert len(told) == 1


def test_the_page_of_streams_shows_what_is_printed(monkeypatch, capsys):
    monkeypatch.chdir(CLIPS.parent)
    page = (CLIPS.parents[1] / "docs" / "long-recordings.md").read_text(encoding="utf-8")
    ((code, printed),) = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out == printed
