"""Many judged sounds as one row of numbers, and the rows as a table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from .foley_world_measure import CLOSE, Judged
from .foley_world_tasks import TASKS
from .onsets import NONE, OnsetAgreement
from .report import Json

REAL, CHANCE = "real", "chance"
ROWS = {REAL: "the real sound", CHANCE: "the real sound of another clip", **TASKS}
RESAMPLED = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of the table: its two lines of title, and digits after the point."""

    title: tuple[str, str]
    digits: int = 3


COLUMNS = {
    "onset_f1": Column(title=("onset", "F1")),
    "onset_f1_clips": Column(title=("mean of", "clips")),
    "onset_f1_real": Column(title=("against", "real")),
    "class_accuracy": Column(title=("class", "right")),
    "class_accuracy_one": Column(title=("of one", "thing")),
    "class_accuracy_two": Column(title=("of two", "things")),
    "pitch_cents": Column(title=("pitch", "cents"), digits=1),
    "pitch_close": Column(title=("within", "50 ct")),
    "loudness_error": Column(title=("level", "LU"), digits=2),
    "dynamics_error": Column(title=("course", "dB"), digits=2),
    "frechet_distance": Column(title=("Frechet", "dist."), digits=2),
}


def summarize_row(judged: Sequence[Judged]) -> dict[str, Json]:
    """Numbers of a row; what no clip has is None.

    ``onset_f1``: all onsets of all clips counted together, against the truth's moments;
    ``onset_f1_interval``: its 95 % interval over resampled clips; ``onset_f1_clips``: mean of the
    clips' own F1; ``..._real`` the same two against the onsets found in the real sound, and
    ``..._seen`` against the moments of the clip whose video was shown.
    ``pitch_cents`` is the median. ``loudness_error`` and ``loudness_error_of_file`` are means of
    absolute values, ``loudness_bias`` that of the signed ones.
    """
    truth, real = _agreement([item.truth for item in judged]), [item.real for item in judged]
    cents = [item.cents for item in judged if item.cents is not None]
    asked = [item.asked_accuracy for item in judged if item.asked_accuracy is not None]
    seen = [item.seen for item in judged if item.seen is not None]
    one, two = ([item.accuracy for item in judged if item.things == k] for k in (1, 2))
    return {
        "clips": len(judged),
        **truth,
        "onset_f1_real": sum(real, NONE).f1,
        "onset_f1_real_clips": _mean([item.f1 for item in real]),
        "onset_f1_seen": sum(seen, NONE).f1 if seen else None,
        "class_accuracy": _mean([item.accuracy for item in judged]),
        "class_accuracy_one": _mean(one),
        "class_accuracy_two": _mean(two),
        "asked_class_accuracy": _mean(asked),
        "pitch_clips": len(cents),
        "pitch_cents": statistics.median(cents) if cents else None,
        "pitch_close": _mean([float(value <= CLOSE) for value in cents]),
        "loudness_error": _mean([abs(item.loudness) for item in judged]),
        "loudness_bias": _mean([item.loudness for item in judged]),
        "loudness_error_of_file": _mean([abs(item.loudness_of_file) for item in judged]),
        "dynamics_error": _mean([item.dynamics for item in judged]),
    }


def negative_effect(without: Sequence[Judged], negative: Sequence[Judged]) -> dict[str, Json]:
    """What a negative prompt changes for the same clips and noise: probabilities of both classes.

    Args:
        without: The clips, judged as for the negative prompt, but made without it.
        negative: Made with it.
    """
    before = {item.id: item for item in without}
    pairs = [(before[item.id], item) for item in negative]

    def mean(side: int, name: str) -> float | None:
        values = [getattr(pair[side], name) for pair in pairs]
        return _mean([value for value in values if value is not None])

    unwanted = [(a.unwanted, b.unwanted) for a, b in pairs]
    lower = [float(b < a) for a, b in unwanted if a is not None and b is not None]
    return {
        "clips": len(pairs),
        "unwanted_without": mean(0, "unwanted"),
        "unwanted_with": mean(1, "unwanted"),
        "other_without": mean(0, "wanted"),
        "other_with": mean(1, "wanted"),
        "share_lowered": _mean(lower),
    }


def record(item: Judged) -> Json:
    """A sound's numbers, for the file."""
    plain = asdict(item)
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in plain.items()}


def rows_table(rows: Mapping[str, Mapping[str, Json]]) -> str:
    """The table, a row for each task, and what the numbers mean."""
    width = max(len(name) for name in ROWS) + 2
    lines = [
        " " * width + "".join(f"{column.title[line]:>9}" for column in COLUMNS.values())
        for line in (0, 1)
    ]
    for name, row in rows.items():
        cells = "".join(_cell(row.get(key), column.digits) for key, column in COLUMNS.items())
        lines.append(f"{name:<{width}}{cells}")
    lines += ["", *(f"{name + ':':<{width}}{ROWS[name]}" for name in rows)]
    return "\n".join(lines)


def controls_text(rows: Mapping[str, Mapping[str, Json]], negative: Mapping[str, Json]) -> str:
    """What the controls say, in words."""
    lines: list[str] = []
    other, wrong = rows.get("other_video"), rows.get("wrong_prompt")
    if other is not None:
        lines.append(
            f"other video: onset F1 {_number(other['onset_f1'])} against the own clip, and "
            f"{_number(other['onset_f1_seen'])} against the clip whose video was shown."
        )
    if wrong is not None:
        lines.append(
            "wrong prompt: the classes heard are "
            f"{_percent(wrong['asked_class_accuracy'])} those of the caption and "
            f"{_percent(wrong['class_accuracy'])} those of the video."
        )
    if negative:
        lines.append(
            f"negative prompt ({negative['clips']} clips of two things): probability of the "
            f"unwanted class {_number(negative['unwanted_without'])} without and "
            f"{_number(negative['unwanted_with'])} with it, of the other class "
            f"{_number(negative['other_without'])} and {_number(negative['other_with'])}."
        )
    return "\n".join(lines)


def _agreement(found: Sequence[OnsetAgreement]) -> dict[str, Json]:
    pooled = sum(found, NONE)
    counts = np.array([(item.matched, item.found + item.expected) for item in found], np.float64)
    rng = np.random.default_rng(0)
    drawn = counts[rng.integers(len(counts), size=(RESAMPLED, len(counts)))].sum(axis=1)
    scores = 2 * drawn[:, 0] / np.maximum(drawn[:, 1], 1)
    return {
        "onset_f1": pooled.f1,
        "onset_f1_interval": [float(value) for value in np.quantile(scores, (0.025, 0.975))],
        "onset_precision": pooled.precision,
        "onset_recall": pooled.recall,
        "onset_f1_clips": _mean([item.f1 for item in found]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _cell(value: Json, digits: int) -> str:
    return f"{value:>9.{digits}f}" if isinstance(value, int | float) else f"{'-':>9}"


def _number(value: Json) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def _percent(value: Json) -> str:
    return f"{100 * value:.1f} %" if isinstance(value, int | float) else "-"
