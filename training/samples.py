"""Sounds made while training, to hear and see how it goes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from wavflow_core.checkpoint import Checkpoint, Provenance, build_model
from wavflow_core.errors import WavFlowError
from wavflow_core.media.audio import AudioClip, write_audio
from wavflow_core.media.image import write_png
from wavflow_core.model.patchify import to_waveform
from wavflow_core.picture import picture
from wavflow_core.pipeline import LoadedModel, synthesize

from .config import TrainConfig
from .data import Clips
from .distributed import whole
from .ema import Average, first_converged
from .log import RunLog

logger = logging.getLogger(__name__)


def choose_average(averages: list[Average]) -> Average | None:
    """The first average that has forgotten its start, if any has."""
    index = first_converged(average.start_share for average in averages)
    return None if index is None else averages[index]


def gather_weights(model: nn.Module, average: Average | None) -> dict[str, Tensor]:
    """Whole weights of the model, averaged where an average is given; all processes call it."""
    named = {**model.state_dict(), **(average.tensors if average else {})}
    return {name: whole(tensor) for name, tensor in named.items()}


def write_samples(
    weights: Mapping[str, Tensor],
    clips: Clips,
    folder: Path,
    *,
    step: int,
    device: torch.device,
    log: RunLog,
) -> None:
    """Make sounds for the first clips, and write them beside the true ones, with pictures.

    They go to ``samples/step-00001000/00.wav`` and ``.png`` and so on, the true ones to
    ``samples/true``. Clip i has seed i. What goes wrong is said, and the training goes on.

    Args:
        weights: Whole weights, from :func:`gather_weights`.
        clips: Data to make sounds for.
        folder: Of the run.
        step: Steps done.
        device: Where to compute.
        log: Gets sounds and pictures too.
    """
    config = clips.config
    made, true = folder / "samples" / f"step-{step:08d}", folder / "samples" / "true"
    try:
        for place in (made, true):
            place.mkdir(parents=True, exist_ok=True)
        loaded = _load(weights, config, step=step, device=device)
        for index in range(min(config.output.samples, len(clips))):
            stems = (made / f"{index:02d}", true / f"{index:02d}")
            _write_sample(loaded, clips, index, stems, step=step, log=log)
    except (WavFlowError, OSError, RuntimeError) as error:  # also where the memory ends
        logger.warning("The samples of step %d are not complete: %s", step, error)


def _load(
    weights: Mapping[str, Tensor], config: TrainConfig, *, step: int, device: torch.device
) -> LoadedModel:
    checkpoint = Checkpoint(
        config=config.wavflow, tensors=weights, provenance=Provenance(step=step)
    )
    return LoadedModel(
        model=build_model(checkpoint, device=device),
        config=config.wavflow,
        provenance=checkpoint.provenance,
        device=device,
        dtype=torch.float32,
    )


def _write_sample(
    loaded: LoadedModel,
    clips: Clips,
    index: int,
    stems: tuple[Path, Path],
    *,
    step: int,
    log: RunLog,
) -> None:
    config: TrainConfig = clips.config
    features, tokens = clips.example(index)
    [sound] = synthesize(loaded, features, sampler=config.output.sampler, seed=index)
    samples = min(clips.lengths.samples, tokens.numel())
    true = AudioClip(
        waveform=to_waveform(tokens[None], config.audio, samples=samples),
        sample_rate=config.audio.sample_rate,
    )
    for stem, clip in zip(stems, (sound, true), strict=True):
        # 32 bits, because nothing is brought to a level here: it may be beyond full scale.
        write_audio(clip, stem.with_suffix(".wav"), subtype="32f")
        image = picture(clip.waveform[0], clip.sample_rate)
        write_png(image, stem.with_suffix(".png"))
        if clip is sound:
            log.sound(step, f"sample/{clips.rows[index].id}", clip, image)
