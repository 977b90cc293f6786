"""Many measured sounds as a summary, a table and a JSON file."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence

from wavflow_core.errors import MediaError
from wavflow_core.media.files import atomic_path

from .measure import METRICS, Measured
from .onsets import NONE

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

FORMAT, VERSION = "wavflow.evaluation", 1
ROUNDED = 6  # decimals in the file


def summarize(measured: Sequence[Measured]) -> dict[str, dict[str, float | int]]:
    """Mean, median and count of each number over the sounds that have it.

    ``onset_f1_pooled`` counts every onset the same instead of every sound.

    Returns:
        By the names of ``METRICS``; a number that no sound has is left out.
    """
    records = [item.numbers() for item in measured]
    summary: dict[str, dict[str, float | int]] = {}
    for name in METRICS:
        values = [value for record in records if (value := record[name]) is not None]
        if values:
            summary[name] = {
                "mean": statistics.fmean(values),
                "median": statistics.median(values),
                "count": len(values),
            }
    agreements = [item.agreement for item in measured if item.agreement is not None]
    if agreements:
        pooled = sum(agreements, NONE)
        summary["onset_f1_pooled"] = {"mean": pooled.f1, "count": len(agreements)}
    return summary


def table(summary: Mapping[str, Mapping[str, float | int]]) -> str:
    """The summary as lines of text, a number a line."""
    titles = {**METRICS, "onset_f1_pooled": "onset F1, pooled"}
    lines = [f"{'':<30}{'mean':>10}{'median':>10}{'sounds':>8}"]
    for name, values in summary.items():
        median = f"{values['median']:.3f}" if "median" in values else ""
        lines.append(f"{titles[name]:<30}{values['mean']:>10.3f}{median:>10}{values['count']:>8}")
    return "\n".join(lines)


def values_table(values: Mapping[str, float]) -> str:
    """Named numbers as lines of text."""
    return "\n".join(f"{name:<30}{value:>10.4f}" for name, value in values.items())


def records(measured: Sequence[Measured]) -> list[Json]:
    """The sounds' own numbers and moments, for the file."""
    return [
        {
            "id": item.id,
            **{name: _rounded(value) for name, value in item.numbers().items()},
            "onset_times": [_rounded(time) for time in item.onsets],
            "expected_times": None
            if item.expected is None
            else [_rounded(time) for time in item.expected],
        }
        for item in measured
    ]


def write_json(content: Mapping[str, Json], path: str | os.PathLike[str]) -> None:
    """Write a report, whole or not at all.

    Raises:
        MediaError: The file cannot be written.
    """
    content = {"format": FORMAT, "version": VERSION, **content}
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_path(path) as temporary:
        try:
            temporary.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise MediaError(
                f"Cannot write {os.fspath(path)!r} ({error.strerror}); check the space on the disk."
            ) from error


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, ROUNDED)
