"""Adaptive Wing loss: values by hand, continuity, gradients, weights."""

from __future__ import annotations

import math

import pytest
import torch

from training_tools.adaptive_wing import adaptive_wing, heat_loss


def by_hand(difference: float, target: float) -> float:
    """The published formula, written out for ω = 14, θ = 0.5, ε = 1, α = 2.1."""
    power = 2.1 - target
    if difference < 0.5:
        return 14.0 * math.log(1.0 + difference**power)
    slope = 14.0 * (1.0 / (1.0 + 0.5**power)) * power * 0.5 ** (power - 1.0)
    return slope * difference - (0.5 * slope - 14.0 * math.log(1.0 + 0.5**power))


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("difference", [0.0, 0.01, 0.2, 0.49, 0.5, 0.51, 2.0, -0.2, -2.0])
def test_values(difference: float, target: float) -> None:
    y = torch.tensor([target], dtype=torch.float64)
    assert adaptive_wing(y + difference, y).item() == pytest.approx(by_hand(abs(difference), target), abs=1e-12)


@pytest.mark.parametrize("target", [0.0, 0.5, 1.0])
def test_value_and_slope_are_continuous_at_theta(target: float) -> None:
    y = torch.full((2,), target, dtype=torch.float64)
    predicted = (y + torch.tensor([0.5 - 1e-7, 0.5 + 1e-7], dtype=torch.float64)).requires_grad_()
    loss = adaptive_wing(predicted, y)
    assert (loss[1] - loss[0]).item() == pytest.approx(0.0, abs=1e-5)
    (slopes,) = torch.autograd.grad(loss.sum(), predicted)
    assert slopes[0].item() == pytest.approx(slopes[1].item(), rel=1e-5)


def test_other_parameters() -> None:
    y = torch.tensor([0.4], dtype=torch.float64)
    value = adaptive_wing(y + 0.3, y, omega=2.0, theta=0.6, alpha=3.0, epsilon=0.5)
    assert value.item() == pytest.approx(2.0 * math.log(1.0 + (0.3 / 0.5) ** 2.6))
    far = [adaptive_wing(y + d, y, omega=2.0, theta=0.6, alpha=3.0, epsilon=0.5).item() for d in (0.6, 0.6001)]
    slope = 2.0 * 2.6 * (0.6 / 0.5) ** 1.6 / 0.5 / (1 + (0.6 / 0.5) ** 2.6)
    assert (far[1] - far[0]) / 0.0001 == pytest.approx(slope, rel=1e-4)


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(40, dtype=torch.float64, generator=generator)
    predicted = target + torch.randn(40, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda x: adaptive_wing(x, target), predicted.requires_grad_())


def test_gradient_at_the_target_is_zero_and_finite() -> None:
    predicted = torch.tensor([0.0, 0.5, 1.0], requires_grad=True)
    adaptive_wing(predicted, predicted.detach().clone()).sum().backward()
    assert predicted.grad is not None
    assert predicted.grad.tolist() == [0.0, 0.0, 0.0]


def test_heat_weighs_fifty_one_times_as_much() -> None:
    target = torch.zeros(1, 2, 1)
    target[0, 0] = 1.0
    hot, cold = target.clone(), target.clone()
    hot[0, 0] -= 1.0
    cold[0, 1] += 1.0
    assert heat_loss(hot, target).item() == pytest.approx(51.0 * by_hand(1.0, 1.0) / 2.0, rel=1e-5)
    assert heat_loss(cold, target).item() == pytest.approx(by_hand(1.0, 0.0) / 2.0, rel=1e-5)


def test_unknown_landmarks_do_not_count() -> None:
    generator = torch.Generator().manual_seed(1)
    target, predicted = torch.rand(2, 5, 3, generator=generator), torch.rand(2, 5, 3, generator=generator)
    known = torch.tensor([[True, True, False], [True, False, False]])
    expected = torch.cat([heat_loss(predicted[:1, :, :2], target[:1, :, :2])[None] * 2,
                          heat_loss(predicted[1:, :, :1], target[1:, :, :1])[None]]).sum() / 3  # fmt: skip
    torch.testing.assert_close(heat_loss(predicted, target, known), expected)
    assert heat_loss(predicted, target, torch.zeros(2, 3, dtype=torch.bool)).item() == 0.0
