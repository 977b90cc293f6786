"""From a thing to the ear: distance, air, walls.

Source: J. B. Allen and D. A. Berkley, "Image method for efficiently simulating small-room
acoustics", JASA 65(4), 1979 (first reflections); J. A. Moorer, "About this reverberation business",
Computer Music Journal 3(2), 1979 (the rest as noise that decays); H. Kuttruff, "Room Acoustics"
(the distance at which direct and reverberant sound are equal).
"""

from __future__ import annotations

import math

import numpy as np

from .description import Purpose, Room, Scene, stream

SPEED_OF_SOUND = 343.0
CUTOFF = 9000.0  # Hz at 1 m: the one-pole of air and of what stands between, lower further off
DULLER = 0.55  # decay time at high frequencies by that at low ones
ABSORBED = 0.35  # of the amplitude, at a wall


def hear(waveform: np.ndarray, scene: Scene, *, rate: int) -> np.ndarray:
    """A sound as it is heard in the scene's room; direct sound keeps its times.

    The time that sound takes through the air is left out, so that picture and sound agree; echoes
    come later by what their way is longer.

    Args:
        waveform: (T,) float64, as at 1 m without a room.
        scene: The scene.
        rate: Samples per second.

    Returns:
        (T,) float64.
    """
    response = room_response(scene, rate=rate)
    samples = len(waveform)
    size = 1 << (samples + len(response) - 1).bit_length()
    spectrum = np.fft.rfft(waveform, size) * np.fft.rfft(response, size)
    spectrum *= air(np.fft.rfftfreq(size, 1 / rate), scene.room.distance, rate=rate)
    return np.fft.irfft(spectrum, size)[:samples] / scene.room.distance


def air(frequency: np.ndarray, distance: float, *, rate: int) -> np.ndarray:
    """(K,) complex: what a one-pole low-pass leaves of each frequency in Hz."""
    pole = math.exp(-2 * math.pi * min(CUTOFF / distance, 0.45 * rate) / rate)
    return (1 - pole) / (1 - pole * np.exp(-2j * math.pi * frequency / rate))


def room_response(scene: Scene, *, rate: int) -> np.ndarray:
    """(T,) answer of the room to a click, direct sound 1 at the first sample."""
    room = scene.room
    rng = stream(scene.seed, Purpose.SOUND, 98)
    samples = max(2, int(1.1 * room.decay * rate))
    response = np.zeros(samples)
    response[0] = 1.0
    for delay, level in _echoes(room, rng):
        place = round(delay * rate)
        if place < samples:
            response[place] += level
    time = np.arange(samples) / rate
    fall = math.log(1000.0) / room.decay
    white = rng.standard_normal(samples)
    low = np.convolve(white, np.ones(4) / 4)[:samples]
    tail = low * np.exp(-fall * time) + 0.5 * (white - low) * np.exp(-fall / DULLER * time)
    # It takes some reflections until sound comes from all sides.
    tail *= np.clip(time / (0.6 * min(room.sides) / SPEED_OF_SOUND) - 0.5, 0, 1)
    energy = float(np.sum(tail**2))
    if energy > 0:
        response += tail * (room.distance / critical_distance(room)) / math.sqrt(energy)
    return response


def critical_distance(room: Room) -> float:
    """Metres at which reverberant sound is as strong as direct: 0.057 sqrt(V / T)."""
    return 0.057 * math.sqrt(math.prod(room.sides) / room.decay)


def _echoes(room: Room, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Delays in seconds after the direct sound, and levels by it, of six first reflections."""
    source = np.array([side * rng.uniform(0.3, 0.7) for side in room.sides])
    way = rng.standard_normal(3)
    ear = source + room.distance * way / np.linalg.norm(way)
    ear = np.clip(ear, 0.1, np.array(room.sides) - 0.1)
    straight = max(0.2, float(np.linalg.norm(ear - source)))
    echoes: list[tuple[float, float]] = []
    for axis, side in enumerate(room.sides):
        for wall in (0.0, side):
            image = source.copy()
            image[axis] = 2 * wall - image[axis]
            length = float(np.linalg.norm(ear - image))
            delay = max(0.0, length - straight) / SPEED_OF_SOUND
            echoes.append((delay, (1 - ABSORBED) * straight / max(length, straight)))
    return echoes
