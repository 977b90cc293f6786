"""CLIP's two towers: one embedding for each frame, one hidden state for each text token.

The networks are open_clip's own (MIT), built without weights; only the towers asked for exist.
open_clip is imported when an encoder is built, never with this module.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import EncoderConfig
from ..errors import ConfigError, FeatureError
from .preprocess import normalize_clip

if TYPE_CHECKING:
    from open_clip import SimpleTokenizer

logger = logging.getLogger(__name__)

DEFAULT_ARCHITECTURE = "ViT-H-14-378-quickgelu"
# Towers and the modules of open_clip's model that make them up.
TOWERS = {
    "visual": ("visual",),
    "text": ("transformer", "token_embedding", "positional_embedding", "ln_final"),
}
# The reference feeds 384 pixels to the 378-pixel tower, whose patches then leave out the last 6.
FED_SIZES = {DEFAULT_ARCHITECTURE: 384}
VOCABULARY = 49408

Settings = Mapping[str, object]


class ClipEncoder(nn.Module):
    """The towers of a CLIP model that features need, with open_clip's state-dict names.

    Parameters are on the ``meta`` device until weights are assigned
    (:func:`~wavflow_core.features.encoders.load_clip` does both).

    Args:
        architecture: Name of an open_clip architecture, or any name when ``settings`` are given.
        settings: open_clip model configuration (``embed_dim``, ``vision_cfg``, ``text_cfg``,
            ``quick_gelu``); None looks the architecture up.
        towers: ``visual``, ``text`` or both.

    Raises:
        ConfigError: The architecture is unknown, or not a plain CLIP with its own tokenizer.
    """

    visual: nn.Module
    transformer: nn.Module
    token_embedding: nn.Module
    positional_embedding: nn.Parameter
    ln_final: nn.Module

    def __init__(
        self,
        architecture: str = DEFAULT_ARCHITECTURE,
        settings: Settings | None = None,
        *,
        towers: Collection[str] = tuple(TOWERS),
    ) -> None:
        super().__init__()
        if not towers or not set(towers) <= set(TOWERS):
            raise ConfigError(f"towers is {list(towers)}; choose from {', '.join(TOWERS)}.")
        self.architecture = architecture
        self.settings = clip_settings(architecture, settings)
        self.towers = tuple(tower for tower in TOWERS if tower in towers)
        self.fingerprint: str | None = None
        model = _build(architecture, self.settings)
        for tower in self.towers:
            for name in TOWERS[tower]:
                setattr(self, name, getattr(model, name))
        if "text" in self.towers:
            self._causal = not _section(self.settings, "text_cfg").get("no_causal_mask", False)
            self._tokenizer = _tokenizer(self.settings)
        self.requires_grad_(False).eval()

    @property
    def config(self) -> EncoderConfig:
        """Which encoder this is, whatever towers it has."""
        return EncoderConfig(architecture=self.architecture, fingerprint=self.fingerprint)

    @property
    def image_size(self) -> int:
        """Side in pixels of the square pictures to give to :meth:`encode_images`."""
        size = FED_SIZES.get(self.architecture) or _section(self.settings, "vision_cfg").get(
            "image_size", 224
        )
        assert isinstance(size, int)
        return size

    @property
    def image_dim(self) -> int:
        """Width of an image embedding."""
        size = self.settings["embed_dim"]
        assert isinstance(size, int)
        return size

    @torch.no_grad()
    def encode_images(self, frames: Tensor, *, batch_size: int = 8) -> Tensor:
        """Embed pictures.

        The computation runs where the visual tower's weights are and in their type.

        Args:
            frames: ``(T, 3, S, S)``, uint8, with S = :attr:`image_size`
                (:func:`~wavflow_core.features.preprocess.clip_frame`).
            batch_size: Pictures in memory as floats at once.

        Returns:
            ``(T, image_dim)`` of length one, fp32, on the CPU.

        Raises:
            FeatureError: The visual tower was not loaded or the frames have another form.
        """
        self._require("visual")
        side = self.image_size
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1:] != (3, side, side):
            raise FeatureError(
                f"Frames of shape {tuple(frames.shape)} and type {frames.dtype} were given; "
                f"{self.architecture} reads (T, 3, {side}, {side}) of torch.uint8."
            )
        # Towers of open_clip are never left half on the CPU, so that one weight speaks for all.
        weight = next(self.visual.parameters())
        parts = [torch.empty(0, self.image_dim)]
        for batch in frames.split(batch_size) if len(frames) else ():
            embedded = self.visual(normalize_clip(batch.to(weight.device)).to(weight.dtype))
            parts.append(F.normalize(embedded.float(), dim=-1).cpu())
        return torch.cat(parts)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str], *, batch_size: int = 16) -> Tensor:
        """Last hidden states of captions, one for each of the 77 tokens, padding included.

        Longer captions are cut, with a warning in the log.

        Args:
            texts: Captions.
            batch_size: Captions computed at once.

        Returns:
            ``(B, L, width)`` after the final norm, each token of length one, fp32, on the CPU.

        Raises:
            FeatureError: The text tower was not loaded.
        """
        self._require("text")
        weight = self.positional_embedding
        length, width = weight.shape
        mask = None
        if self._causal:
            blocked = torch.full((length, length), -torch.inf, device=weight.device)
            mask = blocked.triu(1).to(weight.dtype)
        parts = [torch.empty(0, length, width)]
        for tokens in self.tokenize(texts).split(batch_size) if texts else ():
            x = self.token_embedding(tokens.to(weight.device)) + weight
            x = self.ln_final(self.transformer(x, attn_mask=mask))
            parts.append(F.normalize(x.float(), dim=-1).cpu())
        return torch.cat(parts)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token numbers ``(B, L)`` of captions, padded with zeros.

        Raises:
            FeatureError: The text tower was not loaded.
        """
        self._require("text")
        length = self.positional_embedding.shape[0]
        for text in texts:
            excess = len(self._tokenizer.encode(text)) + 2 - length
            if excess > 0:
                logger.warning(
                    "The last %d tokens of a caption are ignored, because CLIP reads %d: %.60r...",
                    excess,
                    length - 2,
                    text,
                )
        return self._tokenizer(list(texts))

    def _require(self, tower: str) -> None:
        if tower not in self.towers:
            raise FeatureError(
                f"This CLIP encoder was loaded without its {tower} tower; load it with "
                f"towers=({tower!r},) or both."
            )


