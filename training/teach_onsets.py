"""Teach a model's Synchformer layers when sounds begin, before the flow does.

``python -m training.teach_onsets CONFIG.yaml [section.name=value ...] -o FILE.safetensors``, then
``python -m training.train CONFIG.yaml start.weights=FILE.safetensors``. The flow tells these layers
little: a beginning that is guessed a little beside its moment costs hardly anything where all is
noise. Here a linear readout of what modulates the blocks must find the onsets of the clips' own
sounds, which is learned in minutes.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavflow_core.conditions import prepare_batch
from wavflow_core.config import AudioConfig
from wavflow_core.devices import choose_device
from wavflow_core.errors import ConfigError
from wavflow_core.media.audio import AudioClip
from wavflow_core.media.files import file_hash
from wavflow_core.model import WavFlow
from wavflow_core.model.patchify import to_waveform
from wavflow_core.tensor_files import write_safetensors

from .build import start_model
from .config import OptimConfig, TrainConfig
from .data import Clips, TrainBatch, collate
from .encoders.fit import fit_for
from .encoders.options import optim_of
from .evaluation.onsets import detect_onsets
from .program import INTERRUPTED, run_program
from .settings import add_settings, load_config
from .sources import adopt_encoders, digest, read_training_rows

logger = logging.getLogger(__name__)

# Deviation in seconds of the target around an onset: a third of a picture at 25 per second.
SPREAD = 0.012
# Of all moments, so few have an onset; where the readout begins.
USUAL = 0.05
# Weight of what the layers told before; an onset is told as well with it as without.
KEEP = 0.1


class OnsetTeacher(nn.Module):
    """A model of which only the Synchformer layers learn, with a readout of onsets.

    Args:
        model: The network.
        audio: Rate and scale of its sound.
        keep: Weight of the change of what these layers tell, in their own variance. Without it
            they grow until nothing beside them is told any more, not even the time.
    """

    def __init__(self, model: WavFlow, audio: AudioConfig, *, keep: float = KEEP) -> None:
        super().__init__()
        self.before = copy.deepcopy(model).requires_grad_(False)
        self.model = model.requires_grad_(False)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith("sync_"))
        self.audio = audio
        self.keep = keep
        self.readout = nn.Linear(model.config.hidden_dim, 1)
        nn.init.zeros_(self.readout.weight)
        nn.init.constant_(self.readout.bias, torch.logit(torch.tensor(USUAL)).item())

    def forward(self, batch: TrainBatch) -> tuple[Tensor, Tensor]:
        """Logits of an onset at each audio token ``(B, N)``, and the change ``()`` to keep low."""
        count = batch.x_1.shape[1]
        conditions = prepare_batch(self.model, batch.features, num_tokens=count)
        rows = self.model.modulating(batch.t, conditions, batch.x_1.dtype)[1]
        logits = self.readout(F.silu(rows))[..., 0].index_select(1, conditions.rows)
        before = prepare_batch(self.before, batch.features, num_tokens=count).sync
        return logits, (conditions.sync - before).square().mean() / before.var()

    def loss(self, batch: TrainBatch) -> tuple[Tensor, dict[str, float]]:
        """Cross entropy of the onsets, with the change; and both as figures."""
        logits, change = self(batch)
        targets = onset_targets(batch.x_1.cpu(), self.audio).to(logits)
        error = F.binary_cross_entropy_with_logits(logits, targets)
        figures = {"onsets": round(error.item(), 4), "change": round(change.item(), 4)}
        return error + self.keep * change, figures


def onset_targets(x_1: Tensor, audio: AudioConfig) -> Tensor:
    """How near each token is to an onset of its sound: 1 at the moment, a bell curve around.

    Args:
        x_1: Data ``(B, N, P)``, on the CPU.
        audio: Rate and scale.

    Returns:
        ``(B, N)`` in [0, 1].
    """
    count, size = x_1.shape[1:]
    sounds = to_waveform(x_1, audio, samples=count * size)
    moments = (torch.arange(count) + 0.5) * size / audio.sample_rate
    targets = torch.zeros(len(x_1), count)
    for target, sound in zip(targets, sounds, strict=True):
        for onset in detect_onsets(AudioClip(waveform=sound[None], sample_rate=audio.sample_rate)):
            target.copy_(target.maximum(torch.exp(-((moments - onset) / SPREAD).square() / 2)))
    return targets


def teach(config: TrainConfig, output: Path, *, optim: OptimConfig, keep: float = KEEP) -> bool:
    """Teach the model that a training would begin with, and write its weights.

    Args:
        config: The training.
        output: File ending in ``.safetensors``; a state to go on from lies beside it.
        optim: Steps, rate and batch size of the teaching.
        keep: See :class:`OnsetTeacher`.

    Returns:
        Whether the last step was reached.

    Raises:
        WavFlowError: Something given cannot be used.
    """
    rows, _ = read_training_rows(config.data)
    config = adopt_encoders(config, rows)
    clips = Clips(rows, config)
    device = choose_device(config.execution.device)
    model = start_model(config, None, clips, data=digest(rows))
    teacher = OnsetTeacher(model, config.audio, keep=keep).to(device)

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        first = step * optim.batch_size
        batch = collate([clips[first + i] for i in range(optim.batch_size)])
        return teacher.loss(batch.to(device))

    made_from = {**_decisive(config), "clips": digest(rows), "keep": keep}
    finished = fit_for(*(output, teacher, loss_of), optim=optim, made_from=made_from, device=device)
    if finished:
        write_safetensors(model.state_dict(), {}, output)
        logger.info("%s: the weights, for start.weights.", output)
    return finished


def _decisive(config: TrainConfig) -> dict[str, object]:
    """The settings that decide what the model begins with and what it is shown."""
    sections = config.to_dict()
    found: dict[str, object] = {"execution.seed": config.execution.seed}
    for section in ("audio", "model", "flow", "start"):
        values = sections[section]
        assert isinstance(values, dict)
        found |= {f"{section}.{name}": value for name, value in values.items()}
    for name in ("crop", "drop_video", "drop_text", "overfit"):
        found[f"data.{name}"] = getattr(config.data, name)
    if config.start.weights is not None:
        found["hash of start.weights"] = file_hash(Path(config.start.weights))[:16]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0: taught to the end; 2: something cannot be used; 130: stopped, with the state saved.
    """
    parser = argparse.ArgumentParser(
        prog="python -m training.teach_onsets",
        description="Teach the Synchformer layers of a model to begin with when sounds begin.",
    )
    add_settings(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.safetensors")
    parser.add_argument("--steps", type=int, default=700, help="(default: 700)")
    parser.add_argument("--batch-size", type=int, default=16, help="clips (default: 16)")
    parser.add_argument("--lr", type=float, default=1e-3, help="(default: 0.001)")
    parser.add_argument(
        "--keep",
        type=float,
        default=KEEP,
        help=f"weight of changing what the layers tell (default: {KEEP})",
    )
    given = parser.parse_intermixed_args(arguments)

    def work() -> int:
        config = load_config(given.config, given.overrides)
        optim = optim_of(given, weight_decay=0.0)
        if not given.keep >= 0:
            raise ConfigError(f"--keep is {given.keep}; it must be 0 or more.")
        return 0 if teach(config, given.output, optim=optim, keep=given.keep) else INTERRUPTED

    return run_program("training.teach_onsets", work)


if __name__ == "__main__":
    sys.exit(main())
