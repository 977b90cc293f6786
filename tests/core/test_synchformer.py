"""Synchformer's video tower."""

import json

import pytest
import torch
from support import golden, recipe
from support.casting import Casting
from torch import nn

from wavflow_core.errors import ConfigError, FeatureError
from wavflow_core.features.synchformer import Synchformer, SynchformerConfig

PREFIX = "vfeat_extractor."
TINY = SynchformerConfig(hidden_dim=32, depth=2, num_heads=4, image_size=32, patch_size=16)


def tiny(**options):
    return recipe.fill(Synchformer(TINY, **options), PREFIX)


def segments(count, *, side=32):
    return recipe.tensor("segments", (count, 3, 16, side, side), 0.5).clamp(-1, 1)


def test_names_and_shapes_are_those_of_the_published_file():
    published = json.loads(golden.path_of("synchformer_state_dict_shapes.json").read_text())
    model = Synchformer(SynchformerConfig(), device="meta")
    ours = {PREFIX + name: list(value.shape) for name, value in model.state_dict().items()}
    ballast = {f"{PREFIX}patch_embed.proj.{name}" for name in ("weight", "bias")}
    assert ours == {name: shape for name, shape in published.items() if name not in ballast}


@pytest.mark.slow
@torch.no_grad()
def test_features_of_the_full_tower_equal_the_golden():
    expected = golden.load("synchformer.safetensors")[0]["sync_features"][0]
    model = recipe.fill(Synchformer(SynchformerConfig()), PREFIX)
    video = recipe.tensor("synchformer.video", (1, 24, 3, 224, 224), 0.5).clamp(-1, 1)[0]
    batch = torch.stack([video[:16], video[8:]]).transpose(1, 2)
    features = model(batch).flatten(0, 1)
    error = (features - expected).abs().max() / expected.std()
    assert error <= 2e-5


def attention(q, k, v):
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v


@torch.no_grad()
@pytest.mark.parametrize("over_time", [True, False])
def test_divided_attention_is_that_of_each_patch_by_itself(over_time):
    block = tiny().blocks[0]
    layer = block.timeattn if over_time else block.attn
    times, places, heads = 8, TINY.places, TINY.num_heads
    x = recipe.tensor("tokens", (1, 1 + times * places, TINY.hidden_dim))
    q, k, v = layer.qkv(x)[0].chunk(3, dim=-1)
    q, k, v = (item.unflatten(1, (heads, -1)).transpose(0, 1) for item in (q, k, v))  # (H, N, d)
    rows = [attention(q[:, :1], k, v)]
    for n in range(times * places):
        time, place = divmod(n, places)
        group = (
            [1 + t * places + place for t in range(times)]
            if over_time
            else [1 + time * places + p for p in range(places)]
        )
        seen = [0, *group]
        rows.append(attention(q[:, n + 1 : n + 2], k[:, seen], v[:, seen]))
    expected = layer.proj(torch.cat(rows, 1).transpose(0, 1).flatten(1))
    torch.testing.assert_close(layer(x)[0], expected, atol=2e-6, rtol=1e-5)


@torch.no_grad()
def test_aggregation_equals_the_transformer_layer_of_pytorch():
    agg = tiny().spatial_attn_agg
    reference = nn.TransformerEncoderLayer(
        TINY.hidden_dim,
        TINY.num_heads,
        TINY.mlp_dim,
        dropout=0.0,
        activation=nn.functional.gelu,
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    ).train()  # the fused path of eval is another sum
    state = {name: value for name, value in agg.state_dict().items() if name != "cls_token"}
    reference.load_state_dict(state)
    x = recipe.tensor("places", (3, TINY.places, TINY.hidden_dim))
    expected = reference(torch.cat([agg.cls_token.expand(3, -1, -1), x], 1))[:, 0]
    torch.testing.assert_close(agg(x), expected, atol=2e-6, rtol=1e-5)


@torch.no_grad()
def test_segments_do_not_depend_on_their_neighbours():
    model, batch = tiny(), segments(3)
    together = model(batch)
    assert together.shape == (3, 8, TINY.hidden_dim)
    for n in range(3):
        torch.testing.assert_close(model(batch[n : n + 1])[0], together[n], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_it_computes_in_the_type_it_is_given(dtype):
    features = tiny(dtype=dtype)(segments(1).to(dtype))
    assert features.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float64 else 0.1
    torch.testing.assert_close(
        features.float(), tiny()(segments(1)), atol=tolerance, rtol=tolerance
    )


@torch.no_grad()
def test_weights_of_another_type_are_cast_when_layers_cast():
    model = tiny(ops=Casting, dtype=torch.float16)
    same = tiny()
    same.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(segments(1)), same(segments(1)), atol=0, rtol=0)


def test_every_layer_with_weights_comes_from_the_namespace():
    model = Synchformer(TINY, ops=Casting, device="meta")
    plain = (nn.Linear, nn.Conv3d, nn.LayerNorm)
    assert not [layer for layer in model.modules() if type(layer) in plain]


def test_other_shapes_of_segments_are_refused():
    with pytest.raises(FeatureError, match=r"reads \(S, 3, 16, 32, 32\)"):
        tiny()(segments(1, side=48))


def test_architectures_are_told_apart():
    assert SynchformerConfig().architecture == "synchformer"
    assert TINY.architecture == "synchformer-d32-l2-h4-i32-p16"
    other = SynchformerConfig(hidden_dim=32, depth=2, num_heads=4, image_size=32, mlp_ratio=2)
    assert other.architecture.endswith("-mlp2")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"depth": 0}, "depth is 0; it must be above 0"),
        ({"num_heads": 7}, "num_heads is 7; it must divide hidden_dim = 768"),
        ({"patch_size": 15}, "patch_size is 15; it must divide image_size = 224"),
    ],
)
def test_impossible_sizes_are_refused(sizes, message):
    with pytest.raises(ConfigError, match=message):
        SynchformerConfig(**sizes)
