"""The benchmark on FoleyWorld: one table for any checkpoint, on clips whose truth is known.

Sounds are made for test clips from video and caption, from either alone, and from what contradicts
them; see :mod:`.foley_world_measure` for what is measured, beside the real sound's own figures.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from wavflow_core.checkpoint import Provenance
from wavflow_core.config import AudioConfig, SamplerConfig
from wavflow_core.encoding import Encoders
from wavflow_core.errors import ConfigError
from wavflow_core.media.audio import read_audio
from wavflow_core.media.files import file_hash, make_folder
from wavflow_core.pipeline import LoadedModel, load_model
from wavflow_core.tensor_files import check_file

from ..foley_world.classifier_data import hear_clips
from ..foley_world.classifier_model import Classifier, hear_spectra, load_classifier
from ..foley_world.clip import ClipConfig, split_seeds
from ..lock import only_run_in
from ..step import compile_blocks
from .distances import frechet_distance
from .foley_world_cases import make_cases
from .foley_world_measure import Finding, Judged, Real, find, find_real, judge
from .foley_world_report import (
    CHANCE,
    REAL,
    controls_text,
    negative_effect,
    record,
    rows_table,
    summarize_row,
)
from .foley_world_sounds import Maker, Making
from .foley_world_tasks import TASKS, Case, Shown, another, show
from .report import Json

logger = logging.getLogger(__name__)

OTHER_SPLIT = "validation"  # of the real sounds whose distance to those judged is reported
BASE, NEGATIVE = "vt2a", "negative"
# On a processor a clip of 16 takes half as long again as one of 2.
BATCH_ON_CARD, BATCH_ON_PROCESSOR = 16, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """The files of one evaluation."""

    checkpoint: Path
    clip: Path
    synchformer: Path
    classifier: Path
    work: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What is evaluated.

    Attributes:
        split: Of the seeds.
        count: Test clips.
        tasks: Names of :data:`~.foley_world_tasks.TASKS`.
        clips: How the clips are made.
        sampler: Solver, steps and guidance.
        seed: Of the first clip's noise; the others count up.
        weights: Of the checkpoint: ``auto``, ``live``, ``ema`` or ``ema2``.
        batch_size: Clips sampled at once; None: what suits the device.
        jobs: Processes that make clips.
        device: Where the network runs.
        matrices: In which matrices are multiplied, see :func:`~training.precision.multiplying`.
        compile: The network's blocks, which changes nothing but rounding.
    """

    split: str = "test"
    count: int = 500
    tasks: tuple[str, ...] = tuple(TASKS)
    clips: ClipConfig = field(default_factory=ClipConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    seed: int = 0
    weights: str = "auto"
    batch_size: int | None = None
    jobs: int = 1
    device: str = "auto"
    matrices: str = "fp32"
    compile: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Row:
    """All sounds of a task: what was found in each, and the classifier's embeddings ``(M, 64)``."""

    judged: list[Judged]
    embeddings: Tensor


def evaluate(files: Files, settings: Settings) -> tuple[dict[str, Json], str]:
    """Make what is not there yet, measure it, and give the report and its table.

    Raises:
        WavFlowError: A file is missing or does not fit the checkpoint, or cannot be written.
    """
    tasks = _tasks(settings)
    seeds = split_seeds(settings.split, settings.count)
    for path in (files.checkpoint, files.clip, files.synchformer, files.classifier):
        check_file(path)
    classifier = load_classifier(files.classifier)
    model = load_model(files.checkpoint, weights=settings.weights, device=settings.device)
    if settings.compile:
        compile_blocks(model.model)
    make_folder(files.work)
    with only_run_in(files.work):
        cases = make_cases(seeds, settings.clips, files.work / "clips", jobs=settings.jobs)
        first = settings.count if settings.split == OTHER_SPLIT else 0
        others = hear_clips(
            split_seeds(OTHER_SPLIT, settings.count, start=first),
            files.work / "spectra",
            seconds=settings.clips.seconds,
            jobs=settings.jobs,
        )
        maker = _maker(files, settings, model)
        rows, effect = _rows(maker, cases, classifier, tasks)
    summaries = {name: summarize_row(row.judged) for name, row in rows.items()}
    real = rows[REAL].embeddings
    for name, row in rows.items():
        made = row.embeddings
        if name in (REAL, CHANCE):  # these are the same sounds: how far are others, as real?
            made = hear_spectra(classifier, others.spectra).embeddings
        distance = frechet_distance(made, real) if len(made) == len(real) else None
        summaries[name]["frechet_distance"] = distance
    report: dict[str, Json] = {
        **_described(files, settings, maker, seeds),
        "rows": summaries,
        **({"negative_prompt": effect} if effect else {}),
        "clips": {name: [record(item) for item in row.judged] for name, row in rows.items()},
    }
    controls = controls_text(summaries, effect)
    return report, f"{rows_table(summaries)}\n{controls}".rstrip()


def _tasks(settings: Settings) -> tuple[str, ...]:
    """What is to be made, in order; the negative prompt needs what is made without it.

    Raises:
        ConfigError: A number is out of range.
    """
    if settings.batch_size is not None and settings.batch_size < 1:
        raise ConfigError(f"batch size is {settings.batch_size!r}; it must be 1 or more clips.")
    wanted = {*settings.tasks, *([BASE] if NEGATIVE in settings.tasks else [])}
    if settings.sampler.cfg <= 1:
        wanted -= {NEGATIVE}  # which does nothing then
    return tuple(name for name in TASKS if name in wanted)


def _maker(files: Files, settings: Settings, model: LoadedModel) -> Maker:
    encoders = Encoders(
        model.config,
        clip=files.clip,
        synchformer=files.synchformer,
        device=model.device,
        dtype=model.dtype,
    )
    making = Making(
        checkpoint=file_hash(files.checkpoint),
        clip=file_hash(files.clip),
        synchformer=file_hash(files.synchformer),
        sampler=settings.sampler,
        seed=settings.seed,
        clips=settings.clips.to_dict(),
        weights=_weights(model.provenance),
        precision=str(model.dtype).removeprefix("torch."),
        matrices=settings.matrices,
    )
    batch_size = settings.batch_size
    if batch_size is None:
        batch_size = BATCH_ON_PROCESSOR if model.device.type == "cpu" else BATCH_ON_CARD
    return Maker(model, encoders, making, files.work, batch_size=batch_size)


def _weights(provenance: Provenance) -> str:
    decay = provenance.ema_decay
    return provenance.weights if decay is None else f"{provenance.weights} {decay:g}"


def _rows(
    maker: Maker, cases: Sequence[Case], classifier: Classifier, tasks: Sequence[str]
) -> tuple[dict[str, Row], dict[str, Json]]:
    """All sounds judged by row, and what the negative prompt changes."""
    reals, rows = _real_rows(cases, classifier, maker.model.config.audio)
    effect: dict[str, Json] = {}
    plain: Mapping[str, Finding] = {}
    for task in tasks:
        paths = maker.make(task, cases)
        if not paths:
            logger.warning("No clip is fit for %s; there is no such row.", task)
            continue
        own = {case.id: case for case in cases if case.id in paths}
        found = {
            name: find(read_audio(paths[name]), case, classifier)
            for name, case in tqdm(own.items(), desc=f"listening: {task}", unit="sound")
        }
        shown = {case.id: show(task, cases, n) for n, case in enumerate(cases) if case.id in own}

        def judged(
            findings: Mapping[str, Finding],
            own: Mapping[str, Case] = own,
            shown: Mapping[str, Shown | None] = shown,
        ) -> list[Judged]:
            return [judge(findings[n], reals[n], case, shown[n]) for n, case in own.items()]

        rows[task] = Row(
            judged=judged(found), embeddings=torch.cat([f.heard.embeddings for f in found.values()])
        )
        if task == BASE:
            plain = found
        if task == NEGATIVE:
            effect = negative_effect(judged(plain), rows[task].judged)
    return rows, effect


def _real_rows(
    cases: Sequence[Case], classifier: Classifier, audio: AudioConfig
) -> tuple[dict[str, Real], dict[str, Row]]:
    """The real sounds by id, and the rows that need no model."""
    sounds = {case.id: read_audio(case.sound) for case in tqdm(cases, desc="reading", unit="sound")}
    reals = {
        case.id: find_real(sounds[case.id], case, classifier, audio)
        for case in tqdm(cases, desc=f"listening: {REAL}", unit="sound")
    }
    own = [judge(reals[case.id].finding, reals[case.id], case) for case in cases]
    swapped: list[Judged] = []
    for index, case in enumerate(tqdm(cases, desc=f"listening: {CHANCE}", unit="sound")):
        other = find_real(sounds[another(cases, index).id], case, classifier, audio)
        swapped.append(judge(other.finding, reals[case.id], case))
    embeddings = torch.cat([reals[case.id].finding.heard.embeddings for case in cases])
    rows = {
        name: Row(judged=j, embeddings=embeddings) for name, j in ((REAL, own), (CHANCE, swapped))
    }
    return reals, rows


def _described(
    files: Files, settings: Settings, maker: Maker, seeds: Sequence[int]
) -> dict[str, Json]:
    """What the numbers are of, without anything of the machine."""
    making = maker.making
    return {
        "benchmark": "FoleyWorld",
        "split": settings.split,
        "seeds": {"first": seeds[0], "last": seeds[-1], "count": len(seeds)},
        "noise_seeds": {"first": making.seed, "last": making.seed + len(seeds) - 1},
        "clips_config": settings.clips.to_dict(),
        "sampler": asdict(making.sampler),
        "precision": making.precision,
        "matrices": making.matrices,
        "batch_size": maker.batch_size,
        "checkpoint": {
            "name": files.checkpoint.name,
            "sha256": making.checkpoint,
            **asdict(maker.model.provenance),
        },
        "encoders": {"clip_sha256": making.clip, "synchformer_sha256": making.synchformer},
        "classifier": {"name": files.classifier.name, "sha256": file_hash(files.classifier)},
    }
