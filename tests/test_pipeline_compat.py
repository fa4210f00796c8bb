"""compat="transformers" against the pipeline itself: the embedded models, saved by us and loaded by it, on clips joined to longer ones."""

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import sewnp
from sewnp.errors import AudioError, InputError
from sewnp.long import pipeline_logits
from sewnp.speech import open_recording, read_audio

CLIPS = Path(__file__).parent / "clips"
torch.set_num_threads(1)

CASES = [
    ("digits", "odd", 4.0, None),  # a sixth to each side
    ("digits-d", "even", 4.0, None),
    ("digits", "even", 3.0, (0.5, 0.25)),
    ("digits-d", "odd", 2.0, (0.0, 0.5)),
    ("digits", "odd", 2.5, (0.6, 0.0)),
    ("digits", "even", 0.5, 0.0),  # a frame lost in every chunk, and the times drift
    ("digits-d", "odd", 2.0, 0.0),
    ("digits", "odd", 3.333, 0.777),  # no whole frames
    ("digits", "even", 20.0, 2.0),  # longer than the clip
    ("digits-d", "odd", None, None),  # without chunks
    ("digits", "even", None, None),
]


@cache
def joined(name):
    """Clips with pauses between them, nearly ten seconds: whole half seconds, or an odd number of samples."""
    rng = np.random.default_rng(0)
    pause = (rng.standard_normal(3210) * 1e-3).astype(np.float32)
    parts = {
        "even": ["three_one_four.wav", "two_seven_one.mp3", "eight_six_seven.flac"],
        "odd": ["counting.ogg", "eight_six_seven.flac", "three_one_four.wav"],
    }[name]
    x = np.concatenate([part for clip in parts for part in (read_audio(CLIPS / clip), pause)])
    x = x[: len(x) // 8000 * 8000]
    return x if name == "even" else x[:-3111]


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    """Name -> our model, and their pipeline around the same weights."""
    built = {}
    for name in ("digits", "digits-d"):
        folder = tmp_path_factory.mktemp("models") / name
        model = sewnp.load(name)
        model.save(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = transformers.pipeline(
                "automatic-speech-recognition",
                model=transformers.AutoModelForCTC.from_pretrained(folder),
                tokenizer=transformers.Wav2Vec2CTCTokenizer.from_pretrained(folder),
                feature_extractor=transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder),
                device="cpu",
            )
        built[name] = model, theirs
    return built


def spans(items):
    return [(item.text, item.start, item.end) for item in items]


def said(result):
    return [(chunk["text"], *chunk["timestamp"]) for chunk in result["chunks"]]


@pytest.mark.parametrize(("name", "clip", "chunk", "stride"), CASES)
def test_text_and_times_are_the_pipelines(pipelines, name, clip, chunk, stride):
    model, theirs = pipelines[name]
    ours = model.transcribe(joined(clip), compat="transformers", window=chunk, overlap=stride)
    asked = {"chunk_length_s": chunk or 0} | ({} if stride is None else {"stride_length_s": stride})
    words = theirs(joined(clip), return_timestamps="word", **asked)
    characters = theirs(joined(clip), return_timestamps="char", **asked)
    assert words["text"] == ours.text != ""
    assert said(words) == spans(ours.words)  # the very same floats
    assert said(characters) == spans(ours.characters)


def test_without_chunks_it_is_the_plain_way(digits):
    """The pipeline passes a mask of ones there, which changes nothing."""
    assert digits.transcribe(joined("odd"), compat="transformers") == digits.transcribe(
        joined("odd"), segment=False, decoder="greedy"
    )
    x = digits.features(joined("odd")).input_values
    np.testing.assert_array_equal(digits(x).logits, digits(x, attention_mask=np.ones_like(x)).logits)


@pytest.mark.parametrize("more", [-320, -161, -160, -1, 0, 1, 160, 161, 320])
def test_lengths_around_the_end_of_a_chunk(pipelines, more):
    """A chunk that ends with the clip is the last; a sample more, and there is another."""
    model, theirs = pipelines["digits"]
    chunk, stride = 1.0, 0.2
    x = joined("even")[: 16000 + 2 * 9600 + more]
    ours = model.transcribe(x, compat="transformers", window=chunk, overlap=stride)
    result = theirs(x.copy(), chunk_length_s=chunk, stride_length_s=stride, return_timestamps="word")
    assert (result["text"], said(result)) == (ours.text, spans(ours.words))


def test_zero_strides_lose_a_frame_in_every_chunk(digits):
    """The quirk itself: 20 chunks of 8000 samples have 24 frames each where the whole has 499, so words come ever earlier."""

    def run(x):
        return np.zeros((digits.config.frames(len(x)), 32))

    with open_recording(joined("even")) as recording:
        for chunk, stride, frames in ((None, None, 499), (0.5, 0.0, 480), (0.5, 0.1, 499)):
            logits, samples = pipeline_logits(recording, run, hop=320, rate=16000, chunk=chunk, stride=stride)
            assert (len(logits), samples) == (frames, 160_000)


def test_what_both_refuse(pipelines):
    model, theirs = pipelines["digits"]
    x = joined("even")
    for chunk, stride, message in ((1.0, 0.6, "superior to stride"), (1.0, 0.5, "must not be zero")):
        with pytest.raises(ValueError, match=message):
            theirs(x, chunk_length_s=chunk, stride_length_s=stride)
        with pytest.raises(InputError, match="window: expected more than its overlaps, found 16000 samples"):
            model.transcribe(x, compat="transformers", window=chunk, overlap=stride)
    with pytest.raises(RuntimeError, match="size"):
        theirs(x[:16300], chunk_length_s=1.0, stride_length_s=0.0)  # a last chunk of 300 samples
    with pytest.raises(AudioError, match=r"audio: input_values: expected at least 1 clip and 720 samples, found shape \(1, 300\)"):
        model.transcribe(x[:16300], compat="transformers", window=1.0, overlap=0.0)
    with pytest.raises(InputError, match="overlap: expected only with a window"):
        model.transcribe(x, compat="transformers", overlap=1.0)
    with pytest.raises(InputError, match="compat: expected 'transformers' or None, found 'whisper'"):
        model.transcribe(x, compat="whisper")
