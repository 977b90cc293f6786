"""Batches for the training: clips in an order that a restart continues, noise and times drawn."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from wavflow_core.batch import Failure
from wavflow_core.conditions import FeatureBatch
from wavflow_core.errors import ConfigError, FeatureError, WavFlowError
from wavflow_core.features.store import Features
from wavflow_core.media.files import is_file
from wavflow_core.model.patchify import to_tokens

from .clips import ClipReader, cut_window, stacked
from .config import TrainConfig
from .distributed import World
from .draws import clip_at, draw
from .failures import Failures
from .manifest import Row, read_manifest

logger = logging.getLogger(__name__)

MANIFEST_NAME = "manifest.csv"
# So many clips in a row may be unreadable before a batch gives up.
ATTEMPTS = 16
GIGABYTE = 1e9
LINGER_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainBatch:
    """Clips with all that the loss needs.

    Attributes:
        ids: Names of the clips.
        x_1: Data ``(B, N, P)``.
        x_0: Unit noise ``(B, N, P)``.
        t: Shifted times ``(B,)``.
        features: What is shown of them.
        failures: Clips that were to come and could not be read.
    """

    ids: tuple[str, ...]
    x_1: Tensor
    x_0: Tensor
    t: Tensor
    features: FeatureBatch
    failures: tuple[Failure, ...] = ()

    def to(self, device: torch.device) -> TrainBatch:
        """A copy on a device; the copying goes on beside what follows."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> TrainBatch:
        """A copy that a card can fetch by itself; called by the DataLoader."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> TrainBatch:
        names = [item.name for item in fields(FeatureBatch)]
        features = FeatureBatch(**{name: change(getattr(self.features, name)) for name in names})
        x_1, x_0, t = (change(tensor) for tensor in (self.x_1, self.x_0, self.t))
        return replace(self, x_1=x_1, x_0=x_0, t=t, features=features)


def read_rows(sources: Sequence[str], *, max_failures: float) -> tuple[list[Row], Failures]:
    """Clips of manifests, or of folders that the extraction made, which have sound and features.

    Raises:
        WavFlowError: A manifest cannot be read, too many of its clips cannot be used, or none can.
    """
    rows: list[Row] = []
    failed: list[Failure] = []
    seen: set[str] = set()
    files: dict[Path, bool] = {}
    for source in map(Path, sources):
        path = source / MANIFEST_NAME if source.is_dir() else source
        found, broken = read_manifest(path)
        failed += broken
        for row in found:
            reason = _fault(row, seen, files)
            seen.add(row.id)
            if reason is None:
                rows.append(row)
            else:
                failed.append(Failure(name=row.id, reason=reason))
    failures = Failures(len(rows) + len(failed), share=max_failures)
    for failure in failed:
        failures.add(failure)
    if not rows:
        raise ConfigError(
            f"data.train is {list(sources)!r}, in which no clip can be used; give manifests, or "
            "folders that `python -m training.extract_features` made."
        )
    return rows, failures


def _fault(row: Row, seen: set[str], files: dict[Path, bool]) -> str | None:
    """Why a clip cannot be trained on, as far as can be told without opening its files."""
    if row.id in seen:
        return "another manifest has a clip of the same id."
    if row.features is None:
        return "there are no features of it; extract them first."
    if row.features not in files:
        files[row.features] = is_file(row.features)
    if not files[row.features]:
        return f"its features {str(row.features)!r} do not exist; extract them again."
    if row.audio is None and row.video is None:
        return "there is no sound of it."
    return None


class Clips(Dataset[TrainBatch]):
    """Clips by their position in the endless run of epochs, each a batch of one.

    Args:
        rows: The data.
        config: The run.
    """

    def __init__(self, rows: Sequence[Row], config: TrainConfig) -> None:
        self.rows = rows[: config.data.overfit] if config.data.overfit else rows
        self.config = config
        self.lengths = config.wavflow.lengths(config.audio.window)
        share = config.data.cache_gb / max(1, config.data.workers)
        self.reader = ClipReader(config.wavflow, cache_bytes=share * GIGABYTE)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> TrainBatch:
        """The clip at a position, or where it cannot be read the next one that can."""
        count, seed = len(self.rows), self.config.execution.seed
        clip = clip_at(position, seed=seed, count=count)
        failures = []
        for attempt in range(min(ATTEMPTS, count)):
            index = (clip + attempt) % count
            try:
                return self._batch(position, index, tuple(failures))
            except (WavFlowError, OSError) as error:
                failures.append(Failure(name=self.rows[index].id, reason=str(error)))
        named = "; ".join(f"{failure.name}: {failure.reason}" for failure in failures[-3:])
        raise WavFlowError(f"{len(failures)} clips in a row cannot be read. {named}")

    def example(self, index: int, *, crop: float = 0.0) -> tuple[Features, Tensor]:
        """Features and tokens ``(N, P)`` of a window of a clip.

        Raises:
            WavFlowError: Its files cannot be read or do not fit.
        """
        row, audio = self.rows[index], self.config.audio
        sound = self.reader.sound(row)
        features, start = cut_window(
            self.reader.features(row),
            self.lengths,
            seconds=sound.shape[1] / audio.sample_rate,
            window=audio.window,
            crop=crop,
        )
        tokens = to_tokens(
            sound,
            audio,
            num_tokens=self.lengths.tokens,
            patch_size=self.config.model.patch_size,
            start=round(start * audio.sample_rate),
        )
        return features, tokens

    def _batch(self, position: int, index: int, failures: tuple[Failure, ...]) -> TrainBatch:
        drawn = draw(
            position,
            index,
            seed=self.config.execution.seed,
            data=self.config.data,
            path=self.config.flow,
            num_tokens=self.lengths.tokens,
            patch_size=self.config.model.patch_size,
        )
        features, tokens = self.example(index, crop=drawn.crop)
        clip, sync, text = stacked(features, self.config.wavflow, self.lengths)
        keep_video, keep_text = drawn.keep_video, drawn.keep_text
        shown = FeatureBatch(
            clip=clip[None],
            sync=sync[None],
            text=text[None],
            has_clip=torch.tensor([features.clip is not None and keep_video]),
            has_sync=torch.tensor([features.sync is not None and keep_video]),
            has_text=torch.tensor([features.text is not None and keep_text]),
        )
        return TrainBatch(
            ids=(self.rows[index].id,),
            x_1=tokens[None],
            x_0=drawn.noise[None],
            t=drawn.time[None],
            features=shown,
            failures=failures,
        )


def collate(batches: Sequence[TrainBatch]) -> TrainBatch:
    """Several batches as one."""

    def joined(items: Sequence[TrainBatch | FeatureBatch], name: str) -> Tensor:
        return torch.cat([getattr(item, name) for item in items])

    features = [batch.features for batch in batches]
    return TrainBatch(
        ids=tuple(name for batch in batches for name in batch.ids),
        x_1=joined(batches, "x_1"),
        x_0=joined(batches, "x_0"),
        t=joined(batches, "t"),
        features=FeatureBatch(
            **{item.name: joined(features, item.name) for item in fields(FeatureBatch)}
        ),
        failures=tuple(failure for batch in batches for failure in batch.failures),
    )


class Positions(Sampler[list[int]]):
    """Positions of this process's micro-batches, from a step on without end.

    Step s takes the positions s · B to (s + 1) · B - 1, whatever the number of processes; each
    process has one piece of them.
    """

    def __init__(self, config: TrainConfig, world: World, *, first_step: int = 0) -> None:
        self.batch_size = config.optim.batch_size
        self.share = per_process(config, world)
        self.micro = config.optim.micro_batch or self.share
        self.rank, self.first_step = world.rank, first_step

    def __iter__(self) -> Iterator[list[int]]:
        start = self.first_step * self.batch_size + self.rank * self.share
        while True:
            for first in range(start, start + self.share, self.micro):
                yield list(range(first, min(first + self.micro, start + self.share)))
            start += self.batch_size


def per_process(config: TrainConfig, world: World) -> int:
    """Clips of a step that one process computes.

    Raises:
        ConfigError: The batch cannot be dealt out evenly.
    """
    share, rest = divmod(config.optim.batch_size, world.size)
    if rest or share == 0:
        raise ConfigError(
            f"optim.batch_size is {config.optim.batch_size}, which {world.size} processes cannot "
            f"share evenly; give a multiple of {world.size}."
        )
    return share


def make_loader(clips: Clips, world: World, *, first_step: int) -> DataLoader[TrainBatch]:
    """Batches of this process from a step on, read beside the training; without end."""
    workers = clips.config.data.workers
    return DataLoader(
        clips,
        batch_sampler=Positions(clips.config, world, first_step=first_step),
        collate_fn=collate,
        num_workers=workers,
        pin_memory=world.device.type == "cuda",
        persistent_workers=workers > 0,
        worker_init_fn=_quiet_worker,
    )


def _quiet_worker(_: int) -> None:
    """A worker leaves stopping to the training, and computes with one thread.

    A signal to the whole group reaches it too; it lives on for as long as a step may take, so that
    the training can end that and save.
    """

    def linger(_number: int, _frame: FrameType | None) -> None:
        timer = threading.Timer(LINGER_SECONDS, os._exit, (1,))
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, linger)
    torch.set_num_threads(1)


def adopt_encoders(config: TrainConfig, clips: Clips) -> TrainConfig:
    """Name the encoders of the features in the configuration, weights and all.

    Raises:
        FeatureError: No clip can be read.
    """
    reason = ""
    for row in clips.rows[:ATTEMPTS]:
        try:
            features = clips.reader.features(row)
        except (WavFlowError, OSError) as error:
            reason = f"{row.id}: {error}"
            continue
        return replace(
            config,
            clip=features.clip_encoder or config.clip,
            sync=features.sync_encoder or config.sync,
        )
    raise FeatureError(f"The features of the first clips cannot be used. {reason}")
