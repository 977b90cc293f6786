import math

import pytest
import torch

from training.config import OptimConfig
from training.ema import Average, first_converged
from training.optim import lr_at, make_optimizer, set_lr
from wavflow_core.model import WavFlow
from wavflow_core.presets import get_preset

CPU = torch.device("cpu")


def test_the_rate_warms_up_and_then_stays():
    config = OptimConfig(lr=1.0, warmup_steps=4)
    assert [lr_at(step, config) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_the_cosine_ends_where_it_is_told_to():
    config = OptimConfig(lr=2.0, warmup_steps=10, steps=110, schedule="cosine", final_lr=0.1)
    assert lr_at(10, config) == pytest.approx(2.0)
    assert lr_at(60, config) == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert lr_at(110, config) == pytest.approx(0.2)
    assert lr_at(500, config) == pytest.approx(0.2)
    quarter = 0.5 + 0.5 * math.cos(math.pi / 4)
    assert lr_at(35, config) == pytest.approx(2.0 * (0.1 + 0.9 * quarter))


def test_steps_multiply_the_rate_at_their_milestones():
    config = OptimConfig(lr=1.0, warmup_steps=0, schedule="step", milestones=(10, 20), decay=0.5)
    assert [lr_at(step, config) for step in (9, 10, 19, 20, 99)] == [1.0, 0.5, 0.5, 0.25, 0.25]


def test_only_weights_with_two_axes_decay_and_the_empty_caption_is_not_trained():
    model = WavFlow(get_preset("tiny").model)
    optimizer = make_optimizer(model, OptimConfig(weight_decay=0.1), device=CPU)
    decayed, others = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1
    assert others["weight_decay"] == 0.0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in others["params"])
    assert sum(p.numel() for g in optimizer.param_groups for p in g["params"]) == sum(
        p.numel() for name, p in model.named_parameters() if name != "empty_string_feat"
    )


def test_set_lr_reaches_every_group():
    optimizer = make_optimizer(WavFlow(get_preset("tiny").model), OptimConfig(), device=CPU)
    set_lr(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


def average_of(values, decay):
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(values[0])
    average = Average(layer, decay=decay)
    for value in values[1:]:
        layer.weight.data.fill_(value)
        average.update(layer)
    return average, layer


def test_an_average_is_that_of_its_formula():
    values = [5.0, 1.0, -2.0, 4.0, 0.5]
    average, _ = average_of(values, decay=0.2)
    expected, share = values[0], 1.0
    for n, value in enumerate(values[1:]):
        decay = min(0.2, (1 + n) / (10 + n))
        expected, share = decay * expected + (1 - decay) * value, share * decay
    assert average.tensors["weight"].item() == pytest.approx(expected, rel=1e-6)
    assert average.start_share == pytest.approx(share)
    assert average.updates == 4


def test_the_warm_up_forgets_the_start_where_a_fixed_decay_would_not():
    average, _ = average_of([100.0] + [1.0] * 50, decay=0.9999)
    assert average.tensors["weight"].item() == pytest.approx(1.0, abs=1e-3)
    assert first_converged([1.0, average.start_share]) == 1
    assert 0.9999**50 > 0.99  # what a fixed decay would still hold of the start


def test_a_model_computes_with_the_average_for_a_while_and_then_as_before():
    average, layer = average_of([1.0, 2.0, 3.0], decay=0.5)
    held = average.tensors["weight"].clone()
    with average.in_place_of(layer):
        assert torch.equal(layer.weight, held)
    assert layer.weight.item() == 3.0
    assert torch.equal(average.tensors["weight"], held)


def test_the_weights_come_back_also_after_an_error():
    average, layer = average_of([1.0, 2.0], decay=0.5)
    with pytest.raises(RuntimeError), average.in_place_of(layer):
        raise RuntimeError
    assert layer.weight.item() == 2.0
