"""How loud a sound is, and whether it clips or is silent."""

from __future__ import annotations

from dataclasses import dataclass

from wavflow_core.media.audio import AudioClip, measure_loudness
from wavflow_core.picture import CLIPPED

FRAME_SECONDS = 0.02
SILENCE_DB = -60.0  # root mean square of a frame, against full scale


@dataclass(frozen=True, kw_only=True, slots=True)
class Levels:
    """Level of a whole sound.

    Attributes:
        loudness: Integrated, LUFS; -70 is silence.
        true_peak: dBTP; -inf is digital silence.
        clipped: Share of the samples of all channels at full scale or beyond, 0 to 1.
        silent: Share of the frames of 20 ms that lie below -60 dB of full scale, 0 to 1.
    """

    loudness: float
    true_peak: float
    clipped: float
    silent: float


def measure_levels(clip: AudioClip) -> Levels:
    """Loudness, true peak, clipping and silence of a sound.

    A frame is silent when the root mean square over its samples and all channels is. A rest at
    the end that is shorter than a frame is not counted, unless it is all there is.

    Raises:
        MediaError: There are more than eight channels.

    Source: Loudness and true peak by ITU-R BS.1770-4.
    """
    loudness = measure_loudness(clip)
    waveform = clip.waveform.detach().cpu()
    size = min(max(1, round(FRAME_SECONDS * clip.sample_rate)), waveform.shape[1])
    power = waveform.unfold(1, size, size).square().mean(dim=(0, 2))
    return Levels(
        loudness=loudness.integrated,
        true_peak=loudness.true_peak,
        clipped=float((waveform.abs() >= CLIPPED).double().mean()),
        silent=float((power < 10 ** (SILENCE_DB / 10)).double().mean()),
    )
