"""What the benchmark asks for: what is true of a clip, and what is shown in each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..foley_world.classes import CLASSES


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A test clip and its truth.

    Attributes:
        id: Name.
        seed: Of the clip.
        video: File with pictures.
        sound: File with the real sound.
        caption: What is heard, in words.
        classes: Classes that sound, in the order of the things.
        onsets: Seconds at which something begins, ascending.
        pitches: Hz of the events of each class, each once.
    """

    id: str
    seed: int
    video: Path
    sound: Path
    caption: str
    classes: tuple[str, ...]
    onsets: tuple[float, ...]
    pitches: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What a model is shown to make a sound.

    Attributes:
        video: The case whose video it sees, if any.
        prompt: What it reads; empty for nothing.
        negative_prompt: What should not be heard; empty for nothing.
        unwanted: Class of the negative prompt.
        asked: Classes of the prompt.
    """

    video: Case | None = None
    prompt: str = ""
    negative_prompt: str = ""
    unwanted: str = ""
    asked: tuple[str, ...] = ()


# Name of each task or control, and what the table says of it.
TASKS = {
    "vt2a": "video and caption",
    "v2a": "video alone",
    "t2a": "caption alone (no video)",
    "other_video": "own caption, video of another clip",
    "wrong_prompt": "own video, caption of another class",
    "negative": "as vt2a, one of two things as negative prompt",
}


def show(task: str, cases: Sequence[Case], index: int) -> Shown | None:
    """What is shown for a case; None where the task does not apply to it.

    The other clip is the next one; the other caption is that of the next clip with as many classes
    and none in common. The negative prompt names the first thing of clips with even numbers and the
    second of the others.
    """
    case = cases[index]
    if task == "vt2a":
        return Shown(video=case, prompt=case.caption, asked=case.classes)
    if task == "v2a":
        return Shown(video=case)
    if task == "t2a":
        return Shown(prompt=case.caption, asked=case.classes)
    if task == "other_video":
        return Shown(video=another(cases, index), prompt=case.caption, asked=case.classes)
    if task == "wrong_prompt":
        other = _other_caption(cases, index)
        return other and Shown(video=case, prompt=other.caption, asked=other.classes)
    assert task == "negative"
    if len(case.classes) < 2:
        return None
    unwanted = case.classes[case.seed % 2]
    noun = CLASSES[unwanted].nouns[0]
    return Shown(
        video=case,
        prompt=case.caption,
        negative_prompt=noun,
        unwanted=unwanted,
        asked=case.classes,
    )


def another(cases: Sequence[Case], index: int) -> Case:
    """The next clip, after the last the first."""
    return cases[(index + 1) % len(cases)]


def _other_caption(cases: Sequence[Case], index: int) -> Case | None:
    own = cases[index].classes
    for step in range(1, len(cases)):
        other = cases[(index + step) % len(cases)]
        if len(other.classes) == len(own) and not set(own) & set(other.classes):
            return other
    return None
