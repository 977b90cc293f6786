from dataclasses import replace

import pytest
import torch

from wavflow_core.errors import ConfigError
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
    return pass_through(model, generator=generator).requires_grad_(False)


def conditions(model, batch):
    def unit(*shape):
        return torch.nn.functional.normalize(normal(*shape), dim=-1)

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


def test_a_stream_narrower_than_a_patch_is_refused():
    with pytest.raises(ConfigError, match=r"width 32 cannot pass on patches of 200 samples; .*202"):
        begun(get_preset("tiny").model)
