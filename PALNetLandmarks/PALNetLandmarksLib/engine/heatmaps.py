"""Heatmaps over the points of a face: how near each point is to each landmark, and the frame they are measured in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from PALNetLandmarksLib.engine.cloud import CROP_MARGIN

FloatArray = NDArray[np.float64]

SIGMA = 0.03
"""Width of the heat round a landmark in the normalised frame (CVIU 2024); 3.6 mm with the 50 landmarks."""


@dataclass(frozen=True)
class UnitFrame:
    """The fixed frame in which a face lies within [-1, 1].

    The paper scales every scan by its own extent: two scans of one face, one with the neck and one without, then differ
    in size. Here the box round the mean landmarks out of which the face is cut (`cloud.face_cloud`) becomes the cube
    [-1, 1]³, by its longest side: the same for all scans of a model, at training and at prediction, and known from what
    every bundle holds. Size stays a feature.

    Parameters
    ----------
    centre : (3,) float64
        In the reference frame, mm.
    half_extent : float
        mm for one unit.
    """

    centre: FloatArray
    half_extent: float

    @classmethod
    def of(cls, mean_landmarks: NDArray[np.floating]) -> UnitFrame:
        """Return the frame that belongs to mean landmarks (l, 3), mm."""
        low, high = mean_landmarks.min(axis=0) - CROP_MARGIN, mean_landmarks.max(axis=0) + CROP_MARGIN
        return cls((low + high).astype(np.float64) / 2.0, float((high - low).max()) / 2.0)

    def normalise(self, points: NDArray[np.floating]) -> FloatArray:
        """Bring points (…, 3) of the reference frame, mm, into this one."""
        return (np.asarray(points, dtype=np.float64) - self.centre) / self.half_extent

    def restore(self, points: NDArray[np.floating]) -> FloatArray:
        """Bring points (…, 3) of this frame back to mm."""
        return np.asarray(points, dtype=np.float64) * self.half_extent + self.centre


def heat_targets(points: Tensor, landmarks: Tensor, sigma: float = SIGMA) -> Tensor:
    """Return the heat of each point for each landmark: H = exp(−Δ² / 2σ²).

    Parameters
    ----------
    points : (b, n, 3) float tensor
    landmarks : (b, l, 3) float tensor
        In the frame of the points; a landmark that is not known (NaN) gets no heat.
    sigma : float
        In the unit of the points.

    Returns
    -------
    (b, n, l) float tensor
        1 at the landmark, towards 0 away from it.
    """
    # Not torch.cdist: it may take |a|² + |b|² − 2ab, whose rounding shows at distances below σ.
    squared = torch.zeros(
        points.shape[0], points.shape[1], landmarks.shape[1], dtype=points.dtype, device=points.device
    )
    for axis in range(3):
        squared += (points[:, :, None, axis] - landmarks[:, None, :, axis]).square()
    return torch.nan_to_num(torch.exp(squared / (-2.0 * sigma * sigma)), nan=0.0)
