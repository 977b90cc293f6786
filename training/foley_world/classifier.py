"""A judge of sounds: ``python -m training.foley_world.classifier -o FILE --cache DIR``.

It learns from real sound alone which classes are heard, one or two at a time. What it will judge
is made by networks, so that it also hears sounds mixed, blurred, filtered, late and in noise.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ..draws import seed_of
from ..encoders.fit import fit_for
from ..encoders.options import add_optim_options, optim_of
from ..program import INTERRUPTED, run_program
from .classifier_data import Sounds, hear_clips
from .classifier_model import (
    FLOOR,
    Classifier,
    class_accuracy,
    hear_spectra,
    level,
    save_classifier,
)
from .clip import VERSION, split_seeds

logger = logging.getLogger(__name__)

MIXED = 0.3  # share of the sounds of one thing that get another's
NOISE_ALONE = 0.03  # share of the examples in which nothing sounds
SMOOTHING = 0.02  # of the labels


class SoundsLoss:
    """The loss of a batch of sounds as they might also come.

    Args:
        model: The network.
        sounds: What it learns from.
        batch_size: Sounds in a batch.
        seed: Of the choice and of all changes.
    """

    def __init__(self, model: Classifier, sounds: Sounds, *, batch_size: int, seed: int) -> None:
        self.model, self.sounds = model, sounds
        self.batch_size, self.seed = batch_size, seed
        self.single = (sounds.labels.sum(dim=1) == 1).nonzero()[:, 0]

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of a step, and the accuracy in it."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, "sounds", step))
        spectra, labels = self.batch(generator)
        logits, _ = self.model(level(spectra))
        target = labels * (1 - SMOOTHING) + SMOOTHING / 2
        loss = functional.binary_cross_entropy_with_logits(logits, target)
        right = class_accuracy(logits.detach(), labels.bool())
        return loss, {"right": round(float(right.nanmean()), 3)}

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Changed spectra ``(B, bands, T)`` in dB, and their classes ``(B, 18)``."""
        count = len(self.sounds.spectra)
        chosen = torch.randperm(count, generator=generator)[: self.batch_size]
        spectra, labels = self._mixed(chosen, generator)
        spectra = _shifted(spectra, generator)
        spectra = _coloured(spectra, generator)
        spectra, nothing = _noisy(spectra, generator)
        return _blurred(spectra, generator), labels * ~nothing[:, None]

    def _mixed(self, chosen: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        spectra = self.sounds.spectra[chosen].float()
        labels = self.sounds.labels[chosen].float()
        other = self.single[torch.randint(len(self.single), chosen.shape, generator=generator)]
        alone = labels.sum(dim=1) == 1
        alone &= torch.rand(chosen.shape, generator=generator) < MIXED
        added = self.sounds.spectra[other].float()
        gain = _uniform(-6, 6, len(chosen), generator)[:, None, None]
        added = added - added.amax((1, 2), True) + spectra.amax((1, 2), True) + gain
        added = torch.where(alone[:, None, None], added, torch.full_like(added, FLOOR))
        labels = torch.where(
            alone[:, None], torch.maximum(labels, self.sounds.labels[other].float()), labels
        )
        return _sum(spectra, added), labels


def _uniform(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _sum(first: Tensor, second: Tensor) -> Tensor:
    """Decibels of two powers together."""
    return 10 * torch.log10(10 ** (first / 10) + 10 ** (second / 10))


def _shifted(spectra: Tensor, generator: torch.Generator) -> Tensor:
    """Half of them begin up to a quarter of the sound later, in silence."""
    frames = spectra.shape[2]
    late = _uniform(-frames / 4, frames / 4, len(spectra), generator).round().long().clamp_min(0)
    place = torch.arange(frames)[None] - late[:, None]
    rows = place.clamp_min(0)[:, None].expand_as(spectra)
    moved = spectra.gather(2, rows)
    quiet = spectra.amin(dim=2, keepdim=True)
    return torch.where((place < 0)[:, None], quiet, moved)


def _coloured(spectra: Tensor, generator: torch.Generator) -> Tensor:
    """Up to 4 dB more or less in each of eight ranges of frequency, smoothly."""
    steps = torch.randn(len(spectra), 1, 8, generator=generator) * 2
    curve = functional.interpolate(
        steps.clamp(-4, 4), size=spectra.shape[1], mode="linear", align_corners=True
    )
    return spectra + curve[:, 0, :, None]


def _noisy(spectra: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise of any colour, 15 to 70 dB below the loudest; and where nothing is but noise."""
    count, bands, frames = spectra.shape
    nothing = torch.rand(count, generator=generator) < NOISE_ALONE
    loudest = spectra.amax((1, 2))
    below = torch.where(nothing, torch.zeros(()), _uniform(15, 70, count, generator))
    spectra = torch.where(nothing[:, None, None], torch.full_like(spectra, FLOOR), spectra)
    ends = torch.randn(count, 2, generator=generator) * 8
    slope = torch.linspace(0, 1, bands)
    colour = ends[:, :1] * (1 - slope) + ends[:, 1:] * slope
    # Power of noise in a band is about chi-square with a few degrees of freedom.
    grain = torch.rand(count, bands, frames, generator=generator).clamp_min(1e-3)
    grain = 10 * torch.log10(-torch.log(grain)).clamp_min(-2)
    top = colour.amax(dim=1, keepdim=True)
    noise = (loudest - below)[:, None, None] + (colour - top)[:, :, None] + 0.5 * grain
    return _sum(spectra, noise), nothing


def _blurred(spectra: Tensor, generator: torch.Generator) -> Tensor:
    """A third of them smeared over three or five moments or bands."""
    result = spectra.clone()
    kind = torch.randint(9, (len(spectra),), generator=generator)
    for number, (height, width) in enumerate(((1, 3), (3, 1), (3, 5))):
        chosen = kind == number
        if chosen.any():
            result[chosen] = functional.avg_pool2d(
                spectra[chosen][:, None],
                (height, width),
                stride=1,
                padding=(height // 2, width // 2),
                count_include_pad=False,
            )[:, 0]
    return result


def measure(model: Classifier, sounds: Sounds) -> dict[str, float]:
    """Accuracy on sounds as they are: of all, of those of one thing and of those of two."""
    model.eval()
    heard = hear_spectra(model, sounds.spectra)
    right = class_accuracy(heard.probabilities, sounds.labels)
    things = sounds.labels.sum(dim=1)
    groups = {"all": right, "one": right[things == 1], "two": right[things == 2]}
    return {name: round(float(part.mean()), 4) for name, part in groups.items() if len(part)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    given = build_parser().parse_args(arguments)
    return run_program("foley_world.classifier", lambda: train(given))


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m training.foley_world.classifier",
        description="Train the network that hears which classes of FoleyWorld sound. A run that "
        "was stopped goes on with the same command.",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.safetensors")
    parser.add_argument(
        "--cache", type=Path, required=True, metavar="DIR", help="for spectra, 40 kB a clip"
    )
    parser.add_argument("--count", type=int, default=12000, help="clips (default: 12000)")
    parser.add_argument(
        "--checked", type=int, default=1000, help="clips to check with at the end (default: 1000)"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of each clip (default: 4)")
    add_optim_options(parser, steps=1800, batch_size=64, lr=3e-3)
    parser.add_argument("--jobs", type=int, default=1, help="processes for sounds (default: 1)")
    parser.add_argument("--license", default="Apache-2.0", help="(default: Apache-2.0)")
    return parser


def train(given: argparse.Namespace) -> int:
    """Make the sounds, train, check and write the network.

    Raises:
        WavFlowError: Something given cannot be used, or a file cannot be written.
    """
    optim = optim_of(given, weight_decay=0.05, warmup_steps=200)
    seeds = {
        split: split_seeds(split, count)
        for split, count in (("train", given.count), ("validation", given.checked))
    }
    sounds, checked = (
        hear_clips(part, given.cache, seconds=given.seconds, jobs=given.jobs)
        for part in seeds.values()
    )
    torch.manual_seed(seed_of(given.seed, "classifier weights"))
    model = Classifier()
    loss = SoundsLoss(model, sounds, batch_size=given.batch_size, seed=given.seed)
    made_from = {
        "data": f"FoleyWorld {VERSION}",
        "count": given.count,
        "seconds": given.seconds,
        "seed": given.seed,
    }
    device = torch.device("cpu")
    if not fit_for(*(given.output, model, loss), optim=optim, made_from=made_from, device=device):
        return INTERRUPTED
    accuracy = measure(model, checked)
    logger.info("Accuracy on %d clips of the validation split: %s.", len(checked.labels), accuracy)
    training = {
        "data": f"FoleyWorld {VERSION}",
        "seeds": {name: [part[0], part[-1]] for name, part in seeds.items()},
        "steps": given.steps,
        "batch_size": given.batch_size,
        "lr": given.lr,
        "seed": given.seed,
        "validation_accuracy": accuracy,
    }
    save_classifier(model, given.output, licence=given.license, training=training)
    return 0


if __name__ == "__main__":
    sys.exit(main())
