"""Whether the files of a clip can be used, found out by opening them."""

from __future__ import annotations

from pathlib import Path

from wavflow_core.errors import MediaError, WavFlowError
from wavflow_core.media.audio import read_audio
from wavflow_core.media.files import is_file
from wavflow_core.media.video import VideoClip, open_video

from .feature_store import FeatureReader
from .manifest import Row

# Of a long file so many seconds are listened to.
LISTEN = 30.0


def open_picture(row: Row) -> VideoClip | None:
    """The video of a row that belongs to the clip, if there is one.

    Raises:
        MediaError: It is missing, cannot be decoded, or ends before the clip begins.
    """
    if not row.has_video or row.video is None:
        return None
    return open_video(_there(row.video, "video"), start=row.start, duration=row.duration)


def check_sound(row: Row) -> None:
    """Refuse a clip whose sound cannot be read or is nothing but digital silence.

    Raises:
        MediaError: The sound is missing, cannot be decoded, is empty or is silent.
    """
    path = row.audio or row.video
    if path is None:
        raise MediaError("It has no sound to train on; name a file in audio_path.")
    _there(path, "sound")
    sound = read_audio(path, start=row.start, duration=min(row.duration or LISTEN, LISTEN))
    if not sound.waveform.any():
        raise MediaError(f"The sound of {path} is empty or silent all along.")


def _there(path: Path, kind: str) -> Path:
    if not is_file(path):
        raise MediaError(f"There is no {kind} {str(path)!r}; check the path.")
    return path


def check_row(row: Row) -> str | None:
    """Why a row cannot be trained on, or None where all is well with its files."""
    try:
        "".join((row.id, row.caption, str(row.video), str(row.audio))).encode()
        video = open_picture(row)
        check_sound(row)
        if row.features is not None:
            FeatureReader(duration=LISTEN).read(row.features, row.id)
    except UnicodeEncodeError:
        return "its name or caption is no valid text; rename the file, or mend the caption."
    except (WavFlowError, OSError, RuntimeError) as error:
        return str(error)
    if "\0" in row.caption:
        return "its caption holds null characters; mend it."
    if row.features is None and video is None and not (row.has_text and row.caption.strip()):
        return "it has neither a picture nor a caption; put a caption beside it."
    return None
