"""The fast engine as a whole: equal to the textbook whatever the length, the threads, the order and the company of the calls."""

import pickle
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

import sewnp
from judging import scale_error
from sewnp.errors import ConfigError, InputError
from sewnp.fast import FastTrunk, convolutions, crew, transformer, trunk
from sewnp.fast.crew import Crew
from sewnp.fast.products import LAYOUTS
from sewnp.networks import TextbookParts, base_model, ctc_logits, fold_statistics

SMALL: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 80,
    "conv_dim": (16, 24, 48),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 2),
    "num_conv_pos_embeddings": 12,
    "num_conv_pos_embedding_groups": 4,
}
CONFIGS = {"sew": sewnp.SEWConfig(**SMALL), "sew-d": sewnp.SEWDConfig(**SMALL, max_position_embeddings=64, position_buckets=16)}

CLOSE = 1e-5
"""float32 against float32 in another order, behind two convolution stacks' worth of rounding: 1e-6 seen, and a digit of room."""


def loud(config: Any, head: Any = "ctc") -> sewnp.Model:
    """Random weights, loud enough that scores and positions matter, in float32."""
    fresh = sewnp.from_config(config, head=head, engine="textbook")
    rng = np.random.default_rng(1)

    def louder(x: Any) -> Any:
        if isinstance(x, dict):
            return {name: louder(value) for name, value in x.items()}
        if isinstance(x, list):
            return [louder(value) for value in x]
        scale = 0.3 if x.ndim == 1 else 1 / np.sqrt(np.prod(x.shape[1:]))
        return (x + scale * rng.normal(size=x.shape)).astype(np.float32)

    return replace(fresh, weights=louder(fresh.weights))


