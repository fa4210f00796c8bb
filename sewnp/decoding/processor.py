"""The folder of a ``Wav2Vec2ProcessorWithLM`` of transformers, in which pyctcdecode keeps a language model, its weights and its words::

    language_model/attrs.json       alpha, beta, unk_score_offset, score_boundary
    language_model/unigrams.txt     the words that count as known, one a line
    language_model/<name>.arpa      the model; .bin or .binary where it is kenlm's own format, which cannot be read here

What else such a folder holds is what any folder of a model holds; ``alphabet.json`` repeats the vocabulary.
"""

import os
from pathlib import Path

from sewnp.decoding.beam import BeamSearch
from sewnp.decoding.language_model import BEGIN, END, LanguageModel
from sewnp.errors import InputError, LanguageModelError, brief
from sewnp.files import files_in, is_folder, path_name, read_json, read_lines

_ATTRIBUTES = ("alpha", "beta", "unk_score_offset", "score_boundary")
_SUFFIXES = (".arpa", ".bin", ".binary")


def read_processor(folder: str | os.PathLike[str]) -> BeamSearch:
    """The search that such a folder asks for: its language model and weights, and where it lists words those as the known ones.

    As in pyctcdecode, listed words that the model lacks are none, a word that is not listed is charged the unknown offset and else what
    the model says, and a list without a word is no list.

    Raises LanguageModelError for a folder without ``language_model``, one in which there is not one model, attributes that are missing
    or mean nothing, ``score_boundary`` false, which is not built, and what :meth:`LanguageModel.read` refuses.
    """
    inside = Path(folder) / "language_model"
    if not is_folder(inside, LanguageModelError):
        raise LanguageModelError(
            f"{path_name(folder)}: expected a folder language_model in it, as Wav2Vec2ProcessorWithLM writes it"
        )
    values = read_json(inside / "attrs.json", LanguageModelError)
    if missing := [name for name in _ATTRIBUTES if name not in values]:
        raise LanguageModelError(f"{path_name(inside / 'attrs.json')}: expected {', '.join(_ATTRIBUTES)}, found no {missing[0]}")
    if values["score_boundary"] is not True:
        found = brief(values["score_boundary"])
        raise LanguageModelError(f"{path_name(inside / 'attrs.json')}: score_boundary: expected true, found {found}")
    try:
        BeamSearch(alpha=values["alpha"], beta=values["beta"], unknown_offset=values["unk_score_offset"])
    except InputError as error:
        raise LanguageModelError(f"{path_name(inside / 'attrs.json')}: {error}") from error
    model = LanguageModel.read(_model_file(inside))
    lines = {line.strip() for _, line in read_lines(inside / "unigrams.txt", LanguageModelError)}
    known = lines & model.words.keys() - {BEGIN, END}
    return BeamSearch(
        language_model=model,
        alpha=values["alpha"],
        beta=values["beta"],
        unknown_offset=values["unk_score_offset"],
        words=sorted(known) if known else None,
        unknown_margin=0.0,
    )


def _model_file(inside: Path) -> Path:
    """The model, in the format that can be read where it is there in both."""
    found = [Path(path) for path in files_in(inside, LanguageModelError) if path.endswith(_SUFFIXES)]
    readable = [path for path in found if path.suffix == ".arpa"]
    if len(readable or found) != 1:
        named = ", ".join(path_name(path.name) for path in found) or "none"
        raise LanguageModelError(f"{path_name(inside)}: expected one language model, NAME.arpa, found {named}")
    return (readable or found)[0]
