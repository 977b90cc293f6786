"""The whole chain, from a video and a prompt to sound: what to read first."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from .checkpoint import Provenance, build_model, read_checkpoint
from .conditions import build_conditions, check_encoders
from .config import SamplerConfig, WavFlowConfig, num_samples
from .devices import choose_device, choose_dtype
from .encoding import Encoders
from .errors import ConfigError, WavFlowError
from .features.store import Features
from .media.audio import AudioClip, edge_fades, remove_dc, set_level
from .media.container import MediaSource
from .media.video import VideoClip, open_video
from .model import WavFlow
from .model.patchify import to_waveform
from .sampler import Callback, draw_noise, guide, sample
from .weights import bundled_file

logger = logging.getLogger(__name__)

DEFAULT_LOUDNESS = -23.0
SEEDS = 2**64
# A video this much longer than the window is cut to it with a warning rather than in silence.
CUT_TOLERANCE = 0.5
# Called with (stage, done, total); it may raise to cancel.
StageProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedModel:
    """A model ready to run, from :func:`load_model`."""

    model: WavFlow
    config: WavFlowConfig
    provenance: Provenance
    device: torch.device
    dtype: torch.dtype


def load_model(
    path: str | os.PathLike[str] | None = None,
    *,
    weights: str = "auto",
    preset: str | None = None,
    sample_rate: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> LoadedModel:
    """Load a checkpoint onto a device.

    Args:
        path: ``.safetensors`` of ours, ``.pth`` of the published system; None: the bundled model.
        weights: ``auto``, ``live``, ``ema`` or ``ema2``.
        preset: Preset of a ``.pth``, which cannot tell its own.
        sample_rate: Rate in Hz of a ``.pth``, likewise.
        device: ``auto`` (cuda, then mps, then cpu), ``cpu``, ``cuda`` (also ``cuda:1``), ``mps``.
        dtype: ``auto`` (bf16 on cuda, otherwise fp32), ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        CheckpointError: The file is missing, damaged, unsafe or of another architecture.
        ConfigError: An argument is unknown, or the device is not there.
    """
    place = choose_device(device)
    kind = choose_dtype(dtype, place)
    path = bundled_file("model") if path is None else path
    checkpoint = read_checkpoint(
        path, weights=weights, preset=preset, sample_rate=sample_rate, dtype=kind
    )
    return LoadedModel(
        model=build_model(checkpoint, dtype=kind, device=place),
        config=checkpoint.config,
        provenance=checkpoint.provenance,
        device=place,
        dtype=kind,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to make a sound for.

    Attributes:
        video: The video, or None for text alone.
        prompt: What should be heard; may be empty where there is a video.
        negative_prompt: What should not be heard.
        start: Seconds into the video at which the sound begins.
        duration: Seconds of sound. None takes the video's rest, at most the window trained on, and
            the window where there is no video.
        seed: Seed of the noise; variation i has seed + i.
        count: Number of variations.
        loudness: Integrated loudness in LUFS to bring the sound to; None leaves the level as is.
    """

    video: MediaSource | None = None
    prompt: str = ""
    negative_prompt: str = ""
    start: float = 0.0
    duration: float | None = None
    seed: int = 0
    count: int = 1
    loudness: float | None = DEFAULT_LOUDNESS

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 1000:
            raise ConfigError(f"count is {self.count!r}; allowed: 1 to 1000.")
        check_seed(self.seed)
        if self.loudness is not None and not -70 <= self.loudness <= 0:
            raise ConfigError(f"loudness is {self.loudness!r}; allowed: -70 to 0 LUFS, or none.")
        if self.duration is not None:
            num_samples(self.duration, 48000)


def generate(
    model: LoadedModel,
    request: Request,
    *,
    encoders: Encoders | None = None,
    features: Features | None = None,
    sampler: SamplerConfig | None = None,
    progress: StageProgress | None = None,
    callback: Callback | None = None,
) -> list[AudioClip]:
    """Make sound for a video, a prompt or both; all variations at once.

    Arguments and errors are those of :func:`variations`.

    Returns:
        One mono clip for each variation, exactly as long as asked.
    """
    return list(
        variations(
            model,
            request,
            encoders=encoders,
            features=features,
            sampler=sampler,
            progress=progress,
            callback=callback,
        )
    )


def variations(
    model: LoadedModel,
    request: Request,
    *,
    encoders: Encoders | None = None,
    features: Features | None = None,
    sampler: SamplerConfig | None = None,
    progress: StageProgress | None = None,
    callback: Callback | None = None,
) -> Iterator[AudioClip]:
    """Make sound for a video, a prompt or both, one variation after the other.

    Args:
        model: From :func:`load_model`.
        request: Video, prompts, duration, seeds and level.
        encoders: Encoders to use and keep; None looks for those that the checkpoint names, and
            lets them go before sampling.
        features: Features extracted earlier, instead of a video and prompts.
        sampler: Solver, steps and guidance; None takes the defaults (50 Euler steps, cfg 4.5).
        progress: Called with ``(stage, done, total)``; it may raise to cancel.
        callback: Called after each sampling step with ``(step, total, t, clean estimate)``, the
            estimate being tokens ``(B, N, P)``.

    Yields:
        Mono clips, exactly as long as asked.

    Raises:
        WavFlowError: Something given cannot be used, or the memory does not suffice; the message
            says what and why.
    """
    sampler = sampler or SamplerConfig()
    with _memory_errors(model.device):
        if features is None:
            used = encoders or Encoders(model.config, device=model.device, dtype=model.dtype)
            features = encode(model.config, request, used, progress=progress)
            del used
            gc.collect()
        features = _for_duration(features, request.duration)
        if features.negative_text is not None and sampler.cfg <= 1:
            logger.warning("The negative prompt does nothing at cfg 1 or below.")
        for clip in synthesize(
            model,
            features,
            sampler=sampler,
            seed=request.seed,
            count=request.count,
            progress=progress,
            callback=callback,
        ):
            yield finish(clip, loudness=request.loudness)


