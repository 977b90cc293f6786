"""Named configurations, as data."""

from __future__ import annotations

from .config import AudioConfig, EncoderConfig, ModelConfig, WavFlowConfig
from .errors import ConfigError

MEDIUM = ModelConfig(depth=12, fused_depth=8)
LARGE = ModelConfig(depth=21, fused_depth=14)
TINY_CLIP = EncoderConfig(architecture="clip_tiny")
SMALL_CLIP = EncoderConfig(architecture="clip_small")
TINY_SYNC = EncoderConfig(architecture="synchformer-d64-l2-h2-i64-p16")
SMALL_SYNC = EncoderConfig(architecture="synchformer-d128-l3-h4-i64-p16")

PRESETS: dict[str, WavFlowConfig] = {
    "medium_16k": WavFlowConfig(model=MEDIUM),
    "medium_44k": WavFlowConfig(audio=AudioConfig(sample_rate=44100), model=MEDIUM),
    "large_16k": WavFlowConfig(model=LARGE),
    "large_44k": WavFlowConfig(audio=AudioConfig(sample_rate=44100), model=LARGE),
    "small_16k": WavFlowConfig(
        audio=AudioConfig(window=4.0, normalization="unclipped"),
        model=ModelConfig(
            patch_size=100,
            clip_dim=64,
            sync_dim=128,
            text_dim=64,
            hidden_dim=128,
            depth=4,
            fused_depth=3,
            num_heads=4,
            token_rate=160,
            sync_parts=8,
            filter_windows=(4096, 256),
        ),
        clip=SMALL_CLIP,
        sync=SMALL_SYNC,
    ),
    "tiny": WavFlowConfig(
        model=ModelConfig(
            clip_dim=64,
            sync_dim=64,
            text_dim=64,
            hidden_dim=32,
            depth=3,
            fused_depth=1,
            num_heads=2,
        ),
        clip=TINY_CLIP,
        sync=TINY_SYNC,
    ),
}


def get_preset(name: str) -> WavFlowConfig:
    """The configuration of that name.

    Raises:
        ConfigError: There is no such preset; the known ones are listed.
    """
    if name not in PRESETS:
        raise ConfigError(f"There is no preset {name!r}; presets: {', '.join(PRESETS)}.")
    return PRESETS[name]
