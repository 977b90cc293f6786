from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from support import golden
from support.training import make_data, one_process, run_config

from training.run import set_up
from training.warm_start import warm_start
from wavflow_core.checkpoint import read_checkpoint
from wavflow_core.errors import CheckpointError
from wavflow_core.model import WavFlow
from wavflow_core.model.init import initialize
from wavflow_core.presets import get_preset


def new_model(config=None):
    model = WavFlow(config or get_preset("tiny").model)
    return initialize(model, generator=torch.Generator().manual_seed(0))


def test_a_whole_state_dictionary_fits_whole(tmp_path):
    other = initialize(
        WavFlow(get_preset("tiny").model), generator=torch.Generator().manual_seed(5)
    )
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    model = new_model()
    fit = warm_start(model, str(tmp_path / "other.safetensors"))
    assert fit.share == 1.0
    assert (fit.reshaped, fit.missing, fit.unused) == ((), (), ())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_a_latent_model_gives_its_backbone_and_the_rest_is_begun_anew(tmp_path, caplog):
    caplog.set_level("INFO")
    latent = {name: torch.ones_like(value) for name, value in new_model().state_dict().items()}
    latent["audio_input_proj.0.weight"] = torch.ones(32, 20, 7)
    latent["final_layer.conv.weight"] = torch.ones(20, 32, 7)
    latent["final_layer.conv.bias"] = torch.ones(20)
    latent["latent_mean"] = torch.ones(1, 1, 20)
    del latent["sync_pos_emb"]
    save_file(latent, tmp_path / "latent.safetensors")
    model, fresh = new_model(), new_model()
    fit = warm_start(model, str(tmp_path / "latent.safetensors"))
    assert fit.unused == ("latent_mean",)
    assert fit.missing == ("sync_pos_emb",)
    assert [name.split()[0] for name in fit.reshaped] == [
        "audio_input_proj.0.weight",
        "final_layer.conv.weight",
        "final_layer.conv.bias",
    ]
    assert 0.5 < fit.share < 1
    own, start = model.state_dict(), fresh.state_dict()
    assert (own["joint_blocks.0.latent_block.attn.qkv.weight"] == 1).all()
    name = "audio_input_proj.0.weight"
    assert torch.equal(own[name], start[name])
    assert "audio_input_proj.0.weight (32, 20, 7) -> (32, 200, 7)" in caplog.text
    assert "Not used: latent_mean" in caplog.text


def test_training_goes_on_from_a_checkpoint_of_the_published_system(tmp_path):
    path = golden.path_of("reference_checkpoint_latest.pth")
    expected = read_checkpoint(path, weights="live", sample_rate=16000)
    shape = expected.config.model
    model = new_model(shape)
    fit = warm_start(model, str(path), choice="live")
    assert fit.share == 1.0
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected.tensors[name])
    average = read_checkpoint(path, weights="ema", sample_rate=16000)
    warm_start(model, str(path), choice="ema")
    name = "audio_input_proj.0.weight"
    assert torch.equal(model.state_dict()[name], average.tensors[name])


SMALL = replace(get_preset("small_16k").model, hidden_dim=16, num_heads=2)


def with_windows(*windows):
    return new_model(replace(SMALL, filter_windows=windows))


def test_filters_are_stretched_to_windows_of_another_length(tmp_path, caplog):
    caplog.set_level("INFO")
    before = with_windows(1024, 256).state_dict()
    power = torch.linspace(0, 1, 513)
    before["wiener.0.power.maps.bias"] = torch.cat((power, 5 - power))
    before["wiener.0.power.bin_emb"] = power.expand(1, 16, 1, 513).contiguous()
    before["wiener.0.input_proj.weight"] = torch.full((16, 513), 3.0)
    save_file(before, tmp_path / "w.safetensors")
    model = with_windows(2048, 256)
    fit = warm_start(model, str(tmp_path / "w.safetensors"))
    names = ("input_proj.weight", "power.bin_emb", "power.maps.weight", "power.maps.bias")
    assert set(fit.stretched) == {f"wiener.0.{name}" for name in names}
    assert (fit.reshaped, fit.missing, fit.unused, fit.share) == ((), (), (), 1.0)
    assert "Stretched to another window: wiener.0." in caplog.text
    own = model.state_dict()
    power = torch.linspace(0, 1, 1025)
    torch.testing.assert_close(own["wiener.0.power.maps.bias"], torch.cat((power, 5 - power)))
    torch.testing.assert_close(own["wiener.0.power.bin_emb"][0, 3, 0], power)
    # A spectrum that is the same everywhere says as much to the stream as before.
    torch.testing.assert_close(own["wiener.0.input_proj.weight"], torch.full((16, 1025), 1.5))
    for name, tensor in own.items():
        assert name in fit.stretched or torch.equal(tensor, before[name])


def test_what_differs_in_more_than_the_window_is_begun_anew(tmp_path):
    narrow = replace(SMALL, hidden_dim=8, filter_windows=(1024,))
    save_file(new_model(narrow).state_dict(), tmp_path / "w.safetensors")
    fit = warm_start(with_windows(2048), str(tmp_path / "w.safetensors"))
    assert set(fit.stretched) == {"wiener.0.power.maps.bias", "wiener.0.power.bin_emb"}
    reshaped = {name.split()[0] for name in fit.reshaped}
    assert {"wiener.0.power.maps.weight", "wiener.0.input_proj.weight"} <= reshaped


def test_a_run_begins_with_the_weights_named(tmp_path):
    manifest = make_data(tmp_path / "data", 2)
    config = run_config(manifest)
    other = WavFlow(config.model)
    save_file(
        {name: torch.full_like(v, 0.5) for name, v in other.state_dict().items()},
        tmp_path / "w.safetensors",
    )
    config = run_config(manifest, start={"weights": str(tmp_path / "w.safetensors")})
    (tmp_path / "run").mkdir()
    run, progress = set_up(config, tmp_path / "run", one_process())
    assert progress.step == 0
    assert all((tensor == 0.5).all() for tensor in run.model.state_dict().values())
    assert all((tensor == 0.5).all() for tensor in run.averages[0].tensors.values())


def test_a_file_of_which_nothing_fits_is_refused(tmp_path):
    save_file({"other": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="Nothing in .* fits this model.*other"):
        warm_start(new_model(), str(tmp_path / "x.safetensors"))
    with pytest.raises(CheckpointError, match="There is no file"):
        warm_start(new_model(), str(tmp_path / "none.safetensors"))
