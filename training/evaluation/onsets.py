"""When sounds begin, and whether they begin when they should."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wavflow_core.errors import ConfigError
from wavflow_core.media.audio import AudioClip

from .spectra import ANALYSIS_RATE, mel_power, mono

TOLERANCE = 0.05  # seconds, the and the literature's
HOP = 80  # 5 ms
WINDOW = 480  # 30 ms
BANDS = 40
LAG = 3  # frames: most of a window, so that a rise is seen whole
# Below the loudest band of the sound by so much, or below the absolute level, nothing is heard.
RANGE_DB, FLOOR_DB = 65.0, -85.0
THRESHOLD = 3.0  # dB, mean over bands, above what is usual around
USUAL = 20  # frames each side whose median is usual
NEAR = 6  # frames each side among which an onset is the greatest rise
UNSEEN = 4  # frames at the end whose windows reach beyond it
APART = 0.04  # seconds between two onsets
FINE = 16  # samples, 1 ms: the step in which the exact moment is looked for
SIDE = 5  # such steps before and after a moment that are compared
EARLIEST, LATEST = 25, 10  # such steps before and after the greatest rise: a window and its lag


@dataclass(frozen=True, kw_only=True, slots=True)
class OnsetAgreement:
    """How well found onsets agree with those expected.

    Attributes:
        matched: Pairs of one found and one expected onset within the tolerance.
        found: Onsets found.
        expected: Onsets expected.
    """

    matched: int
    found: int
    expected: int

    @property
    def precision(self) -> float:
        """Share of the found that were expected; of none found, 1 if none was expected, else 0."""
        return self.matched / self.found if self.found else float(self.expected == 0)

    @property
    def recall(self) -> float:
        """Share of the expected that were found; of none expected, 1 if none was found, else 0."""
        return self.matched / self.expected if self.expected else float(self.found == 0)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where there was nothing and nothing found."""
        total = self.found + self.expected
        return 2 * self.matched / total if total else 1.0

    def __add__(self, other: OnsetAgreement) -> OnsetAgreement:
        """Pool two sounds: every onset counts the same."""
        return OnsetAgreement(
            matched=self.matched + other.matched,
            found=self.found + other.found,
            expected=self.expected + other.expected,
        )


# Of no sounds: where a sum begins.
NONE = OnsetAgreement(matched=0, found=0, expected=0)


def detect_onsets(clip: AudioClip) -> list[float]:
    """Moments at which something begins to sound.

    At 16 kHz, the rise of each of 40 mel bands in decibels over 15 ms, against the greatest of
    its neighbours before, so that gliding tones do not count, is averaged over the bands. An
    onset is where this is the greatest nearby and exceeds its median around by 3 dB. Its exact
    moment is where power rises the most from the 5 ms before to the 5 ms after. What is 65 dB
    below the loudest moment is not heard. A sound that is there from the first sample has no
    onset there, because nobody knows when it began.

    Returns:
        Seconds, ascending, at least 0.04 apart.

    Source: Böck and Widmer, "Maximum filter vibrato suppression for onset detection", DAFx 2013.
    """
    waveform = mono(clip)
    novelty = _novelty(waveform)
    onsets: list[float] = []
    for frame in _peaks(novelty):
        moment = _refine(waveform, frame * HOP) / ANALYSIS_RATE
        if not onsets or moment - onsets[-1] >= APART:
            onsets.append(moment)
    return onsets


def onset_f1(
    found: Sequence[float], expected: Sequence[float], *, tolerance: float = TOLERANCE
) -> OnsetAgreement:
    """Match found and expected onsets one to one, as many as can be.

    Going through both in time and taking the first pair that fits is the greatest matching there
    is, because the tolerance is the same for all.

    Args:
        found: Seconds, in any order.
        expected: Seconds, in any order.
        tolerance: Seconds that a pair may lie apart, itself included.

    Returns:
        Counts, with precision, recall and F1; where nothing was expected and nothing found, these
        are 1.

    Raises:
        ConfigError: A moment is not finite, or the tolerance is negative.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ConfigError(f"tolerance is {tolerance!r}; it must be 0 or more seconds.")
    for name, moments in (("found", found), ("expected", expected)):
        wrong = [moment for moment in moments if not math.isfinite(moment)]
        if wrong:
            raise ConfigError(f"{name} holds {wrong[0]!r}; moments must be finite seconds.")
    first, second = sorted(found), sorted(expected)
    i = j = matched = 0
    while i < len(first) and j < len(second):
        if abs(first[i] - second[j]) <= tolerance + 1e-9:  # 0.35 - 0.3 is above 0.05 in floats
            i, j, matched = i + 1, j + 1, matched + 1
        elif first[i] < second[j]:
            i += 1
        else:
            j += 1
    return OnsetAgreement(matched=matched, found=len(first), expected=len(second))


def _novelty(waveform: Tensor) -> Tensor:
    """(frames,) dB: the mean rise over bands against the frame ``LAG`` before."""
    power = mel_power(waveform, window=WINDOW, hop=HOP, bands=BANDS)
    decibels = 10 * torch.log10(power.clamp_min(1e-20))
    floor = max(float(decibels.max()) - RANGE_DB, FLOOR_DB)
    decibels = decibels.clamp_min(floor)
    before = functional.max_pool1d(decibels.T, 3, stride=1, padding=1).T
    before = torch.cat([before[:, :1].expand(-1, LAG), before[:, :-LAG]], dim=1)
    return (decibels - before[:, : decibels.shape[1]]).clamp_min(0).mean(dim=0)


def _peaks(novelty: Tensor) -> list[int]:
    """Frames at which the novelty is the greatest nearby and far above what is usual."""
    novelty = novelty[: max(1, novelty.shape[0] - UNSEEN)]
    around = functional.pad(novelty[None], (USUAL, USUAL))[0]
    usual = around.unfold(0, 2 * USUAL + 1, 1).median(dim=1).values
    greatest = functional.max_pool1d(novelty[None], 2 * NEAR + 1, stride=1, padding=NEAR)[0]
    chosen = (novelty == greatest) & (novelty - usual > THRESHOLD)
    return chosen.nonzero().flatten().tolist()


def _refine(waveform: Tensor, centre: int) -> int:
    """The sample near ``centre`` at which power rises the most."""
    first = centre - EARLIEST * FINE
    steps = EARLIEST + LATEST + 1
    padded = functional.pad(waveform, (EARLIEST * FINE + SIDE * FINE, (LATEST + SIDE) * FINE))
    piece = padded[centre : centre + (steps + 2 * SIDE - 1) * FINE].to(torch.float64).square()
    power = piece.reshape(1, -1, FINE).mean(dim=2)
    # What comes at once counts the most: else a click would be as near anywhere in these steps.
    falling = torch.arange(SIDE, 0, -1, dtype=torch.float64)
    after = functional.conv1d(power[:, SIDE:], (falling / falling.sum())[None, None])[0]
    before = functional.avg_pool1d(power[:, :-SIDE], SIDE, stride=1)[0]
    floor = float(power.max()) * 1e-4 + 1e-12
    rise = (after + floor).log() - (before + floor).log()
    return max(0, first + FINE * int(rise.argmax()))
