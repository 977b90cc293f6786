"""A small CLIP: ``python -m training.encoders.image_text MANIFEST -o clip.safetensors``.

Pictures of a clip and its caption are drawn together, others apart (CLIP, arXiv 2103.00020, by
open_clip's model and loss).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import cast

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavflow_core.devices import choose_device
from wavflow_core.features.clip import ClipEncoder
from wavflow_core.features.encoders import save_encoder
from wavflow_core.features.preprocess import normalize_clip
from wavflow_core.features.untrained import CLIP_PRESETS

from ..draws import seed_of
from ..program import INTERRUPTED, run_program
from .fit import fit_for
from .looks import Looks
from .options import add_options, looks_of, made_from_looks, optim_of

PRESET = "clip_small"
MOVED = 6  # pixels by which a picture is moved at the most, either way


class ImageText:
    """The contrastive loss of a batch of pictures and captions.

    Args:
        model: open_clip's model.
        looks: The clips.
        tokens: Of their captions ``(M, L)``.
        batch_size: Clips in a batch.
        seed: Of the choice of clips and pictures.
        device: Where the model is.
    """

    def __init__(
        self,
        model: nn.Module,
        looks: Looks,
        tokens: Tensor,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model, self.looks, self.tokens = model, looks, tokens
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self._loss = open_clip.ClipLoss()

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of a step, and the share of pictures whose own caption is the nearest."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, "image_text", step))
        count, pictures = self.looks.pictures.shape[:2]
        clips = torch.randperm(count, generator=generator)[: self.batch_size]
        moments = torch.randint(pictures, clips.shape, generator=generator)
        chosen = [self.looks.pictures[c, m] for c, m in zip(clips, moments, strict=True)]
        images = normalize_clip(torch.stack([torch.from_numpy(item.copy()) for item in chosen]))
        images = vary(images, generator)
        image, text, scale = self.model(images.to(self.device), self.tokens[clips].to(self.device))
        loss = self._loss(image, text, scale)
        right = (image @ text.T).argmax(1) == torch.arange(len(clips), device=self.device)
        return loss, {"nearest": round(float(right.float().mean()), 3)}


def vary(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move pictures ``(B, 3, S, S)`` a little and mirror half of them; captions name no side."""
    side = images.shape[-1]
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    images = torch.where(mirrored, images.flip(-1), images)
    padded = F.pad(images, (MOVED,) * 4, mode="replicate")
    corners = torch.randint(2 * MOVED + 1, (len(images), 2), generator=generator)
    moved = [
        picture[:, top : top + side, left : left + side]
        for picture, (top, left) in zip(padded, corners.tolist(), strict=True)
    ]
    return torch.stack(moved)


def to_encoder(model: nn.Module) -> ClipEncoder:
    """The towers of a trained model, as the rest of the project uses them."""
    name, settings = CLIP_PRESETS[PRESET]
    encoder = ClipEncoder(name, settings)
    state = model.state_dict()
    named = {key: state[key].detach().cpu() for key in encoder.state_dict()}
    encoder.load_state_dict(named, assign=True)
    return encoder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.encoders.image_text", description="Train a small CLIP."
    )
    add_options(parser, steps=2500, batch_size=128, lr=1e-3)
    given = parser.parse_args(arguments)

    def work() -> int:
        device = choose_device(given.device)
        optim = optim_of(given, weight_decay=0.1)
        _, settings = CLIP_PRESETS[PRESET]
        make = cast("Callable[..., nn.Module]", open_clip.CLIP)
        torch.manual_seed(seed_of(given.seed, "clip weights"))
        model = make(**(settings or {})).to(device)
        looks = looks_of(given)
        tokens = open_clip.SimpleTokenizer(context_length=77)(looks.captions)
        loss = ImageText(
            model, looks, tokens, batch_size=given.batch_size, seed=given.seed, device=device
        )
        made_from = made_from_looks(given, looks)
        if not fit_for(
            *(given.output, model, loss), optim=optim, made_from=made_from, device=device
        ):
            return INTERRUPTED
        save_encoder(to_encoder(model).half(), given.output, licence=given.license)
        return 0

    return run_program("training.encoders.image_text", work)


if __name__ == "__main__":
    sys.exit(main())
