"""Layers for sequences: gated MLPs, time embedding and attention.

Layers are built from an operations namespace with torch.nn's class names, so that a host
application may pass its own castable ones.
"""

from __future__ import annotations

import math
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rope import rotate

# A module such as torch.nn, or a class with the same attributes.
Ops = ModuleType | type

# torch.nn.RMSNorm's default follows the input's type; the fp32 value is meant for every type.
RMS_EPS = torch.finfo(torch.float32).eps
FREQUENCIES = 128
MAX_PERIOD = 10000.0


class LayerFactory:
    """Builds layers of one operations namespace, weight type and device."""

    def __init__(
        self, *, ops: Ops = nn, dtype: torch.dtype | None, device: torch.device | str | None
    ) -> None:
        self.ops = ops
        self.dtype = dtype
        self.device = device

    def linear(self, inputs: int, outputs: int, *, bias: bool = True) -> nn.Module:
        """Linear layer on the last axis."""
        return self.ops.Linear(inputs, outputs, bias=bias, dtype=self.dtype, device=self.device)

    def conv(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> nn.Module:
        """Convolution over the last axis of ``(B, C, N)`` that keeps its length."""
        return self.ops.Conv1d(
            inputs,
            outputs,
            kernel,
            padding=kernel // 2,
            bias=bias,
            dtype=self.dtype,
            device=self.device,
        )

    def conv2d(self, inputs: int, outputs: int, kernel: int, *, dilation: int = 1) -> nn.Module:
        """Convolution over ``(B, C, T, F)`` that keeps its size; ``dilation`` is that over T."""
        return self.ops.Conv2d(
            inputs,
            outputs,
            kernel,
            padding=(kernel // 2 * dilation, kernel // 2),
            dilation=(dilation, 1),
            dtype=self.dtype,
            device=self.device,
        )

    def rms_norm(self, width: int) -> nn.Module:
        """RMS normalisation of the last axis with a learned weight."""
        return self.ops.RMSNorm(width, eps=RMS_EPS, dtype=self.dtype, device=self.device)

    def layer_norm(self, width: int, *, eps: float) -> nn.Module:
        """Layer normalisation of the last axis with learned weights."""
        return self.ops.LayerNorm(width, eps=eps, dtype=self.dtype, device=self.device)

    def patches(self, inputs: int, outputs: int, kernel: tuple[int, int, int]) -> nn.Module:
        """Convolution over blocks of ``(B, C, T, H, W)`` that do not overlap."""
        return self.ops.Conv3d(
            inputs, outputs, kernel, stride=kernel, dtype=self.dtype, device=self.device
        )

    def parameter(self, *shape: int) -> nn.Parameter:
        """A parameter of zeros; its owner casts it where it is used."""
        return nn.Parameter(torch.zeros(*shape, dtype=self.dtype, device=self.device))


def along_time(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a channels-first layer to ``(B, N, C)``."""
    return layer(x.transpose(1, 2)).transpose(1, 2)


def layer_norm(x: Tensor) -> Tensor:
    """Layer normalisation of the last axis without learned weights, eps 1e-5."""
    return F.layer_norm(x, x.shape[-1:])


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Adaptive normalisation: x (1 + scale) + shift (DiT, arXiv 2212.09748)."""
    return x * (1 + scale) + shift


class GatedMLP(nn.Module):
    """SwiGLU: w2(silu(w1 x) · w3 x) without biases (arXiv 2002.05202).

    Linear on ``(B, N, C)``, or with a ``kernel`` convolutional on ``(B, C, N)``.
    """

    def __init__(
        self, width: int, inner: int, make: LayerFactory, *, kernel: int | None = None
    ) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int) -> nn.Module:
            if kernel is None:
                return make.linear(inputs, outputs, bias=False)
            return make.conv(inputs, outputs, kernel, bias=False)

        self.w1 = layer(width, inner)
        self.w2 = layer(inner, width)
        self.w3 = layer(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        """Shape in = shape out."""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class TimeEmbedding(nn.Module):
    """Sinusoids of the raw time in [0, 1], then two linear layers."""

    def __init__(self, width: int, make: LayerFactory) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            make.linear(2 * FREQUENCIES, width), nn.SiLU(), make.linear(width, width)
        )

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Times ``(B,)`` to ``(B, D)`` of the given type; the sinusoids are made in fp32."""
        return self.mlp(self.sinusoids(t).to(dtype))

    def sinusoids(self, t: Tensor) -> Tensor:
        """Times ``(B,)`` to ``(B, 256)`` in fp32."""
        exponents = torch.arange(FREQUENCIES, dtype=torch.float32, device=t.device) / FREQUENCIES
        angles = t.float()[:, None] * torch.exp(-math.log(MAX_PERIOD) * exponents)
        return torch.cat((angles.cos(), angles.sin()), dim=-1)


class Attention(nn.Module):
    """Projection to normalised, rotated queries, keys and values."""

    def __init__(self, width: int, num_heads: int, make: LayerFactory) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = make.linear(width, 3 * width)
        self.q_norm = make.rms_norm(width // num_heads)
        self.k_norm = make.rms_norm(width // num_heads)

    def forward(self, x: Tensor, rotary: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """``(B, N, D)`` to three ``(B, H, N, d)``; the output index factors as (h, d, qkv)."""
        qkv = self.qkv(x).unflatten(-1, (self.num_heads, -1, 3))
        # The fast attention kernels take only what lies together along the last axis.
        q, k, v = qkv.permute(4, 0, 2, 1, 3).contiguous().unbind()
        q, k = self.q_norm(q), self.k_norm(k)
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        return q, k, v


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention; ``(B, H, N, d)`` to ``(B, N, H · d)``."""
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
