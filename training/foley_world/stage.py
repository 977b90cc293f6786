"""The stage: where metres are in the picture, its light, wall and floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .classes import Colour
from .description import Purpose, Scene, stream

Painter = Callable[[Image.Image, float], None]
Point = tuple[float, float]
OUTLINE = (30, 28, 34)
METAL = (150, 154, 160)
TIMBER = (122, 86, 52)


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How a scene is laid on a canvas.

    Attributes:
        scene: The scene.
        pixels: Side of the square canvas.
    """

    scene: Scene
    pixels: int

    @property
    def scale(self) -> float:
        """Pixels per metre."""
        return self.pixels / self.scene.view

    def at(self, x: float, y: float) -> Point:
        """Pixels from the left and the top, of metres from the middle and above the floor."""
        ground = self.pixels * (1 - self.scene.look.floor_line)
        return self.pixels / 2 + x * self.scale, ground - y * self.scale

    def stroke(self, metres: float) -> int:
        """Pixels of a line's width, at least one of the finished picture's halves."""
        return max(2, round(metres * self.scale))

    def lit(self, colour: Colour, factor: float = 1.0) -> Colour:
        """A colour in the light of the scene."""
        red, green, blue = (
            int(min(255.0, channel * tint * factor))
            for channel, tint in zip(colour, self.tint, strict=True)
        )
        return red, green, blue

    @property
    def tint(self) -> tuple[float, float, float]:
        """Factors of the light on red, green and blue."""
        look = self.scene.look
        return (
            look.light * (1 + 0.07 * look.warmth),
            look.light,
            look.light * (1 - 0.09 * look.warmth),
        )

    def box(self, x: float, y: float, width: float, height: float) -> tuple[float, ...]:
        """Left, top, right and bottom in pixels around a middle, all given in metres."""
        left, top = self.at(x - width / 2, y + height / 2)
        right, bottom = self.at(x + width / 2, y - height / 2)
        return left, top, right, bottom


def rod(draw: ImageDraw.ImageDraw, first: Point, last: Point, colour: Colour, width: float) -> None:
    """A line with round ends, in pixels."""
    draw.line([first, last], fill=colour, width=max(1, round(width)))
    for x, y in (first, last):
        disc(draw, x, y, width / 2, colour)


def disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Colour) -> None:
    """A filled circle, in pixels."""
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


def paste(image: Image.Image, sprite: Image.Image, x: float, y: float) -> None:
    """Lay a picture with alpha over another, its middle at a place in pixels."""
    corner = (round(x - sprite.width / 2), round(y - sprite.height / 2))
    image.paste(sprite, corner, sprite)


class Shadow:
    """The soft dark spot below a thing; paler the higher it is."""

    LEVELS = 8

    def __init__(self, view: View, width: float) -> None:
        across = max(6, round(1.25 * width * view.scale))
        high = max(4, round(across * 0.24))
        y, x = np.mgrid[-1 : 1 : high * 1j, -1 : 1 : across * 1j]
        soft = np.clip(1 - (x**2 + y**2), 0, 1) ** 0.8
        self._view = view
        self._masks = [
            Image.fromarray((soft * 150 * (n + 1) / self.LEVELS).astype(np.uint8))
            for n in range(self.LEVELS)
        ]

    def draw(self, image: Image.Image, x: float, height: float) -> None:
        """Darken the floor below metres ``x`` for a thing whose foot is so many metres up."""
        level = round((self.LEVELS - 1) / (1 + 5 * max(0.0, height)))
        mask = self._masks[level]
        left, top = self._view.at(x, 0.0)
        image.paste((10, 8, 12), (round(left - mask.width / 2), round(top - mask.height / 2)), mask)


