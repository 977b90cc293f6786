"""Wiener filters in long windows: they refine a clean estimate by what its state still shows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from .blocks import Modulation
from .layers import LayerFactory, layer_norm, modulate
from .ratios import RatioLayer

# Of a window, at most, lies between two of them.
HOP = 0.4
CHANNELS = 16
# Windows from one row of a layer's kernel to the next.
DILATIONS = (1, 2, 4)
# Samples of a window that tells partials apart, and the layer before which their ratios count.
FINE = 1024
RATIOS_BEFORE = 2
# Logarithm of the error's power over the noise's, before anything is learned: nothing is changed
# near the noise, and near the data the state itself is taken.
START = -4.0
# Of what the layers say about power and gate: small steps of their weights are to reach far.
GAIN = 4.0
GATE_GAIN = 2.0
LIMIT = 15.0
# A gate's bias that opens it whatever the stream says.
OPEN = 1.0
# Of the powers that enter, over the noise's, and of their logarithms.
FLOOR = 1e-2
ENTER_GAIN = 0.3
# Noise's variance, which powers are divided by; 0 at t = 1.
LEAST_NOISE = 1e-12


class WienerFilter(nn.Module):
    """What a state still shows beside a clean estimate, as far as it stands out of the noise.

    The rest r = x_t - t x_hat holds t (x_1 - x_hat) and noise of variance (1 - t)². In each window
    and at each frequency a small network says the error's power S, and t S / (t² S + (1 - t)²) of
    the rest is the best linear estimate of the error (Wiener 1949). A tone, which lasts for many
    tokens, stands out in a window long before it does in a token. The network also says what share
    of the estimate's own spectrum is too much, and the stream at which samples all this counts:
    a window is longer than what begins in it.

    Args:
        config: Widths.
        make: Builds the layers.
        window: Samples W, at least two patches.
    """

    def __init__(self, config: ModelConfig, make: LayerFactory, window: int) -> None:
        super().__init__()
        width, bins = config.hidden_dim, window // 2 + 1
        self.window = window
        self.tokens = max(1, int(HOP * window / config.patch_size))
        self.hop = self.tokens * config.patch_size
        self.input_proj = make.linear(bins, width)
        self.adaLN_modulation = Modulation(width, 2, make)
        self.gate = make.linear(width, config.patch_size)
        self.power = PowerNet(width, bins, make)

    def entering(self, x_t: Tensor) -> Tensor:
        """The state's spectra for the stream: ``(B, N, P)`` to ``(B, N, D)``."""
        levels = _levels(self._spectra(x_t), x_t.dtype)
        return self.input_proj(levels).repeat_interleave(self.tokens, 1)[:, : x_t.shape[1]]

    def forward(
        self,
        estimate: Tensor,
        x_t: Tensor,
        t: Tensor,
        stream: Tensor,
        frame_c: Tensor,
        rows: Tensor,
    ) -> Tensor:
        """The refined estimate ``(B, N, P)``, of the state's type; spectra are in fp32.

        Args:
            estimate: Of the clean data ``(B, N, P)``.
            x_t: The state ``(B, N, P)``.
            t: Times ``(B,)``.
            stream: What the blocks made ``(B, N, D)``.
            frame_c: What modulates the tokens ``(B, R, D)``.
            rows: The row of it that each token takes ``(N,)``.
        """
        count, patch_size = x_t.shape[1:]
        shift, scale = self.adaLN_modulation(frame_c, rows)
        stream = modulate(layer_norm(stream), shift, scale)
        means = self._whole(stream).unflatten(1, (-1, self.tokens)).mean(2)
        estimate, t = estimate.float(), t.float().view(-1, 1, 1)
        noise = (1 - t).square().clamp(min=LEAST_NOISE)
        rest = self._spectra(x_t.float() - t * estimate)
        known = self._spectra(estimate)
        shown = (_levels(spectra / noise.sqrt(), means.dtype) for spectra in (rest, t * known))
        power, share = (values.float() for values in self.power(means, *shown))
        power = (GAIN * power + START).clamp(-LIMIT, LIMIT).exp()
        gain = t * power / (t.square() * power + noise)
        change = synthesise(gain * rest + share.clamp(-1, 1) * known, self.window, self.hop)
        gate = (1 + GATE_GAIN * self.gate(stream).float()).clamp(0, 1)
        return (estimate + gate * change.unflatten(1, (-1, patch_size))[:, :count]).to(x_t.dtype)

    @torch.no_grad()
    def open_gate(self) -> None:
        """Let all count at every sample of every patch.

        For good: a gate beyond its range is told nothing any more. Training leaves most of a
        patch's samples in that state by itself. Only the others then learn when to close, and
        where their gates with and without conditions differ, guidance multiplies the difference:
        single samples stand out of silence.
        """
        self.gate.get_parameter("weight").zero_()
        self.gate.get_parameter("bias").fill_(OPEN)

    def _spectra(self, x: Tensor) -> Tensor:
        return analyse(self._whole(x), self.window, self.hop)

    def _whole(self, x: Tensor) -> Tensor:
        """Silent tokens behind, so that they fill whole hops."""
        return F.pad(x, (0, 0, 0, -x.shape[1] % self.tokens))


