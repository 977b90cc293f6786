"""Sound in memory, and what is done to it that needs no file."""

from __future__ import annotations

import functools
import itertools
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import av.filter
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.error import BlockingIOError as FFmpegBlockingIOError
from av.error import EOFError as FFmpegEOFError
from av.filter.context import FilterContext
from torch import Tensor

from ..errors import MediaError

logger = logging.getLogger(__name__)

# Longer and smoother than libswresample's default: errors of a sine at -119 dB instead of -48 dB.
SWR_OPTIONS = {
    "filter_size": "128",
    "cutoff": "0.97",
    "filter_type": "kaiser",
    "kaiser_beta": "12",
    "exact_rational": "1",
}
FILTER_BLOCK = 65536
LAYOUTS = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AudioClip:
    """A waveform and its rate.

    Attributes:
        waveform: (C, T) float32, full scale at 1; may be louder until it is written.
        sample_rate: Hz.
    """

    waveform: Tensor
    sample_rate: int

    def __post_init__(self) -> None:
        shape, dtype = tuple(self.waveform.shape), self.waveform.dtype
        if self.waveform.ndim != 2 or 0 in shape:
            raise MediaError(
                f"The waveform has shape {shape}; it must be (channels, samples), both above 0."
            )
        if dtype != torch.float32:
            raise MediaError(f"The waveform is {dtype}; it must be torch.float32.")
        if not bool(torch.isfinite(self.waveform).all()):
            raise MediaError("The waveform holds NaN or infinite values; it cannot be used.")
        if self.sample_rate < 1:
            raise MediaError(f"sample_rate is {self.sample_rate!r}; it must be above 0.")

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.waveform.shape[1] / self.sample_rate


def resample(waveform: Tensor, orig_rate: int, new_rate: int) -> Tensor:
    """Change the sample rate by ``torchaudio.functional.resample``, as the reference does.

    Where torchaudio does not import, libswresample does it, which is said once in the log: the
    same length, and a sine below 0.4 of the lower rate the same to -80 dB.

    Args:
        waveform: (..., T) float32.
        orig_rate: Hz it has.
        new_rate: Hz to give it.

    Returns:
        (..., ceil(T * new_rate / orig_rate)) float32; the waveform itself if the rates are equal.

    Raises:
        MediaError: A rate is not above 0.
    """
    for name, rate in (("orig_rate", orig_rate), ("new_rate", new_rate)):
        if rate < 1:
            raise MediaError(f"{name} is {rate!r}; it must be above 0 Hz.")
    if orig_rate == new_rate:
        return waveform
    function = _torchaudio_resample()
    if function is not None:
        return function(waveform, orig_rate, new_rate)
    rows = waveform.reshape(-1, waveform.shape[-1]).cpu().numpy()
    made = np.stack([_swr_resample(row, orig_rate, new_rate) for row in rows])
    return torch.from_numpy(made).reshape(*waveform.shape[:-1], -1).to(waveform.device)


def edge_fades(clip: AudioClip, *, seconds: float = 0.005) -> AudioClip:
    """Fade in and out by a raised cosine, so that cuts do not click.

    Args:
        clip: Sound of any length; fades of short ones are shortened to half of it.
        seconds: Length of each fade, 0 or more.

    Raises:
        MediaError: ``seconds`` is negative or not a number.
    """
    if not (math.isfinite(seconds) and seconds >= 0):
        raise MediaError(f"seconds is {seconds!r}; it must be 0 or more.")
    samples = min(round(seconds * clip.sample_rate), clip.waveform.shape[1] // 2)
    if samples == 0:
        return clip
    phase = (torch.arange(samples, dtype=torch.float64) + 0.5) / samples
    ramp = (0.5 - 0.5 * torch.cos(torch.pi * phase)).to(clip.waveform)
    waveform = clip.waveform.clone()
    waveform[:, :samples] *= ramp
    waveform[:, -samples:] *= ramp.flip(0)
    return replace(clip, waveform=waveform)


def remove_dc(clip: AudioClip) -> AudioClip:
    """Take each channel's mean away."""
    mean = clip.waveform.mean(dim=1, keepdim=True, dtype=torch.float64)
    return replace(clip, waveform=clip.waveform - mean.to(clip.waveform.dtype))


@functools.cache
def _torchaudio_resample() -> Callable[[Tensor, int, int], Tensor] | None:
    """The reference's resampler, or None beside a torch for which torchaudio was not built."""
    try:
        from torchaudio.functional import resample as function
    except (ImportError, RuntimeError, OSError) as error:
        logger.warning(
            "torchaudio does not import (%s); resampling by libswresample instead.", error
        )
        return None
    return function


def _swr_resample(samples: np.ndarray, orig_rate: int, new_rate: int) -> np.ndarray:
    """One channel (T,) through libswresample, which sets its own delay off."""
    length = math.ceil(Fraction(samples.shape[0] * new_rate, orig_rate))
    graph = av.filter.Graph()
    change = graph.add("aresample", sample_rate=str(new_rate), **SWR_OPTIONS)
    parts = [frame[0] for frame in run_filters(graph, [change], samples[None], orig_rate)]
    made = np.concatenate([np.zeros(0, np.float32), *parts])[:length]
    return np.pad(made, (0, length - made.shape[0]))


def run_filters(
    graph: av.filter.Graph, filters: list[FilterContext], waveform: np.ndarray, rate: int
) -> Iterator[np.ndarray]:
    """Send a waveform (C, T) float32 through a chain of filters, block by block.

    Yields:
        What the chain makes, (C, any number of samples) float32.
    """
    layout = layout_name(waveform.shape[0])
    source = graph.add_abuffer(
        sample_rate=rate, format="fltp", layout=layout, time_base=Fraction(1, rate)
    )
    chain = [source, *filters, graph.add("abuffersink")]
    for first, second in itertools.pairwise(chain):
        first.link_to(second)
    graph.configure()
    for start in range(0, waveform.shape[1], FILTER_BLOCK):
        block = np.ascontiguousarray(waveform[:, start : start + FILTER_BLOCK])
        frame = AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate = rate
        frame.pts = start
        graph.push(frame)
        yield from _pull(graph)
    graph.push(None)
    yield from _pull(graph)


def layout_name(channels: int) -> str:
    """Name of the usual layout of so many channels.

    Raises:
        MediaError: There are more than eight.
    """
    if channels > len(LAYOUTS):
        raise MediaError(f"The sound has {channels} channels; at most {len(LAYOUTS)} can be used.")
    return LAYOUTS[channels - 1]


def _pull(graph: av.filter.Graph) -> Iterator[np.ndarray]:
    while True:
        try:
            frame = graph.pull()
        except (FFmpegBlockingIOError, FFmpegEOFError):
            return
        yield np.asarray(frame.to_ndarray(), dtype=np.float32)
