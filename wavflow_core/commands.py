"""What the commands of the command line do."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm  # a dependency of open_clip_torch
from tqdm.contrib.logging import logging_redirect_tqdm

from . import batch, weights
from .checkpoint import Checkpoint, Provenance, read_checkpoint, write_checkpoint
from .config import SamplerConfig, WavFlowConfig
from .describe import describe
from .devices import choose_device, choose_dtype
from .encoding import Encoders
from .errors import WavFlowError
from .features.encoders import load_clip, load_synchformer
from .features.store import load_features, save_features
from .features.untrained import CLIP_PRESETS, SYNCHFORMER_PRESETS, init_clip, init_synchformer
from .media.files import is_file, make_folder
from .media.video import open_video
from .model import WavFlow, initialize
from .outputs import check_outputs, default_output, output_names, save
from .pipeline import (
    LoadedModel,
    Request,
    StageProgress,
    check_seed,
    encode,
    load_model,
    variations,
)
from .presets import PRESETS, get_preset

logger = logging.getLogger(__name__)

ENCODER_PRESETS = (*CLIP_PRESETS, *SYNCHFORMER_PRESETS)


def generate(given: argparse.Namespace) -> int:
    """Make one sound, or many."""
    many = given.csv is not None or given.folder is not None
    request = Request(
        video=given.video,
        prompt=given.prompt,
        negative_prompt=given.negative_prompt,
        start=given.start,
        duration=given.duration,
        seed=given.seed,
        count=given.count,
        loudness=given.loudness,
    )
    sampler = SamplerConfig(
        solver=given.solver,
        steps=given.steps,
        cfg=given.cfg,
        cfg_end=given.cfg_end,
        noise_shift=given.noise_shift,
    )
    if many:
        return _generate_many(given, request, sampler)
    _generate_one(given, request, sampler)
    return 0


def _generate_one(given: argparse.Namespace, request: Request, sampler: SamplerConfig) -> None:
    features = None
    if given.features is not None:
        if request.prompt or request.negative_prompt:
            raise WavFlowError("--features holds the prompts already; give features or prompts.")
        features = load_features(given.features)
    elif given.video is None and not given.prompt.strip():
        raise WavFlowError(
            "There is nothing to make a sound for; give --video, --prompt, --features, --csv or "
            "--folder."
        )
    outputs = output_names(given.output or default_output(given.video), request)
    video = None
    if given.video is not None:
        video = open_video(given.video, start=request.start, duration=request.duration)
    check_outputs(outputs, video=video, overwrite=given.overwrite)
    model = _load_model(given)
    with progress_bars() as progress:
        if features is None:
            # Encoders are not kept: they go before the sampling needs their room.
            encoders = _encoders(given, model.config, model.device, model.dtype)
            features = encode(model.config, request, encoders, progress=progress)
            del encoders
        clips = variations(model, request, features=features, sampler=sampler, progress=progress)
        save(clips, outputs, request)


def _generate_many(given: argparse.Namespace, request: Request, sampler: SamplerConfig) -> int:
    if given.video or given.features or (given.csv and (given.folder or given.prompt)):
        raise WavFlowError(
            "Give one of --video, --features, --csv and --folder; a CSV has prompts."
        )
    jobs = (
        batch.read_csv(given.csv)
        if given.csv is not None
        else batch.read_folder(given.folder, prompt=given.prompt)
    )
    model = _load_model(given)
    encoders = _encoders(given, model.config, model.device, model.dtype)
    folder = given.output or Path("wavflow_output")
    make_folder(folder)

    def outputs(job: batch.Job) -> Sequence[Path]:
        return output_names(folder / f"{job.name}{given.format}", request)

    def make(job: batch.Job) -> None:
        mine = replace(request, video=job.video, prompt=job.prompt)
        video = None if job.video is None else open_video(job.video, start=mine.start)
        paths = outputs(job)
        check_outputs(paths, video=video, overwrite=True)
        wanted = [n for n, path in enumerate(paths) if given.overwrite or not is_file(path)]
        with progress_bars(job.name) as progress:
            features = encode(model.config, mine, encoders, progress=progress)
            for n in wanted:
                one = replace(mine, seed=mine.seed + n, count=1)
                clips = variations(
                    *(model, one), features=features, sampler=sampler, progress=progress
                )
                save(clips, [paths[n]], one)

    summary = batch.run_jobs(jobs, outputs=outputs, make=make, overwrite=given.overwrite)
    logger.info(
        "%d of %d made, %d were there already, %d failed.",
        *(summary.made, len(jobs), summary.skipped, len(summary.failures)),
    )
    for failure in summary.failures:
        logger.error("  %s: %s", failure.name, failure.reason)
    return 1 if summary.failures else 0


def features(given: argparse.Namespace) -> int:
    """Extract features to a file."""
    check_outputs([given.output], overwrite=given.overwrite, allowed=(".safetensors",))
    device = choose_device(given.device)
    # Who gives encoders alone wants features of those, for whatever model.
    some = given.checkpoint or not (given.clip or given.synchformer or given.models)
    config = read_checkpoint(_checkpoint(given)).config if some else None
    encoders = _encoders(given, config, device, choose_dtype(given.dtype, device))
    request = Request(
        video=given.video,
        prompt=given.prompt,
        negative_prompt=given.negative_prompt,
        start=given.start,
        duration=given.duration,
    )
    with progress_bars() as progress:
        result = encode(config or WavFlowConfig(), request, encoders, progress=progress)
    save_features(result, given.output)
    logger.info("Wrote %s: %s", given.output, "; ".join(describe(given.output)[1:]))
    return 0


def init(given: argparse.Namespace) -> int:
    """Write untrained weights."""
    check_outputs([given.output], overwrite=given.overwrite, allowed=(".safetensors",))
    if given.preset in CLIP_PRESETS:
        init_clip(given.preset, given.output, seed=given.seed)
    elif given.preset in SYNCHFORMER_PRESETS:
        init_synchformer(given.preset, given.output, seed=given.seed)
    elif given.preset in PRESETS:
        write_checkpoint(
            untrained(given.preset, given.seed, given.clip, given.synchformer), given.output
        )
    else:
        raise WavFlowError(
            f"There is no preset {given.preset!r}; models: {', '.join(PRESETS)}; encoders: "
            f"{', '.join(ENCODER_PRESETS)}."
        )
    logger.info("Wrote %s: %s", given.output, "; ".join(describe(given.output)[1:]))
    return 0


def untrained(
    preset: str, seed: int = 0, clip: str | None = None, synchformer: str | None = None
) -> Checkpoint:
    """A model to begin training from; with encoders given, made for exactly those."""
    check_seed(seed)
    config = get_preset(preset)
    model = initialize(WavFlow(config.model), generator=torch.Generator().manual_seed(seed))
    if clip is not None:
        encoder = load_clip(clip, towers=("text",))
        [empty] = encoder.encode_text([""])
        if empty.shape != model.empty_string_feat.shape:
            raise WavFlowError(
                f"{clip!r} makes text features of shape {tuple(empty.shape)}; preset {preset!r} "
                f"needs {tuple(model.empty_string_feat.shape)}. Give the CLIP that it is made for: "
                f"{config.clip}."
            )
        model.empty_string_feat.data.copy_(empty)
        config = replace(config, clip=encoder.config)
    else:
        logger.warning(
            "Without --clip the features of the empty caption stay zero: good for a trial, but "
            "train only a checkpoint that was made with its encoders."
        )
    if synchformer is not None:
        config = replace(config, sync=load_synchformer(synchformer).config)
    return Checkpoint(config=config, tensors=model.state_dict(), provenance=Provenance(step=0))


def convert(given: argparse.Namespace) -> int:
    """Turn a ``.pth`` into safetensors."""
    check_outputs([given.output], overwrite=given.overwrite, allowed=(".safetensors",))
    checkpoint = read_checkpoint(
        given.input, weights=given.weights, preset=given.preset, sample_rate=given.sample_rate
    )
    known = {"data": given.data, "license": given.license}
    known = {name: value for name, value in known.items() if value is not None}
    provenance = dataclasses.replace(checkpoint.provenance, **known)
    write_checkpoint(replace(checkpoint, provenance=provenance), given.output)
    logger.info("Wrote %s: %s", given.output, "; ".join(describe(given.output)[1:]))
    return 0


def info(given: argparse.Namespace) -> int:
    """Say what a file is, or what is bundled."""
    if given.file is not None:
        print(*describe(given.file), sep="\n")
        return 0
    said = {True: "as published", False: "NOT as published", None: "not published yet"}
    for kind in weights.WEIGHTS:
        print(*describe(weights.bundled_file(kind)), sep="\n")
        print(f"bundled; {said[weights.is_as_published(kind)]}\n")
    return 0


def download(given: argparse.Namespace) -> int:
    """Fetch a known weights file, or list them."""
    folder = given.folder or weights.default_folder()
    if given.name is None:
        print(f"Files that `wavflow download NAME` puts into {folder}:")
        for known in weights.KNOWN_FILES:
            size = f"{known.size / 1e9:.2f} GB" if known.size else "size unknown"
            print(f"  {known.name}: {known.note} ({size}; licence: {known.licence})")
        return 0
    known = weights.known_file(given.name)
    with progress_bars() as progress:
        path = weights.download(
            known, folder, progress=lambda done, total: progress("download", done, total)
        )
    logger.info("%s", path)
    return 0


@contextmanager
def progress_bars(label: str = "") -> Iterator[StageProgress]:
    """A progress bar for each stage, on standard error."""
    bars: dict[str, tqdm] = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            bars[stage] = tqdm(total=total, desc=f"{label} {stage}".strip(), dynamic_ncols=True)
        bar = bars[stage]
        bar.total = total or None  # a server need not say how much will come
        bar.update(done - bar.n)
        if done == total > 0:
            bar.close()

    with logging_redirect_tqdm([logging.root]):
        try:
            yield progress
        finally:
            for bar in bars.values():
                bar.close()


def _load_model(given: argparse.Namespace) -> LoadedModel:
    return load_model(
        _checkpoint(given),
        weights=given.weights,
        preset=given.preset,
        sample_rate=given.sample_rate,
        device=given.device,
        dtype=given.dtype,
    )


def _checkpoint(given: argparse.Namespace) -> Path:
    """The checkpoint given, or the bundled one, which is said."""
    if given.checkpoint is not None:
        return given.checkpoint
    path = weights.bundled_file("model")
    logger.info(
        "Using the bundled model %s (%s); give --checkpoint for another.", path.stem, weights.ABOUT
    )
    return path


def _encoders(
    given: argparse.Namespace,
    config: WavFlowConfig | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Encoders:
    return Encoders(
        config,
        clip=given.clip,
        synchformer=given.synchformer,
        folders=given.models,
        device=device,
        dtype=dtype,
    )
