"""Encoders from files of every form, and untrained ones."""

import json
import os
import pickle

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from support import golden, recipe

from wavflow_core.errors import CheckpointError, ConfigError, MediaError
from wavflow_core.features.clip import ClipEncoder
from wavflow_core.features.encoders import (
    fingerprint,
    load_clip,
    load_synchformer,
    save_encoder,
)
from wavflow_core.features.synchformer import Synchformer, SynchformerConfig
from wavflow_core.features.untrained import (
    CLIP_PRESETS,
    SYNCHFORMER_PRESETS,
    init_clip,
    init_synchformer,
)

PREFIX = "vfeat_extractor."
SETTINGS = golden.load("clip_tiny.safetensors")[1]["model_cfg"]
TINY = SynchformerConfig(hidden_dim=64, depth=2, num_heads=1, image_size=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Untrained encoders in our own format."""
    path = tmp_path_factory.mktemp("encoders")
    init_clip("clip_tiny", path / "clip.safetensors", seed=1)
    init_synchformer("synchformer_tiny", path / "sync.safetensors", seed=1)
    return path


def sync_state(*, prefix=PREFIX, dtype=torch.float32):
    model = recipe.fill(Synchformer(TINY), PREFIX)
    return {prefix + name: value.to(dtype) for name, value in model.state_dict().items()}


def released_sync(prefix=PREFIX, **options):
    """A file as it is published: with ballast and other towers."""
    return {
        **sync_state(prefix=prefix, **options),
        prefix + "patch_embed.proj.weight": torch.zeros(64, 3, 16, 16),
        "afeat_extractor.ast.norm.weight": torch.ones(7),
        "transformer.pos_emb": torch.ones(7),
    }


def clip_state(dtype=torch.float32):
    """A whole CLIP of another architecture, with the keys that we do not need."""
    names = ClipEncoder("tiny", SETTINGS).state_dict()
    state = {name: recipe.weight(name, tuple(value.shape)) for name, value in names.items()}
    state |= {"text_projection": torch.zeros(64, 48), "logit_scale": torch.ones(())}
    return {name: value.to(dtype) for name, value in state.items()}


def write(path, state, wrap=None):
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save({wrap: state, "epoch": 3} if wrap else state, path)
    return path


@pytest.fixture
def tiny_architecture(monkeypatch):
    """Lets open_clip know the golden's architecture by a name, as it knows published ones."""
    import open_clip

    monkeypatch.setattr(open_clip, "list_models", lambda: ["tiny"])
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: SETTINGS)


def test_untrained_clip_loads_and_tells_pictures_and_captions_apart(folder):
    encoder = load_clip(folder / "clip.safetensors")
    assert (encoder.image_size, encoder.image_dim) == (64, 64)
    frames = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    images, texts = encoder.encode_images(frames), encoder.encode_text(["a dog", "rain"])
    assert texts.shape == (2, 77, 64)
    assert images.std(0).min() > 1e-3
    assert texts.std(0)[1:].amax(1).min() > 1e-3
    assert encoder.config.architecture == "clip_tiny"


def test_the_small_clip_sees_by_convolutions_in_any_precision(tmp_path):
    init_clip("clip_small", tmp_path / "clip.safetensors", seed=1)
    pictures = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    for dtype in (torch.float32, torch.bfloat16):
        encoder = load_clip(tmp_path / "clip.safetensors", dtype=dtype)
        images = encoder.encode_images(pictures)
        assert images.shape == (2, 64)
        assert torch.allclose(images.norm(dim=1), torch.ones(2), atol=1e-3)
        assert (images[0] - images[1]).abs().max() > 1e-3
        assert encoder.encode_text(["a bell"]).shape == (1, 77, 64)


