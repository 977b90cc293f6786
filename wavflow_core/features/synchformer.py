"""Synchformer's video tower: what moves when, eight tokens for every 16 frames.

Source: V. Iashin et al., "Synchformer: Efficient Synchronization from Sparse Cues", 2024
(arXiv 2401.16423); the divided attention is that of Patrick et al., "Keeping Your Eye on the
Ball", 2021 (arXiv 2106.05392), section 3.1.

Layers come from the ``ops`` namespace and parameters of the other modules are cast in forward,
so that a host may keep weights elsewhere, or in another precision, and cast them where used.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import SEGMENT_FRAMES, SEGMENT_TOKENS, EncoderConfig
from ..errors import ConfigError, FeatureError
from ..model.layers import LayerFactory, Ops

TUBELET = SEGMENT_FRAMES // SEGMENT_TOKENS
EPS = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class SynchformerConfig:
    """Size of a Synchformer video tower; the defaults are the published one.

    Attributes:
        hidden_dim: Width of every token and of the features.
        depth: Blocks of divided attention.
        num_heads: Attention heads, also in the aggregation.
        image_size: Side of the square frames in pixels.
        patch_size: Side of a patch in pixels.
        mlp_ratio: Inner width of the MLPs over ``hidden_dim``.
    """

    hidden_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    image_size: int = 224
    patch_size: int = 16
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if not value > 0:
                raise ConfigError(f"{item.name} is {value!r}; it must be above 0.")
        if self.hidden_dim % self.num_heads:
            raise ConfigError(
                f"num_heads is {self.num_heads}; it must divide hidden_dim = {self.hidden_dim}."
            )
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"patch_size is {self.patch_size}; it must divide image_size = {self.image_size}."
            )

    @property
    def places(self) -> int:
        """Patches of one frame."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def mlp_dim(self) -> int:
        """Inner width of the MLPs."""
        return round(self.hidden_dim * self.mlp_ratio)

    @property
    def architecture(self) -> str:
        """Name that tells features of different towers apart."""
        if self == SynchformerConfig():
            return "synchformer"
        ratio = "" if self.mlp_ratio == 4 else f"-mlp{self.mlp_ratio:g}"
        return (
            f"synchformer-d{self.hidden_dim}-l{self.depth}-h{self.num_heads}"
            f"-i{self.image_size}-p{self.patch_size}{ratio}"
        )


def _norm(width: int, make: LayerFactory) -> nn.Module:
    return make.layer_norm(width, eps=EPS)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention over the last two axes ``(..., N, d)`` whatever stands before them."""
    lead = q.shape[:-2]
    # The fast kernels take four axes: (batch, heads, N, d).
    q, k, v = (x.reshape(-1, *x.shape[-3:]) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).unflatten(0, lead[:-1])


class _PatchEmbed(nn.Module):
    """Patches of two frames by ``patch_size`` squared: ``(S, 3, T, H, W)`` to ``(S, N, D)``."""

    def __init__(self, config: SynchformerConfig, make: LayerFactory) -> None:
        super().__init__()
        kernel = (TUBELET, config.patch_size, config.patch_size)
        self.proj = make.patches(3, config.hidden_dim, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class _DividedAttention(nn.Module):
    """Patches attend within one group and to the class token; the class token to everything.

    A group is either the same place at all times or all places at the same time.
    """

    def __init__(self, config: SynchformerConfig, make: LayerFactory, *, over_time: bool) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.over_time = over_time
        self.qkv = make.linear(config.hidden_dim, 3 * config.hidden_dim)
        self.proj = make.linear(config.hidden_dim, config.hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(S, 1 + T * P, D)``, class token first, time before place."""
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (S, H, 1 + T * P, d)
        whole = _attend(q[:, :, :1], k, v)
        groups = _attend(self._groups(q), *(self._with_class_token(item) for item in (k, v)))
        patches = groups.movedim(1, 3) if self.over_time else groups.movedim(1, 2)
        out = torch.cat([whole, patches.flatten(2, 3)], dim=2)
        return self.proj(out.transpose(1, 2).flatten(2))

    def _groups(self, x: Tensor) -> Tensor:
        """``(S, H, 1 + T * P, d)`` to ``(S, G, H, n, d)``: groups and their patches."""
        patches = x[:, :, 1:].unflatten(2, (SEGMENT_TOKENS, -1))
        return patches.movedim(3, 1) if self.over_time else patches.movedim(2, 1)

    def _with_class_token(self, x: Tensor) -> Tensor:
        groups = self._groups(x)
        first = x[:, None, :, :1].expand(-1, groups.shape[1], -1, -1, -1)
        return torch.cat([first, groups], dim=3)


