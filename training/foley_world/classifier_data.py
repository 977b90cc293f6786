"""Sounds to train the classifier with: spectra of clips, made without their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from wavflow_core.media.audio import AudioClip
from wavflow_core.media.files import is_file, make_folder
from wavflow_core.tensor_files import read_safetensors, write_safetensors

from ..pool import in_processes
from .classifier_model import label, spectrum
from .clip import VERSION
from .motion import simulate
from .scene import make_scene
from .sound import synthesize

RATE = 16_000
SHARD = 100  # clips in a file
NAMES = ("spectra", "labels")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sounds:
    """Sounds of many clips.

    Attributes:
        spectra: ``(M, bands, frames)`` float16 decibels.
        labels: ``(M, 18)`` bool, classes of which there is an event.
    """

    spectra: Tensor
    labels: Tensor


def hear_clips(seeds: Sequence[int], folder: Path, *, seconds: float, jobs: int) -> Sounds:
    """Make the sounds of clips, or read those that were made before.

    Args:
        seeds: Of the clips.
        folder: For files of 100 spectra each, 4 MB at 4 s; it is made where it is missing.
        seconds: Length of the clips.
        jobs: Processes.

    Raises:
        WavFlowError: A file cannot be written or is damaged, or a process has died.
    """
    make_folder(folder)
    parts = [seeds[first : first + SHARD] for first in range(0, len(seeds), SHARD)]
    paths = [
        folder / f"v{VERSION}-{seconds:g}s-{part[0]:08d}-{len(part)}.safetensors" for part in parts
    ]
    missing = [(part, path) for part, path in zip(parts, paths, strict=True) if not is_file(path)]
    there = len(seeds) - sum(len(part) for part, _ in missing)
    with tqdm(total=len(seeds), initial=there, desc="sounds", unit="clip") as bar:
        write = partial(_write_shard, seconds=seconds)
        for count in in_processes(write, missing, jobs=jobs):
            bar.update(count)
    files = [read_safetensors(path) for path in paths]
    spectra, labels = (torch.cat([file[name] for file in files]) for name in NAMES)
    return Sounds(spectra=spectra, labels=labels)


def _write_shard(job: tuple[Sequence[int], Path], seconds: float) -> int:
    seeds, path = job
    rows = [_hear(seed, seconds) for seed in seeds]
    columns = (torch.stack(items) for items in zip(*rows, strict=True))
    write_safetensors(dict(zip(NAMES, columns, strict=True)), {}, path)
    return len(seeds)


def _hear(seed: int, seconds: float) -> tuple[Tensor, Tensor]:
    """Spectrum and labels of a clip."""
    scene = make_scene(seed, seconds=seconds)
    motion = simulate(scene)
    waveform = torch.from_numpy(synthesize(scene, motion, rate=RATE))[None]
    spectra = spectrum(AudioClip(waveform=waveform, sample_rate=RATE))
    return spectra.half(), label(event.kind for event in motion.events)
