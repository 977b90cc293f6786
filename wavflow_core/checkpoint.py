"""The one reader and writer of model weights.

Reads our safetensors, whose metadata carries the whole configuration, and the three pickles of the
published system: a full training checkpoint, an EMA alone, a plain state dictionary.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from . import tensor_files
from .config import AudioConfig, ModelConfig, WavFlowConfig
from .errors import CheckpointError, ConfigError
from .model import WavFlow
from .model.layers import Ops
from .presets import get_preset
from .strict import from_dict

logger = logging.getLogger(__name__)

FORMAT = "wavflow"
VERSION = "1"
WEIGHTS = ("auto", "live", "ema", "ema2")
SAMPLE_RATES = (16000, 44100)
STALE_KEYS = ("t_embed.freqs", "latent_rot", "clip_rot")
# The published training keeps two averages; one has converged when little of its start is left.
EMA_DECAYS = {"ema": ("model_ema1", 0.9999), "ema2": ("model_ema2", 0.9996)}
CONVERGED = 0.01
MLP_RATIO = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where weights come from.

    Attributes:
        step: Training steps, where known; 0 for untrained weights.
        weights: ``live``, or ``ema`` for an average over steps.
        ema_decay: Decay of that average.
        data: Name of the data trained on.
        license: Licence of the weights.
    """

    step: int | None = None
    weights: str = "live"
    ema_decay: float | None = None
    data: str | None = None
    license: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Checkpoint:
    """Weights with all that is known about them."""

    config: WavFlowConfig
    tensors: Mapping[str, Tensor]
    provenance: Provenance = field(default_factory=Provenance)


def read_checkpoint(
    path: str | os.PathLike[str],
    *,
    weights: str = "auto",
    preset: str | None = None,
    sample_rate: int | None = None,
    dtype: torch.dtype | None = None,
) -> Checkpoint:
    """Read weights of any known form, strictly.

    Args:
        path: Our ``.safetensors``, or a ``.pth`` of the published system.
        weights: ``live``, ``ema`` (decay 0.9999), ``ema2`` (decay 0.9996) or ``auto``, which takes
            the first average that has converged and otherwise the live weights.
        preset: Preset that a ``.pth`` was trained as.
        sample_rate: Rate in Hz that a ``.pth`` was trained at; its tensors cannot tell.
        dtype: Type to convert the weights to while reading.

    Raises:
        CheckpointError: The file is missing, damaged, unsafe, of another architecture, or lacks
            the weights asked for.
        ConfigError: An argument is unknown or contradicts the file.
    """
    if weights not in WEIGHTS:
        raise ConfigError(f"weights is {weights!r}; allowed: {', '.join(WEIGHTS)}.")
    path = tensor_files.check_file(path)
    if path.suffix.lower() == ".safetensors":
        checkpoint = _read_own(path, weights, dtype)
        _check_agreement(path, checkpoint.config, preset, sample_rate)
    else:
        checkpoint = _read_published(path, weights, preset, sample_rate, dtype)
    _check_keys(path, checkpoint)
    return checkpoint


