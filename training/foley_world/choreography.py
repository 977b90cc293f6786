"""Movements that follow a plan in closed form: sticks, drops of water, rain, pushing, switching."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .description import GRAVITY, Actor, Cue, Purpose, Scene, stream
from .events import Event

SWING = 0.16  # seconds from the start of a medium blow to the contact
REBOUND = 0.15  # seconds in which the stick comes back
RAIN_SPEED = 7.0  # metres per second
RAIN_RATE = 240.0  # drops per second at full strength and a metre's width
# Seconds in which lasting sounds come and go.
RAMPS = {"fan": (0.07, 0.25), "neon_lamp": (0.008, 0.015), "speaker": (0.015, 0.03)}
PUSH_RAMP = 0.04


def planned_events(scene: Scene, index: int) -> list[Event]:
    """Events of an actor whose cues say when it sounds."""
    actor = scene.actors[index]
    cues: Sequence[Cue] = actor.cues
    if actor.kind == "rain":
        cues = [rain.cue for rain in rain_showers(scene, index)]
    return [
        Event(
            time=cue.time,
            end=cue.end,
            kind=actor.kind,
            object=index,
            strength=cue.strength,
            pitch=actor.pitch / drop_scale(cue) if actor.kind == "water_drop" else actor.pitch,
            place=cue.place,
        )
        for cue in cues
    ]


def stick_angle(actor: Actor, time: float) -> float:
    """Radians by which the stick is lifted from where it touches; 0 at every blow.

    It waits lifted, comes down ever faster, and springs back to where the next blow begins.
    """
    cues = actor.cues
    number = sum(cue.time <= time for cue in cues)
    coming = cues[min(number, len(cues) - 1)]
    lift = stick_lift(coming)
    if number < len(cues):
        swing = SWING * (1.25 - 0.5 * coming.strength)
        part = (time - coming.time + swing) / swing
        if part > 0:
            return lift * (1 - part**2)
    if number == 0:
        return lift
    part = min(1.0, (time - cues[number - 1].time) / REBOUND)
    return lift * (1 - (1 - part) ** 2)


def stick_lift(cue: Cue) -> float:
    """Radians from which a blow begins; stronger ones begin higher."""
    return 0.40 + 0.55 * cue.strength


def blow_place(actor: Actor, time: float) -> float:
    """Where on the thing the stick aims, 0 to 1; it moves over while it is lifted."""
    places = [cue.place for cue in actor.cues]
    number = sum(cue.time <= time for cue in actor.cues)
    if number == 0:
        return places[0]
    if number == len(places):
        return places[-1]
    since = time - actor.cues[number - 1].time
    swing = SWING * 1.25
    free = max(1e-3, actor.cues[number].time - actor.cues[number - 1].time - swing)
    part = float(np.clip(since / free, 0, 1))
    part = part * part * (3 - 2 * part)
    return places[number - 1] * (1 - part) + places[number] * part


def sway(actor: Actor, time: float, *, period: float, decay: float) -> float:
    """How a struck thing swings afterwards: damped sines, about -1 to 1 in all."""
    total = 0.0
    for cue in actor.cues:
        since = time - cue.time
        if 0 < since < 6 * decay:
            total += cue.strength * math.exp(-since / decay) * math.sin(math.tau * since / period)
    return total


def drop_scale(cue: Cue) -> float:
    """Factor on the diameter of a falling drop; larger ones are stronger and lower."""
    return 0.75 + 0.5 * cue.strength


def tap_height(scene: Scene, actor: Actor) -> float:
    """Metres from the water to the mouth of the tap."""
    return scene.top * (0.60 + 0.25 * actor.style) - basin_height(actor)


def basin_height(actor: Actor) -> float:
    """Metres from the floor to the water."""
    return 0.10 + 0.08 * actor.aspect


def fall_time(height: float) -> float:
    """Seconds of a fall from rest."""
    return math.sqrt(2 * height / GRAVITY)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shower:
    """Rain for a while.

    Attributes:
        cue: When its first and last drop hit, and how strong it is.
        times: (N,) seconds at which drops hit, ascending.
        x: (N,) metres from the picture's middle.
        loudness: (N,) factor on the sound of each drop.
    """

    cue: Cue
    times: np.ndarray
    x: np.ndarray
    loudness: np.ndarray


def rain_showers(scene: Scene, index: int) -> list[Shower]:
    """Every drop of a rain actor."""
    actor = scene.actors[index]
    rng = stream(scene.seed, Purpose.RAIN, index)
    showers: list[Shower] = []
    for cue in actor.cues:
        end = scene.seconds if cue.end is None else cue.end
        rate = RAIN_RATE * (0.35 + 0.65 * cue.strength) * math.sqrt(actor.width)
        count = max(2, int(rate * (end - cue.time)))
        times = np.sort(rng.uniform(cue.time, end, size=count))
        times[0], times[-1] = cue.time, end
        loudness = rng.lognormal(0.0, 0.35, size=count)
        loudness[: max(2, int(rate * 0.03))] = 1.5  # that the beginning is heard
        x = rng.uniform(actor.zone[0], actor.zone[1], size=count)
        showers.append(Shower(cue=cue, times=times, x=x, loudness=loudness))
    return showers


def presence(
    cues: Sequence[Cue], times: np.ndarray, *, ramps: tuple[float, float], seconds: float
) -> np.ndarray:
    """How far something lasting is on, 0 to 1, at each moment (N,).

    It begins to rise at a cue's time, over the first of ``ramps`` in seconds, and begins to fall at
    its end, over the second; in between it is at the square root of the cue's strength.
    """
    level = np.zeros(len(times))
    for cue in cues:
        end = seconds + ramps[1] if cue.end is None or cue.end >= seconds else cue.end
        rise = np.clip((times - cue.time) / ramps[0], 0, 1)
        fall = np.clip(1 - (times - end) / ramps[1], 0, 1)
        level = np.maximum(level, np.minimum(rise, fall) * math.sqrt(cue.strength))
    return level


def push_speed(actor: Actor, times: np.ndarray, seconds: float) -> np.ndarray:
    """(N,) metres per second of a crate that is pushed, to and fro.

    The way of a push is that which leaves more room, and its speed what the room allows.
    """
    start, reach = push_range(actor)
    speed = np.zeros(len(times))
    x = start
    for cue in actor.cues:
        end = seconds if cue.end is None else cue.end
        way = -1.0 if x > 0 else 1.0
        room = reach - way * x
        fastest = min(0.25 + 0.9 * cue.strength, 0.95 * room / max(0.1, end - cue.time))
        rise = np.clip((times - cue.time) / PUSH_RAMP, 0, 1)
        fall = np.clip((end - times) / PUSH_RAMP, 0, 1)
        speed = speed + way * fastest * np.minimum(rise, fall)
        x += way * fastest * (end - cue.time - PUSH_RAMP)
    return speed


def push_range(actor: Actor) -> tuple[float, float]:
    """Where a crate's middle starts and how far it can go either way, metres from its zone's."""
    reach = max(0.05, (actor.width - actor.size) / 2)
    side = -1.0 if actor.style < 0.5 else 1.0
    return side * 0.9 * reach, reach
