import math

import pytest
import torch
from support import golden, recipe
from support.tiny import inputs, model_config

from wavflow_core.config import SOLVERS, FlowConfig, SamplerConfig
from wavflow_core.errors import WavFlowError
from wavflow_core.model import WavFlow
from wavflow_core.sampler import draw_noise, guide, sample, time_steps

FIXED = [name for name in SOLVERS if name != "adaptive"]


@pytest.fixture(scope="module")
def guided():
    """The golden model with its conditions, the empty ones and those of the negative text."""
    tensors, metadata = golden.load("wavflow_tiny.safetensors")
    model = recipe.fill(WavFlow(model_config(metadata)))
    empty = (
        model.empty_clip_feat.expand(2, 8, -1),
        model.empty_sync_feat.expand(2, 24, -1),
        model.empty_string_feat.expand(2, -1, -1),
    )
    negative = recipe.tensor("in.negative_text", (1, 7, 28)).expand(2, -1, -1)
    with torch.no_grad():
        return (
            tensors,
            model,
            model.prepare_conditions(*inputs(), 50),
            model.prepare_conditions(*empty, 50),
            model.prepare_conditions(*empty[:2], negative, 50),
        )


def noise():
    return recipe.tensor("in.x0", (2, 50, 20))


@torch.no_grad()
def test_guidance_equals_the_golden_with_and_without_a_negative_text(guided):
    tensors, model, conditions, empty, negative = guided
    for other, key in ((empty, "cfg4.5"), (negative, "cfg4.5_negative")):
        output = guide(model, conditions, other, flow=FlowConfig(), sampler=SamplerConfig(cfg=4.5))(
            noise(), 0.37
        )
        assert (output - tensors[f"{key}.t0.37"]).abs().max() <= 1e-4


@torch.no_grad()
def test_guidance_of_one_is_the_conditional_pass_alone(guided):
    _, model, conditions, empty, _ = guided
    output = guide(model, conditions, empty, flow=FlowConfig(), sampler=SamplerConfig(cfg=1.0))(
        noise(), 0.37
    )
    assert torch.equal(output, model(noise(), torch.full((2,), 0.37), conditions))


@torch.no_grad()
@pytest.mark.parametrize(
    ("flow", "sampler"),
    [
        (FlowConfig(cfg_end=0.4), SamplerConfig()),
        (FlowConfig(), SamplerConfig(cfg_end=0.4)),
        (FlowConfig(cfg_end=0.2), SamplerConfig(cfg_end=0.4)),
    ],
)
def test_nothing_is_guided_from_where_guidance_ends(guided, flow, sampler):
    tensors, model, conditions, empty, _ = guided
    predict = guide(model, conditions, empty, flow=flow, sampler=sampler)
    assert (predict(noise(), 0.37) - tensors["cfg4.5.t0.37"]).abs().max() <= 1e-4
    alone = model(noise(), torch.full((2,), 0.4), conditions)
    assert torch.equal(predict(noise(), 0.4), alone)
    ended = guide(model, conditions, empty, flow=flow, sampler=SamplerConfig(cfg_end=0.0))
    assert torch.equal(ended(noise(), 0.0), model(noise(), torch.zeros(2), conditions))


@pytest.mark.parametrize("prediction", ["x", "v"])
@pytest.mark.parametrize(
    ("name", "shift", "min_sigma"),
    [("shift1.0", 1, 0), ("shift3.0", 3, 0), ("min_sigma0.1", 1, 0.1)],
)
def test_euler_trajectories_equal_the_golden(guided, prediction, name, shift, min_sigma):
    tensors, model, conditions, empty, _ = guided
    result = sample(
        guide(model, conditions, empty, flow=FlowConfig(), sampler=SamplerConfig(cfg=4.5)),
        noise(),
        flow=FlowConfig(prediction=prediction, min_sigma=min_sigma, noise_shift=shift),
        sampler=SamplerConfig(steps=10, cfg=4.5),
    )
    expected = tensors[f"euler10.{prediction}.{name}"]
    assert (result - expected).abs().max() <= 1e-3 * expected.std()


def test_the_adaptive_solver_equals_the_golden(guided):
    tensors, model, conditions, empty, _ = guided
    result = sample(
        guide(model, conditions, empty, flow=FlowConfig(), sampler=SamplerConfig(cfg=4.5)),
        noise(),
        flow=FlowConfig(prediction="v"),
        sampler=SamplerConfig(solver="adaptive", rtol=1e-6, atol=1e-7),
    )
    expected = tensors["adaptive.v"]
    assert (result - expected).abs().max() <= 1e-3 * expected.std()


def predictor(prediction):
    """The velocity field v = x² cos 2t, given as velocity or as clean estimate."""

    def predict(x, t):
        velocity = x**2 * math.cos(2 * t)
        return velocity if prediction == "v" else x + (1 - t) * velocity

    return predict


