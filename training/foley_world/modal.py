"""Modal synthesis: a struck thing is a bank of decaying sines.

Source: K. van den Doel and D. K. Pai, "The sounds of physical shapes", Presence 7(4), 1998
(the bank, and decay from the material); R. L. Klatzky, D. K. Pai and E. P. Krotkov,
"Perception of material from contact sounds", Presence 9(4), 2000 (angle of internal friction);
N. H. Fletcher and T. D. Rossing, "The Physics of Musical Instruments", 2nd ed., chapters 2, 3, 21.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .classes import Family
from .description import Actor, Purpose, Scene, stream
from .events import Event

SILENT = 7.5  # nepers, 65 dB: a mode is followed until it has decayed by so much
HELD = 0.6  # 1/s, what air and suspension take from every mode
SPLIT = 0.0016  # of the frequency: no real thing is quite symmetric
BLOCK = 256
# Zeros x of beta L of a free bar, cos x cosh x = 1.
FREE_BAR = (4.730041, 7.853205, 10.995608, 14.137165, 17.278760, 20.420352, 23.561945)
# Zeros of Bessel functions (order, zero): the modes of an ideal membrane.
BESSEL = (
    *((0, 2.40483), (1, 3.83171), (2, 5.13562), (0, 5.52008), (3, 6.38016), (1, 7.01559)),
    *((4, 7.58834), (2, 8.41724), (0, 8.65373), (5, 8.77148), (3, 9.76102), (6, 9.93611)),
)
# Torsional modes of a solid sphere: zeros of (l - 1) j_l(x) = x j_(l+1)(x), l from 2.
SPHERE = (2.50113, 3.86470, 5.09462, 6.26577, 7.40360, 8.51987)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Modes:
    """A thing's modes.

    Attributes:
        frequencies: (K,) Hz.
        decays: (K,) 1/s: amplitudes fall as exp(-decay t).
        gains: (K,) amplitude that a unit blow of no length brings.
        family: Where they come from; says how they depend on the place of a blow.
        phases: (K,) radians, for places of things that no formula describes.
    """

    frequencies: np.ndarray
    decays: np.ndarray
    gains: np.ndarray
    family: Family
    phases: np.ndarray


def mode_ratios(family: Family) -> np.ndarray:
    """(K,) frequencies of a family by that which gives the pitch.

    sphere: torsional modes of a solid sphere. plate: a simply supported plate of sides 1 to 0.7.
    ring: bending of a thin ring, n (n² - 1) / sqrt(n² + 1), doubled. disc: a plate with a free
    edge, doubled. membrane: zeros of Bessel functions. bar: Euler-Bernoulli, free at both ends.
    bell: a tuned church bell, doubled above the hum.
    """
    if family == "none":
        return np.empty(0)
    return np.array(_RATIOS[family])


def _doubled(ratios: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(x * side for x in ratios for side in (1 - SPLIT, 1 + SPLIT))


def _plate() -> tuple[float, ...]:
    values = sorted(m**2 + (n / 0.7) ** 2 for m in range(1, 5) for n in range(1, 4))
    return tuple(value / values[0] for value in values[:9])


def _ring() -> tuple[float, ...]:
    values = [n * (n**2 - 1) / math.sqrt(n**2 + 1) for n in range(2, 7)]
    return _doubled(tuple(value / values[0] for value in values))


_RATIOS: Mapping[str, tuple[float, ...]] = {
    "sphere": tuple(x / SPHERE[0] for x in SPHERE),
    "plate": _plate(),
    "ring": _ring(),
    "disc": _doubled((1.0, 1.73, 2.33, 3.91, 4.11, 6.30, 6.71, 8.5, 9.9, 11.9)),
    "membrane": tuple(x / BESSEL[0][1] for _, x in BESSEL),
    "bar": tuple((x / FREE_BAR[0]) ** 2 for x in FREE_BAR),
    "bell": (0.5, *_doubled((1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0, 5.1, 6.3))),
}
# Amplitudes fall with the ratio to the minus this.
_SLOPE: Mapping[str, float] = {
    "sphere": 0.8,
    "plate": 0.7,
    "ring": 0.7,
    "disc": 0.45,
    "membrane": 0.7,
    "bar": 0.9,
    "bell": 0.8,
}


def material_decay(frequency: np.ndarray, loss: float) -> np.ndarray:
    """(K,) 1/s: pi f tan φ.

    Source: van den Doel and Pai 1998.
    """
    return math.pi * frequency * loss + HELD


def object_modes(scene: Scene, index: int) -> Modes:
    """The modes of an actor's thing, each a little beside the ideal, as things are."""
    actor = scene.actors[index]
    family = actor.sound_class.modes
    rng = stream(scene.seed, Purpose.SOUND, index, 1)
    ratios = mode_ratios(family)
    # The one that gives the pitch stays where it is.
    aside = np.where(np.abs(ratios - 1) < 0.01, 0.0, rng.normal(0, 0.008, size=len(ratios)))
    gains = ratios ** -_SLOPE[family] * np.exp(rng.normal(0, 0.25, size=len(ratios)))
    gains[ratios < 0.9] *= 0.35
    frequencies = actor.pitch * ratios * (1 + aside)
    return Modes(
        frequencies=frequencies,
        decays=material_decay(frequencies, actor.loss),
        gains=gains,
        family=family,
        phases=rng.uniform(0, math.pi, size=len(ratios)),
    )


