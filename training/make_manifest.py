"""From a folder of clips to a manifest: ``python -m training.make_manifest FOLDER -o FILE.csv``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wavflow_core.batch import Failure
from wavflow_core.errors import WavFlowError

from .failures import Failures, write_failures
from .listings import Listing, list_audiocaps, list_folder, list_vggsound
from .manifest import Row, check_output, read_manifest, write_manifest
from .probing import check_row
from .program import run_program

logger = logging.getLogger(__name__)

# So many clips are handed to the threads at a time.
CHUNK = 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """List clips, check their files, write the manifest, and return the exit code.

    0: done; 2: something given cannot be used, or too much fails; 130: interrupted.
    """
    given = build_parser().parse_args(arguments)

    def work() -> int:
        make_manifest(given)
        return 0

    return run_program("training.make_manifest", work, interrupted="nothing was written")


def make_manifest(given: argparse.Namespace) -> None:
    """List, check, report, write.

    Raises:
        WavFlowError: Something given cannot be used, too many clips fail, or none is left.
    """
    check_output(given.output)
    if not given.output.absolute().parent.is_dir():
        raise WavFlowError(f"The folder of {str(given.output)!r} does not exist; create it first.")
    rows, failed = list_clips(given)
    rows, unusable = check_rows(rows, workers=given.workers)
    failed = [*failed, *unusable]
    dropped = given.output.with_suffix(".dropped.csv")
    write_failures(failed, dropped)
    failures = Failures(len(rows) + len(failed), share=given.max_failures)
    failures.add_all(failed)
    if not rows:
        raise WavFlowError(f"No clip is left; {str(dropped)!r} says why.")
    write_manifest(rows, given.output)
    seen, told = sum(row.has_video for row in rows), sum(row.has_text for row in rows)
    logger.info(
        "Wrote %s: %d clips, %d with video, %d with a caption. Dropped: %d%s",
        *(given.output, len(rows), seen, told, len(failed)),
        f", see {dropped}" if failed else "",
    )


def list_clips(given: argparse.Namespace) -> Listing:
    """The clips that the options name.

    Raises:
        WavFlowError: The options contradict one another, or what they name cannot be read.
    """
    if given.vggsound is not None and given.audiocaps is not None:
        raise WavFlowError("Both --vggsound and --audiocaps are given; make a manifest for each.")
    if given.split is not None and given.vggsound is None:
        raise WavFlowError(
            f"--split is {given.split!r}, but only --vggsound has splits in its table; AudioCaps "
            "has a table for each."
        )
    if given.vggsound is not None:
        return list_vggsound(given.vggsound, given.source, split=given.split)
    if given.audiocaps is not None:
        return list_audiocaps(given.audiocaps, given.source)
    if given.source.suffix.lower() == ".csv":
        return read_manifest(given.source)
    return list_folder(given.source)


def check_rows(rows: Sequence[Row], *, workers: int) -> Listing:
    """Open the files of all rows; those that cannot be used become failures.

    Args:
        rows: What to check.
        workers: Threads that open files; decoding runs beside Python.

    Raises:
        WavFlowError: There is not one thread.
    """
    if workers < 1:
        raise WavFlowError(f"--workers is {workers}; give 1 or more.")
    kept: list[Row] = []
    failures: list[Failure] = []
    with logging_redirect_tqdm([logging.root]), tqdm(total=len(rows), unit="clip") as bar:
        for row, reason in zip(rows, _reasons(rows, workers), strict=True):
            if reason is None:
                kept.append(row)
            else:
                failures.append(Failure(name=row.id, reason=reason))
            bar.update()
    return kept, failures


def _reasons(rows: Sequence[Row], workers: int) -> Iterator[str | None]:
    pool = ThreadPoolExecutor(workers)
    try:
        for first in range(0, len(rows), CHUNK):
            yield from pool.map(check_row, rows[first : first + CHUNK])
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m training.make_manifest",
        description="Make the table of a data set, and check every file of it.",
    )
    parser.add_argument(
        "source",
        type=Path,
        metavar="FOLDER",
        help="folder of clips, captions beside them (clip.mp4, clip.txt), or a manifest to check",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument(
        "--vggsound",
        type=Path,
        metavar="FILE",
        help="table of youtube_id, start_seconds, label, split; FOLDER holds {id}_{start:06d}.mp4",
    )
    parser.add_argument(
        "--audiocaps",
        type=Path,
        metavar="FILE",
        help="table of audiocap_id, youtube_id, start_time, caption; FOLDER holds the clips",
    )
    parser.add_argument("--split", help="of --vggsound: train or test (default: both)")
    parser.add_argument(
        "--max-failures",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="share of the clips that may be dropped, 0 to 1 (default: 0.1)",
    )
    parser.add_argument("--workers", type=int, default=8, help="threads (default: 8)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
