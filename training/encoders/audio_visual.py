"""A small Synchformer: ``python -m training.encoders.audio_visual MANIFEST -o sync.safetensors``.

The video tower learns which sound belongs to a segment of 16 frames: among the sounds of other
clips, and among those of the same clip a little earlier or later, so that it must know when
something happens and not only what. (Contrastive training of segments as in Synchformer, arXiv
2401.16423, section 3.2; the shifted sounds stand in for its second stage, which classifies the
offset.) The audio tower is left behind.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavflow_core.config import SEGMENT_FRAMES, SEGMENT_TOKENS, SYNC_FPS
from wavflow_core.devices import choose_device
from wavflow_core.features.encoders import save_encoder
from wavflow_core.features.preprocess import normalize_sync
from wavflow_core.features.synchformer import Synchformer
from wavflow_core.features.untrained import SYNCHFORMER_PRESETS

from ..draws import seed_of
from ..evaluation.spectra import BANDS, FLOOR_DB, HOP_SECONDS
from ..program import INTERRUPTED, run_program
from .looks import Looks
from .options import add_options, fit_with, looks_of

PRESET = "synchformer_tiny"
HOPS_PER_FRAME = round(1 / (SYNC_FPS * HOP_SECONDS))
SEGMENT_HOPS = SEGMENT_FRAMES * HOPS_PER_FRAME
TOKEN_HOPS = SEGMENT_HOPS // SEGMENT_TOKENS
# Hops of 10 ms by which a sound is moved; the first is the right one.
SHIFTS = (0, -4, 4, -8, 8, -12, 12, -20, 20, -32, 32)
WIDTH = 128
SCALE = 10.0


class AudioTower(nn.Module):
    """Log-mel spectra of a segment to one vector for each of its 8 tokens.

    Args:
        width: Of the vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(BANDS, WIDTH, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(WIDTH, WIDTH, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(WIDTH, width, TOKEN_HOPS, stride=TOKEN_HOPS),
        )

    def forward(self, spectra: Tensor) -> Tensor:
        """``(B, bands, 64)`` in decibels to ``(B, 8, width)``."""
        return self.layers(spectra / -FLOOR_DB + 0.5).transpose(1, 2)


class AudioVisual(nn.Module):
    """Both towers, and how well they agree."""

    def __init__(self) -> None:
        super().__init__()
        self.video = Synchformer(SYNCHFORMER_PRESETS[PRESET])
        width = self.video.size.hidden_dim
        self.audio = AudioTower(width)
        self.project = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.tensor(SCALE).log())

    def forward(self, segments: Tensor, spectra: Tensor) -> Tensor:
        """Agreement of every segment with every sound.

        Args:
            segments: ``(B, 3, 16, H, W)`` of -1 to 1.
            spectra: ``(B, K, bands, 64)``, K shifts of each clip's sound.

        Returns:
            ``(B, B, K)``: the mean over the tokens of their cosine, scaled.
        """
        seen = F.normalize(self.project(self.video(segments)), dim=-1)
        heard = self.audio(spectra.flatten(0, 1)).unflatten(0, spectra.shape[:2])
        heard = F.normalize(heard, dim=-1)
        agreement = torch.einsum("itd,jktd->ijk", seen, heard) / SEGMENT_TOKENS
        return agreement * self.log_scale.exp().clamp(max=100)


class SegmentLoss:
    """The loss of a batch of segments and their sounds.

    Args:
        model: Both towers.
        looks: The clips.
        batch_size: Segments in a batch, each of another clip.
        seed: Of the choice.
        device: Where the model is.
    """

    def __init__(
        self,
        model: AudioVisual,
        looks: Looks,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model, self.looks = model, looks
        self.batch_size, self.seed, self.device = batch_size, seed, device

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Segments ``(B, 3, 16, H, W)`` and spectra ``(B, K, bands, 64)`` of a step."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, "audio_visual", step))
        count, frames = self.looks.frames.shape[:2]
        clips = torch.randperm(count, generator=generator)[: self.batch_size]
        spare = -(-max(SHIFTS) // HOPS_PER_FRAME)
        starts = torch.randint(
            spare, frames - SEGMENT_FRAMES - spare + 1, clips.shape, generator=generator
        )
        segments, spectra = [], []
        for clip, start in zip(clips.tolist(), starts.tolist(), strict=True):
            taken = self.looks.frames[clip, start : start + SEGMENT_FRAMES]
            segments.append(torch.from_numpy(taken.copy()))
            sound = torch.from_numpy(self.looks.sounds[clip].copy()).float()
            first = start * HOPS_PER_FRAME
            shifted = [sound[:, first + s : first + s + SEGMENT_HOPS] for s in SHIFTS]
            spectra.append(torch.stack(shifted))
        pictures = normalize_sync(torch.stack(segments).to(self.device)).transpose(1, 2)
        return pictures, torch.stack(spectra).to(self.device)

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of a step; the shares of segments that find their sound and its moment."""
        agreement = self.model(*self.batch(step))
        own = torch.arange(len(agreement), device=agreement.device)
        # A segment among all sounds at all shifts, and an unshifted sound among all segments.
        loss = F.cross_entropy(agreement.flatten(1), own * len(SHIFTS))
        loss = (loss + F.cross_entropy(agreement[:, :, 0].T, own)) / 2
        found = agreement[:, :, 0].argmax(1) == own
        timed = agreement[own, own].argmax(1) == 0
        figures = {"clip": found.float().mean(), "moment": timed.float().mean()}
        return loss, {name: round(float(value), 3) for name, value in figures.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.encoders.audio_visual", description="Train a small Synchformer."
    )
    add_options(parser, steps=6000, batch_size=32, lr=1e-3)
    given = parser.parse_args(arguments)

    def work() -> int:
        device = choose_device(given.device)
        torch.manual_seed(seed_of(given.seed, "synchformer weights"))
        model = AudioVisual().to(device)
        initialize_video(model.video)
        looks = looks_of(given)
        loss = SegmentLoss(
            model, looks, batch_size=given.batch_size, seed=given.seed, device=device
        )
        if not fit_with(given, model, loss, weight_decay=0.05, device=device):
            return INTERRUPTED
        save_encoder(model.video.half().cpu(), given.output, licence=given.license)
        return 0

    return run_program("training.encoders.audio_visual", work)


@torch.no_grad()
def initialize_video(video: Synchformer) -> None:
    """Positions and class tokens N(0, 0.02), as vision transformers begin (arXiv 2010.11929)."""
    for name, parameter in video.named_parameters():
        if name.endswith(("pos_embed", "temp_embed", "cls_token")):
            parameter.normal_(std=0.02)


if __name__ == "__main__":
    sys.exit(main())
