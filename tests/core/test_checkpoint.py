import json
import pickle

import pytest
import torch
from safetensors.torch import save_file
from support import golden, recipe

from wavflow_core.checkpoint import (
    Checkpoint,
    Provenance,
    build_model,
    read_checkpoint,
    write_checkpoint,
)
from wavflow_core.config import ModelConfig, WavFlowConfig
from wavflow_core.errors import CheckpointError, ConfigError
from wavflow_core.model import WavFlow, initialize
from wavflow_core.presets import get_preset
from wavflow_core.tensor_files import read_metadata

LATEST = "reference_checkpoint_latest.pth"
EMA = "reference_ema_epoch_3.pth"


def predict(checkpoint):
    """The prediction that the reference stored for its checkpoints."""
    model = build_model(checkpoint)
    shapes = {"x": (1, 24, 10), "clip": (1, 8, 12), "sync": (1, 24, 8), "text": (1, 5, 14)}
    x, clip, sync, text = (recipe.tensor(f"ck.{name}", shape) for name, shape in shapes.items())
    with torch.no_grad():
        return model(x, torch.tensor([0.4]), model.prepare_conditions(clip, sync, text, 24))


def expected(kind):
    return golden.load("reference_checkpoint_outputs.safetensors")[0][kind]


def close(actual, kind):
    return (actual - expected(kind)).abs().max() <= 2e-5


@pytest.fixture
def small():
    """A small untrained checkpoint."""
    config = WavFlowConfig(
        model=ModelConfig(patch_size=10, hidden_dim=16, num_heads=2, depth=2, fused_depth=1)
    )
    model = initialize(WavFlow(config.model), generator=torch.Generator().manual_seed(0))
    return Checkpoint(
        config=config, tensors=model.state_dict(), provenance=Provenance(step=0, data="none")
    )


@pytest.mark.parametrize(("weights", "kind"), [("live", "live"), ("ema", "ema"), ("auto", "live")])
def test_a_full_training_checkpoint_gives_the_outputs_of_the_reference(weights, kind):
    checkpoint = read_checkpoint(golden.path_of(LATEST), weights=weights, sample_rate=16000)
    assert close(predict(checkpoint), kind)
    assert checkpoint.provenance.step == 1234
    assert checkpoint.provenance.weights == kind
    assert checkpoint.config.model.num_heads == 1
    assert checkpoint.config.model.fused_depth == 1


def test_an_average_alone_gives_the_outputs_of_the_reference_and_a_warning(caplog):
    checkpoint = read_checkpoint(golden.path_of(EMA), sample_rate=44100)
    assert close(predict(checkpoint), "ema")
    assert checkpoint.config.audio.sample_rate == 44100
    assert checkpoint.provenance.weights == "ema"
    assert "mostly noise" in caplog.text


def test_a_plain_state_dictionary_gives_the_outputs_of_the_reference(tmp_path):
    state = dict(torch.load(golden.path_of(EMA), weights_only=True))
    state["t_embed.freqs"] = torch.zeros(128)
    state["latent_rot"] = torch.zeros(3)
    torch.save(state, tmp_path / "plain.pth")
    checkpoint = read_checkpoint(tmp_path / "plain.pth", sample_rate=16000)
    assert close(predict(checkpoint), "ema")
    assert checkpoint.provenance.weights == "live"


def test_a_file_from_before_the_zip_format_is_read(tmp_path):
    state = dict(torch.load(golden.path_of(EMA), weights_only=True))
    path = tmp_path / "old.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert close(predict(read_checkpoint(path, sample_rate=16000)), "ema")


@pytest.mark.parametrize(
    ("step", "weights"), [(1234, "live"), (12000, "ema2"), (50000, "ema"), (None, "live")]
)
def test_auto_takes_the_first_average_that_has_converged(tmp_path, small, step, weights):
    def marked(value):
        return {name: torch.full_like(x, value) for name, x in small.tensors.items()}

    content = {"model": marked(0.0), "model_ema1": marked(1.0), "model_ema2": marked(2.0)}
    path = tmp_path / "latest.pth"
    torch.save({**content, "global_step": step, "epoch": 1, "optimizer": {}}, path)
    checkpoint = read_checkpoint(path, sample_rate=16000)
    value = checkpoint.tensors["sync_pos_emb"].unique().item()
    assert value == {"live": 0, "ema": 1, "ema2": 2}[weights]
    assert checkpoint.provenance.ema_decay == {"live": None, "ema": 0.9999, "ema2": 0.9996}[weights]


