"""The common face that scans are aligned to, and what is computed from it once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.engine.registration_elastic import Modes, smooth_modes
from PALNetLandmarksLib.engine.registration_features import shape_descriptors, thin

Array = NDArray[np.float64]

CENTRAL_FACE, WHOLE_FACE, HALF_HEAD, HEAD = range(4)
"""Values of ``Reference.extent``: brows to chin between the cheeks; the rest of the face; ears and front half of the
head; the rest of the head and neck."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Points of the common face, in the reference frame: +x subject's left, +y up, +z forward, origin at the nose tip.

    Parameters
    ----------
    points : (r, 3) float32
        Points on the outer skin, about evenly spaced, mm.
    normals : (r, 3) float32
        Outward unit normals.
    extent : (r,) uint8
        0 central face, 1 rest of the face, 2 ears and front half of the head, 3 rest of the head.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or there is no central face.
    """

    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    extent: NDArray[np.uint8]

    def __post_init__(self) -> None:
        count = len(self.points)
        if self.points.shape != (count, 3) or self.normals.shape != (count, 3) or self.extent.shape != (count,):
            raise ValueError("a reference needs (r, 3) points, (r, 3) normals and (r,) extents")
        if np.count_nonzero(self.extent == CENTRAL_FACE) < 100:
            raise ValueError("a reference needs at least 100 points on its central face")

    def up_to(self, extent: int) -> Reference:
        """Return the part of the reference with an extent of at most ``extent``."""
        chosen = self.extent <= extent
        return Reference(self.points[chosen], self.normals[chosen], self.extent[chosen])

    @cached_property
    def face(self) -> tuple[Array, Array]:
        """Points and normals of the face without ears, float64: what the alignment looks at; central face first."""
        order = np.argsort(self.extent, kind="stable")[: np.count_nonzero(self.extent <= WHOLE_FACE)]
        return self.points[order].astype(np.float64), self.normals[order].astype(np.float64)

    @cached_property
    def central_count(self) -> int:
        """Number of points of the central face: the first ones of ``face``."""
        return int(np.count_nonzero(self.extent == CENTRAL_FACE))

    @cached_property
    def modes(self) -> Modes:
        """Deformations of ``face``."""
        return smooth_modes(self.face[0])

    def anchors(self, spacing: float, radius: float, extent: int) -> Anchors:
        """Describe the face within a reference cut to ``extent``; kept for the next call.

        Parameters
        ----------
        spacing : float
            Least distance between two described points, mm.
        radius : float
            Radius that a description covers, mm.
        extent : int
            How much of the head the descriptions see.

        Returns
        -------
        Anchors
            Points of the face with their descriptions.
        """
        key = (spacing, radius, extent)
        kept: dict[tuple[float, float, int], Anchors] = self._anchors
        if key not in kept:
            chosen = np.flatnonzero(self.extent <= extent)
            chosen = chosen[thin(self.points[chosen].astype(np.float64), spacing)]
            points, normals = self.points[chosen].astype(np.float64), self.normals[chosen].astype(np.float64)
            descriptors = shape_descriptors(points, normals, radius)
            on_face = self.extent[chosen] <= WHOLE_FACE
            kept[key] = Anchors(points[on_face], normals[on_face], descriptors[on_face])
        return kept[key]

    @cached_property
    def _anchors(self) -> dict[tuple[float, float, int], Anchors]:
        return {}


@dataclass(frozen=True, eq=False)
class Anchors:
    """Points of the reference's face with descriptions of the surface round them.

    Parameters
    ----------
    points, normals : (a, 3) float64
        Points, mm, and unit normals.
    descriptors : (a, 33) float32
        See ``shape_descriptors``.
    """

    points: Array
    normals: Array
    descriptors: NDArray[np.float32]
