"""Making many clips at a time."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wavflow_core.errors import ConfigError, WavFlowError
from wavflow_core.media.files import make_folder

from .clip import ClipConfig, clip_id
from .storage import Line, append_truth, is_written, read_truth, write_clip, write_tables

logger = logging.getLogger(__name__)

AHEAD = 4  # clips that wait for each process


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
        WavFlowError: The folder holds clips of other settings, a process has died, or a file
            cannot be written.
    """
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs!r}; it must be 1 or more processes.")
    make_folder(folder)
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
            for line in made(missing, config, folder, jobs=jobs):
                append_truth(line, folder)
                lines[str(line["id"])] = line
                bar.update()
    finally:
        if lines:
            write_tables(lines.values(), folder)
    logger.info("%d clips made, %d were there: %s.", len(missing), there, folder)
    return lines


def made(seeds: Sequence[int], config: ClipConfig, folder: Path, *, jobs: int) -> Iterator[Line]:
    """Make clips in one or several processes.

    Args:
        seeds: Of the clips.
        config: How they are made.
        folder: Where their files go.
        jobs: Processes; with one, all is done in this one.

    Yields:
        What is known of each clip, once its files are there, in the order of the seeds.

    Raises:
        WavFlowError: A process has died, or a file cannot be written.
    """
    if jobs == 1 or len(seeds) < 2:
        for seed in seeds:
            yield write_clip(seed, config, folder)
        return
    pool = ProcessPoolExecutor(
        min(jobs, len(seeds)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_worker,
    )
    waiting: deque[Future[Line]] = deque()
    try:
        for seed in seeds:
            waiting.append(pool.submit(write_clip, seed, config, folder))
            if len(waiting) >= AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WavFlowError(
            "A process that makes clips has died, perhaps for want of memory; the same command "
            "goes on: give fewer --jobs."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def start_worker() -> None:
    """One thread each, and Ctrl-C is the first process's to handle."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
