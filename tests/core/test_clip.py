"""CLIP's towers."""

import logging

import pytest
import torch
from support import golden, recipe

from wavflow_core.errors import ConfigError, FeatureError
from wavflow_core.features.clip import TOWERS, ClipEncoder, clip_settings
from wavflow_core.features.preprocess import CLIP_MEAN, CLIP_STD

TENSORS, METADATA = golden.load("clip_tiny.safetensors")
SETTINGS = METADATA["model_cfg"]
CAPTIONS = METADATA["captions"]


def build(towers=tuple(TOWERS), settings=None, dtype=torch.float32):
    encoder = ClipEncoder("tiny", settings or SETTINGS, towers=towers)
    shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    state = {name: recipe.weight(name, shape).to(dtype) for name, shape in shapes.items()}
    encoder.load_state_dict(state, assign=True)
    return encoder


def frames(count):
    numbers = recipe.tensor("frames", (count, 3, 32, 32)).sigmoid()
    return (numbers * 255).round().to(torch.uint8)


@torch.no_grad()
def test_image_embeddings_equal_the_golden():
    mean, std = (torch.tensor(item).view(3, 1, 1) for item in (CLIP_MEAN, CLIP_STD))
    pictures = recipe.tensor("clip.frames", (1, 5, 3, 32, 32)).sigmoid()[0]
    made = torch.nn.functional.normalize(build().visual((pictures - mean) / std), dim=-1)
    torch.testing.assert_close(made, TENSORS["clip_features"][0], atol=1e-6, rtol=0)


def test_text_features_and_tokens_equal_the_golden():
    encoder = build()
    assert torch.equal(encoder.tokenize(CAPTIONS), TENSORS["tokens"])
    made = encoder.encode_text(CAPTIONS)
    torch.testing.assert_close(made, TENSORS["text_features"], atol=1e-6, rtol=0)


@torch.no_grad()
def test_bytes_are_scaled_and_embedded_with_length_one():
    encoder = build()
    mean, std = (torch.tensor(item).view(3, 1, 1) for item in (CLIP_MEAN, CLIP_STD))
    direct = encoder.visual((frames(3).float() / 255 - mean) / std)
    made = encoder.encode_images(frames(3))
    assert made.shape == (3, encoder.image_dim)
    torch.testing.assert_close(made.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(made, direct / direct.norm(dim=-1, keepdim=True))


def test_results_do_not_depend_on_the_batch_size():
    encoder = build()
    images, texts = encoder.encode_images(frames(5)), encoder.encode_text(CAPTIONS)
    for size in (1, 2, 5):
        made = encoder.encode_images(frames(5), batch_size=size)
        torch.testing.assert_close(made, images, atol=1e-6, rtol=0)
        made = encoder.encode_text(CAPTIONS, batch_size=size)
        torch.testing.assert_close(made, texts, atol=1e-6, rtol=0)


def test_a_token_does_not_see_those_after_it():
    encoder = build()
    short, long = encoder.encode_text(["a dog", "a dog barks at night"])
    torch.testing.assert_close(short[:3], long[:3], atol=1e-6, rtol=0)
    assert not torch.allclose(short[3], long[3], atol=1e-3)


@pytest.mark.parametrize("tower", list(TOWERS))
def test_one_tower_alone_gives_the_same_and_does_not_hold_the_other(tower):
    alone, both = build((tower,)), build()
    names = set(alone.state_dict())
    assert names < set(both.state_dict())
    if tower == "text":
        assert not any(name.startswith("visual.") for name in names)
        assert torch.equal(alone.encode_text(CAPTIONS), both.encode_text(CAPTIONS))
        with pytest.raises(FeatureError, match="loaded without its visual tower"):
            alone.encode_images(frames(1))
    else:
        assert all(name.startswith("visual.") for name in names)
        assert torch.equal(alone.encode_images(frames(2)), both.encode_images(frames(2)))
        for method in (alone.encode_text, alone.tokenize):
            with pytest.raises(FeatureError, match="loaded without its text tower"):
                method(CAPTIONS)


def test_half_precision_gives_fp32_features_near_the_golden():
    encoder = build(dtype=torch.bfloat16)
    text, images = encoder.encode_text(CAPTIONS), encoder.encode_images(frames(2))
    assert text.dtype == images.dtype == torch.float32
    torch.testing.assert_close(text, TENSORS["text_features"], atol=0.05, rtol=0)


def test_nothing_to_encode_gives_nothing():
    encoder = build()
    assert encoder.encode_text([]).shape == (0, 77, 64)
    assert encoder.encode_images(frames(3)[:0]).shape == (0, 48)


def test_a_caption_that_is_too_long_is_cut_with_a_warning(caplog):
    encoder = build()
    with caplog.at_level(logging.WARNING):
        encoder.encode_text(["rain " * 75])
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        cut = encoder.encode_text(["rain " * 80])
    assert "last 5 tokens of a caption are ignored" in caplog.text
    assert torch.equal(cut, encoder.encode_text(["rain " * 75]))


def test_the_published_tower_is_fed_384_pixels_and_others_their_own_size():
    assert ClipEncoder(towers=("visual",)).image_size == 384
    assert ClipEncoder("ViT-B-32", towers=("visual",)).image_size == 224
    assert build().image_size == 32


def test_building_the_largest_model_takes_no_memory():
    encoder = ClipEncoder()
    assert {value.device.type for value in encoder.state_dict().values()} == {"meta"}
    assert encoder.image_dim == 1024


def test_frames_of_another_form_are_refused():
    for wrong in (frames(1).float(), frames(1)[0], frames(1)[..., :16]):
        with pytest.raises(FeatureError, match=r"reads \(T, 3, 32, 32\) of torch\.uint8"):
            build().encode_images(wrong)


@pytest.mark.parametrize("name", ["ViT-Z-99", "hf-hub:apple/DFN5B-CLIP-ViT-H-14-384"])
def test_an_unknown_architecture_is_refused_without_the_network(name):
    with pytest.raises(ConfigError, match="open_clip has no architecture .*ViT-H-14-378-quickgelu"):
        ClipEncoder(name)


@pytest.mark.parametrize(
    "name", ["ViT-B-16-SigLIP", "roberta-ViT-B-32", "coca_ViT-B-32", "convnext_base"]
)
def test_models_that_are_no_plain_clip_are_refused(name):
    with pytest.raises(ConfigError, match=f"{name} uses .*only plain CLIP models"):
        ClipEncoder(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_cfg": None}, "has no vision_cfg"),
        ({"text_cfg": {"vocab_size": 100}}, "vocab_size 100; CLIP's tokenizer needs 49408"),
        ({"colour": 1}, "cannot be built by the installed open_clip"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        ClipEncoder("tiny", {**SETTINGS, **change})


def test_towers_that_do_not_exist_are_refused():
    for towers in ((), ("audio",)):
        with pytest.raises(ConfigError, match="choose from visual, text"):
            ClipEncoder("tiny", SETTINGS, towers=towers)


def test_settings_of_a_known_name_are_those_of_open_clip():
    assert clip_settings("ViT-B-32")["embed_dim"] == 512
