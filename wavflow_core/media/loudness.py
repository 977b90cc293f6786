"""Loudness (ITU-R BS.1770, EBU R 128) and true peak, measured by ffmpeg's ``ebur128`` filter."""

from __future__ import annotations

import math
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import av.filter
import numpy as np

from ..errors import MediaError
from .waveform import AudioClip, run_filters

# Below the absolute gate of BS.1770 the filter reports the gate itself.
SILENCE = -70.0
BLOCK_SECONDS = 0.4
TAIL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Loudness:
    """How loud a sound is.

    Attributes:
        integrated: LUFS; -70 or less means silence, to which nothing is levelled.
        true_peak: dBTP, the peak between the samples; -inf for digital silence.
    """

    integrated: float
    true_peak: float


def measure_loudness(clip: AudioClip) -> Loudness:
    """Integrated loudness and true peak of a whole sound.

    Sounds shorter than the 0.4 s of one measuring block are measured with silence after them.

    Raises:
        MediaError: There are more than eight channels.

    Source: ITU-R BS.1770-4; ffmpeg's ``ebur128``.
    """
    return Loudness(integrated=_integrated(clip), true_peak=_true_peak(clip))


def set_level(
    clip: AudioClip, *, loudness: float | None = -23.0, true_peak: float = -1.0
) -> AudioClip:
    """Bring a sound to a loudness, then down to a true peak if it is above it.

    Args:
        clip: The sound; silence (-70 LUFS or less) is not made louder.
        loudness: LUFS to reach; None leaves it as it is and only limits the peak.
        true_peak: Highest dBTP allowed.

    Raises:
        MediaError: A level is not a finite number, or there are more than eight channels.
    """
    for name, value in (("loudness", loudness), ("true_peak", true_peak)):
        if value is not None and not math.isfinite(value):
            raise MediaError(f"{name} is {value!r}; it must be a finite number of decibels.")
    gain = 0.0
    if loudness is not None and (integrated := _integrated(clip)) > SILENCE:
        gain = loudness - integrated
    gain = min(gain, true_peak - _true_peak(clip))
    return replace(clip, waveform=clip.waveform * 10 ** (gain / 20))


def _integrated(clip: AudioClip) -> float:
    """LUFS."""
    loud = _block_at_least(clip)
    return _last(loud, clip.sample_rate, "lavfi.r128.I", peak="none")


def _true_peak(clip: AudioClip) -> float:
    """dBTP, -inf for silence."""
    loud = _block_at_least(clip)
    peak = float(max(loud.max(), -loud.min()))
    if peak < 1e-10:
        return -math.inf
    # The filter gives peaks in three decimals and late: measured at full scale, with a tail.
    tail = math.ceil(TAIL_SECONDS * clip.sample_rate)
    scaled = np.zeros((loud.shape[0], loud.shape[1] + tail), np.float32)
    np.divide(loud, peak, out=scaled[:, : loud.shape[1]])
    factor = max(1.0, _last(scaled, clip.sample_rate, "lavfi.r128.true_peak", peak="true"))
    return 20 * math.log10(factor * peak)


def _block_at_least(clip: AudioClip) -> np.ndarray:
    """(C, T) of a measuring block or more, with silence after what is shorter; else no copy."""
    waveform = clip.waveform.detach().cpu().numpy()
    short = math.ceil(BLOCK_SECONDS * clip.sample_rate) - waveform.shape[1]
    return np.pad(waveform, ((0, 0), (0, short))) if short > 0 else waveform


def _last(waveform: np.ndarray, rate: int, key: str, *, peak: str) -> float:
    """The filter's value at the end of a waveform (C, T).

    It is read from a file that a second filter writes, because PyAV gives access to the
    measurements of frames only since its version 18.1.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "measured"
        graph = av.filter.Graph()
        measure = graph.add("ebur128", metadata="1", peak=peak, framelog="quiet")
        report = graph.add("ametadata", mode="print", key=key, file=str(file), direct="1")
        for _ in run_filters(graph, [measure, report], waveform, rate):
            pass
        del graph, measure, report  # closes the file, which Windows would not remove
        values = re.findall(rf"^{re.escape(key)}=(\S+)$", file.read_text(), re.MULTILINE)
    assert values, "the filter measures every tenth of a second"
    return float(values[-1])