def backdrop(view: View) -> Image.Image:
    """Wall, floor, and what hangs on the wall."""
    rng = stream(view.scene.seed, Purpose.PICTURE, 0)
    look, size = view.scene.look, view.pixels
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j].astype(np.float32)
    first = np.array(look.wall_colour, np.float32)
    second = np.array(look.wall_accent, np.float32)
    if look.wall == "sky":
        first = np.array((130, 175, 225), np.float32) * 0.7 + 0.3 * first
        second = np.array((225, 232, 236), np.float32)
    share = _WALLS[look.wall](x, y, rng)[..., None]
    picture = first * (1 - share) + second * share
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    for _ in range(look.ornaments):
        _hang_ornament(image, rng, look.floor_line)
    pixels = np.asarray(image).astype(np.float32)
    row = round(size * (1 - look.floor_line) - 0.045 * size)
    pixels[row:] = _floor(view, x[row:], y[row:], rng)
    pixels[max(0, row - max(2, size // 90)) : row] *= 0.6  # the edge between wall and floor
    grain = rng.normal(0, 3.0, size=(size // 2 + 1, size // 2 + 1, 1)).astype(np.float32)
    pixels += np.repeat(np.repeat(grain, 2, axis=0), 2, axis=1)[:size, :size]
    bright = 1.06 - 0.22 * np.abs(x - 0.5 - 0.5 * look.side) - 0.12 * y
    pixels *= bright[..., None] * np.array(view.tint, np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _floor(view: View, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(rows, columns, 3) the floor, seen a little from above."""
    colour = np.array(view.scene.look.floor_colour, np.float32)
    depth = (y - y.min()) / max(1e-3, float(y.max() - y.min()))
    shade = 0.80 + 0.30 * depth
    # Lines that run away from us meet above.
    along = (x - 0.5) / (0.55 + 0.45 * depth)
    kind = view.scene.floor
    if kind == "wood":
        board = np.floor(along * 7 + 50)
        shade = shade * (0.90 + 0.10 * np.sin(board * 12.9898))
        shade = shade * (1 - 0.35 * (np.abs(along * 7 - np.round(along * 7)) < 0.035))
        shade = shade * (1 + 0.05 * np.sin(60 * along + 3 * np.sin(9 * depth + board)))
    elif kind == "tile":
        lines = np.abs(along * 6 - np.round(along * 6)) < 0.04
        rows = np.abs(depth**0.7 * 3 - np.round(depth**0.7 * 3)) < 0.05
        checks = (np.floor(along * 6 + 60) + np.floor(depth**0.7 * 3)) % 2
        shade = shade * (0.90 + 0.12 * checks) * (1 - 0.25 * (lines | rows))
    elif kind == "metal":
        shade = shade * (0.95 + 0.18 * np.sin(9 * along + rng.uniform(0, 6)) ** 2)
        dots = (np.sin(75 * along) * np.sin(60 * depth**0.8)) > 0.75
        shade = shade * (1 + 0.14 * dots)
    else:
        coarse = rng.normal(0, 1, size=(12, 40)).astype(np.float32)
        spread = Image.fromarray(coarse).resize((x.shape[1], x.shape[0]), Image.Resampling.BICUBIC)
        shade = shade * (1 + 0.07 * np.asarray(spread))
    return colour * shade[..., None]


def _hang_ornament(image: Image.Image, rng: np.random.Generator, floor_line: float) -> None:
    size = image.width
    draw = ImageDraw.Draw(image)
    width, height = (rng.uniform(0.10, 0.26, size=2) * size).tolist()
    left = rng.uniform(0, size - width)
    top = rng.uniform(0.02 * size, max(0.03 * size, size * (0.62 - floor_line) - height / 2))
    box = (left, top, left + width, top + height)
    inner = tuple(int(c) for c in rng.integers(70, 190, size=3))
    edge = tuple(int(c * 0.55) for c in inner)
    draw.rectangle(box, fill=inner, outline=edge, width=max(2, size // 90))
    if rng.random() < 0.5:  # a window
        draw.line([(left + width / 2, top), (left + width / 2, top + height)], fill=edge, width=3)
        draw.line([(left, top + height / 2), (left + width, top + height / 2)], fill=edge, width=3)
    else:
        paint = tuple(int(c) for c in rng.integers(60, 200, size=3))
        draw.ellipse(
            (left + 0.2 * width, top + 0.3 * height, left + 0.7 * width, top + 0.8 * height),
            fill=paint,
        )


_Pattern = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def _plain(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.zeros_like(x)


def _gradient(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    way = rng.uniform(0, math.tau)
    return np.clip(0.5 + (x - 0.5) * math.cos(way) + (y - 0.5) * math.sin(way), 0, 1)


def _stripes(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    way, count = rng.choice([0.0, 0.0, 0.8]), rng.uniform(4, 14)
    across = x * math.cos(way) + y * math.sin(way)
    return np.clip(4 * np.sin(math.tau * count * across) + 0.5, 0, 1)


def _tiles(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = rng.uniform(5, 11)
    lines = np.maximum(np.cos(math.tau * count * x), np.cos(math.tau * count * y))
    return (lines > 0.93).astype(np.float32)


def _bricks(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = rng.uniform(6, 12)
    row = np.floor(y * count)
    across = x * count * 0.5 + 0.5 * (row % 2)
    joint = (np.abs(across - np.round(across)) < 0.04) | (np.abs(y * count - row - 0.5) > 0.44)
    uneven = 0.25 * (0.5 + 0.5 * np.sin(row * 7.3 + np.floor(across + 0.5) * 4.1))
    return np.where(joint, 1.0, uneven)


def _dots(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = rng.uniform(5, 10)
    return np.clip(6 * (np.sin(math.tau * count * x) * np.sin(math.tau * count * y) - 0.6), 0, 1)


def _planks(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = rng.uniform(5, 9)
    board = np.floor(x * count)
    joint = np.abs(x * count - board - 0.5) > 0.46
    fibre = 0.3 + 0.15 * np.sin(board * 5.1) + 0.1 * np.sin(40 * x + 4 * np.sin(5 * y + board))
    return np.where(joint, 1.0, fibre)


def _sky(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    hills = 0.62 + 0.06 * np.sin(7 * x + rng.uniform(0, 6)) + 0.03 * np.sin(17 * x)
    return np.where(y > hills, 0.35, np.clip(y * 1.4, 0, 1))


def _panels(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count, low = rng.integers(2, 5), rng.uniform(0.35, 0.6)
    place = np.abs(x * count - np.floor(x * count) - 0.5)
    return np.where(y > low, 0.8, np.where(place > 0.42, 0.5, 0.0))


_WALLS: Mapping[str, _Pattern] = {
    "plain": _plain,
    "gradient": _gradient,
    "stripes": _stripes,
    "tiles": _tiles,
    "bricks": _bricks,
    "dots": _dots,
    "planks": _planks,
    "sky": _sky,
    "panels": _panels,
}
