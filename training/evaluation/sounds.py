"""Which sounds there are to evaluate, and when they should begin to sound."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from wavflow_core.batch import VIDEO_SUFFIXES, Failure, read_table
from wavflow_core.errors import MediaError, WavFlowError
from wavflow_core.media import audio
from wavflow_core.media.audio import AudioClip, read_audio
from wavflow_core.media.files import is_file

from ..manifest import Row, read_manifest

SUFFIXES = (*audio.FORMATS, *(item for item in VIDEO_SUFFIXES if item not in audio.FORMATS))


@dataclass(frozen=True, kw_only=True, slots=True)
class Sound:
    """A sound in a file.

    Attributes:
        id: What results, originals and times of the same clip have in common.
        path: Sound file, or video file with sound.
        start: Seconds into the file.
        duration: Seconds; None is all that follows.
        caption: What should be heard, where it is known.
    """

    id: str
    path: Path
    start: float = 0.0
    duration: float | None = None
    caption: str = ""


def find_sounds(path: Path) -> tuple[list[Sound], list[Failure]]:
    """Sounds of a folder (the stem is the id) or of a manifest, and what is wrong with others.

    Raises:
        WavFlowError: It is neither a folder nor a manifest, or names no sound.
    """
    if path.is_dir():
        return _of_folder(path)
    if not is_file(path):
        raise WavFlowError(f"There is no {str(path)!r}; give a folder of sounds or a manifest.csv.")
    if path.suffix.lower() != ".csv":
        raise WavFlowError(
            f"{str(path)!r} is neither a folder nor a manifest; give a folder of sounds or a .csv."
        )
    rows, failures = read_manifest(path)
    sounds = [_of_row(row) for row in rows]
    failures += [item for item in sounds if isinstance(item, Failure)]
    return [item for item in sounds if isinstance(item, Sound)], failures


def read_sound(sound: Sound, *, duration: float | None = None) -> AudioClip:
    """Read a sound, at most so many seconds of it.

    Raises:
        MediaError: It cannot be read, or is not finite.
    """
    lengths = [item for item in (sound.duration, duration) if item is not None]
    return read_audio(sound.path, start=sound.start, duration=min(lengths, default=None))


def read_times(path: Path) -> dict[str, list[float]]:
    """When each clip should begin to sound.

    A ``.json`` file is an object from ids to lists of seconds. A ``.csv`` file has the columns
    ``id, time`` with a row for each moment; a row without a time names a clip without any.

    Returns:
        Seconds in ascending order by id.

    Raises:
        WavFlowError: The file is missing or says something else.
    """
    if not is_file(path):
        raise WavFlowError(f"There is no {str(path)!r}; give a .csv or .json of onset times.")
    kind = path.suffix.lower()
    if kind not in (".json", ".csv"):
        raise WavFlowError(f"{str(path)!r} must end in .csv or .json to hold onset times.")
    listed = _times_of_json(path) if kind == ".json" else _times_of_csv(path)
    for name, times in listed.items():
        for time in times:
            if not (math.isfinite(time) and time >= 0):
                raise WavFlowError(
                    f"{str(path)!r}: {name} has the onset time {time!r}; it must be 0 or more "
                    "seconds."
                )
    return {name: sorted(times) for name, times in listed.items()}


def _of_folder(path: Path) -> tuple[list[Sound], list[Failure]]:
    sounds: dict[str, Sound] = {}
    failures: list[Failure] = []
    for file in sorted(path.iterdir()):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith(".") or not is_file(file):
            continue
        if file.stem in sounds:
            reason = f"{sounds[file.stem].path.name!r} has the same name; keep one of the two."
            failures.append(Failure(name=file.name, reason=reason))
        else:
            sounds[file.stem] = Sound(id=file.stem, path=file)
    if not sounds:
        raise WavFlowError(f"{str(path)!r} holds no sound; looked for {', '.join(SUFFIXES)}.")
    return list(sounds.values()), failures


def _of_row(row: Row) -> Sound | Failure:
    path = row.audio or row.video
    if path is None:
        return Failure(name=row.id, reason="the manifest names neither a sound nor a video for it.")
    return Sound(id=row.id, path=path, start=row.start, duration=row.duration, caption=row.caption)


def _times_of_json(path: Path) -> dict[str, list[float]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WavFlowError(f"{str(path)!r} cannot be read as JSON: {error}.") from error
    valid = isinstance(content, dict) and all(
        isinstance(times, list)
        and all(isinstance(time, int | float) and not isinstance(time, bool) for time in times)
        for times in content.values()
    )
    if not valid:
        raise WavFlowError(
            f"{str(path)!r} must be an object from ids to lists of seconds, such as "
            '{"clip": [0.5, 1.25]}.'
        )
    return {name: [float(time) for time in times] for name, times in content.items()}


def _times_of_csv(path: Path) -> dict[str, list[float]]:
    listed: dict[str, list[float]] = {}
    for line, row in read_table(path, required=("id", "time"), optional=()):
        times = listed.setdefault(row["id"], [])
        if row["time"]:
            try:
                times.append(float(row["time"]))
            except ValueError as error:
                raise WavFlowError(
                    f"{str(path)!r}, line {line}: time is {row['time']!r}; it must be seconds."
                ) from error
    return listed


def check_original(sound: Sound | None, name: str) -> Sound:
    """The original of a result, if there is one.

    Raises:
        MediaError: There is none.
    """
    if sound is None:
        raise MediaError(f"there is no original with the id {name!r} to compare with.")
    return sound
