"""A language model to test with, small enough to be read."""

from pathlib import Path

from sewnp.decoding import LanguageModel

WORDS = """\
\\data\\
ngram 1=6
ngram 2=4
ngram 3=1

\\1-grams:
-99\t<s>\t-0.3
-1\t</s>
-2\t<unk>
-0.5\tAB\t-0.2
-0.7\tB\t-0.4
-1.1\tAA

\\2-grams:
-0.1\t<s> AB\t-0.1
-0.3\tAB B
-0.2\tAA </s>
-0.6\tB B

\\3-grams:
-0.05\t<s> AB AA

\\end\\
"""


def toy_model(folder: Path) -> LanguageModel:
    """The model, out of a file that is left in the folder."""
    path = folder / "words.arpa"
    path.write_text(WORDS)
    return LanguageModel.read(path)
