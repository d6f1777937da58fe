"""Alignment by principal axes, as the paper on 2S-SGCN does it; an option, for comparison.

It needs no search, but it is only as good as the scans are alike: the axes of a face cut off at the chin or with an ear
missing are others, and each axis has two directions. The product aligns by `registration`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from PALNetLandmarksLib.engine.rigid import apply_transform, invert_rigid
from PALNetLandmarksLib.errors import BundleError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PrincipalFrame:
    """Centre and principal axes of a cloud of points.

    Parameters
    ----------
    centre : (3,) float64
    axes : (3, 3) float64
        Rows, unit length, largest spread first, right-handed; their directions are arbitrary.
    """

    centre: FloatArray
    axes: FloatArray

    @classmethod
    def of(cls, points: NDArray[np.floating]) -> PrincipalFrame:
        """Return the frame of points (n, 3)."""
        points = np.asarray(points, dtype=np.float64)
        centre = points.mean(axis=0)
        axes = np.linalg.svd(np.cov((points - centre).T))[0].T
        axes[2] *= np.sign(np.linalg.det(axes))
        return cls(centre, axes)

    def to_dict(self) -> dict[str, Any]:
        """Return the frame as a bundle holds it."""
        return {"centre": self.centre.tolist(), "axes": self.axes.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PrincipalFrame:
        """Read a frame from a bundle.

        Raises
        ------
        BundleError
            If it is none.
        """
        try:
            frame = cls(*(np.asarray(values[name], dtype=np.float64) for name in ("centre", "axes")))
        except (KeyError, TypeError, ValueError) as error:
            raise _no_frame() from error
        if frame.axes.shape != (3, 3) or frame.centre.shape != (3,):
            raise _no_frame()
        if not np.allclose(frame.axes @ frame.axes.T, np.eye(3), atol=1e-6) or np.linalg.det(frame.axes) < 0.0:
            raise _no_frame()
        return frame


def align_principal_axes(
    points: NDArray[np.floating], reference: PrincipalFrame, mean: NDArray[np.floating]
) -> FloatArray:
    """Return the rigid transform (4, 4) that lays the principal axes of points (n, 3) onto the reference's.

    Of the four ways that are no reflection the one is taken that brings points closest to the mean landmarks (l, 3) of
    the reference.
    """
    points = np.asarray(points, dtype=np.float64)
    own, tree = PrincipalFrame.of(points), cKDTree(points)
    best, least = np.eye(4), np.inf
    for signs in ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0)):
        transform = np.eye(4)
        transform[:3, :3] = reference.axes.T @ (own.axes * np.array(signs)[:, None])
        transform[:3, 3] = reference.centre - transform[:3, :3] @ own.centre
        apart = float(
            tree.query(apply_transform(invert_rigid(transform), np.asarray(mean, dtype=np.float64)))[0].mean()
        )
        if apart < least:
            best, least = transform, apart
    return best


def _no_frame() -> BundleError:
    return BundleError(
        "The principal axes in the bundle are no frame.",
        "They need 'centre' (3) and 'axes' (3 × 3, orthogonal, right-handed).",
        code="bundle.parameters",
    )
