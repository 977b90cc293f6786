"""The encoders that an extraction needs, and what they make of a decoded clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from wavflow_core import weights
from wavflow_core.conditions import check_encoder
from wavflow_core.config import WavFlowConfig
from wavflow_core.errors import FeatureError
from wavflow_core.features.clip import ClipEncoder
from wavflow_core.features.encoders import load_clip, load_synchformer
from wavflow_core.features.extractor import extract_features
from wavflow_core.features.store import Features
from wavflow_core.features.synchformer import Synchformer
from wavflow_core.media.files import is_file

from .decoding import Decoded
from .empty_text import NAME as EMPTY_TEXT
from .empty_text import write_empty_text
from .extraction_plan import has_caption, has_picture
from .manifest import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Towers:
    """Encoders; None where none is needed."""

    clip: ClipEncoder | None = None
    synchformer: Synchformer | None = None


def load_towers(
    rows: Sequence[Row],
    expected: WavFlowConfig | None,
    *,
    clip: str | None,
    synchformer: str | None,
    folders: Sequence[Path],
    device: torch.device,
    dtype: torch.dtype,
) -> Towers:
    """Load what these rows need, and no more.

    Args:
        rows: What is to be encoded.
        expected: Configuration of the checkpoint that the features are for; None takes any.
        clip: File of CLIP weights; None looks for the published one.
        synchformer: File of Synchformer weights, likewise.
        folders: Folders to look in first.
        device: Where the encoders run.
        dtype: Type that they compute in.

    Raises:
        CheckpointError: A file is missing or unusable.
        FeatureError: An encoder is not the one that is expected.
    """
    seen, told = any(map(has_picture, rows)), any(map(has_caption, rows))
    towers = [name for name, wanted in (("visual", seen), ("text", told)) if wanted]
    clip_tower = sync_tower = None
    if towers:
        path = weights.resolve(clip or "clip", folders=folders)
        clip_tower = load_clip(path, towers=towers, device=device, dtype=dtype)
        if expected is not None:
            check_encoder("CLIP", clip_tower.config, expected.clip)
    if seen:
        path = weights.resolve(synchformer or "synchformer", folders=folders)
        sync_tower = load_synchformer(path, device=device, dtype=dtype)
        if expected is not None:
            check_encoder("Synchformer", sync_tower.config, expected.sync)
    return Towers(clip=clip_tower, synchformer=sync_tower)


def save_empty_text(
    towers: Towers, store: Path, *, clip: str | None, folders: Sequence[Path]
) -> None:
    """Put the features of the empty caption beside the others, for the training to begin with.

    Args:
        towers: What is loaded; without a text tower, one is loaded for this alone.
        store: Folder of the store.
        clip: File of CLIP weights; None looks for the published one.
        folders: Folders to look in first.

    Raises:
        CheckpointError: The weights are missing or unusable, or the file cannot be written.
    """
    encoder = towers.clip
    if encoder is None or is_file(store / EMPTY_TEXT):
        return
    if "text" not in encoder.towers:
        encoder = load_clip(weights.resolve(clip or "clip", folders=folders), towers=["text"])
    write_empty_text(encoder, store)


def encode(clip: Decoded, towers: Towers, duration: float) -> Features:
    """Features of a clip.

    Raises:
        FeatureError: It could not be decoded, or there is nothing to encode.
    """
    if clip.reason is not None:
        raise FeatureError(clip.reason)
    told = has_caption(clip.row)
    if clip.pictures is None and not told:
        raise FeatureError("it has neither a video nor a caption to encode.")
    return extract_features(
        None,
        frames=clip.frames() if clip.pictures is not None else None,
        prompt=clip.row.caption if told else None,
        duration=duration,
        clip=towers.clip,
        synchformer=towers.synchformer,
    )
