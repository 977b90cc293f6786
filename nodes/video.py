"""Nodes that load a video and put sound to one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from comfy_api.v0_0_2 import InputImpl, io, ui

from ..wavflow_core.errors import MediaError, NoSoundError
from ..wavflow_core.media.audio import AudioClip, read_audio
from ..wavflow_core.media.cut import save_images, save_part
from ..wavflow_core.media.mix import mix
from ..wavflow_core.media.mux import check_fit, mux
from ..wavflow_core.media.video import VideoClip, open_video
from .convert import Footage, check_interrupted, from_clips, progress_bar, to_clips, to_footage
from .files import (
    BUNDLED_VIDEO,
    NewFile,
    choose_file,
    list_inputs,
    new_files,
    problem_of,
    version_of,
)

if TYPE_CHECKING:
    from comfy_api.v0_0_2 import Input

CATEGORY = "audio/WavFlow"
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".ogv", ".3gp", ".gif"),
)
MODES = ("replace", "mix")
SILENT_RATE = 44100  # of the sound of a part in which a video's own sound is silent


class LoadVideo(io.ComfyNode):
    """Open a video, or a part of one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node looks like."""
        return io.Schema(
            node_id="WavFlowLoadVideo",
            display_name="WavFlow Load Video",
            category=CATEGORY,
            description="Opens a video, or a part of one, without loading its frames.",
            inputs=_load_inputs(),
            outputs=[
                io.Video.Output(display_name="video"),
                io.Audio.Output(
                    display_name="audio", tooltip="The part's own sound; empty if it has none."
                ),
                io.Float.Output(display_name="fps", tooltip="Average frames per second."),
                io.Float.Output(display_name="duration", tooltip="Seconds of the part."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        """Say before the run whether the file is there."""
        return problem_of(file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None, **_: object) -> str:
        """Load again when the file has changed."""
        return version_of(file)

    @classmethod
    def execute(cls, file: str, start: float, duration: float) -> io.NodeOutput:
        """Find out what the file holds and name the part."""
        clip = open_video(choose_file(file), start=start, duration=duration or None)
        audio = LazyAudio(clip) if clip.has_audio else None
        outputs = (_to_video(clip), audio, float(clip.frame_rate), clip.seconds)
        return io.NodeOutput(*outputs, ui=_preview(clip.path) if file == BUNDLED_VIDEO else None)


class AddSoundToVideo(io.ComfyNode):
    """Give a video a new sound."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node looks like."""
        return io.Schema(
            node_id="WavFlowAddSoundToVideo",
            display_name="WavFlow Add Sound To Video",
            category=CATEGORY,
            description="Gives a video a new sound, alone or mixed with its own; its pictures are "
            "copied as they are where that is possible.",
            inputs=_sound_inputs(),
            outputs=[io.Video.Output(display_name="video")],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        video: Input.Video,
        audio: Mapping[str, object],
        mode: str,
        sound_db: float,
        original_db: float,
        start: float,
    ) -> io.NodeOutput:
        """Write the video to ComfyUI's temporary folder."""
        footage = to_footage(video)
        if start >= footage.seconds:
            raise MediaError(
                f"start is {start:g} s, but the video is only {footage.seconds:.3f} s long; choose "
                "an earlier start."
            )
        original = _original_sound(video, footage) if mode == "mix" else None
        sound = mix(
            to_clips(audio)[0], original, new_db=sound_db, original_db=original_db, start=start
        )
        file = _write(footage, _cut_to(sound, footage.seconds))
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(file.path)), ui=ui.PreviewVideo([file.shown])
        )


class LazyAudio(Mapping[str, object]):
    """An AUDIO that is read from its file when a node first looks into it, if one ever does."""

    def __init__(self, clip: VideoClip) -> None:
        self._clip = clip
        self._read: dict[str, object] | None = None

    def __getitem__(self, key: str) -> object:
        if self._read is None:
            sound = _read_sound(self._clip) or _silence(self._clip.seconds)
            self._read = from_clips([sound])
        return self._read[key]

    def __iter__(self) -> Iterator[str]:
        return iter(("waveform", "sample_rate"))

    def __len__(self) -> int:
        return 2


def _load_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "file",
            options=[*list_inputs(VIDEO_SUFFIXES), BUNDLED_VIDEO],
            upload=io.UploadType.video,
            tooltip="A video in the input folder; upload one, or drop it on the node. The last "
            "choice is a clip of 4 seconds that comes with this pack.",
        ),
        io.Float.Input(
            "start",
            default=0.0,
            min=0.0,
            max=86400.0,
            step=0.01,
            tooltip="Seconds from the first frame at which the part begins.",
        ),
        io.Float.Input(
            "duration",
            default=0.0,
            min=0.0,
            max=86400.0,
            step=0.01,
            tooltip="Seconds of the part; 0, or more than there is, goes to the end.",
        ),
    ]


