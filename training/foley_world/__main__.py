"""Make a data set: ``python -m training.foley_world OUT --split train --count 1000``.

A run that was stopped goes on with the same command; what is finished is not made again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from ..program import run_program
from .clip import SPLITS, ClipConfig, split_seeds
from .parallel import complete


def main(arguments: Sequence[str] | None = None) -> int:
    """Make clips, and return the exit code: 0, 2 for what cannot be used, 130 if interrupted."""
    given = build_parser().parse_args(arguments)
    return run_program("foley_world", lambda: make_clips(given))


def make_clips(given: argparse.Namespace) -> int:
    """Make all clips that are not there yet, then write the tables.

    Raises:
        WavFlowError: Something given cannot be used, or a file cannot be written.
    """
    config = ClipConfig(seconds=given.seconds, size=given.size, fps=given.fps, rate=given.rate)
    seeds = split_seeds(given.split, given.count, start=given.start)
    complete(seeds, config, given.out, jobs=given.jobs)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m training.foley_world",
        description="Make clips of things that fall, bounce, roll, are struck, drip or hum, with "
        "sound, captions and the moments of all events. A run that was stopped goes on with the "
        "same command.",
    )
    default = ClipConfig()
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the clips")
    parser.add_argument("--split", choices=tuple(SPLITS), default="train", help="range of seeds")
    parser.add_argument("--count", type=int, required=True, help="clips")
    parser.add_argument("--start", type=int, default=0, help="number of the first in the split")
    parser.add_argument("--size", type=int, default=default.size, help="pixels of a side")
    parser.add_argument("--fps", type=_fraction, default=default.fps, help="pictures per second")
    parser.add_argument("--rate", type=int, default=default.rate, help="samples per second")
    parser.add_argument("--seconds", type=float, default=default.seconds, help="length of a clip")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    return parser


def _fraction(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number, such as 25 or 30000/1001"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
