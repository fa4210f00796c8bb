"""Standard input that may never end: each segment's line as soon as the segment has."""

import argparse
import sys
from typing import Literal

from sewnp.cli.output import show, tell
from sewnp.decoding import BeamSearch
from sewnp.errors import AudioError
from sewnp.model import Model
from sewnp.speech.audio import audio_name
from sewnp.speech.formats import one_line
from sewnp.speech.pipes import Arriving, Pipe, arriving, pcm
from sewnp.speech.raw import HEAD, check_headless

FEW = 10
"""Characters: a mean over fewer says little, a single word is often half heard."""


def fits(options: argparse.Namespace, model: Model) -> bool:
    """Whether a text of standard input is wanted whose segments can be printed one by one."""
    segment = model.feature_extractor.segment if options.segment is None else options.segment
    plain = options.output_format == "txt" and options.output_dir is None and options.compat is None
    return bool(options.audio == ["-"] and plain and segment)


def listen(options: argparse.Namespace) -> tuple[Pipe, Arriving | None]:
    """Standard input, and the sound that arrives there; None, with nothing read, for what has an end."""
    name = audio_name("-")
    if sys.stdin is None:
        raise AudioError(f"{name}: closed")
    pipe = Pipe(name, sys.stdin.buffer)
    if options.raw is None:
        return pipe, arriving(pipe)
    check_headless(name, pipe.ahead(0, HEAD))
    return pipe, Arriving(options.raw, pcm(pipe, allow_truncated=options.allow_truncated))


def transcribe(
    options: argparse.Namespace, model: Model, sound: Arriving, decoder: BeamSearch | Literal["greedy"] | None
) -> float | None:
    """A line a segment, as each ends -> the mean probability of the characters, None of FEW."""
    total, count = 0.0, 0
    for found in model.stream(
        sound.blocks, sampling_rate=sound.sampling_rate, window=options.window, overlap=options.overlap, decoder=decoder
    ):
        show(one_line(found.text))
        if options.verbose:
            tell(f"{audio_name('-')}: {found.start:.2f} to {found.end:.2f} s")
        total, count = total + (found.confidence or 0.0) * found.confidence_count, count + found.confidence_count
    return total / count if count >= FEW else None
