"""What is measured of a sound that was made for a FoleyWorld clip, against the clip's truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wavflow_core.config import AudioConfig
from wavflow_core.media.audio import AudioClip, measure_loudness
from wavflow_core.model.patchify import normalize

from ..foley_world.classifier_model import Classifier, Heard, class_accuracy, label, listen
from .foley_world_tasks import Case, Shown
from .onsets import OnsetAgreement, detect_onsets, onset_f1
from .spectra import ANALYSIS_RATE, mono

# Classes whose loudest partials are known: what is struck or falls and rings, and steady tones.
TONAL = frozenset(
    (
        *("bell", "drum", "glass_ball", "gong", "metal_ball", "metal_tube", "neon_lamp"),
        *("rubber_ball", "speaker", "tin_can", "wine_glass", "wooden_bar", "wooden_block"),
    )
)
PITCH_WINDOW, PITCH_PADDED = 4096, 8192  # samples at 16 kHz
HALF_OCTAVE = 600.0  # cents to each side of the truth in which the strongest peak is looked for
CLOSE = 50.0  # cents: a quarter tone
LEVEL_SECONDS = 0.05
LEVEL_RANGE = 40.0  # dB below the loudest moment that count


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Finding:
    """What is found in a sound.

    Attributes:
        onsets: Seconds at which something begins.
        heard: Probabilities ``(1, 18)`` and embedding ``(1, 64)`` of the classifier.
        cents: How far the pitch is from the truth's, where the clip has one.
        loudness: LUFS as it is.
        course: ``(frames,)`` dB, its level against that of the whole sound, every 50 ms.
    """

    onsets: Sequence[float]
    heard: Heard
    cents: float | None
    loudness: float
    course: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Real:
    """The real sound of a case.

    Attributes:
        finding: What is found in it; its loudness is that to which training brings it.
        loudness: LUFS of the file.
    """

    finding: Finding
    loudness: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A sound against the truth of its clip and against its real sound.

    Attributes:
        id: Of the clip.
        things: How many things sound in the clip, one or two.
        truth: Onsets found against the moments of all events.
        real: Onsets found against those that are found in the real sound.
        seen: Onsets found against the moments of the clip whose video was shown, if any.
        accuracy: Share of the k classes of the clip among the k most probable.
        asked_accuracy: The same for the classes of the prompt, where there is one.
        cents: See :class:`Finding`.
        loudness: LU above the real sound brought to the level that the model is trained on.
        loudness_of_file: LU above the real sound as it is in its file.
        dynamics: dB, mean distance of the courses of level.
        unwanted: Probability of the class of the negative prompt, where there is one.
        wanted: Probability of the other class then.
    """

    id: str
    things: int
    truth: OnsetAgreement
    real: OnsetAgreement
    seen: OnsetAgreement | None
    accuracy: float
    asked_accuracy: float | None
    cents: float | None
    loudness: float
    loudness_of_file: float
    dynamics: float
    unwanted: float | None = None
    wanted: float | None = None


def find(clip: AudioClip, case: Case, classifier: Classifier) -> Finding:
    """Everything that is measured of a sound without another to compare with."""
    waveform = mono(clip)
    return Finding(
        onsets=detect_onsets(clip),
        heard=listen(classifier, [clip]),
        cents=pitch_error(waveform, case),
        loudness=measure_loudness(clip).integrated,
        course=level_course(waveform),
    )


def find_real(clip: AudioClip, case: Case, classifier: Classifier, audio: AudioConfig) -> Real:
    """The same of a real sound, with its loudness also as a model of these settings learns it."""
    finding = find(clip, case, classifier)
    levelled = replace(clip, waveform=normalize(clip.waveform.mean(dim=0), audio)[None])
    loudness = measure_loudness(levelled).integrated
    return Real(finding=replace(finding, loudness=loudness), loudness=finding.loudness)