def encode(
    config: WavFlowConfig,
    request: Request,
    encoders: Encoders,
    *,
    progress: StageProgress | None = None,
) -> Features:
    """Turn a request's video and prompts into features."""
    if request.video is None and not request.prompt.strip():
        raise WavFlowError("There is nothing to make a sound for; give a video, a prompt or both.")
    video = None
    if request.video is not None:
        video = open_video(request.video, start=request.start, duration=request.duration)
    elif request.start:
        logger.warning("The start does nothing where there is no video.")
    duration = choose_duration(config, request, video)
    if video is not None:
        # How many frames are read follows from the duration alone; the shortest sounds need some
        # from after their end, to fill a segment.
        video = replace(video, duration=None)
    return encoders.extract(
        video,
        duration=duration,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        progress=progress and (lambda done, total: progress("encode", done, total)),
    )


def check_seed(seed: int) -> None:
    """Seeds are what a torch.Generator takes.

    Raises:
        ConfigError: It is negative or does not fit into 64 bits.
    """
    if not 0 <= seed < SEEDS:
        raise ConfigError(f"seed is {seed!r}; allowed: 0 to 2^64 - 1.")


def _for_duration(features: Features, duration: float | None) -> Features:
    """Features for the duration asked for; text alone fits any."""
    if duration in (None, features.duration):
        return features
    if features.clip is None and features.sync is None:
        return replace(features, duration=duration)
    raise ConfigError(
        f"duration is {duration:g}, but the features were extracted for {features.duration:g} s; "
        "leave it out, or extract them again."
    )


@contextlib.contextmanager
def _memory_errors(device: torch.device) -> Iterator[None]:
    """Say what to do where the memory does not suffice."""
    try:
        yield
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise WavFlowError(
            f"The memory of {device} does not suffice; ask for a shorter duration, dtype bf16, or "
            "another device."
        ) from error


def finish(clip: AudioClip, *, loudness: float | None = DEFAULT_LOUDNESS) -> AudioClip:
    """Remove DC, fade the edges against clicks and set the level."""
    clip = edge_fades(remove_dc(clip))
    return clip if loudness is None else set_level(clip, loudness=loudness)


def choose_duration(config: WavFlowConfig, request: Request, video: VideoClip | None) -> float:
    """The seconds asked for, or the video's rest within the window trained on."""
    if request.duration is not None:
        return request.duration
    window = config.audio.window
    if video is None:
        return window
    if video.seconds > window + CUT_TOLERANCE:
        logger.warning(
            "Making sound for %.3g s of a video of %.4g s, the length that the model was trained "
            "on; ask for another duration to get more.",
            window,
            video.seconds,
        )
    return min(video.seconds, window)


def synthesize(
    model: LoadedModel,
    features: Features,
    *,
    sampler: SamplerConfig,
    seed: int = 0,
    count: int = 1,
    group: int = 1,
    progress: StageProgress | None = None,
    callback: Callback | None = None,
) -> Iterator[AudioClip]:
    """Sample variations of a sound from features, at the model's own level.

    Args:
        model: The network.
        features: Of one clip; their duration is the sound's.
        sampler: Solver, steps and guidance.
        seed: Of the first variation; the next ones count up.
        count: Number of variations.
        group: Variations in one batch: faster on a card, but only nearly the same bits as alone.
        progress: Called with ``("sample", done, total)``.
        callback: Called after each step of a group, see :data:`~.sampler.Callback`.

    Yields:
        Mono clips, exactly as long as the features' duration.

    Raises:
        FeatureError: The features are of other encoders or widths than the model's.
        WavFlowError: The network gave undefined numbers.
    """
    check_encoders(features, model.config)
    lengths = model.config.lengths(features.duration)
    flow = model.config.flow
    with torch.no_grad():
        conditions = build_conditions(
            model.model, features, lengths, device=model.device, dtype=model.dtype
        )
    for first in range(0, count, group):
        seeds = [(seed + i) % SEEDS for i in range(first, min(first + group, count))]

        def report(step: int, total: int, t: float, clean: torch.Tensor, made: int = first) -> None:
            if progress is not None:
                done = made * total + step * min(group, count - made)
                progress("sample", done, count * total)
            if callback is not None:
                callback(step, total, t, clean)

        noise = draw_noise(seeds, lengths.tokens, model.config.model.patch_size)
        batch = [each.expand(len(seeds)) for each in conditions]
        tokens = sample(
            guide(model.model, *batch, flow=flow, sampler=sampler, dtype=model.dtype),
            noise.to(model.device),
            flow=flow,
            sampler=sampler,
            callback=report,
        )
        for waveform in to_waveform(tokens.cpu(), model.config.audio, samples=lengths.samples):
            yield AudioClip(waveform=waveform[None], sample_rate=model.config.audio.sample_rate)
