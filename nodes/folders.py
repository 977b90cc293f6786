"""Where model files are: in the pack, ComfyUI's folders, those where users of others have them."""

from __future__ import annotations

from pathlib import Path

import folder_paths

from ..wavflow_core import weights
from ..wavflow_core.errors import CheckpointError
from ..wavflow_core.weights import KNOWN_FILES, KnownFile
from .convert import progress_bar

FOLDER = "wavflow"
ENCODER_FOLDERS = (FOLDER, "clip_vision", "mmaudio")
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
DOWNLOAD = "download "
BUNDLED = " (bundled)"


def register_folders() -> None:
    """Make ``models/wavflow`` known, beside folders of extra_model_paths.yaml, read earlier.

    ``models/mmaudio`` is added under its own name too, where its files may lie without the pack
    that they were fetched for.
    """
    for name in (FOLDER, "mmaudio"):
        folder_paths.add_model_folder_path(name, str(Path(folder_paths.models_dir) / name))
    paths, suffixes = folder_paths.folder_names_and_paths[FOLDER]
    # Extended and not replaced: a folder that a configuration file made has no suffixes yet.
    known = set(suffixes) | folder_paths.supported_pt_extensions
    folder_paths.folder_names_and_paths[FOLDER] = (paths, known)


def bundled_choice(kind: str) -> str:
    """How a bundled file is called among the choices, where it is always the first.

    Args:
        kind: ``model``, ``clip`` or ``synchformer``.
    """
    return Path(weights.BUNDLED[kind].filename).stem + BUNDLED


def checkpoint_choices() -> list[str]:
    """The bundled one, and files in the wavflow folders that are no encoders that we know."""
    encoders = {name for known in KNOWN_FILES for name in known.filenames}
    files = [name for name in _list(FOLDER) if Path(name).name not in encoders]
    return [bundled_choice("model"), *files]


def find_checkpoint(name: str) -> Path:
    """The file of a choice.

    Raises:
        CheckpointError: It is not there (any more).
    """
    if name == bundled_choice("model"):
        return weights.bundled_file("model")
    path = folder_paths.get_full_path(FOLDER, name)
    if path is None:
        raise CheckpointError(_missing(name, "a WavFlow checkpoint", (FOLDER,)))
    return Path(path)


def encoder_choices(kind: str) -> list[str]:
    """The bundled one, files that may hold one as ``folder/name``, and what could be downloaded.

    Args:
        kind: ``clip`` or ``synchformer``.
    """
    known = [item for item in KNOWN_FILES if item.kind == kind]
    names = {name for item in known for name in item.filenames}
    others = {name for item in KNOWN_FILES if item.kind != kind for name in item.filenames}
    folders = ENCODER_FOLDERS if kind == "clip" else (FOLDER, "mmaudio")
    files = [f"{folder}/{name}" for folder in folders for name in _list(folder)]
    files = [file for file in files if Path(file).name not in others]

    def likelihood(file: str) -> int:
        name = Path(file).name
        return 2 * (name not in names) + (kind[:4] not in name.lower())

    offers = [_offer(item) for item in known]
    return [bundled_choice(kind), *sorted(files, key=likelihood), *offers]


def find_encoder(choice: str, kind: str) -> Path:
    """The file of a choice; one of the downloads is fetched if it is not there yet.

    Raises:
        CheckpointError: It is not there (any more), or cannot be fetched.
    """
    if choice == bundled_choice(kind):
        return weights.bundled_file(kind)
    for known in KNOWN_FILES:
        if known.kind == kind and choice == _offer(known):
            there = _downloaded(known)
            folder = Path(folder_paths.get_folder_paths(FOLDER)[0])
            return there or weights.download(known, folder, progress=progress_bar())
    folder, _, name = choice.partition("/")
    path = folder_paths.get_full_path(folder, name) if folder in ENCODER_FOLDERS else None
    if path is None:
        what = "CLIP weights" if kind == "clip" else "Synchformer weights"
        folders = ENCODER_FOLDERS if kind == "clip" else (FOLDER, "mmaudio")
        raise CheckpointError(_missing(choice, what, folders, ", one of the downloads"))
    return Path(path)


def encoder_file(choice: str, kind: str) -> Path | None:
    """The file of a choice if it is there; None for a download that has not happened yet.

    Raises:
        CheckpointError: The choice is no download and not there.
    """
    for known in KNOWN_FILES:
        if known.kind == kind and choice == _offer(known):
            return _downloaded(known)
    return find_encoder(choice, kind)


def version_of(path: Path | None) -> str:
    """What changes when a file is replaced by another."""
    if path is None or not path.is_file():
        return "missing"
    facts = path.stat()
    return f"{path} {facts.st_mtime_ns} {facts.st_size}"


def _downloaded(known: KnownFile) -> Path | None:
    """A known file that is there already, in any of the folders."""
    for folder in ENCODER_FOLDERS:
        path = folder_paths.get_full_path(folder, known.filenames[0])
        if path is not None:
            return Path(path)
    return None


def _offer(known: KnownFile) -> str:
    size = f" ({known.size / 1e9:.2g} GB)" if known.size else ""
    return f"{DOWNLOAD}{known.name}{size}"


def _list(folder: str) -> list[str]:
    if folder not in folder_paths.folder_names_and_paths:
        return []
    names = folder_paths.get_filename_list(folder)
    return [name for name in names if name.lower().endswith(SUFFIXES)]


def _missing(name: str, what: str, folders: tuple[str, ...], other: str = "") -> str:
    places = " or ".join(f"models/{folder}" for folder in folders)
    return (
        f"The file {name!r} is not there; put {what} into {places}, press R, and choose it{other}, "
        "or the bundled one."
    )
