"""What a conformance suite looks like on disk: its files, the schema of its manifest, and what it says of itself to people without Python."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sewnp.errors import TraceError, brief
from sewnp.files import read_json

FORMAT = "sewnp conformance vectors"
FORMAT_VERSION = 1
"""Counts up whenever a suite of before would be read wrongly."""

MANIFEST, SCHEMA_FILE, README_FILE, CASES_FOLDER = "manifest.json", "manifest.schema.json", "README.md", "cases"
INPUTS, EXPECTED, STAGES = "inputs", "expected", "stages.json"
KINDS = ("network", "ctc", "features", "tokenizer", "spec_augment")

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Manifest of a suite of SEW conformance vectors",
    "type": "object",
    "required": ["format", "version", "stage_list", "sewnp", "seed", "expected_dtype", "budgets_for", "cases"],
    "additionalProperties": False,
    "properties": {
        "format": {"const": FORMAT},
        "version": {"const": FORMAT_VERSION, "description": "of the suite's files"},
        "stage_list": {"type": "integer", "minimum": 1, "description": "version of the list of stage names"},
        "sewnp": {"type": "string", "description": "version that wrote the suite"},
        "seed": {"type": "integer", "minimum": 0, "description": "what weights and inputs were drawn from"},
        "expected_dtype": {"const": "float64", "description": "what the expected values were computed in"},
        "budgets_for": {"const": "float32", "description": "the arithmetic that the budgets allow for"},
        "cases": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "title", "kind", "family", "head", "masking", "dtype", "covers", "required"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "description": "folder under cases/"},
                    "title": {"type": "string", "description": "what the case is there for"},
                    "kind": {"enum": list(KINDS)},
                    "family": {"enum": ["sew", "sew-d", None]},
                    "head": {"enum": ["ctc", "classification", None]},
                    "masking": {"enum": ["any", "floor", None], "description": "mask rules; null for what knows no masks"},
                    "dtype": {"enum": ["float32", None], "description": "of weights and inputs; null for text"},
                    "covers": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "branches of the network, as name:value",
                    },
                    "required": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "stages without which the case fails",
                    },
                },
            },
        },
    },
}

README = """\
# Conformance vectors for SEW and SEW-D

Inputs, weights and every intermediate value of small random models, for whoever writes SEW or SEW-D in another language or framework.
Nothing here needs Python: JSON, and [safetensors](https://github.com/huggingface/safetensors) (eight bytes of header length, a JSON header
with dtype, shape and offsets of each tensor, then the numbers, little endian).

`manifest.json` lists the cases (`manifest.schema.json` is its JSON schema). Each has a folder `cases/<name>/`:

* **network**: `config.json` and `model.safetensors` as transformers writes them; `inputs.safetensors` with `input_values` (B, n) and, where
  given, `attention_mask` (B, n), `labels` and `mask_time_indices` (B, T). To compute: the stages of a forward pass in inference, under the
  mask rules that the manifest names (`masking`).
* **ctc**: `config.json` with `vocab_size`, `pad_token_id` (the blank), `ctc_loss_reduction` and `ctc_zero_infinity`; `inputs.safetensors` with
  `log_probs` (B, T, V), `labels` (B, L) with -100 for padding, and `input_lengths` (B,). To compute: `ctc.alpha`, `ctc.losses`, `loss`.
* **features**: `preprocessor_config.json`; `inputs.safetensors` with the clips `audio.0`, `audio.1` ..., each (n,). To compute: `input_values`
  (B, n), padded on the right, and `attention_mask` where `return_attention_mask` asks for it.
* **spec_augment**: `inputs.safetensors` with `hidden_states` (B, T, H), `mask_time_indices` (B, T) and `masked_spec_embed` (H,). To compute:
  `masked_spec_embed` (B, T, H), the hidden states with those frames replaced.