def floor_modes(scene: Scene) -> Modes:
    """The modes of the floor."""
    floor = scene.ground
    rng = stream(scene.seed, Purpose.SOUND, 99)
    ratios = mode_ratios("plate")
    frequencies = floor.pitch * rng.uniform(0.8, 1.25) * ratios
    return Modes(
        frequencies=frequencies,
        decays=material_decay(frequencies, floor.loss) + 12.0,
        gains=ratios**-0.8,
        family="plate",
        phases=rng.uniform(0, math.pi, size=len(ratios)),
    )


def place_weights(modes: Modes, place: float) -> np.ndarray:
    """(K,) how strongly a blow at a place, 0 to 1, moves each mode: the shape of the mode there."""
    count = len(modes.frequencies)
    if modes.family == "bar":
        return np.array([abs(_bar_shape(x, place)) for x in FREE_BAR]) / 2
    if modes.family == "membrane":
        radius = 0.95 * abs(2 * place - 1)
        # Near the middle J_m(z) goes as (z / 2)^m / m!, and all end at zero at the rim.
        return np.array(
            [
                max(0.04, (1 - radius**2) * min(1.0, (x * radius / 2) ** m / math.factorial(m)))
                for m, x in BESSEL
            ]
        )
    order = np.arange(1, count + 1)
    return 0.35 + 0.65 * np.abs(np.sin(order * math.pi * (0.1 + 0.35 * place) + modes.phases))


def _bar_shape(x: float, place: float) -> float:
    """Deflection of a free bar's mode, 2 at its ends; ``x`` is a zero of ``FREE_BAR``.

    Source: Fletcher and Rossing, chapter 2.
    """
    sigma = (math.cosh(x) - math.cos(x)) / (math.sinh(x) - math.sin(x))
    z = x * place
    return math.cosh(z) + math.cos(z) - sigma * (math.sinh(z) + math.sin(z))


def contact_time(actor: Actor, scene: Scene, event: Event) -> float:
    """Seconds of a contact: shorter the harder the blow, longer for larger things.

    Source: Hertz's law; time goes with mass to 2/5 and speed to -1/5.
    """
    row = actor.sound_class
    softness = scene.ground.hardness if event.on_floor else 1.0
    return row.contact * softness * actor.relative_size * max(event.strength, 0.02) ** -0.2


def contact_spectrum(frequency: np.ndarray, duration: float) -> np.ndarray:
    """(K,) what a half-sine push of a duration in seconds has at a frequency, 1 at 0 Hz.

    Source: the transform of a half period of a sine, as in van den Doel, Kry and Pai,
    "FoleyAutomatic", SIGGRAPH 2001.
    """
    z = 2 * frequency * duration
    near = np.abs(z - 1) < 1e-6
    safe = np.where(near, 0.5, z)
    return np.where(near, math.pi / 4, np.abs(np.cos(math.pi * safe / 2) / (1 - safe**2)))


def blow_gains(modes: Modes, scene: Scene, event: Event) -> np.ndarray:
    """(K,) amplitudes that an event's blow gives to modes; those of a middle blow are near 1."""
    actor = scene.actors[event.object]
    push = contact_spectrum(modes.frequencies, contact_time(actor, scene, event))
    return modes.gains * place_weights(modes, event.place) * push * event.strength


def strongest(modes: Modes, scene: Scene, event: Event) -> float:
    """Hz of the mode to which a blow gives the most energy over its time."""
    gains = blow_gains(modes, scene, event)
    return float(modes.frequencies[np.argmax(gains**2 / modes.decays)])


class Bank:
    """The modes of a thing, ready to be struck.

    Args:
        modes: What it consists of; those too high for the rate are left out.
        rate: Samples per second.
        samples: Length of what will be made.
    """

    def __init__(self, modes: Modes, *, rate: int, samples: int) -> None:
        self.rate = rate
        self.heard = modes.frequencies < 0.47 * rate
        poles = -modes.decays + 2j * math.pi * modes.frequencies
        self._poles = poles[self.heard]
        self._lengths = [
            min(samples, math.ceil(SILENT / decay * rate)) for decay in modes.decays[self.heard]
        ]
        self._waves = [
            _powers(pole / rate, length)
            for pole, length in zip(self._poles, self._lengths, strict=True)
        ]

    def strike(self, out: np.ndarray, time: float, gains: np.ndarray) -> None:
        """Add a blow: each mode a sine that begins at zero, exact between samples.

        Args:
            out: (T,) float64, added to.
            time: Seconds.
            gains: (K,) amplitudes.
        """
        first = math.ceil(time * self.rate)
        late = first / self.rate - time
        for pole, wave, gain in zip(self._poles, self._waves, gains[self.heard], strict=True):
            count = min(len(wave), len(out) - first)
            if count <= 0:
                return
            start = complex(gain * np.exp(pole * late))
            part = wave[:count]
            out[first : first + count] += np.imag(start * part)


def _powers(exponent: complex, count: int) -> np.ndarray:
    """(count,) exp(exponent n), by blocks: a product of two short tables."""
    fine = np.exp(exponent * np.arange(BLOCK))
    coarse = np.exp(exponent * BLOCK * np.arange(-(-count // BLOCK)))
    return (coarse[:, None] * fine[None, :]).reshape(-1)[:count]
