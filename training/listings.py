"""What a folder or a published list of clips offers for training, before any file is opened."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wavflow_core.batch import VIDEO_SUFFIXES, Failure, read_table
from wavflow_core.errors import WavFlowError

from .manifest import Row

logger = logging.getLogger(__name__)

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus", ".wma")
CAPTION_SUFFIXES = (".txt", ".json")
AUDIOCAPS_COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")

Listing = tuple[list[Row], list[Failure]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """Files of one clip.

    Attributes:
        video: File to look at, if there is one.
        audio: File to listen to; the video where there is none beside it.
    """

    video: Path | None
    audio: Path


def list_folder(folder: Path) -> Listing:
    """Clips of a folder and its subfolders, each with the caption in the file beside it.

    ``clip.mp4`` is a clip; ``clip.wav`` beside it is heard instead of the video's own sound, or is
    a clip by itself; ``clip.txt``, or ``caption`` in ``clip.json``, is its caption. The id is the
    path in the folder with ``/`` replaced by ``__``.

    Returns:
        The clips by name, and what cannot be used.

    Raises:
        WavFlowError: It is not a folder or holds neither video nor sound.
    """
    rows: list[Row] = []
    failures: list[Failure] = []
    sidecars: dict[Path, Path] = {}
    media: dict[Path, list[Path]] = {}
    for file in _files(folder):
        stem = file.with_suffix("")
        suffix = file.suffix.lower()
        if suffix in CAPTION_SUFFIXES:
            # .txt before .json, whatever the order of the files.
            if suffix == ".txt" or stem not in sidecars:
                sidecars[stem] = file
        else:
            media.setdefault(stem, []).append(file)
    _require_media(folder, media)
    for stem, files in media.items():
        name = "__".join(stem.relative_to(folder).parts).strip()
        found, extra = _sort_out(files)
        failures += [Failure(name=name, reason=_second(file)) for file in extra]
        row = Row(id=name, video=found.video, audio=found.audio)
        try:
            caption = _read_caption(sidecars.pop(stem)) if stem in sidecars else ""
            row = replace(row, caption=caption, has_video=found.video is not None)
            rows.append(replace(row, has_text=bool(caption)))
        except WavFlowError as error:
            failures.append(Failure(name=name, reason=str(error)))
    if sidecars:
        some = ", ".join(str(file) for file in list(sidecars.values())[:3])
        logger.warning("%d caption files belong to no clip: %s ...", len(sidecars), some)
    return unique(rows, failures)


def list_vggsound(table: Path, folder: Path, *, split: str | None = None) -> Listing:
    """Clips of VGGSound's table that are in a folder, with the label as the caption.

    Args:
        table: Rows ``youtube_id,start_seconds,label,split`` without a header.
        folder: Holds ``{id}_{start:06d}.mp4`` or ``{id}_{start}.mp4``, also in subfolders.
        split: Take the rows of ``train`` or ``test`` alone.

    Raises:
        WavFlowError: A file is missing or not what it should be, or no row is of that split.
    """
    media = _by_stem(folder)
    rows: list[Row] = []
    failures: list[Failure] = []
    splits = set()
    for line, cells in _read_rows(table, 4):
        splits.add(cells[3])
        if split is not None and cells[3] != split:
            continue
        try:
            start = _second_number(cells[1])
            name = f"{cells[0]}_{start:06d}"
            stems = (name, f"{cells[0]}_{start}")
        except WavFlowError as error:
            failures.append(Failure(name=cells[0], reason=f"line {line}: {error}"))
            continue
        _add(rows, failures, name=name, caption=cells[2], stems=stems, media=media)
    if split is not None and split not in splits:
        raise WavFlowError(
            f"{str(table)!r} has no rows of the split {split!r}; it has {', '.join(sorted(splits))}"
        )
    return unique(rows, failures)


def list_audiocaps(table: Path, folder: Path) -> Listing:
    """Clips of a table of AudioCaps that are in a folder, once for each of their captions.

    Args:
        table: One split, with the columns of :data:`AUDIOCAPS_COLUMNS`.
        folder: Holds sound or video ``{audiocap_id}``, ``{youtube_id}_{start}`` or
            ``{youtube_id}`` with any suffix, each just the clip, also in subfolders.

    Raises:
        WavFlowError: A file is missing or not what it should be.
    """
    media = _by_stem(folder)
    rows: list[Row] = []
    failures: list[Failure] = []
    for line, cells in read_table(table, required=AUDIOCAPS_COLUMNS, optional=()):
        number, youtube, caption = (cells[key] for key in ("audiocap_id", "youtube_id", "caption"))
        try:
            start = _second_number(cells["start_time"])
        except WavFlowError as error:
            failures.append(Failure(name=youtube or number, reason=f"line {line}: {error}"))
            continue
        name = f"{youtube}_{start}_{number}"
        stems = (number, f"{youtube}_{start}", f"{youtube}_{start:06d}", youtube)
        _add(rows, failures, name=name, caption=caption, stems=stems, media=media)
    return unique(rows, failures)


def unique(rows: Iterable[Row], failures: Sequence[Failure] = ()) -> Listing:
    """The first row of each id; the others become failures, behind those given."""
    kept: dict[str, Row] = {}
    failed = list(failures)
    for row in rows:
        if row.id in kept:
            reason = f"a clip before it has the same id; this one is {row.video or row.audio}."
            failed.append(Failure(name=row.id, reason=reason))
        else:
            kept[row.id] = row
    return list(kept.values()), failed


def _add(
    rows: list[Row],
    failures: list[Failure],
    *,
    name: str,
    caption: str,
    stems: Sequence[str],
    media: Mapping[str, Media],
) -> None:
    """A row of a published list, if there is a file of one of these names."""
    found = next((media[stem] for stem in stems if stem in media), None)
    if found is None:
        wanted = " or ".join(f"{stem}.*" for stem in dict.fromkeys(stems))
        failures.append(Failure(name=name, reason=f"there is no {wanted} in the folder."))
    elif not caption:
        failures.append(Failure(name=name, reason="its caption is blank."))
    else:
        has_video = found.video is not None
        row = Row(id=name, video=found.video, audio=found.audio, caption=caption)
        rows.append(replace(row, has_video=has_video))


def _files(folder: Path) -> Iterator[Path]:
    """Media and caption files by name, also in subfolders and behind links; no hidden ones."""
    if not folder.is_dir():
        raise WavFlowError(f"{str(folder)!r} is not a folder; give a folder of clips.")
    allowed = (*VIDEO_SUFFIXES, *AUDIO_SUFFIXES, *CAPTION_SUFFIXES)
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # links may lead in a circle
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in allowed:
                yield Path(place, name)


def _require_media(folder: Path, media: Collection[object]) -> None:
    if not media:
        looked = ", ".join((*VIDEO_SUFFIXES, *AUDIO_SUFFIXES))
        raise WavFlowError(f"{str(folder)!r} holds neither video nor sound; looked for {looked}.")


def _by_stem(folder: Path) -> dict[str, Media]:
    """Files of each clip by their name without suffix, wherever in the folder they are."""
    found: dict[str, list[Path]] = {}
    for file in _files(folder):
        if file.suffix.lower() not in CAPTION_SUFFIXES:
            found.setdefault(file.stem, []).append(file)
    _require_media(folder, found)
    return {stem: _sort_out(files)[0] for stem, files in found.items()}


def _sort_out(files: Sequence[Path]) -> tuple[Media, list[Path]]:
    """The clip that files of one name make, and the files that it has no use for."""
    videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
    sounds = [file for file in files if file not in videos]
    video = videos[0] if videos else None
    audio = sounds[0] if sounds else videos[0]
    return Media(video=video, audio=audio), [*videos[1:], *sounds[1:]]


def _second(file: Path) -> str:
    return f"{file.name} has the same id as the file before it; keep one of them."


def _read_caption(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".json":
            content = json.loads(text)
            text = content.get("caption") if isinstance(content, dict) else None
    except (OSError, ValueError) as error:
        raise WavFlowError(f"its caption {file.name} cannot be read: {error}.") from error
    if not isinstance(text, str):
        raise WavFlowError(f'its {file.name} has no text "caption"; give {{"caption": "..."}}.')
    if not text.strip():
        raise WavFlowError(f"its caption {file.name} is blank; write one, or delete the file.")
    return text.strip()


def _read_rows(table: Path, width: int) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of a CSV file without a header."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                if len(cells) != width:
                    raise WavFlowError(
                        f"{str(table)!r}, line {reader.line_num}: {len(cells)} cells; VGGSound has "
                        "youtube_id, start_seconds, label, split."
                    )
                yield reader.line_num, [cell.strip() for cell in cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WavFlowError(f"{str(table)!r} cannot be read as a CSV file: {error}.") from error


def _second_number(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise WavFlowError(f"start is {text!r}; it must be a number of seconds.")
    return int(value)
