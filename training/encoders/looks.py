"""What the encoders look at and listen to: all clips of a manifest, decoded once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from tqdm import tqdm

from wavflow_core.config import CLIP_FPS, SYNC_FPS, frame_counts
from wavflow_core.errors import WavFlowError
from wavflow_core.features.preprocess import clip_frame, sync_frame
from wavflow_core.media.audio import AudioClip, read_audio
from wavflow_core.media.files import atomic_path, is_file, make_folder
from wavflow_core.media.video import FrameRequest, open_video, stream_frames

from ..evaluation.spectra import BANDS, HOP_SECONDS, log_mel, mono
from ..lock import only_run_in
from ..manifest import Row, read_manifest
from ..pool import check_jobs, in_processes

logger = logging.getLogger(__name__)

DESCRIPTION = "looks.json"
RATE = 16000


@dataclass(frozen=True, kw_only=True, slots=True)
class LookSettings:
    """What is read of each clip.

    Attributes:
        duration: Seconds.
        clip_size: Side of CLIP's pictures, 8 per second.
        sync_size: Side of Synchformer's pictures, 25 per second.
    """

    duration: float = 4.0
    clip_size: int = 64
    sync_size: int = 64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Looks:
    """Decoded clips, mapped from disk.

    Attributes:
        ids: Names.
        captions: What is heard in each.
        pictures: ``(M, T_c, 3, S, S)`` uint8, 8 per second.
        frames: ``(M, T, 3, S, S)`` uint8, 25 per second.
        sounds: ``(M, bands, 100 per second)`` float16 decibels, see
            :func:`~training.evaluation.spectra.log_mel`.
    """

    ids: list[str]
    captions: list[str]
    pictures: np.ndarray
    frames: np.ndarray
    sounds: np.ndarray


def read_looks(
    manifest: Path, cache: Path, settings: LookSettings, *, jobs: int, at_least: int = 1
) -> Looks:
    """Decode the clips of a manifest, or open what was decoded before.

    Args:
        manifest: Clips with video, sound and caption.
        cache: Folder for the decoded clips, about 2 MB each; it is made where it is missing.
        settings: What to read.
        jobs: Processes that decode.
        at_least: Clips that a batch needs.

    Raises:
        WavFlowError: The manifest or a clip cannot be read, there are too few, another run
            decodes into the cache, or a process has died.
    """
    check_jobs(jobs)
    rows, failures = read_manifest(manifest)
    rows = [row for row in rows if _shows_and_tells(row)]
    if failures or not rows:
        reason = failures[0].reason if failures else "no row has a video and a caption"
        raise WavFlowError(f"{str(manifest)!r} cannot be used to train encoders: {reason}")
    if len(rows) < at_least:
        raise WavFlowError(
            f"There are {len(rows)} clips, fewer than a batch of {at_least}; give more, or a "
            "smaller --batch-size."
        )
    ids = [row.id for row in rows]
    description = {**asdict(settings), "clips": len(ids), "digest": _digest(rows)}
    if not _matches(cache, description):
        make_folder(cache)
        with only_run_in(cache):
            (cache / DESCRIPTION).unlink(missing_ok=True)
            _decode_all(rows, cache, settings, jobs=jobs)
            with atomic_path(cache / DESCRIPTION) as path:
                path.write_text(json.dumps(description), encoding="utf-8")
    arrays = {
        name: np.load(cache / f"{name}.npy", mmap_mode="r") for name in _shapes(settings, len(ids))
    }
    return Looks(ids=ids, captions=[row.caption for row in rows], **arrays)


def _shows_and_tells(row: Row) -> bool:
    return row.video is not None and row.has_video and row.has_text and bool(row.caption)


def _digest(rows: Sequence[Row]) -> str:
    """Which parts of which files these are, and as of when."""
    parts = [[row.id, row.start, row.duration, *_marks(row)] for row in rows]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _marks(row: Row) -> list[object]:
    """Size and time of the files of a row; one that is missing is reported where it is read."""
    found: list[object] = []
    for path in (row.video, row.audio):
        with contextlib.suppress(OSError):
            facts = path.stat() if path is not None else None
            found.append(facts and [facts.st_size, facts.st_mtime_ns])
    return found


def _matches(cache: Path, description: dict[str, object]) -> bool:
    path = cache / DESCRIPTION
    return is_file(path) and json.loads(path.read_text(encoding="utf-8")) == description


def _shapes(settings: LookSettings, count: int) -> dict[str, tuple[tuple[int, ...], type]]:
    pictures, frames = frame_counts(settings.duration)
    hops = round(settings.duration / HOP_SECONDS)
    return {
        "pictures": ((count, pictures, 3, settings.clip_size, settings.clip_size), np.uint8),
        "frames": ((count, frames, 3, settings.sync_size, settings.sync_size), np.uint8),
        "sounds": ((count, BANDS, hops), np.float16),
    }


def _decode_all(rows: Sequence[Row], cache: Path, settings: LookSettings, *, jobs: int) -> None:
    arrays = {
        name: open_memmap(cache / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
        for name, (shape, dtype) in _shapes(settings, len(rows)).items()
    }
    read = partial(_decode, settings=settings)
    decoded = tqdm(in_processes(read, rows, jobs=jobs), total=len(rows), desc="decoding")
    for number, parts in enumerate(decoded):
        for array, part in zip(arrays.values(), parts, strict=True):
            array[number] = part
    for array in arrays.values():
        array.flush()


def _decode(row: Row, settings: LookSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures, frames and log-mel spectrum of one clip."""
    assert row.video is not None
    pictures, frames = frame_counts(settings.duration)
    requests = [
        FrameRequest(
            fps=CLIP_FPS, limit=pictures, transform=partial(clip_frame, size=settings.clip_size)
        ),
        FrameRequest(
            fps=SYNC_FPS, limit=frames, transform=partial(sync_frame, size=settings.sync_size)
        ),
    ]
    taken: list[list[torch.Tensor]] = [[], []]
    video = open_video(row.video, start=row.start, duration=row.duration)
    for index, _, frame in stream_frames(video, requests):
        taken[index].append(frame)
    seconds = min(row.duration or settings.duration, settings.duration)
    clip = read_audio(row.audio or row.video, start=row.start, duration=seconds)
    sound = mono(AudioClip(waveform=clip.waveform, sample_rate=clip.sample_rate), rate=RATE)
    samples = round(settings.duration * RATE)
    sound = torch.nn.functional.pad(sound[:samples], (0, max(0, samples - len(sound))))
    hops = round(settings.duration / HOP_SECONDS)
    spectrum = log_mel(sound, RATE)[:, :hops]
    first, second = (torch.stack(items).numpy() for items in taken)
    return first, second, spectrum.numpy().astype(np.float16)
