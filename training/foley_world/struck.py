"""Pictures of things that are struck, and of the sticks that strike them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .choreography import blow_place, stick_angle, sway
from .classes import Colour
from .description import Actor
from .stage import METAL, OUTLINE, TIMBER, Painter, Point, Shadow, View, disc, paste, rod

HEAD = 0.042  # metres, half the width of a stick's head
LENGTH = 0.38  # metres of a stick


@dataclass(frozen=True, kw_only=True, slots=True)
class _Blow:
    """Where a stick touches, in metres, and the side it comes from.

    Attributes:
        x: From the picture's middle.
        y: Above the floor.
        from_above: Whether it comes down; else it comes from the right.
        hand: 1 where the stick is held on the right, -1 on the left.
    """

    x: float
    y: float
    from_above: bool
    hand: float = 1.0


_Draw = Callable[[ImageDraw.ImageDraw, Image.Image, float], None]


def struck_painter(image: Image.Image, view: View, index: int) -> Painter:
    """Draw what stands still onto the backdrop; return what draws the rest, the stick included."""
    actor = view.scene.actors[index]
    draw_thing, aim = _THINGS[actor.kind](image, view, actor)
    colour, handle = view.lit(actor.accent), view.lit((214, 190, 150))

    def draw_all(image: Image.Image, time: float) -> None:
        draw = ImageDraw.Draw(image)
        draw_thing(draw, image, time)
        blow = aim(blow_place(actor, time))
        head, hand = _stick(blow, stick_angle(actor, time))
        rod(draw, view.at(*head), view.at(*hand), handle, view.stroke(0.020))
        disc(draw, *view.at(*head), (HEAD + 0.008) * view.scale, view.lit(OUTLINE))
        disc(draw, *view.at(*head), HEAD * view.scale, colour)

    return draw_all


def _stick(blow: _Blow, lift: float) -> tuple[Point, Point]:
    """Middle of the head and end of the handle, metres; at lift 0 the head just touches."""
    if blow.from_above:
        x, y = blow.x, blow.y + HEAD
        way = math.radians(28 if blow.hand > 0 else 152)
        turn = -lift * blow.hand
    else:
        x, y = blow.x + HEAD, blow.y
        way, turn = math.radians(-72), -lift
    hand = (x + LENGTH * math.cos(way), y + LENGTH * math.sin(way))
    angle = way + math.pi + turn
    return (hand[0] + LENGTH * math.cos(angle), hand[1] + LENGTH * math.sin(angle)), hand


def _gallows(image: Image.Image, view: View, x: float, top: float, reach: float) -> None:
    """A post on the left and a beam from which something hangs at ``x``, metres."""
    draw = ImageDraw.Draw(image)
    colour = view.lit(TIMBER)
    post = x - reach
    Shadow(view, 0.2).draw(image, post, 0.0)
    rod(draw, view.at(post, 0.0), view.at(post, top), colour, view.stroke(0.03))
    rod(draw, view.at(post, top), view.at(x + 0.05, top), colour, view.stroke(0.03))
    rod(draw, view.at(post - 0.08, 0.0), view.at(post + 0.08, 0.0), colour, view.stroke(0.03))


def _hanging(view: View, sprite: Image.Image, x: float, top: float, string: float) -> Callable:
    """What draws a picture that hangs from metres (x, top) on a string and swings."""
    line = view.lit((70, 64, 60))

    def draw(draw: ImageDraw.ImageDraw, image: Image.Image, angle: float) -> None:
        length = string + sprite.height / view.scale / 2
        middle = view.at(x + length * math.sin(angle), top - length * math.cos(angle))
        hook = view.at(x + string * math.sin(angle), top - string * math.cos(angle))
        draw.line([view.at(x, top), hook], fill=line, width=3)
        turned = sprite.rotate(math.degrees(angle), Image.Resampling.BILINEAR, expand=True)
        paste(image, turned, *middle)

    return draw


def _shaded(view: View, mask: Image.Image, colour: Colour, sheen: float) -> Image.Image:
    """A turned body of a colour: brighter where it faces the light, with a shape's mask."""
    x = np.linspace(-1, 1, mask.width)
    facing = 1 - (x - 0.45 * view.scene.look.side) ** 2
    shade = 0.55 + 0.5 * facing + sheen * np.clip(facing - 0.86, 0, 1) * 7
    row = np.clip(np.array(view.lit(colour)) * shade[:, None], 0, 255).astype(np.uint8)
    pixels = np.broadcast_to(row[None], (mask.height, mask.width, 3))
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.putalpha(mask)
    return image


