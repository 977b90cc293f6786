"""Pictures of a scene, drawn large with Pillow and made small, so that edges are smooth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from PIL import Image

from wavflow_core.errors import ConfigError

from .bodies import body_painter, draw_trough
from .description import Scene
from .events import Motion
from .props import prop_painter
from .stage import Painter, View, backdrop
from .struck import struck_painter

MIN_SIZE, MAX_SIZE = 32, 2048
FINE_BELOW = 192  # pixels: pictures smaller than this are drawn three times as large, else twice


def render_frames(
    scene: Scene, motion: Motion, *, size: int, fps: Fraction
) -> Iterator[np.ndarray]:
    """Draw a scene, one picture after the other.

    Picture n shows the moment n / fps.

    Args:
        scene: The scene.
        motion: What happens in it.
        size: Pixels of a side, even, 32 to 2048.
        fps: Pictures per second.

    Yields:
        (size, size, 3) uint8, as many as begin within the scene.

    Raises:
        ConfigError: The size or the rate is out of range.
    """
    if not (MIN_SIZE <= size <= MAX_SIZE and size % 2 == 0):
        raise ConfigError(
            f"size is {size!r}; it must be an even number of pixels, {MIN_SIZE} to {MAX_SIZE}."
        )
    if not fps > 0:
        raise ConfigError(f"fps is {fps}; it must be above 0.")
    factor = 3 if size < FINE_BELOW else 2
    view = View(scene=scene, pixels=size * factor)
    still = backdrop(view)
    painters = [_painter(still, view, index, motion) for index in range(len(scene.actors))]
    for number in range(frame_count(scene.seconds, fps)):
        canvas = still.copy()
        for paint in painters:
            paint(canvas, float(number / fps))
        yield np.asarray(canvas.reduce(factor))


def frame_count(seconds: float, fps: Fraction) -> int:
    """How many pictures begin within so many seconds."""
    return max(1, math.ceil(round(seconds * float(fps), 6)))


def _painter(still: Image.Image, view: View, index: int, motion: Motion) -> Painter:
    actor = view.scene.actors[index]
    action = actor.sound_class.action
    if action == "strike":
        return struck_painter(still, view, index)
    if action in ("bounce", "roll"):
        if action == "roll":
            draw_trough(still, view, actor)
        return body_painter(view, index, motion.tracks)
    return prop_painter(still, view, index)
