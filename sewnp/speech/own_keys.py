"""The keys that are ours in preprocessor_config.json, what a model's folder asks for when recordings are transcribed::

    "sewnp": {"segment": true, "words": ["ZERO", "ONE", "TWO"], "unknown_margin": 5}

transformers keeps them and does nothing with them.  Who wants something else says so to ``Model.transcribe``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from sewnp.ctc.prefix_search import Spelling
from sewnp.decoding.lexicon import check_words, spelled
from sewnp.errors import ConfigError, InputError, brief
from sewnp.fields import NonNegative, Rule, check_fields, expect

KEY = "sewnp"

Words = Annotated[tuple[str, ...], Rule("at least one word", lambda words: len(words) > 0)]


@dataclass(frozen=True)
class OwnKeys:
    """What a folder asks for; None is nothing.  Raises ConfigError, naming the key, for nonsense."""

    segment: bool | None = None
    """Whether recordings are cut at their pauses (:mod:`sewnp.speech.segmentation`)."""
    words: Words | None = None
    """The words to look for: texts are found by beam search with this list (:class:`sewnp.decoding.BeamSearch`)."""
    unknown_margin: NonNegative | None = None
    """What any other word costs, in nats; without it there is no other."""

    def __post_init__(self) -> None:
        check_fields(self, f"{KEY}.")
        if self.words is not None:
            try:
                check_words(f"{KEY}.words", self.words)
            except InputError as error:
                raise ConfigError(str(error)) from error

    def said(self) -> dict[str, Any]:
        """Those that ask for something, ready for JSON."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: list(value) if name == "words" else value for name, value in values.items() if value is not None}

    def check_vocabulary(self, spelling: Spelling) -> None:
        """Raise ConfigError for words that a vocabulary cannot spell, and for words at all where it has none that parts them."""
        if self.words is None:
            return
        expect(spelling.parts_words, f"{KEY}.words", "a vocabulary with a word delimiter token, or word pieces", list(self.words))
        try:
            spelled(f"{KEY}.words", self.words, spelling)
        except InputError as error:
            raise ConfigError(str(error)) from error


def own_keys(extra: Mapping[str, Any]) -> OwnKeys:
    """Ours among the keys of a file; what else stands there, in a later version perhaps, asks for nothing.  Raises ConfigError."""
    own = extra.get(KEY, {})
    if not isinstance(own, Mapping):
        raise ConfigError(f"{KEY}: expected an object, found {brief(own)}")
    return OwnKeys(**{each.name: own[each.name] for each in fields(OwnKeys) if each.name in own})


def with_own_keys(extra: Mapping[str, Any], own: OwnKeys) -> dict[str, Any]:
    """The keys of a file with ours as they shall be; what else stands among ours stays."""
    others = {name: value for name, value in extra.get(KEY, {}).items() if name not in {each.name for each in fields(OwnKeys)}}
    held = others | own.said()
    return {name: value for name, value in extra.items() if name != KEY} | ({KEY: held} if held else {})
