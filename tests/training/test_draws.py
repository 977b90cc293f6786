import pytest
import torch

from training.config import DataConfig
from training.draws import clip_at, draw, seed_of
from wavflow_core.config import FlowConfig
from wavflow_core.sampler import draw_noise

SHAPE = {"num_tokens": 4, "patch_size": 6}


def drawn(position, *, seed=0, clip=0, **data):
    return draw(position, clip, seed=seed, data=DataConfig(**data), path=FlowConfig(), **SHAPE)


def test_every_epoch_has_every_clip_once_and_another_order():
    epochs = [[clip_at(epoch * 50 + i, seed=3, count=50) for i in range(50)] for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_order_follows_the_seed():
    orders = [[clip_at(i, seed=seed, count=50) for i in range(50)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_a_position_always_draws_the_same_and_another_position_or_seed_other_things():
    first, again = drawn(7), drawn(7)
    assert torch.equal(first.noise, again.noise)
    assert first.time == again.time
    for other in (drawn(8), drawn(7, seed=1)):
        assert not torch.equal(first.noise, other.noise)
        assert first.time != other.time


def test_noise_and_times_are_those_of_their_distributions():
    draws = [drawn(position) for position in range(2000)]
    noise = torch.stack([item.noise for item in draws])
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    logits = torch.logit(torch.stack([item.time for item in draws]).double())
    assert logits.mean().item() == pytest.approx(0, abs=0.1)
    assert logits.std().item() == pytest.approx(1, abs=0.1)


def test_modalities_are_dropped_as_often_as_asked_and_independently():
    draws = [drawn(position, drop_video=0.3, drop_text=0.2) for position in range(4000)]
    video = torch.tensor([not item.keep_video for item in draws]).double()
    text = torch.tensor([not item.keep_text for item in draws]).double()
    assert video.mean().item() == pytest.approx(0.3, abs=0.03)
    assert text.mean().item() == pytest.approx(0.2, abs=0.03)
    assert (video * text).mean().item() == pytest.approx(0.06, abs=0.02)


def test_nothing_is_dropped_at_a_chance_of_zero_and_all_at_one():
    assert all(drawn(p, drop_video=0.0, drop_text=0.0).keep_video for p in range(200))
    assert not any(drawn(p, drop_video=1.0, drop_text=1.0).keep_text for p in range(200))


def test_the_crop_is_drawn_or_the_first():
    assert len({drawn(position).crop for position in range(20)}) == 20
    assert {drawn(position, crop="start").crop for position in range(20)} == {0.0}


def test_overfitting_shows_a_clip_with_the_noise_of_its_number_at_changing_times():
    first, second = drawn(0, clip=2, overfit=4), drawn(9, clip=2, overfit=4)
    assert torch.equal(first.noise, draw_noise([2], 4, 6)[0])
    assert torch.equal(first.noise, second.noise)
    assert first.time != second.time
    assert first.crop == 0.0
    assert all(drawn(p, overfit=4, drop_text=1.0).keep_text for p in range(5))


def test_seeds_of_different_keys_differ():
    assert (
        len({seed_of(seed, kind, n) for seed in (0, 1) for kind in "ab" for n in range(50)}) == 200
    )
