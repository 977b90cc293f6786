"""What flows along the wires of a workflow: socket types and what they carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from comfy_api.v0_0_2 import io

from ..wavflow_core.checkpoint import Provenance
from ..wavflow_core.config import WavFlowConfig

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

# A ModelHandle, and twice an EncoderHandle.
WAVFLOW_MODEL = io.Custom("WAVFLOW_MODEL")
WAVFLOW_CLIP = io.Custom("WAVFLOW_CLIP")
WAVFLOW_SYNCHFORMER = io.Custom("WAVFLOW_SYNCHFORMER")

# Each carries the core's Features with its own modality alone: `clip` and `clip_encoder`; `sync`
# and `sync_encoder`; `text` and `negative_text` (each None where the prompt is empty) and
# `clip_encoder`.
WAVFLOW_CLIP_FEATURES = io.Custom("WAVFLOW_CLIP_FEATURES")
WAVFLOW_SYNC_FEATURES = io.Custom("WAVFLOW_SYNC_FEATURES")
WAVFLOW_TEXT_FEATURES = io.Custom("WAVFLOW_TEXT_FEATURES")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelHandle:
    """A WavFlow network in ComfyUI's care.

    Attributes:
        patcher: Holds the network; ComfyUI moves its weights. Ask ``load_models_gpu`` before use.
        config: Everything that the checkpoint says about itself.
        provenance: Where the weights come from.
        dtype: Type to compute in.
    """

    patcher: ModelPatcher
    config: WavFlowConfig
    provenance: Provenance
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderHandle:
    """A CLIP or a Synchformer in ComfyUI's care.

    Attributes:
        patcher: Holds the core's ``ClipEncoder`` or ``Synchformer``; ComfyUI moves its weights.
        dtype: Type to compute in.
    """

    patcher: ModelPatcher
    dtype: torch.dtype
