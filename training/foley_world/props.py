"""Pictures of what drips, rains, hums and is pushed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw

from .choreography import (
    RAIN_SPEED,
    RAMPS,
    basin_height,
    drop_scale,
    fall_time,
    presence,
    push_range,
    push_speed,
    rain_showers,
    tap_height,
)
from .description import GRAVITY, Actor, Purpose, stream
from .stage import METAL, OUTLINE, Painter, Shadow, View, disc, paste, rod

GRID = 2e-3  # seconds between points at which speeds are summed up to places
RIPPLE = 0.55  # seconds in which a ring in the water fades
SPLASH = 0.10  # seconds in which a drop of rain is seen on the ground
GROW = 0.22  # seconds in which a drop grows at the tap
LED_ON, LED_OFF = (60, 255, 90), (70, 20, 20)


def prop_painter(image: Image.Image, view: View, index: int) -> Painter:
    """Draw what stands still onto the backdrop; return what draws the rest."""
    return _PROPS[view.scene.actors[index].kind](image, view, index)


def _drip(image: Image.Image, view: View, index: int) -> Painter:
    actor = view.scene.actors[index]
    x, level, fall = actor.middle, basin_height(actor), tap_height(view.scene, actor)
    wide = max(0.34, min(0.6, 0.6 * actor.width))
    rim = 0.22 * wide
    _draw_basin(image, view, actor, wide, rim)
    still = ImageDraw.Draw(image)
    pipe, mouth = view.stroke(0.055), level + fall
    side = -1 if actor.style < 0.5 else 1
    bend = view.at(x, mouth + 0.12)
    rod(still, view.at(x, mouth + 0.02), bend, view.lit(METAL), pipe)
    rod(still, bend, view.at(x + side * 0.5 * actor.width, mouth + 0.12), view.lit(METAL), pipe)
    disc(still, *bend, 0.05 * view.scale, view.lit(actor.accent, 0.9))
    water, crest = view.lit(actor.colour, 1.15), view.lit((235, 245, 255))
    duration = fall_time(fall)

    def draw_drops(image: Image.Image, time: float) -> None:
        draw = ImageDraw.Draw(image)
        for cue in actor.cues:
            since = time - cue.time
            half = actor.size * drop_scale(cue) / 2
            if -duration - GROW < since < 0:
                grown = min(1.0, (since + duration + GROW) / GROW)
                fallen = max(0.0, since + duration)
                y = mouth - GRAVITY / 2 * fallen**2 + half * min(1.0, -since / duration)
                column, row = view.at(x, y)
                radius = half * grown * view.scale
                tip = [(column - 0.8 * radius, row - 0.5 * radius), (column, row - 2.2 * radius)]
                draw.polygon([*tip, (column + 0.8 * radius, row - 0.5 * radius)], fill=water)
                disc(draw, column, row, radius, water)
                disc(draw, column - 0.3 * radius, row - 0.3 * radius, 0.3 * radius, crest)
            elif 0 <= since < RIPPLE:
                _draw_ripple(draw, view, x, level, wide, rim, since, cue.strength, crest)

    return draw_drops


def _draw_basin(image: Image.Image, view: View, actor: Actor, wide: float, rim: float) -> None:
    x, level = actor.middle, basin_height(actor)
    Shadow(view, wide).draw(image, x, 0.0)
    still = ImageDraw.Draw(image)
    corners = [(-0.5 * wide, level), (0.5 * wide, level), (0.36 * wide, 0.0), (-0.36 * wide, 0.0)]
    still.polygon([view.at(x + a, b) for a, b in corners], fill=view.lit(actor.accent, 0.75))
    still.ellipse(view.box(x, 0.0, 0.72 * wide, 0.6 * rim), fill=view.lit(actor.accent, 0.75))
    still.ellipse(
        view.box(x, level, wide, rim),
        fill=view.lit(actor.colour, 0.72),
        outline=view.lit(actor.accent, 1.1),
        width=view.stroke(0.016),
    )


def _draw_ripple(
    draw: ImageDraw.ImageDraw,
    view: View,
    x: float,
    level: float,
    wide: float,
    rim: float,
    since: float,
    strength: float,
    crest: tuple[int, int, int],
) -> None:
    part = since / RIPPLE
    for ring in (1.0, 0.55):
        across = 0.9 * wide * min(1.0, 0.12 + part * ring * 1.2)
        width = max(1, round((1 - part) * view.stroke(0.014)))
        draw.ellipse(view.box(x, level, across, across * rim / wide), outline=crest, width=width)
    if since < 0.22:  # small drops fly up
        for n, way in enumerate((-0.7, -0.25, 0.3, 0.75)):
            up = (0.7 + 0.5 * strength) * (1 + 0.1 * (n % 2)) * since - GRAVITY / 2 * since**2
            if up > -0.01:
                spot = view.at(x + way * since * 0.9, level + max(0.0, up))
                disc(draw, *spot, 0.013 * view.scale, crest)


def _rain(image: Image.Image, view: View, index: int) -> Painter:
    actor = view.scene.actors[index]
    rng = stream(view.scene.seed, Purpose.PICTURE, index + 1)
    showers = rain_showers(view.scene, index)
    base = 0.86 * view.scene.top
    cloud = Image.new("RGBA", image.size)
    puffs = ImageDraw.Draw(cloud)
    for n in range(16):
        across = rng.uniform(0.18, 0.34)
        place = actor.zone[0] + 0.12 + (actor.width - 0.24) * n / 15
        shade = view.lit((150, 152, 160), rng.uniform(0.7, 1.05))
        puffs.ellipse(
            view.box(place, base + rng.uniform(0.0, 0.10), across, 0.55 * across),
            fill=(*shade, 255),
        )
    image.paste(cloud, (0, 0), cloud)
    streak, splash = view.lit((205, 220, 245)), view.lit((235, 242, 255))
    width = max(2, round(actor.size * 0.7 * view.scale))
    depth = 0.6 * view.scene.look.floor_line * view.scene.view
    rows = [rng.uniform(-depth, 0.03, size=len(shower.times)) for shower in showers]

    def draw_rain(image: Image.Image, time: float) -> None:
        draw = ImageDraw.Draw(image)
        for shower, row in zip(showers, rows, strict=True):
            first, last = np.searchsorted(shower.times, (time - SPLASH, time + 0.35))
            for n in range(first, last):
                x, ahead = float(shower.x[n]), float(shower.times[n]) - time
                foot = float(row[n])
                if ahead > 0:
                    y = foot + RAIN_SPEED * ahead
                    if y < base:
                        tail = view.at(x, min(base, y + 0.10 + 2 * actor.size))
                        draw.line([view.at(x, y), tail], fill=streak, width=width)
                else:
                    wide = 0.02 + 0.07 * (-ahead / SPLASH)
                    draw.ellipse(view.box(x, foot, wide, 0.4 * wide), outline=splash, width=2)

    return draw_rain


def _fan(image: Image.Image, view: View, index: int) -> Painter:
    actor = view.scene.actors[index]
    x, radius = actor.middle, actor.size / 2
    middle = min(view.scene.top - radius - 0.03, radius + 0.16 + 0.25 * actor.style)
    Shadow(view, 0.8 * actor.size).draw(image, x, 0.0)
    still = ImageDraw.Draw(image)
    rod(still, view.at(x, 0.02), view.at(x, middle), view.lit(METAL, 0.6), view.stroke(0.04))
    foot = view.box(x, 0.025, 0.8 * actor.size, 0.05)
    still.rounded_rectangle(foot, radius=4, fill=view.lit(actor.colour, 0.8))
    blades = 3 + round(actor.aspect * 10) % 3
    times = np.arange(0, view.scene.seconds + GRID, GRID)
    level = presence(actor.cues, times, ramps=RAMPS["fan"], seconds=view.scene.seconds)
    turns = np.cumsum(level) * GRID * (5.2 + 2 * actor.style)
    ring = view.box(x, middle, actor.size, actor.size)
    across = round(1.8 * radius * view.scale)
    y_, x_ = np.mgrid[-1 : 1 : across * 1j, -1 : 1 : across * 1j]
    blur = Image.fromarray((130 * (np.hypot(x_, y_) < 1)).astype(np.uint8))

    def draw_fan(image: Image.Image, time: float) -> None:
        draw = ImageDraw.Draw(image)
        speed = float(np.interp(time, times, level))
        angle = math.tau * float(np.interp(time, times, turns))
        column, row = view.at(x, middle)
        if speed > 0.05:
            mask = blur.point(lambda value: int(value * speed))
            corner = (round(column - across / 2), round(row - across / 2))
            image.paste(view.lit(actor.accent, 0.8), corner, mask)
        for n in range(blades):
            at = angle + math.tau * n / blades
            points = [(column, row)]
            for turn, part in ((-0.32, 0.85), (0.0, 0.92), (0.28, 0.80)):
                reach = part * radius * view.scale
                points.append(
                    (column + reach * math.cos(at + turn), row - reach * math.sin(at + turn))
                )
            draw.polygon(points, fill=view.lit(actor.accent))
        draw.ellipse(ring, outline=view.lit(actor.colour), width=view.stroke(0.02))
        disc(draw, column, row, 0.2 * radius * view.scale, view.lit(actor.colour))
        _draw_led(draw, view, x, 0.03, speed > 0.05)

    return draw_fan


def _draw_led(draw: ImageDraw.ImageDraw, view: View, x: float, y: float, on: bool) -> None:
    disc(draw, *view.at(x, y), 0.022 * view.scale, LED_ON if on else LED_OFF)


def _lamp(image: Image.Image, view: View, index: int) -> Painter:
    actor = view.scene.actors[index]
    x, high = actor.middle, view.scene.top * (0.45 + 0.3 * actor.style)
    high = min(high, view.scene.top - actor.size / 2 - 0.05)
    path = _lamp_path(actor, x, high)
    points = [view.at(*point) for point in path]
    still = ImageDraw.Draw(image)
    width = view.stroke(0.045)
    still.line(points, fill=view.lit(OUTLINE), width=width + 4, joint="curve")
    for point in (points[0], points[-1]):
        disc(still, *point, 0.04 * view.scale, view.lit(METAL, 0.5))
        still.line([point, (point[0], 0)], fill=view.lit(OUTLINE), width=2)
    small = 64
    spot = np.array([(a / view.pixels * small, b / view.pixels * small) for a, b in points])
    y_, x_ = np.mgrid[0:small, 0:small]
    away = np.min([np.hypot(x_ - a, y_ - b) for a, b in _dense(spot)], axis=0)
    glow = Image.fromarray((190 * np.exp(-away / 7.0)).astype(np.uint8)).resize(image.size)
    glow_box = Image.fromarray(np.asarray(glow) // 3).getbbox() or (0, 0, 1, 1)
    glow = glow.crop(glow_box)
    layer = Image.new("RGBA", image.size)
    tube = ImageDraw.Draw(layer)
    tube.line(points, fill=(*actor.colour, 255), width=width, joint="curve")
    tube.line(points, fill=(255, 250, 255, 255), width=max(2, width // 2), joint="curve")
    tube_box = layer.getbbox() or (0, 0, 1, 1)
    layer = layer.crop(tube_box)
    off = view.lit((188, 190, 196), 0.8)
    still.line(points, fill=off, width=max(2, width - 2), joint="curve")

    def draw_lamp(image: Image.Image, time: float) -> None:
        moment = np.array([time + 1e-3])
        level = float(
            presence(actor.cues, moment, ramps=RAMPS["neon_lamp"], seconds=view.scene.seconds)[0]
        )
        if level > 0.01:
            mask = glow.point(lambda value: int(value * level))
            image.paste(actor.colour, glow_box[:2], mask)
            image.paste(layer, tube_box[:2], layer)

    return draw_lamp


def _lamp_path(actor: Actor, x: float, high: float) -> list[tuple[float, float]]:
    """Corners of a neon tube in metres: straight, upright, bent or round."""
    half = actor.size / 2
    if actor.aspect < 0.74:
        return [(x - half, high), (x + half, high)]
    if actor.aspect < 0.82:
        return [(x, high - half), (x, high + half)]
    if actor.aspect < 0.91:
        shape = ((-1.0, -0.3), (-0.33, 0.3), (0.33, -0.3), (1.0, 0.3))
        return [(x + a * half, high + b * half) for a, b in shape]
    turns = np.linspace(0.3, math.tau - 0.3, 24) - math.pi / 2
    return [(x + 0.7 * half * math.cos(a), high + 0.7 * half * math.sin(a)) for a in turns]


def _dense(points: np.ndarray) -> np.ndarray:
    """(N, 2) points all along a line of corners."""
    parts = [
        first + (second - first) * np.linspace(0, 1, 12)[:, None]
        for first, second in itertools.pairwise(points)
    ]
    return np.concatenate(parts)


def _speaker(image: Image.Image, view: View, index: int) -> Painter:
    actor = view.scene.actors[index]
    x, size = actor.middle, actor.size
    wide, high = size, size * (1.0 + 0.6 * (actor.aspect - 0.65))
    Shadow(view, 1.1 * size).draw(image, x, 0.0)
    body, edge = view.lit(actor.colour), view.lit((120, 118, 116))
    cone = view.lit(actor.accent, 0.85)

    def draw_speaker(image: Image.Image, time: float) -> None:
        moment = np.array([time + 1e-3])
        level = float(
            presence(actor.cues, moment, ramps=RAMPS["speaker"], seconds=view.scene.seconds)[0]
        )
        shake = level * math.sin(math.tau * 9.3 * time + 0.6)
        draw = ImageDraw.Draw(image)
        middle = x + 0.010 * shake
        draw.rectangle(view.box(middle, high / 2, wide, high), fill=body, outline=edge, width=3)
        across = 0.78 * size * (1 + 0.07 * shake)
        spot = high / 2 - 0.02
        bright = 1.0 + 0.4 * level + 0.3 * shake
        draw.ellipse(view.box(middle, spot, 0.86 * size, 0.86 * size), fill=edge)
        draw.ellipse(
            view.box(middle, spot, across, across), fill=view.lit(actor.accent, 0.6 * bright)
        )
        inner = 0.34 * size * (1 + 0.25 * shake)
        draw.ellipse(view.box(middle, spot, inner, inner), fill=cone, outline=body, width=3)
        _draw_led(draw, view, middle + 0.40 * wide, high - 0.05 * wide, level > 0.05)

    return draw_speaker


def _crate(image: Image.Image, view: View, index: int) -> Painter:
    actor = view.scene.actors[index]
    size = actor.size
    high = size * (0.7 + 0.3 * actor.aspect)
    times = np.arange(0, view.scene.seconds + GRID, GRID)
    speed = push_speed(actor, times, view.scene.seconds)
    path = actor.middle + push_range(actor)[0] + np.cumsum(speed) * GRID
    shadow = Shadow(view, 1.1 * size)
    sprite = _crate_sprite(view, actor, high)
    arm, dust = view.lit(METAL, 0.7), view.lit((206, 196, 180))

    def draw_crate(image: Image.Image, time: float) -> None:
        x = float(np.interp(time, times, path))
        pace = float(np.interp(time, times, speed))
        shadow.draw(image, x, 0.0)
        draw = ImageDraw.Draw(image)
        top = view.at(x, high - 0.01)
        rod(draw, top, (top[0], -4), arm, view.stroke(0.035))
        paste(image, sprite, *view.at(x, high / 2))
        if abs(pace) > 0.05:
            tail = x - math.copysign(size / 2 + 0.02, pace)
            for n in range(4):
                puff = (0.35 + 0.65 * ((7.3 * time + 0.37 * n) % 1.0)) * min(1.0, abs(pace) + 0.3)
                spot = view.at(tail - math.copysign(0.07 * n * puff, pace), 0.015 + 0.05 * puff)
                disc(draw, *spot, (0.012 + 0.022 * puff) * view.scale, dust)

    return draw_crate


def _crate_sprite(view: View, actor: Actor, high: float) -> Image.Image:
    width, height = (max(8, round(side * view.scale)) for side in (actor.size, high))
    sprite = Image.new("RGBA", (width, height), (*view.lit(actor.colour, 0.9), 255))
    draw = ImageDraw.Draw(sprite)
    dark, pale = view.lit(actor.colour, 0.55), view.lit(actor.colour, 1.25)
    for n in range(1, 4):
        draw.line([(0, height * n / 4), (width, height * n / 4)], fill=dark, width=2)
    beam = max(4, width // 9)
    draw.line([(0, height), (width, 0)], fill=pale, width=beam)
    if actor.style < 0.5:
        draw.line([(0, 0), (width, height)], fill=pale, width=beam)
    draw.rectangle([0, 0, width - 1, height - 1], outline=pale, width=beam)
    draw.rectangle([0, 0, width - 1, height - 1], outline=dark, width=2)
    return sprite


_PROPS: Mapping[str, Callable[[Image.Image, View, int], Painter]] = {
    "water_drop": _drip,
    "rain": _rain,
    "fan": _fan,
    "neon_lamp": _lamp,
    "speaker": _speaker,
    "crate": _crate,
}
