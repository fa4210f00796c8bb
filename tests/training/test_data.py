"""Which clips there are, what is said in them, who is held out, and what comes together."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sewnp.errors import AudioError, ConfigError, ManifestError
from sewnp.speech import audio_seconds, read_audio
from sewnp.training import (
    Clip,
    ClipSet,
    Example,
    Join,
    Recipe,
    Source,
    batches,
    epoch_examples,
    plan_epoch,
    read_sources,
    recipe_from_dict,
)
from sewnp.training.data import fingerprint


def recipe(*sources: dict[str, Any], **values: Any) -> Recipe:
    return recipe_from_dict({"model": "digits", "data": list(sources)} | values)


def read(folder: Path, *sources: dict[str, Any], **values: Any) -> tuple[list[ClipSet], Any]:
    return read_sources(recipe(*sources, **values), folder)


def of(seconds: list[float], **columns: str) -> tuple[Clip, ...]:
    """Clips that are nowhere."""
    return tuple(Clip(Path(f"{i}.wav"), f"{i}.wav", f"T{i}", s, columns) for i, s in enumerate(seconds))


def test_a_manifest(data: Path) -> None:
    (one,), held = read(data, {"path": "clips"})
    assert [clip.text for clip in one.clips] == ["A", "B A", "AB", "B", "BA A", "A B"]
    assert [clip.columns["speaker"] for clip in one.clips] == ["ann", "bob", "cem"] * 2
    assert one.clips[1].seconds == pytest.approx(0.15)
    assert held == []


def test_speakers_held_out_are_validated_with_once(data: Path) -> None:
    sources = {"path": "clips"}, {"path": "clips", "keep": "A.*"}, {"path": "clips", "validate": False}
    (one, kept, other), held = read(data, *sources, hold_out={"speaker": ["cem", "dan"]})
    assert [clip.name for clip in one.clips] == ["0.wav", "1.wav", "3.wav", "4.wav"] == [clip.name for clip in other.clips]
    assert [clip.text for clip in kept.clips] == ["A"]
    assert [utterance.audio.name for utterance in held] == ["2.wav", "5.wav"]
    _, none = read(data, {"path": "clips", "validate": False}, hold_out={"speaker": ["cem"]})
    assert none == []
    _, told = read(data, {"path": "clips"}, eval=["clips"])
    assert len(told) == 6


def test_names_that_say_it_all(data: Path) -> None:
    (data / "clips" / "manifest.tsv").unlink()
    soundfile.write(data / "clips" / "7_ann.wav", np.zeros(1600), 16000)
    pattern = r"(?P<text>\d)(_(?P<speaker>\w+))?\.wav"
    (one,), _ = read(data, {"path": "clips", "files": pattern, "texts": {"0": "ZERO", "7": "seven"}})
    assert [(clip.name, clip.text) for clip in one.clips][::6] == [("0.wav", "ZERO"), ("7_ann.wav", "SEVEN")]
    assert [dict(clip.columns) for clip in one.clips][::6] == [{"text": "0"}, {"text": "7", "speaker": "ann"}]
    (noise,), _ = read(data, {"path": "noise", "files": r".*\.wav", "text": ""})
    assert [clip.text for clip in noise.clips] == [""]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ({"path": "clips", "keep": "NO"}, ConfigError, "data: clips: expected clips to train on, found none that are kept"),
        ({"path": "clips", "files": "none"}, ConfigError, "data: clips: expected clips to train on, found none that are kept"),
        ({"path": "noise", "files": ".*"}, ManifestError, "noise: hum.wav: expected a column text, sentence"),
        ({"path": "clips", "files": "("}, ConfigError, "data.files: expected a regular expression, found '('"),
        ({"path": "clips", "join": {"pause": [-1, 1]}}, ConfigError, "data[0].join.pause: expected two numbers from 0 on"),
        ({"path": "clips", "join": {"clips": [0, 1]}}, ConfigError, "data[0].join.clips: expected two numbers from 1 on"),
        ({"path": "clips", "span": [0.5, 0.5]}, ConfigError, "data[0].span: expected two shares from 0 to 1, the smaller first"),
        ({"path": "clips", "time": 2}, ConfigError, "data[0].time: unknown"),
        ({}, ConfigError, "data[0].path: expected a value"),
    ],
)
def test_sources_that_make_no_sense(source: dict[str, Any], error: type[Exception], message: str, data: Path) -> None:
    with pytest.raises(error, match=re.escape(message)):
        read(data, source)


def test_what_is_no_audio_is_said_at_once(data: Path) -> None:
    (data / "clips" / "2.wav").write_text("no sound")
    for hold_out in ({}, {"speaker": ["cem"]}):
        with pytest.raises(AudioError, match=r"2\.wav: not audio"):
            read(data, {"path": "clips"}, hold_out=hold_out)


def test_a_fingerprint_of_the_clips(data: Path) -> None:
    whole, _ = read(data, {"path": "clips"})
    assert fingerprint(whole) == fingerprint(read(data, {"path": "clips"})[0])
    fewer, _ = read(data, {"path": "clips"}, hold_out={"speaker": ["bob"]})
    twice, _ = read(data, {"path": "clips"}, {"path": "clips"})
    assert len({fingerprint(each) for each in (whole, fewer, twice)}) == 3


def test_how_often_clips_come() -> None:
    for times, least, most in ((1.0, 1, 1), (2.5, 2, 3), (0.25, 0, 1)):
        one = ClipSet(Source("a", times=times), of([1.0] * 40))
        examples = epoch_examples([one], done=0.0, rng=np.random.default_rng(0))
        counts = [sum(example.clips == (clip,) for example in examples) for clip in one.clips]
        assert len(examples) == round(40 * times)
        assert (min(counts), max(counts)) == (least, most)
        assert [example.clips[0].name for example in examples][:3] != ["0.wav", "1.wav", "2.wav"]


def test_joined_are_those_of_a_speaker() -> None:
    join = Join(clips=(2, 3), pause=(0.1, 0.3), by="speaker")
    one = ClipSet(Source("a", join=join), of([1.0] * 9, speaker="ann") + of([2.0] * 9, speaker="bob"))
    examples = epoch_examples([one], done=0.0, rng=np.random.default_rng(1))
    assert sorted(clip.name for example in examples for clip in example.clips) == sorted(clip.name for clip in one.clips)
    assert all(len({clip.columns["speaker"] for clip in example.clips}) == 1 for example in examples)
    assert {len(example.clips) for example in examples} >= {2, 3}
    assert max(len(example.clips) for example in examples) == 3
    pair = next(example for example in examples if len(example.clips) == 2)
    assert pair.seconds == pytest.approx(2 * pair.clips[0].seconds + 3 * 0.2)
    assert pair.text == " ".join(clip.text for clip in pair.clips)


def test_sources_take_part_in_their_span() -> None:
    early, late = ClipSet(Source("a", span=(0.0, 0.5)), of([1.0])), ClipSet(Source("b", span=(0.5, 1.0)), of([2.0]))
    for done, seconds in ((0.0, 1.0), (0.49, 1.0), (0.5, 2.0), (0.99, 2.0)):
        examples = epoch_examples([early, late], done=done, rng=np.random.default_rng(0))
        assert [example.seconds for example in examples] == [seconds]
    with pytest.raises(ConfigError, match="data: no source takes part when 60% of the steps are done"):
        epoch_examples([early], done=0.6, rng=np.random.default_rng(0))


def test_batches_are_of_similar_length_and_as_full_as_asked() -> None:
    lengths = np.random.default_rng(0).uniform(0.5, 6.0, 2000)
    examples = [Example((clip,), None) for clip in of(lengths.tolist())]
    made = batches(examples, seconds=40.0, rng=np.random.default_rng(1))
    assert sorted(example.clips[0].name for batch in made for example in batch) == sorted(clip.clips[0].name for clip in examples)
    filled = [sum(example.seconds for example in batch) for batch in made]
    assert min(filled) > 20
    assert max(filled) < 47
    assert np.median([max(e.seconds for e in batch) / min(e.seconds for e in batch) for batch in made]) < 1.2


def test_a_long_clip_is_a_batch_of_its_own() -> None:
    examples = [Example((clip,), None) for clip in of([90.0, 1.0, 1.0, 1.0])]
    made = batches(examples, seconds=3.0, rng=np.random.default_rng(0))
    assert [examples[0]] in made
    assert all(batch for batch in made)


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    sets = [ClipSet(Source("a", join=Join()), of([1.0] * 50))]

    def plan(seed: int, epoch: int, **values: Any) -> list[list[Example]]:
        return plan_epoch(sets, recipe(seed=seed, batch_seconds=10.0, **values), epoch=epoch, done=0.0)

    assert plan(0, 0) == plan(0, 0)
    assert plan(0, 0) != plan(0, 1) != plan(1, 0) != plan(0, 0)
    accumulated = plan(0, 0, accumulate=3)
    assert [example for step in accumulated for example in step] == [example for step in plan(0, 0) for example in step]
    assert len(accumulated) == -(-len(plan(0, 0)) // 3)


def test_seconds_by_the_header(clips: Path, tmp_path: Path) -> None:
    for name in ("three_one_four.wav", "eight_six_seven.flac", "counting.ogg", "two_seven_one.mp3"):
        assert audio_seconds(clips / name) == pytest.approx(len(read_audio(clips / name)) / 16000, abs=0.1)
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"text\.wav: not audio"):
        audio_seconds(tmp_path / "text.wav")
    with pytest.raises(AudioError, match=r"none\.wav: no such file"):
        audio_seconds(tmp_path / "none.wav")
