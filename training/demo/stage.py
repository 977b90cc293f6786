"""What sound is made for: a clip that no model was trained on, with its truth, and prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wavflow_core.errors import CheckpointError
from wavflow_core.media.files import is_file
from wavflow_core.weights import bundled_file

# In FoleyWorld's words, by the name of the file that the sound goes to.
PROMPTS: Mapping[str, str] = {
    "bell": "a bronze bell is struck three times",
    "rain": "a rain shower patters on a stone floor",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """The bundled clip.

    Attributes:
        video: Its file, which has no sound.
        caption: What is to be seen, in words that the model is not told.
        times: Seconds at which things touch, ascending.
    """

    video: Path
    caption: str
    times: Sequence[float]


def read_stage() -> Stage:
    """The bundled clip and what is known of it.

    Raises:
        CheckpointError: A file of it is not there, or says something else.
    """
    video = bundled_file("video")
    path = video.with_suffix(".json")
    if not is_file(path):
        raise CheckpointError(f"There is no {str(path)!r}, the truth about the bundled video.")
    try:
        truth = json.loads(path.read_text(encoding="utf-8"))
        times = sorted(float(event["time"]) for event in truth["events"])
        return Stage(video=video, caption=str(truth["caption"]), times=times)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{str(path)!r} cannot be read as a clip's truth ({error!r}); take it from the "
            "repository again."
        ) from error
