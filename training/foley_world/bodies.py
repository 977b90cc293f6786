"""Pictures of the bodies that fall, bounce and roll."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from .description import Actor, Purpose, stream
from .events import Track
from .physics import box_sides, is_round, trough, trough_height
from .stage import OUTLINE, TIMBER, Painter, Shadow, View, paste

_Skin = Callable[[np.ndarray, np.ndarray, Actor, np.random.Generator], np.ndarray]


def body_painter(view: View, index: int, tracks: Sequence[Track]) -> Painter:
    """What draws an actor's bodies, with the threads that they hang on before they fall."""
    actor = view.scene.actors[index]
    own = [track for track in tracks if track.object == index]
    rng = stream(view.scene.seed, Purpose.PICTURE, index + 1)
    skin, shade = _ball(view, actor, rng) if is_round(actor) else (_box(view, actor, rng), None)
    shadow = Shadow(view, actor.size)
    thread = view.lit((60, 58, 60))

    def draw_bodies(image: Image.Image, time: float) -> None:
        places = [track.at(time) for track in own]
        for x, y, _ in places if actor.drops else ():
            shadow.draw(image, x, y - actor.size / 2)
        draw = ImageDraw.Draw(image)
        for track, (x, y, angle) in zip(own, places, strict=True):
            column, row = view.at(x, y)
            if actor.drops and time < track.released and y < view.scene.top:
                draw.line([(column, 0), (column, row)], fill=thread, width=2)
            turned = skin.rotate(math.degrees(angle), Image.Resampling.BILINEAR)
            paste(image, turned, column, row)
            if shade is not None:
                paste(image, shade, column, row)

    return draw_bodies


def draw_trough(image: Image.Image, view: View, actor: Actor) -> None:
    """The curved track on which a ball rolls."""
    bend, reach, _ = trough(actor)
    low = trough_height(actor)
    angles = np.linspace(-1, 1, 40) * math.asin(reach / bend)
    curve = [
        view.at(actor.middle + bend * math.sin(a), low + bend - bend * math.cos(a)) for a in angles
    ]
    foot = [view.at(actor.middle + reach, 0.0), view.at(actor.middle - reach, 0.0)]
    draw = ImageDraw.Draw(image)
    draw.polygon([*curve, *foot], fill=view.lit(TIMBER, 0.85), outline=view.lit(OUTLINE))
    draw.line(curve, fill=view.lit(TIMBER, 1.5), width=view.stroke(0.018))
    for side in (-0.8, -0.4, 0.0, 0.4, 0.8):
        x = actor.middle + side * reach
        top = low + bend - math.sqrt(bend**2 - (side * reach) ** 2)
        draw.line([view.at(x, 0.0), view.at(x, top - 0.02)], fill=view.lit(TIMBER, 0.65), width=2)


