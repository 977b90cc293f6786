"""A small network that hears what begins when, for a loss between what is made and what is real."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wavflow_core.errors import CheckpointError
from wavflow_core.tensor_files import json_field, write_safetensors

from .evaluation.spectra import ANALYSIS_RATE, mel_filters
from .network_file import load_network, open_network

FORMAT, VERSION = "wavflow.event_network", 1
RATE = ANALYSIS_RATE
# Short windows tell when something begins, long ones which tones it has.
WINDOWS = (256, 1024)
BANDS = 96
HOP = 160  # samples: 10 ms
# Power of a mel band in dB that is silence and that is loud, of sounds of an RMS of 0.1.
QUIETEST, LOUDEST = -80.0, 0.0
CHANNELS = (24, 48, 64, 96)
STRIDES = ((2, 1), (2, 2), (2, 1), (2, 1))
WIDTH = 128
FRAME = 2 * HOP  # samples from one judgement to the next: 20 ms
# Few frames have an onset of a class, so that what is told of them counts more in a loss.
ONSETS = 20.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Heard:
    """What the network makes of B sounds.

    Attributes:
        maps: Activations ``(B, C, ...)`` of its layers, from near the sound to far.
        onsets: Logits ``(B, K, F)`` that something of a class begins in a frame of 20 ms.
        classes: Logits ``(B, K)`` that something of a class is heard at all.
    """

    maps: Sequence[Tensor]
    onsets: Tensor
    classes: Tensor


class EventNetwork(nn.Module):
    """Convolutions over time and frequency, then over time.

    Args:
        classes: Names of what it tells apart.

    Source: E. Çakır et al., "Convolutional recurrent neural networks for polyphonic sound event
        detection", 2017 (arXiv 1702.06286), with convolutions over time in place of the recurrence.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(classes)
        before = len(WINDOWS)
        blocks: list[nn.Module] = []
        for number, (width, stride) in enumerate(zip(CHANNELS, STRIDES, strict=True)):
            kernel = 5 if number == 0 else 3
            blocks.append(
                nn.Sequential(
                    nn.Conv2d(before, width, kernel, stride=stride, padding=kernel // 2),
                    nn.GroupNorm(8, width),
                    nn.ReLU(),
                )
            )
            before = width
        self.blocks = nn.ModuleList(blocks)
        rows = BANDS // 2 ** len(CHANNELS) * before
        self.over_time = nn.ModuleList(
            nn.Sequential(nn.Conv1d(inputs, WIDTH, 5, padding=2 * step, dilation=step), nn.ReLU())
            for inputs, step in ((rows, 1), (WIDTH, 3))
        )
        self.tell_onsets = nn.Conv1d(WIDTH, len(self.names), 3, padding=1)
        self.tell_classes = nn.Linear(2 * WIDTH, len(self.names))

    def forward(self, waveforms: Tensor) -> Heard:
        """Hear sounds ``(B, T)`` of 16 kHz and an RMS of about 0.1 over their whole clips."""
        x = spectra(waveforms)
        maps: list[Tensor] = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        x = x.flatten(1, 2)
        for layer in self.over_time:
            x = layer(x)
            maps.append(x)
        pooled = torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)
        return Heard(maps=maps, onsets=self.tell_onsets(x), classes=self.tell_classes(pooled))


def spectra(waveforms: Tensor) -> Tensor:
    """``(B, T)`` to ``(B, 2, 96, 1 + T // 160)``: mel bands, -1 silent to 1 loud."""
    # Fourier transforms and logarithms keep their precision, whatever matrices are multiplied in.
    with torch.autocast(waveforms.device.type, enabled=False):
        return torch.stack([_spectrum(waveforms, window) for window in WINDOWS], dim=1)


def _spectrum(waveforms: Tensor, window: int) -> Tensor:
    shape = torch.hann_window(window, device=waveforms.device)
    parts = torch.stft(waveforms.float(), window, hop_length=HOP, window=shape, return_complex=True)
    power = (parts.real.square() + parts.imag.square()) * (2 / shape.sum()) ** 2
    bands = mel_filters(RATE, window, bands=BANDS).to(power) @ power
    # Silence has no logarithm; a power a little below the range has.
    decibels = 10 * (bands + 10 ** (QUIETEST / 10)).log10()
    return (decibels - QUIETEST) / (LOUDEST - QUIETEST) * 2 - 1


def save_event_network(
    model: EventNetwork, path: str | os.PathLike[str], *, training: Mapping[str, object]
) -> None:
    """Write the weights, with what they were trained on.

    Raises:
        MediaError: The folder is missing or cannot be written.
    """
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "network": json.dumps({"classes": model.names}),
        "training": json.dumps(training),
    }
    write_safetensors(model.state_dict(), metadata, path)


def load_event_network(path: str | os.PathLike[str]) -> EventNetwork:
    """Read a network, to hear with: its weights stay as they are.

    Raises:
        CheckpointError: The file is missing, damaged or holds something else.
    """
    file, metadata = open_network(
        path,
        form=FORMAT,
        version=VERSION,
        what=f"event network of version {VERSION}",
        program="training.foley_world.event_detector",
    )
    names = json_field(metadata, "network", file).get("classes")
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise CheckpointError(f"{str(file)!r} names no classes; train it again.")
    return load_network(EventNetwork(names), file).requires_grad_(False)
