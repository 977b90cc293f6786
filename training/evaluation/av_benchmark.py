"""Sounds in the folders that av-benchmark reads, and its run where it is installed.

Source: https://github.com/hkchengrex/av-benchmark, its public functions and options.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import logging
import math
import os
import shlex
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch.nn import functional

from wavflow_core.batch import UNSAFE_NAME, Failure
from wavflow_core.errors import MediaError, WavFlowError
from wavflow_core.media.audio import write_audio

from .sounds import Sound, check_original, read_sound

logger = logging.getLogger(__name__)

SECONDS = 8.0
URL = "https://github.com/hkchengrex/av-benchmark"
VIDEO_CACHES = ("imagebind_video.pth", "synchformer_video.pth")
TEXT_CACHES = ("clap_laion_text.pth", "clap_ms_text.pth")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Folders of one comparison.

    Attributes:
        folder: Holds ``generated/ID.wav``, ``reference/ID.wav``, ``captions.csv`` and the caches.
    """

    folder: Path

    @property
    def generated(self) -> Path:
        """Sounds made, ``ID.wav``."""
        return self.folder / "generated"

    @property
    def reference(self) -> Path:
        """Originals, ``ID.wav``."""
        return self.folder / "reference"

    @property
    def captions(self) -> Path:
        """Table of ``name,caption``."""
        return self.folder / "captions.csv"

    @property
    def generated_cache(self) -> Path:
        """What av-benchmark keeps of the sounds made."""
        return self.generated / "cache"

    @property
    def reference_cache(self) -> Path:
        """What av-benchmark keeps of the originals, their videos and captions."""
        return self.reference / "cache"