@torch.no_grad()
def test_untrained_synchformer_loads_and_tells_segments_apart(folder):
    model = load_synchformer(folder / "sync.safetensors")
    assert model.size == SYNCHFORMER_PRESETS["synchformer_tiny"]
    features = model(torch.randn(2, 3, 16, 64, 64))
    assert features.std(0).mean() > 1e-3
    assert model.config.fingerprint


def test_a_seed_gives_the_same_weights_and_another_seed_others(folder, tmp_path):
    for init, name, preset in (
        (init_clip, "clip", "clip_tiny"),
        (init_synchformer, "sync", "synchformer_tiny"),
    ):
        path = tmp_path / f"{name}.safetensors"
        init(preset, path, seed=1)
        first = safetensors.torch.load_file(folder / f"{name}.safetensors")
        again = safetensors.torch.load_file(path)
        assert all(torch.equal(value, again[key]) for key, value in first.items())
        init(preset, path, seed=2)
        prints = []
        for file in (path, folder / path.name):
            with safe_open(file, "pt") as opened:
                prints.append(opened.metadata()["fingerprint"])
        assert prints[0] != prints[1]


def test_untrained_files_say_that_they_are(folder):
    for name in ("clip", "sync"):
        with safe_open(folder / f"{name}.safetensors", "pt") as file:
            assert "not trained" in file.metadata()["license"]


def test_the_largest_presets_are_the_published_architectures():
    assert CLIP_PRESETS["clip_vit_h"] == ("ViT-H-14-378-quickgelu", None)
    assert SYNCHFORMER_PRESETS["synchformer"].architecture == "synchformer"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
@pytest.mark.parametrize("prefix", [PREFIX, ""])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_synchformer_files_of_others_load_in_every_form(tmp_path, suffix, prefix, dtype):
    path = write(tmp_path / f"a{suffix}", released_sync(prefix=prefix, dtype=dtype))
    model = load_synchformer(path)
    expected = sync_state(prefix="", dtype=dtype)
    assert model.size == TINY
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name].float())
    assert model.config.fingerprint == fingerprint(sync_state())
    assert not any(value.requires_grad for value in model.parameters())


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
def test_wrapped_state_dicts_load(tmp_path, wrap):
    path = write(tmp_path / "a.pth", released_sync(), wrap)
    assert load_synchformer(path).size == TINY


def test_pickles_from_before_the_zip_format_load(tmp_path):
    torch.save(released_sync(), tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert load_synchformer(tmp_path / "a.pth").size == TINY


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_clip_files_of_others_load_when_open_clip_knows_them(
    tmp_path, suffix, dtype, tiny_architecture
):
    path = write(tmp_path / f"a{suffix}", clip_state(dtype))
    encoder = load_clip(path, architecture="tiny")
    expected = clip_state(dtype)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, expected[name].float())
    assert encoder.config.architecture == "tiny"
    assert encoder.config.fingerprint == fingerprint(clip_state())


def test_the_identity_is_the_same_whatever_towers_are_read(tmp_path, folder, tiny_architecture):
    path = write(tmp_path / "a.safetensors", clip_state())
    for file, name in ((path, "tiny"), (folder / "clip.safetensors", None)):
        configs = {
            str(load_clip(file, towers=towers, architecture=name).config)
            for towers in (("visual",), ("text",), ("visual", "text"))
        }
        assert len(configs) == 1


def test_a_tower_that_is_not_needed_may_be_missing(tmp_path, tiny_architecture):
    state = clip_state()
    visual = {name: value for name, value in state.items() if name.startswith("visual.")}
    path = write(tmp_path / "a.safetensors", visual)
    load_clip(path, towers=("visual",), architecture="tiny")
    with pytest.raises(CheckpointError, match=r"lacks .* of tiny: .*positional_embedding"):
        load_clip(path, towers=("text",), architecture="tiny")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, None])
def test_weights_come_in_the_type_asked_for(folder, dtype):
    wanted = dtype or torch.float16
    for model in (
        load_clip(folder / "clip.safetensors", dtype=dtype),
        load_synchformer(folder / "sync.safetensors", dtype=dtype),
    ):
        assert {value.dtype for value in model.state_dict().values()} == {wanted}


