"""Features of many clips in few files: how a shard is written, and how any features are read.

A shard is a safetensors file with the tensors ``{id}/clip``, ``{id}/sync`` and ``{id}/text`` of
some hundreds of clips. Its metadata say who made them, for which rows of the manifest, and which
rows failed and why.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from wavflow_core.batch import Failure
from wavflow_core.config import EncoderConfig
from wavflow_core.errors import ConfigError, FeatureError, WavFlowError
from wavflow_core.features.store import FORMAT as SINGLE_FORMAT
from wavflow_core.features.store import Features, check_duration, load_features
from wavflow_core.media.files import is_file
from wavflow_core.strict import from_dict
from wavflow_core.tensor_files import PICKLE_SUFFIXES, read_pickle, write_safetensors

from .manifest import Row

# The name of the one entry of a shard's metadata. One, because safetensors writes several in an
# order that differs from run to run, and equal shards shall be equal files.
FORMAT = "wavflow.feature_shard"
VERSION = 1
TENSORS = ("clip", "sync", "text")
STORAGE = {"bf16": torch.bfloat16, "fp32": torch.float32}
# Names in the published system's file of one sample.
REFERENCE_NAMES = {"clip_features": "clip", "sync_features": "sync", "text_features": "text"}
# Mapped files cost no memory of their own, but a process may not open any number.
MAX_OPEN = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What all features of a store have in common.

    Attributes:
        duration: Seconds that they stand for.
        storage: Type they are stored in, a key of :data:`STORAGE`.
        clip_encoder: Which CLIP made them; None where none was needed yet.
        sync_encoder: Which Synchformer made them, likewise.

    Raises:
        FeatureError: The duration is out of range.
        ConfigError: The type is unknown.
    """

    duration: float
    storage: str
    clip_encoder: EncoderConfig | None = None
    sync_encoder: EncoderConfig | None = None

    def __post_init__(self) -> None:
        check_duration(self.duration)
        if self.storage not in STORAGE:
            raise ConfigError(f"storage is {self.storage!r}; allowed: {', '.join(STORAGE)}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardInfo:
    """What a shard says about itself.

    Attributes:
        settings: Who made its features.
        rows: The clips it holds, without ``features``.
        failures: The clips it was to hold.
    """

    settings: Settings
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]