def largest_error(solver, steps, prediction, shift=1.0, **kwargs):
    """Distance from the known solution x(t) = x_0 / (1 - x_0 sin(2t) / 2) at t = 1."""
    x_0 = torch.linspace(-1, 1, 5, dtype=torch.float64).view(1, 1, 5)
    result = sample(
        predictor(prediction),
        x_0,
        flow=FlowConfig(prediction=prediction, noise_shift=shift),
        sampler=SamplerConfig(solver=solver, steps=steps, cfg=1.0, **kwargs),
    )
    return float((result - x_0 / (1 - x_0 * math.sin(2) / 2)).abs().max())


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("prediction", ["x", "v"])
@pytest.mark.parametrize(
    ("solver", "expected"),
    [("euler", 1), ("heun", 2), ("midpoint", 2), ("ab2", 2), ("dpmpp_2m", 2)],
)
def test_solvers_have_their_order_of_accuracy(solver, expected, prediction, shift):
    coarse, fine = 500, 2000
    errors = [largest_error(solver, n, prediction, shift) for n in (coarse, fine)]
    if solver == "dpmpp_2m":
        # The log-SNR in which it extrapolates is infinite at t = 0: the error is log(n) / n².
        errors = [e / math.log(n) for e, n in zip(errors, (coarse, fine), strict=True)]
    order = math.log(errors[0] / errors[1]) / math.log(fine / coarse)
    print(f"{solver}, {prediction}-prediction, shift {shift}: order {order:.3f}")
    assert abs(order - expected) < 0.1


def test_the_adaptive_solver_does_not_depend_on_the_shift():
    errors = [largest_error("adaptive", 1, "v", shift) for shift in (1.0, 3.0)]
    assert errors[0] == errors[1]


@pytest.mark.parametrize("prediction", ["x", "v"])
def test_the_adaptive_solver_meets_its_tolerance(prediction):
    coarse = largest_error("adaptive", 1, prediction)
    fine = largest_error("adaptive", 1, prediction, rtol=1e-8, atol=1e-10)
    assert coarse < 5e-3
    assert fine < (5e-6 if prediction == "x" else 1e-7)


@pytest.mark.parametrize("solver", FIXED)
def test_one_step_of_an_x_prediction_ends_at_the_clean_estimate(solver):
    x_0 = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    target = torch.full_like(x_0, 0.25)
    result = sample(
        lambda x, t: target, x_0, flow=FlowConfig(), sampler=SamplerConfig(solver=solver, steps=1)
    )
    assert torch.allclose(result, target, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_callback_counts_up_to_the_total_and_sees_clean_estimates(solver):
    seen = []
    x_0 = torch.zeros(1, 2, 3)
    result = sample(
        lambda x, t: torch.full_like(x, 2.0),
        x_0,
        flow=FlowConfig(),
        sampler=SamplerConfig(solver=solver, steps=7),
        callback=lambda *arguments: seen.append(arguments),
    )
    steps = [step for step, *_ in seen]
    total = seen[0][1]
    assert steps == sorted(steps)
    assert solver == "adaptive" or len(set(steps)) == len(steps)
    assert steps[-1] == total
    assert seen[-1][2] == 1.0
    assert total == (100 if solver == "adaptive" else 7)
    assert all((clean == 2.0).all() for *_, clean in seen)
    assert torch.allclose(result, torch.full_like(result, 2.0), atol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_error_from_the_callback_ends_the_sampling_within_one_step(solver):
    class Stop(Exception):
        pass

    calls = []

    def callback(step, total, t, clean):
        calls.append(step)
        raise Stop

    with pytest.raises(Stop):
        sample(
            lambda x, t: x,
            torch.ones(1, 2, 3),
            flow=FlowConfig(),
            sampler=SamplerConfig(solver=solver),
            callback=callback,
        )
    assert len(calls) == 1


@pytest.mark.parametrize("solver", SOLVERS)
def test_undefined_numbers_from_the_network_are_an_error(solver):
    with pytest.raises(WavFlowError, match="undefined numbers.*bf16 or fp32"):
        sample(
            lambda x, t: x * float("nan"),
            torch.ones(1, 2, 3),
            flow=FlowConfig(),
            sampler=SamplerConfig(solver=solver, steps=3),
        )


def test_too_small_tolerances_end_with_an_error_instead_of_hanging():
    with pytest.raises(WavFlowError, match="tolerances .* too small"):
        sample(
            lambda x, t: torch.sin(1e6 * x),
            torch.ones(1, 1, 1),
            flow=FlowConfig(prediction="v"),
            sampler=SamplerConfig(solver="adaptive", rtol=1e-12, atol=1e-12),
        )


def test_noise_scale_multiplies_the_noise():
    x_0 = torch.ones(1, 1, 1)
    seen = []
    sample(
        lambda x, t: seen.append(x) or x,
        x_0,
        flow=FlowConfig(noise_scale=1.5),
        sampler=SamplerConfig(steps=1),
    )
    assert seen[0].item() == 1.5


def test_noise_of_several_seeds_is_the_noise_of_each():
    together = draw_noise([3, 4], 5, 6)
    assert torch.equal(together[1], draw_noise([4], 5, 6)[0])
    assert not torch.equal(together[0], together[1])


def test_times_run_from_zero_to_one_and_a_shift_lingers_near_the_noise():
    even, shifted = time_steps(4), time_steps(4, shift=3.0)
    assert even == [0, 0.25, 0.5, 0.75, 1]
    assert shifted[0] == 0
    assert shifted[-1] == 1
    assert shifted[2] == pytest.approx(0.25)
    assert time_steps(2, min_sigma=0.1)[-1] == pytest.approx(0.9)
