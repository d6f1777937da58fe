"""The published loss against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from PALNetLandmarksLib.engine.losses import combined_loss, mean_pair_error, mean_point_error


@pytest.fixture
def landmarks() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(3, 30, 3, generator=generator, dtype=torch.float64) * 50.0
    return truth + torch.randn(3, 30, 3, generator=generator, dtype=torch.float64) * 2.0, truth


def by_hand(predicted: np.ndarray, truth: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    points, pairs = [], []
    for p, t, k in zip(predicted.tolist(), truth.tolist(), known.tolist(), strict=True):
        for i in range(len(p)):
            if k[i]:
                points.append(math.dist(p[i], t[i]))
            for j in range(i):
                if k[i] and k[j]:
                    pairs.append(abs(math.dist(p[i], p[j]) - math.dist(t[i], t[j])))
    return sum(points) / len(points), sum(pairs) / len(pairs)


def test_matches_loops(landmarks: tuple[torch.Tensor, torch.Tensor]) -> None:
    predicted, truth = landmarks
    point, pair = by_hand(predicted.numpy(), truth.numpy(), np.ones((3, 30), dtype=bool))
    assert mean_point_error(predicted, truth).item() == pytest.approx(point, rel=1e-12)
    assert mean_pair_error(predicted, truth).item() == pytest.approx(pair, rel=1e-12)
    assert combined_loss(predicted, truth).item() == pytest.approx(0.6 * point + 0.4 * pair, rel=1e-12)


def test_unknown_truth_is_left_out_and_poisons_nothing(landmarks: tuple[torch.Tensor, torch.Tensor]) -> None:
    predicted, truth = landmarks
    mask = torch.rand(3, 30, generator=torch.Generator().manual_seed(1)) > 0.3
    point, pair = by_hand(predicted.numpy(), truth.numpy(), mask.numpy())
    predicted = predicted.clone().requires_grad_()
    loss = combined_loss(predicted, torch.where(mask[..., None], truth, torch.nan), mask)
    assert loss.item() == pytest.approx(0.6 * point + 0.4 * pair, rel=1e-12)
    loss.backward()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()
    assert (predicted.grad[~mask] == 0).all()
    assert (predicted.grad[mask].abs().sum(dim=-1) > 0).all()


def test_a_shift_costs_points_but_no_distances(landmarks: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, truth = landmarks
    shifted = truth + torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)
    assert mean_point_error(shifted, truth).item() == pytest.approx(5.0)
    assert mean_pair_error(shifted, truth).item() == pytest.approx(0.0, abs=1e-9)
    assert combined_loss(shifted, truth).item() == pytest.approx(3.0)


def test_gradients_stay_finite_where_points_coincide() -> None:
    truth = torch.zeros(1, 4, 3)
    predicted = torch.zeros(1, 4, 3, requires_grad=True)
    combined_loss(predicted, truth).backward()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()


def test_nothing_known_costs_nothing(landmarks: tuple[torch.Tensor, torch.Tensor]) -> None:
    predicted, truth = landmarks
    assert combined_loss(predicted, truth * torch.nan, torch.zeros(3, 30, dtype=torch.bool)).item() == 0.0
