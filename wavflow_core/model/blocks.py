"""Transformer blocks: one stream, and three that attend jointly (MM-DiT, arXiv 2403.03206)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from .layers import Attention, GatedMLP, LayerFactory, along_time, attend, layer_norm, modulate

CONV_KERNEL = 3

# Of the convolutions at both ends of the network.
END_KERNEL = 7


class Modulation(nn.Module):
    """SiLU and a linear layer from a condition to ``parts`` vectors of the stream's width."""

    def __init__(self, width: int, parts: int, make: LayerFactory) -> None:
        super().__init__()
        self.parts = parts
        # The published name: the linear layer came second in a sequence after SiLU.
        self.add_module("1", make.linear(width, parts * width))

    def forward(self, condition: Tensor, rows: Tensor | None = None) -> tuple[Tensor, ...]:
        """Modulation vectors of each condition row, or of each token.

        Args:
            condition: ``(B, R, D)``.
            rows: Which row each token takes ``(N,)``; the linear layer works on the distinct
                rows alone.

        Returns:
            Tensors ``(B, R, D)``, or ``(B, N, D)`` where rows are given.
        """
        values = self.get_submodule("1")(nn.functional.silu(condition))
        if rows is not None:
            values = values.index_select(1, rows)
        return values.chunk(self.parts, dim=-1)


class StreamBlock(nn.Module):
    """One stream's half of a block: what comes before and after the attention.

    Args:
        config: Widths.
        make: Layer factory.
        conv: Whether projection and MLP convolve along the stream (audio, CLIP) or not (text).
        pre_only: Leave out all that follows the attention.
    """

    def __init__(
        self, config: ModelConfig, make: LayerFactory, *, conv: bool = True, pre_only: bool = False
    ) -> None:
        super().__init__()
        width = config.hidden_dim
        self.conv = conv
        self.attn = Attention(width, config.num_heads, make)
        if not pre_only:
            kernel = CONV_KERNEL if conv else None
            self.linear1 = (
                make.conv(width, width, CONV_KERNEL) if conv else make.linear(width, width)
            )
            self.ffn = GatedMLP(width, config.mlp_dim, make, kernel=kernel)
        self.adaLN_modulation = Modulation(width, 2 if pre_only else 6, make)

    def before(
        self, x: Tensor, shift: Tensor, scale: Tensor, rotary: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of the modulated stream ``(B, N, D)``."""
        return self.attn(modulate(layer_norm(x), shift, scale), rotary)

    def after(self, x: Tensor, attended: Tensor, modulation: tuple[Tensor, ...]) -> Tensor:
        """Add the attention's and the MLP's gated results to the stream."""
        gate_attention, shift, scale, gate_mlp = modulation
        x = x + gate_attention * self._along(self.linear1, attended)
        return x + gate_mlp * self._along(self.ffn, modulate(layer_norm(x), shift, scale))

    def _along(self, layer: nn.Module, x: Tensor) -> Tensor:
        return along_time(layer, x) if self.conv else layer(x)

    def forward(self, x: Tensor, frame_c: Tensor, rows: Tensor, rotary: Tensor) -> Tensor:
        """The block on its own (fused block): self-attention within the stream ``(B, N, D)``."""
        shift, scale, *rest = self.adaLN_modulation(frame_c, rows)
        return self.after(x, attend(*self.before(x, shift, scale, rotary)), tuple(rest))


class JointBlock(nn.Module):
    """Audio, CLIP and text streams with weights of their own and one attention over all three."""

    def __init__(self, config: ModelConfig, make: LayerFactory, *, last: bool = False) -> None:
        super().__init__()
        self.last = last
        self.latent_block = StreamBlock(config, make)
        self.clip_block = StreamBlock(config, make, pre_only=last)
        self.text_block = StreamBlock(config, make, conv=False, pre_only=last)

    def forward(
        self,
        streams: tuple[Tensor, Tensor, Tensor],
        *,
        frame_c: Tensor,
        global_c: Tensor,
        rows: Tensor,
        rotary: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Update the streams; the last block leaves CLIP and text as they are.

        Args:
            streams: Audio ``(B, N, D)``, CLIP ``(B, T_c, D)`` and text ``(B, L, D)``.
            frame_c: Frame-wise condition of the audio ``(B, R, D)``.
            global_c: Condition of CLIP and text ``(B, 1, D)``.
            rows: Row of ``frame_c`` for each audio token ``(N,)``.
            rotary: Tables of audio and CLIP.
        """
        blocks = (self.latent_block, self.clip_block, self.text_block)
        modulations = (
            self.latent_block.adaLN_modulation(frame_c, rows),
            self.clip_block.adaLN_modulation(global_c),
            self.text_block.adaLN_modulation(global_c),
        )
        parts = [
            block.before(x, modulation[0], modulation[1], table)
            for block, x, modulation, table in zip(
                blocks, streams, modulations, (*rotary, None), strict=True
            )
        ]
        joined = attend(*(torch.cat(part, dim=2) for part in zip(*parts, strict=True)))
        attended = joined.split([x.shape[1] for x in streams], dim=1)
        audio, clip, text = (
            x if self.last and block is not self.latent_block else block.after(x, a, m[2:])
            for block, x, a, m in zip(blocks, streams, attended, modulations, strict=True)
        )
        return audio, clip, text


class FinalLayer(nn.Module):
    """Modulated normalisation and a convolution to waveform patches."""

    def __init__(self, config: ModelConfig, make: LayerFactory) -> None:
        super().__init__()
        self.adaLN_modulation = Modulation(config.hidden_dim, 2, make)
        self.conv = make.conv(config.hidden_dim, config.patch_size, END_KERNEL)

    def forward(self, x: Tensor, global_c: Tensor) -> Tensor:
        """``(B, N, D)`` and ``(B, 1, D)`` to ``(B, N, P)``."""
        return along_time(self.conv, modulate(layer_norm(x), *self.adaLN_modulation(global_c)))
