"""From features to what the network reads; a missing modality becomes the learned empty one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .config import EncoderConfig, SequenceLengths, WavFlowConfig
from .errors import FeatureError
from .features.store import Features
from .model import Conditions, WavFlow
from .model.wavflow import check_shapes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureBatch:
    """Features of several clips and which of them are there.

    Attributes:
        clip: ``(B, T_c, clip_dim)``; rows of a clip without them may hold anything finite.
        sync: ``(B, T_s, sync_dim)``, likewise.
        text: ``(B, L, text_dim)``, likewise.
        has_clip: ``(B,)`` bool.
        has_sync: ``(B,)`` bool.
        has_text: ``(B,)`` bool.
    """

    clip: Tensor
    sync: Tensor
    text: Tensor
    has_clip: Tensor
    has_sync: Tensor
    has_text: Tensor


def prepare_batch(model: WavFlow, batch: FeatureBatch, *, num_tokens: int) -> Conditions:
    """Put the learned empty features where a modality is missing, and project all.

    Gradients reach the empty features through the clips that lack a modality; a modality that is
    dropped in training is one that is missing.

    Args:
        model: The network.
        batch: On the model's device, in the type to compute in.
        num_tokens: Audio tokens N of the state.

    Raises:
        FeatureError: A shape does not fit the model.
    """
    check_shapes(model.config, batch.clip, batch.sync, batch.text)
    return model.prepare_conditions(
        _or_empty(batch.clip, batch.has_clip, model.empty_clip_feat),
        _or_empty(batch.sync, batch.has_sync, model.empty_sync_feat),
        _or_empty(batch.text, batch.has_text, model.empty_string_feat),
        num_tokens=num_tokens,
    )


def _or_empty(given: Tensor, present: Tensor, empty: Tensor) -> Tensor:
    return torch.where(present[:, None, None], given, empty.to(given))


def build_conditions(
    model: WavFlow,
    features: Features,
    lengths: SequenceLengths,
    *,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
) -> tuple[Conditions, Conditions]:
    """Conditional and unconditional projections of one sample's features.

    The unconditional ones have empty CLIP and sync, and the negative text or the empty string.

    Args:
        model: The network, on ``device``.
        features: Features of one clip; each may be missing.
        lengths: Tokens and frames of the duration.
        device: Where the network runs.
        dtype: Type that it computes in.

    Returns:
        Two conditions with batch size 1.

    Raises:
        FeatureError: There are more or fewer frames than the duration needs.
    """
    config = model.config

    def choose(name: str, given: Tensor | None, count: int, width: int) -> tuple[Tensor, Tensor]:
        if given is not None and len(given) != count:
            raise FeatureError(
                f"There are {len(given)} rows of {name} features, but the duration needs {count}; "
                "extract them for that duration."
            )
        rows = torch.zeros(count, width) if given is None else given
        present = torch.tensor([given is not None], device=device)
        return rows[None].to(device=device, dtype=dtype), present

    def project(clip: Tensor | None, sync: Tensor | None, text: Tensor | None) -> Conditions:
        clips, has_clip = choose("CLIP", clip, lengths.clip_frames, config.clip_dim)
        syncs, has_sync = choose("sync", sync, lengths.sync_tokens, config.sync_dim)
        texts, has_text = choose("text", text, config.text_tokens, config.text_dim)
        batch = FeatureBatch(
            clip=clips,
            sync=syncs,
            text=texts,
            has_clip=has_clip,
            has_sync=has_sync,
            has_text=has_text,
        )
        return prepare_batch(model, batch, num_tokens=lengths.tokens)

    conditional = project(features.clip, features.sync, features.text)
    return conditional, project(None, None, features.negative_text)


def check_encoder(kind: str, given: EncoderConfig | None, expected: EncoderConfig) -> None:
    """Features must come from the encoder that the model was trained with.

    Args:
        kind: How to call the encoder in an error.
        given: Encoder of the features; None if unknown, which passes.
        expected: Encoder that the checkpoint names.

    Raises:
        FeatureError: They come from another; both are named.
    """
    if given is not None and not expected.accepts(given):
        raise FeatureError(
            f"The {kind} encoder given is {given}, but this checkpoint was trained with "
            f"{expected}; give that encoder."
        )


def check_encoders(features: Features, config: WavFlowConfig) -> None:
    """Both encoders of the features must be those that the checkpoint names.

    Raises:
        FeatureError: One is another; both names are given.
    """
    check_encoder("CLIP", features.clip_encoder, config.clip)
    check_encoder("Synchformer", features.sync_encoder, config.sync)
