"""The configuration and inputs of the golden ``wavflow_tiny``."""

from support import recipe
from wavflow_core.config import ModelConfig


def model_config(metadata: dict) -> ModelConfig:
    c = metadata["config"]
    return ModelConfig(
        patch_size=c["latent_dim"],
        clip_dim=c["clip_dim"],
        sync_dim=c["sync_dim"],
        text_dim=c["text_dim"],
        hidden_dim=c["hidden_dim"],
        depth=c["depth"],
        fused_depth=c["fused_depth"],
        num_heads=c["num_heads"],
        text_tokens=c["text_seq_len"],
    )


def inputs(suffix: str = "", clip: int = 8, sync: int = 24):
    return (
        recipe.tensor(f"in.clip{suffix}", (2, clip, 32)),
        recipe.tensor(f"in.sync{suffix}", (2, sync, 24)),
        recipe.tensor("in.text", (2, 7, 28)),
    )
