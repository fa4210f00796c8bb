"""Between text and ids: the character tokenizer of CTC models.

A vocabulary maps tokens, mostly single letters, to ids.  Three tokens are special in meaning: ``<pad>`` is the CTC blank, ``|``
(the word delimiter) stands for the space, and ``<unk>`` for whatever the vocabulary lacks.

Follows ``Wav2Vec2CTCTokenizer`` of transformers 5.23 (https://github.com/huggingface/transformers), reads and writes its files, and
reads what 4.x wrote beside them.  Better on purpose: an ``<unk>`` that vocab.json lacks has an id when encoding (there: None); a
delimiter other than ``|`` survives being saved; one of several characters, or none at all, works.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sewnp.ctc.greedy import runs
from sewnp.errors import InputError, TokenizerError, brief, printable
from sewnp.speech.vocabulary import AddedToken, all_added, base_vocabulary, check_length, mapping, named_tokens, stored_tokens

# transformers' clean-up of English: the spaces around each of these go, one after the other.
CLEAN_UP = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


class Span(NamedTuple):
    """A character or a word, and the frames from ``start`` to ``end``, the end not included, in which it was heard."""

    text: str
    start: int
    end: int


class Offsets(NamedTuple):
    """A decoded path with its places."""

    text: str
    characters: list[Span]
    """Delimiters included, shown as spaces; blanks left out; case as in the vocabulary."""
    words: list[Span]
    """Maximal runs of characters without delimiter; a blank inside is part of the word."""


@dataclass(frozen=True, eq=False)
class CTCTokenizer:
    """Built by :meth:`from_files`.  ``vocab`` and ``config`` are what to write into vocab.json and tokenizer_config.json."""

    vocab: dict[str, Any]
    """Token to id, as in the file: nested by language where the file was."""
    config: dict[str, Any]
    """The file's keys, unknown ones too, with special and added tokens resolved as transformers 5.23 writes them."""
    encoder: dict[str, int]
    """Token to id in the base vocabulary, that of ``target_lang``."""
    added: dict[int, AddedToken]
    """Tokens of several characters and special tokens, in the vocabulary or appended to it."""
    special: Mapping[str, str | None]
    """``pad_token``, ``word_delimiter_token`` and so on."""
    special_tokens: tuple[str, ...]
    """All of them, once each, ``extra_special_tokens`` last."""

    @classmethod
    def from_files(
        cls,
        vocab: Mapping[str, Any],
        tokenizer_config: Mapping[str, Any] | None = None,
        special_tokens_map: Mapping[str, Any] | None = None,
        added_tokens: Mapping[str, int] | None = None,
        *,
        target_lang: str | None = None,
    ) -> "CTCTokenizer":
        """From the contents of vocab.json, tokenizer_config.json, special_tokens_map.json and added_tokens.json, as dicts.

        The last two are what transformers 4.x wrote; they count only where tokenizer_config has no ``added_tokens_decoder``.
        ``target_lang`` picks the language of a nested vocabulary, by default the one that tokenizer_config names.
        Special tokens that the vocabulary lacks get the ids behind its last.

        Raises TokenizerError, naming file and key, for a vocabulary that does not map tokens to the ids 0, 1, 2, ..., once each;
        for a language that it lacks; for a missing pad token, since CTC needs its blank.
        """
        config = mapping("tokenizer_config.json", tokenizer_config)
        legacy = "added_tokens_decoder" not in config
        if legacy:
            config |= mapping("special_tokens_map.json", special_tokens_map)
        if target_lang is not None:
            config["target_lang"] = target_lang
        for key, kind, default in (("do_lower_case", bool, False), ("replace_word_delimiter_char", str, " ")):
            if not isinstance(config.get(key, default), kind):
                raise TokenizerError(f"tokenizer_config.json: {key}: expected a {kind.__name__}, found {brief(config[key])}")
        check_length("tokenizer_config.json: replace_word_delimiter_char", config.get("replace_word_delimiter_char", " "))
        encoder = base_vocabulary(vocab, config.get("target_lang"))
        special, unnamed, config = named_tokens(config)
        if special["pad_token"] is None:
            raise TokenizerError("tokenizer_config.json: pad_token: expected a token, CTC's blank, found null")
        special_tokens = tuple(dict.fromkeys(token for token in [*special.values(), *unnamed] if token is not None))

        stored = stored_tokens(config, mapping("added_tokens.json", added_tokens) if legacy else {}, special_tokens)
        if target_lang is not None:  # the stored ones may be another language's
            taken = set(encoder.values())
            stored = {index: token for index, token in stored.items() if index not in taken}
        added = all_added(encoder, stored, special_tokens)
        described = {str(index): token._asdict() for index, token in sorted(added.items())}
        config = {"tokenizer_class": "Wav2Vec2CTCTokenizer"} | config | {"added_tokens_decoder": described}
        return cls(dict(vocab), config, encoder, added, special, special_tokens)

    def __len__(self) -> int:
        """Tokens in all, the added ones too."""
        return len(self._ids)

    @property
    def do_lower_case(self) -> bool:
        """Whether text is upper-cased when encoded and lower-cased when decoded; the name is transformers'."""
        return bool(self.config.get("do_lower_case", False))

    @property
    def space(self) -> str:
        """What a delimiter is shown as."""
        return str(self.config.get("replace_word_delimiter_char", " "))

    @property
    def pad_token_id(self) -> int:
        """The blank."""
        return self.id_of(str(self.special["pad_token"]))

    def id_of(self, token: str) -> int:
        """A token's id, that of the unknown token for one that the vocabulary lacks.

        Raises TokenizerError if there is no unknown token either.
        """
        unknown = self.special["unk_token"]
        index = self._ids.get(token, self._ids.get(unknown) if unknown is not None else None)
        if index is None:
            raise TokenizerError(f"unk_token: null, and the vocabulary has no {brief(token)}")
        return index

    def token_of(self, index: int) -> str:
        """An id's token, the unknown token for an id that no token has.  Raises TokenizerError if there is none."""
        token = self._tokens.get(index, self.special["unk_token"])
        if token is None:
            raise TokenizerError(f"unk_token: null, and no token has the id {index}")
        return token

    def encode(self, text: str) -> list[int]:
        """Spell a text.  No special tokens are put around it, and no white space is tidied: only ``" "`` is a delimiter.

        Tokens of several characters are found first, the leftmost, of those the longest; most swallow the white space beside them.
        Raises InputError for anything but a str, TokenizerError for unknown characters if there is no unknown token.
        """
        if not isinstance(text, str):
            raise InputError(f"text: expected a str, found {type(text).__name__}")
        if self.config.get("split_special_tokens"):
            return [self.id_of(token) for token in self._spell(text)]
        whole = {token.content for token in self.added.values()}
        tokens = chain.from_iterable([piece] if piece in whole else self._spell(piece) for piece in self._pieces(text))
        return [self.id_of(token) for token in tokens]

    def decode(
        self,
        ids: npt.ArrayLike,
        *,
        skip_special_tokens: bool = False,
        group_tokens: bool = True,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = False,
    ) -> str:
        """What a path of ids, (T,), spells: repeats merged, then blanks dropped, delimiters made spaces, the ends stripped.

        ``group_tokens=False`` merges nothing: for labels, which are no path.  ``skip_special_tokens`` drops special tokens, the
        delimiter excepted, *before* merging, so that "A<pad>A" becomes "A": labels again.  ``clean_up_tokenization_spaces`` removes
        spaces before English punctuation; None leaves that to the configuration.  Unknown and negative ids are shown as unk_token.
        Raises InputError for ids that are not integers in one dimension.
        """
        tokens = self._path(ids, skip_special_tokens)
        spans = self._characters(tokens, group_tokens)
        return self._text(spans, clean_up_tokenization_spaces, " " if spaces_between_special_tokens else "")

    def offsets(self, ids: npt.ArrayLike) -> Offsets:
        """What a path of ids, (T,), spells, and in which frames.  A word starts with its first character and ends with its last."""
        characters = self._characters(self._path(ids, skip_special_tokens=False), group_tokens=True)
        words: list[Span] = []
        inside = False
        for text, start, end in characters:
            if text == self.space:
                inside = False
            elif inside:
                words[-1] = Span(words[-1].text + text, words[-1].start, end)
            else:
                words.append(Span(text, start, end))
                inside = True
        return Offsets(self._text(characters, None, ""), characters, words)

    def _pieces(self, text: str) -> list[str]:
        """Cut a text at its added tokens, and let these swallow the white space that they are to swallow."""
        tokens = {token.content: token for token in self.added.values()}
        longest_first = sorted(tokens, key=len, reverse=True)
        pieces = [piece for piece in re.split(f"({'|'.join(map(re.escape, longest_first))})", text) if piece]
        for i, piece in enumerate(pieces):
            if piece not in tokens:
                continue
            token = tokens[piece]
            left = pieces[i - 1] if i > 0 else ""
            right = pieces[i + 1] if i + 1 < len(pieces) else ""
            if token.rstrip and right:
                pieces[i + 1] = right.lstrip()
            if token.lstrip and left:
                pieces[i - 1] = left.rstrip()
            if token.single_word and left and not left.endswith(" "):
                pieces[i - 1 : i + 1] = [pieces[i - 1] + piece, ""]
            elif token.single_word and right and not right.startswith(" "):
                pieces[i : i + 2] = ["", piece + pieces[i + 1]]
        return [piece for piece in pieces if piece]

    def _spell(self, text: str) -> list[str]:
        """One token a character."""
        delimiter = self.special["word_delimiter_token"]
        return [delimiter if c == " " and delimiter is not None else c for c in (text.upper() if self.do_lower_case else text)]

    def _path(self, ids: npt.ArrayLike, skip_special_tokens: bool) -> list[str]:
        """The token at each frame."""
        try:
            path = np.atleast_1d(np.asarray(ids))
        except (ValueError, TypeError, RuntimeError) as error:
            raise InputError(f"ids: expected integers in one dimension, found {type(ids).__name__} ({error})") from error
        if path.ndim != 1:
            raise InputError(f"ids: expected one path (T,), found shape {path.shape}; decode a batch row by row")
        if path.size and path.dtype.kind not in "iu":
            raise InputError(f"ids: expected integers, found {path.dtype}")
        tokens = [self.token_of(index) for index in path.tolist()]
        dropped = set(self.special_tokens) - {self.special["word_delimiter_token"]} if skip_special_tokens else set()
        return [token for token in tokens if token not in dropped]

    def _characters(self, tokens: list[str], group_tokens: bool) -> list[Span]:
        """Merge repeats, drop blanks, show delimiters.  Tokens are compared, not ids: all unknown ids are one token."""
        codes = {token: code for code, token in enumerate(dict.fromkeys(tokens))}
        grouped = runs([codes[token] for token in tokens] if group_tokens else np.arange(len(tokens)))
        delimiter, blank = self.special["word_delimiter_token"], self.special["pad_token"]
        spans = [Span(tokens[start], start, end) for _, start, end in grouped if tokens[start] != blank]
        return [span._replace(text=self.space) if span.text == delimiter else span for span in spans]

    def _text(self, spans: list[Span], clean_up: bool | None, between: str) -> str:
        """Join characters into the text that is shown."""
        text = between.join(span.text for span in spans).strip()
        text = text.lower() if self.do_lower_case else text
        if self.config.get("clean_up_tokenization_spaces") if clean_up is None else clean_up:
            for spaced in CLEAN_UP:
                text = text.replace(spaced, spaced.strip())
        return text

    @cached_property
    def _ids(self) -> dict[str, int]:
        return self.encoder | {token.content: index for index, token in self.added.items()}

    @cached_property
    def _tokens(self) -> dict[int, str]:
        # The other way round than _ids: where both know an id the base vocabulary wins, as in transformers.
        return {index: token.content for index, token in self.added.items()} | {i: token for token, i in self.encoder.items()}


class Speaker(Protocol):
    """A model: see :class:`sewnp.Model`."""

    @property
    def name(self) -> str: ...
    @property
    def head(self) -> str | None: ...
    @property
    def tokenizer(self) -> CTCTokenizer | None: ...


def ctc_tokenizer(model: Speaker, doing: str) -> CTCTokenizer:
    """The tokenizer of a model that has a CTC head, or an error that says what ``doing`` would have needed."""
    if model.head != "ctc":
        raise InputError(f"{printable(model.name)}: {doing} needs a CTC head, found {model.head or 'none'}")
    if model.tokenizer is None:
        raise TokenizerError(f"{printable(model.name)}: {doing} needs a vocab.json, which the checkpoint folder does not hold")
    return model.tokenizer