class WienerFilters(nn.ModuleList):
    """The filters of a model, none or several; each refines what the one before it made."""

    def __init__(self, config: ModelConfig, make: LayerFactory) -> None:
        super().__init__(WienerFilter(config, make, window) for window in config.filter_windows)

    def filters(self) -> list[WienerFilter]:
        """In their order."""
        return [module for module in self if isinstance(module, WienerFilter)]

    def enter(self, stream: Tensor, x_t: Tensor) -> Tensor:
        """The stream with the state's spectra, ``(B, N, D)``."""
        for one in self.filters():
            stream = stream + one.entering(x_t)
        return stream

    def refine(self, estimate: Tensor, x_t: Tensor, *given: Tensor) -> Tensor:
        """The estimate as all have refined it, with what :class:`WienerFilter` is given."""
        for one in self.filters():
            estimate = one(estimate, x_t, *given)
        return estimate


class PowerNet(nn.Module):
    """Convolutions over time and frequency: a tone looks the same at every pitch.

    Args:
        width: Of the stream.
        bins: Frequencies F.
        make: Builds the layers.
    """

    def __init__(self, width: int, bins: int, make: LayerFactory) -> None:
        super().__init__()
        self.maps = make.linear(width, 2 * bins)
        self.conv_in = make.conv2d(4, CHANNELS, 3)
        self.bin_emb = make.parameter(1, CHANNELS, 1, bins)
        self.layer_modulation = make.linear(width, 2 * len(DILATIONS) * CHANNELS)
        self.layers = nn.ModuleList(
            make.conv2d(CHANNELS, CHANNELS, 3, dilation=dilation) for dilation in DILATIONS
        )
        self.ratios = RatioLayer(width, CHANNELS, make) if 2 * (bins - 1) >= FINE else None
        self.conv_out = make.conv2d(CHANNELS, 2, 1)

    def forward(self, stream: Tensor, rest: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithm of the error's power, and the change of the estimate: both ``(B, T, F)``.

        Args:
            stream: Its mean in each hop ``(B, T, D)``.
            rest: Levels of what the estimate leaves ``(B, T, F)``.
            known: Levels of the estimate ``(B, T, F)``.
        """
        told, guess = self.maps(stream).chunk(2, -1)
        x = torch.stack((rest, known, told, guess), 1)
        x = self.conv_in(x.contiguous(memory_format=torch.channels_last))
        x = x + self.bin_emb.to(x.dtype)
        parts = self.layer_modulation(stream).transpose(1, 2).unsqueeze(-1)
        parts = parts.chunk(len(self.layers), 1)
        for number, (layer, part) in enumerate(zip(self.layers, parts, strict=True)):
            if number == RATIOS_BEFORE and self.ratios is not None:
                x = x + self.ratios(x, stream)
            shift, scale = part.chunk(2, 1)
            x = x + layer(F.silu(x * (1 + scale) + shift))
        power, share = self.conv_out(F.silu(x)).unbind(1)
        return told + power, share


def _levels(spectra: Tensor, dtype: torch.dtype) -> Tensor:
    """Logarithms of the powers, as the layers read them."""
    power = spectra.real.square() + spectra.imag.square()
    return (ENTER_GAIN * (power + FLOOR).log()).to(dtype)


def analyse(x: Tensor, window: int, hop: int) -> Tensor:
    """Spectra of a Hann window around the middle of each hop; unit white noise has power 1.

    Args:
        x: Patches ``(B, N, P)``; before and after them there is silence.
        window: Samples W, at least twice the hop.
        hop: Samples H from one window to the next; a divisor of N · P.

    Returns:
        ``(B, N · P / H, W // 2 + 1)``, complex, in fp32.
    """
    before = (window - hop) // 2
    shape = torch.hann_window(window, device=x.device)
    padded = F.pad(x.float().flatten(1), (before, window - hop - before))
    return torch.fft.rfft(padded.unfold(1, window, hop) * (shape / shape.norm()))


def synthesise(spectra: Tensor, window: int, hop: int) -> Tensor:
    """The sound ``(B, T · H)`` whose spectra are nearest to these (Griffin and Lim 1984, Eq. 6).

    The inverse of :func:`analyse` where they are the spectra of a sound.
    """
    shape = torch.hann_window(window, device=spectra.device)
    frames = torch.fft.irfft(spectra, n=window) * (shape * shape.norm())
    weights = shape.square().expand(1, frames.shape[1], -1)
    added, weight = (_overlap_add(x, hop) for x in (frames, weights))
    return added / weight


def _overlap_add(frames: Tensor, hop: int) -> Tensor:
    """``(B, T, W)`` to ``(B, T · H)``, what lies before and behind left out."""
    count, window = frames.shape[1:]
    before, length = (window - hop) // 2, count * hop
    size = (1, length + window - hop)
    added = F.fold(frames.transpose(1, 2), size, (1, window), stride=(1, hop))
    return added[:, 0, 0, before : before + length]
