"""The files of one case of the conformance suite."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sewnp.checkpoints import Checkpoint, write_checkpoint, write_tensors
from sewnp.ctc import clean_labels, ctc_loss
from sewnp.files import write_json
from sewnp.layers.observe import within
from sewnp.layers.softmax import log_softmax
from sewnp.layers.spec_augment import mask_frames
from sewnp.networks.stages import stage_of
from sewnp.numerics.budgets import FACTOR, FLOOR, budgets
from sewnp.numerics.jitter import honest_runs
from sewnp.numerics.measure import largest_error
from sewnp.numerics.precision import EPS, in_precision
from sewnp.numerics.stage_files import INPUT
from sewnp.numerics.trace import Recorder, trace
from sewnp.speech.features import FeatureExtractor
from sewnp.speech.tokenizer import CTCTokenizer
from sewnp.suite.kinds import (
    Case,
    CTCCase,
    FeatureCase,
    NetworkCase,
    SpecAugmentCase,
    TokenizerCase,
    covers,
    inputs_of,
    model_of,
    random_of,
)
from sewnp.suite.layout import EXPECTED, INPUTS, STAGES, write_lines
from sewnp.types import Array

NORMALISATION_EPS = 1e-7
JITTERED = 3
"""Runs with other rounding that a budget is derived from, beside the plain one."""


def write_case(case: Case, folder: Path, seed: int) -> dict[str, Any]:
    """Write the files of a case into a new folder -> its entry in the manifest."""
    folder.mkdir(parents=True)
    match case:
        case NetworkCase():
            return _write_network(case, folder, seed)
        case CTCCase():
            return _write_ctc(case, folder, seed)
        case FeatureCase():
            return _write_features(case, folder, seed)
        case SpecAugmentCase():
            return _write_spec_augment(case, folder, seed)
        case TokenizerCase():
            return _write_tokenizer(case, folder)


def _entry(
    case: Case, kind: str, *, covers: Sequence[str], required: Sequence[str], dtype: str | None = "float32"
) -> dict[str, Any]:
    network = case if isinstance(case, NetworkCase) else None
    return {
        "name": case.name,
        "title": case.title,
        "kind": kind,
        "family": network and network.family,
        "head": network and network.head,
        "masking": network and network.masking,
        "dtype": dtype,
        "covers": list(covers),
        "required": list(required),
    }


def _write_network(case: NetworkCase, folder: Path, seed: int) -> dict[str, Any]:
    model, inputs = model_of(case, seed), inputs_of(case, seed)
    write_checkpoint(folder, Checkpoint(model.config, model.head, model.flat_weights()))
    given = {name: np.asarray(value) for name, value in inputs.arguments().items() if value is not None}
    write_tensors(folder / f"{INPUTS}.safetensors", given)
    truth = trace(in_precision(model, "float64"), **inputs.arguments())
    rng = random_of(f"rounding of {case.name}", seed)
    allowed = budgets(truth, honest_runs(model, inputs, jittered=JITTERED, rng=rng))
    order = json.dumps(list(truth))
    metadata = {**truth.metadata, "budgets": json.dumps(allowed), "order": order}
    write_tensors(folder / f"{EXPECTED}.safetensors", {**truth, **{INPUT + name: value for name, value in given.items()}}, metadata)
    kinds = {name: stage_of(name) for name in truth}
    said = {name: (kind.axes, kind.meaning) for name, kind in kinds.items()}
    _write_stages(folder, truth, allowed, said)
    final = "encoder.last_hidden_state" if model.head is None else "logits"
    return _entry(case, "network", covers=covers(case, model.config, inputs), required=[final, *(["loss"] if case.labels else [])])


def _write_ctc(case: CTCCase, folder: Path, seed: int) -> dict[str, Any]:
    labels = np.array(case.labels, dtype=np.int64)
    # one frame more than any clip has, so that what lies behind the lengths shows when it is read
    shape = (len(labels), max(case.input_lengths) + 1, case.vocab_size)
    given: dict[str, Array] = {
        "log_probs": log_softmax(2.0 * random_of(case.name, seed).standard_normal(shape)).astype(np.float32),
        "labels": labels,
        "input_lengths": np.array(case.input_lengths, dtype=np.int64),
    }
    settings = {
        "vocab_size": case.vocab_size,
        "pad_token_id": case.blank,
        "ctc_loss_reduction": case.reduction,
        "ctc_zero_infinity": case.zero_infinity,
    }
    write_json(folder / "config.json", settings)
    truth, honest = (_ctc_stages(case, given, dtype) for dtype in (np.float64, np.float32))
    _write_arrays(folder, given, truth, honest, {name: (stage_of(name).axes, stage_of(name).meaning) for name in truth})
    said = [f"reduction:{case.reduction}", f"zero_infinity:{str(case.zero_infinity).lower()}", f"blank:{case.blank}"]
    targets, lengths = clean_labels(labels, blank=case.blank, vocab_size=case.vocab_size)
    inside = np.arange(1, targets.shape[1]) < lengths[:, None]
    forced = _ctc_stages(case, given, np.float64, zero_infinity=False)
    found = {
        "repeats": bool((inside & (targets[:, 1:] == targets[:, :-1])).any()),
        "ignored": bool((labels == -100).any()),
        "blanks": bool((labels == case.blank).any()),
        "infeasible": bool(np.isinf(forced["ctc.losses"]).any()),
        "empty_target": bool((lengths == 0).any()),
        "no_frames": 0 in case.input_lengths,
    }
    return _entry(case, "ctc", covers=[*said, *(f"ctc:{name}" for name, here in found.items() if here)], required=["loss"])


def _ctc_stages(case: CTCCase, given: Mapping[str, Array], dtype: Any, zero_infinity: bool | None = None) -> dict[str, Array]:
    targets, lengths = clean_labels(given["labels"], blank=case.blank, vocab_size=case.vocab_size)
    recorder = Recorder()
    loss = ctc_loss(
        given["log_probs"].astype(dtype),
        targets,
        given["input_lengths"],
        lengths,
        blank=case.blank,
        reduction=case.reduction,
        zero_infinity=case.zero_infinity if zero_infinity is None else zero_infinity,
        see=within(recorder, "ctc"),
    )
    return {**recorder.values, "loss": loss}


def _write_features(case: FeatureCase, folder: Path, seed: int) -> dict[str, Any]:
    rng = random_of(case.name, seed)
    clips = [(case.gain * rng.standard_normal(length) + case.offset).astype(np.float32) for length in case.lengths]
    extractor = FeatureExtractor(**case.config)
    write_json(folder / "preprocessor_config.json", extractor.to_dict())
    values, mask = extractor(clips)
    truth, honest = {"input_values": _normalised(clips, extractor)}, {"input_values": values}
    said = {"input_values": ("B n", "the clips, normalised and padded"), "attention_mask": ("B n", "1 for samples, 0 for padding")}
    if mask is not None:
        truth["attention_mask"] = honest["attention_mask"] = mask.astype(np.int64)
    _write_arrays(folder, {f"audio.{i}": clip for i, clip in enumerate(clips)}, truth, honest, said)
    found = {"padding": len(set(case.lengths)) > 1, "mask": mask is not None, "raw": not extractor.do_normalize}
    return _entry(case, "features", covers=[f"features:{name}" for name, here in found.items() if here], required=["input_values"])


def _normalised(clips: Sequence[Array], extractor: FeatureExtractor) -> Array:
    """What the feature extractor means, in float64.  It computes in float32 itself, as the original does."""
    longest = max(len(clip) for clip in clips)
    rows = []
    for clip in clips:
        row = np.pad(clip.astype(np.float64), (0, longest - len(clip)), constant_values=extractor.padding_value)
        known = row[: len(clip)] if extractor.return_attention_mask else row
        if extractor.do_normalize:
            row = (row - known.mean()) / np.sqrt(known.var() + NORMALISATION_EPS)
            row[len(known) :] = extractor.padding_value
        rows.append(row)
    return np.stack(rows)


def _write_spec_augment(case: SpecAugmentCase, folder: Path, seed: int) -> dict[str, Any]:
    rng, clips, channels = random_of(case.name, seed), len(case.indices), 5
    hidden = np.zeros((clips, case.frames), dtype=bool)
    for row, indices in zip(hidden, case.indices, strict=True):
        row[list(indices)] = True
    given = {
        "hidden_states": rng.standard_normal((clips, case.frames, channels)).astype(np.float32),
        "mask_time_indices": hidden,
        "masked_spec_embed": rng.standard_normal(channels).astype(np.float32),
    }
    truth = {"masked_spec_embed": mask_frames(given["hidden_states"].astype(np.float64), hidden, given["masked_spec_embed"])}
    _write_arrays(folder, given, truth, truth, {"masked_spec_embed": ("B T H", stage_of("masked_spec_embed").meaning)})
    return _entry(case, "spec_augment", covers=["spec_augment:alone"], required=["masked_spec_embed"])


def _write_tokenizer(case: TokenizerCase, folder: Path) -> dict[str, Any]:
    tokenizer = CTCTokenizer.from_files({token: i for i, token in enumerate(case.tokens)}, case.config)
    write_json(folder / "vocab.json", tokenizer.vocab)
    write_json(folder / "tokenizer_config.json", tokenizer.config)
    options = {"skip_special_tokens": False, "group_tokens": True} | dict(case.options)
    write_lines(folder / f"{INPUTS}.json", {"paths": [list(path) for path in case.paths], **options})
    paths = [np.array(path, dtype=np.int64) for path in case.paths]
    places = [tokenizer.offsets(path) for path in paths]
    truth = {
        "text": [tokenizer.decode(path, **options) for path in paths],
        "char_offsets": [[{"char": c, "start_offset": s, "end_offset": e} for c, s, e in place.characters] for place in places],
        "word_offsets": [[{"word": w, "start_offset": s, "end_offset": e} for w, s, e in place.words] for place in places],
    }
    write_lines(folder / f"{EXPECTED}.json", truth)
    meanings = {
        "text": "what each path spells",
        "char_offsets": "characters, each with its first frame and the one behind its last",
        "word_offsets": "words, likewise",
    }
    rows = [
        {"name": name, "shape": [len(paths)], "axes": "path", "meaning": meanings[name], "kind": "text", "budget": 0.0}
        for name in truth
    ]
    write_lines(folder / STAGES, rows)
    said = [case.name.replace("-", ":", 1)]
    return _entry(case, "tokenizer", covers=said, required=["text"], dtype=None)


def _write_arrays(
    folder: Path,
    given: Mapping[str, Array],
    truth: Mapping[str, Array],
    honest: Mapping[str, Array],
    said: Mapping[str, tuple[str, str]],
) -> None:
    """Inputs, expected values and stages of a case that is no network.  honest: the same stages in float32."""
    write_tensors(folder / f"{INPUTS}.safetensors", given)
    write_tensors(folder / f"{EXPECTED}.safetensors", truth, {"order": json.dumps(list(truth))})
    allowed = {
        name: max(FACTOR * largest_error(x, honest[name]), FLOOR * EPS["float32"]) if x.dtype.kind == "f" else 0.0
        for name, x in truth.items()
    }
    _write_stages(folder, truth, allowed, said)


def _write_stages(
    folder: Path, truth: Mapping[str, Array], allowed: Mapping[str, float], said: Mapping[str, tuple[str, str]]
) -> None:
    kinds = {"f": "float", "i": "integer", "b": "boolean"}
    rows = [
        {
            "name": name,
            "shape": list(x.shape),
            "axes": said[name][0],
            "meaning": said[name][1],
            "kind": kinds[x.dtype.kind],
            "budget": allowed[name],
        }
        for name, x in truth.items()
    ]
    write_lines(folder / STAGES, rows)
