"""Adaptive Wing loss for heatmaps (Wang, Bo, Fuxin, ICCV 2019), weighted as in the paper on 2S-SGCN (CVIU 2024)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

OMEGA = 14.0
THETA = 0.5
ALPHA = 2.1
EPSILON = 1.0
BETA = 50.0


def adaptive_wing(
    predicted: Tensor,
    target: Tensor,
    *,
    omega: float = OMEGA,
    theta: float = THETA,
    alpha: float = ALPHA,
    epsilon: float = EPSILON,
) -> Tensor:
    """Return the loss of each element.

    Close to the target it is ω ln(1 + |d / ε|^(α − y)) for a difference d and a target y: the exponent is near 1 where
    there is heat, so that small differences count, and near 2 in the background, where they do not. From θ on it goes
    on straight, with the slope it has there.

    Parameters
    ----------
    predicted, target : tensors of one shape
        Heat; targets in [0, 1].
    omega, theta, alpha, epsilon : float
        ω, θ, α > 1 (so that the slope at the target is 0), ε.
    """
    difference = (predicted - target).abs()
    power = alpha - target
    at_theta = torch.exp(power * math.log(theta / epsilon))
    slope = omega / (1.0 + at_theta) * power * at_theta / theta
    offset = theta * slope - omega * torch.log1p(at_theta)
    # Both branches are computed everywhere; the clamp keeps the one that is not taken finite.
    close = omega * torch.log1p((difference.clamp(max=theta) / epsilon).pow(power))
    return torch.where(difference < theta, close, slope * difference - offset)


def heat_loss(predicted: Tensor, target: Tensor, known: Tensor | None = None, *, beta: float = BETA) -> Tensor:
    """Return the mean Adaptive Wing loss, each element weighted by 1 + β y: few points have heat, most have none.

    Parameters
    ----------
    predicted, target : (b, n, l) tensors
    known : (b, l) bool tensor, optional
        Heatmaps of landmarks that are not annotated do not count.
    beta : float
    """
    loss = adaptive_wing(predicted, target) * (1.0 + beta * target)
    if known is None:
        return loss.mean()
    weight = known.to(loss.dtype)[:, None, :]
    return (loss * weight).sum() / (weight.sum() * loss.shape[1]).clamp(min=1.0)