@pytest.fixture(scope="module", params=LAYOUTS, autouse=True)
def layout(request: Any) -> Iterator[str]:
    """Everything here holds on both product paths, whatever this machine would choose."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEWNP_PRODUCTS", request.param)
        patch.setattr(trunk, "ALONE", 0)  # small models and short clips shall have all threads
        yield request.param


@pytest.fixture(scope="module", params=CONFIGS)
def model(request: Any) -> sewnp.Model:
    return loud(CONFIGS[request.param])


def noise(samples: int, batch: int = 1, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(batch, samples)).astype(np.float32)


def assert_outputs_close(ours: Any, theirs: Any) -> None:
    """Logits and hidden states."""
    for a, b in zip((ours.logits, *ours.hidden_states), (theirs.logits, *theirs.hidden_states), strict=True):
        assert scale_error(a, b) < CLOSE


def test_float32_is_fast_and_float64_is_the_textbook() -> None:
    assert sewnp.load("digits").engine == "fast"
    assert sewnp.load("digits", dtype="float64").engine == "textbook"
    assert sewnp.from_config(CONFIGS["sew"]).engine == "fast"
    for make in (lambda **options: sewnp.load("digits", **options), lambda **options: sewnp.from_config(CONFIGS["sew"], **options)):
        with pytest.raises(ConfigError, match="engine: 'fast' computes in float32, found dtype float64"):
            make(engine="fast", dtype="float64")
        with pytest.raises(ConfigError, match=r"engine: expected one of .* found 'quick'"):
            make(engine="quick")
        for threads in (0, 1.5, True, 129, 5000):
            with pytest.raises(ConfigError, match="threads: expected a whole number from 1 to 128"):
                make(threads=threads)


def test_threads_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEWNP_THREADS", "3")
    assert sewnp.fast.default_threads() == 3
    for wrong in ("0", "many", "", "²", "129", "5000", "9" * 5000):
        monkeypatch.setenv("SEWNP_THREADS", wrong)
        with pytest.raises(ConfigError, match="SEWNP_THREADS: expected a whole number from 1 to 128"):
            sewnp.load("digits")(noise(4000))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(samples=st.integers(130, 9000), threads=st.integers(1, 4), batch=st.integers(1, 3), seed=st.integers(0, 99))
def test_any_length_and_number_of_threads(model: sewnp.Model, samples: int, threads: int, batch: int, seed: int) -> None:
    x = noise(samples, batch, seed)
    fast = replace(model, engine="fast", threads=threads)
    assert scale_error(fast(x).logits, model(x).logits) < CLOSE


def test_clips_so_long_that_queries_come_in_blocks(model: sewnp.Model) -> None:
    x = noise(2 * 20 * 600 + 1000)  # 600 squeezed frames and more, 513 is where blocks begin
    out, true = replace(model, engine="fast", threads=2)(x, output_hidden_states=True), model(x, output_hidden_states=True)
    assert true.hidden_states is not None
    assert true.hidden_states[0].shape[1] > 600
    assert_outputs_close(out, true)


def test_tiles_meet_without_a_seam(model: sewnp.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(3000)
    whole = replace(model, engine="fast", threads=1)(x).logits
    monkeypatch.setattr(convolutions, "_TILE", 300)
    assert scale_error(replace(model, engine="fast", threads=2)(x).logits, whole) < CLOSE


def test_masks_and_hidden_frames(model: sewnp.Model) -> None:
    x = noise(4000, 3)
    mask = (np.arange(4000) < np.array([4000, 2100, 30])[:, None]).astype(int)
    hidden = np.random.default_rng(2).random((3, model.config.frames(4000))) < 0.3
    for masking in ("any", "floor"):
        plain = replace(model, masking=masking)  # type: ignore[arg-type]
        fast = replace(plain, engine="fast", threads=2)
        arguments = {"attention_mask": mask, "mask_time_indices": hidden, "output_hidden_states": True}
        mine, theirs = fast(x, **arguments), plain(x, **arguments)  # type: ignore[arg-type]
        assert_outputs_close(mine, theirs)


def test_repeated_and_interleaved_calls_change_nothing(model: sewnp.Model) -> None:
    fast = replace(model, engine="fast", threads=2)
    clips = [noise(n, seed=n) for n in (5000, 700, 8000, 200)]
    first = [fast(x).logits for x in clips]
    again = [fast(x).logits for x in reversed(clips)][::-1]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_model_and_several_threads(model: sewnp.Model) -> None:
    fast = replace(model, engine="fast", threads=2)
    clips = [noise(2000 + 500 * i, seed=i) for i in range(6)]
    alone = [fast(x).logits for x in clips]
    together: list[Any] = [None] * len(clips)

    def work(i: int) -> None:
        for _ in range(3):
            together[i] = fast(clips[i]).logits

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(clips))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_heads_too_have_one_blas_thread(model: sewnp.Model, monkeypatch: Any) -> None:
    """Else their bits would depend on whether another thread computes at the moment: its limit holds for the whole process."""
    crew.blas.cache_clear()  # whatever the tests before have loaded since it was asked first
    found: list[int] = []

    def spy(x: Any, p: Any) -> Any:
        found.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return ctc_logits(x, p)

    monkeypatch.setattr(sys.modules["sewnp.networks.run"], "ctc_logits", spy)  # the package's own ``run`` is the function
    monkeypatch.setattr("sewnp.long.ctc_logits", spy)
    fast = replace(model, engine="fast", threads=2, tokenizer=sewnp.load("digits").tokenizer)
    fast(noise(2000))
    in_one_piece = len(found)
    fast.transcribe(noise(16000)[0], sampling_rate=16000, window=0.2, overlap=0.05)
    assert len(found) > 2 * in_one_piece > 0
    assert set(found) == {1}


def test_clips_together_are_what_each_is_alone(model: sewnp.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the rounding of products of more rows; whatever the threads, to the last bit, if the groups are the same; and a group of one exactly."""
    clips = [noise(n, seed=n)[0] for n in (3000, 130, 9000, 2000, 2000, 700, 30000)]
    found = {}
    for threads in (1, 2, 3):
        fast = replace(model, engine="fast", threads=threads)
        for most in (600, 250, 1):
            monkeypatch.setattr(trunk, "TOGETHER", most)
            states = fast._fast.together(clips)
            for x, state in zip(clips, states, strict=True):
                assert scale_error(state, model(x[None]).last_hidden_state[0]) < CLOSE
            for state, other in zip(states, found.setdefault(most, states), strict=True):
                np.testing.assert_array_equal(state, other)
    alone = replace(model, engine="fast", threads=1)
    for x, state in zip(clips, found[1], strict=True):
        np.testing.assert_array_equal(state, alone(x[None]).last_hidden_state[0])
    assert alone._fast.together([]) == []


