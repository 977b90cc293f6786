import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import golden, recipe
from support.casting import Casting
from support.tiny import inputs, model_config
from torch.nn.attention import SDPBackend, sdpa_kernel

from wavflow_core.config import ModelConfig
from wavflow_core.errors import FeatureError, WavFlowError
from wavflow_core.model import WavFlow
from wavflow_core.model.sync_rows import nearest_rows, timed_rows
from wavflow_core.presets import get_preset

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def reference():
    tensors, metadata = golden.load("wavflow_tiny.safetensors")
    return tensors, metadata, recipe.fill(WavFlow(model_config(metadata)))


def close(actual, expected, tolerance=TOLERANCE):
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance


def test_parameter_names_and_their_order_equal_the_reference(reference):
    _, metadata, model = reference
    assert [name for name, _ in model.named_parameters()] == metadata["param_names"]


@pytest.mark.parametrize("kind", ["cond", "empty"])
@torch.no_grad()
def test_projected_conditions_equal_the_golden(reference, kind):
    tensors, _, model = reference
    features = inputs()
    if kind == "empty":
        features = (
            model.empty_clip_feat.expand(2, 8, -1),
            model.empty_sync_feat.expand(2, 24, -1),
            model.empty_string_feat.expand(2, -1, -1),
        )
    conditions = model.prepare_conditions(*features, 50)
    close(conditions.clip, tensors[f"{kind}.clip_f"])
    close(conditions.text, tensors[f"{kind}.text_f"])
    close(conditions.sync[:, conditions.rows], tensors[f"{kind}.sync_f"])
    clip_c = model.clip_cond_proj(conditions.clip.mean(1))
    text_c = model.text_cond_proj(conditions.text.mean(1))
    close(clip_c, tensors[f"{kind}.clip_f_c"])
    close(text_c, tensors[f"{kind}.text_f_c"])
    close(conditions.pooled[:, 0], model.global_cond_mlp(clip_c + text_c))


@pytest.mark.parametrize("t", [0.0, 0.37, 0.99])
@torch.no_grad()
def test_prediction_equals_the_golden(reference, t):
    tensors, _, model = reference
    conditions = model.prepare_conditions(*inputs(), 50)
    x_0 = recipe.tensor("in.x0", (2, 50, 20))
    close(model(x_0, torch.full((2,), t), conditions), tensors[f"pred.t{t}"])


@torch.no_grad()
def test_each_sample_of_a_batch_has_its_own_time(reference):
    tensors, _, model = reference
    conditions = model.prepare_conditions(*inputs(), 50)
    output = model(recipe.tensor("in.x0", (2, 50, 20)), torch.tensor([0.1, 0.8]), conditions)
    close(output, tensors["forward.t_mixed"])


@torch.no_grad()
def test_another_duration_runs_on_the_same_weights(reference):
    tensors, _, model = reference
    conditions = model.prepare_conditions(*inputs(".long", 10, 32), 75)
    output = model(recipe.tensor("in.x0.long", (2, 75, 20)), torch.full((2,), 0.37), conditions)
    close(output, tensors["longer.t0.37"])


@torch.no_grad()
def test_attention_runs_on_the_fast_kernel(reference):
    tensors, _, model = reference
    conditions = model.prepare_conditions(*inputs(), 50)
    x_0 = recipe.tensor("in.x0", (2, 50, 20))
    # Elsewhere it may not run; where a tensor does not suit the kernel, this raises.
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        output = model(x_0, torch.full((2,), 0.37), conditions)
    close(output, tensors["pred.t0.37"])


