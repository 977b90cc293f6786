"""A Wiener filter in long windows, whose spectra the network says: it refines a clean estimate."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from .blocks import Modulation
from .layers import LayerFactory, layer_norm, modulate

# Logarithm of the error's power over the noise's, before anything is learned: nothing is changed
# near the noise, and near the data the state itself is taken.
START = -4.0
# Of what the linear layer gives: small steps of its weights are to reach far.
GAIN = 4.0
LIMIT = 15.0
# Of the powers that enter; noise alone has 1 at t = 0.
FLOOR = 1e-3
ENTER_GAIN = 0.25


class WienerFilter(nn.Module):
    """What a state still shows beside a clean estimate, as far as it stands out of the noise.

    The rest r = x_t - t x_hat holds t (x_1 - x_hat) and noise of variance (1 - t)². In windows
    around each token, the network says the error's power S at each frequency, and
    t S / (t² S + (1 - t)²) of the rest is the best linear estimate of the error (Wiener 1949). A
    tone, which lasts for many tokens, stands out in such a window long before it does in one.

    Args:
        config: Widths, and ``filter_window``.
        make: Builds the layers.
    """

    def __init__(self, config: ModelConfig, make: LayerFactory) -> None:
        super().__init__()
        assert config.filter_window is not None
        self.window = config.filter_window
        bins = self.window // 2 + 1
        self.input_proj = make.linear(bins, config.hidden_dim)
        self.adaLN_modulation = Modulation(config.hidden_dim, 2, make)
        self.power = make.linear(config.hidden_dim, bins)

    def entering(self, x_t: Tensor) -> Tensor:
        """The state's spectra for the stream: ``(B, N, P)`` to ``(B, N, D)``."""
        spectra = analyse(x_t, self.window)
        levels = (spectra.real.square() + spectra.imag.square() + FLOOR).log()
        return self.input_proj((ENTER_GAIN * levels).to(x_t.dtype))

    def forward(
        self,
        estimate: Tensor,
        x_t: Tensor,
        t: Tensor,
        stream: Tensor,
        frame_c: Tensor,
        rows: Tensor,
    ) -> Tensor:
        """The refined estimate ``(B, N, P)``, of the state's type; computed in fp32.

        Args:
            estimate: Of the clean data ``(B, N, P)``.
            x_t: The state ``(B, N, P)``.
            t: Times ``(B,)``.
            stream: What the blocks made ``(B, N, D)``.
            frame_c: What modulates the tokens ``(B, R, D)``.
            rows: The row of it that each token takes ``(N,)``.
        """
        shift, scale = self.adaLN_modulation(frame_c, rows)
        power = self.power(modulate(layer_norm(stream), shift, scale)).float()
        power = (GAIN * power + START).clamp(-LIMIT, LIMIT).exp()
        estimate, t = estimate.float(), t.float().view(-1, 1, 1)
        gain = t * power / (t.square() * power + (1 - t).square())
        rest = analyse(x_t.float() - t * estimate, self.window)
        found = synthesise(gain * rest, self.window, x_t.shape[2])
        return (estimate + found).to(x_t.dtype)


def analyse(x: Tensor, window: int) -> Tensor:
    """Spectra of a Hann window around the middle of each patch; unit white noise has power 1.

    Args:
        x: Patches ``(B, N, P)``; before and after them there is silence.
        window: Samples W, at least 2 P.

    Returns:
        ``(B, N, W // 2 + 1)``, complex, in fp32.
    """
    patch_size = x.shape[2]
    before = (window - patch_size) // 2
    shape = torch.hann_window(window, device=x.device)
    padded = F.pad(x.float().flatten(1), (before, window - patch_size - before))
    return torch.fft.rfft(padded.unfold(1, window, patch_size) * (shape / shape.norm()))


def synthesise(spectra: Tensor, window: int, patch_size: int) -> Tensor:
    """The patches ``(B, N, P)`` whose spectra are nearest to these (Griffin and Lim 1984, Eq. 6).

    The inverse of :func:`analyse` where they are the spectra of patches.
    """
    shape = torch.hann_window(window, device=spectra.device)
    frames = torch.fft.irfft(spectra, n=window) * (shape * shape.norm())
    weights = shape.square().expand(1, frames.shape[1], -1)
    added, weight = (_overlap_add(x, patch_size) for x in (frames, weights))
    return (added / weight).unflatten(1, (-1, patch_size))


def _overlap_add(frames: Tensor, hop: int) -> Tensor:
    """``(B, N, W)`` to ``(B, N · hop)``, what lies beyond the patches left out."""
    count, window = frames.shape[1:]
    before, length = (window - hop) // 2, count * hop
    size = (1, length + window - hop)
    added = F.fold(frames.transpose(1, 2), size, (1, window), stride=(1, hop))
    return added[:, 0, 0, before : before + length]
