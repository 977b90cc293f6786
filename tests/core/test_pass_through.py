import math
from dataclasses import replace

import pytest
import torch

from wavflow_core.model import WavFlow
from wavflow_core.model.init import initialize
from wavflow_core.model.pass_through import pass_through
from wavflow_core.presets import get_preset

CONFIG = get_preset("small_16k").model
TOKENS = 48


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def begun(config=CONFIG):
    generator = torch.Generator().manual_seed(0)
    model = initialize(WavFlow(config), generator=generator)
    clip, text = unit(400, config.clip_dim), unit(400, config.text_dim)
    return pass_through(model, clip=clip, text=text, generator=generator).requires_grad_(False)


def unit(*shape):
    return torch.nn.functional.normalize(normal(*shape), dim=-1)


def conditions(model, batch):
    return model.prepare_conditions(
        unit(batch, 1, CONFIG.clip_dim).expand(-1, 8, -1),
        normal(batch, 8, CONFIG.sync_dim),
        unit(batch, 1, CONFIG.text_dim).expand(-1, CONFIG.text_tokens, -1),
        TOKENS,
    )


@pytest.mark.parametrize("t", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("level", [0.3, 1.0, 4.0])
def test_it_begins_with_the_gain_of_a_wiener_filter_at_any_level(t, level):
    model = begun()
    x_t = level * normal(4, TOKENS, CONFIG.patch_size, seed=2)
    output = model(x_t, torch.full((4,), t), conditions(model, 4))
    gain = (output * x_t).sum() / x_t.square().sum()
    assert gain.item() == pytest.approx(t / (t**2 + (1 - t) ** 2), abs=0.13)
    assert (output - gain * x_t).square().mean() < 0.01 + 0.01 * level**2


def test_time_and_unit_vectors_are_seen_at_once():
    model = begun()
    made = conditions(model, 16)
    for name in ("clip", "text", "pooled"):
        assert 0.2 < getattr(made, name).std() < 2, name
    times = model.t_embed(torch.linspace(0, 1, 64), torch.float32)
    assert times[:, : CONFIG.hidden_dim // 2].std(0).mean() > 0.5


def test_the_pooled_conditions_do_not_disturb_the_gain():
    model = begun()
    made = conditions(model, 4)
    x_t, t = normal(4, TOKENS, CONFIG.patch_size, seed=2), torch.full((4,), 0.5)
    others = replace(made, pooled=made.pooled.roll(1, 0))
    assert not torch.equal(made.pooled, others.pooled)
    assert torch.allclose(model(x_t, t, made), model(x_t, t, others), atol=1e-5)


def test_the_same_seed_gives_the_same_weights():
    first, second = begun().state_dict(), begun().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_stream_narrower_than_a_patch_passes_its_low_frequencies_on():
    config = replace(CONFIG, patch_size=400, token_rate=40, filter_windows=())
    model = begun(config)
    n, t = torch.arange(400) + 0.5, torch.full((1,), 0.7)
    gain = 0.7 / (0.7**2 + 0.3**2)
    for frequency, expected in ((5, gain), (100, gain), (112, 0), (390, 0)):
        tone = (2**0.5 * torch.cos(math.pi / 400 * frequency * n)).expand(1, TOKENS, 400)
        output = model(tone, t, conditions(model, 1))
        assert (output * tone).mean().item() == pytest.approx(expected, abs=0.15), frequency


def test_pooled_conditions_are_whitened():
    spread = torch.logspace(0, -1.5, CONFIG.clip_dim)
    clip, text = (normal(300, CONFIG.clip_dim, seed=seed) * spread + 2 for seed in (1, 2))
    model = initialize(WavFlow(CONFIG), generator=torch.Generator().manual_seed(0))
    pass_through(model, clip=clip, text=text, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = model.prepare_conditions(
            clip[:, None].expand(-1, 4, -1),
            normal(300, 8, CONFIG.sync_dim),
            text[:, None].expand(-1, CONFIG.text_tokens, -1),
            TOKENS,
        )
    pooled = made.pooled[:, 0]
    half = CONFIG.hidden_dim // 2
    assert pooled[:, :half].abs().max() < 1e-5
    for share in pooled[:, half:].T.split(half // 2):  # of the pictures, and of the captions
        assert torch.allclose(share.cov(), torch.eye(half // 2), atol=0.1)
