"""The published loss (arXiv 2510.00910): point errors, and errors of the distances between landmarks; both in mm."""

from __future__ import annotations

import torch
from torch import Tensor

POINT_WEIGHT = 0.6
PAIR_WEIGHT = 0.4


def combined_loss(
    predicted: Tensor,
    truth: Tensor,
    mask: Tensor | None = None,
    *,
    point_weight: float = POINT_WEIGHT,
    pair_weight: float = PAIR_WEIGHT,
) -> Tensor:
    """Return ``0.6 × mean point error + 0.4 × mean pairwise-distance error``, a scalar in mm.

    Parameters
    ----------
    predicted, truth : (b, L, 3) float tensor
        Landmarks, mm. Where `mask` is False the truth may be anything, NaN too.
    mask : (b, L) bool tensor, optional
        True where the truth is known; a pair counts where both its landmarks are known.
    point_weight, pair_weight : float
    """
    point = mean_point_error(predicted, truth, mask)
    return point_weight * point + pair_weight * mean_pair_error(predicted, truth, mask)


def mean_point_error(predicted: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean Euclidean distance between predicted and true landmarks that are known; 0 where none is."""
    return _mean(torch.linalg.vector_norm(predicted - _known(truth, mask), dim=-1), mask)


def mean_pair_error(predicted: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean absolute error of the distances between all pairs of different landmarks, each pair once."""
    landmarks = predicted.shape[-2]
    first, second = torch.triu_indices(landmarks, landmarks, offset=1, device=predicted.device)
    error = (_pair_distances(predicted, first, second) - _pair_distances(_known(truth, mask), first, second)).abs()
    return _mean(error, None if mask is None else mask[..., first] & mask[..., second])


def _pair_distances(landmarks: Tensor, first: Tensor, second: Tensor) -> Tensor:
    # Not torch.cdist: it also gives the distance of each landmark to itself, and from 26 landmarks on it goes by
    # products of coordinates, which are rounded more coarsely than their differences.
    distances: Tensor = torch.linalg.vector_norm(landmarks[..., first, :] - landmarks[..., second, :], dim=-1)
    return distances


def _known(truth: Tensor, mask: Tensor | None) -> Tensor:
    # Unknown truth is set to zero before any arithmetic: a NaN would reach every gradient even if left out later.
    return truth if mask is None else torch.where(mask[..., None], truth, torch.zeros_like(truth))


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values.mean()
    return (values * mask).sum() / mask.sum().clamp(min=1)
