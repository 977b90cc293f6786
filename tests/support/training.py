"""Small data sets to train on."""

from pathlib import Path

import torch

from support import recipe
from training.empty_text import FORMAT, NAME, TENSOR
from training.manifest import Row, write_manifest
from training.settings import build_config
from wavflow_core.config import EncoderConfig
from wavflow_core.features.store import Features, save_features
from wavflow_core.media.audio import AudioClip, write_audio
from wavflow_core.tensor_files import write_safetensors

RATE = 16000
CLIP = EncoderConfig(architecture="clip_tiny", fingerprint="c" * 16)
SYNC = EncoderConfig(architecture="synchformer-d64-l2-h2-i64-p16", fingerprint="5" * 16)
TINY_RUN = {
    "preset": "tiny",
    "audio": {"window": 1.0},
    "model": {"hidden_dim": 16, "depth": 2, "fused_depth": 1},
    "data": {"workers": 0},
    # With an eps far below the gradients, Adam makes whole steps of what rounds differently.
    "optim": {"steps": 6, "batch_size": 4, "lr": 1e-3, "warmup_steps": 2, "eps": 1e-5},
    "execution": {"device": "cpu"},
    "output": {
        "log_every": 1,
        "save_every": 2,
        "validate_every": 0,
        "sample_every": 0,
        "tensorboard": False,
    },
}


def features(name: str, *, seconds: float = 1.0, video: bool = True, text: bool = True) -> Features:
    clip_rows, segments = int(8 * seconds), (int(25 * seconds) - 16) // 8 + 1
    return Features(
        clip=recipe.tensor(f"{name}.clip", (clip_rows, 64)) if video else None,
        sync=recipe.tensor(f"{name}.sync", (8 * segments, 64)) if video else None,
        text=recipe.tensor(f"{name}.text", (77, 64)) if text else None,
        duration=seconds,
        clip_encoder=CLIP,
        sync_encoder=SYNC,
    )


def make_clip(folder: Path, name: str, *, seconds: float = 1.0, **modalities: bool) -> Row:
    """A sound of chance and features to it, as single files."""
    sound = recipe.tensor(f"{name}.sound", (1, int(RATE * seconds)), 0.1)
    write_audio(AudioClip(waveform=sound, sample_rate=RATE), folder / f"{name}.wav", subtype="32f")
    save_features(
        features(name, seconds=seconds, **modalities), folder / f"{name}.features.safetensors"
    )
    return Row(
        id=name,
        audio=folder / f"{name}.wav",
        features=folder / f"{name}.features.safetensors",
        caption=f"the sound of {name}",
        has_video=modalities.get("video", True),
        has_text=modalities.get("text", True),
    )


def make_data(folder: Path, count: int = 5, **options) -> Path:
    """A manifest of so many clips."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [make_clip(folder, f"clip{i}", **options) for i in range(count)]
    write_safetensors(
        {TENSOR: recipe.tensor("empty.text", (77, 64))}, {FORMAT: str(CLIP)}, folder / NAME
    )
    path = folder / "manifest.csv"
    write_manifest(rows, path)
    return path


def run_settings(manifest: Path, **sections) -> dict:
    """Plain settings of a tiny run, with sections changed."""
    settings = {name: dict(v) if isinstance(v, dict) else v for name, v in TINY_RUN.items()}
    settings["data"]["train"] = [str(manifest)]
    for name, changes in sections.items():
        settings[name] = {**settings.get(name, {}), **changes}
    return settings


def run_config(manifest: Path, **sections):
    return build_config(run_settings(manifest, **sections))


def one_process():
    from training.distributed import World

    return World(rank=0, size=1, device=torch.device("cpu"))