class _MLP(nn.Module):
    def __init__(self, config: SynchformerConfig, make: LayerFactory) -> None:
        super().__init__()
        self.fc1 = make.linear(config.hidden_dim, config.mlp_dim)
        self.fc2 = make.linear(config.mlp_dim, config.hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _Block(nn.Module):
    """Attention over time, then over space, then an MLP, each added to its input."""

    def __init__(self, config: SynchformerConfig, make: LayerFactory) -> None:
        super().__init__()
        self.norm1 = _norm(config.hidden_dim, make)
        self.attn = _DividedAttention(config, make, over_time=False)
        self.timeattn = _DividedAttention(config, make, over_time=True)
        self.norm2 = _norm(config.hidden_dim, make)
        self.mlp = _MLP(config, make)
        self.norm3 = _norm(config.hidden_dim, make)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.timeattn(self.norm3(x))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _SelfAttention(nn.Module):
    """Attention among all tokens, with the parameter names of ``torch.nn.MultiheadAttention``."""

    def __init__(self, config: SynchformerConfig, make: LayerFactory) -> None:
        super().__init__()
        width = config.hidden_dim
        self.num_heads = config.num_heads
        self.in_proj_weight = make.parameter(3 * width, width)
        self.in_proj_bias = make.parameter(3 * width)
        self.out_proj = make.linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight.to(x), self.in_proj_bias.to(x))
        q, k, v = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class _SpatialAggregation(nn.Module):
    """One transformer layer whose class token sums up a frame: ``(M, P, D)`` to ``(M, D)``.

    Parameter names are those of a pre-norm ``torch.nn.TransformerEncoderLayer``.
    """

    def __init__(self, config: SynchformerConfig, make: LayerFactory) -> None:
        super().__init__()
        width = config.hidden_dim
        self.cls_token = make.parameter(1, 1, width)
        self.self_attn = _SelfAttention(config, make)
        self.linear1 = make.linear(width, config.mlp_dim)
        self.linear2 = make.linear(config.mlp_dim, width)
        self.norm1 = _norm(width, make)
        self.norm2 = _norm(width, make)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.cls_token.to(x).expand(x.shape[0], -1, -1), x], dim=1)
        x = x + self.self_attn(self.norm1(x))
        x = x[:, 0]  # the MLP of the other tokens would be thrown away
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class Synchformer(nn.Module):
    """Video tower: ``(S, 3, 16, H, W)`` in -1..1 to ``(S, 8, D)``.

    State-dict names are those of the published files without ``vfeat_extractor.`` and without
    the unused ``patch_embed``. Weights must be loaded: parameters start as zeros.

    Args:
        config: Sizes.
        ops: Namespace of layer classes with torch.nn's names.
        dtype: Type of the weights.
        device: Where the weights are made; ``meta`` makes none.
    """

    def __init__(
        self,
        config: SynchformerConfig,
        *,
        ops: Ops = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        make = LayerFactory(ops=ops, dtype=dtype, device=device)
        self.size = config
        self.fingerprint: str | None = None
        self.cls_token = make.parameter(1, 1, config.hidden_dim)
        self.pos_embed = make.parameter(1, 1 + config.places, config.hidden_dim)
        self.temp_embed = make.parameter(1, SEGMENT_TOKENS, config.hidden_dim)
        self.patch_embed_3d = _PatchEmbed(config, make)
        self.blocks = nn.ModuleList(_Block(config, make) for _ in range(config.depth))
        self.norm = _norm(config.hidden_dim, make)
        self.spatial_attn_agg = _SpatialAggregation(config, make)

    @property
    def config(self) -> EncoderConfig:
        """Which encoder this is, for the features it makes."""
        return EncoderConfig(architecture=self.size.architecture, fingerprint=self.fingerprint)

    def forward(self, x: Tensor) -> Tensor:
        """Encode segments.

        Args:
            x: ``(S, 3, 16, H, W)`` in -1..1, of the type and on the device to compute with;
                weights of the ``torch.nn`` layers must be there too.

        Returns:
            Features ``(S, 8, D)``.

        Raises:
            FeatureError: The segments have another shape.
        """
        side = self.size.image_size
        if x.ndim != 5 or x.shape[1:] != (3, SEGMENT_FRAMES, side, side):
            raise FeatureError(
                f"Segments of shape {tuple(x.shape)} were given; "
                f"Synchformer reads (S, 3, {SEGMENT_FRAMES}, {side}, {side})."
            )
        x = self.patch_embed_3d(x)
        x = torch.cat([self.cls_token.to(x).expand(x.shape[0], -1, -1), x], dim=1)
        x = x + self._positions(x)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x[:, 1:]).unflatten(1, (SEGMENT_TOKENS, -1))
        return self.spatial_attn_agg(x.flatten(0, 1)).unflatten(0, (-1, SEGMENT_TOKENS))

    def _positions(self, x: Tensor) -> Tensor:
        """``(1, 1 + 8 * P, D)``: the places, repeated for each time, plus the times."""
        positions, times = self.pos_embed.to(x), self.temp_embed.to(x)
        patches = positions[:, 1:].unsqueeze(1) + times.unsqueeze(2)
        return torch.cat([positions[:, :1], patches.flatten(1, 2)], dim=1)
