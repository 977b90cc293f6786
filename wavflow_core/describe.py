"""What a file is, in a few lines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from . import tensor_files
from .checkpoint import EMA_DECAYS, FORMAT, infer_model_config, read_checkpoint
from .config import WavFlowConfig
from .errors import CheckpointError, MediaError, WavFlowError
from .features.store import FORMAT as FEATURES
from .features.store import TENSORS, load_features
from .media.audio import read_audio
from .media.files import is_file
from .media.video import open_video
from .presets import PRESETS


def describe(path: Path) -> list[str]:
    """Lines that say what a weights, features or media file is; the first names it.

    Raises:
        WavFlowError: The file is missing, damaged or of no known kind.
    """
    if not is_file(path):
        raise WavFlowError(f"There is no file {str(path)!r}; check the path.")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        lines = _safetensors(path)
    elif suffix in tensor_files.PICKLE_SUFFIXES:
        lines = _pickle(path)
    else:
        lines = _media(path)
    return [str(path), *lines]


def _safetensors(path: Path) -> Iterator[str]:
    metadata = tensor_files.read_metadata(path)
    shapes = tensor_files.read_shapes(path)
    size = _count(shapes)
    kind = metadata.get("format", "")
    if kind == FORMAT:
        checkpoint = read_checkpoint(path)
        about = checkpoint.provenance
        yield f"WavFlow checkpoint, {size}"
        yield from _model(checkpoint.config)
        average = f" (decay {about.ema_decay})" if about.ema_decay else ""
        step = "unknown" if about.step is None else about.step
        yield f"weights: {about.weights}{average}, step {step}"
        yield f"data: {about.data or 'not said'}; licence: {about.license or 'not said'}"
    elif kind == FEATURES:
        features = load_features(path)
        yield f"WavFlow features of {features.duration:g} s"
        for name in TENSORS:
            value = getattr(features, name)
            yield f"{name}: {'none' if value is None else tuple(value.shape)}"
        yield f"CLIP: {features.clip_encoder}; Synchformer: {features.sync_encoder}"
    elif kind.startswith("wavflow."):
        yield f"WavFlow {kind.removeprefix('wavflow.')} encoder, {size}"
        yield f"architecture: {metadata.get('architecture')} ({metadata.get('fingerprint')})"
        yield f"licence: {metadata.get('license')}"
    else:
        yield f"safetensors that do not say what they are, {size}"
        yield f"first entries: {', '.join(list(shapes)[:3])}"


def _pickle(path: Path) -> Iterator[str]:
    content = tensor_files.read_pickle(path)
    live = content.get("model")
    state = live if isinstance(live, Mapping) else content
    shapes = {n: tuple(x.shape) for n, x in state.items() if isinstance(x, Tensor)}
    try:
        config = infer_model_config(shapes, path)
    except CheckpointError:
        yield f"PyTorch file of {_count(shapes)}, not a WavFlow checkpoint"
        yield f"first entries: {', '.join(list(map(str, content))[:3])}"
        return
    yield f"WavFlow checkpoint of the published system, {_count(shapes)}"
    yield from _model(WavFlowConfig(model=config), rate="not in the file")
    if state is live:
        sets = ["live", *(n for n, (key, _) in EMA_DECAYS.items() if key in content)]
        yield f"weights: {', '.join(sets)}; step {content.get('global_step')}"


def _model(config: WavFlowConfig, rate: str | None = None) -> Iterator[str]:
    model = config.model
    names = [name for name, preset in PRESETS.items() if preset.model == model]
    yield f"preset: {' or '.join(names) or 'none of the named'}"
    yield (
        f"width {model.hidden_dim}, {model.num_heads} heads, {model.joint_depth} joint and "
        f"{model.fused_depth} fused blocks, patches of {model.patch_size} samples"
    )
    audio = config.audio
    yield f"sample rate: {rate or audio.sample_rate}"
    if rate is None:
        yield f"window: {audio.window:g} s; normalisation: {audio.normalization}"
        flow = config.flow
        yield (
            f"prediction: {flow.prediction}; noise shift: {flow.noise_shift:g}; "
            f"guided until t = {flow.cfg_end:g}"
        )
        yield f"CLIP: {config.clip}; Synchformer: {config.sync}"


def _count(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return f"{sum(map(math.prod, shapes.values())):,} parameters"


def _media(path: Path) -> Iterator[str]:
    try:
        video = open_video(path)
    except MediaError as no_video:
        try:
            clip = read_audio(path)
        except MediaError:
            raise no_video from None
        rate, channels = clip.sample_rate, clip.waveform.shape[0]
        yield f"sound: {clip.duration:.3f} s, {rate} Hz, {channels} channels"
        return
    yield f"video: {video.total:.3f} s, {video.width} x {video.height}"
    yield f"frame rate: {float(video.frame_rate):.3f}; sound: {'yes' if video.has_audio else 'no'}"
