"""What one partial of a sound says about the others: they lie at fixed ratios to each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import LayerFactory

KINDS = 16
# The scale on which a ratio is a distance: steps in an octave, and octaves below the highest.
STEPS = 36
OCTAVES = 7
# Of the logarithms of probabilities, of these, and of how the stream changes both.
SHARPNESS = 4.0
LEVEL = 10.0
STREAM_GAIN = 2.0
DEVIATION = 0.02


class RatioLayer(nn.Module):
    """Where partials are to be expected, from those that are seen.

    A struck thing of one kind has its modes at the same ratios whatever its size (van den Doel and
    Pai, Presence 7(4), 1998), so on a scale of logarithms of frequency its spectrum is moved and
    otherwise the same. For each of some kinds, what is seen is gathered with a kernel over the
    whole scale into probabilities of the pitch, and these are scattered with another. The stream
    says how sure to be and how much of a kind there is.

    Args:
        width: Of the stream.
        channels: Of the maps C.
        make: Builds the layers.
    """

    def __init__(self, width: int, channels: int, make: LayerFactory) -> None:
        super().__init__()
        kernel = 2 * STEPS * OCTAVES - 1
        self.enter = make.conv2d(channels, 3 * KINDS, 1)
        self.gather = make.parameter(KINDS, kernel)
        self.scatter = make.parameter(KINDS, kernel)
        self.modulation = make.linear(width, 2 * KINDS)
        self.leave = make.conv2d(2 * KINDS, channels, 1)

    @torch.no_grad()
    def reset_kernels(self, generator: torch.Generator) -> None:
        """Begin with a pitch at each partial that is seen, and with hardly any ratios."""
        for kernel in (self.gather, self.scatter):
            nn.init.normal_(kernel, std=DEVIATION, generator=generator)
        self.gather[:, self.gather.shape[1] // 2] += 1

    def forward(self, x: Tensor, stream: Tensor) -> Tensor:
        """Maps ``(B, C, T, F)``, of the type of ``x``.

        Args:
            x: Maps over time and frequency ``(B, C, T, F)``.
            stream: Its mean in each hop ``(B, T, D)``.
        """
        to_scale, from_scale = _tables(x.shape[-1], x)
        now, lasting, once = F.silu(self.enter(x)).chunk(3, 1)
        lasting = lasting.mean(2, keepdim=True)
        now, lasting, once = (maps.contiguous() @ to_scale for maps in (now, lasting, once))
        seen = now + lasting + once.amax(2, keepdim=True)
        told = (STREAM_GAIN * self.modulation(stream)).transpose(1, 2).unsqueeze(-1).float()
        level, sureness = told.chunk(2, 1)
        pitch = _moved(seen, self.gather).float()
        pitch = LEVEL * (SHARPNESS * pitch * (1 + sureness)).softmax(-1) * (1 + level)
        pitch = pitch.to(seen.dtype)
        found = torch.cat((pitch, _moved(pitch, self.scatter)), 1)
        # Left on the scale, which has fewer steps than there are frequencies; those below it have
        # what is left by nothing.
        nothing = self.leave(torch.zeros_like(found[:1, :, :1, :1]))
        return self.leave(found) @ from_scale + nothing * (1 - from_scale.sum(0))


def _moved(x: Tensor, kernels: Tensor) -> Tensor:
    """Each of K maps ``(B, K, T, G)`` convolved with its own of ``(K, 2 G - 1)`` over the scale."""
    toeplitz = kernels.to(x).unfold(1, x.shape[-1], 1).flip(1)
    return torch.einsum("bktg,kgh->bkth", x, toeplitz)


def _tables(bins: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """``(F, G)`` and ``(G, F)``: from frequencies, evenly spaced from zero, to the scale and back.

    Where frequencies are closer than steps, a step has the mean of those around it.
    """
    size, device = STEPS * OCTAVES, like.device
    frequency = torch.arange(bins, dtype=torch.float32, device=device)
    step = torch.arange(size, dtype=torch.float32, device=device)
    place = size - 1 + STEPS * torch.log2(frequency.clamp(min=0.5) / (bins - 1))
    from_scale = (1 - (place - step[:, None]).abs()).clamp(min=0)
    weights = from_scale.sum(1)
    mean = from_scale.T / weights.clamp(min=1)
    at = (bins - 1) * 2 ** ((step - (size - 1)) / STEPS)
    between = (1 - (at - frequency[:, None]).abs()).clamp(min=0)
    to_scale = torch.where(weights >= 1, mean, between)
    return to_scale.to(like), from_scale.to(like)
