"""Original checkpoints of SEW and SEW-D, as fairseq saved them: their arguments, their names of tensors, their dictionary.

Source: https://github.com/asappresearch/sew, whose names and defaults these are; what transformers makes of them follows the conversion
scripts that it once shipped.  Such a file holds far more than tensors, among it objects of fairseq, argparse and omegaconf.  They are
read as inert placeholders: what attributes they have is known, no class of theirs is ever imported or called.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sewnp.checkpoints.fairseq_arguments import arguments_of, described_config, scalar
from sewnp.checkpoints.folder import Checkpoint, listed
from sewnp.checkpoints.pickles import read_pickle, tensors_of
from sewnp.checkpoints.stored import FLOATS, TensorFile
from sewnp.config import Config
from sewnp.errors import CheckpointError, printable
from sewnp.files import path_name, read_text
from sewnp.parameters import Head, is_optional, parameter_count, parameter_shapes
from sewnp.types import Array

DICTIONARY = "dict.ltr.txt"

_ENCODER = "w2v_encoder.w2v_model."
_HEAD = "w2v_encoder.proj."
_UNUSED = (f"{_ENCODER}mask_emb", "mask_emb", "quantizer.", "project_q.", "target_glu.", "final_proj.")
"""What only training uses.  The former hides frames, and may stay where the configuration hides none."""

_LARGEST_DICTIONARY = 2**20

# what fairseq calls a part, and what transformers calls it; the longer names first where one begins with another
_PARTS = (
    ("masked_spec_embed", "mask_emb"),
    ("feature_projection.", "post_extract_proj."),
    ("encoder.pos_conv_embed.conv.parametrizations.weight.original0", "encoder.pos_conv.0.weight_g"),
    ("encoder.pos_conv_embed.conv.parametrizations.weight.original1", "encoder.pos_conv.0.weight_v"),
    ("encoder.pos_conv_embed.conv.", "encoder.pos_conv.0."),
    ("encoder.upsample.projection.", "encoder.upsample.0."),
    (".attention.", ".self_attn."),
    (".feed_forward.intermediate_dense.", ".fc1."),
    (".feed_forward.output_dense.", ".fc2."),
)


def read_fairseq(path: Path, *, dictionary: Path | None = None, config: Config | None = None) -> Checkpoint:
    """Read an original checkpoint, pre-trained or fine-tuned with CTC, in the dtypes it has, as what a folder of transformers would hold.

    dictionary: the symbols of a fine-tuned model, by default ``dict.ltr.txt`` beside the file.  config: in place of what the file's own
    arguments describe.  Raises CheckpointError and ConfigError, naming file, argument or tensor.
    """
    content, archive = read_pickle(path, placeholders=True)
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        hint = "; for a pytorch_model.bin, give its folder" if path.suffix == ".bin" else ""
        raise CheckpointError(f"{path_name(path)}: expected a checkpoint of fairseq, a dict with its tensors under 'model'{hint}")
    tensors = tensors_of(path, archive, state)
    head: Head | None = "ctc" if any(key.startswith(_ENCODER) for key in tensors.shapes) else None
    arguments, task = arguments_of(content)
    if config is None:
        deberta = any(".encoder.layer." in key for key in tensors.shapes)
        config = described_config(path, arguments, head, deberta=deberta)
    vocab = _vocabulary(path.parent / DICTIONARY if dictionary is None else dictionary) if head else None
    if vocab is not None:
        config = _with_vocabulary(path, config, vocab, tensors)
    weights = _weights(tensors, config, head)
    layer = config.feat_extract_norm == "layer"
    return Checkpoint(
        config=config,
        head=head,
        weights=weights,
        preprocessor={
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "padding_side": "right",
            "padding_value": 0.0,
            "sampling_rate": scalar(path, task, "sample_rate", 16000),
            # group norm undoes both loudness and offset, and transformers always normalises; layer norm has to have it as in training
            "do_normalize": bool(scalar(path, task, "normalize", True)) if layer else True,
            "return_attention_mask": layer,
        },
        vocab=vocab,
        tokenizer=None if vocab is None else dict(_TOKENIZER),
    )


_TOKENIZER = {
    "tokenizer_class": "Wav2Vec2CTCTokenizer",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "word_delimiter_token": "|",
    "do_lower_case": False,
}


def _vocabulary(path: Path) -> dict[str, Any]:
    """A dictionary of fairseq, a symbol and its count a line, as token to id.

    fairseq's first symbols are <s>, <pad>, </s>, <unk>, and its CTC uses the first as blank.  In transformers the blank is <pad>: the two
    change places.
    """
    tokens = ["<pad>", "<s>", "</s>", "<unk>"]
    if not os.path.exists(path):
        raise CheckpointError(
            f"{path_name(path)}: no such file; a fine-tuned model needs its dictionary, beside it or named with --dict"
        )
    content = read_text(path, _LARGEST_DICTIONARY, CheckpointError)
    lines = content.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")  # str.splitlines knows many more ends
    for number, line in enumerate(lines, 1):
        token, _, count = line.rstrip().removesuffix(" #fairseq:overwrite").rpartition(" ")
        if not token or not re.fullmatch(r"-?\d+", count):
            raise CheckpointError(f"{path_name(path)}: line {number}: expected a symbol and its count, found {printable(line)}")
        tokens.append(token)
    vocab = {token: index for index, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        twice = next(token for index, token in enumerate(tokens) if vocab[token] != index)
        raise CheckpointError(f"{path_name(path)}: the symbol {printable(twice)} is there twice")
    return vocab


def _with_vocabulary(path: Path, config: Config, vocab: Mapping[str, int], tensors: TensorFile) -> Config:
    rows = tensors.shapes.get(f"{_HEAD}bias", (0,))
    if rows != (len(vocab),):
        raise CheckpointError(
            f"{path_name(path)}: {_HEAD}bias: expected shape ({len(vocab)},), for the dictionary has {len(vocab) - 4} symbols and fairseq adds 4;"
            f" found {rows}"
        )
    return replace(config, vocab_size=len(vocab), pad_token_id=0, bos_token_id=1, eos_token_id=2)


def _weights(tensors: TensorFile, config: Config, head: Head | None) -> dict[str, Array]:
    """The weights under transformers' names.  Every tensor that is missing, left over or of the wrong shape is reported at once."""
    count, held = parameter_count(config, head), sum(math.prod(shape) for shape in tensors.shapes.values())
    if count > 2 * held + 10**6:  # before they are spelled out, one by one
        raise CheckpointError(f"{path_name(tensors.path)}: its arguments describe {count:,} parameters, it holds {held:,}")
    wanted = parameter_shapes(config, head)
    names = {key: _original(key, config, head) for key in wanted}
    problems = []
    for key, shape in wanted.items():
        found = tensors.shapes.get(names[key])
        if found is None and is_optional(key):
            del names[key]
        elif found is None:
            problems.append(f"{names[key]}: missing")
        elif found != shape:
            problems.append(f"{names[key]}: expected shape {shape}, found {found}")
    used = set(names.values())
    problems += [f"{printable(key)}: unexpected" for key in tensors.shapes if key not in used and not key.startswith(_UNUSED)]
    problems += [f"{name}: expected a dtype of {', '.join(FLOATS)}, found {tensors.dtypes[name]}"
                 for name in used if tensors.dtypes.get(name, "F32") not in FLOATS]  # fmt: skip
    if problems:
        raise CheckpointError(f"{path_name(tensors.path)}: tensors do not fit its arguments:{listed(problems)}")
    return {key: tensors.read(name) for key, name in names.items()}


def _original(key: str, config: Config, head: Head | None) -> str:
    """What fairseq calls a tensor of transformers."""
    if key.startswith("lm_head."):
        return _HEAD + key.removeprefix("lm_head.")
    name = key.removeprefix(f"{config.prefix}.")
    if name.startswith("feature_extractor."):
        inner = ".2.1." if config.feat_extract_norm == "layer" else ".2."
        name = name.replace(".conv.", ".0.").replace(".layer_norm.", inner)
    elif not name.startswith("encoder.encoder."):  # SEW-D's transformer is DeBERTa's, in both
        if name.startswith("encoder.layers."):
            name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
        for ours, theirs in _PARTS:
            if ours in name:
                name = name.replace(ours, theirs)
                break
    return (_ENCODER if head else "") + name
