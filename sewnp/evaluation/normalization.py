"""Making a reference and a hypothesis comparable before their differences are counted.

Error rates are figures about texts *and* their normalisation: "It's" against "IT S" is one error, two or none.  So every report names
which of these it used, and both texts go through the same one.
"""

import unicodedata
from collections.abc import Callable, Mapping
from functools import cache

from sewnp.extras import need

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ′`´", "'"))


def tidy(text: str) -> str:
    """White space at the ends dropped, elsewhere one space: words are what is between spaces, so this much is always done."""
    return " ".join(text.split())


def basic(text: str) -> str:
    """Upper case; every apostrophe ``'``; all that is no letter, mark, digit or apostrophe a space; then :func:`tidy`.

    Numbers are not spelled out and nothing is expanded: "Mr. 3" becomes "MR 3".  Composed and decomposed letters become equal (NFC).
    """
    upper = unicodedata.normalize("NFC", text.translate(_APOSTROPHES).upper())
    return tidy("".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in upper))


def english(text: str) -> str:
    """Whisper's rules for English (Radford et al. 2022, appendix C), by the package whisper-normalizer; then :func:`tidy`.

    Lower case; fillers and what stands in brackets dropped; contractions written out; numbers in digits, "oh" and "o" among them as 0;
    spelling American.  Raises DependencyError without the package.
    """
    return tidy(_made(need("whisper_normalizer.english", "whisper").EnglishTextNormalizer)(text))


@cache
def _made(normalizer: Callable[[], Callable[[str], str]]) -> Callable[[str], str]:
    """Made once: it reads a table of spellings."""
    return normalizer()


NORMALIZATIONS: Mapping[str, Callable[[str], str]] = {"basic": basic, "none": tidy}
"""Of texts that a model learns or that are compared, by name; ``basic`` is the default."""

NORMALIZERS: Mapping[str, Callable[[str], str]] = {**NORMALIZATIONS, "english": english}
"""Of texts that are compared alone, by the name under which reports state them."""
