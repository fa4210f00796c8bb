"""What the commands over clips share: the loop in which one bad clip does not stop the others."""

import argparse
import sys
from collections.abc import Callable, Sequence

from tqdm import tqdm

from sewnp.errors import SewError


def add_clips(parser: argparse.ArgumentParser, *, model: str) -> None:
    """The arguments of a command over clips."""
    parser.add_argument("audio", nargs="+", metavar="AUDIO", help="audio files (WAV, FLAC, OGG, MP3 ...); - reads standard input")
    add_model(parser, default=model)


def add_model(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    """The option that names a model."""
    said = f" (default: {default})" if default else ""
    parser.add_argument(
        "--model",
        default=default,
        metavar="M",
        help=f"an embedded model's name, a checkpoint folder, or a hub id: name/name, name/name@revision{said}",
    )


def for_each_clip(clips: Sequence[str], line: Callable[[str], str]) -> int:
    """Print ``line(clip)`` for every clip as it is done.  A clip that fails is reported at once and counted at the end -> exit status."""
    failed = 0
    # no bar for a single clip, none where nobody watches (disable=None: not a terminal)
    for clip in tqdm(clips, unit="clip", file=sys.stderr, leave=False, disable=None if len(clips) > 1 else True):
        try:
            result = line(clip)
        except SewError as error:
            failed += 1
            tqdm.write(f"sewnp: error: {error}", file=sys.stderr)
        else:
            tqdm.write(result, file=sys.stdout)
            sys.stdout.flush()
    if failed and len(clips) > 1:
        print(f"sewnp: {failed} of {len(clips)} clips failed", file=sys.stderr)
    return 1 if failed else 0
