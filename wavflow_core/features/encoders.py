"""Encoders from files: whose weights they are and whether they fit."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from ..config import SEGMENT_TOKENS
from ..errors import CheckpointError, ConfigError
from ..strict import from_dict
from ..tensor_files import json_field, write_safetensors
from .clip import DEFAULT_ARCHITECTURE, TOWERS, ClipEncoder
from .encoder_file import EncoderFile
from .synchformer import TUBELET, Ops, Synchformer, SynchformerConfig

VERSION = "1"
PREFIX = "vfeat_extractor."

# Small tensors of which at least one differs between any two trainings, whatever towers are read.
IDENTIFYING = (
    "cls_token",
    "temp_embed",
    "norm.weight",
    "norm.bias",
    "spatial_attn_agg.cls_token",
    "visual.class_embedding",
    "visual.ln_post.weight",
    "visual.ln_post.bias",
    "positional_embedding",
    "ln_final.weight",
    "ln_final.bias",
)

# A name in the file by which its kind is known, and what to tell who gives it for another kind.
KINDS = {
    "patch_embed_3d.proj.weight": "Synchformer weights",
    "visual.conv1.weight": "CLIP weights of open_clip",
    "token_embedding.weight": "CLIP weights of open_clip",
    "vision_model.embeddings.patch_embedding.weight": "CLIP weights of transformers",
    "text_model.embeddings.token_embedding.weight": "CLIP weights of transformers",
    "audio_input_proj.0.weight": "a WavFlow checkpoint",
}

PathLike = str | os.PathLike[str]
Shapes = Mapping[str, tuple[int, ...]]


def load_clip(
    path: PathLike,
    *,
    towers: Collection[str] = tuple(TOWERS),
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
    architecture: str | None = None,
) -> ClipEncoder:
    """Read the towers asked for from a CLIP file; the other tower is not read.

    Args:
        path: safetensors or pickle with open_clip's names, in any precision.
        towers: ``visual``, ``text`` or both.
        device: Where to put the weights.
        dtype: Type to compute in; None keeps the file's.
        architecture: open_clip's name. None takes what the file says about itself, and for
            files that say nothing the one WavFlow was trained with.

    Raises:
        CheckpointError: The file cannot be read or its weights do not fit the architecture.
        ConfigError: The architecture is unknown, or ``towers`` is.
    """
    file = EncoderFile(path)
    own = _own_config(file, "clip")
    _require_kind(file, "CLIP weights of open_clip", file.shapes)
    settings = None
    if architecture is None and own is not None:
        architecture, settings = file.metadata["architecture"], own
    _require_tensors(file, _layer_counts(settings or {}))
    with _blaming(file) if settings else contextlib.nullcontext():
        encoder = ClipEncoder(architecture or DEFAULT_ARCHITECTURE, settings, towers=towers)
    expected = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    modules = {name.split(".")[0] for name in expected}
    owned = {name for name in file.shapes if name.split(".")[0] in modules}
    hint = "" if own or architecture else "; name the architecture if it is another one"
    _require_shapes(file, file.shapes, expected, f"{encoder.architecture}{hint}", owned)
    state = file.load(expected, device=device, dtype=dtype)
    encoder.load_state_dict(state, assign=True)
    encoder.fingerprint = _fingerprint(file, "")
    return encoder.requires_grad_(False).eval()


def load_synchformer(
    path: PathLike,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
    ops: Ops = nn,
) -> Synchformer:
    """Read the video tower of a Synchformer file; other towers in it are ignored.

    Args:
        path: safetensors or pickle, names with or without ``vfeat_extractor.``.
        device: Where to put the weights.
        dtype: Type of the weights; None keeps the file's.
        ops: Namespace of layer classes with torch.nn's names.

    Raises:
        CheckpointError: The file cannot be read or is not a Synchformer of one consistent size.
    """
    file = EncoderFile(path)
    own = _own_config(file, "synchformer")
    prefix = PREFIX if any(name.startswith(PREFIX) for name in file.shapes) else ""
    shapes = {
        name.removeprefix(prefix): shape
        for name, shape in file.shapes.items()
        if name.startswith(prefix)
    }
    _require_kind(file, "Synchformer weights", shapes)
    if own is None:
        config = _infer(file, shapes)
    else:
        with _blaming(file):
            config = from_dict(SynchformerConfig, own)
    _require_tensors(file, [config.depth])
    model = Synchformer(config, ops=ops, dtype=dtype, device="meta")
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    _require_shapes(file, shapes, expected, config.architecture, set())
    state = file.load([prefix + name for name in expected], device=device, dtype=dtype)
    model.load_state_dict(
        {name.removeprefix(prefix): value for name, value in state.items()}, assign=True
    )
    model.fingerprint = _fingerprint(file, prefix)
    return model.requires_grad_(False).eval()


def save_encoder(encoder: ClipEncoder | Synchformer, path: PathLike, *, licence: str) -> None:
    """Write an encoder as safetensors that say what they are.

    Args:
        encoder: What to write, in the precision that it has.
        path: File to write; an existing one is replaced.
        licence: Licence of the weights, kept in the metadata.

    Raises:
        CheckpointError: The file cannot be written.
        MediaError: Its folder is missing or cannot be written.
    """
    if isinstance(encoder, ClipEncoder):
        kind, config = "clip", dict(encoder.settings)
    else:
        kind, config = "synchformer", dataclasses.asdict(encoder.size)
    state = encoder.state_dict()
    metadata = {
        "format": f"wavflow.{kind}",
        "version": VERSION,
        "architecture": encoder.config.architecture,
        "config": json.dumps(config),
        "fingerprint": encoder.fingerprint or fingerprint(state),
        "license": licence,
    }
    write_safetensors(state, metadata, path)


def fingerprint(state_dict: Mapping[str, Tensor]) -> str:
    """Short identity of an encoder's weights, the same for their fp32 and fp16 copies.

    Args:
        state_dict: Weights with open_clip's names or Synchformer's, with or without its prefix.

    Returns:
        Twelve hexadecimal digits of a SHA-256.

    Raises:
        CheckpointError: None of the tensors that identify an encoder is there.
    """
    digest = hashlib.sha256()
    found = False
    for name in IDENTIFYING:
        value = state_dict.get(name, state_dict.get(PREFIX + name))
        if value is not None:
            found = True
            digest.update(name.encode())
            # A list of rounded numbers hashes alike on machines of either byte order.
            digest.update(value.detach().cpu().to(torch.float16).numpy().astype("<f2").tobytes())
    if not found:
        raise CheckpointError(
            "These weights are of no known encoder: none of "
            f"{', '.join(IDENTIFYING)} is among {_some(list(state_dict))}."
        )
    return digest.hexdigest()[:12]


def _fingerprint(file: EncoderFile, prefix: str) -> str:
    """What the file says, so that a copy in any precision is known, or else what it holds."""
    stored = file.metadata.get("fingerprint")
    if stored and file.metadata.get("format", "").startswith("wavflow."):
        return stored
    names = [prefix + name for name in IDENTIFYING if prefix + name in file.shapes]
    return fingerprint(file.load(names))


def _own_config(file: EncoderFile, kind: str) -> dict[str, object] | None:
    """Configuration in the metadata of a file that :func:`save_encoder` wrote."""
    form = file.metadata.get("format", "")
    if not form.startswith("wavflow."):
        return None
    if form != f"wavflow.{kind}":
        raise CheckpointError(f"{file.path} is a {form} file; give one of wavflow.{kind}.")
    version = file.metadata.get("version")
    if version != VERSION:
        raise CheckpointError(
            f"{file.path} has version {version} of the {form} format and this WavFlow reads "
            f"{VERSION}; update WavFlow."
        )
    if "architecture" not in file.metadata:
        raise CheckpointError(f"{file.path} does not say its architecture; get it again.")
    return json_field(file.metadata, "config", file.path)


def _require_kind(file: EncoderFile, wanted: str, shapes: Shapes) -> None:
    kinds = [kind for name, kind in KINDS.items() if name in shapes or PREFIX + name in shapes]
    if wanted not in kinds:
        what = f"is {kinds[0]}" if kinds else f"holds {_some(list(file.shapes))}"
        raise CheckpointError(f"{file.path} {what}; expected {wanted}. Give another file.")


def _require_tensors(file: EncoderFile, layers: Iterable[int]) -> None:
    """A tower is as deep as its file says; that many tensors must be there before it is built."""
    for count in layers:
        if count > len(file.shapes):
            raise CheckpointError(
                f"{file.path} says that it has {count} layers, and holds {len(file.shapes)} "
                "tensors; get it again."
            )


def _layer_counts(settings: Mapping[str, object]) -> Iterator[int]:
    """Depths in the settings of an open_clip model, one for each tower."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _layer_counts(value)
        elif name == "layers":
            counts = value if isinstance(value, list) else [value]
            yield from (item for item in counts if isinstance(item, int))


