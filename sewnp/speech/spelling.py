"""Spelling: what a vocabulary's tokens stand for, and a text spelled strictly, for alignment and scoring, never with an unknown token."""

import re
from typing import NamedTuple

from sewnp.decoding import Spelling
from sewnp.errors import InputError, TokenizerError, brief
from sewnp.speech.tokenizer import CTCTokenizer

_SHOWN = 5
WILDCARD = "*"
"""A word that stands for whatever is said there, where the caller allows it."""


class Spelled(NamedTuple):
    """A token's id, and the characters of the text, ``text[start:end]``, that it stands for."""

    token: int
    start: int
    end: int


def spell(text: str, tokenizer: CTCTokenizer, *, vocab_size: int | None = None, wildcard: bool = False) -> list[list[Spelled]]:
    """The words of a text, each as its tokens.  What stands between words, :func:`delimiter_id`, is left to the caller.

    Unlike ``tokenizer.encode`` it never writes an unknown or special token, and any white space ends a word.  A character that the
    vocabulary has only in its other case is taken in that.  Of tokens with several characters the longest that fits is taken, from left to
    right.  ``vocab_size``: how many tokens the model has, where that may be fewer than the tokenizer's.  ``wildcard``: whether a word "*" that
    the vocabulary cannot spell is one token, the number of all tokens: see :func:`sewnp.ctc.with_wildcard`.

    Raises InputError for anything but a str and for a text without words, and TokenizerError, saying which characters and where, for
    what the vocabulary cannot spell.
    """
    if not isinstance(text, str):
        raise InputError(f"text: expected a str, found {type(text).__name__}")
    tokens = spelling_tokens(tokenizer, vocab_size=vocab_size)
    words, unknown = [], []
    anything = (len(tokenizer) if vocab_size is None else vocab_size) if wildcard and WILDCARD not in tokens else None
    for match in re.finditer(r"\S+", text):
        if anything is not None and match.group() == WILDCARD:
            words.append([Spelled(anything, match.start(), match.end())])
            continue
        word, missing = _spell_word(text, match.start(), match.end(), tokens, upper_first=tokenizer.do_lower_case)
        words.append(word)
        unknown += missing
    if not words:
        raise InputError(f"text: expected at least one word, found {brief(text)}")
    if unknown:
        raise TokenizerError(f"text: the vocabulary cannot spell {_named(text, unknown)}")
    return words


def spelling_tokens(tokenizer: CTCTokenizer, *, vocab_size: int | None = None) -> dict[str, int]:
    """The tokens that text is made of, with their ids: all but the special ones and those that the model does not have."""
    known = tokenizer.encoder | {token.content: index for index, token in tokenizer.added.items()}
    limit = len(tokenizer) if vocab_size is None else vocab_size
    return {token: index for token, index in known.items() if token and token not in tokenizer.special_tokens and index < limit}


def delimiter_id(tokenizer: CTCTokenizer, *, vocab_size: int | None = None) -> int | None:
    """The token between two words; None for a vocabulary without one, or where it is the blank, which spells nothing."""
    delimiter = tokenizer.special["word_delimiter_token"]
    index = None if delimiter is None else tokenizer.id_of(delimiter)
    return (
        None if index == tokenizer.pad_token_id or (vocab_size is not None and index is not None and index >= vocab_size) else index
    )


def vocabulary_spelling(tokenizer: CTCTokenizer, vocab_size: int) -> Spelling:
    """What the tokens of a network's V outputs spell: what a decoder with a language model has to know.

    Where there is no delimiter, tokens that begin with ``▁`` begin words, as in SentencePiece's vocabularies; or where some begin with ``##``,
    all others, as in BERT's.  The marks are not spelled.
    """
    tokens, delimiter = tuple(map(tokenizer.token_of, range(vocab_size))), delimiter_id(tokenizer, vocab_size=vocab_size)
    if delimiter is not None:
        return Spelling(tokens, delimiter)
    pieces = {i for i, token in enumerate(tokens) if token not in tokenizer.special_tokens}
    marked = {i for i in pieces if tokens[i].startswith("▁")}
    inside = {i for i in pieces - marked if tokens[i].startswith("##")} if not marked else set()
    begins = marked or (pieces - inside if inside else set())
    marks = dict.fromkeys(marked, "▁") | dict.fromkeys(inside, "##")
    return Spelling(tuple(token.removeprefix(marks.get(i, "")) for i, token in enumerate(tokens)), None, frozenset(begins))


def _spell_word(text: str, start: int, end: int, tokens: dict[str, int], *, upper_first: bool) -> tuple[list[Spelled], list[int]]:
    """The tokens of ``text[start:end]``, and the positions of what has none."""
    longest = max(map(len, tokens), default=1)
    word, unknown = [], []
    while start < end:
        for size in range(min(longest, end - start), 0, -1):
            piece = text[start : start + size]
            forms = (piece.upper(), piece, piece.lower()) if upper_first else (piece, piece.upper(), piece.lower())
            index = next((tokens[form] for form in forms if form in tokens), None)
            if index is not None:
                word.append(Spelled(index, start, start + size))
                break
        else:
            size = 1
            unknown.append(start)
        start += size
    return word, unknown


def _named(text: str, positions: list[int]) -> str:
    """The characters at these positions, each with its place, counted from 1, and the word around it."""
    words = {i: match for match in re.finditer(r"\S+", text) for i in range(match.start(), match.end())}
    shown = [f"{brief(text[i])} (character {i + 1}, in {brief(words[i].group())})" for i in positions[:_SHOWN]]
    more = len(positions) - len(shown)
    return ", ".join(shown) + (f", and {more} more" if more else "")