def judge(finding: Finding, real: Real, case: Case, shown: Shown | None = None) -> Judged:
    """Compare a sound with what is true of its clip.

    Args:
        finding: Of the sound.
        real: Of the clip's real sound.
        case: The clip whose truth counts.
        shown: What the model was shown.
    """
    probabilities = finding.heard.probabilities
    unwanted = wanted = asked = seen = None
    if shown is not None and shown.video is not None:
        seen = onset_f1(finding.onsets, shown.video.onsets)
    if shown is not None and shown.asked:
        asked = float(class_accuracy(probabilities, label(shown.asked)[None]))
    if shown is not None and shown.unwanted:
        [other] = set(case.classes) - {shown.unwanted}
        unwanted = float(probabilities[0, label([shown.unwanted])])
        wanted = float(probabilities[0, label([other])])
    return Judged(
        id=case.id,
        things=len(case.classes),
        truth=onset_f1(finding.onsets, case.onsets),
        real=onset_f1(finding.onsets, real.finding.onsets),
        seen=seen,
        accuracy=float(class_accuracy(probabilities, label(case.classes)[None])),
        asked_accuracy=asked,
        cents=finding.cents,
        loudness=finding.loudness - real.finding.loudness,
        loudness_of_file=finding.loudness - real.loudness,
        dynamics=course_distance(finding.course, real.finding.course),
        unwanted=unwanted,
        wanted=wanted,
    )


def pitch_error(waveform: Tensor, case: Case) -> float | None:
    """Cents between the truth's pitch and the strongest spectral peak within half an octave of it.

    For clips of one thing that has a pitch. Where its blows have several (a bell rings otherwise
    when it is struck elsewhere), the one that fits best counts. A sound whose pitch has nothing to
    do with the truth's is 300 off in the middle, and within 50 one time in twelve for each pitch.

    Args:
        waveform: ``(T,)`` at 16 kHz.
        case: The clip.

    Returns:
        0 to 600; None where the clip has two things, or one without a pitch.
    """
    if len(case.classes) != 1 or case.classes[0] not in TONAL:
        return None
    power = _mean_power(waveform)
    return min(_peak_distance(power, pitch) for pitch in case.pitches[case.classes[0]])


def _mean_power(waveform: Tensor) -> Tensor:
    missing = max(0, PITCH_WINDOW - len(waveform))
    frames = torch.nn.functional.pad(waveform, (0, missing)).unfold(
        0, PITCH_WINDOW, PITCH_WINDOW // 4
    )
    spectrum = torch.fft.rfft(frames * torch.hann_window(PITCH_WINDOW), PITCH_PADDED)
    return spectrum.abs().square().mean(dim=0)


def _peak_distance(power: Tensor, pitch: float) -> float:
    step = ANALYSIS_RATE / PITCH_PADDED
    side = 2 ** (HALF_OCTAVE / 1200)
    first = max(1, math.floor(pitch / side / step))
    last = min(len(power) - 2, math.ceil(pitch * side / step))
    if first >= last or float(power[first : last + 1].max()) <= 0:
        return HALF_OCTAVE
    top = first + int(power[first : last + 1].argmax())
    place = float(top)
    if first < top < last:  # a parabola through the logarithms of three
        left, middle, right = power[top - 1 : top + 2].clamp_min(1e-30).log().tolist()
        bend = left - 2 * middle + right
        place += 0.5 * (left - right) / bend if bend < 0 else 0.0
    return min(HALF_OCTAVE, abs(1200 * math.log2(place * step / pitch)))


def level_course(waveform: Tensor) -> Tensor:
    """(frames,) dB of every 50 ms against the whole, at most 40 dB below the loudest of them.

    Silence is 40 dB below itself.
    """
    size = round(LEVEL_SECONDS * ANALYSIS_RATE)
    missing = -len(waveform) % size
    power = torch.nn.functional.pad(waveform, (0, missing)).view(-1, size).square().mean(dim=1)
    mean = float(power.mean())
    if mean < 1e-14:
        return torch.full_like(power, -LEVEL_RANGE)
    decibels = 10 * torch.log10((power / mean).clamp_min(1e-12))
    return decibels.clamp_min(float(decibels.max()) - LEVEL_RANGE)


def course_distance(first: Tensor, second: Tensor) -> float:
    """Mean distance of two courses of level in dB over their common beginning."""
    frames = min(len(first), len(second))
    return float((first[:frames] - second[:frames]).abs().mean())
