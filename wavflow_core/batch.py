"""Many sounds in one run: rows of the published system's CSV, or the videos of a folder."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import WavFlowError
from .media.files import is_file

logger = logging.getLogger(__name__)

REQUIRED_COLUMNS = ("video_path", "caption", "video_exist", "text_exist")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts")
# A name becomes a file in the output folder, on every system: no separators, nothing hidden.
UNSAFE_NAME = re.compile(r'^\.|^$|[\\/:*?"<>|\x00-\x1f]')
MAX_NAME = 200  # bytes; a file system takes 255, and a seed and a suffix follow


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One sound to make.

    Attributes:
        name: Stem of the output file.
        video: Video to look at, or None for text alone.
        prompt: Caption; empty for the video alone.
    """

    name: str
    video: Path | None = None
    prompt: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A job that could not be done, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What became of a batch."""

    made: int
    skipped: int
    failures: Sequence[Failure]


def read_csv(path: Path) -> list[Job | Failure]:
    """Rows of an inference CSV; a bad row becomes a failure, the others stay.

    Columns are ``video_path, caption, video_exist, text_exist`` and optionally ``id``. Relative
    paths start at the CSV's folder. Without an id the name is the video's stem, or ``row_00000``.

    Raises:
        WavFlowError: The file is missing or no text, has no rows, or lacks a column.
    """
    rows = read_table(path, required=REQUIRED_COLUMNS, optional=("id",))
    return _without_duplicates(
        [_read_row(i, line, row, path.parent) for i, (line, row) in enumerate(rows)]
    )


def read_table(
    path: Path, *, required: Sequence[str], optional: Sequence[str]
) -> list[tuple[int, dict[str, str]]]:
    """Line numbers and rows of a CSV file with a header; absent and empty cells are "".

    Args:
        path: The file, UTF-8 with or without a byte order mark.
        required: Columns that must be there.
        optional: Columns that may be; for the message where one is missing.

    Raises:
        WavFlowError: The file is missing or no text, has no rows, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or ()
            missing = [name for name in required if name not in columns]
            if missing:
                raise WavFlowError(
                    f"{str(path)!r} lacks the columns {', '.join(missing)}; it has "
                    f"{', '.join(columns) or 'none'}. Needed: {', '.join(required)}, and "
                    f"optionally {', '.join(optional)}."
                )
            rows = [
                (reader.line_num, {name: (row[name] or "").strip() for name in columns})
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WavFlowError(f"{str(path)!r} cannot be read as a CSV file: {error}.") from error
    if not rows:
        raise WavFlowError(f"{str(path)!r} has no rows below its header.")
    return rows


def read_flag(row: Mapping[str, str], column: str) -> bool:
    """A 0 or 1 of a table.

    Raises:
        WavFlowError: The cell holds something else.
    """
    value = row[column].lower()
    if value not in ("0", "1", "true", "false", "0.0", "1.0"):
        raise WavFlowError(f"{column} is {value!r}; it must be 0 or 1.")
    return value in ("1", "true", "1.0")


def read_folder(path: Path, *, prompt: str = "") -> list[Job | Failure]:
    """One job for each video of a folder, by name; all with the same prompt.

    Raises:
        WavFlowError: It is not a folder or holds no video.
    """
    if not path.is_dir():
        raise WavFlowError(f"{str(path)!r} is not a folder; give a folder of videos.")
    videos = sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in VIDEO_SUFFIXES and not file.name.startswith(".") and is_file(file)
    )
    if not videos:
        raise WavFlowError(f"{str(path)!r} holds no video; looked for {', '.join(VIDEO_SUFFIXES)}.")
    return _without_duplicates([_named(p.stem, video=p, prompt=prompt) for p in videos])


def run_jobs(
    jobs: Sequence[Job | Failure],
    *,
    outputs: Callable[[Job], Sequence[Path]],
    make: Callable[[Job], None],
    overwrite: bool = False,
) -> Summary:
    """Do the jobs one by one; one that fails does not stop the others.

    Args:
        jobs: From :func:`read_csv` or :func:`read_folder`.
        outputs: The files that a job writes; a job whose files all exist is skipped, so that an
            interrupted batch goes on where it stopped. A job that would write over a video of the
            batch fails.
        make: Does a job.
        overwrite: Do jobs again whose files exist.

    Returns:
        What became of the jobs.
    """
    sources = {job.video.resolve() for job in jobs if isinstance(job, Job) and job.video}
    made, skipped, failures = 0, 0, []
    for job in jobs:
        if isinstance(job, Failure):
            failures.append(job)
            continue
        try:
            paths = outputs(job)
            if any(path.resolve() in sources for path in paths):
                raise WavFlowError(
                    "this would write over a video of the batch; choose another folder"
                )
            if not overwrite and all(is_file(path) for path in paths):
                skipped += 1
            else:
                make(job)
                made += 1
        except (WavFlowError, OSError, RuntimeError) as error:
            logger.error("%s: %s", job.name, error)
            logger.debug("Where it happened:", exc_info=error)
            failures.append(Failure(name=job.name, reason=str(error)))
    return Summary(made=made, skipped=skipped, failures=tuple(failures))


def _read_row(number: int, line: int, row: dict[str, str], folder: Path) -> Job | Failure:
    """A row as a job, or what is wrong with it."""
    path = row["video_path"]
    name = row.get("id") or (Path(path).stem if path else f"row_{number:05d}")
    try:
        video = folder / path if read_flag(row, "video_exist") else None
        prompt = row["caption"] if read_flag(row, "text_exist") else ""
    except WavFlowError as error:
        return Failure(name=name, reason=f"line {line}: {error}")
    if video is not None and not (path and is_file(video)):
        return Failure(name=name, reason=f"line {line}: there is no video {str(video)!r}.")
    if video is None and not prompt:
        return Failure(name=name, reason=f"line {line}: it has neither a video nor a caption.")
    return _named(name, video=video, prompt=prompt)


def _named(name: str, *, video: Path | None, prompt: str) -> Job | Failure:
    if UNSAFE_NAME.search(name) or len(os.fsencode(name)) > MAX_NAME:
        reason = (
            f"{name!r} cannot be a file name: it must be 1 to {MAX_NAME} bytes long, without a "
            'leading dot and without \\ / : * ? " < > |; give another id.'
        )
        return Failure(name=name, reason=reason)
    return Job(name=name, video=video, prompt=prompt)


def _without_duplicates(jobs: Sequence[Job | Failure]) -> list[Job | Failure]:
    """Jobs of one name would overwrite each other: only the first is kept."""
    seen: set[str] = set()
    result: list[Job | Failure] = []
    for job in jobs:
        if isinstance(job, Job) and job.name.casefold() in seen:
            job = Failure(name=job.name, reason="another job before it has the same name")
        elif isinstance(job, Job):
            seen.add(job.name.casefold())
        result.append(job)
    return result
