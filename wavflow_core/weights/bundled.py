"""The small model that comes with the repository: which files it is, and where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..config import EncoderConfig
from ..errors import CheckpointError
from ..media.files import file_hash, is_file
from ..tensor_files import read_metadata

# Beside the core in a clone of the repository; an installed package comes without it.
ASSETS = Path(__file__).parents[2] / "assets"
ABOUT = "18 kinds of sounds, FoleyWorld"


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledFile:
    """A file that comes with the repository.

    Attributes:
        filename: Its name in ``assets``.
        what: How to call it in a message.
        size: Bytes, once it is published.
        sha256: Hash, likewise.
    """

    filename: str
    what: str
    size: int | None = None
    sha256: str | None = None


# By kind; the first three together make sound, the last is something to make it for.
BUNDLED: Mapping[str, BundledFile] = {
    "model": BundledFile(
        filename="wavflow_foley_16k.safetensors",
        what="model",
        size=15471832,
        sha256="1b4420cf88684b8650a6b8e9a078da8e789d9ebedd1b6960a8469cf611b38d5b",
    ),
    "clip": BundledFile(
        filename="clip_foley.safetensors",
        what="CLIP",
        size=12483232,
        sha256="385b5ce8e9844960f310069c4266394e8f312a8ba76e4bf364dacc0eefe0cb3e",
    ),
    "synchformer": BundledFile(
        filename="synchformer_foley.safetensors",
        what="Synchformer",
        size=2391864,
        sha256="06354b85edae81facff7352754aa232b59c55f7c35cf4cbf4f6d55b3b047884b",
    ),
    "video": BundledFile(
        filename="demo_clip.mp4",
        what="video",
        size=84675,
        sha256="6b6de7b08964c552b5dd5677beda4a63ca42c3b768a99cdd8911791842f2dc1f",
    ),
}
WEIGHTS = ("model", "clip", "synchformer")


def bundled_file(kind: str) -> Path:
    """Where a bundled file is.

    Args:
        kind: ``model``, ``clip``, ``synchformer`` or ``video``.

    Raises:
        CheckpointError: It is not there; the message says why that may be and what to do.
    """
    path = ASSETS / BUNDLED[kind].filename
    if not is_file(path):
        what = BUNDLED[kind].what
        raise CheckpointError(
            f"The bundled {what} is not here: there is no {str(path)!r}. It comes with a clone of "
            f"the repository, not with an installed package; take it from there, or give a {what} "
            "of your own."
        )
    return path


def bundled_encoder(kind: str, expected: EncoderConfig) -> Path | None:
    """The bundled encoder, where it has exactly the weights that a checkpoint names.

    Args:
        kind: ``clip`` or ``synchformer``.
        expected: What the checkpoint says about the encoder that it was trained with.

    Returns:
        Its file; None if the checkpoint names other weights or none, or the file is not there.
    """
    path = ASSETS / BUNDLED[kind].filename
    if expected.fingerprint is None or not is_file(path):
        return None
    metadata = read_metadata(path)
    names = metadata.get("architecture"), metadata.get("fingerprint")
    return path if names == (expected.architecture, expected.fingerprint) else None


def is_as_published(kind: str) -> bool | None:
    """Whether a bundled file is what was published under its name; None if nothing is known.

    Raises:
        CheckpointError: It is not there.
    """
    path, known = bundled_file(kind), BUNDLED[kind]
    if known.sha256 is None:
        return None
    if known.size is not None and path.stat().st_size != known.size:
        return False
    return file_hash(path) == known.sha256
