"""What is heard, in words that vary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .description import Actor, Purpose, Scene, stream
from .events import Event, Motion

TIMES = {1: "once", 2: "twice", 3: "three times", 4: "four times", 5: "five times"}
NUMBERS = {2: "two", 3: "three"}
STICKS = ("a mallet", "a stick", "a beater")
GENTLE, HARD = 0.42, 0.80  # mean strength of blows
DRY, ECHOING = 0.22, 0.65  # seconds of reverberation
SMALL, LARGE = 0.33, 0.67  # share of the way from the smallest to the largest, by ratio
JOINTS = (
    "{a} while {b}",
    "{a} and {b}",
    "{a}, and {b}",
    "{a} as {b}",
    "{a}; at the same time {b}",
)


def write_caption(scene: Scene, motion: Motion) -> str:
    """One sentence that names every class of the scene and what happens."""
    rng = stream(scene.seed, Purpose.CAPTION)
    clauses = [
        _clause(rng, scene, actor, [event for event in motion.events if event.object == index])
        for index, actor in enumerate(scene.actors)
    ]
    if len(clauses) == 2:
        first, second = (" ".join(clauses[n]) for n in rng.permutation(2))
        text = str(rng.choice(JOINTS)).format(a=first, b=second)
    elif rng.random() < 0.15:
        text = "the sound of {} that {}".format(*clauses[0])
    else:
        text = " ".join(clauses[0])
    text += _where(rng, scene)
    return text if rng.random() < 0.5 else text[0].upper() + text[1:] + "."


def size_word(actor: Actor) -> str:
    """``small``, ``large`` or nothing."""
    smallest, largest = actor.sound_class.sizes
    share = float(np.log(actor.size / smallest) / np.log(largest / smallest))
    return "small" if share < SMALL else "large" if share > LARGE else ""


def _clause(
    rng: np.random.Generator, scene: Scene, actor: Actor, events: Sequence[Event]
) -> tuple[str, str]:
    """What it is, and what it does."""
    row = actor.sound_class
    many = len(actor.drops) > 1 and bool(row.plural_verbs)
    noun = str(rng.choice(row.nouns))
    verb = str(rng.choice(row.plural_verbs if many else row.verbs))
    blows = [event.strength for event in events if event.end is None]
    times = TIMES.get(len(blows), "several times")
    if row.action == "strike" and blows and rng.random() < 0.4:
        mean = float(np.mean(blows))
        manner = "softly " if mean < GENTLE else "hard " if mean > HARD else ""
        times = manner + times
    verb = verb.format(floor=scene.ground.phrase, times=times, stick=str(rng.choice(STICKS)))
    size = size_word(actor) if rng.random() < 0.7 and row.action != "rain" else ""
    if many:
        noun = plural(noun)
    described = " ".join(word for word in (size, noun) if word)
    if many:
        return f"{NUMBERS.get(len(actor.drops), 'some')} {described}", verb
    if noun == "rain":
        return described, verb
    return f"{article(described)} {described}", verb


def _where(rng: np.random.Generator, scene: Scene) -> str:
    if rng.random() > 0.35:
        return ""
    if scene.room.decay > ECHOING:
        return str(rng.choice((" in an echoing hall", " in a large echoing room")))
    if scene.room.decay < DRY:
        return str(rng.choice((" in a small dry room", " close by in a quiet room")))
    return " in a room"


def plural(noun: str) -> str:
    """``glass balls``, ``blocks of wood``."""
    head, *rest = noun.split(" of ")
    return " of ".join([head + "s", *rest])


def article(words: str) -> str:
    """``a`` or ``an``."""
    return "an" if words[0] in "aeiou" else "a"
