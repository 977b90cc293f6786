"""Between waveforms and audio tokens.

Source: WavFlow (arXiv 2605.18749), Eq. 4 (amplitude lifting) and section 3.1 (waveform patches).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..config import AudioConfig

SILENCE_RMS = 1e-8
KEPT_RMS = 0.30


def normalize(waveform: Tensor, config: AudioConfig) -> Tensor:
    """Bring a waveform to the level trained on, before the lift.

    ``reference`` scales to RMS 0.33; a peak above 1 is scaled to 1 if the RMS stays above 0.30,
    and otherwise clipped. ``unclipped`` scales to RMS 0.1 and keeps every peak. Silence stays.

    Args:
        waveform: Mono ``(T,)``, the whole clip: the level is taken before any crop.
        config: Chooses the recipe.
    """
    rms = waveform.square().mean().sqrt()
    if rms > SILENCE_RMS:
        waveform = waveform * (config.target_rms / rms)
    if config.normalization == "unclipped":
        return waveform
    peak = waveform.abs().max()
    if peak > 1:
        scaled = waveform / peak
        if scaled.square().mean().sqrt() > KEPT_RMS:
            waveform = scaled
    return waveform.clamp(-1, 1)


def to_tokens(
    waveform: Tensor, config: AudioConfig, *, num_tokens: int, patch_size: int, start: int = 0
) -> Tensor:
    """Normalise a waveform, crop or zero-pad it at its end, cut it to patches and lift it.

    Args:
        waveform: ``(C, T)`` at ``config.sample_rate``; channels are averaged.
        config: Rate and normalisation.
        num_tokens: N.
        patch_size: P.
        start: First sample of the crop; the level is that of the whole waveform all the same.

    Returns:
        ``(N, P)`` in fp32, of about unit variance.
    """
    mono = normalize(waveform.float().mean(0), config)[start:]
    wanted = num_tokens * patch_size
    mono = F.pad(mono[:wanted], (0, max(0, wanted - mono.numel())))
    return mono.view(num_tokens, patch_size) * config.amplitude_scale


def to_waveform(tokens: Tensor, config: AudioConfig, *, samples: int) -> Tensor:
    """Undo the lift and join the patches.

    Args:
        tokens: ``(B, N, P)``.
        config: The normalisation trained with.
        samples: Samples to keep, at most N · P.

    Returns:
        ``(B, samples)`` in fp32.
    """
    assert samples <= tokens[0].numel()
    return tokens.float().flatten(1)[:, :samples] / config.amplitude_scale