def clip_settings(architecture: str, settings: Settings | None = None) -> Settings:
    """Model configuration of an architecture, checked.

    Args:
        architecture: Name of an open_clip architecture.
        settings: A configuration to check instead of looking the name up.

    Raises:
        ConfigError: The name is unknown, or the model is not a plain CLIP.
    """
    if settings is None:
        settings = _look_up(architecture)
    custom = [key for key in ("custom_text", "multimodal_cfg") if settings.get(key)]
    for section, keys in {
        "vision_cfg": ("timm_model_name",),
        "text_cfg": ("hf_model_name", "hf_tokenizer_name", "tokenizer_kwargs", "embed_cls"),
    }.items():
        custom += [key for key in keys if _section(settings, section).get(key)]
    if custom:
        raise ConfigError(
            f"{architecture} uses {', '.join(custom)}; only plain CLIP models with CLIP's own "
            f"tokenizer can be used, such as {DEFAULT_ARCHITECTURE}."
        )
    size = _section(settings, "text_cfg").get("vocab_size", VOCABULARY)
    if size != VOCABULARY:
        raise ConfigError(
            f"{architecture} has vocab_size {size}; CLIP's tokenizer needs {VOCABULARY}."
        )
    return settings


def _look_up(architecture: str) -> Settings:
    import open_clip

    names = open_clip.list_models()
    # get_model_config would go to the network for a name such as "hf-hub:...".
    found = open_clip.get_model_config(architecture) if architecture in names else None
    if found is None:
        raise ConfigError(
            f"open_clip has no architecture {architecture!r}; the one WavFlow was trained with is "
            f"{DEFAULT_ARCHITECTURE!r}."
        )
    return found


def _section(settings: Settings, name: str) -> Mapping[str, object]:
    section = settings.get(name)
    if not isinstance(section, Mapping):
        raise ConfigError(f"The CLIP configuration has no {name}; given: {', '.join(settings)}.")
    return section


def _build(architecture: str, settings: Settings) -> nn.Module:
    """A whole CLIP without memory behind it, from which the towers needed are taken."""
    import open_clip

    make = cast("Callable[..., nn.Module]", open_clip.CLIP)
    try:
        with torch.device("meta"):
            return make(**settings)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"The CLIP configuration of {architecture} cannot be built by the installed "
            f"open_clip {open_clip.__version__}: {error}."
        ) from error


def _tokenizer(settings: Settings) -> SimpleTokenizer:
    """CLIP's tokenizer; its vocabulary lies inside open_clip's package."""
    import open_clip

    length = _section(settings, "text_cfg").get("context_length", 77)
    assert isinstance(length, int)
    return open_clip.SimpleTokenizer(context_length=length)
