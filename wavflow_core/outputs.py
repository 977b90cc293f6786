"""The files that sounds go to: their names, whether they can be written, and writing them."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import WavFlowError
from .media import audio, mux
from .media.audio import AudioClip, write_audio
from .media.video import VideoClip
from .pipeline import Request

logger = logging.getLogger(__name__)

FORMATS = (*audio.FORMATS, *mux.FORMATS)


def default_output(video: Path | None) -> Path:
    """Beside you: the video with its new sound, or a sound file for text."""
    if video is None:
        return Path("wavflow.wav")
    suffix = video.suffix if video.suffix.lower() in mux.FORMATS else ".mkv"
    return Path(f"{video.stem}_wavflow{suffix}")


def output_names(output: Path, request: Request) -> list[Path]:
    """The output's name, with the seed behind it where there are several variations."""
    if request.count == 1 or not output.name:
        return [output]
    seeds = range(request.seed, request.seed + request.count)
    return [output.with_name(f"{output.stem}_{seed}{output.suffix}") for seed in seeds]


def check_outputs(
    outputs: Sequence[Path],
    *,
    video: VideoClip | None = None,
    overwrite: bool,
    allowed: Sequence[str] = FORMATS,
) -> None:
    """Find out before the long work whether its results can be written.

    Raises:
        WavFlowError: A suffix is unknown or cannot hold the video, a file exists, or the folder is
            missing or cannot be written.
    """
    if video is not None:
        for suffix in {path.suffix.lower() for path in outputs} & set(mux.FORMATS):
            mux.check_fit(video, suffix)
    for path in outputs:
        if path.suffix.lower() not in allowed:
            raise WavFlowError(
                f"Cannot write {str(path)!r}: its suffix must be one of {', '.join(allowed)}."
            )
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                exists, folder = path.exists(), path.is_dir()
        except OSError as error:
            raise WavFlowError(
                f"Cannot write {str(path)!r}: its folder does not exist or cannot be written, or "
                f"its name is too long ({error.strerror}); choose another."
            ) from error
        if folder:
            raise WavFlowError(f"{str(path)!r} is a folder; give a file name.")
        if exists and not overwrite:
            raise WavFlowError(
                f"{str(path)!r} exists; choose another --output, or replace it with --overwrite."
            )
        if exists and video is not None and _same(path, video):
            raise WavFlowError(f"{str(path)!r} is the video itself; choose another --output.")
        if path.suffix.lower() in mux.FORMATS and video is None:
            raise WavFlowError(
                f"{str(path)!r} would be a video file, but there is no video to put the sound to; "
                f"choose one of {', '.join(audio.FORMATS)}."
            )


def save(clips: Iterable[AudioClip], outputs: Sequence[Path], request: Request) -> None:
    """Write each variation when it is made, as sound or as the video with the new sound."""
    for clip, path in zip(clips, outputs, strict=True):
        if path.suffix.lower() in mux.FORMATS:
            assert request.video is not None
            mux.mux(request.video, clip, path, start=request.start)
        else:
            write_audio(clip, path)
        logger.info("Wrote %s (%.3f s).", path, clip.duration)


def _same(path: Path, video: VideoClip) -> bool:
    return isinstance(video.path, str | os.PathLike) and path.samefile(video.path)
