"""A small network that hears which of the classes sound, and where it is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wavflow_core.errors import CheckpointError
from wavflow_core.media.audio import AudioClip
from wavflow_core.tensor_files import write_safetensors

from ..evaluation.spectra import ANALYSIS_RATE, mel_power, mono
from ..network_file import load_network, open_network
from .classes import CLASSES

FORMAT, VERSION = "foley_world.classifier", 1
NAMES = tuple(sorted(CLASSES))
BANDS = 96
WINDOW, HOP = 800, 320  # samples at 16 kHz: 50 ms, so that modes stand apart, every 20 ms
RANGE = 60.0  # dB below the loudest moment that are looked at
SILENT = -75.0  # dB: what has nothing louder is silence
FLOOR = -100.0  # dB
CHANNELS = (16, 32, 64, 96)
EMBEDDING = 64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Heard:
    """What the network says of M sounds.

    Attributes:
        probabilities: ``(M, 18)``, each class for itself, in the order of :data:`NAMES`.
        embeddings: ``(M, 64)``.
    """

    probabilities: Tensor
    embeddings: Tensor


class Classifier(nn.Module):
    """Convolutions over time and frequency; classes from what lasts and from what stands out.

    Frequency is not pooled at the end: how high a thing sounds says much about what it is.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for number, width in enumerate(CHANNELS):
            kernel = 5 if number == 0 else 3
            stride = 2 if number < 3 else (2, 1)
            layers += [
                nn.Conv2d(before, width, kernel, stride=stride, padding=kernel // 2),
                nn.GroupNorm(8, width),
                nn.ReLU(),
            ]
            before = width
        self.body = nn.Sequential(*layers)
        rows = BANDS // 2 ** len(CHANNELS)
        self.embed = nn.Linear(2 * rows * before, EMBEDDING)
        self.classify = nn.Linear(EMBEDDING, len(NAMES))

    def forward(self, spectra: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(B, 18)`` and embeddings ``(B, 64)`` of :func:`level` spectra ``(B, 96, T)``."""
        maps = self.body(spectra[:, None]).flatten(1, 2)
        pooled = torch.cat([maps.mean(dim=2), maps.amax(dim=2)], dim=1)
        embedding = self.embed(pooled)
        return self.classify(nn.functional.gelu(embedding)), embedding


def spectrum(clip: AudioClip) -> Tensor:
    """``(96, 1 + T // 320)`` float32 decibels at 16 kHz, as the network is trained on.

    Raises:
        MediaError: The sound is empty.
    """
    power = mel_power(mono(clip), ANALYSIS_RATE, window=WINDOW, hop=HOP, bands=BANDS)
    return 10 * torch.log10(power.clamp_min(10 ** (FLOOR / 10)))


def level(spectra: Tensor) -> Tensor:
    """Bring spectra ``(..., bands, T)`` in dB to -1 (60 dB below the loudest and less) to 1.

    The gain of a sound does not count then; silence stays -1.
    """
    loudest = spectra.amax(dim=(-2, -1), keepdim=True)
    levelled = ((spectra - loudest) / RANGE).clamp(-1, 0) * 2 + 1
    return torch.where(loudest < SILENT, torch.full_like(levelled, -1), levelled)


@torch.no_grad()
def listen(model: Classifier, clips: Sequence[AudioClip]) -> Heard:
    """What is heard in sounds of any lengths.

    Raises:
        MediaError: A sound is empty.
    """
    return hear_spectra(model, [spectrum(clip) for clip in clips])


@torch.no_grad()
def hear_spectra(model: Classifier, spectra: Iterable[Tensor]) -> Heard:
    """What is heard in sounds whose :func:`spectrum` is known, one after the other."""
    logits, embeddings = [torch.empty(0, len(NAMES))], [torch.empty(0, EMBEDDING)]
    for item in spectra:
        for parts, made in zip((logits, embeddings), model(level(item.float())[None]), strict=True):
            parts.append(made)
    return Heard(probabilities=torch.cat(logits).sigmoid(), embeddings=torch.cat(embeddings))


def class_accuracy(probabilities: Tensor, labels: Tensor) -> Tensor:
    """(M,) for each sound with k true classes the share of them among its k most probable.

    Args:
        probabilities: ``(M, C)``.
        labels: ``(M, C)`` bool; a sound without any has NaN.
    """
    wanted = labels.sum(dim=1)
    order = probabilities.argsort(dim=1, descending=True)
    among = torch.arange(labels.shape[1])[None] < wanted[:, None]
    right = (labels.gather(1, order) & among).sum(dim=1)
    return right / wanted


def label(classes: Iterable[str]) -> Tensor:
    """(18,) bool."""
    wanted = set(classes)
    return torch.tensor([name in wanted for name in NAMES])


def save_classifier(
    model: Classifier, path: str | os.PathLike[str], *, licence: str, training: Mapping[str, object]
) -> None:
    """Write the weights in fp16, with what they were trained on.

    Raises:
        MediaError: The folder is missing or cannot be written.
    """
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "classes": json.dumps(NAMES),
        "license": licence,
        "training": json.dumps(training),
    }
    write_safetensors({k: v.half() for k, v in model.state_dict().items()}, metadata, path)


def load_classifier(path: str | os.PathLike[str]) -> Classifier:
    """Read a network, to listen with.

    Raises:
        CheckpointError: The file is missing, damaged or holds something else, or knows other
            classes than there are.
    """
    file, metadata = open_network(
        path,
        form=FORMAT,
        version=VERSION,
        what=f"classifier of version {VERSION} of FoleyWorld",
        program="training.foley_world.classifier",
    )
    if json.loads(metadata.get("classes", "[]")) != list(NAMES):
        raise CheckpointError(
            f"{str(file)!r} knows other classes than there are; train the classifier again."
        )
    return load_network(Classifier(), file)
