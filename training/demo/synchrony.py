"""How far what is heard lies from what is seen."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ..evaluation.onsets import OnsetAgreement, onset_f1


@dataclass(frozen=True, kw_only=True, slots=True)
class Synchrony:
    """Onsets of a sound against the moments of a clip's events.

    Attributes:
        errors: Seconds from each event to the onset nearest to it, in the order of the events;
            empty where nothing was heard at all.
        agreement: Pairs within the tolerance of 50 ms, each onset and event used once.
    """

    errors: Sequence[float]
    agreement: OnsetAgreement

    @property
    def median(self) -> float | None:
        """Median of the errors in seconds, if there are any."""
        return statistics.median(self.errors) if self.errors else None

    @property
    def mean(self) -> float | None:
        """Mean of the errors in seconds, if there are any."""
        return statistics.fmean(self.errors) if self.errors else None


def measure_synchrony(onsets: Sequence[float], events: Sequence[float]) -> Synchrony:
    """Compare the onsets found in a sound with the moments of the events.

    Args:
        onsets: Seconds, in any order.
        events: Seconds, in any order.

    Raises:
        ConfigError: A moment is not finite.
    """
    agreement = onset_f1(onsets, events)
    nearest = [min(abs(onset - event) for onset in onsets) for event in events if onsets]
    return Synchrony(errors=nearest, agreement=agreement)
