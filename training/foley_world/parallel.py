"""Making many clips at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wavflow_core.media.files import make_folder

from ..lock import only_run_in
from ..pool import check_jobs, in_processes
from .clip import ClipConfig, clip_id
from .storage import Line, append_truth, is_written, read_truth, write_clip, write_tables

logger = logging.getLogger(__name__)


def complete(
    seeds: Sequence[int], config: ClipConfig, folder: Path, *, jobs: int
) -> dict[str, Line]:
    """Make all clips that a folder lacks, then write its tables.

    Args:
        seeds: Of the clips.
        config: How they are made.
        folder: Where their files go; it is made where it is missing.
        jobs: Processes.

    Returns:
        What is known of all clips in the folder, by id.

    Raises:
        WavFlowError: The folder holds clips of other settings, another run makes clips in it, a
            process has died, or a file cannot be written.
    """
    check_jobs(jobs)
    make_folder(folder)
    with only_run_in(folder):
        return _complete(seeds, config, folder, jobs=jobs)


def _complete(
    seeds: Sequence[int], config: ClipConfig, folder: Path, *, jobs: int
) -> dict[str, Line]:
    known = read_truth(folder, config)
    lines = {
        name: line for name, line in known.items() if is_written(int(str(line["seed"])), folder)
    }
    # A line that was cut off would spoil the one that is written after it.
    if known:
        write_tables(lines.values(), folder)
    missing = [seed for seed in seeds if clip_id(seed) not in lines]
    there = len(seeds) - len(missing)
    try:
        with (
            logging_redirect_tqdm([logging.root]),
            tqdm(total=len(seeds), initial=there, unit="clip") as bar,
        ):
            write = partial(write_clip, config=config, folder=folder)
            for line in in_processes(write, missing, jobs=jobs):
                append_truth(line, folder)
                lines[str(line["id"])] = line
                bar.update()
    finally:
        if lines:
            write_tables(lines.values(), folder)
    logger.info("%d clips made, %d were there: %s.", len(missing), there, folder)
    return lines