class ShardWriter:
    """Collects the features of a shard, and writes them; the same content gives the same bytes.

    Args:
        settings: Who made the features.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._tensors: dict[str, Tensor] = {}
        self._rows: list[Row] = []
        self._failures: list[Failure] = []

    def add(self, row: Row, features: Features) -> None:
        """Put in a clip."""
        dtype = STORAGE[self.settings.storage]
        for name in TENSORS:
            value = getattr(features, name)
            if value is not None:
                self._tensors[f"{row.id}/{name}"] = value.to(dtype)
        self._rows.append(row)

    def fail(self, failure: Failure) -> None:
        """Note that a clip could not be put in."""
        self._failures.append(failure)

    def write(self, path: Path) -> None:
        """Write the shard, whole or not at all.

        Raises:
            MediaError: The folder is missing or cannot be written.
            CheckpointError: The disk is full or fails.
        """
        content = {
            "version": VERSION,
            "settings": dataclasses.asdict(self.settings),
            "rows": [_to_json(row) for row in self._rows],
            "failures": [[failure.name, failure.reason] for failure in self._failures],
        }
        write_safetensors(self._tensors, {FORMAT: json.dumps(content)}, path)


def read_shard_info(path: Path) -> ShardInfo:
    """What a shard says about itself, without reading its features.

    Raises:
        FeatureError: The file is missing, damaged, or no shard of this version.
    """
    return _info(_open(path).metadata() or {}, path)


class FeatureReader:
    """Reads features by file and id, from shards, files of one sample and the published ``.pth``.

    Shards stay mapped, the ones used last; each process maps them for itself.

    Args:
        duration: Seconds that features stand for where their file does not say.

    Raises:
        FeatureError: The duration is out of range.
    """

    def __init__(self, *, duration: float) -> None:
        check_duration(duration)
        self.duration = float(duration)
        self._open: OrderedDict[Path, _Shard] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, float]:
        return {"duration": self.duration}

    def __setstate__(self, state: Mapping[str, float]) -> None:
        self.__init__(duration=state["duration"])

    def read(self, path: Path, id: str) -> Features:
        """Features of a clip in fp32.

        The encoders named are those of the whole shard, also where the clip has no picture.

        Args:
            path: The file.
            id: Name of the clip in the file; not looked at where the file holds one sample.

        Raises:
            FeatureError: The file is missing, damaged, of another kind, or does not hold the clip.
        """
        try:
            return self._read(Path(path), id)
        except WavFlowError as error:
            raise FeatureError(f"Features of {id!r} in {str(path)!r}: {error}") from error

    def _read(self, path: Path, id: str) -> Features:
        if self._process != os.getpid():  # forked: the parent's files are the parent's
            self._open, self._process = OrderedDict(), os.getpid()
        shard = self._open.get(path)
        if shard is not None:
            self._open.move_to_end(path)
            return shard.read(id)
        if not is_file(path):
            raise FeatureError("there is no such file; check the path, or extract again.")
        suffix = path.suffix.lower()
        if suffix in PICKLE_SUFFIXES:
            return _read_reference(path, self.duration)
        if suffix != ".safetensors":
            allowed = ", ".join((".safetensors", *PICKLE_SUFFIXES))
            raise FeatureError(f"its suffix is {suffix!r}; files of features have {allowed}.")
        file = _open(path)
        metadata = file.metadata() or {}
        if metadata.get("format") == SINGLE_FORMAT:
            return load_features(path)
        self._open[path] = shard = _Shard(file, _info(metadata, path))
        if len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)
        return shard.read(id)


@dataclass
class _Shard:
    """An open shard."""

    file: safetensors.safe_open
    info: ShardInfo
    keys: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.keys = frozenset(self.file.keys())

    def read(self, id: str) -> Features:
        stored = [name for name in TENSORS if f"{id}/{name}" in self.keys]
        if not stored:
            reasons = {failure.name: failure.reason for failure in self.info.failures}
            why = f" It failed: {reasons[id]}" if id in reasons else ""
            raise FeatureError(f"the shard does not hold this clip; extract it again.{why}")
        settings = self.info.settings
        try:
            tensors = {name: self.file.get_tensor(f"{id}/{name}") for name in stored}
        except (OSError, safetensors.SafetensorError) as error:
            raise FeatureError(f"it is damaged ({error}); delete it and extract again.") from error
        return Features(
            # Copies, because the file's pages must not be kept or written to.
            **{name: value.to(torch.float32, copy=True) for name, value in tensors.items()},
            duration=settings.duration,
            clip_encoder=settings.clip_encoder,
            sync_encoder=settings.sync_encoder,
        )


def _open(path: Path) -> safetensors.safe_open:
    try:
        return safetensors.safe_open(path, framework="pt")
    except (OSError, safetensors.SafetensorError) as error:
        raise FeatureError(
            f"{str(path)!r} is not a whole safetensors file ({error}); delete it and extract again."
        ) from error


def _info(metadata: Mapping[str, str], path: Path) -> ShardInfo:
    if FORMAT not in metadata:
        raise FeatureError(
            f"{str(path)!r} holds no WavFlow features; make them with "
            "`python -m training.extract_features`."
        )
    try:
        content = json.loads(metadata[FORMAT])
        version = content["version"]
        if version == VERSION:
            return ShardInfo(
                settings=from_dict(Settings, content["settings"]),
                rows=tuple(_from_json(item) for item in content["rows"]),
                failures=tuple(Failure(name=name, reason=why) for name, why in content["failures"]),
            )
    except (KeyError, TypeError, ValueError) as error:
        raise FeatureError(
            f"{str(path)!r} has damaged metadata ({error!r}); delete it and extract again."
        ) from error
    raise FeatureError(
        f"{str(path)!r} has version {version!r} and this WavFlow reads {VERSION}; "
        "extract the features again or update WavFlow."
    )


def _to_json(row: Row) -> dict[str, object]:
    """A row without its features; paths are absolute, because a shard knows no folder."""
    data = dataclasses.asdict(dataclasses.replace(row, features=None))
    for name in ("video", "audio"):
        data[name] = str(data[name].resolve()) if data[name] is not None else None
    del data["features"]
    return data


def _from_json(data: Mapping[str, object]) -> Row:
    paths = {name: Path(str(data[name])) if data[name] else None for name in ("video", "audio")}
    return Row(**{**data, **paths})  # pyright: ignore[reportArgumentType]


def _read_reference(path: Path, duration: float) -> Features:
    """The published system's file of one sample."""
    content = read_pickle(path)
    tensors: dict[str, Tensor] = {}
    for theirs, ours in REFERENCE_NAMES.items():
        value = content.get(theirs)
        if value is None:
            continue
        if not isinstance(value, Tensor):
            raise FeatureError(f"{theirs} is a {type(value).__name__}; it must be a tensor.")
        tensors[ours] = value.to(torch.float32, copy=True)  # not the file's own pages
    if not tensors:
        held = ", ".join(content) or "nothing"
        raise FeatureError(f"it holds {held}; it must hold any of {', '.join(REFERENCE_NAMES)}.")
    clip, sync, text = (tensors.get(name) for name in TENSORS)
    return Features(clip=clip, sync=sync, text=text, duration=duration)