def _ball(view: View, actor: Actor, rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """The skin, which turns, and the light on it, which does not."""
    across = max(8, round(actor.size * view.scale))
    side = across + 4
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    x, y = ((grid - (side - 1) / 2) / (across / 2) for grid in (x, y))
    radius = np.hypot(x, y)
    cover = np.clip((1 - radius) * across / 2 + 0.5, 0, 1)
    tint = np.array(view.tint, np.float32)
    colours = _SKINS[actor.kind](x, y, actor, rng) * tint
    alpha = np.full_like(x, 0.80 if actor.kind == "glass_ball" else 1.0)
    skin = np.dstack([np.clip(colours, 0, 255), 255 * cover * alpha]).astype(np.uint8)
    z = np.sqrt(np.clip(1 - radius**2, 0, 1))
    light = np.array((0.65 * view.scene.look.side, -0.65, 0.6))
    light = light / np.linalg.norm(light)
    facing = x * light[0] + y * light[1] + z * light[2]
    sharp = {"rubber_ball": 18, "stone_ball": 4}.get(actor.kind, 50)
    gloss = {"rubber_ball": 0.6, "stone_ball": 0.15}.get(actor.kind, 1.0)
    spark = gloss * np.clip(2 * facing * z - light[2], 0, 1) ** sharp
    dark = 0.62 * np.clip(0.75 - facing, 0, 1)
    if actor.kind == "glass_ball":  # it gathers light on the far side
        dark = 0.35 * radius**4
    white = 255 * (spark > dark)
    shade = np.dstack([white, white, white, 255 * cover * np.maximum(spark, dark)])
    return Image.fromarray(skin), Image.fromarray(shade.astype(np.uint8))


def _two(first: np.ndarray, actor: Actor) -> np.ndarray:
    """Main colour where ``first`` is 0, second colour where it is 1."""
    main, other = np.array(actor.colour, np.float32), np.array(actor.accent, np.float32)
    return main + (other - main) * first[..., None]


def _rubber(x: np.ndarray, y: np.ndarray, actor: Actor, rng: np.random.Generator) -> np.ndarray:
    if actor.style < 0.35:  # a band
        return _two((np.abs(y) < 0.28).astype(np.float32), actor)
    if actor.style < 0.7:  # sectors
        return _two((np.sin(3 * np.arctan2(y, x)) > 0).astype(np.float32), actor)
    spots = (np.hypot(x - 0.45, y) < 0.28) | (np.hypot(x + 0.3, y - 0.4) < 0.25)
    return _two((spots | (np.hypot(x + 0.2, y + 0.5) < 0.24)).astype(np.float32), actor)


def _glass(x: np.ndarray, y: np.ndarray, actor: Actor, rng: np.random.Generator) -> np.ndarray:
    swirl = np.exp(-((y - 0.35 * np.sin(3 * x + 6 * actor.style)) ** 2) / 0.03)
    pale = np.array(actor.colour, np.float32) * 0.75 + 0.25 * 255
    edge = np.clip(np.hypot(x, y), 0, 1)[..., None] ** 3
    body = pale * (1 - edge) + np.array(actor.colour, np.float32) * 0.40 * edge
    return body * (1 - swirl[..., None]) + np.array(actor.accent, np.float32) * swirl[..., None]


def _steel(x: np.ndarray, y: np.ndarray, actor: Actor, rng: np.random.Generator) -> np.ndarray:
    # Scratches that show how it turns; the sheen is in the light.
    sheen = 0.95 + 0.18 * np.sin(8 * x + 2 * np.sin(3 * y)) * (np.abs(y) < 0.25)
    line = 1 - 0.45 * (np.abs(x - 0.1) < 0.05)
    return np.array(actor.colour, np.float32) * (sheen * line)[..., None]


def _stone(x: np.ndarray, y: np.ndarray, actor: Actor, rng: np.random.Generator) -> np.ndarray:
    coarse = Image.fromarray(rng.normal(0, 1, size=(9, 9)).astype(np.float32))
    rough = np.asarray(coarse.resize((x.shape[1], x.shape[0]), Image.Resampling.BICUBIC))
    crack = np.abs(y - 0.3 * np.sin(4 * x + 9 * actor.style)) < 0.06
    shade = (1 + 0.22 * rough) * (1 - 0.45 * crack)
    return np.array(actor.colour, np.float32) * shade[..., None]


_SKINS: Mapping[str, _Skin] = {
    "rubber_ball": _rubber,
    "glass_ball": _glass,
    "metal_ball": _steel,
    "stone_ball": _stone,
}


def _box(view: View, actor: Actor, rng: np.random.Generator) -> Image.Image:
    """A block or a can, with room to turn."""
    width, height = (max(6, round(side * view.scale)) for side in box_sides(actor))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    colour = np.array(actor.colour, np.float32)
    if actor.kind == "tin_can":
        round_off = 0.45 + 0.75 * np.clip(1 - (x - 0.25 * view.scene.look.side) ** 2, 0, 1)
        label = (np.abs(y) < 0.62)[..., None]
        tin = np.array((196, 198, 202), np.float32) * (1 - 0.25 * (np.sin(40 * y) > 0.4))[..., None]
        mark = ((np.hypot(x, y * height / width) < 0.5) & (np.abs(y) < 0.6))[..., None]
        print_ = np.where(mark, np.array(actor.accent, np.float32), colour)
        pixels = np.where(label, print_, tin) * round_off[..., None]
    else:
        wave = np.sin(14 * x + 2.5 * np.sin(2.2 * y + 6 * actor.style) + 9 * actor.style)
        pixels = colour * (1 + 0.16 * wave)[..., None]
    edge = (np.abs(x) > 1 - 5 / width) | (np.abs(y) > 1 - 5 / height)
    pixels = np.where(edge[..., None], pixels * 0.5, pixels) * np.array(view.tint, np.float32)
    block = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGBA")
    side = math.ceil(math.hypot(width, height)) + 4
    sprite = Image.new("RGBA", (side, side))
    sprite.paste(block, ((side - width) // 2, (side - height) // 2))
    return sprite