def test_a_saved_encoder_is_the_same_encoder_in_any_precision(folder, tmp_path):
    for name, load in (("clip", load_clip), ("sync", load_synchformer)):
        first = load(folder / f"{name}.safetensors")
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            path = tmp_path / "copy.safetensors"
            converted = load(folder / f"{name}.safetensors", dtype=dtype)
            save_encoder(converted, path, licence="CC0-1.0")
            again = load(path)
            assert again.config == first.config
            if dtype != torch.bfloat16:
                for key, value in first.state_dict().items():
                    assert torch.equal(value, again.state_dict()[key])


def test_the_identity_tells_one_changed_weight():
    state = sync_state()
    before = fingerprint(state)
    assert len(before) == 12
    assert fingerprint({name: value.half() for name, value in state.items()}) == before
    state[PREFIX + "norm.bias"][3] += 0.01
    assert fingerprint(state) != before


def test_what_is_no_encoder_has_no_identity():
    with pytest.raises(CheckpointError, match="no known encoder: none of cls_token"):
        fingerprint({"weight": torch.ones(3)})


class Code:
    def __reduce__(self):
        return os.system, ("true",)


def bad_files(path):
    """Every file that cannot be used, with what the error says."""
    (path / "text.safetensors").write_text("<html>not found</html>")
    yield "text.safetensors", "not a whole safetensors file"
    (path / "text.pth").write_text("<html>not found</html>")
    yield "text.pth", "fetch or export it again|Export it again"
    (path / "notes.txt").write_text("hello")
    yield "notes.txt", "give a file ending in .safetensors"
    with (path / "code.pth").open("wb") as file:
        pickle.dump({"a": Code()}, file, protocol=2)
    yield "code.pth", "could run code"
    torch.save({"a": 1}, path / "none.pth")
    yield "none.pth", "holds no tensors"
    torch.save([torch.ones(3)], path / "list.pth")
    yield "list.pth", "expected named tensors"
    torch.save({"x.weight": torch.ones(3)}, path / "other.pth")
    yield "other.pth", "holds x.weight; expected"
    torch.save({"audio_input_proj.0.weight": torch.ones(3)}, path / "wavflow.pth")
    yield "wavflow.pth", "is a WavFlow checkpoint; expected"
    name = "text_model.embeddings.token_embedding.weight"
    torch.save({name: torch.ones(3)}, path / "hf.pth")
    yield "hf.pth", "is CLIP weights of transformers; expected"
    whole = write(path / "whole.safetensors", sync_state()).read_bytes()
    (path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    yield "half.safetensors", "not a whole safetensors file"
    yield "missing.pth", "There is no file"


@pytest.mark.parametrize("load", [load_clip, load_synchformer])
def test_files_that_cannot_be_used_say_why(tmp_path, load):
    for name, message in bad_files(tmp_path):
        with pytest.raises(CheckpointError, match=message):
            load(tmp_path / name)


def test_the_wrong_kind_of_encoder_is_named(folder, tmp_path):
    with pytest.raises(
        CheckpointError, match=r"wavflow\.synchformer file; give one of wavflow\.cl"
    ):
        load_clip(folder / "sync.safetensors")
    with pytest.raises(CheckpointError, match=r"wavflow\.clip file; give one of wavflow\.sync"):
        load_synchformer(folder / "clip.safetensors")
    with pytest.raises(CheckpointError, match=r"is Synchformer weights; expected CLIP weights"):
        load_clip(write(tmp_path / "sync.pth", released_sync()))
    with pytest.raises(CheckpointError, match=r"is CLIP weights of open_clip; expected Synchf"):
        load_synchformer(write(tmp_path / "clip.pth", clip_state()))


def test_another_architecture_of_clip_is_named(tmp_path):
    path = write(tmp_path / "a.safetensors", clip_state())
    with pytest.raises(CheckpointError, match=r"ViT-H-14-378-quickgelu; name the architecture"):
        load_clip(path)


def test_weights_too_few_too_many_or_misshapen_are_named(tmp_path, tiny_architecture):
    state = clip_state()
    state["visual.transformer.resblocks.7.ln_1.weight"] = torch.ones(64)
    path = write(tmp_path / "a.safetensors", state)
    with pytest.raises(CheckpointError, match=r"has 1 weights that tiny has not: visual\.transf"):
        load_clip(path, architecture="tiny")
    load_clip(path, architecture="tiny", towers=("text",))
    state = sync_state()
    state[PREFIX + "norm.weight"] = torch.ones(65)
    with pytest.raises(CheckpointError, match=r"norm.weight of shape \(65,\), but it is \(64,\)"):
        load_synchformer(write(tmp_path / "b.safetensors", state))
    for name, message in (
        ("norm.weight", "lacks 1 of the .* norm.weight"),
        ("temp_embed", "not a complete Synchformer video tower"),
    ):
        state = sync_state()
        del state[PREFIX + name]
        with pytest.raises(CheckpointError, match=message):
            load_synchformer(write(tmp_path / "b.safetensors", state))


def test_another_number_of_frames_is_refused(tmp_path):
    state = sync_state()
    state[PREFIX + "temp_embed"] = torch.zeros(1, 4, 64)
    with pytest.raises(CheckpointError, match="reads 8 frames as 4 tokens; WavFlow needs 16 as 8"):
        load_synchformer(write(tmp_path / "a.safetensors", state))


def rewrite(source, target, **changes):
    with safe_open(source, "pt") as file:
        metadata = {**file.metadata(), **changes}
    tensors = safetensors.torch.load_file(source)
    metadata = {name: value for name, value in metadata.items() if value is not None}
    safetensors.torch.save_file(tensors, target, metadata)
    return target


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"version": "9"}, CheckpointError, "has version 9 of the wavflow.synchformer format"),
        ({"config": "{"}, CheckpointError, "no readable 'config'"),
        ({"architecture": None}, CheckpointError, "does not say its architecture"),
        ({"config": json.dumps({"deepness": 3})}, CheckpointError, "no setting 'deepness'"),
        ({"config": json.dumps({"depth": 1})}, CheckpointError, "of shape .* but it is"),
        ({"config": json.dumps({"depth": 10**9})}, CheckpointError, "has 1000000000 layers, and"),
    ],
)
def test_metadata_of_ours_is_read_strictly(folder, tmp_path, changes, error, message):
    path = rewrite(folder / "sync.safetensors", tmp_path / "a.safetensors", **changes)
    with pytest.raises(error, match=message):
        load_synchformer(path)


@pytest.mark.parametrize("tower", ["vision_cfg", "text_cfg"])
def test_a_clip_cannot_say_that_it_is_deeper_than_its_file(folder, tmp_path, tower):
    with safe_open(folder / "clip.safetensors", "pt") as file:
        settings = json.loads(file.metadata()["config"])
    settings[tower]["layers"] = 10**9
    path = rewrite(
        folder / "clip.safetensors", tmp_path / "a.safetensors", config=json.dumps(settings)
    )
    with pytest.raises(CheckpointError, match="has 1000000000 layers, and holds"):
        load_clip(path)


def test_unknown_presets_list_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match="no preset 'x'; choose from clip_vit_h, clip_tiny"):
        init_clip("x", tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match="no preset 'x'; choose from synchformer, synchformer_t"):
        init_synchformer("x", tmp_path / "a.safetensors")


def test_a_folder_that_is_missing_is_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(MediaError, match="does not exist"):
        init_synchformer("synchformer_tiny", tmp_path / "none" / "a.safetensors")
