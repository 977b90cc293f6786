"""Make a data set: ``python -m training.foley_world OUT --split train --count 1000``.

A run that was stopped goes on with the same command; what is finished is not made again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wavflow_core.errors import ConfigError
from wavflow_core.media.files import make_folder

from ..program import run_program
from .clip import SPLITS, ClipConfig, clip_id, split_seeds
from .parallel import made
from .storage import (
    append_truth,
    is_written,
    read_truth,
    write_tables,
)

logger = logging.getLogger("training.foley_world")


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
    if given.jobs < 1:
        raise ConfigError(f"jobs is {given.jobs!r}; it must be 1 or more processes.")
    make_folder(given.out)
    known = read_truth(given.out, config)
    lines = {
        name: line for name, line in known.items() if is_written(int(str(line["seed"])), given.out)
    }
    # A line that was cut off would spoil the one that is written after it.
    if known:
        write_tables(lines.values(), given.out)
    missing = [seed for seed in seeds if clip_id(seed) not in lines]
    try:
        with (
            logging_redirect_tqdm([logging.root]),
            tqdm(total=len(seeds), initial=len(seeds) - len(missing), unit="clip") as bar,
        ):
            for line in made(missing, config, given.out, jobs=given.jobs):
                append_truth(line, given.out)
                lines[str(line["id"])] = line
                bar.update()
    finally:
        if lines:
            write_tables(lines.values(), given.out)
    logger.info(
        "%d clips made, %d were there: %s.", len(missing), len(seeds) - len(missing), given.out
    )
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
