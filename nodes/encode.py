"""Nodes that turn pictures and prompts into features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..wavflow_core.config import MAX_DURATION
from ..wavflow_core.errors import FeatureError
from ..wavflow_core.features import Features, extract_features, frame_requests
from ..wavflow_core.features.extractor import batch_on
from .convert import TEXT_DURATION, Footage, images_to_footage, progress_bar, to_footage, to_frames
from .memory import encoding_memory, load, loaded_whole
from .types import (
    WAVFLOW_CLIP,
    WAVFLOW_CLIP_FEATURES,
    WAVFLOW_SYNC_FEATURES,
    WAVFLOW_SYNCHFORMER,
    WAVFLOW_TEXT_FEATURES,
    EncoderHandle,
)

if TYPE_CHECKING:
    from comfy_api.v0_0_2 import Input
    from torch import Tensor

CATEGORY = "audio/WavFlow"


class EncodeCLIP(io.ComfyNode):
    """What is to be seen, eight times a second."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node looks like."""
        return io.Schema(
            node_id="WavFlowEncodeCLIP",
            display_name="WavFlow Encode CLIP",
            category=CATEGORY,
            description="Looks at a video, or at images of known frame rate, 8 times a second.",
            inputs=[
                WAVFLOW_CLIP.Input("clip", tooltip="From WavFlow Load CLIP."),
                *_footage_inputs(),
            ],
            outputs=[WAVFLOW_CLIP_FEATURES.Output(display_name="clip_features")],
        )

    @classmethod
    def execute(
        cls,
        clip: EncoderHandle,
        start: float,
        duration: float,
        fps: float,
        video: Input.Video | None = None,
        images: Tensor | None = None,
    ) -> io.NodeOutput:
        """Encode the pictures."""
        footage = _footage(video, images, fps, start)
        encoder = clip.patcher.model
        seconds = duration or footage.seconds
        batch = batch_on(clip.patcher.load_device, encoder)
        frames = to_frames(footage, frame_requests(seconds, clip=encoder))
        with loaded_whole(clip.patcher, encoding_memory(encoder, batch, clip.dtype)):
            features = extract_features(
                None,
                duration=seconds,
                clip=encoder,
                frames=frames,
                clip_batch=batch,
                progress=progress_bar(),
            )
        return io.NodeOutput(features)


class EncodeSync(io.ComfyNode):
    """When something moves, 25 times a second."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node looks like."""
        return io.Schema(
            node_id="WavFlowEncodeSync",
            display_name="WavFlow Encode Sync",
            category=CATEGORY,
            description="Looks when something moves in a video, or in images of known frame rate.",
            inputs=[
                WAVFLOW_SYNCHFORMER.Input("synchformer", tooltip="From WavFlow Load Synchformer."),
                *_footage_inputs(),
            ],
            outputs=[WAVFLOW_SYNC_FEATURES.Output(display_name="sync_features")],
        )

    @classmethod
    def execute(
        cls,
        synchformer: EncoderHandle,
        start: float,
        duration: float,
        fps: float,
        video: Input.Video | None = None,
        images: Tensor | None = None,
    ) -> io.NodeOutput:
        """Encode the motion."""
        footage = _footage(video, images, fps, start)
        patcher, encoder = synchformer.patcher, synchformer.patcher.model
        seconds = duration or footage.seconds
        batch = batch_on(patcher.load_device, encoder)
        load(patcher, encoding_memory(encoder, batch, synchformer.dtype))
        features = extract_features(
            None,
            duration=seconds,
            synchformer=encoder,
            frames=to_frames(footage, frame_requests(seconds, synchformer=encoder)),
            sync_batch=batch,
            device=patcher.load_device,
            dtype=synchformer.dtype,
            progress=progress_bar(),
        )
        return io.NodeOutput(features)


class EncodeText(io.ComfyNode):
    """What should be heard, and what should not."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node looks like."""
        return io.Schema(
            node_id="WavFlowEncodeText",
            display_name="WavFlow Encode Text",
            category=CATEGORY,
            description="Reads what should be heard, and what should not.",
            inputs=[
                WAVFLOW_CLIP.Input("clip", tooltip="From WavFlow Load CLIP."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    tooltip="What should be heard. May stay empty where there is a video. At most "
                    "75 tokens are read.",
                ),
                io.String.Input(
                    "negative_prompt",
                    multiline=True,
                    tooltip="What should not be heard, such as: music, speech. May stay empty. "
                    "Has an effect at a cfg above 1.",
                ),
            ],
            outputs=[WAVFLOW_TEXT_FEATURES.Output(display_name="text_features")],
        )

    @classmethod
    def execute(cls, clip: EncoderHandle, prompt: str, negative_prompt: str) -> io.NodeOutput:
        """Encode both prompts."""
        if not (prompt.strip() or negative_prompt.strip()):
            return io.NodeOutput(Features(duration=TEXT_DURATION))
        encoder = clip.patcher.model
        with loaded_whole(clip.patcher, encoding_memory(encoder, 1, clip.dtype)):
            features = extract_features(
                None,
                duration=TEXT_DURATION,
                prompt=prompt,
                negative_prompt=negative_prompt,
                clip=encoder,
                progress=progress_bar(),
            )
        return io.NodeOutput(features)


def _footage_inputs() -> list[io.Input]:
    return [
        io.Video.Input(
            "video",
            optional=True,
            tooltip="The video; only the frames that are needed are read from its file. Connect "
            "this or images.",
        ),
        io.Image.Input(
            "images",
            optional=True,
            tooltip="Frames instead of a video, as Video Helper Suite loads them; say their fps.",
        ),
        io.Float.Input(
            "fps",
            default=25.0,
            min=0.01,
            max=1000.0,
            step=0.001,
            tooltip="Frames per second of the images; not used for a video.",
        ),
        io.Float.Input(
            "start",
            default=0.0,
            min=0.0,
            max=86400.0,
            step=0.01,
            tooltip="Seconds into the video or images at which to begin. Give both encoders the "
            "same.",
        ),
        io.Float.Input(
            "duration",
            default=0.0,
            min=0.0,
            max=MAX_DURATION,
            step=0.01,
            tooltip="Seconds to look at, and the length of the sound: 0 is to the end. The bundled "
            "model is trained on 4 seconds, large ones on 8. After the end the last frame is held.",
        ),
    ]


def _footage(video: Input.Video | None, images: Tensor | None, fps: float, start: float) -> Footage:
    # Without the duration: how many frames are read follows from it elsewhere, and the shortest
    # sounds need some from after their end.
    if (video is None) == (images is None):
        given = "neither" if video is None else "both"
        raise FeatureError(f"Connect either a video or images; {given} of them is connected.")
    if video is not None:
        return to_footage(video, start=start)
    return images_to_footage(images, fps=fps, start=start)