def _bell(image: Image.Image, view: View, actor: Actor) -> tuple[_Draw, Callable[[float], _Blow]]:
    size, x = actor.size, actor.middle - 0.11 * actor.width
    string = 0.05
    top = min(0.93 * view.scene.top, size + string + 0.22 + 0.15 * actor.style)
    _gallows(image, view, x, top, 0.5 * size + 0.08)
    side = max(10, round(size * view.scale))
    mask = Image.new("L", (side, side))
    profile = [(0.0, 0.10), (0.05, 0.22), (0.16, 0.27), (0.55, 0.31), (0.78, 0.38), (1.0, 0.5)]
    right = [(side * (0.5 + w), side * h) for h, w in profile]
    left = [(side * (0.5 - w), side * h) for h, w in reversed(profile)]
    ImageDraw.Draw(mask).polygon([*right, *left], fill=255)
    sprite = _shaded(view, mask, actor.colour, 0.8)
    draw = ImageDraw.Draw(sprite)
    for high in (0.70, 0.93):
        line = [(0.10 * side, high * side), (0.9 * side, high * side)]
        draw.line(line, fill=view.lit(actor.colour, 0.5), width=2)
    sprite.putalpha(mask)
    hanging = _hanging(view, sprite, x, top, string)

    def draw_bell(draw: ImageDraw.ImageDraw, image: Image.Image, time: float) -> None:
        hanging(draw, image, -0.16 * sway(actor, time, period=0.55, decay=0.25))

    rim = top - string - 0.93 * size
    return draw_bell, lambda place: _Blow(x=x + 0.46 * size, y=rim, from_above=False)


