"""Known mistakes behind the network: paths of ids spelled otherwise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sewnp.speech.tokenizer import CLEAN_UP, CTCTokenizer


def spellings(
    tokenizer: CTCTokenizer, paths: Sequence[Sequence[int]], options: Mapping[str, bool]
) -> Iterator[tuple[str, list[str]]]:
    """What the texts of the paths become.  options: ``skip_special_tokens`` and ``group_tokens``, as they should be."""
    clean, lower = bool(tokenizer.config.get("clean_up_tokenization_spaces")), tokenizer.do_lower_case
    skip, group = options["skip_special_tokens"], options["group_tokens"]

    def texts(using: CTCTokenizer = tokenizer, paths: Sequence[Sequence[int]] = paths, **other: Any) -> list[str]:
        return [using.decode(np.array(path, dtype=np.int64), **({**options} | other)) for path in paths]

    def cleaned(rules: Sequence[str]) -> list[str]:
        found = texts(clean_up_tokenization_spaces=False)
        for rule in rules:
            found = [text.replace(rule, rule.strip()) for text in found]
        return found

    yield "clean-up missing" if clean else "clean-up that nobody asked for", texts(clean_up_tokenization_spaces=not clean)
    if clean:
        yield "clean-up of punctuation alone, contractions left", cleaned(CLEAN_UP[:4])
        yield "clean-up of contractions alone, punctuation left", cleaned(CLEAN_UP[4:])
        yield "clean-up without the free-standing apostrophe", cleaned([rule for rule in CLEAN_UP if rule != " ' "])
    yield "repeats not merged" if group else "repeats merged although group_tokens is false", texts(group_tokens=not group)
    yield "special tokens shown" if skip else "special tokens left out", texts(skip_special_tokens=not skip)
    without = [[i for i in path if i != tokenizer.pad_token_id] for path in paths]
    yield "blanks dropped before repeats are merged", texts(paths=without)
    other = replace(tokenizer, config=tokenizer.config | {"do_lower_case": not lower})
    yield "lower case missing" if lower else "lower case although do_lower_case is false", texts(other)
    space = replace(
        tokenizer, config=tokenizer.config | {"replace_word_delimiter_char": str(tokenizer.special["word_delimiter_token"])}
    )
    yield "word delimiter not replaced", texts(space)


def places(
    tokenizer: CTCTokenizer, paths: Sequence[Sequence[int]], name: str, right: Sequence[Sequence[Mapping[str, Any]]]
) -> Iterator[tuple[str, list[list[dict[str, Any]]]]]:
    """What the places of characters or words become.  name: "char_offsets" or "word_offsets"; right: what they should be."""
    yield (
        "ends are the last frame instead of the one behind it",
        [[{**each, "end_offset": each["end_offset"] - 1} for each in row] for row in right],
    )
    key, rows = name.removesuffix("_offsets"), []
    for path in paths:
        frames = [frame for frame, i in enumerate(path) if i != tokenizer.pad_token_id]
        found = tokenizer.offsets(np.array([path[frame] for frame in frames], dtype=np.int64))
        spans = found.characters if key == "char" else found.words
        rows.append([{key: text, "start_offset": frames[start], "end_offset": frames[end - 1] + 1} for text, start, end in spans])
    yield "blanks dropped before repeats are merged", rows
