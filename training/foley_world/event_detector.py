"""What begins when: ``python -m training.foley_world.event_detector FOLDER… -o FILE``.

A network learns it from the real sounds of clips and their truth, for ``loss.perceptual`` of the
training. What it will hear there are estimates of a flow, so it also hears sounds coloured, in
noise, and louder or softer. It is another one than the benchmark's classifier on purpose: a judge
must not be what is learned from.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from wavflow_core.config import AudioConfig
from wavflow_core.errors import ConfigError
from wavflow_core.media.audio import read_audio
from wavflow_core.model.patchify import normalize

from ..draws import seed_of
from ..encoders.fit import fit_for
from ..encoders.options import add_optim_options, optim_of
from ..evaluation.spectra import mono
from ..event_network import FRAME, ONSETS, RATE, EventNetwork, save_event_network
from ..program import INTERRUPTED, run_program
from .classifier_model import NAMES, class_accuracy, label
from .storage import read_truth

logger = logging.getLogger(__name__)

AUDIO = AudioConfig(normalization="unclipped")
WINDOW = 2.0  # seconds that are heard at once
# A class that was there before the window may still ring; it is neither right nor wrong then.
RINGING = 1.5  # seconds
NEAR = 0.3  # of an onset's frame in the frame before and after it
COLOURS = 8  # points of frequency between which a sound is coloured
COLOURED = 6.0  # dB
LOUDER = 6.0  # dB


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Told:
    """Sounds and what is true of them.

    Attributes:
        sounds: ``(M, T)`` float16 of an RMS of 0.1.
        events: Of each, rows of its events ``(E, 3)``: class, begin and end in seconds.
    """

    sounds: Tensor
    events: Sequence[Tensor]

    @property
    def key(self) -> str:
        """A name that no other clips have."""
        return hashlib.sha256(torch.cat(list(self.events)).numpy().tobytes()).hexdigest()[:16]


def read_told(folders: Sequence[Path]) -> Told:
    """Read the sounds of folders that ``python -m training.foley_world`` has made.

    Raises:
        WavFlowError: A folder holds no clips, or a sound cannot be read.
    """
    sounds: list[Tensor] = []
    events: list[Tensor] = []
    for folder in folders:
        lines = read_truth(folder)
        if not lines:
            raise ConfigError(f"{str(folder)!r} holds no clips; make some there first.")
        for name, line in tqdm(lines.items(), desc=f"reading {folder.name}", unit="clip"):
            clip = read_audio(folder / f"{name}.wav")
            sounds.append(normalize(mono(clip, rate=RATE), AUDIO).half())
            events.append(_events(line["events"]))
    shortest = min(len(sound) for sound in sounds)
    return Told(sounds=torch.stack([sound[:shortest] for sound in sounds]), events=events)


def _events(rows: object) -> Tensor:
    assert isinstance(rows, list)
    found = [
        (NAMES.index(row["class"]), row["time"], row["time"] if row["end"] is None else row["end"])
        for row in rows
    ]
    return torch.tensor(found, dtype=torch.float32).reshape(-1, 3)


class EventsLoss:
    """The loss of a batch of windows of sounds as they might also come.

    Args:
        model: The network.
        told: What it learns from.
        batch_size: Windows in a batch.
        seed: Of the choice and of all changes.
    """

    def __init__(self, model: EventNetwork, told: Told, *, batch_size: int, seed: int) -> None:
        self.model, self.told = model, told
        self.batch_size, self.seed = batch_size, seed
        self.samples = min(round(WINDOW * RATE), told.sounds.shape[1])

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of a step, and the accuracy of classes in it."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, "events", step))
        sounds, onsets, classes, known = self.batch(generator)
        heard = self.model(sounds)
        begins = F.binary_cross_entropy_with_logits(heard.onsets, onsets)
        each = F.binary_cross_entropy_with_logits(heard.classes, classes, reduction="none")
        told = (each * known).sum() / known.sum()
        right = class_accuracy(heard.classes.detach().masked_fill(~known, -99), classes.bool())
        figures = {"onsets": float(begins.detach()), "right": float(right.nanmean())}
        return ONSETS * begins + told, {name: round(value, 4) for name, value in figures.items()}

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Windows ``(B, T)``, onsets ``(B, K, F)``, classes ``(B, K)`` and which are known."""
        total = self.told.sounds.shape[1]
        chosen = torch.randint(len(self.told.sounds), (self.batch_size,), generator=generator)
        starts = torch.randint(total - self.samples + 1, chosen.shape, generator=generator)
        windows: list[Tensor] = []
        truths: list[tuple[Tensor, Tensor, Tensor]] = []
        for number, start in zip(chosen.tolist(), starts.tolist(), strict=True):
            windows.append(self.told.sounds[number, start : start + self.samples].float())
            truths.append(
                truth_of(self.told.events[number], start / RATE, self.samples // FRAME + 1)
            )
        onsets, classes, known = (torch.stack(items) for items in zip(*truths, strict=True))
        return changed(torch.stack(windows), generator), onsets, classes, known


def truth_of(events: Tensor, start: float, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """What is true of a window.

    Args:
        events: ``(E, 3)``: class, begin and end in seconds of the clip.
        start: Seconds at which the window begins.
        frames: Frames of 20 ms that it has.

    Returns:
        Onsets ``(K, F)``, classes ``(K,)`` of 0 or 1, and ``(K,)`` bool which of them are known.
    """
    onsets, classes = torch.zeros(len(NAMES), frames), torch.zeros(len(NAMES))
    known = torch.ones(len(NAMES), dtype=torch.bool)
    seconds = (frames - 1) * FRAME / RATE
    for kind, begin, end in events.tolist():
        row = int(kind)
        place = round((begin - start) * RATE / FRAME)
        for near, value in ((place - 1, NEAR), (place + 1, NEAR), (place, 1.0)):
            if 0 <= near < frames:
                onsets[row, near] = max(float(onsets[row, near]), value)
        begins = start - 0.02 <= begin < start + seconds - 0.1
        if begins or (begin < start and end > start + 0.2):
            classes[row] = 1
        elif start - RINGING < end and begin < start + seconds:
            known[row] = False
    return onsets, classes, known | classes.bool()


def changed(sounds: Tensor, generator: torch.Generator) -> Tensor:
    """Sounds ``(B, T)`` coloured, in noise of any colour, and louder or softer."""
    count, samples = sounds.shape
    gain = LOUDER * (2 * torch.rand(count, 1, generator=generator) - 1)
    sounds = _coloured(sounds, COLOURED, generator) * 10 ** (gain / 20)
    noise = torch.randn(count, samples, generator=generator)
    noise = _coloured(noise, 2 * COLOURED, generator)
    loudest = sounds.unfold(1, 800, 400).square().mean(2).amax(1, keepdim=True).sqrt()
    below = 20 + 60 * torch.rand(count, 1, generator=generator)
    level = loudest.clamp_min(1e-4) * 10 ** (-below / 20)
    return sounds + noise * level / noise.square().mean(1, keepdim=True).sqrt()


def _coloured(sounds: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """More or less in each range of frequency, smoothly."""
    points = torch.randn(len(sounds), 1, COLOURS, generator=generator) * deviation / 2
    spectrum = torch.fft.rfft(sounds)
    curve = F.interpolate(points, size=spectrum.shape[1], mode="linear", align_corners=True)
    return torch.fft.irfft(spectrum * 10 ** (curve[:, 0] / 20), n=sounds.shape[1])


@torch.no_grad()
def measure(model: EventNetwork, told: Told) -> dict[str, float]:
    """Accuracy of the classes of whole sounds as they are."""
    model.eval()
    heard = torch.cat([model(sound[None].float()).classes for sound in told.sounds])
    labels = torch.stack([label(NAMES[int(k)] for k in rows[:, 0]) for rows in told.events])
    right = class_accuracy(heard, labels)
    return {"classes": round(float(right.nanmean()), 4)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    given = build_parser().parse_args(arguments)
    return run_program("foley_world.event_detector", lambda: train(given))


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m training.foley_world.event_detector",
        description="Train the network that hears what begins when, for the loss of a training. "
        "A run that was stopped goes on with the same command.",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="of clips")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.safetensors")
    parser.add_argument(
        "--check", type=Path, metavar="FOLDER", help="of other clips, to check with at the end"
    )
    add_optim_options(parser, steps=1500, batch_size=32, lr=2e-3, what="windows")
    return parser


def train(given: argparse.Namespace) -> int:
    """Read the sounds, train, check and write the network.

    Raises:
        WavFlowError: Something given cannot be used, or a file cannot be written.
    """
    optim = optim_of(given, weight_decay=0.05, warmup_steps=100)
    told = read_told(given.folders)
    torch.manual_seed(seed_of(given.seed, "event network weights"))
    model = EventNetwork(NAMES)
    loss = EventsLoss(model, told, batch_size=given.batch_size, seed=given.seed)
    made_from = {"clips": len(told.sounds), "events": told.key, "seed": given.seed}
    device = torch.device("cpu")
    if not fit_for(*(given.output, model, loss), optim=optim, made_from=made_from, device=device):
        return INTERRUPTED
    training = {**made_from, "steps": given.steps, "batch_size": given.batch_size, "lr": given.lr}
    if given.check is not None:
        accuracy = measure(model, read_told([given.check]))
        logger.info("Accuracy on %s: %s.", given.check, accuracy)
        training["accuracy"] = accuracy
    save_event_network(model, given.output, training=training)
    return 0


if __name__ == "__main__":
    sys.exit(main())