def test_our_format_keeps_tensors_configuration_and_provenance(tmp_path, small):
    path = tmp_path / "model.safetensors"
    write_checkpoint(small, path)
    back = read_checkpoint(path)
    assert back.config == small.config
    assert back.provenance == small.provenance
    assert all(torch.equal(back.tensors[name], x) for name, x in small.tensors.items())


def test_a_converted_pickle_predicts_the_same(tmp_path):
    checkpoint = read_checkpoint(golden.path_of(EMA), sample_rate=44100)
    write_checkpoint(checkpoint, tmp_path / "model.safetensors")
    assert close(predict(read_checkpoint(tmp_path / "model.safetensors")), "ema")


def test_weights_are_converted_while_reading(tmp_path, small):
    write_checkpoint(small, tmp_path / "model.safetensors")
    checkpoint = read_checkpoint(tmp_path / "model.safetensors", dtype=torch.bfloat16)
    assert {x.dtype for x in checkpoint.tensors.values()} == {torch.bfloat16}
    assert {p.dtype for p in build_model(checkpoint).parameters()} == {torch.bfloat16}


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, small, monkeypatch):
    path = tmp_path / "model.safetensors"
    write_checkpoint(small, path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("wavflow_core.tensor_files.save_file", fail)
    with pytest.raises(CheckpointError, match="disk full"):
        write_checkpoint(small, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_sample_rate_is_asked_for_where_the_file_cannot_tell():
    with pytest.raises(CheckpointError, match=r"sample rate \(16000 or 44100\)"):
        read_checkpoint(golden.path_of(EMA))


def test_a_preset_of_other_widths_is_refused():
    with pytest.raises(CheckpointError, match="not of preset 'medium_16k'"):
        read_checkpoint(golden.path_of(EMA), preset="medium_16k")


def test_a_preset_gives_the_rate(tmp_path):
    config = get_preset("tiny")
    torch.save(WavFlow(config.model).state_dict(), tmp_path / "tiny.pth")
    assert read_checkpoint(tmp_path / "tiny.pth", preset="tiny").config == config


def test_a_pickle_that_would_run_code_is_not_read(tmp_path):
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("code was run",))

    for name, save in (("zip.pth", torch.save), ("raw.pth", None)):
        path = tmp_path / name
        if save:
            save({"model": Evil()}, path)
        else:
            path.write_bytes(pickle.dumps({"model": Evil()}, protocol=2))
        with pytest.raises(CheckpointError, match="could run code"):
            read_checkpoint(path, sample_rate=16000)


def test_weights_that_share_memory_are_written_once_each(tmp_path, small):
    tensors = dict(small.tensors)
    names = [name for name, x in tensors.items() if x.shape == (16,)][:2]
    tensors[names[1]] = tensors[names[0]]
    write_checkpoint(Checkpoint(config=small.config, tensors=tensors), tmp_path / "m.safetensors")
    back = read_checkpoint(tmp_path / "m.safetensors").tensors
    assert torch.equal(back[names[0]], back[names[1]])


@pytest.mark.parametrize("content", [b".", b"]q.", b"\x80\x02.", b"PK\x03\x04"])
def test_bytes_that_break_an_unpickler_are_refused_all_the_same(tmp_path, content):
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.pth"):
        read_checkpoint(tmp_path / "bad.pth", sample_rate=16000)


def test_tensors_without_names_are_refused(tmp_path):
    torch.save({0: torch.zeros(2)}, tmp_path / "numbers.pth")
    with pytest.raises(CheckpointError, match="without names"):
        read_checkpoint(tmp_path / "numbers.pth", sample_rate=16000)


def test_one_average_is_not_given_for_the_other(tmp_path, small):
    provenance = Provenance(step=9, weights="ema", ema_decay=0.9999)
    averaged = Checkpoint(config=small.config, tensors=small.tensors, provenance=provenance)
    path = tmp_path / "ema.safetensors"
    write_checkpoint(averaged, path)
    assert read_checkpoint(path, weights="ema").provenance == provenance
    with pytest.raises(CheckpointError, match="decay 0.9999.*'ema2' were asked for"):
        read_checkpoint(path, weights="ema2")


def write_text(path):
    path.write_text("not a checkpoint")


def write_half(path):
    whole = golden.path_of(EMA).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("make", [write_text, write_half, lambda path: path.touch()])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_damaged_file_is_refused(tmp_path, make, suffix):
    path = tmp_path / f"bad{suffix}"
    make(path)
    with pytest.raises(CheckpointError, match=r"bad.*(damaged|fetch or export)"):
        read_checkpoint(path, sample_rate=16000)


@pytest.mark.parametrize("content", [[1, 2], {"model": 3}, {"a.weight": torch.zeros(2)}, {}])
def test_another_architecture_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth"):
        read_checkpoint(tmp_path / "other.pth", sample_rate=16000)


def test_safetensors_without_our_metadata_are_refused(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match="unlabelled.*wavflow convert"):
        read_checkpoint(tmp_path / "plain.safetensors")


def test_missing_unexpected_and_misshapen_weights_are_named(tmp_path, small):
    tensors = dict(small.tensors)
    del tensors["t_embed.mlp.0.bias"]
    tensors["extra.weight"] = torch.zeros(1)
    tensors["clip_cond_proj.bias"] = torch.zeros(3)
    path = tmp_path / "model.safetensors"
    write_checkpoint(Checkpoint(config=small.config, tensors=tensors), path)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    message = str(error.value)
    assert "missing: t_embed.mlp.0.bias" in message
    assert "unexpected: extra.weight" in message
    assert "clip_cond_proj.bias has shape (3,) instead of (16,)" in message


def test_a_file_of_a_later_version_is_refused(tmp_path, small):
    metadata = {"format": "wavflow", "version": "99"}
    save_file(dict(small.tensors), tmp_path / "new.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match="version '99'.*Update"):
        read_checkpoint(tmp_path / "new.safetensors")


def test_a_file_cannot_say_that_it_is_deeper_than_it_is(tmp_path, small):
    write_checkpoint(small, tmp_path / "model.safetensors")
    metadata = read_metadata(tmp_path / "model.safetensors")
    config = json.loads(metadata["config"])
    config["model"]["depth"] = 10**9
    save_file(
        dict(small.tensors), tmp_path / "a.safetensors", {**metadata, "config": json.dumps(config)}
    )
    with pytest.raises(CheckpointError, match="says it has 1000000000 blocks and 0 filters"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_weights_that_the_file_does_not_hold_are_refused(tmp_path, small):
    write_checkpoint(small, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="holds 'live' weights"):
        read_checkpoint(tmp_path / "model.safetensors", weights="ema")
    with pytest.raises(CheckpointError, match="one set of weights"):
        read_checkpoint(golden.path_of(EMA), weights="live", sample_rate=16000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "best"}, "allowed: auto, live, ema, ema2"),
        ({"sample_rate": 44100}, "trained at 16000 Hz, not at 44100"),
        ({"preset": "tiny"}, "not of preset 'tiny'"),
        ({"preset": "huge"}, "no preset 'huge'"),
    ],
)
def test_arguments_that_contradict_the_file_are_refused(tmp_path, small, arguments, message):
    write_checkpoint(small, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=message):
        read_checkpoint(tmp_path / "model.safetensors", **arguments)


