"""What the encoders found out about one clip, in memory and on disk."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass

import safetensors
import torch
from torch import Tensor

from ..config import MAX_DURATION, SEGMENT_TOKENS, EncoderConfig
from ..errors import CheckpointError, FeatureError
from ..strict import from_dict
from ..tensor_files import write_safetensors

FORMAT = "wavflow.features"
VERSION = "1"
TENSORS = ("clip", "sync", "text", "negative_text")
ENCODERS = ("clip_encoder", "sync_encoder")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Features:
    """Features of one clip without a batch dimension; None where a modality is missing.

    Attributes:
        clip: Image embeddings at 8 per second ``(T_c, clip_dim)``, each of length one.
        sync: Synchformer tokens ``(T_s, sync_dim)``, T_s a multiple of 8.
        text: Caption ``(L, text_dim)``, each token of length one.
        negative_text: What to stay away from ``(L, text_dim)``.
        duration: Seconds that the features stand for.
        clip_encoder: Which CLIP made ``clip`` and the texts; None if unknown.
        sync_encoder: Which Synchformer made ``sync``; None if unknown.

    Raises:
        FeatureError: A tensor is not fp32, has another shape or holds values that are not finite,
            or the duration is out of range.
    """

    clip: Tensor | None = None
    sync: Tensor | None = None
    text: Tensor | None = None
    negative_text: Tensor | None = None
    duration: float
    clip_encoder: EncoderConfig | None = None
    sync_encoder: EncoderConfig | None = None

    def __post_init__(self) -> None:
        check_duration(self.duration)
        for name in TENSORS:
            value = getattr(self, name)
            if value is not None:
                _check(name, value)
        if self.sync is not None and self.sync.shape[0] % SEGMENT_TOKENS:
            raise FeatureError(
                f"sync has {self.sync.shape[0]} tokens; it must be a multiple of {SEGMENT_TOKENS}."
            )
        if (
            self.text is not None
            and self.negative_text is not None
            and self.text.shape != self.negative_text.shape
        ):
            raise FeatureError(
                f"text has shape {tuple(self.text.shape)} and negative_text "
                f"{tuple(self.negative_text.shape)}; encode both with the same CLIP."
            )


def check_duration(duration: float) -> None:
    """Refuse what is no duration of a clip.

    Raises:
        FeatureError: It is not a number of seconds above 0 and at most 600.
    """
    if not (math.isfinite(duration) and 0 < duration <= MAX_DURATION):
        raise FeatureError(
            f"duration is {duration!r}; allowed: seconds above 0, at most {MAX_DURATION:g}."
        )


def save_features(features: Features, path: str | os.PathLike[str]) -> None:
    """Write features as safetensors whose metadata say who made them.

    Args:
        features: What to write.
        path: File to write; an existing one is replaced.

    Raises:
        FeatureError: There is no feature to write, or the file cannot be written.
        MediaError: The folder is missing or cannot be written.
    """
    state = {}
    for name in TENSORS:
        value = getattr(features, name)
        if value is not None:
            # A copy, because two names of one tensor cannot be stored.
            state[name] = value.clone(memory_format=torch.contiguous_format)
    if not state:
        raise FeatureError("There are no features to save: clip, sync and text are all missing.")
    metadata = {"format": FORMAT, "version": VERSION, "duration": repr(float(features.duration))}
    for name in ENCODERS:
        encoder = getattr(features, name)
        if encoder is not None:
            metadata[name] = json.dumps(dataclasses.asdict(encoder))
    try:
        write_safetensors(state, metadata, path)
    except CheckpointError as error:
        raise FeatureError(str(error)) from error


def load_features(path: str | os.PathLike[str]) -> Features:
    """Read features written by :func:`save_features`.

    Raises:
        FeatureError: The file is missing, damaged, of another format or version, or what it
            holds is not valid.
    """
    name = os.fspath(path)
    try:
        with safetensors.safe_open(name, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            # Copies, so that the file may be replaced while its features are in use.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise FeatureError(f"{name} cannot be read: {error}.") from error
    _check_header(name, metadata, tensors)
    try:
        return Features(
            **tensors,
            duration=float(metadata["duration"]),
            clip_encoder=_encoder(metadata, "clip_encoder"),
            sync_encoder=_encoder(metadata, "sync_encoder"),
        )
    except FeatureError as error:
        raise FeatureError(f"{name} is not valid: {error}") from error
    except (KeyError, ValueError) as error:
        raise FeatureError(f"{name} has damaged metadata ({error!r}).") from error


def _check_header(name: str, metadata: dict[str, str], tensors: dict[str, Tensor]) -> None:
    if metadata.get("format") != FORMAT:
        raise FeatureError(f"{name} is no file of WavFlow features; make one by extracting them.")
    if metadata.get("version") != VERSION:
        raise FeatureError(
            f"{name} has version {metadata.get('version')} and this WavFlow reads {VERSION}; "
            "extract the features again or update WavFlow."
        )
    unknown = sorted(set(tensors) - set(TENSORS))
    if unknown:
        raise FeatureError(
            f"{name} holds {', '.join(unknown)}; WavFlow features are {', '.join(TENSORS)}."
        )


def _encoder(metadata: dict[str, str], name: str) -> EncoderConfig | None:
    return from_dict(EncoderConfig, json.loads(metadata[name])) if name in metadata else None


def _check(name: str, value: Tensor) -> None:
    if value.ndim != 2 or 0 in value.shape or value.dtype != torch.float32:
        raise FeatureError(
            f"{name} has shape {tuple(value.shape)} and type {value.dtype}; "
            "it must be (tokens, width) of torch.float32, without a batch dimension."
        )
    if not torch.isfinite(value).all():
        raise FeatureError(f"{name} holds values that are not finite; extract it again.")
