"""From rows of a manifest to the frames that the encoders read, in processes beside them."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wavflow_core.errors import ConfigError, WavFlowError
from wavflow_core.media.video import FrameRequest, VideoClip, stream_frames

from .manifest import Row
from .probing import check_sound, open_picture

# More seldom help: an encoder takes about as long as this many decode.
MAX_WORKERS = 8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pictures:
    """Frames of one request.

    Attributes:
        distinct: Those that differ ``(M, 3, H, W)``, uint8.
        order: Which of them is each frame.
    """

    distinct: Tensor
    order: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Decoded:
    """A clip ready to be encoded.

    Attributes:
        row: What it is.
        pictures: Its frames for each request, or None where it has no video.
        reason: Why it cannot be encoded, or None.
    """

    row: Row
    pictures: tuple[Pictures, ...] | None = None
    reason: str | None = None

    def frames(self) -> Iterator[tuple[int, int, Tensor]]:
        """The frames as :func:`~wavflow_core.features.extractor.extract_features` takes them.

        A picture that stands still comes as the same tensor, as it does from the video itself.
        """
        for index, pictures in enumerate(self.pictures or ()):
            distinct = pictures.distinct.unbind()
            for n, which in enumerate(pictures.order):
                yield index, n, distinct[which]


class DecodedClips(Dataset[Decoded]):
    """Clips by their position; a clip that cannot be read says why instead of raising.

    Args:
        rows: Which clips.
        requests: Which frames the encoders need.
        check_audio: Whether the sound must be readable too.
    """

    def __init__(
        self, rows: Sequence[Row], requests: Sequence[FrameRequest], *, check_audio: bool
    ) -> None:
        self.rows, self.requests, self.check_audio = rows, requests, check_audio

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Decoded:
        row = self.rows[position]
        try:
            if self.check_audio:
                check_sound(row)
            video = open_picture(row)
            if video is None:
                return Decoded(row=row)
            return Decoded(row=row, pictures=read_pictures(video, self.requests))
        except (WavFlowError, OSError, RuntimeError) as error:
            return Decoded(row=row, reason=str(error))


def read_pictures(video: VideoClip, requests: Sequence[FrameRequest]) -> tuple[Pictures, ...]:
    """All frames of a video that the encoders need.

    Raises:
        MediaError: The video is damaged in the part that is needed.
    """
    distinct: list[list[Tensor]] = [[] for _ in requests]
    order: list[list[int]] = [[] for _ in requests]
    for index, _, frame in stream_frames(video, requests):
        if not distinct[index] or distinct[index][-1] is not frame:
            distinct[index].append(frame)
        order[index].append(len(distinct[index]) - 1)
    return tuple(
        Pictures(distinct=torch.stack(frames), order=tuple(numbers))
        for frames, numbers in zip(distinct, order, strict=True)
    )


def decode(
    clips: DecodedClips, *, workers: int, start_method: str | None = None
) -> Generator[Decoded, None, None]:
    """All clips in their order, decoded ahead of their use.

    Args:
        clips: What to decode.
        workers: Processes that decode; 0 decodes in this one.
        start_method: ``fork``, ``spawn`` or ``forkserver``; None is the system's.

    Raises:
        ConfigError: The number of workers is below 0.
        WavFlowError: A worker was killed.
    """
    if workers < 0:
        raise ConfigError(f"--workers is {workers}; give 0 or more.")
    if not len(clips):
        return _decoded((), (), 0)
    loader = DataLoader(
        clips,
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,  # pyright: ignore[reportArgumentType]
        worker_init_fn=_begin_worker,
        multiprocessing_context=start_method if workers else None,
    )
    return _decoded(loader, clips.rows, workers)


def _decoded(
    loader: Iterable[Decoded], rows: Sequence[Row], workers: int
) -> Generator[Decoded, None, None]:
    done = 0
    try:
        for decoded in loader:
            yield decoded
            done += 1
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        ahead = ", ".join(row.id for row in rows[done : done + 2 * workers + 1])
        raise WavFlowError(
            f"A process that decodes has died ({error}) while these were read: {ahead}. Memory or "
            "/dev/shm may be too small: give fewer --workers; or a file breaks the decoder: "
            "--workers 0 shows which."
        ) from error


def default_workers() -> int:
    """As many processes as each rank of this machine has cores for, at most 8."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MAX_WORKERS, (os.cpu_count() or 1) // ranks))


def _as_it_is(decoded: Decoded) -> Decoded:
    return decoded


def _begin_worker(_: int) -> None:
    """A worker leaves signals to the process that encodes, which ends it, and takes one core."""
    # Launchers send them to all; a worker that obeys would look like one that crashed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Frames go by the name of their memory. Open files would need a thread that hands them out,
    # complains where we stop before all are fetched, and counts against the limit of open files.
    torch.multiprocessing.set_sharing_strategy("file_system")
    torch.set_num_threads(1)