def test_short_clips_have_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their work, and not by a stopwatch: the same clip has the same bits."""
    monkeypatch.setattr(trunk, "ALONE", 50_000_000)
    sizes: list[int] = []
    monkeypatch.setattr(trunk, "Crew", lambda size, stop: sizes.append(size) or Crew(size, stop))  # type: ignore[func-returns-value]
    digits = sewnp.load("digits", threads=3)
    for seconds in (1, 6, 7):
        digits(noise(16000 * seconds))
    assert sizes == [1, 1, 3]


def test_neighbours_form_groups() -> None:
    assert [*trunk._groups([300, 300, 300, 900, 100, 700, 1], 800)] == [
        slice(0, 2),
        slice(2, 3),
        slice(3, 4),
        slice(4, 6),
        slice(6, 7),
    ]


@pytest.fixture(params=[("textbook", None), ("fast", 1), ("fast", 2), ("fast", 3)], ids=lambda pair: f"{pair[0]}-{pair[1]}")
def engine(request: Any, model: sewnp.Model) -> sewnp.Model:
    """The model under every engine setting."""
    name, threads = request.param
    return replace(model, engine=name, threads=threads)


def test_whoever_looks_gets_the_textbook(model: sewnp.Model, engine: sewnp.Model) -> None:
    """Every stage is shown, and all that comes out is the textbook's to the last bit, whatever the engine."""
    x, mask = noise(3000, 2), (np.arange(3000) < np.array([[3000], [1700]])).astype(int)
    expected: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    true = model(
        x, mask, output_hidden_states=True, output_attentions=True, see=lambda name, value: expected.setdefault(name, value)
    )
    out = engine(x, mask, output_hidden_states=True, output_attentions=True, see=lambda name, value: shown.setdefault(name, value))
    assert list(shown) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(shown[name], value)
    looking = engine(x, mask, output_attentions=True)
    np.testing.assert_array_equal(looking.logits, true.logits)
    assert out.attentions is not None
    assert looking.attentions is not None
    assert true.attentions is not None
    assert len(true.attentions) == model.config.num_hidden_layers
    for ours, again, theirs in zip(out.attentions, looking.attentions, true.attentions, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(again, theirs)


def test_a_stage_set_to_zero_changes_the_logits(engine: sewnp.Model) -> None:
    """What an observer returns is what the network goes on with: of every stage before the logits, under every engine setting."""
    x, mask = noise(3000, 2), (np.arange(3000) < np.array([[3000], [1700]])).astype(int)
    names: list[str] = []
    whole = engine(x, mask, see=lambda name, value: names.append(name) or value).logits  # type: ignore[func-returns-value]
    for name in names:
        zeroed = engine(x, mask, see=lambda stage, value, name=name: np.zeros_like(value) if stage == name else value)  # type: ignore[misc]
        assert not np.array_equal(zeroed.logits, whole), name


def test_the_input_is_left_as_it_is(model: sewnp.Model) -> None:
    x = noise(3000)
    before = x.copy()
    fast = replace(model, engine="fast", threads=2)
    fast(x).last_hidden_state[:] = 0
    np.testing.assert_array_equal(x, before)
    assert fast(x).last_hidden_state.any()  # what is given back is nobody's workspace


def test_a_loud_clip_with_an_offset(model: sewnp.Model) -> None:
    """The fold of the first group norm, where a sum of squares would cancel."""
    x = noise(6000) + np.float32(100)
    assert (
        scale_error(replace(model, engine="fast", threads=2)(x).logits, model(x).logits) < 100 * CLOSE
    )  # the offset costs both two digits


def test_one_window_is_refused_as_by_the_textbook(model: sewnp.Model) -> None:
    config = replace(model.config, conv_dim=(16,), conv_kernel=(10,), conv_stride=(5,), squeeze_factor=1)
    for engine in ("fast", "textbook"):
        tiny = sewnp.from_config(config, engine=engine)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"group_norm: expected more than 1 value per group, found shape \(1, 1, 16\)"):
            tiny(noise(10))


