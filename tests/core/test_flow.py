import pytest
import torch
from support import golden, recipe
from support.tiny import inputs, model_config

from wavflow_core import flow
from wavflow_core.config import FlowConfig
from wavflow_core.model import WavFlow

REFERENCE_CLAMP = 1e-6


@pytest.fixture(scope="module")
def tensors():
    return golden.load("wavflow_tiny.safetensors")[0]


def loss_inputs():
    shape = (3, 50, 20)
    return [recipe.tensor(f"loss.{name}", shape) for name in ("pred", "x1", "x0")]


@pytest.mark.parametrize("shift", [1.0, 2.5])
@pytest.mark.parametrize(("prediction", "loss"), [("x", "x"), ("x", "v"), ("v", "v"), ("v", "x")])
def test_losses_equal_the_golden(tensors, shift, prediction, loss):
    output, x_1, x_0 = loss_inputs()
    t = flow.shift_time(torch.tensor([0.1, 0.6, 0.999]), shift)
    x_t = flow.interpolate(x_0, x_1, t)
    prefix = f"loss.shift{shift}"
    assert torch.allclose(t, tensors[f"{prefix}.t"], rtol=1e-6, atol=0)
    assert (x_t - tensors[f"{prefix}.xt"]).abs().max() <= 2e-5
    config = FlowConfig(prediction=prediction, loss=loss, loss_clamp=REFERENCE_CLAMP)
    losses = flow.loss_per_sample(output, x_t, x_0, x_1, t, config=config)
    assert torch.allclose(losses, tensors[f"{prefix}.{prediction}_pred_{loss}_loss"], rtol=1e-5)


def test_loss_with_noise_left_at_the_end_equals_the_golden(tensors):
    output, x_1, x_0 = loss_inputs()
    t = torch.tensor([0.1, 0.6, 0.999])
    config = FlowConfig(prediction="v", min_sigma=0.1, loss_clamp=REFERENCE_CLAMP)
    x_t = flow.interpolate(x_0, x_1, t, min_sigma=0.1)
    assert (x_t - tensors["loss.min_sigma0.1.xt"]).abs().max() <= 2e-5
    losses = flow.loss_per_sample(output, x_t, x_0, x_1, t, config=config)
    assert torch.allclose(losses, tensors["loss.min_sigma0.1.v_pred_v_loss"], rtol=1e-5)


def test_one_training_step_has_the_loss_and_gradients_of_the_golden(tensors):
    metadata = golden.load("wavflow_tiny.safetensors")[1]
    model = recipe.fill(WavFlow(model_config(metadata)))
    x_1, x_0 = (recipe.tensor(f"train.{name}", (2, 50, 20)) for name in ("x1", "x0"))
    t = torch.tensor([0.2, 0.7])
    x_t = flow.interpolate(x_0, x_1, t)
    output = model(x_t, t, model.prepare_conditions(*inputs(), 50))
    config = FlowConfig(loss_clamp=REFERENCE_CLAMP)
    loss = flow.loss_per_sample(output, x_t, x_0, x_1, t, config=config).mean()
    loss.backward()
    assert torch.allclose(loss, tensors["train.loss"][0], rtol=1e-5)
    norms = torch.stack(
        [torch.zeros(()) if p.grad is None else p.grad.norm() for p in model.parameters()]
    )
    # Sums that cancel to nearly nothing are noise: relative to the largest norm they are zero.
    floor = 1e-7 * tensors["train.grad_norms"].max()
    assert torch.allclose(norms, tensors["train.grad_norms"], rtol=1e-5, atol=float(floor))


def test_the_clamp_bounds_what_a_sample_near_the_data_weighs():
    x = torch.zeros(1, 4, 5)
    t = torch.tensor([0.9999])
    losses = [
        flow.loss_per_sample(x + 1, x, x, x, t, config=FlowConfig(loss_clamp=clamp)).item()
        for clamp in (0.05, 0.1)
    ]
    assert losses == pytest.approx([400.0, 100.0])


def test_velocity_and_clean_estimate_are_inverse():
    x_t, clean = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    for t in (torch.tensor([0.2, 0.9]), 0.7):
        back = flow.to_clean(flow.to_velocity(clean, x_t, t), x_t, t)
        assert torch.allclose(back, clean, atol=1e-5)


def test_a_step_to_one_is_the_clean_estimate_itself():
    x_t, clean = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert torch.equal(flow.step_to(x_t, clean, 0.3, 1.0), clean)


def test_training_times_follow_the_shifted_logit_normal_and_the_seed():
    def draw(**kwargs):
        generator = torch.Generator().manual_seed(1)
        return flow.sample_times(20000, FlowConfig(**kwargs), generator=generator)

    assert torch.equal(draw(), draw())
    assert draw().median().item() == pytest.approx(0.5, abs=0.01)
    logits = torch.logit(draw(time_mean=-0.8, time_scale=0.8).double())
    assert logits.mean().item() == pytest.approx(-0.8, abs=0.02)
    assert logits.std().item() == pytest.approx(0.8, abs=0.02)
    assert draw(noise_shift=3.0).median().item() == pytest.approx(0.25, abs=0.01)