def test_missing_files_folders_and_other_suffixes_are_refused(tmp_path, small):
    (tmp_path / "folder.txt").touch()
    for path in (tmp_path, tmp_path / ("n" * 300 + ".pth")):
        with pytest.raises(CheckpointError, match="no file"):
            read_checkpoint(path)
    with pytest.raises(CheckpointError, match="no file"):
        read_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="not a weights file"):
        read_checkpoint(tmp_path / "folder.txt")
    with pytest.raises(CheckpointError, match=r"must end in \.safetensors"):
        write_checkpoint(small, tmp_path / "model.pth")


def test_initial_weights_are_those_of_the_recipe_and_follow_the_seed():
    def make(seed):
        model = WavFlow(get_preset("tiny").model)
        return initialize(model, generator=torch.Generator().manual_seed(seed)).state_dict()

    first, again, other = make(1), make(1), make(2)
    zeros = {name for name, x in first.items() if not x.any()}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["text_cond_proj.weight"], other["text_cond_proj.weight"])
    assert {name for name in first if "adaLN" in name or "final_layer" in name} <= zeros
    assert {"sync_pos_emb", "empty_clip_feat", "empty_sync_feat"} <= zeros
    assert first["t_embed.mlp.0.weight"].std().item() == pytest.approx(0.02, rel=0.1)
    qkv = first["joint_blocks.0.latent_block.attn.qkv.weight"]
    assert qkv.abs().max().item() == pytest.approx((6 / (32 + 96)) ** 0.5, rel=0.02)
    conv = first["joint_blocks.0.latent_block.linear1.weight"]
    assert conv.abs().max().item() == pytest.approx((32 * 3) ** -0.5, rel=0.02)
    assert (first["joint_blocks.0.latent_block.attn.q_norm.weight"] == 1).all()
