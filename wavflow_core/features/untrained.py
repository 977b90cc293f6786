"""Untrained encoders of any size, to try the whole chain without downloads."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import nn

from ..errors import ConfigError
from .clip import DEFAULT_ARCHITECTURE, ClipEncoder, Settings
from .encoders import save_encoder
from .synchformer import Synchformer, SynchformerConfig

UNTRAINED = "CC0-1.0: random numbers, not trained"

SMALL_TEXT = {
    "context_length": 77,
    "vocab_size": 49408,
    "width": 64,
    "heads": 2,
    "layers": 2,
}
CLIP_PRESETS: dict[str, tuple[str, Settings | None]] = {
    # name: (architecture, its configuration unless open_clip knows it)
    "clip_vit_h": (DEFAULT_ARCHITECTURE, None),
    "clip_tiny": (
        "clip_tiny",
        {
            "embed_dim": 64,
            "quick_gelu": True,
            "vision_cfg": {
                "image_size": 64,
                "layers": 2,
                "width": 64,
                "head_width": 32,
                "patch_size": 16,
            },
            "text_cfg": SMALL_TEXT,
        },
    ),
    # Convolutions learn from a few thousand pictures: see training/foley_world/README.md.
    "clip_small": (
        "clip_small",
        {
            "embed_dim": 64,
            "quick_gelu": True,
            "vision_cfg": {
                "image_size": 64,
                "layers": [1, 1, 1, 1],
                "width": 24,
                "head_width": 64,
            },
            "text_cfg": SMALL_TEXT,
        },
    ),
}

SYNCHFORMER_PRESETS = {
    "synchformer": SynchformerConfig(),
    "synchformer_tiny": SynchformerConfig(hidden_dim=64, depth=2, num_heads=2, image_size=64),
    "synchformer_small": SynchformerConfig(hidden_dim=128, depth=3, num_heads=4, image_size=64),
}

T = TypeVar("T")
PathLike = str | os.PathLike[str]


def init_clip(
    preset: str, path: PathLike, *, seed: int = 0, dtype: torch.dtype = torch.float16
) -> None:
    """Write an untrained CLIP, to try the whole chain without downloads.

    Args:
        preset: One of :data:`CLIP_PRESETS`.
        path: File to write.
        seed: Of the weights.
        dtype: Type to store; half precision keeps the token table small.

    Raises:
        ConfigError: The preset is unknown.
        CheckpointError: The file cannot be written.
    """
    architecture, settings = _preset(CLIP_PRESETS, preset)
    encoder = ClipEncoder(architecture, settings)
    _randomise(encoder, seed, dtype)
    save_encoder(encoder, path, licence=UNTRAINED)


def init_synchformer(
    preset: str, path: PathLike, *, seed: int = 0, dtype: torch.dtype = torch.float16
) -> None:
    """Write an untrained Synchformer, to try the whole chain without downloads.

    Args:
        preset: One of :data:`SYNCHFORMER_PRESETS`.
        path: File to write.
        seed: Of the weights.
        dtype: Type to store.

    Raises:
        ConfigError: The preset is unknown.
        CheckpointError: The file cannot be written.
    """
    model = Synchformer(_preset(SYNCHFORMER_PRESETS, preset), device="meta")
    _randomise(model, seed, dtype)
    save_encoder(model, path, licence=UNTRAINED)


def _preset(presets: Mapping[str, T], name: str) -> T:
    if name not in presets:
        raise ConfigError(f"There is no preset {name!r}; choose from {', '.join(presets)}.")
    return presets[name]


def _randomise(model: nn.Module, seed: int, dtype: torch.dtype) -> None:
    """Weights that keep the variance of what they act on; norms and biases at rest."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, parameter in model.state_dict().items():
        shape = parameter.shape
        if not parameter.is_floating_point():
            state[name] = torch.zeros(shape, dtype=parameter.dtype)
        elif len(shape) == 1 and name.endswith((".weight", "bias", "running_mean", "running_var")):
            one = name.endswith(("weight", "running_var"))
            state[name] = torch.full(shape, float(one), dtype=dtype)
        else:
            scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else shape[0] ** -0.5
            state[name] = torch.randn(shape, generator=generator).mul_(scale).to(dtype)
    model.load_state_dict(state, assign=True)
