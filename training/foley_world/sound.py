"""The sound of a scene: every event where it happens, heard in a room."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from .choreography import RAMPS, presence, push_speed, rain_showers
from .description import Purpose, Scene, stream
from .events import Event, Motion
from .modal import Bank, blow_gains, contact_time, floor_modes, object_modes
from .noise import band_noise, bubble, click, friction, harmonics, rain
from .physics import ROLLING, track_speed
from .room import hear

LOUDEST = 0.95  # peak of full scale above which a clip is turned down
STEPS = 32768  # of 16-bit samples, to which waveforms are rounded, so that files hold them exactly
WASH_RAMPS = (0.012, 0.06)  # seconds in which the wash of rain comes and goes
BLOW_PEAK = 0.02  # seconds in which the peak of a blow is looked for


def synthesize(scene: Scene, motion: Motion, *, rate: int) -> np.ndarray:
    """Make the sound of a scene.

    Args:
        scene: The scene.
        motion: What happens in it.
        rate: Samples per second.

    Returns:
        (round(seconds * rate),) float32 below 1, whole multiples of 1 / 32768.
    """
    samples = round(scene.seconds * rate)
    dry = np.zeros(samples)
    for index, actor in enumerate(scene.actors):
        make = _MAKERS[actor.sound_class.action]
        dry += actor.gain * make(scene, motion, index, rate)
    wet = hear(dry, scene, rate=rate)
    rng = stream(scene.seed, Purpose.SOUND, 97)
    wet += scene.room.noise * band_noise(rng, samples, rate=rate, centre=300.0, octaves=2.5)
    peak = float(np.abs(wet).max())
    if peak > LOUDEST:
        wet *= LOUDEST / peak
    return (np.round(wet * STEPS) / STEPS).astype(np.float32)


def _own_events(motion: Motion, index: int) -> list[Event]:
    return [event for event in motion.events if event.object == index]


def _random(scene: Scene, index: int) -> np.random.Generator:
    return stream(scene.seed, Purpose.SOUND, index, 2)


def _blows(scene: Scene, motion: Motion, index: int, rate: int) -> np.ndarray:
    """Things that ring when they are struck or hit something."""
    actor = scene.actors[index]
    samples = round(scene.seconds * rate)
    out = np.zeros(samples)
    events = _own_events(motion, index)
    if not events:
        return out
    rng = _random(scene, index)
    modes = object_modes(scene, index)
    bank = Bank(modes, rate=rate, samples=samples)
    # A blow of strength 1 in the middle peaks at 1, whatever the thing.
    full = Event(time=0.0, kind=actor.kind, object=index, strength=1.0, pitch=actor.pitch)
    trial = np.zeros(max(2, int(BLOW_PEAK * rate)))
    bank.strike(trial, 0.0, blow_gains(modes, scene, full))
    scale = 1 / (float(np.abs(trial).max()) + 1e-9)
    ground = floor_modes(scene)
    floor_bank = Bank(ground, rate=rate, samples=samples)
    weight = actor.sound_class.density * actor.relative_size**1.5
    for event in events:
        bank.strike(out, event.time, scale * blow_gains(modes, scene, event))
        duration = contact_time(actor, scene, event)
        burst = click(rng, rate=rate, duration=duration)
        _add(out, event.time, actor.sound_class.click * event.strength * burst, rate)
        if event.on_floor:
            answer = scene.ground.answer * min(1.5, weight) / math.sqrt(len(ground.gains))
            push = answer * event.strength * ground.gains
            floor_bank.strike(out, event.time, push * (1.0 + 0.3 * rng.random(len(push))))
    return out


def _rolling(scene: Scene, motion: Motion, index: int, rate: int) -> np.ndarray:
    """A ball that rolls: rubbing where it is fast enough to be heard."""
    actor = scene.actors[index]
    times = np.arange(round(scene.seconds * rate)) / rate
    rng = _random(scene, index)
    out = np.zeros(len(times))
    for track in motion.tracks:
        if track.object == index:
            speed = np.interp(times, track.times, track_speed(track))
            # From where it is heard on it grows quickly, as the floor's roughness takes hold.
            speed = np.sqrt(np.maximum(0.0, speed - ROLLING))
            rough = friction(rng, speed, rate=rate, centre=4 * actor.pitch, roughness=0.25)
            low = friction(rng, speed, rate=rate, centre=actor.pitch, roughness=0.3)
            out += 0.45 * rough + 0.8 * low
    return out


def _scraping(scene: Scene, motion: Motion, index: int, rate: int) -> np.ndarray:
    """A crate that is pushed over the floor."""
    actor = scene.actors[index]
    times = np.arange(round(scene.seconds * rate)) / rate
    speed = push_speed(actor, times, scene.seconds)
    # Also a slow crate scrapes: its weight is on rough ground.
    level = np.sign(speed) * np.sqrt(np.abs(speed))
    centre = actor.pitch * scene.ground.hardness**-0.8
    return friction(_random(scene, index), level, rate=rate, centre=centre, roughness=0.25)


def _dripping(scene: Scene, motion: Motion, index: int, rate: int) -> np.ndarray:
    """Drops that fall into water."""
    samples = round(scene.seconds * rate)
    out = np.zeros(samples)
    rng = _random(scene, index)
    for event in _own_events(motion, index):
        late = math.ceil(event.time * rate) / rate - event.time
        sound = bubble(samples, rate=rate, pitch=event.pitch, late=late)
        _add(out, event.time, event.strength * sound, rate)
        _add(out, event.time, 0.35 * event.strength * click(rng, rate=rate, duration=2e-4), rate)
        # A smaller bubble often comes after the first.
        if rng.random() < 0.6:
            second = bubble(samples, rate=rate, pitch=1.7 * event.pitch, late=0.0)
            _add(out, event.time + 0.035, 0.3 * event.strength * second, rate)
    return out


def _raining(scene: Scene, motion: Motion, index: int, rate: int) -> np.ndarray:
    """Rain on the ground."""
    actor = scene.actors[index]
    samples = round(scene.seconds * rate)
    rng = _random(scene, index)
    out = np.zeros(samples)
    for shower in rain_showers(scene, index):
        level = math.sqrt(shower.cue.strength) * shower.loudness
        out += rain(rng, shower.times, level, samples=samples, rate=rate, pitch=actor.pitch)
    # Of the drops further off only a wash is heard.
    times = np.arange(samples) / rate
    wash = presence(actor.cues, times, ramps=WASH_RAMPS, seconds=scene.seconds)
    out += 0.35 * wash * band_noise(rng, samples, rate=rate, centre=0.8 * actor.pitch, octaves=1.5)
    return out


def _humming(scene: Scene, motion: Motion, index: int, rate: int) -> np.ndarray:
    """Fans, lamps and loudspeakers."""
    actor = scene.actors[index]
    rng = _random(scene, index)
    times = np.arange(round(scene.seconds * rate)) / rate
    level = presence(actor.cues, times, ramps=RAMPS[actor.kind], seconds=scene.seconds)
    return _HUMS[actor.kind](rng, level, actor.pitch, rate)


def _fan(rng: np.random.Generator, level: np.ndarray, pitch: float, rate: int) -> np.ndarray:
    """Blades that pass, and the air they move; both follow how fast it turns."""
    amplitudes = 0.9 ** np.arange(8) / np.arange(1, 9) ** rng.uniform(0.6, 1.2)
    tone = harmonics(pitch * (0.4 + 0.6 * level), amplitudes, rng.uniform(0, 6, 8), rate=rate)
    wind = band_noise(rng, len(level), rate=rate, centre=rng.uniform(500, 900), octaves=1.2)
    return level * (0.40 * tone + 0.30 * level * wind)


def _lamp(rng: np.random.Generator, level: np.ndarray, pitch: float, rate: int) -> np.ndarray:
    """The buzz of a gas that is struck twice each period of the mains."""
    count = 40
    amplitudes = 1 / np.arange(1, count + 1) ** rng.uniform(0.4, 0.7)
    amplitudes[::2] *= rng.uniform(0.3, 1.0)
    steady = np.full(len(level), pitch)
    # All in phase: short pulses, as of sparks.
    return 0.25 * level * harmonics(steady, amplitudes, np.full(count, 1.57), rate=rate)


def _speaker(rng: np.random.Generator, level: np.ndarray, pitch: float, rate: int) -> np.ndarray:
    """A steady tone."""
    amplitudes = 1 / np.arange(1, 13) ** rng.uniform(1.0, 2.0)
    amplitudes[1::2] *= rng.uniform(0.0, 1.0)
    wobble = 1 + 0.004 * np.sin(2 * math.pi * rng.uniform(3, 7) * np.arange(len(level)) / rate)
    return 0.7 * level * harmonics(pitch * wobble, amplitudes, rng.uniform(0, 6, 12), rate=rate)


def _add(out: np.ndarray, time: float, sound: np.ndarray, rate: int) -> None:
    """Add a sound from the first sample at or after a moment on."""
    first = math.ceil(time * rate)
    count = min(len(sound), len(out) - first)
    if count > 0:
        out[first : first + count] += sound[:count]


_HUMS: Mapping[str, Callable[[np.random.Generator, np.ndarray, float, int], np.ndarray]] = {
    "fan": _fan,
    "neon_lamp": _lamp,
    "speaker": _speaker,
}
_MAKERS: Mapping[str, Callable[[Scene, Motion, int, int], np.ndarray]] = {
    "bounce": _blows,
    "strike": _blows,
    "roll": _rolling,
    "scrape": _scraping,
    "drip": _dripping,
    "rain": _raining,
    "hum": _humming,
}
