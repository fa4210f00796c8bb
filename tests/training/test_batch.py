"""One clip alone and clips added up: what a batch says."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from judging import assert_close64, gradient_errors
from originals import original, twin
from sewnp.errors import AudioError, TokenizerError, TrainingError
from sewnp.fast import ClipGradients
from sewnp.layers import draw_spans
from sewnp.training import Example, batch_gradients, draw_masks, encode_text, prepare
from sewnp.training.batch import make_waveform

from .conftest import tiny_recipe, tones


def run_and_examples(folder: Path, tmp_path: Path, **values: Any) -> tuple[Any, list[Example]]:
    run = prepare(tiny_recipe(dtype="float64", **values), tmp_path / "run", folder=folder)
    return run, [Example((clip,), None) for clip in run.sets[0].clips]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_batch_is_its_clips(reduction: str, data: Path, tmp_path: Path) -> None:
    run, examples = run_and_examples(data, tmp_path)
    run.model.config.__dict__["ctc_loss_reduction"] = reduction
    config = run.model.config
    found = batch_gradients(run.model, examples, augmentations=run.augmentations, seed=3, step=5)
    loss: float = 0.0
    total: dict[str, Any] = {}
    for place, example in enumerate(examples):
        rng = np.random.default_rng(np.random.SeedSequence((3, 5, place)))
        x = make_waveform(example, run.augmentations, sampling_rate=16000, rng=rng)
        masks = draw_masks(config, config.frames(len(x)), rng)
        values = run.model.features(x, attention_mask=False).input_values
        given = {"mask_time_indices": masks.time, "mask_feature_indices": masks.channels, "skip_layers": masks.skip_layers}
        one = run.model.gradients(values, encode_text(example.text, run.model), dropout=rng, **given)
        loss += float(one.loss)
        for key, gradient in one.flat().items():
            total[key] = total.get(key, 0.0) + gradient
    count = len(examples) if reduction == "mean" else 1
    assert found.loss == pytest.approx(loss / count, rel=1e-12)
    assert found.count == len(examples) == 4
    assert set(found.gradients) == set(total)
    for key, gradient in found.gradients.items():
        assert_close64(gradient, total[key] / count)


def test_what_is_random_depends_on_seed_step_and_place(data: Path, tmp_path: Path) -> None:
    run, examples = run_and_examples(data, tmp_path)

    def loss(seed: int, step: int, batch: list[Example]) -> float:
        return batch_gradients(run.model, batch, augmentations=run.augmentations, seed=seed, step=step).loss

    one = examples[:1]
    assert loss(1, 2, one) == loss(1, 2, one)
    assert len({loss(1, 2, one), loss(2, 2, one), loss(1, 3, one), loss(2, 1, one), loss(1, 2, one * 2)}) == 5


def test_threads_add_in_the_order_of_the_clips(data: Path, tmp_path: Path) -> None:
    run, examples = run_and_examples(data, tmp_path)
    alone = batch_gradients(run.model, examples * 3, augmentations=run.augmentations)
    with ThreadPoolExecutor(3) as pool:
        together = batch_gradients(run.model, examples * 3, augmentations=run.augmentations, pool=pool, threads=3)
    assert alone.loss == together.loss
    assert all(np.array_equal(gradient, together.gradients[key]) for key, gradient in alone.gradients.items())


@pytest.mark.parametrize("family", ["sew", "sew-d"])
def test_the_fast_engine_says_what_the_plain_layers_say(family: str, data: Path, tmp_path: Path) -> None:
    run = prepare(tiny_recipe(family), tmp_path / "run", folder=data)
    examples = [Example((clip,), None) for clip in run.sets[0].clips]
    engines = run.model.clip_gradients(), replace(run.model, engine="textbook").clip_gradients()
    assert type(engines[0]) is ClipGradients
    fast, plain = (batch_gradients(run.model, examples, engine=e, augmentations=run.augmentations, step=2) for e in engines)
    assert fast.loss == pytest.approx(plain.loss, rel=1e-5)
    assert set(fast.gradients) == set(plain.gradients)
    errors = gradient_errors(fast.gradients, plain.gradients)
    assert max(errors.values()) < 1e-3, errors


def test_frozen_parts_have_no_gradients(data: Path, tmp_path: Path) -> None:
    run, examples = run_and_examples(data, tmp_path)
    found = batch_gradients(run.model, examples, engine=run.model.clip_gradients(["feature_encoder", "lm_head"]))
    assert found.gradients
    assert not [key for key in found.gradients if "feature_extractor" in key or "lm_head" in key]


def test_a_wild_clip_is_named(data: Path, tmp_path: Path) -> None:
    run, examples = run_and_examples(data, tmp_path)
    run.model.weights["lm_head"]["bias"][:] = np.nan
    found = batch_gradients(run.model, examples[:2])
    assert found.wild == ("0.wav", "1.wav")
    assert np.isnan(found.loss)


def test_a_clip_that_is_gone_is_an_error_by_name(data: Path, tmp_path: Path) -> None:
    run, examples = run_and_examples(data, tmp_path)
    examples[1].clips[0].audio.write_bytes(b"RIFF no more")
    with pytest.raises(AudioError, match=r"1\.wav"):
        batch_gradients(run.model, examples)
    soundfile.write(examples[1].clips[0].audio, np.zeros(0), 16000)
    with pytest.raises(AudioError, match=r"1\.wav"):
        batch_gradients(run.model, examples)


def test_short_clips(data: Path, tmp_path: Path) -> None:
    run, examples = run_and_examples(data, tmp_path)
    soundfile.write(examples[0].clips[0].audio, tones("A")[:20], 16000)  # less than the convolutions and the squeezing need
    found = batch_gradients(run.model, examples[:1], augmentations=run.augmentations)
    assert np.isfinite(found.loss)


def test_joined_clips_have_their_pauses_and_levels(data: Path, tmp_path: Path) -> None:
    join = {"clips": [3, 3], "pause": [0.1, 0.1], "level": 0.0, "by": "speaker"}
    run, examples = run_and_examples(data, tmp_path, data=[{"path": "clips", "join": join}])
    example = Example(tuple(each.clips[0] for each in examples[:3]), run.sets[0].source.join)
    x = make_waveform(example, tiny_recipe(augment={}).augment, sampling_rate=16000, rng=np.random.default_rng(0))
    lengths = [len(tones(text)) for text in ("A", "B A", "B")]
    assert example.text == "A B A B"
    assert len(x) == sum(lengths) + 4 * 1600
    assert example.seconds == pytest.approx(len(x) / 16000)
    start = 1600
    for length in lengths:
        assert not x[start - 1600 : start].any()
        assert np.sqrt(np.square(x[start : start + length], dtype=np.float64).mean()) == pytest.approx(0.05, rel=1e-3)
        start += length + 1600


def test_masks_are_drawn_as_transformers_draws_them() -> None:
    config = twin(original("sew", hidden_size=24, num_attention_heads=2, mask_time_prob=0.3, mask_time_length=3,
                           mask_feature_prob=0.2, mask_feature_length=2, layerdrop=0.4)).config  # fmt: skip
    masks = draw_masks(config, 40, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    time = draw_spans((1, 40), probability=0.3, length=3, min_masks=2, rng=rng)
    channels = draw_spans((1, 24), probability=0.2, length=2, min_masks=0, rng=rng)
    assert masks.time is not None
    assert masks.channels is not None
    assert np.array_equal(masks.time, time)
    assert np.array_equal(masks.channels, channels)
    skipped = [draw_masks(config, 40, np.random.default_rng(seed)).skip_layers for seed in range(300)]
    assert 0.33 < np.mean([len(each) / 2 for each in skipped]) < 0.47


def test_clips_shorter_than_a_span_are_not_masked() -> None:
    config = twin(original("sew-d", mask_time_prob=0.9, mask_time_length=10, mask_feature_prob=0.9, mask_feature_length=17)).config
    masks = draw_masks(config, 9, np.random.default_rng(0))
    assert (masks.time, masks.channels, masks.skip_layers) == (None, None, frozenset())
    assert draw_masks(config, 10, np.random.default_rng(0)).time is not None


def test_texts_become_what_the_tokenizer_makes_of_them(digits: Any) -> None:
    text = "ONE TWO"
    expected = [digits.tokenizer.vocab["|" if c == " " else c] for c in text]
    assert encode_text(text, digits).tolist() == [expected]
    assert encode_text("", digits).tolist() == [[-100]]
    with pytest.raises(TokenizerError, match="É"):
        encode_text("ÉTÉ", digits)


def test_labels_become_their_numbers() -> None:
    model = twin(original("sew", "classification"))
    assert encode_text("LABEL_2", model).tolist() == [2]
    with pytest.raises(TrainingError, match=r"label: expected one of 'LABEL_0', 'LABEL_1', 'LABEL_2'; found 'yes'"):
        encode_text("yes", model)
