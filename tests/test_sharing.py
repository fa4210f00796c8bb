"""Clips of one process that share the network's products: what comes out is what each gives alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sewnp
from sewnp import sharing, transcribe_many
from sewnp.speech import read_audio

NAMES = ("three_one_four.wav", "eight_six_seven.flac", "two_seven_one.mp3")


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The samples of what is run together, call by call."""
    seen: list[list[int]] = []
    together = sewnp.Model._logits_together

    def spy(model: sewnp.Model, prepared: Any) -> Any:
        seen.append([x.shape[1] for x in prepared])
        return together(model, prepared)

    monkeypatch.setattr(sewnp.Model, "_logits_together", spy)
    return seen


def said(transcript: Any) -> list[tuple[str, float, float]]:
    assert transcript is not None
    return [(word.text, word.start, word.end) for word in transcript.words]


@pytest.mark.parametrize("segment", [False, True])
def test_the_same_words_at_the_same_times(clips: Path, digits: sewnp.Model, segment: bool, batches: list[list[int]]) -> None:
    waves = [read_audio(clips / name) for name in NAMES]
    pause = np.zeros(16000, np.float32)
    given: list[Any] = [
        clips / NAMES[0],
        np.concatenate([waves[0], pause, waves[1], pause, waves[2]]),
        clips / NAMES[1],
        np.zeros(9, np.float32),
    ]
    results = list(transcribe_many(given, model=digits, segment=segment))
    assert [result.index for result in results] == [0, 1, 2, 3]
    for audio, result in zip(given, results, strict=True):
        alone = digits.transcribe(audio, segment=segment)
        assert result.transcript is not None
        assert result.transcript.text == alone.text
        assert said(result.transcript) == said(alone)
        assert result.seconds > 0
    assert [len(batch) for batch in batches] == [3]  # the last is too short to ask for anything, and who asks again is alone then


def test_who_shares_depends_on_the_clips_alone_and_memory_on_neither(
    digits: sewnp.Model, batches: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "SECONDS", 1.0)
    drawn = 0

    def endless() -> Iterator[Any]:
        nonlocal drawn
        for drawn in range(1, 10**6):
            yield np.random.default_rng(drawn).normal(size=6000).astype(np.float32)

    results = transcribe_many(endless(), model=digits, in_flight=2)
    assert [next(results).index for _ in range(4)] == [0, 1, 2, 3]
    assert (drawn, batches) == (4, [[6000, 6000]] * 2)
    batches.clear()
    results = transcribe_many(endless(), model=digits)
    assert [next(results).index for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    assert batches == [[6000] * 3] * 2  # two are less than a second


def test_errors_are_each_clips_own(clips: Path, digits: sewnp.Model) -> None:
    def given() -> Iterator[Any]:
        yield clips / NAMES[0]
        yield clips / "gone.wav"
        yield np.full(16000, np.nan, np.float32)
        yield [clips / NAMES[0], clips / NAMES[1]]
        yield clips / NAMES[1]
        raise ZeroDivisionError("the list")

    results = transcribe_many(given(), model=digits)
    found = [next(results) for _ in range(5)]
    assert [result.error is None for result in found] == [True, False, False, False, True]
    assert str(found[1].error) == f"{clips / 'gone.wav'}: no such file"
    assert "expected one clip, found a list of 2" in str(found[3].error)
    with pytest.raises(ZeroDivisionError, match="the list"):
        next(results)


def test_where_running_together_fails_each_is_run_alone(clips: Path, digits: sewnp.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise MemoryError("together")

    monkeypatch.setattr(sewnp.Model, "_logits_together", fails)
    results = list(transcribe_many([clips / name for name in NAMES], model=digits))
    for name, result in zip(NAMES, results, strict=True):
        assert result.transcript == digits.transcribe(clips / name)


def test_the_textbook_does_not_share(clips: Path, batches: list[list[int]]) -> None:
    plain = sewnp.load("digits", engine="textbook")
    (result,) = transcribe_many([clips / NAMES[0]], model=plain)
    assert result.transcript == plain.transcribe(clips / NAMES[0])
    assert batches == []