def write_checkpoint(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Write weights as safetensors with their configuration and provenance.

    Raises:
        CheckpointError: The name does not end in ``.safetensors``, or writing fails.
        MediaError: The folder is missing or cannot be written.
    """
    if Path(path).suffix.lower() != ".safetensors":
        raise CheckpointError(f"{os.fspath(path)!r} must end in .safetensors.")
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "config": json.dumps(checkpoint.config.to_dict()),
        "provenance": json.dumps(dataclasses.asdict(checkpoint.provenance)),
    }
    tensor_files.write_safetensors(checkpoint.tensors, metadata, path)


def build_model(
    checkpoint: Checkpoint,
    *,
    ops: Ops = nn,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> WavFlow:
    """Build the model on the meta device and give it the weights, without a second copy.

    Args:
        checkpoint: From :func:`read_checkpoint`.
        ops: Namespace of layer classes.
        dtype: Type to convert the weights to; None keeps the file's.
        device: Where the weights go.
    """
    model = WavFlow(checkpoint.config.model, ops=ops, dtype=dtype, device="meta")
    tensors = {
        name: tensor_files.convert(tensor, dtype).to(device)
        for name, tensor in checkpoint.tensors.items()
    }
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval()


def _read_own(path: Path, weights: str, dtype: torch.dtype | None) -> Checkpoint:
    metadata = tensor_files.read_metadata(path)
    if metadata.get("format") != FORMAT:
        what = f"a file of format {metadata['format']!r}" if "format" in metadata else "unlabelled"
        raise CheckpointError(
            f"{str(path)!r} is not a WavFlow checkpoint: it is {what}. Give one written by "
            "`wavflow init`, `wavflow convert` or the training."
        )
    if metadata.get("version") != VERSION:
        raise CheckpointError(
            f"{str(path)!r} has format version {metadata.get('version')!r}; this program reads "
            f"version {VERSION}. Update it."
        )
    try:
        config = WavFlowConfig.from_dict(tensor_files.json_field(metadata, "config", path))
        provenance = from_dict(Provenance, tensor_files.json_field(metadata, "provenance", path))
    except ConfigError as error:
        raise CheckpointError(f"{str(path)!r} cannot be used: {error}") from error
    decay = EMA_DECAYS["ema2"][1]
    other_average = weights == "ema2" and provenance.ema_decay not in (None, decay)
    if weights.rstrip("2") not in ("auto", provenance.weights) or other_average:
        raise CheckpointError(
            f"{str(path)!r} holds {provenance.weights!r} weights (decay {provenance.ema_decay}), "
            f"but {weights!r} were asked for; ask for 'auto' or {provenance.weights!r}."
        )
    tensors = tensor_files.read_safetensors(path, dtype=dtype)
    return Checkpoint(config=config, tensors=tensors, provenance=provenance)


def _check_agreement(
    path: Path, config: WavFlowConfig, preset: str | None, sample_rate: int | None
) -> None:
    own = config.audio.sample_rate
    if sample_rate not in (None, own):
        raise ConfigError(f"{str(path)!r} was trained at {own} Hz, not at {sample_rate} Hz.")
    if preset is not None and get_preset(preset).model != config.model:
        raise ConfigError(f"{str(path)!r} is not of preset {preset!r}: its widths differ.")


def _read_published(
    path: Path,
    weights: str,
    preset: str | None,
    sample_rate: int | None,
    dtype: torch.dtype | None,
) -> Checkpoint:
    tensors, provenance = _pickled_tensors(path, weights, dtype)
    model = infer_model_config({name: tuple(x.shape) for name, x in tensors.items()}, path)
    if preset is not None:
        config = get_preset(preset)
        if config.model != model:
            raise CheckpointError(
                f"{str(path)!r} is not of preset {preset!r}: the file has {model}, the preset "
                f"{config.model}. Leave the preset out and give the sample rate."
            )
        _check_agreement(path, config, None, sample_rate)
    elif sample_rate is not None:
        config = WavFlowConfig(audio=AudioConfig(sample_rate=sample_rate), model=model)
    else:
        rates = " or ".join(map(str, SAMPLE_RATES))
        raise CheckpointError(
            f"{str(path)!r} cannot tell the sample rate that it was trained at; say its "
            f"sample rate ({rates}) or its preset."
        )
    if provenance.weights == "ema" and provenance.ema_decay is None:
        logger.warning(
            "%s is an average over steps that does not say how many there were: early in a "
            "training such an average is mostly noise.",
            path.name,
        )
    return Checkpoint(config=config, tensors=tensors, provenance=provenance)


def read_tensors(
    path: str | os.PathLike[str], *, weights: str = "auto"
) -> tuple[Mapping[str, Tensor], Provenance]:
    """Named tensors of any file, whatever architecture they are of, to begin a training from.

    Args:
        path: ``.safetensors``, or a ``.pth`` in any form that :func:`read_checkpoint` reads.
        weights: Which of a full training checkpoint, see :func:`read_checkpoint`.

    Raises:
        CheckpointError: The file is missing, damaged or unsafe, or lacks the weights asked for.
    """
    path = tensor_files.check_file(path)
    if path.suffix.lower() != ".safetensors":
        return _pickled_tensors(path, weights, None)
    if tensor_files.read_metadata(path).get("format") == FORMAT:
        checkpoint = _read_own(path, weights, None)
        return checkpoint.tensors, checkpoint.provenance
    return tensor_files.read_safetensors(path), Provenance()


def _pickled_tensors(
    path: Path, weights: str, dtype: torch.dtype | None
) -> tuple[dict[str, Tensor], Provenance]:
    state, provenance = _select_weights(path, tensor_files.read_pickle(path), weights)
    tensors = {}
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"{str(path)!r} is not a WavFlow checkpoint: its entry {name!r} is a "
                f"{type(value).__name__}, not a tensor."
            )
        if name not in STALE_KEYS:
            tensors[name] = tensor_files.convert(value, dtype)
    return tensors, provenance


def _select_weights(
    path: Path, content: Mapping[str, object], weights: str
) -> tuple[Mapping[str, object], Provenance]:
    """Choose among the live weights and the averages of a pickle."""
    live = content.get("model")
    if not isinstance(live, Mapping):
        kind = "ema" if "ema_epoch" in path.name else "live"
        if weights.rstrip("2") not in ("auto", kind):
            raise CheckpointError(
                f"{str(path)!r} holds one set of weights ({kind}), but {weights!r} were asked "
                "for; ask for 'auto'."
            )
        return content, Provenance(weights=kind)
    step = content.get("global_step")
    step = step if isinstance(step, int) else None
    averages = {
        name: (average, decay)
        for name, (key, decay) in EMA_DECAYS.items()
        if isinstance(average := content.get(key), Mapping)
    }
    if weights == "auto":
        converged = (n for n, (_, d) in averages.items() if step and d**step < CONVERGED)
        weights = next(converged, "live")
        logger.info("%s after %s steps: taking its %s weights.", path.name, step, weights)
    if weights == "live":
        return live, Provenance(step=step)
    if weights not in averages:
        raise CheckpointError(
            f"{str(path)!r} has no {weights!r} weights; it has: {', '.join(('live', *averages))}."
        )
    average, decay = averages[weights]
    # An average holds trained parameters alone; whatever else there is comes from the live model.
    return {**live, **average}, Provenance(step=step, weights="ema", ema_decay=decay)


def infer_model_config(shapes: Mapping[str, tuple[int, ...]], path: Path) -> ModelConfig:
    """Widths and depths from the shapes of a state dictionary.

    Raises:
        CheckpointError: The names or shapes are not those of a WavFlow model.
    """
    try:
        hidden_dim, patch_size, _ = shapes["audio_input_proj.0.weight"]
        fused = _count_blocks(shapes, "fused_blocks")
        text_tokens, text_dim = shapes["empty_string_feat"]
        config = ModelConfig(
            patch_size=patch_size,
            clip_dim=shapes["empty_clip_feat"][-1],
            sync_dim=shapes["empty_sync_feat"][-1],
            text_dim=text_dim,
            hidden_dim=hidden_dim,
            depth=_count_blocks(shapes, "joint_blocks") + fused,
            fused_depth=fused,
            num_heads=hidden_dim // shapes["joint_blocks.0.latent_block.attn.q_norm.weight"][0],
            mlp_ratio=MLP_RATIO,
            text_tokens=text_tokens,
        )
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{str(path)!r} is of another architecture than WavFlow ({error}); its first entries "
            f"are {', '.join(list(shapes)[:3]) or 'none'}."
        ) from error
    return config


def _count_blocks(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    return len({name.split(".")[1] for name in shapes if name.startswith(prefix + ".")})


def _check_keys(path: Path, checkpoint: Checkpoint) -> None:
    """Names and shapes must be exactly the model's; its size is the file's word alone."""
    config, given = checkpoint.config.model, checkpoint.tensors
    if max(config.depth, len(config.filter_windows)) > len(given):
        told = f"{config.depth} blocks and {len(config.filter_windows)} filters"
        raise CheckpointError(f"{str(path)!r} says it has {told}, and holds {len(given)} tensors.")
    expected = WavFlow(config, device="meta").state_dict()
    wrong = [
        f"{name} has shape {tuple(given[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in given and given[name].shape != expected[name].shape
    ]
    faults = {
        "missing": [name for name in expected if name not in given],
        "unexpected": [name for name in given if name not in expected],
        "wrong": wrong,
    }
    found = [
        f"{kind}: {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if names[3:] else "")
        for kind, names in faults.items()
        if names
    ]
    if found:
        raise CheckpointError(
            f"{str(path)!r} does not fit its WavFlow architecture; {'; '.join(found)}."
        )
