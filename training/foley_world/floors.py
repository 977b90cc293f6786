"""What things fall on, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .classes import Colour


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """A floor.

    Attributes:
        phrase: How captions call it.
        colours: Families of its colour, RGB.
        pitch: Hz of its lowest mode.
        loss: tan φ of its material.
        hardness: Factor on the duration of contacts; softer floors have more.
        restitution: Factor on how things bounce.
        answer: Level of its own sound, relative to a body of middle size and density.
    """

    phrase: str
    colours: tuple[Colour, ...]
    pitch: float
    loss: float
    hardness: float
    restitution: float
    answer: float


FLOORS: Mapping[str, Floor] = {
    "wood": Floor(
        phrase="a wooden floor",
        colours=((140, 96, 56), (110, 74, 44), (176, 132, 86)),
        pitch=115.0,
        loss=0.05,
        hardness=1.5,
        restitution=0.94,
        answer=0.40,
    ),
    "stone": Floor(
        phrase="a stone floor",
        colours=((118, 116, 112), (96, 98, 104), (146, 140, 130)),
        pitch=310.0,
        loss=0.07,
        hardness=1.0,
        restitution=1.0,
        answer=0.16,
    ),
    "metal": Floor(
        phrase="a metal plate",
        colours=((104, 116, 128), (88, 96, 104), (128, 132, 140)),
        pitch=210.0,
        loss=0.006,
        hardness=0.9,
        restitution=0.96,
        answer=0.30,
    ),
    "tile": Floor(
        phrase="a tiled floor",
        colours=((200, 196, 184), (176, 190, 192), (208, 182, 160)),
        pitch=620.0,
        loss=0.035,
        hardness=1.0,
        restitution=0.98,
        answer=0.22,
    ),
}
