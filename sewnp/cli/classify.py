"""``sewnp classify``: which of a model's labels fits a clip."""

import argparse

from sewnp.batch import Result, classify_many
from sewnp.cli.clips import add_clips, add_threads, for_each
from sewnp.cli.found import Clip, clips_of, tell_left_out
from sewnp.cli.output import show
from sewnp.cli.truncated import add_allow_truncated
from sewnp.errors import printable
from sewnp.files import path_name
from sewnp.loading import load

DESCRIPTION = """\
Name the label that fits a clip best, for models with a classification head.

The embedded model "digit-words" names the one English digit spoken in a clip of about
a second, _unknown_ for another word, _silence_ for none."""
EXAMPLES = """\
examples:
  sewnp classify seven.wav             the five best labels with their probabilities
  sewnp classify *.wav                 one line a clip: its name, the best label, its probability
  sewnp classify clip.wav --model path/to/sew-mid-100k-ft-keyword-spotting"""

_MOST = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    add_clips(parser, model="digit-words")
    add_threads(parser)
    add_allow_truncated(parser)


def run(options: argparse.Namespace) -> int:
    """Classify every clip -> exit status."""
    clips = clips_of(options)
    tell_left_out(options)
    model = load(options.model, threads=options.threads)
    alone = options.audio == [clip.audio for clip in clips] and len(clips) == 1

    def give(clip: Clip, result: Result) -> None:
        labels = list(result.labels or [])
        begin = "" if alone else f"{path_name(clip.audio)}\t"
        show("\n".join(f"{begin}{printable(label)}\t{score:.4f}" for label, score in labels[: _MOST if alone else 1]))

    allow = options.allow_truncated
    return for_each(clips, lambda audio, _: classify_many(audio, model=model, allow_truncated=allow), give, of=len(clips))