def _gong(image: Image.Image, view: View, actor: Actor) -> tuple[_Draw, Callable[[float], _Blow]]:
    size, x = actor.size, actor.middle - 0.11 * actor.width
    string = 0.07
    top = min(0.95 * view.scene.top, size + string + 0.12 + 0.15 * actor.style)
    _gallows(image, view, x, top, 0.5 * size + 0.07)
    side = max(12, round(size * view.scale))
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).ellipse([0, 0, side - 1, side - 1], fill=255)
    sprite = _shaded(view, mask, actor.colour, 0.3)
    draw = ImageDraw.Draw(sprite)
    for part, factor in ((0.96, 0.55), (0.80, 1.15), (0.74, 0.85), (0.34, 1.3), (0.28, 0.95)):
        inset = side * (1 - part) / 2
        box = [inset, inset, side - inset, side - inset]
        draw.ellipse(box, outline=view.lit(actor.colour, factor), width=max(2, side // 40))
    sprite.putalpha(mask)
    hanging = _hanging(view, sprite, x, top, string)

    def draw_gong(draw: ImageDraw.ImageDraw, image: Image.Image, time: float) -> None:
        hanging(draw, image, -0.13 * sway(actor, time, period=0.7, decay=0.35))

    middle = top - string - size / 2
    return draw_gong, lambda place: _Blow(x=x + size / 2, y=middle, from_above=False)


def _tube(image: Image.Image, view: View, actor: Actor) -> tuple[_Draw, Callable[[float], _Blow]]:
    size, x = actor.size, actor.middle - 0.15 * actor.width
    wide, string = 0.075, 0.06
    top = min(0.96 * view.scene.top, size + string + 0.12 + 0.2 * actor.style)
    _gallows(image, view, x, top, 0.20)
    width, height = max(6, round(wide * view.scale)), round(size * view.scale)
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).rounded_rectangle([0, 0, width - 1, height - 1], radius=3, fill=255)
    hanging = _hanging(view, _shaded(view, mask, actor.colour, 1.0), x, top, string)

    def draw_tube(draw: ImageDraw.ImageDraw, image: Image.Image, time: float) -> None:
        hanging(draw, image, -0.10 * sway(actor, time, period=0.5, decay=0.25))

    def aim(place: float) -> _Blow:
        return _Blow(x=x + wide / 2, y=top - string - place * size, from_above=False)

    return draw_tube, aim


def _bar(image: Image.Image, view: View, actor: Actor) -> tuple[_Draw, Callable[[float], _Blow]]:
    size, x, thick = actor.size, actor.middle, 0.075
    high = 0.14 + 0.22 * actor.aspect
    still = ImageDraw.Draw(image)
    Shadow(view, size).draw(image, x, 0.05)
    for side in (-0.28, 0.28):
        foot = view.box(x + side * size, high / 2, 0.05, high)
        still.rectangle(foot, fill=view.lit(METAL, 0.55))
    width, height = max(8, round(size * view.scale)), max(4, round(thick * view.scale))
    y, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    grain = 1 + 0.16 * np.sin(16 * y + 2 * np.sin(9 * across + 6 * actor.style))
    shade = grain * (1.2 - 0.6 * y)
    pixels = np.clip(np.array(view.lit(actor.colour)) * shade[..., None], 0, 255)
    sprite = Image.fromarray(pixels.astype(np.uint8)).convert("RGBA")
    ImageDraw.Draw(sprite).rectangle([0, 0, width - 1, height - 1], outline=(40, 24, 16), width=2)

    def draw_bar(draw: ImageDraw.ImageDraw, image: Image.Image, time: float) -> None:
        move = -0.022 * sway(actor, time, period=0.11, decay=0.10)
        paste(image, sprite, *view.at(x, high + thick / 2 + move))

    hand = 1.0 if actor.style < 0.5 else -1.0

    def aim(place: float) -> _Blow:
        spot = x + (place - 0.5) * size
        return _Blow(x=spot, y=high + thick, from_above=True, hand=hand)

    return draw_bar, aim


def _drum(image: Image.Image, view: View, actor: Actor) -> tuple[_Draw, Callable[[float], _Blow]]:
    size, x = actor.size, actor.middle
    high = size * (0.55 + 0.45 * actor.aspect)
    high = min(high, 0.55 * view.scene.top)
    rim = 0.20 * size
    Shadow(view, 1.15 * size).draw(image, x, 0.0)
    left, top, right, bottom = view.box(x, high / 2, size, high)
    half = rim / 2 * view.scale
    mask = Image.new("L", (round(right - left), round(bottom - top + half)))
    shape = ImageDraw.Draw(mask)
    shape.rectangle([0, 0, mask.width, mask.height - half - 1], fill=255)
    shape.ellipse([0, mask.height - 2 * half, mask.width, mask.height], fill=255)
    shell = _shaded(view, mask, actor.colour, 0.4)
    image.paste(shell, (round(left), round(top)), shell)
    still = ImageDraw.Draw(image)
    points = [(left + (right - left) * n / 6, (top, bottom)[n % 2]) for n in range(7)]
    still.line(points, fill=view.lit((225, 215, 190)), width=view.stroke(0.012))
    skin, edge = view.lit((236, 226, 204)), view.lit(METAL, 0.8)

    def draw_drum(draw: ImageDraw.ImageDraw, image: Image.Image, time: float) -> None:
        dent = sway(actor, time, period=0.10, decay=0.09)
        head = view.box(x, high, size, rim)
        draw.ellipse(head, fill=skin, outline=edge, width=view.stroke(0.018))
        if abs(dent) > 0.02:  # the skin goes up and down
            ring = view.box(x, high + 0.02 * dent, 0.62 * size, 0.62 * rim)
            draw.ellipse(ring, fill=view.lit((236, 226, 204), 0.85 + 0.25 * dent))

    hand = 1.0 if actor.style < 0.5 else -1.0

    def aim(place: float) -> _Blow:
        spot = x + (place - 0.5) * 0.85 * size
        return _Blow(x=spot, y=high, from_above=True, hand=hand)

    return draw_drum, aim


def _glass(image: Image.Image, view: View, actor: Actor) -> tuple[_Draw, Callable[[float], _Blow]]:
    size, x = actor.size, actor.middle - 0.14 * actor.width
    wide = 0.52 * size
    Shadow(view, wide).draw(image, x, 0.0)
    side_x, side_y = max(8, round(wide * view.scale)), max(12, round(size * view.scale))
    sprite = Image.new("RGBA", (side_x + 8, side_y + 4))
    draw = ImageDraw.Draw(sprite)

    def bowl(low: float, high: float) -> list[Point]:
        """Outline of the bowl between two shares of the height."""
        rows = np.linspace(low, high, 12)
        bulge = [0.5 * math.sin(math.pi * (0.16 + 0.62 * (h - 0.42) / 0.58)) ** 0.8 for h in rows]
        bulge = [b if h > 0.44 else 0.10 for b, h in zip(bulge, rows, strict=True)]
        right = [
            (4 + side_x * (0.5 + b), side_y * (1 - h)) for b, h in zip(bulge, rows, strict=True)
        ]
        left = [
            (4 + side_x * (0.5 - b), side_y * (1 - h)) for b, h in zip(bulge, rows, strict=True)
        ]
        return [*right, *reversed(left)]

    pale, edge = view.lit(actor.colour), view.lit(actor.colour, 0.55)
    draw.polygon(bowl(0.42, 1.0), fill=(*pale, 120), outline=(*edge, 255), width=3)
    draw.polygon(bowl(0.43, 0.60 + 0.2 * actor.aspect), fill=(*view.lit((130, 20, 50)), 215))
    middle = 4 + side_x / 2
    draw.line([(middle, 0.57 * side_y), (middle, 0.97 * side_y)], fill=(*edge, 255), width=5)
    foot = [4 + 0.2 * side_x, 0.94 * side_y, 4 + 0.8 * side_x, side_y]
    draw.ellipse(foot, fill=(*pale, 220), outline=(*edge, 255), width=2)
    shine = [(4 + 0.22 * side_x, 0.12 * side_y), (4 + 0.18 * side_x, 0.38 * side_y)]
    draw.line(shine, fill=(255, 255, 255, 220), width=4)
    rim = wide * 0.5 * math.sin(math.pi * 0.70) ** 0.8

    def draw_glass(draw: ImageDraw.ImageDraw, image: Image.Image, time: float) -> None:
        lean = 0.07 * sway(actor, time, period=0.16, decay=0.14)
        turned = sprite.rotate(math.degrees(lean), Image.Resampling.BILINEAR)
        paste(image, turned, *view.at(x - 0.4 * size * lean, size / 2))

    return draw_glass, lambda place: _Blow(x=x + rim, y=0.88 * size, from_above=False)


_THINGS: Mapping[
    str, Callable[[Image.Image, View, Actor], tuple[_Draw, Callable[[float], _Blow]]]
] = {
    "bell": _bell,
    "gong": _gong,
    "metal_tube": _tube,
    "wooden_bar": _bar,
    "drum": _drum,
    "wine_glass": _glass,
}
