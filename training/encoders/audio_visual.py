"""A small Synchformer: ``python -m training.encoders.audio_visual MANIFEST -o sync.safetensors``.

The video tower learns which sound belongs to a segment of 16 frames: among the sounds of other
segments, and among those of the same clip a little earlier or later, so that it must know when
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
from wavflow_core.features.synchformer import TUBELET, Synchformer
from wavflow_core.features.untrained import SYNCHFORMER_PRESETS

from ..draws import seed_of
from ..evaluation.spectra import BANDS, FLOOR_DB, HOP_SECONDS
from ..program import INTERRUPTED, run_program
from .fit import fit_for
from .looks import Looks
from .options import add_options, looks_of, made_from_looks, optim_of
from .patches import whiten_patches

PRESET = "synchformer_small"
HOPS_PER_FRAME = round(1 / (SYNC_FPS * HOP_SECONDS))
# Frames of 40 ms by which a sound is moved; the first is the right one.
SHIFTS = (0, -1, 1, -2, 2, -3, 3, -5, 5, -8, 8)
# Segments of a clip that are seen together: the others' sounds are wrong at another time.
SEGMENTS_PER_CLIP = 2
WIDTH = 128
SCALE = 10.0


class AudioTower(nn.Module):
    """Log-mel spectra of whole clips to one vector for every two frames, at every frame.

    Args:
        width: Of the vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(BANDS, WIDTH, 5, padding=2),
            nn.GELU(),
            # Together one step per frame of four hops.
            nn.Conv1d(WIDTH, WIDTH, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv1d(WIDTH, WIDTH, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv1d(WIDTH, width, TUBELET),
        )

    def forward(self, spectra: Tensor) -> Tensor:
        """``(C, bands, 4 * T)`` in decibels to ``(C, T - 1, width)``."""
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

    def forward(
        self, segments: Tensor, starts: Tensor, spectra: Tensor, clips: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Agreement of every segment with the sounds it is told from.

        Args:
            segments: ``(B, 3, 16, H, W)`` of -1 to 1.
            starts: ``(B,)`` frames at which they begin.
            spectra: ``(C, bands, 4 * T)``, the whole sound of each clip.
            clips: ``(B,)``, which of them each segment is from.

        Returns:
            ``(B, K)`` with its own sound moved by each of :data:`SHIFTS`, and ``(B, B)`` with the
            sounds of all segments: means over the tokens of their cosine, scaled.
        """
        seen = F.normalize(self.project(self.video(segments)), dim=-1)
        heard = F.normalize(self.audio(spectra), dim=-1)
        steps = TUBELET * torch.arange(SEGMENT_TOKENS, device=starts.device)
        shifts = torch.tensor(SHIFTS, device=starts.device)
        places = starts[:, None, None] + shifts[:, None] + steps
        moved = heard[clips[:, None, None], places]  # (B, K, 8, width)
        scale = self.log_scale.exp().clamp(max=100) / SEGMENT_TOKENS
        own = torch.einsum("itd,iktd->ik", seen, moved)
        others = torch.einsum("itd,jtd->ij", seen, moved[:, 0])
        return own * scale, others * scale


class SegmentLoss:
    """The loss of a batch of segments and their sounds.

    Args:
        model: Both towers.
        looks: The clips.
        batch_size: Clips in a batch, each with :data:`SEGMENTS_PER_CLIP` segments.
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

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the model reads at a step; half of the segments are seen in a mirror."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, "audio_visual", step))
        count, frames = self.looks.frames.shape[:2]
        chosen = torch.randperm(count, generator=generator)[: self.batch_size]
        clips = torch.arange(len(chosen)).repeat_interleave(SEGMENTS_PER_CLIP)
        spare = max(SHIFTS)
        starts = torch.randint(
            spare, frames - SEGMENT_FRAMES - spare + 1, clips.shape, generator=generator
        )
        mirrored = torch.rand(clips.shape, generator=generator) < 0.5
        segments = []
        for clip, start, mirror in zip(
            chosen[clips].tolist(), starts.tolist(), mirrored.tolist(), strict=True
        ):
            taken = torch.from_numpy(self.looks.frames[clip, start : start + SEGMENT_FRAMES].copy())
            segments.append(taken.flip(-1) if mirror else taken)
        pictures = normalize_sync(torch.stack(segments).to(self.device)).transpose(1, 2)
        sounds = torch.from_numpy(self.looks.sounds[chosen.numpy()]).float()
        return pictures, starts.to(self.device), sounds.to(self.device), clips.to(self.device)

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of a step; the shares of segments that find their sound and its moment."""
        own, others = self.model(*self.batch(step))
        right = torch.arange(len(others), device=others.device)
        moment = F.cross_entropy(own, torch.zeros_like(right))
        sound = (F.cross_entropy(others, right) + F.cross_entropy(others.T, right)) / 2
        figures = {
            "sound": (others.argmax(1) == right).float().mean(),
            "moment": (own.argmax(1) == 0).float().mean(),
        }
        return moment + sound, {name: round(float(value), 3) for name, value in figures.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.encoders.audio_visual", description="Train a small Synchformer."
    )
    add_options(parser, steps=8000, batch_size=16, lr=1e-3)
    given = parser.parse_args(arguments)

    def work() -> int:
        device = choose_device(given.device)
        optim = optim_of(given, weight_decay=0.05)
        torch.manual_seed(seed_of(given.seed, "synchformer weights"))
        model = AudioVisual().to(device)
        looks = looks_of(given)
        initialize_video(model.video, looks, seed=given.seed)
        loss = SegmentLoss(
            model, looks, batch_size=given.batch_size, seed=given.seed, device=device
        )
        made_from = made_from_looks(given, looks)
        if not fit_for(
            *(given.output, model, loss), optim=optim, made_from=made_from, device=device
        ):
            return INTERRUPTED
        save_encoder(model.video.half().cpu(), given.output, licence=given.license)
        return 0

    return run_program("training.encoders.audio_visual", work)


@torch.no_grad()
def initialize_video(video: Synchformer, looks: Looks, *, seed: int) -> None:
    """Positions and class tokens N(0, 0.02), patches whitened by those of the clips.

    Without the latter the small tower sees the still background and hardly what moves: 400 steps
    leave it at chance.

    Source of the former: arXiv 2010.11929.
    """
    for name, parameter in video.named_parameters():
        if name.endswith(("pos_embed", "temp_embed", "cls_token")):
            parameter.normal_(std=0.02)
    projection = video.patch_embed_3d.proj
    assert isinstance(projection, nn.Conv3d)
    whiten_patches(projection, looks.frames, seed=seed_of(seed, "patches"))


if __name__ == "__main__":
    sys.exit(main())
