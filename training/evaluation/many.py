"""Many sounds measured, one in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor
from tqdm import tqdm

from wavflow_core.batch import Failure
from wavflow_core.errors import MediaError, WavFlowError
from wavflow_core.media.audio import AudioClip

from ..failures import Failures
from . import sheet
from .measure import Measured, measure_sound
from .onsets import TOLERANCE
from .sounds import Sound, check_original, read_sound

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class Evaluation:
    """What became of the sounds.

    Attributes:
        measured: Those that could be measured.
        drawn: A picture of each of the first ones by id, where a sheet is wanted.
    """

    measured: list[Measured] = field(default_factory=list)
    drawn: dict[str, Tensor] = field(default_factory=dict)


def evaluate_sounds(
    sounds: Sequence[Sound],
    failures: Failures,
    *,
    originals: Mapping[str, Sound] | None = None,
    times: Mapping[str, Sequence[float]] | None = None,
    duration: float | None = None,
    tolerance: float = TOLERANCE,
    rows: int = 0,
) -> Evaluation:
    """Measure many sounds, one in memory at a time; one that fails does not stop the others.

    Args:
        sounds: The results.
        failures: Takes those that fail, and stops it where they become too many.
        originals: By id; then every result must have one.
        times: Seconds at which something should begin, by id; then every result must have them.
        duration: Seconds of each sound to measure; None is all.
        tolerance: Seconds that onsets may lie apart.
        rows: So many of the first sounds are drawn.

    Raises:
        WavFlowError: Too many failed, or all did.
    """
    result = Evaluation()
    for sound in tqdm(sounds, desc="evaluate", unit="sound", dynamic_ncols=True):
        try:
            if times is not None and sound.id not in times:
                raise MediaError(f"there are no onset times with the id {sound.id!r}.")
            clip = read_sound(sound, duration=duration)
            original = None
            if originals is not None:
                source = check_original(originals.get(sound.id), sound.id)
                original = read_sound(source, duration=clip.duration)
            expected = None if times is None else times[sound.id]
            measured = measure_sound(
                sound.id, clip, original=original, times=expected, tolerance=tolerance
            )
            if len(result.drawn) < rows:
                result.drawn[sound.id] = _draw(clip, original, measured, originals is not None)
        except (MediaError, OSError, RuntimeError) as error:
            logger.debug("Where it happened:", exc_info=error)
            failures.add(Failure(name=sound.id, reason=str(error)))
            continue
        result.measured.append(measured)
    if not result.measured:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in failures.found[:3])
        raise WavFlowError(f"None of the {failures.total} sounds could be evaluated. {reasons}")
    return result


def _draw(clip: AudioClip, original: AudioClip | None, measured: Measured, both: bool) -> Tensor:
    return sheet.draw_row(
        clip,
        original,
        marks=measured.onsets,
        original_marks=measured.expected or (),
        columns=2 if both else 1,
    )
