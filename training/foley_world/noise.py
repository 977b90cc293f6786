"""Sounds that are not struck: contact noise, friction, rain, bubbles, hum.

Source: K. van den Doel, P. G. Kry and D. K. Pai, "FoleyAutomatic", SIGGRAPH 2001 (friction as noise
whose band and level follow the speed); K. van den Doel, "Physically based models for liquid
sounds", ACM Transactions on Applied Perception 2(4), 2005 (bubbles).
"""

from __future__ import annotations

import math

import numpy as np

SPLASHES = 12  # different sounds of a drop of rain


def band_noise(
    rng: np.random.Generator, samples: int, *, rate: int, centre: float, octaves: float
) -> np.ndarray:
    """(samples,) noise of root mean square 1 around a frequency.

    Args:
        rng: Where it comes from.
        samples: How many.
        rate: Samples per second.
        centre: Hz of the greatest power.
        octaves: How far from it the power has fallen to exp(-1/2).
    """
    size = _fast_size(samples)
    frequency = np.fft.rfftfreq(size, 1 / rate)
    frequency[0] = frequency[1]
    away = np.log2(frequency / centre) / octaves
    # White noise in the end, shaped by a bell over octaves.
    spectrum = np.exp(-0.25 * away**2) * np.exp(2j * math.pi * rng.random(len(frequency)))
    noise = np.fft.irfft(spectrum, size)[:samples]
    return noise / math.sqrt(float(np.mean(noise**2)) + 1e-20)


def click(rng: np.random.Generator, *, rate: int, duration: float) -> np.ndarray:
    """(T,) the noise of a contact, peak 1: a burst that dies away, duller the longer it lasts."""
    decay = 0.0015 + 1.5 * duration
    samples = max(8, int(6 * decay * rate))
    noise = rng.standard_normal(samples) * np.exp(-np.arange(samples) / (decay * rate))
    width = max(1, round(duration * rate))
    if width > 1:
        window = np.sin(math.pi * (np.arange(width) + 0.5) / width)
        noise = np.convolve(noise, window)[:samples]
    return noise / (np.abs(noise).max() + 1e-12)


def friction(
    rng: np.random.Generator, speed: np.ndarray, *, rate: int, centre: float, roughness: float
) -> np.ndarray:
    """(T,) noise of rubbing, about 1 at 1 m/s.

    Its level goes with the speed, its band moves up with it, and it is uneven, because surfaces
    are: bumps pass the contact at a rate that follows the speed.

    Args:
        rng: Where it comes from.
        speed: (T,) metres per second, its sign does not matter.
        rate: Samples per second.
        centre: Hz of the band at 1 m/s.
        roughness: 0 smooth to 1 rough.
    """
    samples = len(speed)
    speed = np.abs(speed)
    low = band_noise(rng, samples, rate=rate, centre=0.6 * centre, octaves=0.7)
    high = band_noise(rng, samples, rate=rate, centre=min(1.7 * centre, 0.35 * rate), octaves=0.7)
    share = np.clip(speed, 0, 1)
    path = np.cumsum(speed) / rate
    bumps = rng.standard_normal(max(4, int(path[-1] / 0.012) + 3))
    uneven = np.interp(path / 0.012, np.arange(len(bumps)), bumps)
    level = speed * np.exp(roughness * 0.6 * np.clip(uneven, -2, 2))
    return level * ((1 - 0.6 * share) * low + (0.4 + 0.6 * share) * high)


def bubble(samples: int, *, rate: int, pitch: float, late: float) -> np.ndarray:
    """(samples,) a bubble that a drop leaves in water, amplitude 1, rising in pitch.

    Args:
        samples: At most so many.
        rate: Samples per second.
        pitch: Hz at its beginning; it has a radius of 3 / pitch metres (Minnaert).
        late: Seconds by which the first sample comes after the beginning.

    Source: van den Doel 2005, sections 3 and 4: decay 0.13 / r + 0.0072 r^(-3/2), rise 0.1 of it.
    """
    radius = 3 / pitch
    decay = 0.13 / radius + 0.0072 * radius**-1.5
    count = min(samples, math.ceil(7 / decay * rate))
    time = np.arange(count) / rate + late
    phase = 2 * math.pi * pitch * (time + 0.5 * 0.1 * decay * time**2)
    return np.sin(phase) * np.exp(-decay * time)


def rain(
    rng: np.random.Generator,
    times: np.ndarray,
    loudness: np.ndarray,
    *,
    samples: int,
    rate: int,
    pitch: float,
) -> np.ndarray:
    """(samples,) drops that hit the ground, each a short burst, about 1 where it is dense.

    Args:
        rng: Where it comes from.
        times: (N,) seconds.
        loudness: (N,) factors.
        samples: How many.
        rate: Samples per second.
        pitch: Hz around which their noise lies.
    """
    out = np.zeros(samples)
    length = int(0.025 * rate)
    fade = np.exp(-np.arange(length) / (0.0045 * rate))
    bursts = [
        fade
        * band_noise(rng, length, rate=rate, centre=min(pitch * 2**shift, 0.4 * rate), octaves=0.9)
        for shift in np.linspace(-0.8, 0.8, SPLASHES)
    ]
    kinds = rng.integers(0, SPLASHES, size=len(times))
    firsts = np.ceil(times * rate).astype(int)
    for first, kind, level in zip(firsts, kinds, loudness, strict=True):
        count = min(length, samples - first)
        if count > 0:
            out[first : first + count] += level * bursts[kind][:count]
    return 0.6 * out


def harmonics(
    frequency: np.ndarray, amplitudes: np.ndarray, phases: np.ndarray, *, rate: int
) -> np.ndarray:
    """(T,) harmonics of a frequency that may change; those too high for the rate are left out.

    Args:
        frequency: (T,) Hz.
        amplitudes: (K,) of the first harmonic, the second and so on.
        phases: (K,) radians.
        rate: Samples per second.
    """
    turns = np.cumsum(frequency) / rate
    highest = float(frequency.max())
    out = np.zeros(len(frequency))
    for number, (amplitude, phase) in enumerate(zip(amplitudes, phases, strict=True), start=1):
        if number * highest < 0.47 * rate:
            out += amplitude * np.sin(2 * math.pi * number * turns + phase)
    return out


def _fast_size(samples: int) -> int:
    """A length that transforms quickly: the next multiple of a power of two with few bits."""
    step = 2 ** max(0, samples.bit_length() - 4)
    return max(16, -(-samples // step) * step)
