"""The table of a data set: which clips there are, and what each of them has.

One format from the first listing to the training: a CSV file whose columns are those of the
published system (``id, audio_path, features_path, video_exist, text_exist`` for training,
``video_path, caption, video_exist, text_exist, id`` for inference) and two of ours. Relative paths
start at the CSV's folder.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wavflow_core.batch import Failure, read_flag, read_table
from wavflow_core.config import MAX_DURATION
from wavflow_core.errors import WavFlowError
from wavflow_core.media.files import atomic_path, is_file

FLAGS = ("video_exist", "text_exist")
PATHS = ("video_path", "audio_path", "features_path")
COLUMNS = ("id", *PATHS, "caption", "start", "duration", *FLAGS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One clip of a data set.

    Attributes:
        id: Its name, unique in the table.
        video: File to look at.
        audio: File to listen to; a video file with sound will do.
        features: File with its features, alone or among others under its id.
        caption: What is heard.
        start: Seconds into the video and the sound at which the clip begins.
        duration: Seconds of the clip; None is all that there is.
        has_video: Whether pictures belong to it; without, video and its features are not read.
        has_text: Whether a caption belongs to it, likewise.
    """

    id: str
    video: Path | None = None
    audio: Path | None = None
    features: Path | None = None
    caption: str = ""
    start: float = 0.0
    duration: float | None = None
    has_video: bool = True
    has_text: bool = True


def read_manifest(path: Path) -> tuple[list[Row], list[Failure]]:
    """Rows of a table, ours or the published system's, and what is wrong with the others.

    Whether files exist is not looked at. Without an id the name is the stem of the video, the
    sound or the features, or ``row_00000``. Of rows with the same id the first is kept.

    Raises:
        WavFlowError: The file is missing or no table, or has no column that names a clip.
    """
    rows: list[Row] = []
    failures: list[Failure] = []
    seen: set[str] = set()
    for number, (line, cells) in enumerate(read_table(path, required=FLAGS, optional=COLUMNS)):
        name = _name(cells, number)
        try:
            row = _read_row(name, cells, path.parent)
            if name in seen:
                raise WavFlowError("a row before it has the same id.")
        except WavFlowError as error:
            failures.append(Failure(name=name, reason=f"line {line}: {error}"))
            continue
        seen.add(name)
        rows.append(row)
    return rows, failures


def check_output(path: Path) -> None:
    """Refuse what ``--output`` gives if it is no name of a table.

    Raises:
        WavFlowError: It does not end in ``.csv``.
    """
    if path.suffix.lower() != ".csv":
        raise WavFlowError(f"--output is {str(path)!r}; give a file ending in .csv.")


def write_manifest(rows: Iterable[Row], path: str | os.PathLike[str]) -> None:
    """Write a table that :func:`read_manifest` reads, whole or not at all.

    Paths in the table's folder or below it become relative, so that the folder can be moved. A
    table that is there already and the same is left as it is.

    Raises:
        MediaError: The folder is missing or cannot be written.
    """
    folder = Path(path).resolve().parent
    write_table(path, COLUMNS, [_cells(row, folder) for row in rows])


def write_table(
    path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    """Write a CSV file, whole or not at all, unless it is there already and the same.

    Raises:
        MediaError: The folder is missing or cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_changed(path, text.getvalue())


def write_changed(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file, whole or not at all, unless it is there already and the same.

    Raises:
        MediaError: The folder is missing or cannot be written.
    """
    content = text.encode()
    if is_file(path) and Path(path).read_bytes() == content:
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _cells(row: Row, folder: Path) -> list[object]:
    paths = [_relative(item, folder) for item in (row.video, row.audio, row.features)]
    duration = "" if row.duration is None else repr(row.duration)
    flags = (int(row.has_video), int(row.has_text))
    return [row.id, *paths, row.caption, repr(row.start), duration, *flags]


def _name(cells: Mapping[str, str], number: int) -> str:
    path = next((cells[column] for column in PATHS if cells.get(column)), "")
    return cells.get("id") or Path(path).stem or f"row_{number:05d}"


def _read_row(name: str, cells: Mapping[str, str], folder: Path) -> Row:
    video, audio, features = (
        folder / cells[column] if cells.get(column) else None for column in PATHS
    )
    row = Row(
        id=name,
        video=video,
        audio=audio,
        features=features,
        caption=cells.get("caption", ""),
        start=_seconds(cells, "start") or 0.0,
        duration=_seconds(cells, "duration"),
        has_video=read_flag(cells, "video_exist"),
        has_text=read_flag(cells, "text_exist"),
    )
    if not (video or audio or features or row.caption):
        raise WavFlowError("it names no video, sound, features or caption.")
    return row


def _seconds(cells: Mapping[str, str], column: str) -> float | None:
    text = cells.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    minimum = 0.0 if column == "start" else math.ulp(0.0)
    if not (math.isfinite(value) and value >= minimum and value <= 1e3 * MAX_DURATION):
        raise WavFlowError(f"{column} is {text!r}; it must be a number of seconds.")
    return value


def _relative(path: Path | None, folder: Path) -> str:
    if path is None:
        return ""
    resolved = path.parent.resolve() / path.name  # a link's own name tells what it leads to
    return str(resolved.relative_to(folder) if resolved.is_relative_to(folder) else resolved)
