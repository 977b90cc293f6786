"""What a training says: a line of JSON and, where installed, TensorBoard."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import torch
from torch import Tensor

from wavflow_core.media.files import atomic_path
from wavflow_core.media.waveform import AudioClip

try:
    import resource
except ImportError:  # Windows
    resource = None

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

LOG_NAME = "log.jsonl"
GIBIBYTE = 2**30


class RunLog:
    """Writes scalars of steps to ``log.jsonl``, and all there is to TensorBoard.

    Lines of steps after ``begin``, which a killed run wrote and a resumed one computes again, are
    taken away first, so that every step stands there once.

    Args:
        folder: Of the run.
        begin: Step at which the training goes on.
        tensorboard: Write event files too, if tensorboard is installed.
    """

    def __init__(self, folder: Path, *, begin: int, tensorboard: bool) -> None:
        path = folder / LOG_NAME
        _keep_until(path, begin)
        self._file: TextIO = path.open("a", encoding="utf-8")
        self._board = _board(folder, begin) if tensorboard else None

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One line of numbers after a step."""
        numbers = {k: v if math.isfinite(v) else str(v) for k, v in values.items()}
        self._line({"step": step, **numbers})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def event(self, step: int, kind: str, text: str) -> None:
        """One line of text after a step."""
        self._line({"step": step, "event": kind, "text": text})

    def _line(self, entry: dict[str, object]) -> None:
        try:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except OSError as error:  # no reason to lose the training
            logger.warning("A line of %s is lost: %s.", LOG_NAME, error.strerror)

    def sound(self, step: int, name: str, clip: AudioClip, image: Tensor) -> None:
        """A sample and its picture ``(H, W, 3)`` uint8, for TensorBoard alone."""
        if self._board is not None:
            peak = max(1.0, float(clip.waveform.abs().max()))
            self._board.add_audio(name, clip.waveform / peak, step, clip.sample_rate)
            self._board.add_image(name, image.numpy(), step, dataformats="HWC")

    def close(self) -> None:
        """Finish the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


class Throughput:
    """Clips per second since it was last asked, without what is done beside the training."""

    def __init__(self) -> None:
        self._clips, self._since = 0, time.perf_counter()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time that does not count."""
        begun = time.perf_counter()
        yield
        self._since += time.perf_counter() - begun

    def add(self, clips: int) -> None:
        """So many clips were trained on."""
        self._clips += clips

    def take(self) -> float:
        """Clips per second, and begin anew."""
        now = time.perf_counter()
        rate = self._clips / max(now - self._since, 1e-9)
        self._clips, self._since = 0, now
        return rate


def memory_gib(device: torch.device) -> float:
    """The most memory used so far, of the card or else of this process, in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIBIBYTE
    if resource is None:
        return math.nan
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / GIBIBYTE * (1 if sys.platform == "darwin" else 1024)


def read_log(path: Path) -> list[dict[str, object]]:
    """Lines of a log; a last line that a kill cut off is left out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries = []
    for line in lines:
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            logger.warning("%s has a line that is no JSON, which is left out.", path)
    return entries


def _keep_until(path: Path, step: int) -> None:
    entries = read_log(path)
    kept = [entry for entry in entries if int(str(entry.get("step", 0))) <= step]
    if path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text("".join(json.dumps(e) + "\n" for e in kept), encoding="utf-8")


def _board(folder: Path, begin: int) -> SummaryWriter | None:
    if importlib.util.find_spec("tensorboard") is None:
        logger.info("tensorboard is not installed; the log is in %s alone.", LOG_NAME)
        return None
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"), purge_step=begin + 1)