@pytest.mark.parametrize("duration", [0.64, 2.0, 4.0, 9.3])
def test_with_a_token_rate_each_token_takes_the_sync_token_of_its_moment(duration):
    lengths = get_preset("small_16k").lengths(duration)
    rows = timed_rows(lengths.sync_tokens, lengths.tokens, token_rate=160)
    # Token j of segment s is made of frames 8 s + 2 j and the next, at 25 per second.
    moments = (8 * (rows // 8) + 2 * (rows % 8) + 1) / 25
    times = (torch.arange(lengths.tokens) + 0.5) / 160
    seen = times < (8 * (lengths.sync_tokens // 8) + 8) / 25
    assert ((moments - times)[seen].abs() <= 0.0401).all()
    assert (rows[~seen] == lengths.sync_tokens - 1).all()


@pytest.mark.parametrize("duration", [0.64, 2.0, 9.3])
def test_the_parts_of_a_sync_token_follow_one_another(duration):
    lengths = get_preset("small_16k").lengths(duration)
    given = (lengths.sync_tokens, lengths.tokens)
    rows = timed_rows(*given, token_rate=160, parts=4)
    assert torch.equal(rows // 4, timed_rows(*given, token_rate=160))
    first = 8 * (rows // 4 // 8) + 2 * (rows // 4 % 8)  # frame, at 25 per second
    times = (torch.arange(lengths.tokens) + 0.5) / 160
    within = (times - first / 25) / 0.02
    seen = times < (8 * (lengths.sync_tokens // 8) + 8) / 25
    assert torch.equal((rows % 4)[seen], within[seen].floor().long())


@torch.no_grad()
def test_an_embedding_of_zeros_for_the_parts_changes_nothing_and_another_does():
    config = replace(get_preset("small_16k").model, hidden_dim=16, sync_parts=1)
    plain = recipe.fill(WavFlow(config))
    parted = WavFlow(replace(config, sync_parts=8))
    names = parted.load_state_dict(plain.state_dict(), strict=False)
    assert names == (["sync_part_emb"], [])
    features = (
        recipe.tensor("parts.clip", (1, 32, 64)),
        recipe.tensor("parts.sync", (1, 88, 128)),
        recipe.tensor("parts.text", (1, 77, 64)),
    )
    x_t, t = recipe.tensor("parts.x", (1, 640, 100)), torch.tensor([0.3])
    expected = plain(x_t, t, plain.prepare_conditions(*features, 640))
    parted.sync_part_emb.zero_()
    conditions = parted.prepare_conditions(*features, 640)
    assert conditions.sync.shape == (1, 88 * 8, 16)
    close(parted(x_t, t, conditions), expected)
    parted.sync_part_emb[0, 0, 3] = 1.0
    other = parted(x_t, t, parted.prepare_conditions(*features, 640))
    assert (other - expected).abs().max() > 1e-3


def test_only_a_model_with_a_token_rate_looks_moments_up():
    config = get_preset("small_16k").model
    made = []
    for rate in (None, 160.0):
        model = WavFlow(replace(config, token_rate=rate, sync_parts=1))
        features = (torch.zeros(1, 32, 64), torch.zeros(1, 88, 128), torch.zeros(1, 77, 64))
        made.append(model.prepare_conditions(*features, 640).rows)
    assert torch.equal(made[0], nearest_rows(88, 640))
    assert torch.equal(made[1], timed_rows(88, 640, token_rate=160))


def test_presets_on_the_meta_device_have_the_published_keys_and_shapes():
    published = json.loads((Path(golden.DATA) / "state_dict_shapes.json").read_text())
    for name, expected in published.items():
        preset = get_preset(name)
        model = WavFlow(preset.model, device="meta")
        shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
        assert shapes == expected["state_dict"]
        assert sum(p.numel() for p in model.parameters()) == expected["parameters"]
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert trainable == expected["trainable_parameters"]
        assert preset.lengths(8.0).tokens == expected["latent_seq_len"]


def test_the_free_operations_namespace_builds_every_weighted_layer():
    built = []

    class Ops:
        @staticmethod
        def record(kind, *args, **kwargs):
            built.append(kind)
            return getattr(torch.nn, kind)(*args, **kwargs)

    for kind in ("Linear", "Conv1d", "RMSNorm"):
        setattr(Ops, kind, staticmethod(lambda *a, kind=kind, **k: Ops.record(kind, *a, **k)))
    config = ModelConfig(hidden_dim=32, num_heads=2, depth=2, fused_depth=1)
    model = WavFlow(config, ops=Ops, dtype=torch.bfloat16, device="meta")
    weighted = [
        m
        for m in model.modules()
        if isinstance(m, torch.nn.Linear | torch.nn.Conv1d | torch.nn.RMSNorm)
    ]
    assert len(built) == len(weighted)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


@torch.no_grad()
def test_weights_of_another_type_are_cast_when_the_layers_cast(reference):
    _, metadata, _ = reference
    config = model_config(metadata)
    stored = recipe.fill(WavFlow(config, ops=Casting, dtype=torch.bfloat16))
    same = WavFlow(config)
    same.load_state_dict(stored.state_dict())
    x_0, t = recipe.tensor("in.x0", (2, 50, 20)), torch.full((2,), 0.37)
    outputs = [m(x_0, t, m.prepare_conditions(*inputs(), 50)) for m in (stored, same)]
    assert outputs[0].dtype == torch.float32
    assert torch.equal(*outputs)


@torch.no_grad()
def test_bfloat16_weights_give_nearly_the_fp32_prediction(reference):
    tensors, metadata, _ = reference
    model = recipe.fill(WavFlow(model_config(metadata), dtype=torch.bfloat16))
    features = [x.bfloat16() for x in inputs()]
    conditions = model.prepare_conditions(*features, 50)
    x_0 = recipe.tensor("in.x0", (2, 50, 20)).bfloat16()
    output = model(x_0, torch.full((2,), 0.37), conditions)
    assert output.dtype == torch.bfloat16
    expected = tensors["pred.t0.37"]
    assert (output.float() - expected).square().mean() < 2e-3 * expected.square().mean()


def test_a_forward_under_inference_mode_does_not_spoil_later_training(reference):
    _, metadata, _ = reference
    model = recipe.fill(WavFlow(model_config(metadata)))
    x_0, t = recipe.tensor("in.x0", (2, 50, 20)), torch.full((2,), 0.5)
    with torch.inference_mode():
        model(x_0, t, model.prepare_conditions(*inputs(), 50))
    model(x_0, t, model.prepare_conditions(*inputs(), 50)).square().mean().backward()
    assert all(
        p.grad is not None
        for p in model.parameters()
        if p.requires_grad and p is not model.empty_clip_feat and p is not model.empty_sync_feat
    )


def test_features_of_the_wrong_width_are_refused_by_name(reference):
    _, _, model = reference
    clip, sync, text = inputs()
    with pytest.raises(FeatureError, match=r"clip features .*\(2, 8, 31\).* 32"):
        model.prepare_conditions(clip[..., :-1], sync, text, 50)
    with pytest.raises(FeatureError, match="sync features .* a multiple of 8"):
        model.prepare_conditions(clip, sync[:, :-1], text, 50)
    with pytest.raises(FeatureError, match="text features .* 7, 28"):
        model.prepare_conditions(clip, sync, torch.cat((text, text), 1), 50)
    with pytest.raises(FeatureError, match="clip features .* a multiple of 1"):
        model.prepare_conditions(clip[0], sync, text, 50)


def test_a_state_of_another_length_than_prepared_is_refused(reference):
    _, _, model = reference
    conditions = model.prepare_conditions(*inputs(), 50)
    with pytest.raises(WavFlowError, match="51 tokens.*prepared for 50"):
        model(torch.zeros(2, 51, 20), torch.zeros(2), conditions)
