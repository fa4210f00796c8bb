"""The options that say where long recordings are cut, shared by the commands that transcribe."""

import argparse
from typing import Any

from sewnp.long import OVERLAP, WINDOW


def add_window_options(parser: argparse.ArgumentParser) -> None:
    """--segment, --window, --overlap and --compat, in a group of their own."""
    group = parser.add_argument_group("long recordings")
    add_segment_option(group)
    group.add_argument(
        "--window",
        type=_seconds,
        metavar="SECONDS",
        help=f"run clips longer than this in windows; all but attention is as over the whole clip (default: {WINDOW:g})",
    )
    group.add_argument(
        "--overlap",
        type=_overlap,
        metavar="SECONDS",
        help=f"what each window leaves to its neighbours on either side (default: {OVERLAP:g}, at most a sixth of the window)",
    )
    group.add_argument(
        "--compat",
        choices=("transformers",),
        help="cut as the speech recognition pipeline of transformers does, with its text and its times: --window is chunk_length_s"
        " (default: no cutting), --overlap is stride_length_s (default: a sixth of it; or LEFT,RIGHT)",
    )


def add_segment_option(parser: argparse._ActionsContainer) -> None:
    """--segment and --no-segment."""
    parser.add_argument(
        "--segment",
        action=argparse.BooleanOptionalAction,
        help="cut at pauses of half a second, and run what lies between as clips of their own; times stay those of the recording"
        " (default: what the model's folder asks for; digits and digits-d do)",
    )


def window_options(options: argparse.Namespace) -> dict[str, Any]:
    """What was chosen, as keyword arguments of ``Model.transcribe``."""
    return {name: value for name in ("window", "overlap", "compat", "segment") if (value := getattr(options, name)) is not None}


def check_window_options(options: argparse.Namespace) -> None:
    """What can be known to be wrong of any recording and any model is wrong usage."""
    if options.segment and options.compat is not None:
        options.refuse("argument --segment: expected without --compat: the pipeline does not cut at pauses")
    if options.overlap is None:
        return
    if options.compat is not None and options.window is None:
        options.refuse("argument --overlap: expected with --window: the pipeline has no stride without chunks")
    if options.compat is None and isinstance(options.overlap, tuple):
        options.refuse("argument --overlap: LEFT,RIGHT are expected with --compat transformers alone")
    both = options.overlap if isinstance(options.overlap, tuple) else (options.overlap, options.overlap)
    if options.window is not None and options.window <= sum(both):
        options.refuse(f"argument --window: expected more than its overlaps, found {options.window:g} and {sum(both):g} seconds")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"expected seconds, found {text!r}")
    return value


def _overlap(text: str) -> float | tuple[float, float]:
    left, comma, right = text.partition(",")
    return (_seconds(left), _seconds(right)) if comma else _seconds(text)
