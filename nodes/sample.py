"""The node that makes the sound."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from comfy_api.v0_0_2 import io
from PIL import Image
from torch import Tensor

from ..wavflow_core.config import MAX_DURATION, SOLVERS, SamplerConfig
from ..wavflow_core.errors import FeatureError
from ..wavflow_core.features import Features
from ..wavflow_core.model.patchify import to_waveform
from ..wavflow_core.picture import picture
from ..wavflow_core.pipeline import (
    CUT_TOLERANCE,
    DEFAULT_LOUDNESS,
    SEEDS,
    LoadedModel,
    finish,
    synthesize,
)
from .convert import SAME_DURATION, from_clips, merge_features, progress_bar
from .memory import load, sampling_memory
from .types import (
    WAVFLOW_CLIP_FEATURES,
    WAVFLOW_MODEL,
    WAVFLOW_SYNC_FEATURES,
    WAVFLOW_TEXT_FEATURES,
    ModelHandle,
)

logger = logging.getLogger(__name__)

CATEGORY = "audio/WavFlow"
MAX_BATCH = 64
# A picture at most so often, in seconds, so that drawing it never slows the sampling down.
PREVIEW_PAUSE = 0.5
PREVIEW_SIZE = (512, 256)


class WavFlowSampler(io.ComfyNode):
    """Make the sound."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node looks like."""
        return io.Schema(
            node_id="WavFlowSampler",
            display_name="WavFlow Sampler",
            category=CATEGORY,
            description="Makes sound from noise for what was seen and read; shows it as it grows.",
            inputs=[*_sockets(), *_integration(), *_variations()],
            outputs=[io.Audio.Output(display_name="audio")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelHandle,
        duration: float,
        steps: int,
        cfg: float,
        solver: str,
        noise_shift: float,
        seed: int,
        batch: int,
        loudness: float,
        clip_features: Features | None = None,
        sync_features: Features | None = None,
        text_features: Features | None = None,
    ) -> io.NodeOutput:
        """Sample."""
        features = _features(model, clip_features, sync_features, text_features, duration)
        sampler = SamplerConfig(
            solver=solver, steps=steps, cfg=cfg, noise_shift=noise_shift or None
        )
        lengths = model.config.lengths(features.duration)
        load(model.patcher, sampling_memory(model.config, lengths, cfg=cfg, dtype=model.dtype))
        clips = synthesize(
            _loaded(model),
            features,
            sampler=sampler,
            seed=seed,
            count=batch,
            **_reports(model, lengths.samples),
        )
        return io.NodeOutput(
            from_clips([finish(clip, loudness=loudness or None) for clip in clips])
        )


def _sockets() -> list[io.Input]:
    return [
        WAVFLOW_MODEL.Input("model", tooltip="From WavFlow Load Model."),
        WAVFLOW_CLIP_FEATURES.Input(
            "clip_features",
            optional=True,
            tooltip="What is to be seen, from WavFlow Encode CLIP.",
        ),
        WAVFLOW_SYNC_FEATURES.Input(
            "sync_features",
            optional=True,
            tooltip="When something moves, from WavFlow Encode Sync.",
        ),
        WAVFLOW_TEXT_FEATURES.Input(
            "text_features",
            optional=True,
            tooltip="What should be heard and what should not, from WavFlow Encode Text.",
        ),
    ]


def _integration() -> list[io.Input]:
    return [
        io.Float.Input(
            "duration",
            default=0.0,
            min=0.0,
            max=MAX_DURATION,
            step=0.01,
            tooltip="Seconds of sound: 0 is as long as the features, and with text alone as long "
            "as the clips that the model was trained on.",
        ),
        io.Int.Input(
            "steps",
            default=50,
            min=1,
            max=10000,
            tooltip="Steps from noise to sound; heun and midpoint ask the model twice in each, "
            "adaptive chooses its own.",
        ),
        io.Float.Input(
            "cfg",
            default=4.5,
            min=0.0,
            max=100.0,
            step=0.1,
            tooltip="How closely to follow video and prompt. At 1 or below the negative prompt "
            "has no effect and a step takes half the time.",
        ),
        io.Combo.Input(
            "solver",
            options=list(SOLVERS),
            default="euler",
            tooltip="How to integrate; euler is what the model was published with.",
        ),
        io.Float.Input(
            "noise_shift",
            default=0.0,
            min=0.0,
            max=100.0,
            step=0.01,
            tooltip="Above 1 spends more of the steps near the noise; 0 is as trained.",
        ),
    ]


def _variations() -> list[io.Input]:
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=SEEDS - 1,
            control_after_generate=True,
            tooltip="Which noise to begin with; the same seed gives the same sound. Each further "
            "one of a batch has the next seed.",
        ),
        io.Int.Input(
            "batch",
            default=1,
            min=1,
            max=MAX_BATCH,
            tooltip="How many variations to make, with seeds that count up.",
        ),
        io.Float.Input(
            "loudness",
            default=DEFAULT_LOUDNESS,
            min=-70.0,
            max=0.0,
            step=0.5,
            tooltip="Integrated loudness in LUFS to bring the sound to, with its true peak below "
            "-1 dB; 0 leaves the level as the model made it.",
        ),
    ]


def _features(
    model: ModelHandle,
    clip: Features | None,
    sync: Features | None,
    text: Features | None,
    duration: float,
) -> Features:
    """All features in one, for the duration asked for."""
    features = merge_features(clip, sync, text)
    if features is None or (features.clip, features.sync, features.text) == (None, None, None):
        raise FeatureError(
            "There is nothing to make a sound for; connect clip_features and sync_features of a "
            "video, text_features of a prompt that is not empty, or all three."
        )
    if features.clip is None and features.sync is None:
        return replace(features, duration=duration or model.config.audio.window)
    if duration and abs(duration - features.duration) > SAME_DURATION:
        raise FeatureError(
            f"duration is {duration:g} s, but the features were encoded for "
            f"{features.duration:.4g} s; set it to 0, or change the duration where they are "
            "encoded."
        )
    if features.duration > model.config.audio.window + CUT_TOLERANCE:
        logger.warning(
            "Making %.4g s of sound at once, though the model was trained on %.3g s; a shorter "
            "duration may sound better.",
            features.duration,
            model.config.audio.window,
        )
    return features


def _loaded(model: ModelHandle) -> LoadedModel:
    return LoadedModel(
        model=model.patcher.model,
        config=model.config,
        provenance=model.provenance,
        device=model.patcher.load_device,
        dtype=model.dtype,
    )


def _reports(model: ModelHandle, samples: int) -> dict[str, Callable[..., None]]:
    """The core's progress and callback: a bar, a look for Cancel, and a picture now and then."""
    bar = progress_bar()
    state = {"done": 0, "total": 1, "drawn": time.monotonic()}

    def progress(_: str, done: int, total: int) -> None:
        state.update(done=done, total=total)
        bar(done, total)

    def callback(step: int, total: int, _: float, clean: Tensor) -> None:
        now = time.monotonic()
        if now - state["drawn"] < PREVIEW_PAUSE and step < total:
            return
        state["drawn"] = now
        # Of a batch the first that is being made.
        [waveform] = to_waveform(clean[:1].cpu(), model.config.audio, samples=samples)
        width, height = PREVIEW_SIZE
        drawn = picture(waveform, model.config.audio.sample_rate, width=width, height=height)
        image = Image.fromarray(drawn.numpy())
        bar(state["done"], state["total"], ("JPEG", image, width))

    return {"progress": progress, "callback": callback}
