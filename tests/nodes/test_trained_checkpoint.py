"""A checkpoint that the training made, in ComfyUI."""

import pytest
from support import comfy as support
from support.chain import train_checkpoint
from support.graphs import text_graph

pytestmark = pytest.mark.comfyui


def test_a_trained_checkpoint_is_listed_and_makes_sound(comfy, comfy_base, tmp_path):
    models = comfy_base / "models" / "wavflow"
    made = train_checkpoint(tmp_path, models / support.CLIP, models / support.SYNC)
    (models / "trained.safetensors").write_bytes(made.read_bytes())
    prompt = text_graph(duration=1.0)
    prompt["model"]["inputs"]["checkpoint"] = "trained.safetensors"
    result = comfy.run(prompt)
    assert result.ok, result.error
    assert result.captured["audio"]["waveform"].shape == (1, 1, 16000)
    assert result.captured["audio"]["sample_rate"] == 16000
