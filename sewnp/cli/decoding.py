"""The options by which commands choose how to decode: greedily, by beam search, or by beam search with help of what is known of words."""

import argparse
import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from sewnp.decoding import BeamSearch, LanguageModel, read_processor, read_words
from sewnp.files import AnyPath, files_in, open_regular
from sewnp.model import Model
from sewnp.speech import vocabulary_spelling

_WEIGHTS = {"lm": ("alpha", "beta"), "words": ("unknown_margin",), "hotwords": ("hotword_weight",)}
"""Of each option that helps beam search those that weigh it."""
OPTIONS = ("greedy", "beam", *(option for helper, weights in _WEIGHTS.items() for option in (helper, *weights)))
"""All that :func:`add_decoder_options` adds, as its result spells them."""


def add_decoder_options(
    parser: argparse.ArgumentParser,
    default: str = "By default a search for the words that the model's folder lists, as those of digits and digits-d do; without"
    " such a list greedy.",
) -> None:
    """``--greedy``, ``--beam``, ``--lm``, ``--words``, ``--hotwords`` and their weights; read them with :func:`decoder`."""
    group = parser.add_argument_group("decoding", default)
    group.add_argument(
        "--greedy",
        action="store_const",
        const=True,
        help="the likeliest token at each frame, whatever words the model's folder lists",
    )
    group.add_argument(
        "--beam",
        "--beam_size",
        "--beam-size",
        type=int,
        metavar="N",
        help=f"beam search that keeps N texts (default with --lm, --words or --hotwords: {BeamSearch.beam_width})",
    )
    group.add_argument(
        "--lm",
        metavar="FILE",
        help="a word n-gram language model, ARPA as text, .gz, .bz2 or .xz, for beam search; or the folder of a"
        " Wav2Vec2ProcessorWithLM, whose model, weights and words are used",
    )
    group.add_argument(
        "--alpha", type=float, metavar="A", help=f"weight of the language model's log-probabilities (default: {BeamSearch.alpha})"
    )
    group.add_argument(
        "--beta", type=float, metavar="B", help=f"bonus for each word with a language model (default: {BeamSearch.beta})"
    )
    group.add_argument("--words", metavar="FILE", help="the only words that a text may have, one a line, for beam search")
    group.add_argument(
        "--unknown-margin",
        type=float,
        metavar="M",
        help="allow other words than those of --words, at a cost of M nats each (default: none are allowed)",
    )
    group.add_argument(
        "--hotwords", type=_listed, metavar="WORDS", help="words to be heard more readily, with spaces or commas between them"
    )
    group.add_argument(
        "--hotword-weight",
        type=float,
        metavar="W",
        help=f"bonus for each hotword, in nats (default: {BeamSearch.hotword_weight:g})",
    )


def _listed(text: str) -> list[str]:
    """The words of an argument."""
    if not (words := text.replace(",", " ").split()):
        raise argparse.ArgumentTypeError("expected words, found none")
    return words


def check_decoder_options(options: argparse.Namespace) -> None:
    """A weight of what is not there is wrong usage, and so is help for greedy decoding."""
    for helper in ("beam", *_WEIGHTS):
        if options.greedy and getattr(options, helper) is not None:
            options.refuse(f"argument --greedy: expected without --{helper}, which greedy decoding has no use for")
    for helper, weights in _WEIGHTS.items():
        for weight in weights:
            if getattr(options, helper) is None and getattr(options, weight) is not None:
                options.refuse(f"argument --{weight.replace('_', '-')}: expected with --{helper}, whose weight it sets")


def decoder(options: argparse.Namespace, model: Model) -> BeamSearch | Literal["greedy"] | None:
    """What the options ask for; None is whatever the model does by itself.

    Files are read, and held against the model's vocabulary, here and once, so that what does not fit fails before the first clip.
    Raises LanguageModelError and InputError.
    """
    if options.greedy:
        return "greedy"
    if all(getattr(options, name) is None for name in ("beam", *_WEIGHTS)):
        return None
    weights = {name: getattr(options, name) for names in _WEIGHTS.values() for name in names}
    given = {name: value for name, value in weights.items() if value is not None}
    if options.beam is not None:
        given["beam_width"] = options.beam
    if options.words is not None:
        given |= {"words": read_words(options.words), "unknown_margin": given.get("unknown_margin", math.inf)}
    if options.hotwords is not None:
        given["hotwords"] = options.hotwords
    search = replace(_helped(options.lm), **given)
    if model.tokenizer is not None:  # without one, transcribing says what is missing
        search.check_spelling(vocabulary_spelling(model.tokenizer, model.config.vocab_size))
    return search


def _helped(lm: str | None) -> BeamSearch:
    """The search that a file or folder of a language model makes, all else being as it is by default."""
    if lm is None:
        return BeamSearch()
    return read_processor(lm) if os.path.isdir(lm) else BeamSearch(language_model=LanguageModel.read(lm))


def decoder_files(options: argparse.Namespace) -> dict[str, Iterable[AnyPath | None]]:
    """The files that a decoder is made of, which nothing may be written over, by what they are."""
    folder = options.lm is not None and os.path.isdir(options.lm)
    return {"the language model": files_in(options.lm) if folder else [options.lm], "the list of words": [options.words]}


def decoder_name(search: BeamSearch | Literal["greedy"]) -> str:
    """The decoder in words that are the same for the same decoder: every setting, and a language model and lists by their content."""
    if search == "greedy":
        return search
    settings = {name: getattr(search, name) for name in ("beam_width", "min_token_log_prob", "beam_threshold")}
    if search.language_model is not None:
        settings |= {name: getattr(search, name) for name in ("alpha", "beta", "unknown_offset")}
        with open_regular(search.language_model.name) as file:
            settings["language_model"] = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    if search.words is not None:
        settings |= {"unknown_margin": search.unknown_margin, "words": _digest(search.words)}
    if search.hotwords:
        settings |= {"hotword_weight": search.hotword_weight, "hotwords": _digest(search.hotwords)}
    return "beam search: " + ", ".join(f"{name} {value}" for name, value in settings.items())


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
