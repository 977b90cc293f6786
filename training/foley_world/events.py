"""What happens in a scene: when which sound comes about, and where bodies are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A sound that begins.

    Attributes:
        time: Seconds at which things touch, or something is switched on.
        end: Seconds at which a lasting sound stops; None for blows.
        kind: Class.
        object: Number of the actor in the scene.
        strength: 0 to 1.
        pitch: Hz of the strongest mode; for noise, of the middle of its band.
        place: Where on the thing, 0 to 1 from one end to the other.
        on_floor: Whether the floor was hit, which then sounds too.
    """

    time: float
    end: float | None = None
    kind: str
    object: int
    strength: float
    pitch: float
    place: float = 0.5
    on_floor: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Track:
    """Where a body is.

    Attributes:
        object: Number of the actor in the scene.
        times: (N,) seconds, ascending, evenly spaced.
        x: (N,) metres from the picture's middle.
        y: (N,) metres above the floor, of its centre.
        angle: (N,) radians, anticlockwise.
        released: Seconds until which it hangs still.
    """

    object: int
    times: np.ndarray
    x: np.ndarray
    y: np.ndarray
    angle: np.ndarray
    released: float

    def at(self, time: float) -> tuple[float, float, float]:
        """Place x, y in metres and angle in radians at a moment, between the records by a line."""
        step = self.times[1] - self.times[0]
        place = min(max(float((time - self.times[0]) / step), 0.0), len(self.times) - 1.0)
        index = min(int(place), len(self.times) - 2)
        part = place - index
        x, y, angle = (
            float(row[index] * (1 - part) + row[index + 1] * part)
            for row in (self.x, self.y, self.angle)
        )
        return x, y, angle


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Motion:
    """All that happens.

    Attributes:
        events: Sounds in the order in which they begin.
        tracks: Bodies that fall, bounce or roll.
    """

    events: Sequence[Event]
    tracks: Sequence[Track]
