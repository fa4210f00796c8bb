"""Why a case went wrong first: the known mistake, of those that its kind can have, that makes its first wrong stage what was found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sewnp.errors import SewError, TraceError
from sewnp.files import read_json
from sewnp.loading import load
from sewnp.mistakes import StageRun
from sewnp.mistakes.ctc import CTCProblem, lattices, losses, reductions
from sewnp.mistakes.features import features
from sewnp.mistakes.naming import fitting, in_words
from sewnp.mistakes.stage_run import Mistakes
from sewnp.mistakes.table import mistakes_of
from sewnp.mistakes.text import places, spellings
from sewnp.networks.stages import GRADIENT
from sewnp.numerics.compare import StageComparison
from sewnp.numerics.stage_files import StageFile, open_stages
from sewnp.numerics.trace import Inputs
from sewnp.speech.features import FeatureExtractor
from sewnp.speech.tokenizer import CTCTokenizer
from sewnp.suite.layout import INPUTS
from sewnp.types import Array


def cause_of(folder: Path, entry: Mapping[str, Any], truth: Mapping[str, Any], row: StageComparison, found: Any) -> str:
    """The mistake in words; "" where none that is known makes the stage what was found, or the case's files do not tell what it came from.

    folder: the case's.  truth: its expected values, from which the mistakes are computed: before the first wrong stage they are the port's.
    """
    if entry["kind"] == "tokenizer":
        said = [said for said, value in _texts(folder, truth, row.name) if value == found]
        return in_words(list(dict.fromkeys(said)))
    makers = {"network": _network, "ctc": _ctc, "features": _features}
    if entry["kind"] not in makers:
        return ""
    try:
        mistakes = makers[entry["kind"]](folder, entry, truth, row.name)
        return in_words(fitting(mistakes, found, row.budget, least=row.least))
    except SewError:  # values that no network comes by: what is wrong has been said, why is not known
        return ""


def _network(folder: Path, entry: Mapping[str, Any], truth: Mapping[str, Array], name: str) -> Mistakes:
    model = load(folder, dtype="float64", masking=entry["masking"], head=entry["head"])
    assert isinstance(truth, StageFile)
    inputs = Inputs.of(truth.arguments(), gradients=any(each.startswith(GRADIENT) for each in truth))
    values = {each: truth[each] for each in truth}
    yield from mistakes_of(StageRun(name, model, values, inputs, values[name]))


def _ctc(folder: Path, entry: Mapping[str, Any], truth: Mapping[str, Array], name: str) -> Mistakes:
    given, c = open_stages(folder / f"{INPUTS}.safetensors"), read_json(folder / "config.json", TraceError)
    problem = CTCProblem(
        given["log_probs"].astype(np.float64),
        given["labels"],
        given["input_lengths"],
        c["pad_token_id"],
        c["ctc_loss_reduction"],
        c["ctc_zero_infinity"],
    )
    if name == "ctc.alpha":
        yield from lattices(problem, truth[name])
    elif name == "ctc.losses":
        yield from losses(problem, truth[name])
    elif name == "loss":
        yield from reductions(problem, truth[name], truth["ctc.losses"])


def _features(folder: Path, entry: Mapping[str, Any], truth: Mapping[str, Array], name: str) -> Mistakes:
    given = open_stages(folder / f"{INPUTS}.safetensors")
    extractor = FeatureExtractor.from_dict(read_json(folder / "preprocessor_config.json", TraceError))
    if name == "input_values":
        yield from features([given[f"audio.{i}"] for i in range(len(given))], extractor)


def _texts(folder: Path, truth: Mapping[str, Any], name: str) -> Any:
    given, vocab, config = (read_json(folder / f"{each}.json", TraceError) for each in (INPUTS, "vocab", "tokenizer_config"))
    options = {each: given[each] for each in ("skip_special_tokens", "group_tokens")}
    tokenizer = CTCTokenizer.from_files(vocab, config)
    if name == "text":
        return spellings(tokenizer, given["paths"], options)
    return places(tokenizer, given["paths"], name, truth[name])
