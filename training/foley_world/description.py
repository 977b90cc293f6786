"""What a scene is: everything that is drawn by chance, before anything moves, looks or sounds."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .classes import CLASSES, Colour, SoundClass
from .floors import FLOORS, Floor

GRAVITY = 9.81


class Purpose(enum.IntEnum):
    """What random numbers are for; each purpose has a stream of its own."""

    SCENE = 0
    PICTURE = 1
    SOUND = 2
    RAIN = 3
    CAPTION = 4


def stream(seed: int, purpose: Purpose, *more: int) -> np.random.Generator:
    """Random numbers of a clip for one purpose, the same whatever else was drawn."""
    sequence = np.random.SeedSequence([seed, int(purpose), *more])
    return np.random.Generator(np.random.PCG64(sequence))


@dataclass(frozen=True, kw_only=True, slots=True)
class Cue:
    """Something that is planned: a blow, a drop, or a time during which something goes on.

    Attributes:
        time: Seconds.
        end: Seconds at which it stops; None for what has no length.
        strength: 0 to 1.
        place: Where on the thing, 0 to 1 from one end to the other.
    """

    time: float
    end: float | None = None
    strength: float = 1.0
    place: float = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Drop:
    """A body that is let go.

    Attributes:
        time: Seconds at which it is let go.
        x: Metres from the picture's middle.
        height: Metres from the floor to the lowest point of the circle around it.
        speed: Metres per second sideways.
        spin: Radians per second.
        tilt: Radians.
    """

    time: float
    x: float
    height: float
    speed: float
    spin: float
    tilt: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """A thing, or several of the same kind, that makes sound.

    Attributes:
        kind: Name of its class.
        zone: Left and right edge of the room it has, metres from the picture's middle.
        size: Characteristic length, metres.
        aspect: Height by width of what is not round.
        pitch: Hz of its fundamental.
        loss: tan φ of its material.
        gain: Factor on its sound.
        colour: Main colour, RGB.
        accent: Second colour, RGB.
        style: 0 to 1, chooses among patterns.
        cues: What is planned, in time.
        drops: Bodies that are let go, in time.
    """

    kind: str
    zone: tuple[float, float]
    size: float
    aspect: float
    pitch: float
    loss: float
    gain: float
    colour: Colour
    accent: Colour
    style: float
    cues: tuple[Cue, ...] = ()
    drops: tuple[Drop, ...] = ()

    @property
    def sound_class(self) -> SoundClass:
        """The row of the table."""
        return CLASSES[self.kind]

    @property
    def middle(self) -> float:
        """Metres: the middle of its zone."""
        return (self.zone[0] + self.zone[1]) / 2

    @property
    def width(self) -> float:
        """Metres: the width of its zone."""
        return self.zone[1] - self.zone[0]

    @property
    def relative_size(self) -> float:
        """Size by that at which the class has its usual pitch."""
        return self.size / self.sound_class.reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How the stage looks.

    Attributes:
        wall: Kind of the wall behind.
        wall_colour: RGB.
        wall_accent: RGB.
        floor_colour: RGB.
        floor_line: Share of the picture's height below where things stand.
        light: Brightness, 1 is usual.
        warmth: -1 bluish to 1 reddish light.
        side: -1 light from the left to 1 from the right.
        ornaments: Pictures, windows and shelves on the wall that make no sound.
    """

    wall: str
    wall_colour: Colour
    wall_accent: Colour
    floor_colour: Colour
    floor_line: float
    light: float
    warmth: float
    side: float
    ornaments: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """How the room sounds.

    Attributes:
        sides: Width, depth and height in metres.
        decay: Seconds in which sound falls by 60 dB.
        distance: Metres from the things to the microphone.
        noise: Level of the quiet that is always there, root mean square.
    """

    sides: tuple[float, float, float]
    decay: float
    distance: float
    noise: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """All that a clip follows from.

    Attributes:
        seed: Chooses everything.
        seconds: Length.
        view: Metres that the square picture shows from edge to edge.
        floor: Name of the floor.
        look: How the stage looks.
        room: How the room sounds.
        actors: Things that make sound, one or two.
    """

    seed: int
    seconds: float
    view: float
    floor: str
    look: Look
    room: Room
    actors: tuple[Actor, ...]

    @property
    def ground(self) -> Floor:
        """The row of the table of floors."""
        return FLOORS[self.floor]

    @property
    def top(self) -> float:
        """Metres from where things stand to the upper edge of the picture."""
        return self.view * (1 - self.look.floor_line)

    @property
    def kinds(self) -> Sequence[str]:
        """Names of the actors' classes, in their order."""
        return tuple(actor.kind for actor in self.actors)
