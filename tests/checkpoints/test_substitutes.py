"""What lies where a checkpoint should be: paths that are none, pages and pointers instead of tensors, a model without its mask vector."""

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

import sewnp
from sewnp.cli import main
from sewnp.errors import CheckpointError, ConfigError, InputError

DIGITS = Path(sewnp.__file__).parent / "pretrained" / "digits"
EMBED = "sew.masked_spec_embed"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DIGITS, tmp_path / "model"))


@pytest.fixture
def unmasked(folder: Path) -> Path:
    """A checkpoint that lacks masked_spec_embed alone."""
    tensors = load_file(folder / "model.safetensors")
    del tensors[EMBED]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


# --- paths that are none ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["a\0b", "a/\0b", "~\0/b", "{loop}", "{loop}/x", "{long}", "./{long}", "a/\ud800"])
def test_a_path_that_is_none_is_named_in_one_line(path: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = path.format(loop=tmp_path / "loop", long="a" * 300)
    for use in (
        lambda: sewnp.load(path),
        lambda: sewnp.load(path if os.sep in path else f"./{path}"),
        lambda: sewnp.convert(path, tmp_path / "out"),
        lambda: sewnp.load("digits").save(path if os.sep in path else f"{tmp_path}/{path}"),
    ):
        with pytest.raises(CheckpointError) as raised:
            use()
        assert "\n" not in str(raised.value)
        assert "\0" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seed", [-1, -(10**5000), 1.5, "0", True], ids=type)
def test_a_seed_that_is_none(seed: object) -> None:
    with pytest.raises(ConfigError, match="fresh_head_seed: expected a whole number of 0 or more, found"):
        sewnp.load("digits", head="ctc", fresh_head_seed=seed)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="seed: expected a whole number of 0 or more, found"):
        sewnp.from_config(sewnp.SEWConfig(), seed=seed)  # type: ignore[arg-type]


# --- instead of tensors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
            "is a Git LFS pointer; .* has not been downloaded",
        ),
        (b"<!DOCTYPE html>\n<html lang=en>", "is a page of HTML, perhaps a server's answer; the file has not been downloaded"),
        (b"\xef\xbb\xbf\r\n  <!doctype HTML><title>404</title>", "is a page of HTML"),
        (b"<html>", "is a page of HTML"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a page of HTML"),
    ],
)
def test_a_pointer_or_a_page_is_called_what_it_is(name: str, content: bytes, message: str, folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name}: {message}"):
        sewnp.load(folder)
    with pytest.raises(CheckpointError, match=f"{name}: {message}"):
        sewnp.convert(folder, tmp_path / "out")


# --- without the vector of masking ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["fast", "textbook"])
def test_without_its_mask_vector_a_model_does_all_but_masking(unmasked: Path, clips: Path, engine: Any) -> None:
    ours, whole = (sewnp.load(model, engine=engine) for model in (unmasked, "digits"))
    clip = clips / "three_one_four.wav"
    assert ours.transcribe(clip) == whole.transcribe(clip)
    x = ours.features(sewnp.speech.read_audio(clip)[:16000]).input_values
    assert ours.gradients(x, np.array([[6, 11]])).loss == whole.gradients(x, np.array([[6, 11]])).loss
    hidden = np.ones((1, ours.config.frames(16000)), bool)
    for use in (
        lambda: ours(x, mask_time_indices=hidden),
        lambda: ours.gradients(x, np.array([[6]]), mask_time_indices=hidden),
        lambda: ours.clip_gradients()(x, np.array([[6]]), time_mask=hidden),
    ):
        with pytest.raises(InputError, match="this model has no masked_spec_embed: its checkpoint does not hold it"):
            use()


def test_a_mask_vector_of_the_wrong_shape_is_still_an_error(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {EMBED: np.zeros(3, np.float32)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"masked_spec_embed: expected shape \(160,\), found \(3,\)"):
        sewnp.load(folder)


def test_beside_other_missing_tensors_the_mask_vector_is_not_listed(unmasked: Path) -> None:
    tensors = load_file(unmasked / "model.safetensors")
    del tensors["lm_head.bias"]
    save_file(tensors, unmasked / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="fresh_head_seed=0") as raised:
        sewnp.load(unmasked)
    assert "masked_spec_embed" not in str(raised.value)
    assert EMBED not in sewnp.load(unmasked, head="ctc", fresh_head_seed=0).flat_weights()


def test_saved_and_converted_it_lacks_what_it_lacked(unmasked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The vector is not made up, and the configuration is not bent: what is written is what was read."""
    model = sewnp.load(unmasked)
    model.save(tmp_path / "saved")
    assert main(["convert", str(unmasked), str(tmp_path / "converted")]) == 0
    assert f"without {EMBED}, as {unmasked}\n" in capsys.readouterr().err
    for copy in (tmp_path / "saved", tmp_path / "converted"):
        again = sewnp.load(copy)
        assert again.fingerprint() == model.fingerprint()
        assert EMBED not in load_file(copy / "model.safetensors")
        assert again.config.mask_time_prob == model.config.mask_time_prob > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.SEWForCTC.from_pretrained(tmp_path / "saved").eval()
    x = model.features(np.sin(np.arange(8000) / 20).astype(np.float32)).input_values
    with torch.no_grad():
        logits = theirs(torch.from_numpy(x)).logits.numpy()
    np.testing.assert_allclose(model(x).logits, logits, atol=1e-3)
