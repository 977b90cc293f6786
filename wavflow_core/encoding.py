"""The encoders of a run: found, checked against the checkpoint, and loaded when first needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from . import weights
from .conditions import check_encoder
from .config import EncoderConfig, WavFlowConfig
from .errors import CheckpointError
from .features.clip import DEFAULT_ARCHITECTURE, ClipEncoder
from .features.encoders import load_clip, load_synchformer
from .features.extractor import extract_features
from .features.store import Features
from .features.synchformer import Synchformer
from .media.video import VideoClip

# Checkpoints of these architectures find their encoder among the known files.
PUBLISHED = {"clip": DEFAULT_ARCHITECTURE, "synchformer": "synchformer"}

PathLike = str | os.PathLike[str]


class Encoders:
    """Loads what a request needs and keeps it for the next one.

    A prompt alone loads CLIP's text tower, a video alone its visual tower and Synchformer. To free
    their memory, let the object go.

    Args:
        expected: Configuration of the checkpoint, which names its encoders; None takes any.
        clip: File of CLIP weights; None looks for the one that is expected.
        synchformer: File of Synchformer weights, likewise.
        folders: Folders to look in first.
        device: Where the encoders run.
        dtype: Type that they compute in.
    """

    def __init__(
        self,
        expected: WavFlowConfig | None = None,
        *,
        clip: PathLike | None = None,
        synchformer: PathLike | None = None,
        folders: Sequence[Path] = (),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.expected = expected
        self.files = {"clip": clip, "synchformer": synchformer}
        self.folders = folders
        self.device = device
        self.dtype = dtype
        self._clip: ClipEncoder | None = None
        self._synchformer: Synchformer | None = None

    def extract(
        self,
        video: VideoClip | None,
        *,
        duration: float,
        prompt: str = "",
        negative_prompt: str = "",
        progress: Callable[[int, int], None] | None = None,
    ) -> Features:
        """Features of a video, prompts or both.

        Args:
            video: The video, or None.
            duration: Seconds to cover.
            prompt: Caption; blank for none.
            negative_prompt: What should not be heard; blank for none.
            progress: Called with frames and captions done and in all; may raise to cancel.

        Raises:
            CheckpointError: An encoder's file is missing or unusable.
            FeatureError: An encoder is not the one that the checkpoint was trained with.
            MediaError: The video cannot be read.
        """
        towers = {"visual"} if video is not None else set()
        if prompt.strip() or negative_prompt.strip():
            towers.add("text")
        return extract_features(
            video,
            duration=duration,
            prompt=prompt,
            negative_prompt=negative_prompt,
            clip=self._load_clip(towers) if towers else None,
            synchformer=self._load_synchformer() if video is not None else None,
            progress=progress,
        )

    def _load_clip(self, towers: set[str]) -> ClipEncoder:
        loaded = self._clip
        if loaded is None or not towers <= set(loaded.towers):
            towers = towers | set(loaded.towers if loaded is not None else ())
            path = self._find("clip")
            self._clip = loaded = None  # the old one goes before the new one comes
            loaded = load_clip(path, towers=towers, device=self.device, dtype=self.dtype)
            self._check("CLIP", loaded.config)
            self._clip = loaded
        return loaded

    def _load_synchformer(self) -> Synchformer:
        if self._synchformer is None:
            path = self._find("synchformer")
            loaded = load_synchformer(path, device=self.device, dtype=self.dtype)
            self._check("Synchformer", loaded.config)
            self._synchformer = loaded
        return self._synchformer

    def _check(self, kind: str, given: EncoderConfig) -> None:
        if self.expected is not None:
            expected = self.expected.clip if kind == "CLIP" else self.expected.sync
            check_encoder(kind, given, expected)

    def _find(self, kind: str) -> Path:
        """The file given, or the bundled or published one where the checkpoint names that."""
        given = self.files[kind]
        if given is not None:
            return weights.resolve(given, folders=self.folders)
        if self.expected is not None:
            expected = self.expected.clip if kind == "clip" else self.expected.sync
            bundled = weights.bundled_encoder(kind, expected)
            if bundled is not None:
                return bundled
            if expected.architecture != PUBLISHED[kind]:
                raise CheckpointError(
                    f"This checkpoint needs the {kind} encoder {expected}, which is neither "
                    f"bundled nor among the published ones; give its file with --{kind}."
                )
        return weights.resolve(kind, folders=self.folders)
