"""A folder of clips: writing one, knowing which are there, the tables."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from wavflow_core.errors import ConfigError
from wavflow_core.media.audio import AudioClip, write_audio
from wavflow_core.media.cut import save_images
from wavflow_core.media.files import is_file
from wavflow_core.media.mux import mux

from ..manifest import Row, write_changed, write_manifest
from .clip import JSON, ClipConfig, clip_id, make_clip

TRUTH, MANIFEST = "truth.jsonl", "manifest.csv"
Line = dict[str, JSON]


def write_clip(seed: int, config: ClipConfig, folder: Path) -> Line:
    """Make a clip and write its files, each whole or not at all.

    Returns:
        What ``truth.jsonl`` holds of it.

    Raises:
        MediaError: The folder is missing or cannot be written.
    """
    clip = make_clip(seed, config)
    name = clip.truth.id
    sound = AudioClip(waveform=torch.from_numpy(clip.waveform)[None], sample_rate=config.rate)
    with tempfile.TemporaryDirectory(prefix="foley_world_") as temporary:
        silent = Path(temporary) / f"{name}.mp4"
        save_images(torch.from_numpy(clip.frames).float() / 255, config.fps, silent)
        mux(silent, sound, folder / f"{name}.mp4", metadata={"title": clip.truth.caption})
    write_audio(sound, folder / f"{name}.wav")
    return clip.truth.to_dict(config)


def is_written(seed: int, folder: Path) -> bool:
    """Whether both files of a clip are there."""
    return all(is_file(folder / f"{clip_id(seed)}{suffix}") for suffix in (".mp4", ".wav"))


def read_truth(folder: Path, config: ClipConfig | None = None) -> dict[str, Line]:
    """What is known of the clips in a folder, by id; nothing if there are none.

    A last line that a stopped run has not finished is left out.

    Args:
        folder: Of the clips.
        config: How they must have been made; None: in whatever way.

    Raises:
        ConfigError: The clips were made with other settings, or the file is damaged.
    """
    path = folder / TRUTH
    if not is_file(path):
        return {}
    lines: dict[str, Line] = {}
    texts = path.read_text(encoding="utf-8").splitlines()
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
            name, found = line["id"], line["config"]
        except (ValueError, KeyError, TypeError) as error:
            if number == len(texts):
                break
            raise ConfigError(
                f"Line {number} of {str(path)!r} cannot be read ({error}); give another folder, or "
                "remove the file: clips are made again then."
            ) from error
        if config is not None and found != config.to_dict():
            raise ConfigError(
                f"{str(folder)!r} holds clips made with {_said(found)}; given: "
                f"{_said(config.to_dict())}. Give another folder, or the same settings."
            )
        lines[name] = line
    return lines


def append_truth(line: Mapping[str, JSON], folder: Path) -> None:
    """Note a finished clip, so that a stopped run does not make it again."""
    with (folder / TRUTH).open("a", encoding="utf-8") as file:
        file.write(_dump(line) + "\n")


def write_tables(lines: Iterable[Line], folder: Path) -> None:
    """Write ``truth.jsonl`` and ``manifest.csv`` of all clips, in the order of their ids.

    Raises:
        MediaError: The folder cannot be written.
    """
    ordered = sorted(lines, key=lambda line: str(line["id"]))
    write_changed(folder / TRUTH, "".join(_dump(line) + "\n" for line in ordered))
    write_manifest(
        (
            Row(
                id=str(line["id"]),
                video=folder / f"{line['id']}.mp4",
                audio=folder / f"{line['id']}.wav",
                caption=str(line["caption"]),
            )
            for line in ordered
        ),
        folder / MANIFEST,
    )


def _dump(line: Mapping[str, JSON]) -> str:
    return json.dumps(line, ensure_ascii=False)


def _said(settings: object) -> str:
    if not isinstance(settings, dict):
        return repr(settings)
    return ", ".join(f"{key} {value}" for key, value in settings.items())
