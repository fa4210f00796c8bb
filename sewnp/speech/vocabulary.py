"""The tokens of a CTC model, read from the files of its tokenizer: which there are, which id each has, and which are special.

vocab.json holds most of them; the others are appended as transformers 5.23 appends them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sewnp.errors import TokenizerError, brief, check_whole, few, printable

# In the order in which transformers appends those that vocab.json lacks.
DEFAULTS: Mapping[str, str | None] = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": None,
    "pad_token": "<pad>",
    "cls_token": None,
    "mask_token": None,
    "word_delimiter_token": "|",
}


LONGEST_TOKEN = 256
"""Characters: published ones have up to 30.  Spelling tries all lengths at each character of a text."""


class AddedToken(NamedTuple):
    """A token that is found in the text before it is spelled, in the fields of ``added_tokens_decoder``."""

    content: str
    lstrip: bool = False
    """Swallow the white space to the left."""
    rstrip: bool = False
    single_word: bool = False
    """Found only at the edges of words: with a space, or nothing, to the left and to the right."""
    special: bool = False
    normalized: bool = False


def mapping(name: str, content: Any) -> dict[str, Any]:
    """The content of a file; none for a file that is not there."""
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise TokenizerError(f"{name}: expected an object, found {type(content).__name__}")
    return dict(content)


def base_vocabulary(vocab: Any, language: Any) -> dict[str, int]:
    """The one vocabulary, token to id, that vocab.json holds for a language (None for a file that is not nested)."""
    tokens, name = mapping("vocab.json", [] if vocab is None else vocab), "vocab.json"
    languages = [key for key, value in tokens.items() if isinstance(value, Mapping)]
    if languages:
        if language not in languages:
            raise TokenizerError(f"vocab.json: target_lang: expected one of {few(sorted(languages))}; found {brief(language)}")
        tokens, name = dict(tokens[language]), f"vocab.json: {printable(language)}"
    elif language is not None:
        raise TokenizerError(
            f"vocab.json: target_lang: expected none, for the vocabulary is not nested by language; found {brief(language)}"
        )
    if not tokens:
        raise TokenizerError(f"{name}: no tokens")
    owner: dict[int, str] = {}
    for token, index in tokens.items():
        if not isinstance(token, str):
            raise TokenizerError(f"{name}: expected a token, found {brief(token)}")
        check_length(name, token)
        check_whole(f"{name}: {brief(token)}", index, error=TokenizerError)
        if index in owner:
            raise TokenizerError(f"{name}: {brief(token)}: the id {brief(index)} is taken by {brief(owner[index])}")
        owner[index] = token
    return tokens


def check_length(name: str, token: str) -> None:
    """Raise TokenizerError for a token that is longer than any that is meant."""
    if len(token) > LONGEST_TOKEN:
        raise TokenizerError(
            f"{name}: expected tokens of at most {LONGEST_TOKEN} characters, found {brief(token)} of {len(token):,}"
        )


def _content(key: str, token: Any) -> str | None:
    """A special token as text: files give it as such, or as an object with its flags."""
    content = token.get("content") if isinstance(token, Mapping) else token
    if content is not None and not isinstance(content, str):
        raise TokenizerError(f"tokenizer_config.json: {printable(str(key))}: expected a token, found {brief(token)}")
    check_length(f"tokenizer_config.json: {printable(str(key))}", content or "")
    return content or None


def named_tokens(config: dict[str, Any]) -> tuple[dict[str, str | None], list[str], dict[str, Any]]:
    """The special tokens by name, :data:`DEFAULTS` and whatever else is called a token; those without a name; the config they make.

    ``additional_special_tokens`` is what 4.x called the last.
    """
    extras = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    if not isinstance(extras, list | tuple | Mapping):
        raise TokenizerError(f"tokenizer_config.json: extra_special_tokens: expected a list, found {brief(extras)}")
    others = {key: token for key, token in config.items() if key.endswith("_token") and isinstance(token, str | Mapping)}
    named: Mapping[str, Any] = extras if isinstance(extras, Mapping) else {}
    wanted = {key: config.get(key, default) for key, default in DEFAULTS.items()} | (others | dict(named))
    special = {key: _content(key, token) for key, token in wanted.items()}
    unnamed = [] if named else [token for token in (_content("extra_special_tokens", extra) for extra in extras) if token]

    config = {key: value for key, value in config.items() if key != "additional_special_tokens"}
    config |= {key: token for key, token in special.items() if token is not None or key in config}
    return special, unnamed, config | ({"extra_special_tokens": unnamed} if unnamed else {})


def stored_tokens(config: Mapping[str, Any], legacy: Mapping[str, Any], special_tokens: Sequence[str]) -> dict[int, AddedToken]:
    """The added tokens that the files name, by id."""
    for content, index in legacy.items():
        if not isinstance(content, str):
            raise TokenizerError(f"added_tokens.json: expected a token, found {brief(content)}")
        check_whole(f"added_tokens.json: {brief(content)}", index, error=TokenizerError)
    special = set(special_tokens)
    stored = {i: AddedToken(token, special=token in special, normalized=token not in special) for token, i in legacy.items()}
    for key, value in mapping("tokenizer_config.json: added_tokens_decoder", config.get("added_tokens_decoder")).items():
        fields = {name: value[name] for name in AddedToken._fields if name in value} if isinstance(value, Mapping) else {}
        if not (str(key).isdecimal() and len(str(key)) < 20) or not isinstance(fields.get("content"), str):
            raise TokenizerError(
                f"tokenizer_config.json: added_tokens_decoder: {printable(str(key))}: expected an id and its token, found {brief(value)}"
            )
        stored[int(key)] = AddedToken(**fields)
    for token in stored.values():
        check_length("tokenizer_config.json: added tokens", token.content)
    return stored


def all_added(encoder: dict[str, int], stored: dict[int, AddedToken], special_tokens: Sequence[str]) -> dict[int, AddedToken]:
    """The stored tokens, the special ones, and those of the vocabulary that have several characters.

    The last swallow white space to both sides, the special ones that the vocabulary lacks do not: so transformers adds them.
    """
    ids = encoder | {token.content: index for index, token in stored.items()}
    known, last = {*encoder.values(), *stored}, max(ids.values())
    gap = next((index for index in range(last) if index not in known), None)
    if gap is not None:
        raise TokenizerError(f"vocab.json: no token has the id {gap}, of 0 to {brief(last)}")
    added = dict(stored)
    contents = {token.content for token in stored.values()}
    for token in special_tokens:
        if token not in contents:
            added[ids.setdefault(token, len(ids))] = AddedToken(token, special=True)
    for token in encoder:
        if len(token) > 1:
            added[ids[token]] = AddedToken(token, lstrip=True, rstrip=True)
    return added
