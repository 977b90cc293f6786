"""Clips as the training sees them: a window of sound and features, with noise and time drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

from wavflow_core.batch import Failure
from wavflow_core.conditions import FeatureBatch
from wavflow_core.errors import WavFlowError
from wavflow_core.features.store import Features
from wavflow_core.model.patchify import to_tokens

from .clips import ClipReader, cut_window, stacked
from .config import TrainConfig
from .draws import clip_at, draw
from .manifest import Row

# So many clips in a row may be unreadable before a batch gives up.
ATTEMPTS = 16
GIGABYTE = 1e9


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
        """The clip at a position, or where it cannot be read the next of its epoch that can.

        Not that of the next row: what is damaged together lies together.
        """
        count, seed = len(self.rows), self.config.execution.seed
        epoch, place = divmod(position, count)
        failures = []
        for attempt in range(min(ATTEMPTS, count)):
            other = epoch * count + (place + attempt) % count
            index = clip_at(other, seed=seed, count=count)
            try:
                return self.at(index, position, failures=tuple(failures))
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

    def at(self, index: int, position: int, *, failures: tuple[Failure, ...] = ()) -> TrainBatch:
        """A clip by its number, with what is drawn at a position.

        Raises:
            WavFlowError: Its files cannot be read or do not fit.
        """
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


def readable(clips: Clips, count: int) -> tuple[Clips, list[Failure]]:
    """The first clips that can be read, at most so many, and what is wrong with the others."""
    good: list[Row] = []
    failures: list[Failure] = []
    for index, row in enumerate(clips.rows):
        if len(good) == count:
            break
        try:
            clips.at(index, index)
        except (WavFlowError, OSError) as error:
            failures.append(Failure(name=row.id, reason=str(error)))
        else:
            good.append(row)
    chosen = Clips(good, clips.config)
    chosen.reader = clips.reader  # which holds the sounds
    return chosen, failures
