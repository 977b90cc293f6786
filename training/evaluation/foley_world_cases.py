"""Making the benchmark's test clips, and reading what is true of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wavflow_core.errors import ConfigError

from ..foley_world.clip import ClipConfig, clip_id
from ..foley_world.parallel import complete
from ..foley_world.storage import Line
from .foley_world_tasks import Case


def make_cases(
    seeds: Sequence[int], config: ClipConfig, folder: Path, *, jobs: int
) -> tuple[Case, ...]:
    """Make the clips that are not there yet.

    Args:
        seeds: Of the clips, two or more.
        config: How they are made.
        folder: For their files.
        jobs: Processes.

    Raises:
        WavFlowError: There are too few, or see :func:`~training.foley_world.parallel.complete`.
    """
    if len(seeds) < 2:
        raise ConfigError(f"{len(seeds)} clip is asked for; the controls need another: 2 or more.")
    lines = complete(seeds, config, folder, jobs=jobs)
    return tuple(to_case(lines[clip_id(seed)], folder) for seed in seeds)


def to_case(line: Line, folder: Path) -> Case:
    """A line of ``truth.jsonl`` as what the benchmark uses of it."""
    events = line["events"]
    assert isinstance(events, list)
    pitches: dict[str, tuple[float, ...]] = {}
    onsets: list[float] = []
    for event in events:
        assert isinstance(event, dict)
        kind, time, pitch = event["class"], event["time"], event["pitch_hz"]
        assert isinstance(kind, str)
        assert isinstance(time, int | float)
        assert isinstance(pitch, int | float)
        onsets.append(float(time))
        pitches[kind] = tuple(sorted({*pitches.get(kind, ()), float(pitch)}))
    classes = line["classes"]
    assert isinstance(classes, list)
    return Case(
        id=str(line["id"]),
        seed=int(str(line["seed"])),
        video=folder / f"{line['id']}.mp4",
        sound=folder / f"{line['id']}.wav",
        caption=str(line["caption"]),
        classes=tuple(str(name) for name in classes if name in pitches),
        onsets=tuple(sorted(onsets)),
        pitches=pitches,
    )
