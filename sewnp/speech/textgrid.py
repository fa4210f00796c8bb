"""TextGrid, the annotation format of Praat (https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html), in its long text form."""

from collections.abc import Mapping, Sequence

from sewnp.speech.words import Timed


def textgrid(tiers: Mapping[str, Sequence[Timed]], *, duration: float) -> str:
    """Words or characters by the name of their tier -> the text of a TextGrid file, to be written as UTF-8.

    Each tier's intervals are in order and do not overlap.  Praat wants a tier without gaps, so intervals with an empty text fill what lies
    before, between and behind them.  A quotation mark inside a text is doubled.  Every tier ends where the recording does, at
    ``duration`` seconds, or with the last interval where that is later.
    """
    end = max([duration, *(interval.end for tier in tiers.values() for interval in tier)])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for i, (name, tier) in enumerate(tiers.items(), 1):
        intervals = without_gaps(tier, end)
        lines += [f"    item [{i}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        lines += ["        xmin = 0", f"        xmax = {end}", f"        intervals: size = {len(intervals)}"]
        for j, (text, start, stop) in enumerate(intervals, 1):
            lines += [f"        intervals [{j}]:", f"            xmin = {start}", f"            xmax = {stop}"]
            lines += [f"            text = {_quoted(text)}"]
    return "\n".join(lines) + "\n"


def without_gaps(tier: Sequence[Timed], end: float) -> list[tuple[str, float, float]]:
    """Texts with their starts and ends, and empty ones between, so that they cover 0 to ``end``."""
    filled = []
    position = 0.0
    for interval in tier:
        if interval.start > position:
            filled.append(("", position, interval.start))
        filled.append((interval.text, interval.start, interval.end))
        position = interval.end
    return filled if position >= end else [*filled, ("", position, end)]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
