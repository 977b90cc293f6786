"""From a folder of clips to sound, by the programs that a user would run."""

import pytest
import torch
from support.chain import train_checkpoint

from wavflow_core.checkpoint import read_checkpoint
from wavflow_core.cli import main
from wavflow_core.features.encoders import load_clip
from wavflow_core.media.audio import read_audio


@pytest.fixture(scope="module")
def trained(models, tmp_path_factory):
    return train_checkpoint(
        tmp_path_factory.mktemp("chain"),
        models / "clip_tiny.safetensors",
        models / "synchformer_tiny.safetensors",
    )


def test_a_checkpoint_made_here_makes_sound_without_any_further_argument(trained, models, tmp_path):
    output = tmp_path / "sound.wav"
    arguments = {
        "--checkpoint": trained,
        "--clip": models / "clip_tiny.safetensors",
        "--synchformer": models / "synchformer_tiny.safetensors",
        "--video": trained.parent / "clips" / "clip0.mp4",
        "--prompt": "a sound",
        "--steps": 2,
        "--device": "cpu",
        "--output": output,
    }
    assert main(["generate", *[str(part) for pair in arguments.items() for part in pair]]) == 0
    assert read_audio(output).waveform.shape == (1, 16000)


def test_it_says_where_it_comes_from_and_which_encoders_it_needs(trained, models):
    checkpoint = read_checkpoint(trained)
    clip = load_clip(models / "clip_tiny.safetensors", towers=("text",))
    assert checkpoint.config.clip == clip.config
    assert checkpoint.config.clip.fingerprint is not None
    assert checkpoint.config.sync.fingerprint is not None
    assert checkpoint.provenance.step == 6
    assert checkpoint.provenance.data == "made clips"
    [empty] = clip.encode_text([""])
    assert torch.equal(checkpoint.tensors["empty_string_feat"], empty)
