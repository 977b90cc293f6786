"""Drawing a scene by chance: which things, how large, where, when, in what room and light."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wavflow_core.errors import ConfigError

from .classes import CLASSES, Colour
from .description import GRAVITY, Actor, Cue, Drop, Look, Purpose, Room, Scene, stream
from .floors import FLOORS

MIN_SECONDS, MAX_SECONDS = 1.0, 60.0
TWO_ACTORS = 1 / 3  # of the clips
WALLS = ("plain", "gradient", "stripes", "tiles", "bricks", "dots", "planks", "sky", "panels")
FIRST, LAST = 0.20, 0.35  # seconds before the first and after the last planned moment
APART = 0.12  # seconds between planned moments of two actors
BETWEEN = {"strike": 0.34, "drip": 0.34, "hum": 0.45, "rain": 0.6, "scrape": 0.45}
MOST = {"strike": 7, "drip": 6, "hum": 5, "rain": 3, "scrape": 5}
ATTEMPTS = 20
WAIT = 0.9  # seconds between bodies that are let go: most of what a dull one needs to come to rest


def make_scene(seed: int, *, seconds: float = 4.0, kinds: Sequence[str] | None = None) -> Scene:
    """Draw a scene.

    Args:
        seed: 0 or more; the same seed gives the same scene.
        seconds: Length of the clip, 1 to 60.
        kinds: Classes of the actors, one or two; None draws them, two of a third of the seeds.

    Raises:
        ConfigError: A number is out of range, or a class does not exist.
    """
    _check(seed, seconds, kinds)
    rng = stream(seed, Purpose.SCENE)
    count = 1 + int(rng.random() < TWO_ACTORS)
    drawn = [str(name) for name in rng.choice(sorted(CLASSES), size=count, replace=False)]
    chosen = drawn if kinds is None else list(kinds)
    look, floor = _draw_look(rng)
    view = rng.uniform(1.05, 1.45) if len(chosen) == 1 else rng.uniform(1.3, 1.65)
    half = view / 2
    zones = (
        [(-0.92 * half, 0.92 * half)]
        if len(chosen) == 1
        else [(-0.97 * half, -0.04 * half), (0.04 * half, 0.97 * half)]
    )
    top = view * (1 - look.floor_line)
    actors: list[Actor] = []
    for kind, zone in zip(chosen, zones, strict=True):
        taken = [
            moment
            for actor in actors
            for cue in actor.cues
            for moment in (cue.time, cue.end)
            if moment is not None
        ]
        actors.append(_draw_actor(rng, kind, zone=zone, top=top, seconds=seconds, taken=taken))
    return Scene(
        seed=seed,
        seconds=seconds,
        view=view,
        floor=floor,
        look=look,
        room=_draw_room(rng, view),
        actors=tuple(actors),
    )


def _check(seed: int, seconds: float, kinds: Sequence[str] | None) -> None:
    if seed < 0:
        raise ConfigError(f"seed is {seed!r}; it must be 0 or more.")
    if not (math.isfinite(seconds) and MIN_SECONDS <= seconds <= MAX_SECONDS):
        raise ConfigError(
            f"seconds is {seconds!r}; it must be {MIN_SECONDS:g} to {MAX_SECONDS:g}: make several "
            "clips for more."
        )
    if kinds is None:
        return
    unknown = [kind for kind in kinds if kind not in CLASSES]
    if unknown:
        raise ConfigError(f"There is no class {unknown[0]!r}; allowed: {', '.join(CLASSES)}.")
    if len(kinds) not in (1, 2):
        raise ConfigError(
            f"{len(kinds)} classes are given; a scene has one or two: leave out some."
        )


def _draw_look(rng: np.random.Generator) -> tuple[Look, str]:
    floor = str(rng.choice(sorted(FLOORS)))
    families = FLOORS[floor].colours
    value = rng.uniform(0.45, 0.95)
    wall = _from_hsv(rng.random(), rng.uniform(0.05, 0.45), value)
    accent = _from_hsv(rng.random(), rng.uniform(0.05, 0.40), value * rng.uniform(0.75, 0.95))
    look = Look(
        wall=str(rng.choice(WALLS)),
        wall_colour=wall,
        wall_accent=accent,
        floor_colour=vary(rng, families[rng.integers(len(families))], 0.10),
        floor_line=rng.uniform(0.16, 0.26),
        light=rng.uniform(0.70, 1.12),
        warmth=rng.uniform(-1, 1),
        side=rng.uniform(-1, 1),
        ornaments=int(rng.integers(0, 3)),
    )
    return look, floor


def _draw_room(rng: np.random.Generator, view: float) -> Room:
    sides = (rng.uniform(3, 12), rng.uniform(3, 9), rng.uniform(2.4, 5))
    # Small rooms are drier on the whole; furniture makes the rest.
    decay = float(np.clip(0.14 * np.cbrt(math.prod(sides)) * rng.lognormal(-0.4, 0.45), 0.12, 1.2))
    return Room(
        sides=sides,
        decay=decay,
        distance=view * rng.uniform(0.55, 1.0),
        noise=float(10 ** (rng.uniform(-76, -62) / 20)),
    )


def _draw_actor(
    rng: np.random.Generator,
    kind: str,
    *,
    zone: tuple[float, float],
    top: float,
    seconds: float,
    taken: Sequence[float],
) -> Actor:
    row = CLASSES[kind]
    smallest, largest = row.sizes
    largest = max(smallest, min(largest, row.share * (zone[1] - zone[0]), 0.72 * top))
    size = math.exp(rng.uniform(math.log(smallest), math.log(largest)))
    action = row.action
    return Actor(
        kind=kind,
        zone=zone,
        size=size,
        aspect=rng.uniform(0.65, 1.0),
        pitch=row.pitch_of(size) * float(np.exp(rng.normal(0, 0.05))),
        loss=row.loss * float(np.exp(rng.normal(0, 0.30))),
        gain=row.level * float(10 ** (rng.uniform(-3, 3) / 20)),
        colour=vary(rng, row.colours[rng.integers(len(row.colours))], 0.12),
        accent=_from_hsv(rng.random(), rng.uniform(0.5, 0.9), rng.uniform(0.6, 1.0)),
        style=rng.random(),
        cues=() if action == "bounce" else _draw_cues(rng, action, top, seconds, taken),
        drops=_draw_drops(rng, size, zone=zone, top=top, seconds=seconds, lively=row.restitution)
        if action == "bounce"
        else (),
    )


def _draw_cues(
    rng: np.random.Generator, action: str, top: float, seconds: float, taken: Sequence[float]
) -> tuple[Cue, ...]:
    """Planned moments; those of long sounds in pairs of start and end."""
    if action == "roll":
        return (
            Cue(
                time=rng.uniform(0.15, min(1.0, seconds / 3)),
                strength=rng.random(),
                place=rng.random(),
            ),
        )
    # A drop needs time to fall from the tap before it is heard.
    first = FIRST + (math.sqrt(2 * top / GRAVITY) if action == "drip" else 0.0)
    long = action in ("hum", "rain", "scrape")
    moments: list[float] = []
    for _ in range(ATTEMPTS):
        moments = _spaced(
            rng, first, seconds - LAST, apart=BETWEEN[action], most=MOST[action], long=long
        )
        if all(abs(moment - other) >= APART for moment in moments for other in taken):
            break
    if not long:
        return tuple(
            Cue(time=moment, strength=rng.uniform(0.3, 1.0), place=rng.uniform(0.08, 0.92))
            for moment in moments
        )
    ends = [*moments[1::2], seconds]
    return tuple(
        Cue(time=start, end=end, strength=rng.uniform(0.4, 1.0), place=rng.random())
        for start, end in zip(moments[::2], ends, strict=False)
    )


def _spaced(
    rng: np.random.Generator, first: float, last: float, *, apart: float, most: int, long: bool
) -> list[float]:
    """Up to ``most`` moments from first to last, with at least so much between them."""
    room = max(0.0, last - first)
    possible = max(1, min(most, 1 + int(room / apart * 0.75)))
    lowest = 1 if long else min(2, possible)
    count = int(rng.integers(lowest, possible + 1))
    free = np.sort(rng.uniform(0, room - (count - 1) * apart, size=count))
    return [float(first + free[k] + k * apart) for k in range(count)]


def _draw_drops(
    rng: np.random.Generator,
    size: float,
    *,
    zone: tuple[float, float],
    top: float,
    seconds: float,
    lively: float,
) -> tuple[Drop, ...]:
    """Bodies let go one after the other; lively ones need fewer to fill the clip."""
    margin = 0.6 * size
    fits = max(1, int((zone[1] - zone[0]) / (1.15 * size)))
    most = min(fits, 2 if lively > 0.7 else 3, max(1, int(seconds / WAIT - 0.5)))
    count = min(most, 1 + int(rng.random() < 0.5) + int(rng.random() < 0.25))
    # The earlier it begins, the more of the clip it fills.
    room = max(0.01, seconds - 1.2 - WAIT * (count - 1))
    free = np.sort(room * rng.random(size=count) ** (1 + count * lively))
    # Each begins in a part of the zone of its own, so that they seldom hang on one another.
    edges = np.linspace(zone[0] + margin, zone[1] - margin, count + 1)
    order = rng.permutation(count)
    drops: list[Drop] = []
    for k in range(count):
        x = rng.uniform(edges[order[k]], edges[order[k] + 1])
        time = float(0.05 + free[k] + WAIT * k)
        target = rng.uniform(zone[0] + margin, zone[1] - margin)
        speed = float(np.clip((target - x) / max(0.8, seconds - time), -0.35, 0.35))
        # Half of them hang in sight on a thread; the others come in from above.
        seen = rng.random() < 0.5
        height = (top - size) * rng.uniform(0.55, 0.98) if seen else top + 0.2 * size
        drops.append(
            Drop(
                time=time,
                x=float(x),
                height=float(height),
                speed=speed,
                spin=rng.uniform(-5, 5),
                tilt=rng.uniform(-math.pi, math.pi),
            )
        )
    return tuple(drops)


def vary(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    """A colour near another: every channel and the whole changed by up to so large a share."""
    factors = (1 + rng.uniform(-amount, amount)) * (1 + rng.uniform(-amount, amount, size=3) / 2)
    red, green, blue = (int(np.clip(c * f, 0, 255)) for c, f in zip(colour, factors, strict=True))
    return red, green, blue


def _from_hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB of a hue (turns), saturation and value, 0 to 1."""
    channels = [
        value * (1 - saturation * float(np.clip(abs((hue * 6 + shift) % 6 - 3) - 1, 0, 1)))
        for shift in (3, 1, 5)
    ]
    red, green, blue = (round(255 * float(np.clip(channel, 0, 1))) for channel in channels)
    return red, green, blue
