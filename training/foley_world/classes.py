"""The classes of sound, as a table: what makes it, how it looks and how it rings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Action = Literal["bounce", "roll", "scrape", "strike", "drip", "rain", "hum"]
Family = Literal["sphere", "plate", "ring", "disc", "membrane", "bar", "bell", "none"]
Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundClass:
    """One class.

    Attributes:
        action: What happens to the thing.
        nouns: Names in captions; each names the class by itself.
        verbs: What it does, third person singular; ``{floor}`` is what it does it on.
        plural_verbs: The same for several of them; empty where there is always one.
        colours: Families of its main colour, RGB.
        sizes: Smallest and largest characteristic length in metres: diameter, length or height.
        share: Largest part of the width it has for itself that it may fill.
        pitch: Frequency in Hz at the geometric mean of the sizes.
        power: The frequency goes with size to the minus this.
        modes: Family of mode ratios.
        loss: tan φ of the material, φ its angle of internal friction; sets how fast modes decay.
        contact: Seconds that a medium blow lasts; a longer one sounds duller.
        click: Level of the noise of the contact itself, relative to the ringing.
        level: Peak of a full-strength sound at 1 m.
        restitution: Speed after a bounce by the speed before, on a stone floor.
        density: Mass of a body by that of a water-filled one; sets how strongly the floor answers.
    """

    action: Action
    nouns: tuple[str, ...]
    verbs: tuple[str, ...]
    plural_verbs: tuple[str, ...] = ()
    colours: tuple[Colour, ...]
    sizes: tuple[float, float]
    share: float
    pitch: float
    power: float = 1.0
    modes: Family = "none"
    loss: float = 0.01
    contact: float = 1e-3
    click: float = 0.2
    level: float = 0.5
    restitution: float = 0.5
    density: float = 1.0

    @property
    def reference(self) -> float:
        """Metres: the size at which ``pitch`` holds."""
        return math.sqrt(self.sizes[0] * self.sizes[1])

    def pitch_of(self, size: float) -> float:
        """Hz of the fundamental for a size in metres."""
        return self.pitch * (size / self.reference) ** -self.power


_BALL = ("bounces on {floor}", "falls and bounces on {floor}", "hits {floor} and bounces")
_BALLS = ("bounce on {floor}", "fall and bounce on {floor}", "hit {floor} and bounce")
_FALL = ("falls onto {floor}", "drops and tumbles on {floor}", "clatters onto {floor}")
_FALLS = ("fall onto {floor}", "drop and tumble on {floor}", "clatter onto {floor}")
_STRUCK = ("is struck {times}", "is hit {times}", "is struck {times} with {stick}")

CLASSES: Mapping[str, SoundClass] = {
    "rubber_ball": SoundClass(
        action="bounce",
        nouns=("rubber ball", "bouncy rubber ball", "striped rubber ball"),
        verbs=_BALL,
        plural_verbs=_BALLS,
        colours=((220, 50, 45), (235, 120, 30), (200, 40, 120)),
        sizes=(0.16, 0.32),
        share=0.36,
        pitch=170.0,
        modes="sphere",
        loss=0.06,
        contact=4e-3,
        click=0.18,
        restitution=0.84,
        density=0.6,
    ),
    "glass_ball": SoundClass(
        action="bounce",
        nouns=("glass ball", "glass marble", "clear glass ball"),
        verbs=_BALL,
        plural_verbs=_BALLS,
        colours=((90, 200, 190), (110, 170, 235), (120, 215, 130)),
        sizes=(0.13, 0.26),
        share=0.32,
        pitch=2300.0,
        modes="sphere",
        loss=0.0022,
        contact=1.2e-4,
        click=0.2,
        restitution=0.74,
        density=1.2,
    ),
    "metal_ball": SoundClass(
        action="bounce",
        nouns=("steel ball", "metal ball", "heavy steel ball"),
        verbs=_BALL,
        plural_verbs=_BALLS,
        colours=((150, 152, 160), (128, 134, 146), (168, 166, 162)),
        sizes=(0.14, 0.28),
        share=0.32,
        pitch=780.0,
        modes="sphere",
        loss=0.0011,
        contact=2.5e-4,
        click=0.2,
        restitution=0.62,
        density=2.6,
    ),
    "wooden_block": SoundClass(
        action="bounce",
        nouns=("wooden block", "block of wood", "wooden brick"),
        verbs=_FALL,
        plural_verbs=_FALLS,
        colours=((190, 140, 80), (160, 105, 55), (212, 170, 110)),
        sizes=(0.16, 0.32),
        share=0.36,
        pitch=430.0,
        modes="plate",
        loss=0.028,
        contact=7e-4,
        click=0.35,
        restitution=0.42,
        density=0.8,
    ),
    "tin_can": SoundClass(
        action="bounce",
        nouns=("tin can", "empty tin can", "dented tin can"),
        verbs=_FALL,
        plural_verbs=_FALLS,
        colours=((200, 60, 60), (60, 110, 190), (70, 160, 90)),
        sizes=(0.18, 0.34),
        share=0.36,
        pitch=560.0,
        modes="ring",
        loss=0.006,
        contact=3e-4,
        click=0.5,
        restitution=0.48,
        density=0.3,
    ),
    "stone_ball": SoundClass(
        action="roll",
        nouns=("stone ball", "round stone ball", "ball of stone"),
        verbs=(
            "rolls to and fro in a trough",
            "rolls along a curved track",
            "is rolling in a bowl",
        ),
        colours=((120, 116, 110), (104, 98, 92), (140, 130, 120)),
        sizes=(0.16, 0.30),
        share=0.26,
        pitch=260.0,
        level=0.075,
    ),
    "crate": SoundClass(
        action="scrape",
        nouns=("crate", "wooden crate", "heavy crate"),
        verbs=("scrapes over {floor}", "is dragged across {floor}", "slides along {floor}"),
        colours=((150, 110, 60), (130, 88, 48), (172, 130, 82)),
        sizes=(0.22, 0.40),
        share=0.42,
        pitch=900.0,
        level=0.06,
    ),
    "bell": SoundClass(
        action="strike",
        nouns=("bell", "bronze bell", "hanging bell"),
        verbs=(*_STRUCK, "rings as it is struck {times}"),
        colours=((205, 160, 60), (185, 130, 50), (220, 180, 90)),
        sizes=(0.24, 0.50),
        share=0.50,
        pitch=760.0,
        modes="bell",
        loss=0.0008,
        contact=3e-4,
        click=0.2,
    ),
    "gong": SoundClass(
        action="strike",
        nouns=("gong", "round gong", "bronze gong"),
        verbs=(*_STRUCK, "booms as it is struck {times}"),
        colours=((176, 120, 40), (150, 96, 40), (190, 140, 70)),
        sizes=(0.32, 0.64),
        share=0.58,
        pitch=165.0,
        modes="disc",
        loss=0.0016,
        contact=1.6e-3,
        click=0.2,
        level=0.40,
    ),
    "drum": SoundClass(
        action="strike",
        nouns=("drum", "standing drum", "big-bellied drum"),
        verbs=(*_STRUCK, "is beaten {times}"),
        colours=((165, 30, 40), (40, 60, 140), (30, 110, 70)),
        sizes=(0.28, 0.60),
        share=0.62,
        pitch=125.0,
        modes="membrane",
        loss=0.020,
        contact=1.2e-3,
        click=0.3,
        level=0.40,
    ),
    "wooden_bar": SoundClass(
        action="strike",
        nouns=("wooden bar", "xylophone bar", "bar of rosewood"),
        verbs=(*_STRUCK, "is knocked {times} with {stick}"),
        colours=((130, 60, 35), (110, 70, 40), (150, 80, 60)),
        sizes=(0.36, 0.76),
        share=0.84,
        pitch=520.0,
        power=2.0,
        modes="bar",
        loss=0.013,
        contact=5e-4,
        click=0.22,
    ),
    "metal_tube": SoundClass(
        action="strike",
        nouns=("metal tube", "tubular chime", "hanging metal tube"),
        verbs=(*_STRUCK, "chimes as it is struck {times}"),
        colours=((188, 200, 214), (170, 184, 200), (200, 206, 210)),
        sizes=(0.36, 0.78),
        share=1.0,
        pitch=980.0,
        power=2.0,
        modes="bar",
        loss=0.0006,
        contact=2e-4,
        click=0.22,
    ),
    "wine_glass": SoundClass(
        action="strike",
        nouns=("wine glass", "crystal wine glass", "glass of wine"),
        verbs=(*_STRUCK, "is tapped {times}", "clinks as it is tapped {times}"),
        colours=((190, 220, 235), (200, 235, 225), (225, 215, 240)),
        sizes=(0.30, 0.58),
        share=0.80,
        pitch=1350.0,
        modes="ring",
        loss=0.0014,
        contact=2e-4,
        click=0.2,
    ),
    "water_drop": SoundClass(
        action="drip",
        nouns=("water drop", "drop of water", "clear water drop"),
        verbs=("drips into a basin", "drips {times} into water", "falls into water {times}"),
        colours=((70, 140, 220), (90, 160, 210), (60, 120, 200)),
        sizes=(0.05, 0.11),
        share=0.2,
        pitch=900.0,
        level=0.5,
    ),
    "rain": SoundClass(
        action="rain",
        nouns=("rain", "rain shower", "shower of rain"),
        verbs=("falls from a cloud", "patters on {floor}", "comes down on {floor}"),
        colours=((150, 170, 200), (170, 180, 196), (140, 160, 190)),
        sizes=(0.010, 0.024),
        share=1.0,
        pitch=2400.0,
        power=0.8,
        level=0.06,
    ),
    "fan": SoundClass(
        action="hum",
        nouns=("fan", "electric fan", "table fan"),
        verbs=("is whirring", "is switched on and whirs", "hums as its blades turn"),
        colours=((60, 130, 150), (90, 90, 110), (70, 140, 100)),
        sizes=(0.30, 0.60),
        share=0.80,
        pitch=105.0,
        level=0.14,
    ),
    "neon_lamp": SoundClass(
        action="hum",
        nouns=("neon lamp", "neon tube", "neon light"),
        verbs=("lights up and buzzes", "flickers on and buzzes", "is humming"),
        colours=((255, 60, 130), (60, 230, 255), (190, 90, 255)),
        sizes=(0.30, 0.64),
        share=0.84,
        pitch=150.0,
        level=0.12,
    ),
    "speaker": SoundClass(
        action="hum",
        nouns=("loudspeaker", "speaker box", "trembling loudspeaker"),
        verbs=("plays a steady tone", "sounds a long note", "drones with a trembling cone"),
        colours=((36, 36, 42), (60, 46, 36), (48, 52, 64)),
        sizes=(0.26, 0.54),
        share=0.66,
        pitch=330.0,
        level=0.16,
    ),
}