def test_parts_of_a_clip_equal_the_textbooks(model: sewnp.Model) -> None:
    p = model.weights[model.config.prefix]
    x, rng = noise(3000), np.random.default_rng(5)
    moments = (rng.normal(size=16), rng.random(16) + 0.5)
    fast = FastTrunk(model.config, p, threads=2).with_statistics(moments)
    plain = TextbookParts(model.config, fold_statistics(p, moments))
    frames = plain.frames(x)
    assert scale_error(fast.frames(x), frames) < CLOSE
    for count in (2, 17, frames.shape[1]):
        hidden = plain.squeezed(frames[:, :count])
        assert scale_error(fast.squeezed(frames[:, :count]), hidden) < CLOSE
        assert scale_error(fast.restored(hidden, frames=count), plain.restored(hidden, frames=count)) < CLOSE
    for parts in (fast, plain):
        with pytest.raises(InputError, match="squeeze: expected at least 2 frames, found 1"):
            parts.squeezed(frames[:, :1])


def test_weights_are_held_once_and_given_back_to_the_last_bit(model: sewnp.Model, layout: str) -> None:
    given = model.flat_weights()
    fast = replace(model, engine="fast", threads=2)
    fast(noise(2000))
    assert fast._fast.layout == layout
    found = fast.flat_weights()
    assert list(found) == list(given)
    for name, weight in given.items():
        np.testing.assert_array_equal(found[name], weight, strict=True)
        assert model.flat_weights()[name] is weight  # who gave them keeps them as they were
    assert fast.fingerprint() == model.fingerprint()


def test_a_repr_counts_without_putting_weights_together(model: sewnp.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    held = replace(model, engine="fast")
    count = f"{sum(x.size for x in held.flat_weights().values()):,} parameters"
    assert count in repr(held)
    held(np.zeros((1, 4000), np.float32))
    monkeypatch.setattr("sewnp.fast.transformer.Layer.weights", None)
    assert count in repr(held)


def test_a_first_call_that_fails_while_it_lays_out(model: sewnp.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some layers are laid out, others are not: the model holds all of its weights, and its next call goes on."""
    fast, x, lay_out = replace(model, engine="fast", threads=2), noise(2000), transformer.lay_out
    for fails_at in (2, 3, 5):  # the first layer has four, and those that are done are not done again
        calls = 0

        def fails(*arguments: Any, fails_at: int = fails_at, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == fails_at:
                raise MemoryError
            return lay_out(*arguments, **options)

        monkeypatch.setattr(transformer, "lay_out", fails)
        with pytest.raises(MemoryError):
            fast(x)
        for name, weight in model.flat_weights().items():
            np.testing.assert_array_equal(fast.flat_weights()[name], weight)
    monkeypatch.setattr(transformer, "lay_out", lay_out)
    np.testing.assert_array_equal(fast(x).logits, replace(model, engine="fast", threads=2)(x).logits)


def test_a_pickled_model_packs_anew(model: sewnp.Model) -> None:
    fast = replace(model, engine="fast", threads=2)
    x = noise(2000)
    before = len(pickle.dumps(fast))
    logits = fast(x).logits
    content = pickle.dumps(fast)
    assert len(content) == before
    np.testing.assert_array_equal(pickle.loads(content)(x).logits, logits)


def test_nan_weights_give_nan_and_no_warning(model: sewnp.Model) -> None:
    p = model.weights[model.config.prefix]
    broken = {**p, "layer_norm": {**p["layer_norm"], "bias": np.full_like(p["layer_norm"]["bias"], np.nan)}}
    assert np.isnan(FastTrunk(model.config, broken, threads=2)(noise(2000))[0]).any()
    assert np.isnan(base_model(noise(2000), broken, model.config)).any()
