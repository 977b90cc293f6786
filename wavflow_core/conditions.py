"""From features to what the network reads; a missing modality becomes the learned empty one."""

from __future__ import annotations

import torch
from torch import Tensor

from .config import EncoderConfig, SequenceLengths, WavFlowConfig
from .errors import FeatureError
from .features.store import Features
from .model import Conditions, WavFlow


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

    def choose(name: str, given: Tensor | None, empty: Tensor, count: int) -> Tensor:
        if given is not None and len(given) != count:
            raise FeatureError(
                f"There are {len(given)} rows of {name} features, but the duration needs {count}; "
                "extract them for that duration."
            )
        rows = empty.expand(count, -1) if given is None else given
        return rows[None].to(device=device, dtype=dtype)

    config = model.config
    counts = (lengths.clip_frames, lengths.sync_tokens, config.text_tokens)
    empties = (model.empty_clip_feat, model.empty_sync_feat, model.empty_string_feat)
    names = ("CLIP", "sync", "text")
    positive = (features.clip, features.sync, features.text)
    negative = (None, None, features.negative_text)
    conditional, unconditional = (
        model.prepare_conditions(
            *map(choose, names, given, empties, counts), num_tokens=lengths.tokens
        )
        for given in (positive, negative)
    )
    return conditional, unconditional


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
