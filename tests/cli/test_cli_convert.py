"""``sewnp convert`` as a user types it."""

import argparse
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers

import sewnp
from originals import original
from sewnp.checkpoints import fingerprint
from sewnp.cli import main

VOCAB = {token: index for index, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "O", "N", "I"])}


@pytest.fixture
def bin_folder(tmp_path):
    """A folder as transformers 4.12 wrote it: a pickle, and a file of special tokens beside those of the tokenizer."""
    theirs = original("sew-d", "ctc", dtype=torch.float32)
    theirs.config.save_pretrained(tmp_path / "in")
    state = {
        key.replace(".parametrizations.weight.original0", ".weight_g").replace(".parametrizations.weight.original1", ".weight_v"): x
        for key, x in theirs.state_dict().items()
    }
    torch.save(state, tmp_path / "in" / "pytorch_model.bin")
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    files = {
        "vocab.json": VOCAB,
        "special_tokens_map.json": special,
        "tokenizer_config.json": special | {"do_lower_case": False, "word_delimiter_token": "|", "tokenizer_class": "Wav2Vec2CTCTokenizer"},
        "preprocessor_config.json": {
            "do_normalize": True, "feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1,
            "padding_side": "right", "padding_value": 0, "return_attention_mask": False, "sampling_rate": 16000,
        },
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / "in" / name).write_text(json.dumps(content))
    return theirs


def test_a_folder(bin_folder, tmp_path, capsys, caplog):
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    parameters = sum(x.numel() for x in bin_folder.state_dict().values())
    assert capsys.readouterr() == ("", f"sewnp: sew-d, ctc head, {parameters:,} parameters in float32, in {tmp_path / 'out'}\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json", "model.safetensors", "preprocessor_config.json", "tokenizer_config.json", "vocab.json",
    ]  # fmt: skip
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.enable_propagation()
    try:
        with caplog.at_level(logging.WARNING):
            theirs = transformers.AutoModelForCTC.from_pretrained(tmp_path / "out").eval()
            processor = transformers.AutoProcessor.from_pretrained(tmp_path / "out")
    finally:
        transformers.utils.logging.disable_propagation()
    assert caplog.records == []
    x = torch.tensor(np.random.default_rng(0).normal(size=(1, 600)), dtype=torch.float32)
    with torch.no_grad():
        np.testing.assert_array_equal(theirs(x).logits.numpy(), bin_folder(x).logits.numpy())
    assert processor.tokenizer("TEA NO").input_ids == [6, 5, 7, 4, 9, 8]
    assert sewnp.load(tmp_path / "out").tokenizer.encode("TEA NO") == [6, 5, 7, 4, 9, 8]
    np.testing.assert_array_equal(
        sewnp.load(tmp_path / "out").flat_weights()["lm_head.bias"], sewnp.load(tmp_path / "in").flat_weights()["lm_head.bias"]
    )


def test_a_pt(tmp_path, capsys):
    """A pre-trained one; every other kind is tested where the names are."""
    theirs = original("sew-d", None, dtype=torch.float32, hidden_act="gelu", mask_time_prob=0.65)
    names = {
        "masked_spec_embed": "mask_emb", "feature_projection.": "post_extract_proj.", ".conv_layers.0.conv.": ".conv_layers.0.0.",
        ".conv_layers.1.conv.": ".conv_layers.1.0.", ".conv_layers.2.conv.": ".conv_layers.2.0.",
        ".conv_layers.0.layer_norm.": ".conv_layers.0.2.", "pos_conv_embed.conv.parametrizations.weight.original0": "pos_conv.0.weight_g",
        "pos_conv_embed.conv.parametrizations.weight.original1": "pos_conv.0.weight_v", "pos_conv_embed.conv.": "pos_conv.0.",
        "upsample.projection.": "upsample.0.",
    }  # fmt: skip
    state = {}
    for key, x in theirs.state_dict().items():
        for new, old in names.items():
            key = key.replace(new, old)
        state[key] = x
    arguments = argparse.Namespace(
        arch="squeeze_wav2vec2_deberta", encoder_layers=2, encoder_embed_dim=16, encoder_ffn_embed_dim=24, encoder_attention_heads=2,
        conv_feature_layers="[(8, 10, 5)] + [(12, 3, 2)] + [(12, 2, 1)]", conv_pos=5, conv_pos_groups=4, max_position_embeddings=16,
        position_buckets=4,
    )  # fmt: skip
    torch.save({"args": arguments, "model": state}, tmp_path / "a.pt")
    assert main(["convert", str(tmp_path / "a.pt"), str(tmp_path / "out")]) == 0
    assert "sewnp: sew-d, no head" in capsys.readouterr().err
    again = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    x = torch.tensor(np.random.default_rng(0).normal(size=(1, 600)), dtype=torch.float32)
    with torch.no_grad():
        np.testing.assert_array_equal(again(x).last_hidden_state.numpy(), theirs(x).last_hidden_state.numpy())


def test_the_function_behind_it(bin_folder, tmp_path):
    written = sewnp.convert(tmp_path / "in", tmp_path / "out")
    again = sewnp.load(tmp_path / "out")
    assert fingerprint(written.config, written.head, written.weights) == again.fingerprint()
    assert (written.vocab, written.preprocessor) == (again.tokenizer.vocab, again.feature_extractor.to_dict())


def test_failures_are_one_line_and_leave_nothing(bin_folder, tmp_path, capsys):
    (tmp_path / "in" / "vocab.json").write_text('{"A": 5}')
    for source, message in (
        (tmp_path / "gone", "no such file or folder"),
        (tmp_path / "in" / "pytorch_model.bin", "for a pytorch_model.bin, give its folder"),
        (tmp_path / "in", f"{tmp_path / 'in'}: vocab.json: no token has the id 0"),
    ):
        assert main(["convert", str(source), str(tmp_path / "out")]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("sewnp: error: ")
        assert message in err
        assert err.count("\n") == 1
        assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    (tmp_path / "in" / "vocab.json").write_text(json.dumps(VOCAB))
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "file")]) == 1
    assert "expected a folder, found a file" in capsys.readouterr().err


def test_wrong_usage_and_help(capsys):
    for arguments, status in ((["convert", "only-one"], 2), (["convert", "--help"], 0)):
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        assert exit.value.code == status
    assert "sewnp convert checkpoint_best.pt my-model --dict" in capsys.readouterr().out


def test_without_torch(bin_folder, tmp_path):
    code = """
import sys
for name in ("torch", "transformers", "omegaconf", "fairseq"):
    sys.modules[name] = None
from sewnp.cli import main
sys.exit(main(["convert", "in", "out"]))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "out" / "model.safetensors").exists()
