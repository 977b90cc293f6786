"""Sounds in which nothing is to be heard."""

import torch

from wavflow_core.media.audio import AudioClip

RATE = 16000


def noise(seconds=4.0, seed=0):
    waveform = 0.1 * torch.randn(
        1, int(seconds * RATE), generator=torch.Generator().manual_seed(seed)
    )
    return AudioClip(waveform=waveform, sample_rate=RATE)


def waveforms(count=2, samples=8000, seed=0):
    """Noise ``(count, samples)`` of an RMS of 0.1."""
    return 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(seed))


def silence(seconds=4.0):
    return AudioClip(waveform=torch.zeros(1, int(seconds * RATE)), sample_rate=RATE)
