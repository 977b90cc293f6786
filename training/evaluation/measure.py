"""What is measured of one sound, alone and against its original or the times expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wavflow_core.media.audio import AudioClip

from .levels import Levels, measure_levels
from .onsets import TOLERANCE, OnsetAgreement, detect_onsets, onset_f1
from .spectra import log_mel, log_mel_correlation, log_mel_distance, mono

# Where a sound was cut, its beginning (and the ramp that codecs put there) looks like an onset.
EDGE_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One evaluated sound.

    Attributes:
        id: Its name.
        duration: Seconds.
        levels: Loudness, peak, clipping, silence.
        onsets: Seconds at which something begins in it.
        expected: Seconds at which something should, where that is known.
        agreement: Of the two, where they could be compared.
        distance: Log-mel distance to the original in dB.
        correlation: Log-mel correlation with the original.
    """

    id: str
    duration: float
    levels: Levels
    onsets: Sequence[float]
    expected: Sequence[float] | None = None
    agreement: OnsetAgreement | None = None
    distance: float | None = None
    correlation: float | None = None

    def numbers(self) -> dict[str, float | None]:
        """All numbers by the names of :data:`METRICS`; None where there is none."""
        peak = self.levels.true_peak
        agreement = self.agreement
        return {
            "duration": self.duration,
            "loudness": self.levels.loudness,
            "true_peak": peak if math.isfinite(peak) else None,
            "clipped": self.levels.clipped,
            "silent": self.levels.silent,
            "onsets": len(self.onsets),
            "onset_precision": None if agreement is None else agreement.precision,
            "onset_recall": None if agreement is None else agreement.recall,
            "onset_f1": None if agreement is None else agreement.f1,
            "log_mel_distance": self.distance,
            "log_mel_correlation": self.correlation,
        }


# Name of each number in reports, and how a table calls it.
METRICS = {
    "duration": "duration (s)",
    "loudness": "loudness (LUFS)",
    "true_peak": "true peak (dBTP)",
    "clipped": "clipped samples (share)",
    "silent": "silent 20 ms frames (share)",
    "onsets": "onsets",
    "onset_precision": "onset precision",
    "onset_recall": "onset recall",
    "onset_f1": "onset F1",
    "log_mel_distance": "log-mel distance (dB)",
    "log_mel_correlation": "log-mel correlation",
}


def measure_sound(
    name: str,
    clip: AudioClip,
    *,
    original: AudioClip | None = None,
    times: Sequence[float] | None = None,
    tolerance: float = TOLERANCE,
) -> Measured:
    """Measure a sound, alone and against what is known of it.

    Only the common beginning of a sound and its original is compared, and only times within the
    sound are expected. Onsets are compared with the times, or without them with the original's;
    then those in the first 0.1 s of both are left out, because a cut looks like an onset.

    Args:
        name: The sound's id.
        clip: The sound.
        original: What was really heard.
        times: Seconds at which something should begin.
        tolerance: Seconds that onsets may lie apart.

    Raises:
        MediaError: A sound has more than eight channels.
        ConfigError: A time is not finite, or the tolerance is negative.
    """
    onsets = detect_onsets(clip)
    measured = Measured(id=name, duration=clip.duration, levels=measure_levels(clip), onsets=onsets)
    if original is not None:
        seconds = min(clip.duration, original.duration)
        clip, original = _beginning(clip, seconds), _beginning(original, seconds)
        shown, expected = log_mel(mono(clip)), log_mel(mono(original))
        measured = replace(
            measured,
            distance=log_mel_distance(shown, expected),
            correlation=log_mel_correlation(shown, expected),
        )
    if times is not None:
        times = [time for time in times if time <= measured.duration]
        agreement = onset_f1(onsets, times, tolerance=tolerance)
        return replace(measured, expected=times, agreement=agreement)
    if original is not None:
        heard = detect_onsets(original)
        first, last = EDGE_SECONDS, original.duration
        agreement = onset_f1(
            [time for time in onsets if first <= time <= last],
            [time for time in heard if first <= time <= last],
            tolerance=tolerance,
        )
        return replace(measured, expected=heard, agreement=agreement)
    return measured


def _beginning(clip: AudioClip, seconds: float) -> AudioClip:
    samples = max(1, round(seconds * clip.sample_rate))
    return replace(clip, waveform=clip.waveform[:, :samples])