* **tokenizer**: `vocab.json` and `tokenizer_config.json` as transformers writes them; `inputs.json` with `paths`, lists of ids, and the options
  `skip_special_tokens` and `group_tokens`, which count for the text alone. To compute: `text`, `char_offsets` and `word_offsets`, lists with
  one entry a path.

`stages.json` lists the stages of the case in the order of computation: `name`, `shape`, `axes` (batch, time, channels everywhere), `meaning`,
`kind` (float, integer, boolean or text) and `budget`. `expected.safetensors` (`expected.json` for text) holds their true values: float64
arithmetic on float32 weights and inputs. In a network case it holds the inputs too, as `inputs.input_values` and so on, and is a trace as
`sewnp trace` writes it.

The mask rules `any` are those of transformers since 5.13: a squeezed frame counts when any of its frames is real, a clip without frames has
none, keys alone are masked. `floor` are those before: a squeezed frame counts when all of its frames are real (their number is the clip's
frames divided by the squeeze factor, rounded down), a frame count of 0 or less counts from the end (0 is the whole clip), and SEW-D masks
queries too. A query that may look nowhere has a context of zeros.

## What to write

One folder with one entry a case, whichever is easiest:

* `<name>.safetensors`, or
* `<name>.npz`, or
* a folder `<name>/` with a file `<stage>.npy` for each stage,
* for a tokenizer case `<name>.json`, an object of its stages.

The arrays bear the names of the stages and have their shapes; any float dtype will do for floats, 0 and 1 for booleans. You may leave stages
out: those under `required` in the manifest have to be there, the others are judged where given. The more you give, the closer an error is
located. You may leave cases out, and say so: `--cases 'sew-d-*'`.

## How it is judged

    sewnp check THIS_FOLDER YOUR_FOLDER [--cases NAME ...] [--junit FILE] [--json]

or by yourself: a stage agrees when

    max |yours - expected|  <=  budget * max |expected|

over all elements, infinities being equal where they stand. Integers, booleans and text have to be equal. NaN never agrees (no expected
value is NaN), nor does a transposed array, another shape, or a name that no stage has. A budget is four times the most that float32 cost
us at that stage, over runs that rounded differently, and at least eight machine epsilons: it is meant for ports that compute in float32 or
better.

A case passes when its required stages are given and all that is given agrees. The first stage in `stages.json` that does not agree is where
to look: what it was computed from was still right. To be told which stages are wrong in themselves, and why:

    sewnp compare cases/<name>/expected.safetensors YOUR_FOLDER/<name>.safetensors --model cases/<name>
"""


def write_lines(path: Path, values: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write JSON that people can read too, in the order given: each item of a list, and of a list in an object, has a line of its own."""
    if isinstance(values, Mapping):
        parts = [
            f"{json.dumps(key)}: {_lines(value) if isinstance(value, list) else _compact(value)}" for key, value in values.items()
        ]
        text = "{\n" + ",\n".join(parts) + "\n}"
    else:
        text = _lines(values)
    path.write_text(text + "\n", encoding="utf-8")


def _lines(items: Sequence[Any]) -> str:
    return "[\n" + ",\n".join(" " + _compact(item) for item in items) + "\n]" if items else "[]"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def is_suite(folder: Path) -> bool:
    """Whether a suite of some version lies in the folder."""
    try:
        return bool(read_json(folder / MANIFEST, TraceError).get("format") == FORMAT)
    except TraceError:
        return False


def read_suite(folder: Path) -> dict[str, Any]:
    """The manifest of a suite.  Raises TraceError where there is none, or one of another version."""
    try:
        manifest: dict[str, Any] = read_json(folder / MANIFEST, TraceError)
    except TraceError as error:
        raise TraceError(f"{error}; expected a suite written by sewnp vectors") from None
    found = manifest.get("format"), manifest.get("version")
    if found != (FORMAT, FORMAT_VERSION):
        raise TraceError(
            f"{folder / MANIFEST}: expected {FORMAT!r} of version {FORMAT_VERSION}, found {brief(found[0])} of {brief(found[1])}"
        )
    return manifest
