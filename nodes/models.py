"""Nodes that load the network and the encoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import comfy.model_management as mm
import comfy.ops
from comfy_api.v0_0_2 import io

from ..wavflow_core.checkpoint import SAMPLE_RATES, build_model, read_checkpoint
from ..wavflow_core.devices import DTYPES
from ..wavflow_core.errors import WavFlowError
from ..wavflow_core.features import load_clip, load_synchformer
from .folders import (
    bundled_choice,
    checkpoint_choices,
    encoder_choices,
    encoder_file,
    find_checkpoint,
    find_encoder,
    version_of,
)
from .memory import encoder_dtype, model_dtypes, wrap
from .types import (
    WAVFLOW_CLIP,
    WAVFLOW_MODEL,
    WAVFLOW_SYNCHFORMER,
    EncoderHandle,
    ModelHandle,
)

CATEGORY = "audio/WavFlow"
DTYPE_CHOICES = ["auto", *DTYPES]


class LoadModel(io.ComfyNode):
    """Load a WavFlow checkpoint."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node looks like."""
        return io.Schema(
            node_id="WavFlowLoadModel",
            display_name="WavFlow Load Model",
            category=CATEGORY,
            description="Loads the bundled model, or a WavFlow checkpoint from models/wavflow.",
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=checkpoint_choices(),
                    default=bundled_choice("model"),
                    tooltip="The small model that comes with this pack (18 kinds of sounds, 4 "
                    "seconds at 16 kHz), or a .safetensors or .pth checkpoint in models/wavflow. "
                    "Load the encoders that it was trained with.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=DTYPE_CHOICES,
                    default="auto",
                    tooltip="Precision of the weights: auto lets ComfyUI choose for your device; "
                    "fp32 is exact, bf16 and fp16 need half the memory.",
                ),
                io.Combo.Input(
                    "weights",
                    options=["auto", "ema", "live"],
                    default="auto",
                    tooltip="Of a .pth with several: ema is the average over the training, live "
                    "the last step, auto the average once it has converged.",
                ),
                io.Combo.Input(
                    "sample_rate",
                    options=["auto", *map(str, SAMPLE_RATES)],
                    default="auto",
                    tooltip="Rate in Hz that a .pth was trained at, which it cannot tell by "
                    "itself. Leave it on auto for .safetensors.",
                ),
            ],
            outputs=[WAVFLOW_MODEL.Output(display_name="model")],
        )

    @classmethod
    def validate_inputs(cls, checkpoint: str | None) -> bool | str:
        """Say before the run whether the file is there."""
        return _problem(find_checkpoint, checkpoint)

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str | None, **_: object) -> str:
        """Load again when the file has changed."""
        return _version(find_checkpoint, checkpoint)

    @classmethod
    def execute(
        cls, checkpoint: str, weight_dtype: str, weights: str, sample_rate: str
    ) -> io.NodeOutput:
        """Load the checkpoint."""
        rate = None if sample_rate == "auto" else int(sample_rate)
        content = read_checkpoint(find_checkpoint(checkpoint), weights=weights, sample_rate=rate)
        device = mm.get_torch_device()
        parameters = sum(tensor.numel() for tensor in content.tensors.values())
        stored, computed = model_dtypes(weight_dtype, device, parameters)
        ops = comfy.ops.pick_operations(stored, computed, load_device=device)
        model = build_model(content, ops=ops, dtype=stored).requires_grad_(False)
        handle = ModelHandle(
            patcher=wrap(model, device, mm.unet_offload_device()),
            config=content.config,
            provenance=content.provenance,
            dtype=computed,
        )
        return io.NodeOutput(handle)


class LoadCLIP(io.ComfyNode):
    """Load the CLIP that sees the pictures and reads the prompt."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node looks like."""
        return io.Schema(
            node_id="WavFlowLoadCLIP",
            display_name="WavFlow Load CLIP",
            category=CATEGORY,
            description="Loads the CLIP that sees the pictures and reads the prompt.",
            inputs=_encoder_inputs("clip", "clip_vision and mmaudio"),
            outputs=[WAVFLOW_CLIP.Output(display_name="clip")],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        """Say before the run whether the file is there."""
        return _problem(lambda choice: encoder_file(choice, "clip"), file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None, **_: object) -> str:
        """Load again when the file has changed."""
        return _version(lambda choice: encoder_file(choice, "clip"), file)

    @classmethod
    def execute(cls, file: str, dtype: str) -> io.NodeOutput:
        """Load both towers."""
        device = mm.text_encoder_device()
        kind = encoder_dtype(dtype, device)
        encoder = load_clip(find_encoder(file, "clip"), dtype=kind)
        patcher = wrap(encoder, device, mm.text_encoder_offload_device())
        return io.NodeOutput(EncoderHandle(patcher=patcher, dtype=kind))


class LoadSynchformer(io.ComfyNode):
    """Load the Synchformer that sees when something moves."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node looks like."""
        return io.Schema(
            node_id="WavFlowLoadSynchformer",
            display_name="WavFlow Load Synchformer",
            category=CATEGORY,
            description="Loads the Synchformer that sees when something moves.",
            inputs=_encoder_inputs("synchformer", "mmaudio"),
            outputs=[WAVFLOW_SYNCHFORMER.Output(display_name="synchformer")],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        """Say before the run whether the file is there."""
        return _problem(lambda choice: encoder_file(choice, "synchformer"), file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None, **_: object) -> str:
        """Load again when the file has changed."""
        return _version(lambda choice: encoder_file(choice, "synchformer"), file)

    @classmethod
    def execute(cls, file: str, dtype: str) -> io.NodeOutput:
        """Load the video tower."""
        device = mm.text_encoder_device()
        kind = encoder_dtype(dtype, device)
        # ComfyUI's layers, so that it can leave some behind where the memory is small.
        encoder = load_synchformer(
            find_encoder(file, "synchformer"), dtype=kind, ops=comfy.ops.manual_cast
        )
        patcher = wrap(encoder, device, mm.text_encoder_offload_device())
        return io.NodeOutput(EncoderHandle(patcher=patcher, dtype=kind))


def _encoder_inputs(kind: str, folders: str) -> list[io.Input]:
    return [
        io.Combo.Input(
            "file",
            options=encoder_choices(kind),
            default=bundled_choice(kind),
            tooltip=f"The one for the bundled model, or a file in models/wavflow, {folders}. A "
            "choice that begins with 'download' fetches a published file into models/wavflow, "
            "once; nothing else here ever uses the network.",
        ),
        io.Combo.Input(
            "dtype",
            options=DTYPE_CHOICES,
            default="auto",
            tooltip="Precision to load and compute in: auto is bf16 where the device is good at "
            "it, and fp32 elsewhere.",
        ),
    ]


def _version(find: Callable[[str], Path | None], choice: str | None) -> str:
    """What changes when the chosen file does; a choice that is linked is not known before."""
    return "linked" if choice is None else version_of(find(choice))


def _problem(find: Callable[[str], object], choice: str | None) -> bool | str:
    if choice is None:  # linked
        return True
    try:
        find(choice)
    except WavFlowError as error:
        return str(error)
    return True