def _require_shapes(
    file: EncoderFile, given: Shapes, expected: Shapes, architecture: str, owned: set[str]
) -> None:
    missing = [name for name in expected if name not in given]
    if missing:
        raise CheckpointError(
            f"{file.path} lacks {len(missing)} of the {len(expected)} weights of {architecture}: "
            f"{_some(missing)}."
        )
    for name, shape in expected.items():
        if given[name] != shape:
            raise CheckpointError(
                f"{file.path} has {name} of shape {given[name]}, but it is {shape} in "
                f"{architecture}."
            )
    extra = sorted(owned - set(expected))
    if extra:
        raise CheckpointError(
            f"{file.path} has {len(extra)} weights that {architecture} has not: {_some(extra)}."
        )


def _infer(file: EncoderFile, shapes: Shapes) -> SynchformerConfig:
    """Sizes from shapes; heads, which leave no trace, are 64 wide as in the published tower."""
    try:
        hidden, _, tubelet, patch, _ = shapes["patch_embed_3d.proj.weight"]
        places = shapes["pos_embed"][1] - 1
        times = shapes["temp_embed"][1]
        inner = shapes["blocks.0.mlp.fc1.weight"][0]
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{file.path} is not a complete Synchformer video tower ({error!r})."
        ) from error
    if (tubelet, times) != (TUBELET, SEGMENT_TOKENS):
        raise CheckpointError(
            f"{file.path} reads {tubelet * times} frames as {times} tokens; WavFlow needs "
            f"{TUBELET * SEGMENT_TOKENS} as {SEGMENT_TOKENS}."
        )
    blocks = {name.split(".")[1] for name in shapes if name.startswith("blocks.")}
    with _blaming(file):
        return SynchformerConfig(
            hidden_dim=hidden,
            depth=len(blocks),
            num_heads=max(1, hidden // 64),
            image_size=math.isqrt(places) * patch,
            patch_size=patch,
            mlp_ratio=inner / hidden,
        )


@contextlib.contextmanager
def _blaming(file: EncoderFile) -> Iterator[None]:
    """A setting that comes from a file is the file's fault."""
    try:
        yield
    except ConfigError as error:
        raise CheckpointError(f"{file.path} is of no encoder that can be: {error}") from error


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "")
