"""Models in ComfyUI's care: which type, on which device, and how much room their work needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management as mm
import comfy.model_patcher
import torch
from comfy.model_patcher import ModelPatcher

from ..wavflow_core.config import (
    SEGMENT_FRAMES,
    SEGMENT_TOKENS,
    SequenceLengths,
    WavFlowConfig,
)
from ..wavflow_core.devices import DTYPES
from ..wavflow_core.features import ClipEncoder, Synchformer

# Values alive at once for each token and unit of width at the widest place of a block: 2 to 28
# percent above what was counted by following every tensor of a step with fused attention.
LIVE_WIDTHS = 16
RESNET_STRIDE = 4


def wrap(
    module: torch.nn.Module, load_device: torch.device, offload_device: torch.device
) -> ModelPatcher:
    """Give a network into ComfyUI's care."""
    # Looked up only now: ComfyUI puts a streaming one in its place where the hardware allows.
    patcher = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    return patcher(module, load_device=load_device, offload_device=offload_device)


def model_dtypes(choice: str, device: torch.device, parameters: int) -> tuple[torch.dtype, ...]:
    """Types to store and to compute in, for a choice of ``auto``, ``fp32``, ``bf16``, ``fp16``."""
    supported = [torch.bfloat16, torch.float32]
    if choice == "auto":
        stored = mm.unet_dtype(device, model_params=parameters, supported_dtypes=supported)
        if stored not in DTYPES.values():  # --fp8_e4m3fn-unet and the like
            stored = torch.bfloat16
    else:
        stored = DTYPES[choice]
    cast = mm.unet_manual_cast(stored, device, [stored, *supported])
    return stored, stored if cast is None else cast


def encoder_dtype(choice: str, device: torch.device) -> torch.dtype:
    """Type to store and compute in; ``auto`` is what `wavflow generate` takes on that device."""
    if choice != "auto":
        return DTYPES[choice]
    return torch.bfloat16 if mm.should_use_bf16(device) else torch.float32


def load(patcher: ModelPatcher, memory: float) -> None:
    """Bring a network of ComfyUI's layers to its device, or as much of it as fits."""
    mm.load_models_gpu([patcher], memory_required=memory)


@contextmanager
def loaded_whole(patcher: ModelPatcher, memory: float) -> Iterator[None]:
    """Bring all of a network of foreign layers to its device, evicting others for it.

    open_clip's layers cannot be left behind and cast on the fly as ComfyUI's can. With --novram
    ComfyUI leaves them behind nevertheless; then they are brought here, and taken back.
    """
    mm.load_models_gpu([patcher], memory_required=memory, force_full_load=True)
    module, device = patcher.model, patcher.load_device
    tensors = [*module.parameters(), *module.buffers()]
    behind = [(tensor, tensor.data) for tensor in tensors if tensor.device != device]
    if behind:
        module.to(device)
    try:
        yield
    finally:
        for tensor, data in behind:  # what stayed there, without a copy back
            tensor.data = data


def sampling_memory(
    config: WavFlowConfig, lengths: SequenceLengths, *, cfg: float, dtype: torch.dtype
) -> float:
    """Bytes that one step of sampling needs beside the weights; variations come one by one."""
    model = config.model
    batch = 2 if cfg > 1 else 1
    tokens = lengths.tokens + lengths.clip_frames + lengths.sync_tokens + model.text_tokens
    widths = LIVE_WIDTHS * model.hidden_dim + 2 * model.mlp_dim
    return batch * tokens * widths * dtype.itemsize


def encoding_memory(encoder: ClipEncoder | Synchformer, batch: int, dtype: torch.dtype) -> float:
    """Bytes that one batch of pictures, or of segments, needs beside the weights."""
    if isinstance(encoder, Synchformer):
        width, side = encoder.size.hidden_dim, encoder.size.image_size
        pictures = batch * SEGMENT_FRAMES
        tokens = batch * SEGMENT_TOKENS * encoder.size.places
    else:
        vision = encoder.settings["vision_cfg"]
        width, side, pictures = vision["width"], encoder.image_size, batch
        # A convolutional tower has no patches: its first layers keep every fourth place.
        tokens = batch * (side // vision.get("patch_size", RESNET_STRIDE)) ** 2
    return tokens * LIVE_WIDTHS * width * dtype.itemsize + 2 * pictures * 3 * side**2 * 4
