"""One clip: pictures, sound and truth, from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from wavflow_core.errors import ConfigError

from .captions import write_caption
from .description import Scene
from .drawing import MAX_SIZE, MIN_SIZE, render_frames
from .events import Event, Motion
from .motion import simulate
from .scene import make_scene
from .sound import synthesize

# A change to what a seed gives must change this, so that folders do not mix.
VERSION = 1
SPLITS: Mapping[str, range] = {
    "train": range(0, 10_000_000),
    "validation": range(10_000_000, 20_000_000),
    "test": range(20_000_000, 30_000_000),
}
MIN_RATE, MAX_RATE = 4000, 192_000
MAX_FPS = 120

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """How clips are made; which clip it is, the seed says.

    Attributes:
        seconds: Length.
        size: Pixels of a side, even.
        fps: Pictures per second.
        rate: Samples per second.
    """

    seconds: float = 4.0
    size: int = 128
    fps: Fraction = Fraction(25)
    rate: int = 16_000

    def __post_init__(self) -> None:
        if not (MIN_SIZE <= self.size <= MAX_SIZE and self.size % 2 == 0):
            raise ConfigError(
                f"size is {self.size!r}; it must be an even number of pixels, {MIN_SIZE} to "
                f"{MAX_SIZE}."
            )
        if not 1 <= self.fps <= MAX_FPS:
            raise ConfigError(f"fps is {self.fps}; it must be 1 to {MAX_FPS} pictures per second.")
        if not MIN_RATE <= self.rate <= MAX_RATE:
            raise ConfigError(f"rate is {self.rate!r}; it must be {MIN_RATE} to {MAX_RATE} Hz.")
        make_scene(0, seconds=self.seconds)

    def to_dict(self) -> dict[str, JSON]:
        """For files: the settings and the version of what seeds give."""
        return {
            "seconds": self.seconds,
            "size": self.size,
            "fps": str(self.fps),
            "rate": self.rate,
            "version": VERSION,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What is known of a clip.

    Attributes:
        id: Name, from the seed.
        scene: All that it follows from.
        events: Sounds in the order in which they begin.
        caption: What is heard, in words.
    """

    id: str
    scene: Scene
    events: tuple[Event, ...]
    caption: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the things, in their order; also of a thing that stays silent."""
        return tuple(self.scene.kinds)

    def to_dict(self, config: ClipConfig) -> dict[str, JSON]:
        """As a line of ``truth.jsonl`` holds it."""
        return {
            "id": self.id,
            "seed": self.scene.seed,
            "caption": self.caption,
            "classes": list(self.classes),
            "events": [_event(event) for event in self.events],
            "parameters": _parameters(self.scene),
            "config": config.to_dict(),
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clip:
    """A clip in memory.

    Attributes:
        frames: (N, size, size, 3) uint8 RGB, frame n at n / fps.
        waveform: (T,) float32.
        truth: What is known of it.
    """

    frames: np.ndarray
    waveform: np.ndarray
    truth: Truth


def make_clip(seed: int, config: ClipConfig | None = None) -> Clip:
    """Make a clip: the same seed and settings give the same samples and pixels.

    Raises:
        ConfigError: The seed is negative.
    """
    config = ClipConfig() if config is None else config
    scene = make_scene(seed, seconds=config.seconds)
    motion = simulate(scene)
    return Clip(
        frames=np.stack(list(render_frames(scene, motion, size=config.size, fps=config.fps))),
        waveform=synthesize(scene, motion, rate=config.rate),
        truth=tell_truth(scene, motion),
    )


def tell_truth(scene: Scene, motion: Motion) -> Truth:
    """What is known of a clip, without its pictures and sound."""
    return Truth(
        id=clip_id(scene.seed),
        scene=scene,
        events=tuple(motion.events),
        caption=write_caption(scene, motion),
    )


def clip_id(seed: int) -> str:
    """The name of a clip."""
    return f"foley_{seed:08d}"


def split_seeds(split: str, count: int, *, start: int = 0) -> range:
    """Seeds of a split: ``count`` of them, the first being number ``start`` of the split.

    Raises:
        ConfigError: There is no such split, or it has not so many seeds.
    """
    if split not in SPLITS:
        raise ConfigError(f"split is {split!r}; allowed: {', '.join(SPLITS)}.")
    seeds = SPLITS[split]
    if count < 1 or start < 0 or start + count > len(seeds):
        raise ConfigError(
            f"{count} clips from number {start} are asked for; the split {split!r} has the numbers "
            f"0 to {len(seeds) - 1}: ask for fewer, and at least one."
        )
    return seeds[start : start + count]


def _event(event: Event) -> dict[str, JSON]:
    return {
        "time": round(event.time, 6),
        "end": None if event.end is None else round(event.end, 6),
        "class": event.kind,
        "object": event.object,
        "strength": round(event.strength, 4),
        "pitch_hz": round(event.pitch, 2),
    }


def _parameters(scene: Scene) -> dict[str, JSON]:
    room = scene.room
    return {
        "view_m": round(scene.view, 4),
        "floor": scene.floor,
        "wall": scene.look.wall,
        "light": round(scene.look.light, 3),
        "room_m": [round(side, 3) for side in room.sides],
        "decay_s": round(room.decay, 4),
        "distance_m": round(room.distance, 4),
        "actors": [
            {
                "class": actor.kind,
                "size_m": round(actor.size, 4),
                "pitch_hz": round(actor.pitch, 2),
                "loss": round(actor.loss, 6),
                "gain": round(actor.gain, 4),
                "zone_m": [round(edge, 4) for edge in actor.zone],
                "bodies": len(actor.drops),
            }
            for actor in scene.actors
        ],
    }
