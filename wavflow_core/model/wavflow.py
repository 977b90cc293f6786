"""The WavFlow transformer: from a noisy waveform and conditions to the network's output.

Source: WavFlow (arXiv 2605.18749), section 3; names and shapes of parameters equal the published
system's, so that files trained by either load in the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import SEGMENT_TOKENS, ModelConfig
from ..errors import FeatureError, WavFlowError
from .blocks import END_KERNEL, FinalLayer, JointBlock, StreamBlock
from .layers import GatedMLP, LayerFactory, Ops, TimeEmbedding, along_time
from .rope import rotary_table
from .sync_rows import sync_rows
from .wiener import WienerFilters


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Conditions:
    """All that the network needs beside the state and the time; computed once per generation.

    Attributes:
        clip: Projected CLIP frames ``(B, T_c, D)``.
        sync: Projected Synchformer tokens ``(B, T_s · sync_parts, D)``.
        text: Projected text tokens ``(B, L, D)``.
        pooled: Projected mean of CLIP and text ``(B, 1, D)``.
        rows: The row of ``sync`` that each audio token takes ``(N,)``.
    """

    clip: Tensor
    sync: Tensor
    text: Tensor
    pooled: Tensor
    rows: Tensor

    def expand(self, batch_size: int) -> Conditions:
        """Repeat the conditions of one sample for a whole batch, without copying."""
        tensors = (self.clip, self.sync, self.text, self.pooled)
        clip, sync, text, pooled = (x.expand(batch_size, -1, -1) for x in tensors)
        return Conditions(clip=clip, sync=sync, text=text, pooled=pooled, rows=self.rows)

    def join(self, other: Conditions) -> Conditions:
        """Both batches in one, ``self`` first."""
        return Conditions(
            clip=torch.cat((self.clip, other.clip)),
            sync=torch.cat((self.sync, other.sync)),
            text=torch.cat((self.text, other.text)),
            pooled=torch.cat((self.pooled, other.pooled)),
            rows=self.rows,
        )


class WavFlow(nn.Module):
    """Transformer over waveform patches, conditioned on pictures, motion and text.

    Args:
        config: Widths and depths.
        ops: Namespace of layer classes with torch.nn's names.
        dtype: Type of the weights.
        device: Device of the weights, ``meta`` included.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        ops: Ops = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        make = LayerFactory(ops=ops, dtype=dtype, device=device)
        width, inner = config.hidden_dim, config.mlp_dim
        self.config = config
        self.sync_pos_emb = make.parameter(1, 1, SEGMENT_TOKENS, config.sync_dim)
        if config.sync_parts > 1:
            self.sync_part_emb = make.parameter(1, 1, config.sync_parts, width)
        self.empty_string_feat = make.parameter(config.text_tokens, config.text_dim)
        self.empty_string_feat.requires_grad_(False)
        self.empty_clip_feat = make.parameter(1, config.clip_dim)
        self.empty_sync_feat = make.parameter(1, config.sync_dim)
        self.audio_input_proj = nn.Sequential(
            make.conv(config.patch_size, width, END_KERNEL),
            nn.SELU(),
            GatedMLP(width, inner, make, kernel=END_KERNEL),
        )
        self.clip_input_proj = nn.Sequential(
            make.linear(config.clip_dim, width), GatedMLP(width, inner, make, kernel=3)
        )
        self.sync_input_proj = nn.Sequential(
            make.conv(config.sync_dim, width, END_KERNEL),
            nn.SELU(),
            GatedMLP(width, inner, make, kernel=3),
        )
        self.text_input_proj = nn.Sequential(
            make.linear(config.text_dim, width), GatedMLP(width, inner, make)
        )
        self.clip_cond_proj = make.linear(width, width)
        self.text_cond_proj = make.linear(width, width)
        self.global_cond_mlp = GatedMLP(width, inner, make)
        self.final_layer = FinalLayer(config, make)
        self.wiener = WienerFilters(config, make)
        self.t_embed = TimeEmbedding(width, make)
        self.joint_blocks = nn.ModuleList(
            JointBlock(config, make, last=i == config.joint_depth - 1)
            for i in range(config.joint_depth)
        )
        self.fused_blocks = nn.ModuleList(
            StreamBlock(config, make) for _ in range(config.fused_depth)
        )

    def prepare_conditions(
        self, clip: Tensor, sync: Tensor, text: Tensor, num_tokens: int
    ) -> Conditions:
        """Project the features; nothing here depends on the time or the state.

        Args:
            clip: CLIP image embeddings ``(B, T_c, clip_dim)``.
            sync: Synchformer tokens ``(B, T_s, sync_dim)``, T_s a multiple of 8.
            text: CLIP text tokens ``(B, L, text_dim)``.
            num_tokens: Audio tokens N of the state.

        Raises:
            FeatureError: A shape does not fit the model.
        """
        check_shapes(self.config, clip, sync, text)
        clip = along_time(self.clip_input_proj[1], self.clip_input_proj[0](clip))
        text = self.text_input_proj(text)
        segments = sync.unflatten(1, (-1, SEGMENT_TOKENS)) + self.sync_pos_emb.to(sync)
        sync = along_time(self.sync_input_proj, segments.flatten(1, 2))
        rows = sync_rows(self.config, sync.shape[1], num_tokens, device=sync.device)
        if self.config.sync_parts > 1:
            sync = (sync[:, :, None] + self.sync_part_emb.to(sync)).flatten(1, 2)
        pooled = self.clip_cond_proj(clip.mean(1)) + self.text_cond_proj(text.mean(1))
        pooled = self.global_cond_mlp(pooled)[:, None]
        return Conditions(clip=clip, sync=sync, text=text, pooled=pooled, rows=rows)

    def modulating(
        self, t: Tensor, conditions: Conditions, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """What the modulations are made of: ``(B, 1, D)`` for all, and a row ``(B, R, D)`` each."""
        global_c = conditions.pooled + self.t_embed(t, dtype)[:, None]
        return global_c, global_c + conditions.sync

    def forward(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The network's output at a state and time; clean data or velocity, as trained.

        Args:
            x_t: The state ``(B, N, P)``; its type is the type computed in.
            t: Times ``(B,)`` in [0, 1], 0 being noise.
            conditions: From :meth:`prepare_conditions`, for the same B and N.

        Returns:
            ``(B, N, P)``.

        Raises:
            WavFlowError: The conditions were prepared for another number of tokens.
        """
        num_tokens, rows = x_t.shape[1], conditions.rows
        if len(rows) != num_tokens:
            raise WavFlowError(
                f"The state has {num_tokens} tokens, but the conditions were prepared for "
                f"{len(rows)}; call prepare_conditions with num_tokens={num_tokens}."
            )
        head_dim, clip_frames = self.config.head_dim, conditions.clip.shape[1]
        clip_scaling = num_tokens / clip_frames
        rotary = (
            rotary_table(num_tokens, head_dim, device=x_t.device),
            rotary_table(clip_frames, head_dim, scaling=clip_scaling, device=x_t.device),
        )
        global_c, frame_c = self.modulating(t, conditions, x_t.dtype)
        audio = self.wiener.enter(along_time(self.audio_input_proj, x_t), x_t)
        streams = (audio, conditions.clip, conditions.text)
        for block in self.joint_blocks:
            streams = block(streams, frame_c=frame_c, global_c=global_c, rows=rows, rotary=rotary)
        audio = streams[0]
        for block in self.fused_blocks:
            audio = block(audio, frame_c, rows, rotary[0])
        output = self.final_layer(audio, global_c)
        return self.wiener.refine(output, x_t, t, audio, frame_c, rows)


def check_shapes(config: ModelConfig, clip: Tensor, sync: Tensor, text: Tensor) -> None:
    """Features must have the widths and counts that the model reads.

    Raises:
        FeatureError: One does not; the shape that it must have is named.
    """
    _check_shape("clip", clip, config.clip_dim)
    _check_shape("sync", sync, config.sync_dim, multiple=SEGMENT_TOKENS)
    _check_shape("text", text, config.text_dim, exactly=config.text_tokens)


def _check_shape(
    name: str, x: Tensor, width: int, *, multiple: int = 1, exactly: int | None = None
) -> None:
    rows = x.shape[1] if x.ndim == 3 else 0
    fits = rows > 0 and rows % multiple == 0 and exactly in (None, rows)
    if not fits or x.shape[-1] != width:
        count = exactly or f"a multiple of {multiple}"
        raise FeatureError(
            f"{name} features have shape {tuple(x.shape)}; this model needs (batch, {count}, "
            f"{width}). Use the encoders that its checkpoint names."
        )