def _sound_inputs() -> list[io.Input]:
    level = {"min": -60.0, "max": 20.0, "step": 0.5}
    return [
        io.Video.Input("video", tooltip="The video; from any node."),
        io.Audio.Input("audio", tooltip="The new sound; of a batch the first is taken."),
        io.Combo.Input(
            "mode",
            options=list(MODES),
            default="replace",
            tooltip="replace leaves the video's own sound out; mix lays the new sound over it.",
        ),
        io.Float.Input(
            "sound_db",
            default=0.0,
            **level,
            tooltip="Decibels to make the new sound louder or softer. The result is turned down "
            "as a whole if its true peak is above -1 dB.",
        ),
        io.Float.Input(
            "original_db",
            default=0.0,
            **level,
            tooltip="Decibels to make the video's own sound louder or softer; used by mix.",
        ),
        io.Float.Input(
            "start",
            default=0.0,
            min=0.0,
            max=86400.0,
            step=0.01,
            tooltip="Seconds into the video at which the new sound begins. Sound that goes "
            "beyond the video's end is cut off.",
        ),
    ]


def _to_video(clip: VideoClip) -> Input.Video:
    """A VIDEO of the part, without reading its pictures where ComfyUI can name a part."""
    if _is_whole(clip):
        return InputImpl.VideoFromFile(str(clip.path))
    if hasattr(InputImpl.VideoFromFile, "get_active_trim_window"):  # since ComfyUI 0.26
        duration = 0 if clip.duration is None else clip.seconds
        return InputImpl.VideoFromFile(str(clip.path), start_time=clip.start, duration=duration)
    # Older ones know whole files alone, so that the part must become one.
    sound = _read_sound(clip, duration=clip.seconds)
    return InputImpl.VideoFromFile(str(_write(clip, sound).path))


def _is_whole(footage: Footage) -> bool:
    return footage.start == 0 and (
        footage.duration is None
        or (isinstance(footage, VideoClip) and footage.duration >= footage.total)
    )


def _preview(video: Path) -> ui.PreviewVideo:
    """For the bundled video, which the browser cannot fetch from a folder of ComfyUI's."""
    file = next(new_files("WavFlow/bundled", ".mp4", kind=io.FolderType.temp))
    shutil.copyfile(video, file.path)
    return ui.PreviewVideo([file.shown])


def _read_sound(clip: VideoClip, *, duration: float | None = None) -> AudioClip | None:
    """The part's own sound, if there is any; stops on Cancel."""
    if not clip.has_audio:
        return None
    try:
        return read_audio(
            clip.path,
            start=clip.start,
            duration=duration or clip.duration,
            progress=lambda _: check_interrupted(),
        )
    except NoSoundError:
        return None


def _silence(seconds: float) -> AudioClip:
    samples = max(1, round(seconds * SILENT_RATE))
    return AudioClip(waveform=torch.zeros(1, samples), sample_rate=SILENT_RATE)


def _original_sound(video: Input.Video, footage: Footage) -> AudioClip | None:
    """The sound of a VIDEO's part, if it has any."""
    if isinstance(footage, VideoClip):
        return _read_sound(footage, duration=footage.seconds)
    audio = video.get_components().audio
    return None if audio is None else to_clips(audio, "The video's own sound")[0]


def _cut_to(sound: AudioClip, seconds: float) -> AudioClip:
    samples = max(1, round(seconds * sound.sample_rate))
    return replace(sound, waveform=sound.waveform[:, :samples])


def _write(footage: Footage, sound: AudioClip | None) -> NewFile:
    """Write pictures and sound to an .mp4 in the temporary folder.

    Pictures of a whole file that an .mp4 can hold are copied, all others are coded again.
    """
    file = next(new_files("WavFlow/video", ".mp4", kind=io.FolderType.temp))
    if sound is None:
        _encode(footage, file.path)
    elif isinstance(footage, VideoClip) and _is_whole(footage) and _fits(footage, file.path.suffix):
        mux(footage, sound, file.path, progress=_seconds_of(footage.seconds))
    else:
        with tempfile.TemporaryDirectory(dir=file.path.parent) as folder:
            pictures = Path(folder) / "pictures.mp4"
            _encode(footage, pictures)
            mux(pictures, sound, file.path, progress=_seconds_of(footage.seconds))
    return file


def _fits(clip: VideoClip, suffix: str) -> bool:
    try:
        check_fit(clip, suffix)
    except MediaError:
        return False
    return True


def _encode(footage: Footage, path: Path) -> None:
    progress = _seconds_of(footage.seconds)
    if isinstance(footage, VideoClip):
        save_part(footage, path, progress=progress)
    else:  # never a part: only files are trimmed
        save_images(footage.images, footage.fps, path, progress=progress)


def _seconds_of(total: float) -> Callable[[float], None]:
    """The progress bar in hundredths of a second; stops on Cancel."""
    bar = progress_bar()
    return lambda done: bar(round(100 * done), round(100 * total))
