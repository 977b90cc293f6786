"""Files of named tensors: safetensors, and pickles read without running code."""

from __future__ import annotations

import json
import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import CheckpointError
from .media.files import atomic_path, is_file

PICKLE_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
# What a stored name becomes in the result; None leaves the tensor out, unread.
Rename = Callable[[str], str | None]


def check_file(path: str | os.PathLike[str]) -> Path:
    """The path, if it is a file of a suffix that can hold tensors.

    Raises:
        CheckpointError: There is no such file, or it has another suffix.
    """
    path = Path(path)
    allowed = (".safetensors", *PICKLE_SUFFIXES)
    if not is_file(path):
        raise CheckpointError(f"There is no file {str(path)!r}; check the path.")
    if path.suffix.lower() not in allowed:
        raise CheckpointError(
            f"{str(path)!r} is not a weights file; give a file ending in {', '.join(allowed)}."
        )
    return path


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file; empty for a pickle.

    Raises:
        CheckpointError: The file is damaged.
    """
    if path.suffix.lower() != ".safetensors":
        return {}
    with _opened(path) as file:
        return file.metadata() or {}


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a safetensors file, without reading a tensor."""
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def read_safetensors(
    path: Path, *, rename: Rename = str, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Tensors of a safetensors file, mapped from disk where their type stays.

    Args:
        path: The file.
        rename: New name of each tensor, or None to leave it out.
        dtype: Type to convert floating-point tensors to.

    Raises:
        CheckpointError: The file is damaged.
    """
    with _opened(path) as file:
        names = {name: rename(name) for name in file.keys()}  # noqa: SIM118
        if dtype is None:
            return {new: file.get_tensor(old) for old, new in names.items() if new is not None}
    tensors = {}
    for old, new in names.items():
        if new is not None:
            # Mapped pages count as ours until the file closes; so the copy is not held twice.
            with _opened(path) as file:
                tensors[new] = convert(file.get_tensor(old), dtype)
    return tensors


def convert(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Change the type of floating-point tensors; whole numbers stay."""
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def read_pickle(path: Path) -> Mapping[str, object]:
    """The dictionary in a ``torch.save`` file; nothing in it is run.

    Raises:
        CheckpointError: The file is damaged, holds code, or is no dictionary.
    """
    options = {"map_location": "cpu", "weights_only": True}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol; our errors say more
            try:
                content = torch.load(path, mmap=True, **options)
            except RuntimeError:  # files from before the zip format cannot be mapped
                content = torch.load(path, **options)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{str(path)!r} is not read: it is damaged, or holds more than tensors and plain values"
            " and could run code. Export it again as plain tensors or as safetensors."
        ) from error
    except Exception as error:  # damaged bytes break an unpickler in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{str(path)!r} is not a file of tensors ({reason}); fetch or export it again."
        ) from error
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise CheckpointError(
            f"{str(path)!r} holds a {type(content).__name__} without names; expected named tensors."
        )
    return content


def write_safetensors(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: str | os.PathLike[str]
) -> None:
    """Write tensors and metadata under a temporary name, then put the file in its place.

    Raises:
        MediaError: The folder is missing or cannot be written.
        CheckpointError: The disk is full or fails.
    """
    plain, seen = {}, set()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        storage = value.untyped_storage().data_ptr()
        plain[name] = value.clone() if storage in seen else value  # the format shares no memory
        seen.add(storage)
    with atomic_path(path) as temporary:
        try:
            save_file(plain, temporary, metadata=dict(metadata))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"Cannot write {os.fspath(path)!r}: {error}.") from error


def json_field(metadata: Mapping[str, str], name: str, path: Path) -> dict[str, object]:
    """A JSON object from a file's metadata.

    Raises:
        CheckpointError: It is missing or no JSON object.
    """
    try:
        value = json.loads(metadata.get(name, ""))
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise CheckpointError(f"{str(path)!r} has no readable {name!r} in its metadata.")
    return value


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{str(path)!r} is not a whole safetensors file ({error}); fetch or export it again."
        ) from error
