"""The files of one case of the conformance suite."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sewnp.checkpoints import Checkpoint, write_checkpoint, write_tensors
from sewnp.ctc import clean_labels, ctc_loss, ctc_loss_vjp
from sewnp.files import write_json
from sewnp.layers.observe import within
from sewnp.layers.softmax import log_softmax
from sewnp.layers.spec_augment import mask_frames
from sewnp.networks.stages import GRADIENT, stage_of
from sewnp.numerics.budgets import budgets
from sewnp.numerics.jitter import honest_runs, of_float32_lattices
from sewnp.numerics.precision import in_precision
from sewnp.numerics.scales import zero_scales
from sewnp.numerics.trace import Recorder, both_ways, trace, write_trace
from sewnp.speech.features import FeatureExtractor
from sewnp.speech.tokenizer import CTCTokenizer
from sewnp.suite.cases import KINDS, Case, CTCCase, FeatureCase, NetworkCase, SpecAugmentCase, TokenizerCase
from sewnp.suite.layout import EXPECTED, INPUTS, STAGES, write_lines
from sewnp.suite.networks import covers, in_training, inputs_of, model_of, random_of
from sewnp.types import Array

NORMALISATION_EPS = 1e-7
JITTERED = 3
"""Runs with other rounding that a budget is derived from, beside the plain one."""


def write_case(case: Case, folder: Path, seed: int) -> dict[str, Any]:
    """Write the files of a case into a new folder -> its entry in the manifest."""
    folder.mkdir(parents=True)
    match case:
        case NetworkCase():
            covered, required = _write_network(case, folder, seed)
        case CTCCase():
            covered, required = _write_ctc(case, folder, seed)
        case FeatureCase():
            covered, required = _write_features(case, folder, seed)
        case SpecAugmentCase():
            covered, required = _write_spec_augment(case, folder, seed)
        case TokenizerCase():
            covered, required = _write_tokenizer(case, folder)
    return {
        "name": case.name,
        "title": case.title,
        "kind": next(kind for kind, cls in KINDS.items() if isinstance(case, cls)),
        **{name: getattr(case, name, None) for name in ("family", "head", "masking")},
        "dtype": None if isinstance(case, TokenizerCase) else "float32",
        "covers": covered,
        "required": required,
    }


Covered: TypeAlias = tuple[list[str], list[str]]
"""The branches that a case runs through, and the stages without which it fails."""


def _write_network(case: NetworkCase, folder: Path, seed: int) -> Covered:
    model, inputs = model_of(case, seed), inputs_of(case, seed)
    inputs = in_training(case, model, inputs, seed) if case.trained else inputs
    write_checkpoint(folder, Checkpoint(model.config, model.head, model.flat_weights()))
    write_tensors(folder / f"{INPUTS}.safetensors", inputs.given())
    truth = trace(in_precision(model, "float64"), **inputs.arguments())
    rng = random_of(f"rounding of {case.name}", seed)
    allowed = budgets(truth, honest_runs(model, inputs, jittered_count=JITTERED, rng=rng))
    _write_stages(folder, truth, allowed)
    judged_by = {"budgets": json.dumps(allowed), "scales": json.dumps(zero_scales(truth))}
    write_trace(folder / f"{EXPECTED}.safetensors", replace(truth, metadata={**truth.metadata, **judged_by}))
    final = "encoder.last_hidden_state" if model.head is None else "logits"
    weights = [name for name in truth if stage_of(name).group == "weights"]
    return covers(case, model.config, inputs), [final, *(["loss"] if case.labels else []), *weights]


def _write_ctc(case: CTCCase, folder: Path, seed: int) -> Covered:
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
    targets, lengths = clean_labels(labels, blank=case.blank, vocab_size=case.vocab_size)

    def stages(dtype: type, zero_infinity: bool = case.zero_infinity) -> dict[str, Array]:
        recorder = Recorder()
        problem: tuple[Array, ...] = given["log_probs"].astype(dtype), targets, given["input_lengths"], lengths
        options: Any = {"blank": case.blank, "reduction": case.reduction, "zero_infinity": zero_infinity}
        if not case.gradients:
            recorder("loss", ctc_loss(*problem, **options, see=within(recorder, "ctc")))
            return recorder.values
        see = both_ways(recorder)
        loss, ctc_back = ctc_loss_vjp(*problem, **options, see=within(see, "ctc"))
        loss, loss_back = see("loss", loss)
        recorder(f"{GRADIENT}log_probs", ctc_back(loss_back(np.ones_like(loss))))
        return recorder.values

    truth, honest = stages(np.float64), [stages(np.float32)]
    if case.gradients:
        name, rng = f"{GRADIENT}log_probs", random_of(f"rounding of {case.name}", seed)
        moved = (of_float32_lattices(honest[0][name], truth["ctc.alpha"], rng) for _ in range(JITTERED))
        honest += [honest[0] | {name: x} for x in moved]
    _write_arrays(folder, given, truth, honest)
    inside = np.arange(1, targets.shape[1]) < lengths[:, None]
    found = {
        "repeats": bool((inside & (targets[:, 1:] == targets[:, :-1])).any()),
        "ignored": bool((labels == -100).any()),
        "blanks": bool((labels == case.blank).any()),
        "infeasible": bool(np.isinf(stages(np.float64, zero_infinity=False)["ctc.losses"]).any()),
        "empty_target": bool((lengths == 0).any()),
        "no_frames": 0 in case.input_lengths,
    }
    settled = [f"reduction:{case.reduction}", f"zero_infinity:{str(case.zero_infinity).lower()}", f"blank:{case.blank}"]
    settled += ["gradients:ctc"] if case.gradients else []
    required = ["loss", *([f"{GRADIENT}log_probs"] if case.gradients else [])]
    return [*settled, *(f"ctc:{name}" for name, here in found.items() if here)], required


def _write_features(case: FeatureCase, folder: Path, seed: int) -> Covered:
    rng = random_of(case.name, seed)
    clips = [(case.gain * rng.standard_normal(length) + case.offset).astype(np.float32) for length in case.lengths]
    extractor = FeatureExtractor(**case.config)
    write_json(folder / "preprocessor_config.json", extractor.to_dict())
    values, mask = extractor(clips)
    truth, honest = {"input_values": _normalised(clips, extractor)}, {"input_values": values}
    about = {"input_values": ("B n", "the clips, normalised and padded"), "attention_mask": ("B n", "1 for samples, 0 for padding")}
    if mask is not None:
        truth["attention_mask"] = honest["attention_mask"] = mask.astype(np.int64)
    _write_arrays(folder, {f"audio.{i}": clip for i, clip in enumerate(clips)}, truth, [honest], about)
    found = {"padding": len(set(case.lengths)) > 1, "mask": mask is not None, "raw": not extractor.do_normalize}
    return [f"features:{name}" for name, here in found.items() if here], ["input_values"]


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


def _write_spec_augment(case: SpecAugmentCase, folder: Path, seed: int) -> Covered:
    rng, clips, channels = random_of(case.name, seed), len(case.indices), 5
    hidden = np.zeros((clips, case.frame_count), dtype=bool)
    for row, indices in zip(hidden, case.indices, strict=True):
        row[list(indices)] = True
    given = {
        "hidden_states": rng.standard_normal((clips, case.frame_count, channels)).astype(np.float32),
        "mask_time_indices": hidden,
        "masked_spec_embed": rng.standard_normal(channels).astype(np.float32),
    }
    truth = {"masked_spec_embed": mask_frames(given["hidden_states"].astype(np.float64), hidden, given["masked_spec_embed"])}
    _write_arrays(folder, given, truth, honest=[truth])
    return ["spec_augment:alone"], ["masked_spec_embed"]


def _write_tokenizer(case: TokenizerCase, folder: Path) -> Covered:
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
    return [case.name.replace("-", ":", 1)], ["text"]


About: TypeAlias = Mapping[str, tuple[str, str]]
"""Axes and meaning of what has its own in the suite; otherwise they are those of the stage list."""


def _write_arrays(
    folder: Path,
    given: Mapping[str, Array],
    truth: Mapping[str, Array],
    honest: Iterable[Mapping[str, Array]],
    about: About | None = None,
) -> None:
    """Inputs, expected values and stages of a case that is no network.  honest: runs of it in float32."""
    write_tensors(folder / f"{INPUTS}.safetensors", given)
    write_tensors(folder / f"{EXPECTED}.safetensors", truth, {"order": json.dumps(list(truth))})
    _write_stages(folder, truth, budgets(truth, honest), about)


def _write_stages(folder: Path, truth: Mapping[str, Array], allowed: Mapping[str, float], about: About | None = None) -> None:
    kinds, zeros = {"f": "float", "i": "integer", "b": "boolean"}, zero_scales(truth)
    rows = []
    for name, x in truth.items():
        axes, meaning = (about or {}).get(name) or (stage_of(name).axes, stage_of(name).meaning)
        row: dict[str, Any] = {"name": name, "shape": list(x.shape), "axes": axes, "meaning": meaning}
        row |= {"kind": kinds[x.dtype.kind], "budget": allowed[name]}
        rows.append(row | ({"scale": zeros[name]} if name in zeros else {}))
    write_lines(folder / STAGES, rows)
