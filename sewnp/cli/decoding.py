"""The options by which commands choose how to decode: greedily, by beam search, or by beam search with a language model."""

import argparse

from sewnp.decoding import BeamSearch, LanguageModel
from sewnp.model import Model
from sewnp.speech import vocabulary_spelling


def add_decoder_options(parser: argparse.ArgumentParser) -> None:
    """``--beam``, ``--lm``, ``--alpha``, ``--beta``; read them with :func:`decoder`."""
    group = parser.add_argument_group("decoding", "Greedy by default: the likeliest token at each frame.")
    group.add_argument(
        "--beam",
        "--beam_size",
        "--beam-size",
        type=int,
        metavar="N",
        help=f"beam search that keeps N texts (default with --lm: {BeamSearch.beam_width})",
    )
    group.add_argument("--lm", metavar="FILE", help="a word n-gram language model, ARPA as text, .gz, .bz2 or .xz, for beam search")
    group.add_argument(
        "--alpha", type=float, metavar="A", help=f"weight of the language model's log-probabilities (default: {BeamSearch.alpha})"
    )
    group.add_argument(
        "--beta", type=float, metavar="B", help=f"bonus for each word with a language model (default: {BeamSearch.beta})"
    )


def check_decoder_options(options: argparse.Namespace) -> None:
    """A weight of a language model that is not there is wrong usage."""
    for name in ("alpha", "beta"):
        if options.lm is None and getattr(options, name) is not None:
            options.refuse(f"argument --{name}: expected with --lm, whose weight it sets")


def decoder(options: argparse.Namespace, model: Model) -> BeamSearch | None:
    """What the options ask for; None is greedy decoding.

    A language model is read, and held against the model's vocabulary, here and once, so that what does not fit fails before the
    first clip.  Raises LanguageModelError and InputError.
    """
    if options.lm is None:
        return None if options.beam is None else BeamSearch(beam_width=options.beam)
    given = {name: getattr(options, name) for name in ("alpha", "beta") if getattr(options, name) is not None}
    width = BeamSearch.beam_width if options.beam is None else options.beam
    search = BeamSearch(beam_width=width, language_model=LanguageModel.read(options.lm), **given)
    if model.tokenizer is not None:  # without one, transcribing says what is missing
        search.check_spelling(vocabulary_spelling(model.tokenizer, model.config.vocab_size))
    return search
