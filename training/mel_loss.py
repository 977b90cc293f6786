"""A loss between spectra of many resolutions, beside that of the flow."""

from __future__ import annotations

import torch
from torch import Tensor

from .evaluation.spectra import mel_filters

# Windows in samples and the mel bands that each is resolved into.
SCALES = {64: 10, 128: 20, 256: 40, 512: 80, 1024: 160, 2048: 320}
FLOOR = 1e-5


def mel_loss_per_sample(clean: Tensor, x_1: Tensor, *, rate: int) -> Tensor:
    """Mean distance of log-mel spectra, averaged over the resolutions.

    Args:
        clean: Estimates of the data as waveforms ``(B, T)``.
        x_1: The data ``(B, T)``.
        rate: Hz.

    Returns:
        Distances ``(B,)`` in decades, fp32.

    Source: R. Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN", 2023
        (arXiv 2306.06546), section 3.4; for a flow in waveforms, WavTTS (arXiv 2606.03455).
    """
    total = torch.zeros(len(x_1), device=x_1.device)
    for window, bands in SCALES.items():
        filters = mel_filters(rate, window, bands=bands).to(x_1.device)
        with torch.no_grad():
            target = _log_mel(x_1, filters, window)
        total = total + (_log_mel(clean, filters, window) - target).abs().flatten(1).mean(1)
    return total / len(SCALES)


def _log_mel(waveforms: Tensor, filters: Tensor, window: int) -> Tensor:
    """``(B, bands, frames)``: decimal logarithms of magnitudes."""
    shape = torch.hann_window(window, device=waveforms.device)
    spectrum = torch.stft(
        waveforms.float(), window, hop_length=window // 4, window=shape, return_complex=True
    )
    # The magnitude has no gradient at 0; a power a little above it has.
    magnitude = (spectrum.real.square() + spectrum.imag.square() + FLOOR**2).sqrt()
    return (filters @ magnitude).clamp(min=FLOOR).log10()