def write_layout(
    sounds: Iterable[Sound],
    folder: Path,
    *,
    originals: Mapping[str, Sound],
    seconds: float = SECONDS,
) -> tuple[Layout, list[Failure]]:
    """Write results and originals as .wav files named by id, and their captions.

    Samples, rate and channels stay (32-bit floats). Shorter sounds get silence at their end,
    because av-benchmark needs all of its window; longer ones it cuts itself. The folder appears
    whole or not at all.

    Args:
        sounds: The results.
        folder: To make; it must not exist, or be empty.
        originals: By id.
        seconds: Window of the comparison.

    Returns:
        The folders, and the sounds left out: unreadable, without original, or with an id that
        cannot be a file name.

    Raises:
        WavFlowError: The folder holds something or cannot be written, the window is not above 0,
            or no sound is left.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise WavFlowError(f"The window is {seconds!r}; it must be above 0 seconds.")
    check_folder(folder)
    try:
        return _write_layout(sounds, folder, originals, seconds)
    except OSError as error:
        raise WavFlowError(
            f"{str(folder)!r} cannot be written: {error.strerror}; choose another."
        ) from error


def _write_layout(
    sounds: Iterable[Sound], folder: Path, originals: Mapping[str, Sound], seconds: float
) -> tuple[Layout, list[Failure]]:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name[:40]}.") as name:
        layout = Layout(folder=Path(name) / "layout")
        layout.generated.mkdir(parents=True)
        layout.reference.mkdir()
        captions: list[tuple[str, str]] = []
        failures: list[Failure] = []
        short = 0
        for sound in sounds:
            original = originals.get(sound.id)
            try:
                short += _write_pair(sound, check_original(original, sound.id), layout, seconds)
            except MediaError as error:
                failures.append(Failure(name=sound.id, reason=str(error)))
                continue
            caption = sound.caption or (original.caption if original else "")
            if caption:
                captions.append((sound.id, caption))
        if not any(layout.generated.iterdir()):
            reasons = "; ".join(f"{item.name}: {item.reason}" for item in failures[:3])
            raise WavFlowError(f"No sound can be given to av-benchmark. {reasons}")
        if captions:
            with layout.captions.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([("name", "caption"), *captions])
        if folder.exists():
            folder.rmdir()
        layout.folder.rename(folder)
    if short:
        logger.warning("%d sounds are shorter than %g s; silence follows them.", short, seconds)
    return Layout(folder=folder), failures


def check_folder(folder: Path) -> None:
    """Find out before the work whether the folder can be made.

    Raises:
        WavFlowError: It holds something, is a file, or its parent is missing or not to be written.
    """
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        has_parent = folder.parent.is_dir()
        writable = os.access(folder.parent, os.W_OK)
    except OSError as error:
        raise WavFlowError(f"{str(folder)!r} cannot be used: {error.strerror}.") from error
    if taken:
        raise WavFlowError(f"{str(folder)!r} exists and is not an empty folder; choose another.")
    if not has_parent:
        raise WavFlowError(f"The folder of {str(folder)!r} does not exist; create it first.")
    if not writable:
        raise WavFlowError(f"{str(folder.parent)!r} cannot be written to; choose another folder.")


def is_installed() -> bool:
    """Whether av-benchmark can be imported."""
    return importlib.util.find_spec("av_bench") is not None


def commands(layout: Layout, *, seconds: float = SECONDS) -> list[str]:
    """What to type in a checkout of av-benchmark to compare the folders."""
    options: Sequence[object] = (
        *("--gt_audio", layout.reference.resolve()),
        *("--gt_cache", layout.reference_cache.resolve()),
        *("--pred_audio", layout.generated.resolve()),
        *("--pred_cache", layout.generated_cache.resolve()),
        *("--audio_length", f"{seconds:g}"),
        *_skipped(layout),
    )
    return [shlex.join(["python", "evaluate.py", *map(str, options)])]


def run(
    layout: Layout,
    *,
    seconds: float = SECONDS,
    device: str = "cuda",
    batch_size: int = 32,
    num_workers: int = 4,
) -> dict[str, float]:
    """Extract and compare with av-benchmark.

    What concerns videos or captions is left out unless its caches are in ``reference/cache``.

    Args:
        layout: From :func:`write_layout`.
        seconds: Window of the comparison.
        device: Where its networks run.
        batch_size: Sounds at once.
        num_workers: Processes that read.

    Returns:
        Its numbers by its names, such as ``FD-PANN``.

    Raises:
        WavFlowError: It is not installed, or fails.
    """
    typed = "\n".join(f"  {line}" for line in commands(layout, seconds=seconds))
    if not is_installed():
        raise WavFlowError(
            f"av-benchmark is not installed here; get it from {URL}. The folders are ready; "
            f"compare them in its checkout:\n{typed}"
        )
    settings = {"batch_size": batch_size, "num_workers": num_workers, "device": device}
    try:
        return _compare(layout, seconds, settings)
    except (ImportError, AttributeError, TypeError, RuntimeError, OSError, ValueError) as error:
        raise WavFlowError(
            f"av-benchmark failed ({error}). The folders are ready; compare them in its "
            f"checkout:\n{typed}"
        ) from error


def _compare(layout: Layout, seconds: float, settings: Mapping[str, int | str]) -> dict[str, float]:
    """Call av-benchmark's two functions; what they raise is not ours to know."""
    extract = importlib.import_module("av_bench.extract").extract
    evaluate = importlib.import_module("av_bench.evaluate").evaluate
    skipped = _skipped(layout)
    skip = {
        "skip_video_related": "--skip_video_related" in skipped,
        "skip_clap": "--skip_clap" in skipped,
    }
    for audio, cache in (
        (layout.reference, layout.reference_cache),
        (layout.generated, layout.generated_cache),
    ):
        cache.mkdir(exist_ok=True)
        extract(audio_path=audio, output_path=cache, audio_length=seconds, **settings, **skip)
    numbers = evaluate(
        gt_audio_cache=layout.reference_cache,
        pred_audio_cache=layout.generated_cache,
        is_paired=True,
        num_samples=1,
        **skip,
    )
    return {str(name): float(value) for name, value in numbers.items()}


def _skipped(layout: Layout) -> list[str]:
    """Options for what av-benchmark cannot compare, because its caches are not there."""
    options = {"--skip_video_related": VIDEO_CACHES, "--skip_clap": TEXT_CACHES}
    return [
        option
        for option, names in options.items()
        if not all((layout.reference_cache / name).is_file() for name in names)
    ]


def _write_pair(sound: Sound, original: Sound, layout: Layout, seconds: float) -> int:
    """Both or neither, so that every result has its original; how many got silence.

    Raises:
        MediaError: One of them cannot be read or written.
    """
    if UNSAFE_NAME.search(sound.id):
        raise MediaError(f"the id {sound.id!r} cannot be a file name; give another.")
    clips, short = [], 0
    for item in (sound, original):
        clip = read_sound(item)
        missing = round(seconds * clip.sample_rate) - clip.waveform.shape[1]
        if missing > 0:
            short += 1
            clip = replace(clip, waveform=functional.pad(clip.waveform, (0, missing)))
        clips.append(clip)
    for clip, place in zip(clips, (layout.generated, layout.reference), strict=True):
        write_audio(clip, place / f"{sound.id}.wav", subtype="32f")
    return short
